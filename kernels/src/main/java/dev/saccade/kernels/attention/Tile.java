package dev.saccade.kernels.attention;

import static dev.saccade.kernels.attention.Attention.KEY_BLOCK;

import dev.saccade.kernels.internal.Lanes;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/// The two small products that attention is made of, for one or four rows of a tile at a time. Each
/// element is one chain of fused multiply-adds in order, however many rows are computed together.
///
/// Addresses are absolute, pitches and steps are in bytes.
final class Tile {
    /// Rows that are computed together: with two vectors a row, eight chains hide the latency of a
    /// fused multiply-add.
    static final int ROWS = 4;

    /// Bytes of a row of scores: one block of keys.
    static final long SCORE_PITCH = 4L * KEY_BLOCK;

    private static final int LENGTH = Lanes.LENGTH;
    private static final long VECTOR = 4L * LENGTH;
    private static final int PAIR = 2 * LENGTH;

    private Tile() {}

    /// `c[r][j] = sum over d of a[r][d] * b[d][j]` for `rows` rows and a block of keys j.
    ///
    /// @param a [rows, depth], rows `depth` floats apart
    /// @param b [depth, KEY_BLOCK]
    /// @param c [rows, KEY_BLOCK]
    static void scores(int rows, int depth, long a, long b, long c) {
        int r = 0;
        for (; r + ROWS <= rows; r += ROWS) {
            for (int j = 0; j < KEY_BLOCK; j += PAIR) {
                scores4(depth, a + 4L * depth * r, b + 4L * j, c + SCORE_PITCH * r + 4L * j);
            }
        }
        for (; r < rows; r++) {
            for (int j = 0; j < KEY_BLOCK; j += PAIR) {
                scores1(depth, a + 4L * depth * r, b + 4L * j, c + SCORE_PITCH * r + 4L * j);
            }
        }
    }

    private static void scores4(int depth, long a, long b, long c) {
        long pitch = 4L * depth;
        long a1 = a + pitch;
        long a2 = a1 + pitch;
        long a3 = a2 + pitch;
        FloatVector c00 = zero();
        FloatVector c01 = zero();
        FloatVector c10 = zero();
        FloatVector c11 = zero();
        FloatVector c20 = zero();
        FloatVector c21 = zero();
        FloatVector c30 = zero();
        FloatVector c31 = zero();
        for (int d = 0; d < depth; d++) {
            FloatVector b0 = Lanes.load(b + SCORE_PITCH * d);
            FloatVector b1 = Lanes.load(b + SCORE_PITCH * d + VECTOR);
            FloatVector x0 = broadcast(a + 4L * d);
            c00 = x0.fma(b0, c00);
            c01 = x0.fma(b1, c01);
            FloatVector x1 = broadcast(a1 + 4L * d);
            c10 = x1.fma(b0, c10);
            c11 = x1.fma(b1, c11);
            FloatVector x2 = broadcast(a2 + 4L * d);
            c20 = x2.fma(b0, c20);
            c21 = x2.fma(b1, c21);
            FloatVector x3 = broadcast(a3 + 4L * d);
            c30 = x3.fma(b0, c30);
            c31 = x3.fma(b1, c31);
        }
        Lanes.store(c00, c);
        Lanes.store(c01, c + VECTOR);
        Lanes.store(c10, c + SCORE_PITCH);
        Lanes.store(c11, c + SCORE_PITCH + VECTOR);
        Lanes.store(c20, c + 2 * SCORE_PITCH);
        Lanes.store(c21, c + 2 * SCORE_PITCH + VECTOR);
        Lanes.store(c30, c + 3 * SCORE_PITCH);
        Lanes.store(c31, c + 3 * SCORE_PITCH + VECTOR);
    }

    private static void scores1(int depth, long a, long b, long c) {
        FloatVector c0 = zero();
        FloatVector c1 = zero();
        for (int d = 0; d < depth; d++) {
            FloatVector x = broadcast(a + 4L * d);
            c0 = x.fma(Lanes.load(b + SCORE_PITCH * d), c0);
            c1 = x.fma(Lanes.load(b + SCORE_PITCH * d + VECTOR), c1);
        }
        Lanes.store(c0, c);
        Lanes.store(c1, c + VECTOR);
    }

    /// `c[r][n] = c[r][n] + sum over i of a[r][i] * b[i][n]` for four rows, where row r sums the
    /// first counts of its own: `count0 <= count1 <= count2 <= count3`.
    ///
    /// @param a its element [r][i] lies at `a + r * aPitch + i * aStep`
    /// @param b rows of `width` floats, `bPitch` apart
    /// @param c rows of `width` floats, `cPitch` apart
    static void accumulate4(
            int count0,
            int count1,
            int count2,
            int count3,
            int width,
            long a,
            long aPitch,
            long aStep,
            long b,
            long bPitch,
            long c,
            long cPitch) {
        int n = 0;
        for (; n + PAIR <= width; n += PAIR) {
            accumulatePair4(
                    count0,
                    count1,
                    count2,
                    count3,
                    a,
                    aPitch,
                    aStep,
                    b + 4L * n,
                    bPitch,
                    c + 4L * n,
                    cPitch);
        }
        if (n < width) {
            accumulateFrom(n, count0, width, a, aStep, b, bPitch, c);
            accumulateFrom(n, count1, width, a + aPitch, aStep, b, bPitch, c + cPitch);
            accumulateFrom(n, count2, width, a + 2 * aPitch, aStep, b, bPitch, c + 2 * cPitch);
            accumulateFrom(n, count3, width, a + 3 * aPitch, aStep, b, bPitch, c + 3 * cPitch);
        }
    }

    private static void accumulatePair4(
            int count0,
            int count1,
            int count2,
            int count3,
            long a,
            long aPitch,
            long aStep,
            long b,
            long bPitch,
            long c,
            long cPitch) {
        long a1 = a + aPitch;
        long a2 = a1 + aPitch;
        long a3 = a2 + aPitch;
        long c1 = c + cPitch;
        long c2 = c1 + cPitch;
        long c3 = c2 + cPitch;
        FloatVector c00 = Lanes.load(c);
        FloatVector c01 = Lanes.load(c + VECTOR);
        FloatVector c10 = Lanes.load(c1);
        FloatVector c11 = Lanes.load(c1 + VECTOR);
        FloatVector c20 = Lanes.load(c2);
        FloatVector c21 = Lanes.load(c2 + VECTOR);
        FloatVector c30 = Lanes.load(c3);
        FloatVector c31 = Lanes.load(c3 + VECTOR);
        for (int i = 0; i < count0; i++) {
            FloatVector b0 = Lanes.load(b + bPitch * i);
            FloatVector b1 = Lanes.load(b + bPitch * i + VECTOR);
            FloatVector x0 = broadcast(a + aStep * i);
            c00 = x0.fma(b0, c00);
            c01 = x0.fma(b1, c01);
            FloatVector x1 = broadcast(a1 + aStep * i);
            c10 = x1.fma(b0, c10);
            c11 = x1.fma(b1, c11);
            FloatVector x2 = broadcast(a2 + aStep * i);
            c20 = x2.fma(b0, c20);
            c21 = x2.fma(b1, c21);
            FloatVector x3 = broadcast(a3 + aStep * i);
            c30 = x3.fma(b0, c30);
            c31 = x3.fma(b1, c31);
        }
        Lanes.store(c00, c);
        Lanes.store(c01, c + VECTOR);
        // What the later rows see and the first does not: on the diagonal only.
        for (int i = count0; i < count1; i++) {
            FloatVector x = broadcast(a1 + aStep * i);
            c10 = x.fma(Lanes.load(b + bPitch * i), c10);
            c11 = x.fma(Lanes.load(b + bPitch * i + VECTOR), c11);
        }
        Lanes.store(c10, c1);
        Lanes.store(c11, c1 + VECTOR);
        for (int i = count0; i < count2; i++) {
            FloatVector x = broadcast(a2 + aStep * i);
            c20 = x.fma(Lanes.load(b + bPitch * i), c20);
            c21 = x.fma(Lanes.load(b + bPitch * i + VECTOR), c21);
        }
        Lanes.store(c20, c2);
        Lanes.store(c21, c2 + VECTOR);
        for (int i = count0; i < count3; i++) {
            FloatVector x = broadcast(a3 + aStep * i);
            c30 = x.fma(Lanes.load(b + bPitch * i), c30);
            c31 = x.fma(Lanes.load(b + bPitch * i + VECTOR), c31);
        }
        Lanes.store(c30, c3);
        Lanes.store(c31, c3 + VECTOR);
    }

    /// As [#accumulate4] for one row.
    static void accumulate1(int count, int width, long a, long aStep, long b, long bPitch, long c) {
        int n = 0;
        for (; n + PAIR <= width; n += PAIR) {
            long at = b + 4L * n;
            FloatVector c0 = Lanes.load(c + 4L * n);
            FloatVector c1 = Lanes.load(c + 4L * n + VECTOR);
            for (int i = 0; i < count; i++) {
                FloatVector x = broadcast(a + aStep * i);
                c0 = x.fma(Lanes.load(at + bPitch * i), c0);
                c1 = x.fma(Lanes.load(at + bPitch * i + VECTOR), c1);
            }
            Lanes.store(c0, c + 4L * n);
            Lanes.store(c1, c + 4L * n + VECTOR);
        }
        if (n < width) {
            accumulateFrom(n, count, width, a, aStep, b, bPitch, c);
        }
    }

    /// The columns from `first` on, a masked vector at a time.
    private static void accumulateFrom(
            int first, int count, int width, long a, long aStep, long b, long bPitch, long c) {
        for (int n = first; n < width; n += LENGTH) {
            VectorMask<Float> mask = Lanes.first(width - n);
            FloatVector sum = Lanes.load(c + 4L * n, mask);
            for (int i = 0; i < count; i++) {
                FloatVector x = broadcast(a + aStep * i);
                sum = x.fma(Lanes.load(b + bPitch * i + 4L * n, mask), sum);
            }
            Lanes.store(sum, c + 4L * n, mask);
        }
    }

    /// `x[0 .. width) *= factor`.
    static void scale(int width, float factor, long x) {
        int n = 0;
        for (; n + LENGTH <= width; n += LENGTH) {
            Lanes.store(Lanes.load(x + 4L * n).mul(factor), x + 4L * n);
        }
        if (n < width) {
            VectorMask<Float> mask = Lanes.first(width - n);
            Lanes.store(Lanes.load(x + 4L * n, mask).mul(factor), x + 4L * n, mask);
        }
    }

    /// `x[0 .. width) = 0`.
    static void clear(int width, long x) {
        int n = 0;
        for (; n + LENGTH <= width; n += LENGTH) {
            Lanes.store(zero(), x + 4L * n);
        }
        if (n < width) {
            Lanes.store(zero(), x + 4L * n, Lanes.first(width - n));
        }
    }

    private static FloatVector broadcast(long address) {
        return FloatVector.broadcast(Lanes.SPECIES, Lanes.get(address));
    }

    /// Made where it is used: a loop's sum that starts from a vector in a static field would be
    /// allocated anew in every turn.
    private static FloatVector zero() {
        return FloatVector.zero(Lanes.SPECIES);
    }
}
