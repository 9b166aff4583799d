package dev.saccade.kernels.gemm;

import static dev.saccade.kernels.internal.Lanes.LENGTH;
import static dev.saccade.kernels.internal.Lanes.SPECIES;

import dev.saccade.kernels.internal.Lanes;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorShuffle;

/// A matrix as the tile wants it: `extent` lines (rows of A, columns of B) of k elements each,
/// packed into panels that hold `width` lines side by side, k after k.
///
/// @param address the first element
/// @param extent how many lines
/// @param k elements of a line
/// @param contiguous whether a line's elements lie side by side, so that packing transposes;
///   otherwise the lines of one k do, and packing copies
record Operand(long address, int extent, int k, boolean contiguous) {
    private static final int FLOAT = Float.BYTES;

    /// Block of a transposition in floats; the last one of a panel may write that much beyond it.
    static final int BLOCK = LENGTH * LENGTH;

    // Two vectors' lower (upper) halves, element by element in turn: with these a block of 16 x 16
    // is transposed in 4 rounds, each of which pairs line i with line i + 8.
    private static final VectorShuffle<Float> LOWER = halves(0);
    private static final VectorShuffle<Float> UPPER = halves(LENGTH / 2);
    private static final VectorMask<Float> ODD =
            VectorMask.fromLong(SPECIES, 0xaaaa_aaaa_aaaa_aaaaL >>> (64 - LENGTH));

    private static VectorShuffle<Float> halves(int from) {
        return VectorShuffle.fromOp(SPECIES, i -> from + i / 2);
    }

    /// Floats that `lines` lines take in panels of `width`.
    int packedFloats(int lines, int width) {
        return Math.multiplyExact((lines + width - 1) / width * width, k);
    }

    /// Packs the lines `first` to `first + lines` into consecutive panels of `width` lines at the
    /// start of `target`. What the last panel holds beyond the last line is undefined.
    void pack(int first, int lines, int width, float[] target, float[] block) {
        for (int line = 0; line < lines; line += width) {
            int count = Math.min(width, lines - line);
            int at = line * k;
            if (contiguous) {
                transpose(first + line, count, width, target, at, block);
            } else {
                copy(first + line, count, width, target, at);
            }
        }
    }

    private void copy(int first, int count, int width, float[] target, int at) {
        long from = address + (long) first * FLOAT;
        long stride = (long) extent * FLOAT;
        for (int j = 0; j < count; j += LENGTH) {
            int to = at + j;
            long source = from + (long) j * FLOAT;
            if (count - j >= LENGTH) {
                for (int i = 0; i < k; i++) {
                    Lanes.load(source).intoArray(target, to);
                    source += stride;
                    to += width;
                }
            } else {
                VectorMask<Float> mask = Lanes.first(count - j);
                for (int i = 0; i < k; i++) {
                    Lanes.load(source, mask).intoArray(target, to);
                    source += stride;
                    to += width;
                }
            }
        }
    }

    private void transpose(int first, int count, int width, float[] target, int at, float[] block) {
        int whole = LENGTH == 16 ? k / LENGTH * LENGTH : 0;
        long stride = (long) k * FLOAT;
        for (int j = 0; j < count; j += LENGTH) {
            long from = address + (first + j) * stride;
            int lines = Math.min(LENGTH, count - j);
            if (lines == LENGTH) {
                for (int i = 0; i < whole; i += LENGTH) {
                    gather(from + (long) i * FLOAT, stride, block);
                    scatter(block, target, at + i * width + j, width);
                }
                transposeSlowly(from, stride, lines, whole, width, target, at + j);
            } else {
                transposeSlowly(from, stride, lines, 0, width, target, at + j);
            }
        }
    }

    /// Element by element: the ends, and machines with shorter vectors.
    private void transposeSlowly(
            long from, long stride, int lines, int begin, int width, float[] target, int at) {
        for (int j = 0; j < lines; j++) {
            long source = from + j * stride;
            int to = at + j;
            for (int i = begin; i < k; i++) {
                target[to + i * width] = Lanes.get(source + (long) i * FLOAT);
            }
        }
    }

    /// The first two rounds, from memory to `block`.
    private static void gather(long from, long stride, float[] block) {
        for (int i = 0; i < LENGTH / 4; i++) {
            long line = from + i * stride;
            FloatVector a = Lanes.load(line);
            FloatVector b = Lanes.load(line + LENGTH / 4 * stride);
            FloatVector c = Lanes.load(line + LENGTH / 2 * stride);
            FloatVector d = Lanes.load(line + 3 * LENGTH / 4 * stride);
            FloatVector acLower = pair(a, c, LOWER);
            FloatVector acUpper = pair(a, c, UPPER);
            FloatVector bdLower = pair(b, d, LOWER);
            FloatVector bdUpper = pair(b, d, UPPER);
            int to = 4 * i * LENGTH;
            pair(acLower, bdLower, LOWER).intoArray(block, to);
            pair(acLower, bdLower, UPPER).intoArray(block, to + LENGTH);
            pair(acUpper, bdUpper, LOWER).intoArray(block, to + 2 * LENGTH);
            pair(acUpper, bdUpper, UPPER).intoArray(block, to + 3 * LENGTH);
        }
    }

    /// The last two rounds, from `block` to the panel.
    private static void scatter(float[] block, float[] target, int at, int width) {
        for (int i = 0; i < LENGTH / 4; i++) {
            int line = i * LENGTH;
            FloatVector a = FloatVector.fromArray(SPECIES, block, line);
            FloatVector b = FloatVector.fromArray(SPECIES, block, line + BLOCK / 4);
            FloatVector c = FloatVector.fromArray(SPECIES, block, line + BLOCK / 2);
            FloatVector d = FloatVector.fromArray(SPECIES, block, line + 3 * BLOCK / 4);
            FloatVector acLower = pair(a, c, LOWER);
            FloatVector acUpper = pair(a, c, UPPER);
            FloatVector bdLower = pair(b, d, LOWER);
            FloatVector bdUpper = pair(b, d, UPPER);
            int to = at + 4 * i * width;
            pair(acLower, bdLower, LOWER).intoArray(target, to);
            pair(acLower, bdLower, UPPER).intoArray(target, to + width);
            pair(acUpper, bdUpper, LOWER).intoArray(target, to + 2 * width);
            pair(acUpper, bdUpper, UPPER).intoArray(target, to + 3 * width);
        }
    }

    private static FloatVector pair(FloatVector even, FloatVector odd, VectorShuffle<Float> half) {
        return even.rearrange(half).blend(odd.rearrange(half), ODD);
    }
}
