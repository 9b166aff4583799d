package dev.saccade.engine;

import java.util.ArrayDeque;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// Free blocks by size.
final class BlockCache {
    private static final long LEAST = 256;
    private static final long LARGEST_STEP = 32L << 20;

    private final TreeMap<Long, ArrayDeque<Block>> free = new TreeMap<>();
    private long bytes;

    /// The capacity that a request is rounded up to. Sizes step by an eighth of a power of two, and
    /// by 32 MiB from 256 MiB on: at most 12.5 % is lost, and steps of slightly different shapes
    /// still find cached memory. A multiple of 256.
    static long sizeClass(long bytes) {
        long least = Math.max(bytes, LEAST);
        long step = Math.clamp(Long.highestOneBit(least) >> 3, LEAST, LARGEST_STEP);
        return least > Long.MAX_VALUE - step
                ? Long.MAX_VALUE / LEAST * LEAST
                : Math.ceilDiv(least, step) * step;
    }

    /// Takes the smallest free block of at least `least` and at most `most` bytes, the one given
    /// back last; null when there is none.
    @Nullable Block take(long least, long most) {
        Map.Entry<Long, ArrayDeque<Block>> fit = free.ceilingEntry(least);
        if (fit == null || fit.getKey() > most) {
            return null;
        }
        Block block = fit.getValue().pop();
        if (fit.getValue().isEmpty()) {
            free.remove(fit.getKey());
        }
        bytes -= block.capacity();
        return block;
    }

    void put(Block block) {
        free.computeIfAbsent(block.capacity(), _ -> new ArrayDeque<>()).push(block);
        bytes += block.capacity();
    }

    /// Takes every block out.
    void drain(Consumer<Block> to) {
        free.values().forEach(blocks -> blocks.forEach(to));
        free.clear();
        bytes = 0;
    }

    long bytes() {
        return bytes;
    }
}
