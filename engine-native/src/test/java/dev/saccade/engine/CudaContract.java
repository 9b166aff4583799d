package dev.saccade.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// What a CUDA device does, whatever talks to the driver and whichever driver that is. Subclasses
/// choose.
abstract class CudaContract {
    private static final String PROPERTY = "saccade.cuda.driver";

    private @Nullable CudaDevice opened;

    /// The binding to test.
    abstract String binding();

    @BeforeEach
    void open() {
        System.setProperty(PROPERTY, binding());
        CudaProbe probe = CudaDevice.probe();
        assumeTrue(probe.usable(), () -> "no CUDA device: " + probe.reason());
        assertThat(probe.binding()).isEqualTo(binding());
        opened = CudaDevice.open(0);
    }

    @AfterEach
    void close() {
        if (opened != null) {
            opened.close();
        }
        System.clearProperty(PROPERTY);
    }

    final CudaDevice cuda() {
        return Objects.requireNonNull(opened);
    }

    /// The test kernels, as PTX.
    static MemorySegment probeImage() {
        try (InputStream stream = CudaContract.class.getResourceAsStream("/kernels/probe.ptx")) {
            return MemorySegment.ofArray(Objects.requireNonNull(stream).readAllBytes());
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    final Kernel kernel(String name) {
        return program().kernel(name);
    }

    private @Nullable Program loaded;

    private Program program() {
        if (loaded == null) {
            loaded = cuda().load("probe", probeImage());
        }
        return loaded;
    }

    final byte[] bytes(DeviceBuffer buffer) {
        byte[] values = new byte[Math.toIntExact(buffer.bytes())];
        cuda().download(buffer, 0, MemorySegment.ofArray(values));
        return values;
    }

    final DeviceBuffer floats(float... values) {
        DeviceBuffer buffer = cuda().allocate(4L * values.length);
        cuda().upload(MemorySegment.ofArray(values), buffer, 0);
        return buffer;
    }

    final float[] floats(DeviceBuffer buffer) {
        float[] values = new float[Math.toIntExact(buffer.bytes() / 4)];
        cuda().download(buffer, 0, MemorySegment.ofArray(values));
        return values;
    }

    private static byte[] random(long seed, int count) {
        byte[] values = new byte[count];
        new SplittableRandom(seed).nextBytes(values);
        return values;
    }

    @Test
    void propertiesAreSensible() {
        CudaProperties properties = cuda().properties();
        assertThat(cuda().name()).isEqualTo("cuda:0");
        assertThat(properties.ordinal()).isZero();
        assertThat(properties.name()).isNotBlank();
        assertThat(properties.computeMajor()).isBetween(8, 20);
        assertThat(properties.multiprocessors()).isBetween(1, 1000);
        assertThat(properties.memoryBytes()).isGreaterThan(100L << 20);
        assertThat(properties.l2Bytes()).isGreaterThan(100 << 10);
        assertThat(properties.sharedBytesPerBlock()).isBetween(48 << 10, 1 << 20);
        assertThat(CudaDevice.probe().devices()).contains(properties);
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 3, 64, 4095, 65_537, (4 << 20) - 1, (4 << 20) + 1, 21_000_001})
    void copiesOfEverySizeAndOffsetArrive(int bytes) {
        byte[] sent = random(bytes, bytes);
        try (DeviceBuffer a = cuda().allocate(bytes + 7L);
                DeviceBuffer b = cuda().allocate(bytes + 3L)) {
            cuda().fill(a, 0, a.bytes(), (byte) 0x55);
            cuda().fill(b, 0, b.bytes(), (byte) 0x66);
            cuda().upload(MemorySegment.ofArray(sent), a, 5);
            cuda().copy(a, 5, b, 1, bytes);
            byte[] received = new byte[bytes];
            cuda().download(b, 1, MemorySegment.ofArray(received));
            assertThat(received).isEqualTo(sent);
            byte[] edges = new byte[5];
            cuda().download(a, 0, MemorySegment.ofArray(edges));
            assertThat(edges).containsOnly(0x55);
            cuda().download(a, bytes + 2L, MemorySegment.ofArray(edges));
            assertThat(edges[3]).isEqualTo((byte) 0x55);
            cuda().download(b, bytes + 1L, MemorySegment.ofArray(edges).asSlice(0, 2));
            assertThat(edges).startsWith(0x66, 0x66);
        }
    }

    /// Far more bytes than the staging ring holds, in pieces of all sizes, none waited for: a chunk
    /// that is filled again too early shows.
    @Test
    void uploadsDoNotOvertakeEachOther() {
        SplittableRandom random = new SplittableRandom(7);
        byte[] sent = random(8, 60 << 20);
        try (DeviceBuffer target = cuda().allocate(sent.length)) {
            byte[] scratch = new byte[3 << 20];
            for (int at = 0; at < sent.length; ) {
                int part = Math.min(sent.length - at, 1 + random.nextInt(scratch.length));
                System.arraycopy(sent, at, scratch, 0, part);
                cuda().upload(MemorySegment.ofArray(scratch).asSlice(0, part), target, at);
                Arrays.fill(scratch, (byte) 0); // the caller's memory is free again
                at += part;
            }
            assertThat(bytes(target)).isEqualTo(sent);
        }
    }

    @Test
    void pinnedMemoryIsUsedDirectly() {
        byte[] sent = random(9, 100_001);
        try (PinnedBuffer pinned = cuda().pinned(200_002);
                DeviceBuffer buffer = cuda().allocate(sent.length)) {
            MemorySegment first = pinned.segment().asSlice(0, sent.length);
            first.copyFrom(MemorySegment.ofArray(sent));
            cuda().upload(first, buffer, 0);
            MemorySegment second = pinned.segment().asSlice(sent.length);
            cuda().download(buffer, 0, second);
            assertThat(second.toArray(ValueLayout.JAVA_BYTE)).isEqualTo(sent);
        }
        PinnedBuffer closed = cuda().pinned(8);
        closed.close();
        assertThatThrownBy(closed::segment).hasMessageContaining("closed");
    }

    @Test
    void rangesAreChecked() {
        try (DeviceBuffer buffer = cuda().allocate(16);
                HostDevice host = HostDevice.open(1);
                DeviceBuffer foreign = host.allocate(16)) {
            MemorySegment five = MemorySegment.ofArray(new byte[5]);
            assertThatThrownBy(() -> cuda().upload(five, buffer, 12))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> cuda().download(buffer, -1, five))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> cuda().fill(buffer, 0, 17, (byte) 0))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> cuda().copy(buffer, 0, foreign, 0, 1))
                    .isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> cuda().allocate(-1))
                    .isInstanceOf(IllegalArgumentException.class);
        }
    }

    @Test
    void memoryIsReused() {
        CudaDevice device = cuda();
        long address;
        try (DeviceBuffer buffer = device.allocate(1000)) {
            address = buffer.address();
            assertThat(address % 256).isZero();
        }
        assertThat(device.memory()).isEqualTo(new MemoryStatistics(0, 1024, 1024, 1));
        for (int i = 0; i < 100; i++) {
            try (DeviceBuffer buffer = device.allocate(900 + i)) {
                assertThat(buffer.address()).isEqualTo(address);
            }
        }
        assertThat(device.memory()).isEqualTo(new MemoryStatistics(0, 1024, 1024, 1));
    }

    @Test
    void moreMemoryThanThereIsIsRefusedAndTheDeviceGoesOn() {
        CudaDevice device = cuda();
        try (DeviceBuffer held = device.allocate(3 << 20)) {
            device.allocate(5 << 20).close(); // cached: given back before the refusal
            assertThatThrownBy(() -> device.allocate(1L << 46))
                    .isInstanceOf(OutOfDeviceMemoryException.class)
                    .hasMessageStartingWith("cuda:0: out of memory: asked for 67,108,864 MiB, ")
                    .hasMessageContaining(
                            " free on the device, 3 MiB in use (most of it 1 x 3 MiB)")
                    .hasMessageContaining("0 MiB cached; use a smaller batch");
            byte[] bytes = {1, 2, 3, 4};
            device.upload(MemorySegment.ofArray(bytes), held, 0);
            byte[] back = new byte[4];
            device.download(held, 0, MemorySegment.ofArray(back));
            assertThat(back).isEqualTo(bytes);
        }
    }

    @Test
    void liveBuffersNeverOverlap() {
        SplittableRandom random = new SplittableRandom(31);
        List<DeviceBuffer> live = new ArrayList<>();
        for (int step = 0; step < 2000; step++) {
            if (live.isEmpty() || (random.nextInt(5) < 3 && live.size() < 40)) {
                int magnitude = 1 << random.nextInt(22);
                DeviceBuffer fresh = cuda().allocate(random.nextInt(magnitude, 2 * magnitude));
                for (DeviceBuffer other : live) {
                    boolean before = fresh.address() + fresh.capacity() <= other.address();
                    boolean after = other.address() + other.capacity() <= fresh.address();
                    assertThat(before || after).isTrue();
                }
                live.add(fresh);
            } else {
                live.remove(random.nextInt(live.size())).close();
            }
            long used = live.stream().mapToLong(DeviceBuffer::capacity).sum();
            assertThat(cuda().memory().usedBytes()).isEqualTo(used);
        }
        live.forEach(DeviceBuffer::close);
        assertThat(cuda().memory().usedBytes()).isZero();
    }

    @Test
    void argumentsArriveInTheirPlaces() {
        Kernel kernel = kernel("many_arguments");
        assertThat(kernel.name()).isEqualTo("many_arguments");
        assertThat(kernel("many_arguments")).isSameAs(kernel);
        try (DeviceBuffer out = cuda().allocate(88);
                DeviceBuffer e = floats(Float.intBitsToFloat(-77))) {
            for (int round = 0; round < 3; round++) {
                kernel.begin()
                        .pointer(out.address())
                        .int32(-3 - round)
                        .int64(1L << 40)
                        .float32(2.5f)
                        .float64(Math.PI)
                        .pointer(round == 2 ? 0 : e.address())
                        .int32(Integer.MAX_VALUE)
                        .float32(-0.125f)
                        .int64(-9)
                        .int32(11)
                        .float64(1e-300)
                        .float32(12)
                        .launch(1, 1);
                double[] values = new double[11];
                cuda().download(out, 0, MemorySegment.ofArray(values));
                assertThat(values)
                        .containsExactly(
                                -3 - round,
                                1L << 40,
                                2.5,
                                Math.PI,
                                round == 2 ? -1 : -77,
                                Integer.MAX_VALUE,
                                -0.125,
                                -9,
                                11,
                                1e-300,
                                12);
            }
        }
    }

    @Test
    void gridsAndBlocksArrive() {
        try (DeviceBuffer out = cuda().allocate(2 * 3 * 4 * 16)) {
            kernel("coordinates").begin().pointer(out.address()).launch(2, 3, 4, 96, 0);
            int[] values = new int[2 * 3 * 4 * 4];
            cuda().download(out, 0, MemorySegment.ofArray(values));
            for (int block = 0; block < 24; block++) {
                assertThat(Arrays.copyOfRange(values, 4 * block, 4 * block + 4))
                        .containsExactly(block % 2, block / 2 % 3, block / 6, 96);
            }
        }
    }

    @Test
    void anEmptyGridLaunchesNothing() {
        try (DeviceBuffer out = floats(1, 2, 3, 4)) {
            kernel("coordinates").begin().pointer(out.address()).launch(0, 32);
            kernel("coordinates").begin().pointer(out.address()).launch(1, 0, 1, 32, 0);
            assertThat(floats(out)).containsExactly(1, 2, 3, 4);
        }
    }

    @Test
    void moreThan48KibibytesOfSharedMemoryAreOptedInTo() {
        Kernel kernel = kernel("shared_sum");
        int most = cuda().properties().sharedBytesPerBlock() - 2048;
        try (DeviceBuffer out = cuda().allocate(8)) {
            for (int bytes : new int[] {4096, most / 4 * 4, 60_000, 4096}) {
                int words = bytes / 4;
                kernel.begin().pointer(out.address()).int32(words).launch(1, 1, 1, 128, bytes);
                long[] sum = new long[1];
                cuda().download(out, 0, MemorySegment.ofArray(sum));
                assertThat(sum[0]).isEqualTo((long) words * (words - 1) / 2);
            }
            assertThat(kernel.blocksPerMultiprocessor(128, most)).isEqualTo(1);
            assertThat(kernel.blocksPerMultiprocessor(128, 4096)).isGreaterThan(1);
            assertThatThrownBy(() ->
                            kernel.begin()
                                    .pointer(out.address())
                                    .int32(1)
                                    .launch(1, 1, 1, 128, most + 8192))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("shared_sum")
                    .hasMessageContaining("dynamic shared memory");
        }
    }

    @Test
    void argumentsAreCounted() {
        Kernel kernel = kernel("axpy");
        try (DeviceBuffer x = floats(1)) {
            kernel.begin()
                    .pointer(x.address())
                    .pointer(x.address())
                    .float32(1)
                    .int32(1)
                    .launch(1, 32);
            assertThatThrownBy(() -> kernel.begin().pointer(0).pointer(0).float32(1).launch(1, 1))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("kernel axpy has 4 parameters, but 3 arguments were given");
            assertThatThrownBy(() -> kernel.begin().pointer(0).int32(4))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage(
                            "kernel axpy: argument 1 is int32 of 4 bytes, but the parameter there"
                                    + " has 8");
            assertThatThrownBy(
                            () -> kernel.begin().pointer(0).pointer(0).float32(1).int32(1).int32(2))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("has 4 parameters");
            assertThatThrownBy(() -> kernel.launch(1, 32)).isInstanceOf(RuntimeException.class);
            assertThat(floats(x)).containsExactly(2);
        }
    }

    @Test
    void aRefusedLaunchNamesKernelAndGrid() {
        try (DeviceBuffer out = cuda().allocate(64)) {
            assertThatThrownBy(() ->
                            kernel("coordinates").begin().pointer(out.address()).launch(3, 4096))
                    .isInstanceOfSatisfying(
                            CudaException.class,
                            e -> {
                                assertThat(e.code()).isEqualTo(1);
                                assertThat(e.name()).isEqualTo("CUDA_ERROR_INVALID_VALUE");
                                assertThat(e.kernel()).isEqualTo("coordinates");
                                assertThat(e.grid()).startsWith("grid 3x1x1, block 4096");
                                assertThat(e)
                                        .hasMessageContaining(
                                                "0x" + Long.toHexString(out.address()));
                            });
            assertThat(bytes(out)).hasSize(64); // the device still works
        }
    }

    @Test
    void aKernelThatIsNotThereIsNamed() {
        assertThatThrownBy(() -> kernel("no_such_kernel"))
                .isInstanceOf(CudaException.class)
                .hasMessageContaining("program probe has no kernel no_such_kernel");
    }

    @Test
    void describesWhatWasLoaded() {
        try (Program program = cuda().load("probe", probeImage())) {
            program.kernel("axpy");
            program.kernel("nothing");
            List<Kernel.Image> images = program.describe();
            assertThat(images).extracting(Kernel.Image::name).containsExactly("axpy", "nothing");
            assertThat(images.getFirst().ptx()).isEqualTo(80);
            assertThat(images.getFirst().binary()).isGreaterThanOrEqualTo(80);
            assertThat(images.getFirst().registers()).isPositive();
            assertThat(images.getFirst().localBytes()).isZero();
        }
    }

    @Test
    void faultsOfKernelsAreThrownOnce() {
        Kernel report = kernel("report");
        long fault = cuda().faultAddress();
        report.begin().pointer(fault).int32(1).int32(12).int32(10).int32(0).launch(1, 1);
        report.begin().pointer(fault).int32(1).int32(99).int32(10).int32(0).launch(1, 1);
        byte[] target = {42};
        try (DeviceBuffer buffer = floats(1)) {
            assertThatThrownBy(() -> cuda().download(buffer, 0, MemorySegment.ofArray(target)))
                    .isInstanceOf(IndexOutOfBoundsException.class)
                    .hasMessage("index 12 of a table of 10 rows");
            assertThat(target).containsExactly(42);
            assertThat(floats(buffer)).containsExactly(1);
        }
        report.begin().pointer(fault).int32(7).int32(1).int32(2).int32(3).launch(1, 1);
        assertThatThrownBy(() -> cuda().synchronize())
                .isInstanceOf(IndexOutOfBoundsException.class)
                .hasMessage("a kernel on cuda:0 reports fault 7 (1, 2, 3)");
        cuda().synchronize();
    }

    @Test
    void aRecordingRunsAgainAndAgain() {
        Kernel axpy = kernel("axpy");
        try (DeviceBuffer x = floats(1, 2, 3);
                DeviceBuffer y = floats(10, 20, 30);
                Graph graph =
                        cuda().record(() -> {
                            axpy.begin()
                                    .pointer(x.address())
                                    .pointer(y.address())
                                    .float32(2)
                                    .int32(3)
                                    .launch(1, 32);
                            cuda().copy(y, 0, x, 0, 4);
                        })) {
            assertThat(graph.nodes()).isEqualTo(2);
            assertThat(floats(y)).containsExactly(10, 20, 30); // nothing has run yet
            graph.run();
            assertThat(floats(y)).containsExactly(12, 24, 36);
            cuda().upload(MemorySegment.ofArray(new float[] {100}), x, 0);
            graph.run();
            graph.run();
            assertThat(floats(y)).containsExactly(636, 32, 48);
        }
    }

    /// A recording's temporary memory belongs to it alone until it closes.
    @Test
    void aRecordingKeepsItsMemory() {
        CudaDevice device = cuda();
        Kernel axpy = kernel("axpy");
        DeviceBuffer y = floats(1, 1);
        long[] scratch = new long[3];
        Graph graph =
                device.record(() -> {
                    try (DeviceBuffer a = device.allocate(5000)) {
                        scratch[0] = a.address();
                    }
                    try (DeviceBuffer b = device.allocate(5000);
                            DeviceBuffer c = device.allocate(5000)) {
                        scratch[1] = b.address();
                        scratch[2] = c.address();
                        device.fill(b, 0, 8, (byte) 0);
                        device.copy(y, 0, b, 0, 8);
                        axpy.begin()
                                .pointer(b.address())
                                .pointer(y.address())
                                .float32(1)
                                .int32(2)
                                .launch(1, 2);
                    }
                });
        assertThat(scratch[1]).isEqualTo(scratch[0]).isNotEqualTo(scratch[2]);
        long used = device.memory().usedBytes();
        assertThat(used).isEqualTo(y.capacity() + 2 * 5120);
        try (DeviceBuffer other = device.allocate(5000)) {
            assertThat(other.address()).isNotIn(scratch[1], scratch[2]);
            device.fill(other, 0, 5000, (byte) 9);
            graph.run();
            graph.run();
            assertThat(bytes(other)).containsOnly(9);
        }
        assertThat(floats(y)).containsExactly(4, 4);
        graph.close();
        graph.close();
        assertThatThrownBy(graph::run).isInstanceOf(IllegalStateException.class);
        assertThat(device.memory().usedBytes()).isEqualTo(y.capacity());
        assertThat(device.memory().cachedBytes()).isEqualTo(3 * 5120);
        y.close();
        assertThat(device.memory().usedBytes()).isZero();
    }

    @Test
    void buffersThatARecordingLeavesOpenOutliveIt() {
        CudaDevice device = cuda();
        DeviceBuffer[] result = new DeviceBuffer[2];
        Graph graph =
                device.record(() -> {
                    result[0] = device.allocate(300);
                    result[1] = device.allocate(300);
                    device.fill(result[0], 0, 300, (byte) 5);
                });
        result[1].close(); // after the recording: reserved all the same
        try (DeviceBuffer other = device.allocate(300)) {
            assertThat(other.address()).isNotEqualTo(addressOf(result[0]));
        }
        graph.run();
        graph.close();
        assertThat(bytes(result[0])).containsOnly(5);
        assertThat(device.memory().usedBytes()).isEqualTo(512);
        result[0].close();
        assertThat(device.memory().usedBytes()).isZero();
    }

    private static long addressOf(DeviceBuffer buffer) {
        return buffer.address();
    }

    @Test
    void aRecordingThatFailsLeavesNoTrace() {
        CudaDevice device = cuda();
        DeviceBuffer before = device.allocate(700);
        MemoryStatistics memory = device.memory();
        assertThatThrownBy(() ->
                        device.record(() -> {
                            device.allocate(700).close();
                            device.fill(before, 0, 700, (byte) 1);
                            throw new IllegalStateException("no more");
                        }))
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("no more");
        assertThat(device.memory().usedBytes()).isEqualTo(memory.usedBytes());
        assertThatThrownBy(() -> device.record(() -> device.upload(MemorySegment.NULL, before, 0)))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("an upload on cuda:0 inside a recording");
        assertThatThrownBy(() -> device.record(device::synchronize))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("inside a recording");
        assertThatThrownBy(() -> device.record(() -> device.record(() -> {}).close()))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("inside a recording");
        device.fill(before, 0, 700, (byte) 3);
        assertThat(bytes(before)).containsOnly(3);
        before.close();
        assertThat(device.memory().usedBytes()).isZero();
    }

    /// Code may be loaded and shared memory opted in to while recording.
    @Test
    void kernelsMayBeLookedUpInsideARecording() {
        int bytes = cuda().properties().sharedBytesPerBlock() - 2048;
        try (DeviceBuffer out = cuda().allocate(8);
                Graph graph =
                        cuda().record(() ->
                                kernel("shared_sum")
                                        .begin()
                                        .pointer(out.address())
                                        .int32(100)
                                        .launch(1, 1, 1, 32, bytes))) {
            graph.run();
            long[] sum = new long[1];
            cuda().download(out, 0, MemorySegment.ofArray(sum));
            assertThat(sum[0]).isEqualTo(4950);
        }
    }

    @Test
    void aRecordingCanBeReplaced() {
        CudaDevice device = cuda();
        try (DeviceBuffer a = device.allocate(4);
                DeviceBuffer b = device.allocate(4);
                Graph graph = device.record(() -> device.fill(a, 0, 4, (byte) 1))) {
            device.fill(a, 0, 4, (byte) 0);
            device.fill(b, 0, 4, (byte) 0);
            boolean kept = graph.update(() -> device.fill(b, 0, 4, (byte) 2));
            assertThat(kept).isEqualTo(binding().equals("ffm"));
            graph.run();
            assertThat(bytes(a)).containsOnly(0);
            assertThat(bytes(b)).containsOnly(2);
            boolean larger =
                    graph.update(() -> {
                        device.allocate(900).close();
                        device.fill(a, 0, 4, (byte) 3);
                        device.copy(a, 0, b, 0, 4);
                    });
            assertThat(larger).isFalse();
            assertThat(graph.nodes()).isEqualTo(2);
            graph.run();
            assertThat(bytes(b)).containsOnly(3);
            assertThatThrownBy(() ->
                            graph.update(() -> {
                                throw new IllegalStateException("no");
                            }))
                    .hasMessage("no");
            device.fill(b, 0, 4, (byte) 0);
            graph.run();
            assertThat(bytes(b)).containsOnly(3);
            assertThat(device.memory().usedBytes()).isEqualTo(512 + 1024);
        }
        assertThat(device.memory().usedBytes()).isZero();
    }

    @Test
    void eventsTellTheTime() {
        try (Event start = cuda().event();
                Event end = cuda().event()) {
            assertThat(start.isDone()).isTrue();
            start.record();
            kernel("spin").begin().int64(20_000_000).launch(1, 1);
            end.record();
            assertThat(end.isDone()).isFalse();
            assertThat(cuda().stream().isIdle() && !end.isDone()).isFalse();
            end.synchronize();
            assertThat(end.isDone()).isTrue();
            assertThat(end.millisecondsSince(start)).isBetween(1f, 60_000f);
            cuda().stream().synchronize();
            assertThat(cuda().stream().isIdle()).isTrue();
        }
        Event closed = cuda().event();
        closed.close();
        assertThatThrownBy(closed::record).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void onlyTheOpeningThreadUsesIt() throws InterruptedException {
        Throwable[] thrown = new Throwable[1];
        Thread thread =
                new Thread(
                        () -> {
                            try {
                                cuda().allocate(1);
                            } catch (IllegalStateException e) {
                                thrown[0] = e;
                            }
                        },
                        "other");
        thread.start();
        thread.join();
        assertThat(thrown[0])
                .hasMessageContaining("cuda:0 is used by thread '")
                .hasMessageContaining("not by thread 'other'");
    }

    @Test
    void aClosedDeviceRefusesWork() {
        CudaDevice device = cuda();
        DeviceBuffer outlives = device.allocate(100);
        Graph graph = device.record(() -> device.fill(outlives, 0, 100, (byte) 0));
        Event event = device.event();
        PinnedBuffer pinned = device.pinned(10);
        Kernel kernel = kernel("nothing");
        Program program = cuda().load("again", probeImage());
        program.close();
        assertThatThrownBy(() -> program.kernel("nothing")).hasMessageContaining("closed");
        device.close();
        device.close();
        outlives.close();
        graph.close();
        event.close();
        pinned.close();
        assertThatThrownBy(() -> device.allocate(1))
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("cuda:0 is closed");
        assertThatThrownBy(() -> kernel.begin().launch(1, 1))
                .isInstanceOf(IllegalStateException.class);
    }
}
