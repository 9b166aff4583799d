package dev.saccade.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// What goes wrong, and what the user is told.
@Tag(FakeCuda.TAG)
class CudaFailureTest {
    private static final int DEVICE_UNAVAILABLE = 46;

    private FakeCuda fake;

    @BeforeEach
    void start() {
        fake = FakeCuda.require();
    }

    @AfterEach
    void clear() {
        System.clearProperty("saccade.cuda.driver");
        System.clearProperty("saccade.cuda.library");
        System.clearProperty("saccade.cuda.debug");
        if (fake != null) {
            fake.assertNothingLeft();
        }
    }

    private static @Nullable String reason() {
        CudaProbe probe = CudaDevice.probe();
        assertThat(probe.usable()).isEqualTo(probe.reason() == null);
        return probe.reason();
    }

    private static String refusal(int ordinal) {
        try (CudaDevice _ = CudaDevice.open(ordinal)) {
            throw new AssertionError("opened");
        } catch (InputException e) {
            assertThat(e.getMessage()).doesNotContain("\n");
            return String.valueOf(e.getMessage());
        }
    }

    private static Kernel kernel(CudaDevice device, String name) {
        return device.load("probe", CudaContract.probeImage()).kernel(name);
    }

    @Test
    void aDriverThatIsNotThereIsAReason() {
        System.setProperty("saccade.cuda.library", "/no/such/libcuda.so.1");
        assertThat(reason())
                .isEqualTo("saccade.cuda.library=/no/such/libcuda.so.1 can't be loaded");
        assertThat(refusal(0))
                .isEqualTo(
                        "cuda:0: saccade.cuda.library=/no/such/libcuda.so.1 can't be loaded; choose"
                                + " another device (--device cpu always works)");
        System.setProperty("saccade.cuda.library", "libm.so.6");
        assertThat(reason())
                .isEqualTo("libm.so.6 is not a CUDA driver: it has no cuDriverGetVersion");
    }

    @ParameterizedTest
    @ValueSource(strings = {"ffm", "jcuda"})
    void anOldDriverIsNamedWithWhatIsNeeded(String binding) {
        System.setProperty("saccade.cuda.driver", binding);
        fake.set("driver version", 12_020);
        CudaProbe probe = CudaDevice.probe();
        assertThat(probe.reason())
                .isEqualTo(
                        "the driver is too old: it supports CUDA 12.2, and 12.4 or newer is needed");
        assertThat(probe.driverVersion()).isEqualTo(12_020);
        assertThat(probe.binding()).isEqualTo(binding);
        assertThat(probe.devices()).isEmpty();
    }

    @ParameterizedTest
    @CsvSource({
        "init error, 100, the driver finds no GPU",
        "devices, 0, the driver finds no GPU",
        "init error, 34, the toolkit's stub",
        "init error, 803, reboot",
        "init error, 999, CUDA_ERROR_UNKNOWN",
        "device error, 46, in use by another process",
        "compute mode, 2, closed to compute",
        "compute major, 7, has compute capability 7.0",
    })
    void aMachineWithoutAUsableGpuSaysWhy(String what, long value, String words) {
        fake.set(what, value);
        assertThat(reason()).contains(words);
        assertThat(CudaDevice.probe().driverVersion()).isEqualTo(13_000);
        assertThat(refusal(0)).startsWith("cuda:0: ").contains(words);
    }

    @Test
    void anOrdinalThatIsNotThereIsToldHowManyThereAre() {
        assertThat(refusal(7)).startsWith("cuda:7: there is 1 GPU, numbered from 0; ");
        assertThat(refusal(-1)).startsWith("cuda:-1: there is 1 GPU");
        fake.set("devices", 3);
        assertThat(refusal(3)).startsWith("cuda:3: there are 3 GPUs, numbered from 0; ");
        assertThat(CudaDevice.probe().devices())
                .extracting(CudaProperties::name)
                .containsExactly("Fake GPU 0", "Fake GPU 1", "Fake GPU 2");
    }

    @Test
    void anUnknownBindingIsRefused() {
        System.setProperty("saccade.cuda.driver", "jni");
        assertThat(refusal(0))
                .isEqualTo(
                        "property saccade.cuda.driver: 'jni' names no binding; use ffm or jcuda");
        assertThat(reason()).contains("ffm or jcuda");
    }

    @Test
    void aGpuThatAnotherProcessHoldsIsRefused() {
        fake.set("retain error", DEVICE_UNAVAILABLE);
        assertThat(CudaDevice.probe().usable()).isTrue();
        assertThat(refusal(0)).contains("in use by another process");
    }

    @ParameterizedTest
    @ValueSource(strings = {"cuCtxSetCurrent", "cuStreamCreate", "cuMemHostAlloc"})
    void anOpeningThatFailsLeavesNothingBehind(String function) {
        fake.fail(function, 999, 0);
        assertThatThrownBy(() -> CudaDevice.open(0))
                .isInstanceOf(CudaException.class)
                .hasMessageContaining(function);
        fake.assertNothingLeft();
        CudaDevice.open(0).close();
    }

    @Test
    void aThreadWorksWithOneOrdinal() {
        fake.set("devices", 2);
        try (CudaDevice first = CudaDevice.open(0);
                CudaDevice again = CudaDevice.open(0)) {
            assertThat(again.name()).isEqualTo(first.name());
            assertThatThrownBy(() -> CudaDevice.open(1))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("open cuda:1 in a thread of its own");
        }
        try (CudaDevice second = CudaDevice.open(1)) {
            assertThat(second.name()).isEqualTo("cuda:1");
        }
    }

    @Test
    void outOfMemorySaysWhoHasIt() {
        fake.set("memory", 100L << 20);
        try (CudaDevice device = CudaDevice.open(0)) {
            DeviceBuffer large = device.allocate(40L << 20);
            DeviceBuffer[] small = new DeviceBuffer[10];
            for (int i = 0; i < small.length; i++) {
                small[i] = device.allocate(2L << 20);
            }
            small[9].close();
            assertThatThrownBy(() -> device.allocate(60L << 20))
                    .isInstanceOf(OutOfDeviceMemoryException.class)
                    .hasMessage(
                            "cuda:0: out of memory: asked for 60 MiB, 42 MiB free on the device, 58"
                                    + " MiB in use (most of it 1 x 40 MiB, 9 x 2 MiB), 0 MiB cached; use"
                                    + " a smaller batch, shorter sequences or a smaller model, or end"
                                    + " other programs on this GPU");
            assertThat(device.memory().usedBytes()).isEqualTo(58L << 20);
            large.close();
            device.allocate(60L << 20).close(); // the cache is given back for it
            assertThat(device.memory().cachedBytes()).isEqualTo(60L << 20);
        }
    }

    @Test
    void theFirstCauseIsRepeated() {
        CudaDevice device = CudaDevice.open(0);
        DeviceBuffer buffer = device.allocate(64);
        kernel(device, "illegal_address").begin().pointer(0).launch(1, 1);
        MemorySegment target = MemorySegment.ofArray(new byte[64]);
        assertThatThrownBy(() -> device.download(buffer, 0, target))
                .isInstanceOfSatisfying(
                        CudaException.class,
                        e -> {
                            assertThat(e.code()).isEqualTo(700);
                            assertThat(e.name()).isEqualTo("CUDA_ERROR_ILLEGAL_ADDRESS");
                            assertThat(e.call()).isEqualTo("cuEventSynchronize");
                            assertThat(e.kernel()).isNull();
                        })
                .hasMessageContaining("run with -Dsaccade.cuda.debug=true");
        long calls = fake.calls("cuMemAlloc_v2");
        for (int i = 0; i < 2; i++) {
            assertThatThrownBy(() -> device.allocate(1 << 20))
                    .isInstanceOf(CudaException.class)
                    .hasMessageStartingWith(
                            "cuda:0 can't be used any more in this process, since cuda:0:"
                                    + " cuEventSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS (700)");
        }
        assertThat(fake.calls("cuMemAlloc_v2")).isEqualTo(calls);
        buffer.close(); // harmless, so that the first cause is what the user sees
        device.close();
    }

    @Test
    void debugModeNamesTheKernelAndItsArguments() {
        System.setProperty("saccade.cuda.debug", "true");
        try (CudaDevice device = CudaDevice.open(0);
                DeviceBuffer x = device.allocate(16)) {
            Kernel axpy = kernel(device, "axpy");
            axpy.begin()
                    .pointer(x.address())
                    .pointer(x.address())
                    .float32(1)
                    .int32(4)
                    .launch(1, 32);
            assertThat(fake.get("queued")).isZero(); // it has been waited for
            axpy.begin().pointer(x.address()).pointer(4096).float32(0.5f).int32(-7).launch(2, 32);
            assertThatThrownBy(() ->
                            axpy.begin()
                                    .pointer(x.address())
                                    .pointer(4096)
                                    .float32(0.5f)
                                    .int32(700)
                                    .launch(2, 32))
                    .isInstanceOfSatisfying(
                            CudaException.class,
                            e -> {
                                assertThat(e.kernel()).isEqualTo("axpy");
                                assertThat(e.grid())
                                        .isEqualTo(
                                                "grid 2x1x1, block 32, 0 bytes of dynamic shared"
                                                        + " memory");
                            })
                    .hasMessageContaining("after the launch of kernel axpy (grid 2x1x1")
                    .hasMessageContaining("CUDA_ERROR_ILLEGAL_ADDRESS (700)")
                    .hasMessageEndingWith(
                            "; arguments: 0x%x, 0x1000, 0.5f, 700".formatted(x.address()));
        }
    }

    @Test
    void debugModeBlamesAReplay() {
        System.setProperty("saccade.cuda.debug", "true");
        try (CudaDevice device = CudaDevice.open(0)) {
            Kernel illegal = kernel(device, "illegal_address");
            Graph graph = device.record(() -> illegal.begin().pointer(0).launch(1, 1));
            assertThatThrownBy(graph::run)
                    .isInstanceOf(CudaException.class)
                    .hasMessageContaining("after a replay of 1 nodes");
        }
    }

    @Test
    void aGpuThatIsPulledOutIsReportedAndLetGo() {
        CudaDevice device = CudaDevice.open(0);
        DeviceBuffer buffer = device.allocate(100);
        fake.set("unplug after", 3);
        assertThatThrownBy(
                        () -> {
                            for (int i = 0; i < 10; i++) {
                                device.fill(buffer, 0, 100, (byte) i);
                            }
                        })
                .isInstanceOf(CudaException.class)
                .hasMessageContaining("cuMemsetD8Async: CUDA_ERROR_DEVICE_UNAVAILABLE (46)");
        assertThatThrownBy(device::synchronize).hasMessageContaining("can't be used any more");
        assertThat(CudaDevice.probe().usable()).isFalse();
        fake.set("unplug after", -1); // so that the fake can forget what the engine gives back
        buffer.close();
        device.close();
    }

    @ParameterizedTest
    @CsvSource({
        "DAMAGED, the image is damaged (CUDA_ERROR_INVALID_IMAGE); build them again",
        "not PTX, the image is damaged (CUDA_ERROR_INVALID_PTX); build them again",
        "OTHER GPU, no image for compute capability 9.0 of Fake GPU 0"
                + " (CUDA_ERROR_NO_BINARY_FOR_GPU); build them for it (nvcc -gencode)",
    })
    void anImageThatDoesNotFitIsOneLine(String image, String words) {
        try (CudaDevice device = CudaDevice.open(0)) {
            MemorySegment bytes = MemorySegment.ofArray(image.getBytes(StandardCharsets.UTF_8));
            assertThatThrownBy(() -> device.load("norm/portable", bytes))
                    .isInstanceOf(InputException.class)
                    .hasMessage("kernels norm/portable: " + words);
        }
    }

    @Test
    void ptxThatTheDriverCannotCompileIsOneLine() {
        try (CudaDevice device = CudaDevice.open(0)) {
            MemorySegment bytes =
                    MemorySegment.ofArray("NEWER PTX".getBytes(StandardCharsets.UTF_8));
            assertThatThrownBy(() -> device.load("norm/portable", bytes))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining("CUDA_ERROR_UNSUPPORTED_PTX_VERSION")
                    .hasMessageContaining("update NVIDIA's driver");
        }
    }

    @Test
    void programsComeFromTheClassPathOnce() {
        byte[] image = CudaContract.probeImage().toArray(ValueLayout.JAVA_BYTE);
        Thread thread = Thread.currentThread();
        ClassLoader saved = thread.getContextClassLoader();
        try (CudaDevice device = CudaDevice.open(0)) {
            assertThatThrownBy(() -> device.program("norm/portable"))
                    .isInstanceOf(InputException.class)
                    .hasMessage(
                            "kernels norm/portable: this build has no CUDA kernels of that name"
                                    + " (nvcc was not found when it was built); build with a CUDA"
                                    + " toolkit installed, or use --device cpu");
            thread.setContextClassLoader(
                    new ClassLoader(null) {
                        @Override
                        public @Nullable InputStream getResourceAsStream(String name) {
                            return name.equals("META-INF/kernels/norm/portable.fatbin")
                                    ? new ByteArrayInputStream(image)
                                    : null;
                        }
                    });
            Program program = device.program("norm/portable");
            assertThat(program.name()).isEqualTo("norm/portable");
            assertThat(device.program("norm/portable")).isSameAs(program);
            assertThat(fake.calls("cuLibraryLoadData")).isEqualTo(1);
            program.kernel("nothing").begin().launch(1, 1);
            device.synchronize();
        } finally {
            thread.setContextClassLoader(saved);
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "cuStreamBeginCapture_v2",
                "cuStreamEndCapture",
                "cuGraphGetNodes",
                "cuGraphInstantiateWithFlags"
            })
    void aRecordingThatTheDriverRefusesKeepsNoMemory(String function) {
        try (CudaDevice device = CudaDevice.open(0)) {
            fake.fail(function, 999, 0);
            assertThatThrownBy(() -> device.record(() -> device.allocate(1000).close()))
                    .isInstanceOf(CudaException.class)
                    .hasMessageContaining("CUDA_ERROR_UNKNOWN");
            assertThat(device.memory().usedBytes()).isZero();
            if (function.equals("cuStreamEndCapture")) {
                return; // the fake's stream is still capturing
            }
            try (Graph graph = device.record(() -> device.allocate(1000).close())) {
                assertThat(graph.nodes()).isZero();
            }
            assertThat(device.memory().usedBytes()).isZero();
        }
    }

    /// The error that invalidates a capture is the one that the user sees, not the second one that
    /// ending it gives.
    @Test
    void anErrorInsideARecordingIsTheOneReported() {
        try (CudaDevice device = CudaDevice.open(0);
                DeviceBuffer buffer = device.allocate(10)) {
            fake.fail("cuMemsetD8Async", 1, 0);
            assertThatThrownBy(() -> device.record(() -> device.fill(buffer, 0, 10, (byte) 0)))
                    .isInstanceOf(CudaException.class)
                    .hasMessageContaining("cuMemsetD8Async");
        }
    }

    @Test
    void whatJcudaLacksIsRefusedWithTheReason() {
        System.setProperty("saccade.cuda.driver", "jcuda");
        try (CudaDevice device = CudaDevice.open(0)) {
            Kernel kernel = kernel(device, "nothing").cluster(2, 1, 1);
            assertThatThrownBy(() -> kernel.begin().launch(2, 32))
                    .isInstanceOf(UnsupportedOperationException.class)
                    .hasMessage(
                            "JCuda 12.6 has no cuLaunchKernelEx (clusters, programmatic launches):"
                                    + " use the other binding (-Dsaccade.cuda.driver=ffm)");
            assertThatThrownBy(() -> kernel.activeClusters(32, 0))
                    .isInstanceOf(UnsupportedOperationException.class);
            TensorMap map =
                    device.tensorMap(TensorMap.Element.BFLOAT16, 1).address(0).dimension(0, 64, 64);
            assertThatThrownBy(map::encode)
                    .isInstanceOf(UnsupportedOperationException.class)
                    .hasMessageContaining("cuTensorMapEncodeTiled");
        }
    }
}
