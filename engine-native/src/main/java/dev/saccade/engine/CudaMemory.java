package dev.saccade.engine;

import dev.saccade.engine.internal.cuda.CudaDriver;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/// A caching pool over a CUDA device's memory.
///
/// All work goes to one stream, so a block that is given back can be handed out again at once: who
/// gets it next comes later in the stream. In steady state no driver call is made.
///
/// Blocks come from cuMemAlloc. The driver's own pool (cuMemAllocAsync with an unlimited release
/// threshold) would cache as well, but each allocation would remain a driver call, inside a capture
/// it would become a node of the graph with memory that the graph owns and maps at each launch, and
/// JCuda can't set the threshold.
///
/// A block up to 1 MiB serves exactly its size class; a larger one also serves a request that
/// leaves at most a fifth of it unused, since large blocks are few and their sizes vary.
final class CudaMemory {
    private static final long LARGE = 1L << 20;
    private static final int NAMED_HOLDERS = 3;

    private final CudaContext context;
    private final long stream;
    private final BlockCache cache = new BlockCache();
    private final Set<Block> blocks = Collections.newSetFromMap(new IdentityHashMap<>());
    private @Nullable Reservation recording;
    private long totalBytes;
    private long peakBytes;
    private long allocations;

    CudaMemory(CudaContext context, long stream) {
        this.context = context;
        this.stream = stream;
    }

    /// The memory of one recording. Its graph writes there at each replay, so that whatever was
    /// handed out or given back while it was recorded stays out of the pool until it is closed.
    /// During the recording, and only then, it may be handed out again within it.
    final class Reservation {
        private final BlockCache free = new BlockCache();
        private final Set<Block> held = Collections.newSetFromMap(new IdentityHashMap<>());

        private void hold(Block block) {
            if (held.add(block)) {
                block.reservations++;
            }
        }

        /// Ends the recording; what it used stays set aside.
        void seal() {
            recording = null;
            free.drain(_ -> {});
        }

        /// Gives everything back: free blocks now, those still handed out when they are closed.
        void close() {
            for (Block block : held) {
                block.reservations--;
                if (block.reservations == 0 && !block.live) {
                    cache.put(block);
                }
            }
            held.clear();
        }
    }

    /// Begins to set memory aside for a recording.
    Reservation reserve() {
        Reservation reservation = new Reservation();
        recording = reservation;
        return reservation;
    }

    Block allocate(long bytes) {
        long capacity = BlockCache.sizeClass(bytes);
        long most = capacity > LARGE ? capacity + capacity / 4 : capacity;
        Reservation reservation = recording;
        Block block = reservation == null ? null : reservation.free.take(capacity, most);
        if (block == null) {
            block = cache.take(capacity, most);
        }
        if (block == null) {
            block = fromDriver(bytes, capacity);
        }
        if (reservation != null) {
            reservation.hold(block);
        }
        block.live = true;
        peakBytes = Math.max(peakBytes, totalBytes - cache.bytes());
        return block;
    }

    void release(Block block) {
        block.live = false;
        Reservation reservation = recording;
        if (reservation != null) {
            reservation.hold(block);
            if (block.reservations == 1) {
                reservation.free.put(block);
            }
        } else if (block.reservations == 0) {
            cache.put(block);
        }
    }

    private Block fromDriver(long bytes, long capacity) {
        int mode = context.relax();
        try {
            int code = context.driver.cuMemAlloc(context.out, capacity);
            if (code == CudaDriver.OUT_OF_MEMORY && cache.bytes() > 0) {
                trim();
                code = context.driver.cuMemAlloc(context.out, capacity);
            }
            if (code == CudaDriver.OUT_OF_MEMORY) {
                throw outOfMemory(bytes);
            }
            context.check(code, "cuMemAlloc");
        } finally {
            context.restrict(mode);
        }
        return added(capacity);
    }

    private Block added(long capacity) {
        Block block = new Block(context.outLong(), capacity);
        blocks.add(block);
        totalBytes += capacity;
        allocations++;
        return block;
    }

    /// Gives cached memory back to the driver. Work still under way may use it, so this waits
    /// first; inside a recording nothing is under way, since that begins with a wait.
    private void trim() {
        if (!context.recording()) {
            context.check(context.driver.cuStreamSynchronize(stream), "cuStreamSynchronize");
        }
        cache.drain(this::free);
    }

    private void free(Block block) {
        blocks.remove(block);
        totalBytes -= block.capacity();
        context.check(context.driver.cuMemFree(block.address()), "cuMemFree");
    }

    private OutOfDeviceMemoryException outOfMemory(long bytes) {
        long freeBytes = 0;
        if (context.driver.cuMemGetInfo(context.out, context.second) == CudaDriver.SUCCESS) {
            freeBytes = context.outLong();
        }
        TreeMap<Long, Integer> live = new TreeMap<>();
        for (Block block : blocks) {
            if (block.live || block.reservations > 0) {
                live.merge(block.capacity(), 1, Integer::sum);
            }
        }
        List<Map.Entry<Long, Integer>> holders = new ArrayList<>(live.entrySet());
        holders.sort((a, b) -> Long.compare(b.getKey() * b.getValue(), a.getKey() * a.getValue()));
        return new OutOfDeviceMemoryException(
                context.device,
                bytes,
                freeBytes,
                statistics(),
                holders.subList(0, Math.min(NAMED_HOLDERS, holders.size())));
    }

    MemoryStatistics statistics() {
        return new MemoryStatistics(
                totalBytes - cache.bytes(), peakBytes, cache.bytes(), allocations);
    }

    /// Gives all memory back, handed out or not. Errors don't matter any more.
    void close() {
        for (Block block : blocks) {
            int _ = context.driver.cuMemFree(block.address());
        }
        blocks.clear();
        cache.drain(_ -> {});
        totalBytes = 0;
    }
}
