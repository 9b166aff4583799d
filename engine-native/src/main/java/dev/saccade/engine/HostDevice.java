package dev.saccade.engine;

import java.lang.foreign.MemorySegment;

/// The CPU as a device: off-heap memory in a caching pool, and a fixed crew of workers.
///
/// [#run(int, Part)] splits work by index alone: which worker does a part, and how many workers
/// there are, never shows in a result as long as each part writes only its own outputs. A device is
/// used by one thread at a time.
public final class HostDevice implements Device {

    /// A range of a loop that is run on the workers.
    @FunctionalInterface
    public interface Part {
        /// Handles the parts `begin` (inclusive) to `end` (exclusive).
        ///
        /// @param worker which worker this is, from 0 to [HostDevice#workers()] - 1: the key to its
        ///   scratch memory
        void run(int worker, int begin, int end);
    }

    /// What a worker reads at once of an upload's source: it stays in the worker's own cache.
    private static final long READ_BYTES = 1 << 20;

    private final WorkerPool pool;
    private final BlockCache cache = new BlockCache();
    private final DeviceBuffer[] scratch;
    private long limitBytes = Long.MAX_VALUE;
    private long usedBytes;
    private long peakBytes;
    private long allocations;
    private boolean open = true;

    private HostDevice(int workers) {
        this.pool = new WorkerPool(workers);
        this.scratch = new DeviceBuffer[workers];
    }

    /// A device with as many workers as the machine has processors, or as the system property
    /// `saccade.threads` says.
    public static HostDevice open() {
        int processors = Runtime.getRuntime().availableProcessors();
        return open(Integer.getInteger("saccade.threads", processors));
    }

    /// A device with `workers` workers, the calling thread among them.
    public static HostDevice open(int workers) {
        if (workers < 1) {
            throw new IllegalArgumentException(
                    "a CPU device needs at least 1 worker, not " + workers);
        }
        return new HostDevice(workers);
    }

    @Override
    public String name() {
        return "cpu";
    }

    /// How many threads run parts, the calling one included.
    public int workers() {
        return pool.workers();
    }

    /// Runs the parts 0 to `parts` - 1, each once, in contiguous ranges of nearly equal size, one
    /// range a worker; returns when all are done. A part's exception is rethrown here. Not
    /// reentrant: a part may not call this again.
    public void run(int parts, Part part) {
        pool.run(parts, part);
    }

    /// Scratch memory of at least `bytes` bytes for one worker: its address. Valid until the worker
    /// asks for a larger one; contents are undefined.
    public long scratch(int worker, long bytes) {
        DeviceBuffer buffer = scratch[worker];
        if (buffer == null || buffer.bytes() < bytes) {
            synchronized (this) {
                if (buffer != null) {
                    buffer.close();
                }
                buffer = allocate(Math.max(bytes, 1L << 16));
                scratch[worker] = buffer;
            }
        }
        return buffer.address();
    }

    /// Limits the memory this device hands out; for tests and for small machines.
    public void limitMemory(long bytes) {
        limitBytes = bytes;
    }

    @Override
    public synchronized DeviceBuffer allocate(long bytes) {
        if (!open) {
            throw new IllegalStateException("the CPU device is closed");
        }
        if (bytes < 0) {
            throw new IllegalArgumentException("a buffer of " + bytes + " bytes");
        }
        long capacity = BlockCache.sizeClass(bytes);
        if (capacity > limitBytes - usedBytes) {
            throw new OutOfDeviceMemoryException(name(), bytes, memory());
        }
        Block block = cache.take(capacity, capacity);
        if (block == null) {
            block = fromSystem(bytes, capacity);
        }
        usedBytes += capacity;
        peakBytes = Math.max(peakBytes, usedBytes);
        return new DeviceBuffer(this, block, bytes);
    }

    private Block fromSystem(long bytes, long capacity) {
        long address = HostMemory.allocate(capacity);
        if (address == 0) {
            trim();
            address = HostMemory.allocate(capacity);
        }
        if (address == 0) {
            throw new OutOfDeviceMemoryException(name(), bytes, memory());
        }
        allocations++;
        return new Block(address, capacity);
    }

    synchronized void release(Block block) {
        usedBytes -= block.capacity();
        if (open) {
            cache.put(block);
        } else {
            HostMemory.free(block.address());
        }
    }

    /// Gives cached memory back to the system.
    private void trim() {
        cache.drain(block -> HostMemory.free(block.address()));
    }

    @Override
    public void upload(MemorySegment source, DeviceBuffer target, long targetOffset) {
        segment(target, targetOffset, source.byteSize()).copyFrom(source);
    }

    @Override
    public void upload(UploadSource source, long bytes, DeviceBuffer target, long targetOffset) {
        MemorySegment whole = segment(target, targetOffset, bytes);
        run(
                Math.toIntExact(Math.ceilDiv(bytes, READ_BYTES)),
                (_, begin, end) -> {
                    for (int i = begin; i < end; i++) {
                        long from = i * READ_BYTES;
                        source.read(from, whole.asSlice(from, Math.min(READ_BYTES, bytes - from)));
                    }
                });
    }

    @Override
    public void download(DeviceBuffer source, long sourceOffset, MemorySegment target) {
        target.copyFrom(segment(source, sourceOffset, target.byteSize()));
    }

    @Override
    public void copy(
            DeviceBuffer source,
            long sourceOffset,
            DeviceBuffer target,
            long targetOffset,
            long bytes) {
        segment(target, targetOffset, bytes).copyFrom(segment(source, sourceOffset, bytes));
    }

    @Override
    public void fill(DeviceBuffer target, long offset, long bytes, byte value) {
        segment(target, offset, bytes).fill(value);
    }

    private MemorySegment segment(DeviceBuffer buffer, long offset, long bytes) {
        return HostMemory.segment(buffer.address(this, offset, bytes), bytes);
    }

    @Override
    public Replay record(Runnable work) {
        return new Replay() {
            @Override
            public void run() {
                work.run();
            }

            @Override
            public void close() {}
        };
    }

    @Override
    public void synchronize() {}

    @Override
    public synchronized MemoryStatistics memory() {
        return new MemoryStatistics(usedBytes, peakBytes, cache.bytes(), allocations);
    }

    @Override
    public synchronized void close() {
        if (!open) {
            return;
        }
        pool.close();
        for (DeviceBuffer buffer : scratch) {
            if (buffer != null) {
                buffer.close();
            }
        }
        trim();
        open = false;
    }
}
