package dev.saccade.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// The pool, the memory of recordings and the staging of copies, on the fake driver.
@Tag(FakeCuda.TAG)
class CudaMemoryTest {
    private static final long MIB = 1L << 20;

    /// The words that kernels report a fault in lie beside the pool.
    private static final long FAULT_BYTES = 16;

    private FakeCuda fake;
    private CudaDevice device;

    @BeforeEach
    void open() {
        fake = FakeCuda.require();
        device = CudaDevice.open(0);
    }

    @AfterEach
    void close() {
        if (device != null) {
            device.close();
            fake.assertNothingLeft();
        }
    }

    private DeviceBuffer reused(long bytes) {
        long before = device.memory().allocations();
        DeviceBuffer buffer = device.allocate(bytes);
        assertThat(device.memory().allocations()).isEqualTo(before);
        return buffer;
    }

    @Test
    void aSteadyStepMakesNoDriverCalls() {
        Runnable step =
                () -> {
                    List<DeviceBuffer> held = new ArrayList<>();
                    SplittableRandom random = new SplittableRandom(5);
                    for (int i = 0; i < 300; i++) {
                        held.add(device.allocate(random.nextInt(1, 3 << 20)));
                        if (random.nextBoolean()) {
                            held.remove(random.nextInt(held.size())).close();
                        }
                    }
                    held.forEach(DeviceBuffer::close);
                };
        // What a step finds depends only on the sizes in the cache: once a step has found all,
        // every
        // later one does.
        for (int i = 0; i < 5; i++) {
            step.run();
        }
        long allocated = fake.calls("cuMemAlloc_v2");
        for (int i = 0; i < 20; i++) {
            step.run();
        }
        assertThat(fake.calls("cuMemAlloc_v2")).isEqualTo(allocated);
        assertThat(fake.calls("cuMemFree_v2")).isZero();
        assertThat(device.memory().usedBytes()).isZero();
        assertThat(device.memory().cachedBytes() + FAULT_BYTES).isEqualTo(fake.get("device bytes"));
    }

    @Test
    void largeBlocksServeWhatLeavesAFifthUnused() {
        device.allocate(10 * MIB).close();
        try (DeviceBuffer close = reused(8 * MIB)) {
            assertThat(close.capacity()).isEqualTo(10 * MIB);
        }
        device.allocate(7 * MIB).close(); // too small for the block of 10
        assertThat(device.memory().allocations()).isEqualTo(2);
        try (DeviceBuffer best = reused(6 * MIB)) {
            assertThat(best.capacity()).isEqualTo(7 * MIB);
        }
        device.allocate(MIB).close();
        device.allocate(MIB * 7 / 8).close(); // small blocks serve their own size alone
        assertThat(device.memory().allocations()).isEqualTo(4);
    }

    @Test
    void sizeClassesLoseLittle() {
        SplittableRandom random = new SplittableRandom(1);
        for (int i = 0; i < 100_000; i++) {
            long bytes = random.nextLong(1L << random.nextInt(1, 40));
            long capacity = BlockCache.sizeClass(bytes);
            assertThat(capacity).isGreaterThanOrEqualTo(Math.max(1, bytes));
            assertThat(capacity % 256).isZero();
            assertThat(capacity - bytes)
                    .isLessThanOrEqualTo(Math.min(Math.max(256, bytes / 8 + 1), 32 * MIB));
            assertThat(BlockCache.sizeClass(capacity)).isEqualTo(capacity);
        }
        assertThat(BlockCache.sizeClass(0)).isEqualTo(256);
        assertThat(BlockCache.sizeClass(Long.MAX_VALUE)).isPositive();
    }

    /// What a recording frees is its own, also when it was there before: its graph uses it.
    @Test
    void aBufferFromBeforeThatARecordingFreesStaysSetAside() {
        DeviceBuffer input = device.allocate(1000);
        long address = input.address();
        try (Graph graph =
                device.record(() -> {
                    device.fill(input, 0, 1000, (byte) 1);
                    input.close();
                })) {
            try (DeviceBuffer other = device.allocate(1000)) {
                assertThat(other.address()).isNotEqualTo(address);
            }
            graph.run();
        }
        try (DeviceBuffer again = reused(1000);
                DeviceBuffer other = reused(1000)) {
            assertThat(List.of(again.address(), other.address())).contains(address);
        }
    }

    /// A buffer made in one recording and freed in another belongs to both until both are closed.
    @Test
    void recordingsCanShareABuffer() {
        DeviceBuffer[] shared = new DeviceBuffer[1];
        long[] address = new long[2];
        Graph first =
                device.record(() -> {
                    shared[0] = device.allocate(1000);
                    address[0] = shared[0].address();
                });
        Graph second =
                device.record(() -> {
                    shared[0].close();
                    try (DeviceBuffer fresh = device.allocate(1000)) {
                        address[1] = fresh.address();
                    }
                });
        assertThat(address[1]).isNotEqualTo(address[0]);
        first.close();
        assertThat(device.memory().cachedBytes()).isZero();
        second.close();
        assertThat(device.memory().cachedBytes()).isEqualTo(2048);
        assertThat(device.memory().usedBytes()).isZero();
    }

    @Test
    void aRecordingTakesCachedMemoryAndGivesTheCacheBackWhenThereIsNone() {
        fake.set("memory", 100 * MIB);
        device.allocate(40 * MIB).close();
        device.allocate(50 * MIB).close();
        long freed = fake.calls("cuMemFree_v2");
        try (Graph _ =
                device.record(() -> {
                    try (DeviceBuffer _ = device.allocate(40 * MIB);
                            DeviceBuffer _ = device.allocate(20 * MIB)) {
                        device.fill(device.allocate(1), 0, 1, (byte) 0);
                    }
                })) {
            assertThat(fake.calls("cuMemFree_v2")).isEqualTo(freed + 1);
            assertThat(device.memory().usedBytes()).isEqualTo(60 * MIB + 256);
        }
    }

    @Test
    void smallUploadsDoNotWait() {
        try (DeviceBuffer target = device.allocate(1 << 20)) {
            device.upload(MemorySegment.ofArray(new byte[4]), target, 0);
            long waits = fake.calls("cuEventSynchronize") + fake.calls("cuStreamSynchronize");
            for (int i = 0; i < 1000; i++) {
                device.upload(MemorySegment.ofArray(new byte[400]), target, 500L * i);
            }
            assertThat(fake.calls("cuEventSynchronize") + fake.calls("cuStreamSynchronize"))
                    .isEqualTo(waits);
            assertThat(fake.get("queued")).isGreaterThanOrEqualTo(1000);
            assertThat(fake.get("host allocations")).isEqualTo(2); // the fault word and one chunk
        }
    }

    @Test
    void largeUploadsWaitForAChunkAtATime() {
        int chunk = CudaStaging.CHUNK_BYTES;
        try (DeviceBuffer target = device.allocate(10L * chunk)) {
            device.upload(MemorySegment.ofArray(new byte[10 * chunk]), target, 0);
            assertThat(fake.calls("cuMemcpyHtoDAsync_v2")).isEqualTo(10);
            assertThat(fake.calls("cuStreamSynchronize")).isZero();
            assertThat(fake.get("queued")).isPositive(); // the last chunks are still on their way
        }
    }

    /// Sizes around a part, a chunk and the ring, between ordinary uploads that share the chunks.
    @Test
    void sourcesAreReadByOtherThreadsAndArriveInOrder() {
        long chunk = CudaStaging.CHUNK_BYTES;
        long part = CudaStaging.FILL_BYTES;
        Thread owner = Thread.currentThread();
        for (long bytes :
                new long[] {0, 1, part, part + 1, chunk - 3, chunk, chunk + 5, 20 * chunk + 7}) {
            try (DeviceBuffer target = device.allocate(bytes + 200)) {
                device.fill(target, 0, bytes + 200, (byte) 0x55);
                device.upload(MemorySegment.ofArray(new byte[] {1, 2, 3}), target, 0);
                device.upload(
                        (offset, into) -> {
                            assertThat(offset % UploadSource.ALIGNMENT).isZero();
                            assertThat(Thread.currentThread() == owner).isEqualTo(bytes <= part);
                            fillFrom(offset, into);
                        },
                        bytes,
                        target,
                        100);
                device.upload(MemorySegment.ofArray(new byte[] {4, 5}), target, bytes + 100);
                byte[] all = new byte[(int) bytes + 200];
                device.download(target, 0, MemorySegment.ofArray(all));
                byte[] expected = new byte[all.length];
                Arrays.fill(expected, (byte) 0x55);
                System.arraycopy(new byte[] {1, 2, 3}, 0, expected, 0, 3);
                fillFrom(0, MemorySegment.ofArray(expected).asSlice(100, bytes));
                System.arraycopy(new byte[] {4, 5}, 0, expected, (int) bytes + 100, 2);
                assertThat(Arrays.mismatch(all, expected)).isEqualTo(-1);
            }
        }
    }

    private static void fillFrom(long offset, MemorySegment into) {
        for (long i = 0; i < into.byteSize(); i++) {
            into.set(
                    ValueLayout.JAVA_BYTE, i, (byte) (((offset + i) * 0x9e3779b97f4a7c15L) >>> 56));
        }
    }

    /// The exception comes when nobody writes to the ring any more, and the ring goes on working.
    @Test
    void aSourceThatFailsEndsTheUploadAlone() {
        int bytes = 10 * CudaStaging.CHUNK_BYTES;
        AtomicInteger reading = new AtomicInteger();
        try (DeviceBuffer target = device.allocate(bytes)) {
            assertThatThrownBy(() ->
                            device.upload(
                                    (offset, into) -> {
                                        reading.incrementAndGet();
                                        try {
                                            if (offset == 5 * CudaStaging.FILL_BYTES) {
                                                throw new InputException("file", "broke", "mend");
                                            }
                                            fillFrom(offset, into);
                                        } finally {
                                            reading.decrementAndGet();
                                        }
                                    },
                                    bytes,
                                    target,
                                    0))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining("broke");
            assertThat(reading).hasValue(0);
            device.upload((offset, into) -> fillFrom(offset, into), bytes, target, 0);
            byte[] all = new byte[bytes];
            device.download(target, 0, MemorySegment.ofArray(all));
            byte[] expected = new byte[bytes];
            fillFrom(0, MemorySegment.ofArray(expected));
            assertThat(Arrays.mismatch(all, expected)).isEqualTo(-1);
        }
    }

    @Test
    void pinnedMemoryIsNotStaged() {
        try (PinnedBuffer pinned = device.pinned(1 << 20);
                DeviceBuffer target = device.allocate(1 << 20)) {
            device.upload(pinned.segment().asSlice(100, 1000), target, 0);
            device.download(target, 0, pinned.segment());
            assertThat(fake.get("host allocations")).isEqualTo(2); // the fault word and this
            device.upload(MemorySegment.ofArray(new byte[1]), target, 0);
            assertThat(fake.get("host allocations")).isEqualTo(3);
        }
    }
}
