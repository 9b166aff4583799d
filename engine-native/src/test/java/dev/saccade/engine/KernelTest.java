package dev.saccade.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.management.ThreadMXBean;
import java.lang.foreign.MemorySegment;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// Launches with attributes and tensor maps, on the fake driver.
@Tag(FakeCuda.TAG)
class KernelTest {
    private static final MemorySegment IMAGE =
            MemorySegment.ofArray(
                    ".version 8.4 .entry nothing( .entry tiled( .entry axpy("
                            .getBytes(StandardCharsets.UTF_8));

    private FakeCuda fake;
    private CudaDevice device;
    private Program program;

    @BeforeEach
    void open() {
        fake = FakeCuda.require();
        device = CudaDevice.open(0);
        program = device.load("made up", IMAGE);
    }

    @AfterEach
    void close() {
        if (device != null) {
            device.close();
            fake.assertNothingLeft();
        }
    }

    @Test
    void launchAttributesArrive() {
        Kernel kernel = program.kernel("nothing");
        kernel.begin().launch(4, 32);
        kernel.cluster(2, 1, 1).begin().launch(8, 2, 3, 64, 100);
        kernel.programmatic(true).begin().launch(4, 32);
        kernel.cluster(1, 1, 1).begin().launch(5, 32);
        kernel.programmatic(false).begin().launch(6, 32);
        device.synchronize();
        long[][] expected = {
            {4, 1, 1, 32, 0, 0, 0, 0, 0},
            {8, 2, 3, 64, 100, 2, 1, 1, 0},
            {4, 1, 1, 32, 0, 2, 1, 1, 1},
            {5, 1, 1, 32, 0, 0, 0, 0, 1},
            {6, 1, 1, 32, 0, 0, 0, 0, 0}
        };
        String[] names = {
            "grid x",
            "grid y",
            "grid z",
            "block x",
            "shared",
            "cluster x",
            "cluster y",
            "cluster z",
            "programmatic"
        };
        assertThat(fake.get("launches")).isEqualTo(expected.length);
        for (int launch = 0; launch < expected.length; launch++) {
            for (int i = 0; i < names.length; i++) {
                assertThat(fake.launch(launch, names[i]))
                        .as("launch %d, %s", launch, names[i])
                        .isEqualTo(expected[launch][i]);
            }
            assertThat(fake.launch(launch, "block y")).isEqualTo(1);
            assertThat(fake.launch(launch, "block z")).isEqualTo(1);
        }
    }

    @Test
    void largeClustersAreOptedInTo() {
        Kernel kernel = program.kernel("nothing").cluster(16, 1, 1);
        kernel.begin().launch(32, 32);
        device.synchronize();
        assertThat(fake.launch(0, "cluster x")).isEqualTo(16);
        assertThat(kernel.activeClusters(128, 1024)).isEqualTo(132 / 16);
        assertThatThrownBy(() -> kernel.begin().launch(33, 32))
                .isInstanceOf(CudaException.class)
                .hasMessageContaining("cluster 16x1x1");
    }

    @Test
    void tensorMapsArriveAsTheyWereEncoded() {
        Kernel tiled = program.kernel("tiled");
        try (DeviceBuffer data = device.allocate(4096);
                DeviceBuffer out = device.allocate(128)) {
            TensorMap map =
                    device.tensorMap(TensorMap.Element.BFLOAT16, 2)
                            .address(data.address())
                            .dimension(0, 768, 64)
                            .dimension(1, 300, 1536, 128)
                            .swizzle(TensorMap.Swizzle.B128)
                            .promotion(TensorMap.Promotion.B256);
            assertThatThrownBy(() -> tiled.begin().int32(1).tensorMap(map))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("encode()");
            tiled.begin().int32(1).tensorMap(map.encode()).pointer(out.address()).launch(1, 1);
            map.dimension(1, 301, 1536, 128).encode(); // the launch has its own copy
            long[] words = new long[16];
            device.download(out, 0, MemorySegment.ofArray(words));
            assertThat(words)
                    .startsWith(9, 2, data.address(), 3, 3, 768, 300, 0, 0, 1536, 0, 64, 128, 0);
            assertThat(map)
                    .hasToString(
                            "tensor map of BFLOAT16 at 0x%x, 768 (box 64, stride 2 bytes) x 301 (box 128, stride 1536 bytes), swizzle B128"
                                    .formatted(data.address()));
            assertThatThrownBy(() -> map.dimension(1, 300, 1530, 128).encode())
                    .isInstanceOf(CudaException.class)
                    .hasMessageContaining("stride 1530 bytes");
            assertThatThrownBy(() -> map.dimension(2, 1, 16, 1))
                    .isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> map.dimension(1, 1, 1))
                    .isInstanceOf(IllegalArgumentException.class);
        }
        assertThatThrownBy(() -> device.tensorMap(TensorMap.Element.UINT8, 6))
                .isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void aLaunchAllocatesNothing() {
        Kernel axpy = program.kernel("axpy");
        try (DeviceBuffer x = device.allocate(400)) {
            long address = x.address();
            ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
            long thread = Thread.currentThread().threadId();
            long bytes = Long.MAX_VALUE;
            for (int round = 0; round < 60 && bytes > 0; round++) {
                long before = threads.getThreadAllocatedBytes(thread);
                for (int i = 0; i < 1000; i++) {
                    axpy.begin()
                            .pointer(address)
                            .pointer(address)
                            .float32(0)
                            .int32(i)
                            .launch(1, 32);
                }
                bytes = threads.getThreadAllocatedBytes(thread) - before;
                device.synchronize();
            }
            assertThat(bytes)
                    .isLessThan(1000); // of 1000 launches; the measurement itself takes some
        }
    }
}
