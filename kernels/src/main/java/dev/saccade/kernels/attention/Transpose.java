package dev.saccade.kernels.attention;

import static dev.saccade.kernels.attention.Attention.KEY_BLOCK;

import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.internal.Lanes;
import java.nio.ByteOrder;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorSpecies;

/// Turns a block of keys, one row a key, into one row an element, so that a vector holds the same
/// element of several keys.
///
/// A square of LENGTH rows is transposed by log2 LENGTH perfect shuffles: each interleaves row i
/// with row i + LENGTH/2 into the rows 2i and 2i + 1. Two shuffles are done at a time, from memory
/// to memory.
final class Transpose {
    private static final int LENGTH = Lanes.LENGTH;
    private static final int QUARTER = LENGTH / 4;
    private static final long VECTOR = 4L * LENGTH;
    private static final VectorSpecies<Integer> SPECIES =
            VectorSpecies.of(int.class, Lanes.SPECIES.vectorShape());
    private static final IntVector ZERO = IntVector.zero(SPECIES);

    /// Lane indices of the interleaved lower and upper halves of two vectors.
    private static final IntVector LOWER = interleaved(0);

    private static final IntVector UPPER = interleaved(LENGTH / 2);

    /// Bytes of scratch memory that [#block] needs.
    static final long SCRATCH_BYTES = VECTOR * LENGTH;

    private Transpose() {}

    private static IntVector interleaved(int from) {
        int[] index = new int[LENGTH];
        for (int i = 0; i < LENGTH; i++) {
            index[i] = from + i / 2 + i % 2 * LENGTH;
        }
        return IntVector.fromArray(SPECIES, index, 0);
    }

    /// The elements of a transposed block of keys: `headDim`, rounded up to whole vectors.
    static int rows(int headDim) {
        return Math.ceilDiv(headDim, LENGTH) * LENGTH;
    }

    /// Writes `[rows(headDim), KEY_BLOCK]` floats to `to`; keys from `keys` on, and elements from
    /// headDim on, are 0.
    ///
    /// @param from the first key's row; rows are `pitch` bytes apart
    static void block(int keys, int headDim, long from, long pitch, long to, long scratch) {
        for (int key = 0; key < KEY_BLOCK; key += LENGTH) {
            for (int d = 0; d < headDim; d += LENGTH) {
                square(
                        keys - key,
                        headDim - d,
                        from + pitch * key + 4L * d,
                        pitch,
                        to + 4L * KEY_BLOCK * d + 4L * key,
                        scratch);
            }
        }
    }

    private static void square(
            int rows, int columns, long from, long pitch, long to, long scratch) {
        boolean last = LENGTH == 4;
        long target = last ? to : scratch;
        long targetPitch = last ? 4L * KEY_BLOCK : VECTOR;
        if (rows >= LENGTH && columns >= LENGTH) {
            for (int i = 0; i < QUARTER; i++) {
                long at = from + pitch * i;
                IntVector r0 = load(at);
                IntVector r1 = load(at + pitch * QUARTER);
                IntVector r2 = load(at + pitch * (2L * QUARTER));
                IntVector r3 = load(at + pitch * (3L * QUARTER));
                shuffle4(r0, r1, r2, r3, target + targetPitch * (4L * i), targetPitch);
            }
        } else {
            for (int i = 0; i < QUARTER; i++) {
                IntVector r0 = load(i, rows, columns, from, pitch);
                IntVector r1 = load(i + QUARTER, rows, columns, from, pitch);
                IntVector r2 = load(i + 2 * QUARTER, rows, columns, from, pitch);
                IntVector r3 = load(i + 3 * QUARTER, rows, columns, from, pitch);
                shuffle4(r0, r1, r2, r3, target + targetPitch * (4L * i), targetPitch);
            }
        }
        if (LENGTH == 16) {
            for (int i = 0; i < QUARTER; i++) {
                long at = scratch + VECTOR * i;
                IntVector r0 = load(at);
                IntVector r1 = load(at + VECTOR * QUARTER);
                IntVector r2 = load(at + VECTOR * (2L * QUARTER));
                IntVector r3 = load(at + VECTOR * (3L * QUARTER));
                shuffle4(r0, r1, r2, r3, to + 4L * KEY_BLOCK * (4L * i), 4L * KEY_BLOCK);
            }
        } else if (LENGTH == 8) {
            for (int i = 0; i < LENGTH / 2; i++) {
                IntVector r0 = load(scratch + VECTOR * i);
                IntVector r1 = load(scratch + VECTOR * (i + LENGTH / 2));
                store(LOWER.selectFrom(r0, r1), to + 4L * KEY_BLOCK * (2L * i));
                store(UPPER.selectFrom(r0, r1), to + 4L * KEY_BLOCK * (2 * i + 1));
            }
        }
    }

    /// Two perfect shuffles of four rows, a quarter of the square apart, into four that follow one
    /// another.
    private static void shuffle4(
            IntVector r0, IntVector r1, IntVector r2, IntVector r3, long to, long pitch) {
        IntVector even0 = LOWER.selectFrom(r0, r2);
        IntVector odd0 = UPPER.selectFrom(r0, r2);
        IntVector even1 = LOWER.selectFrom(r1, r3);
        IntVector odd1 = UPPER.selectFrom(r1, r3);
        store(LOWER.selectFrom(even0, even1), to);
        store(UPPER.selectFrom(even0, even1), to + pitch);
        store(LOWER.selectFrom(odd0, odd1), to + 2 * pitch);
        store(UPPER.selectFrom(odd0, odd1), to + 3 * pitch);
    }

    private static IntVector load(long address) {
        return IntVector.fromMemorySegment(
                SPECIES, HostMemory.SPACE, address, ByteOrder.nativeOrder());
    }

    private static IntVector load(int row, int rows, int columns, long from, long pitch) {
        if (row >= rows) {
            return ZERO;
        }
        return IntVector.fromMemorySegment(
                SPECIES,
                HostMemory.SPACE,
                from + pitch * row,
                ByteOrder.nativeOrder(),
                SPECIES.indexInRange(0, columns));
    }

    private static void store(IntVector vector, long address) {
        vector.intoMemorySegment(HostMemory.SPACE, address, ByteOrder.nativeOrder());
    }
}
