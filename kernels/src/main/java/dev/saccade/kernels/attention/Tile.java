package dev.saccade.kernels.attention;

import static dev.saccade.kernels.attention.Attention.KEY_BLOCK;

import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.internal.Lanes;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/// The two small products that attention is made of, four rows at a time and the rest one by one.
/// Each element is one chain of fused multiply-adds in order, however many rows are computed
/// together; with four rows of two vectors, eight chains hide the latency of an addition.
///
/// The two large methods are written out on purpose, and call the vector API without a helper in
/// between. After 18000 nodes (some 40 vector operations) the compiler inlines only methods that
/// carry its own annotation, and a helper that is not inlined allocates a vector at each call. For
/// the same reason they are longer than what the compiler inlines into others (325 bytes).
///
/// Addresses are absolute, pitches and steps are in bytes.
final class Tile {
    /// Bytes of a row of scores: one block of keys.
    static final long SCORE_PITCH = 4L * KEY_BLOCK;

    private static final int ROWS = 4;
    private static final int LENGTH = Lanes.LENGTH;
    private static final int PAIR = 2 * LENGTH;
    private static final long VECTOR = 4L * LENGTH;
    private static final VectorSpecies<Float> SPECIES = Lanes.SPECIES;
    private static final MemorySegment SPACE = HostMemory.SPACE;
    private static final ByteOrder ORDER = ByteOrder.nativeOrder();

    // The lanes so many places on, for the halves of a sum.
    private static final VectorShuffle<Float> EIGHT = ahead(8);
    private static final VectorShuffle<Float> FOUR = ahead(4);
    private static final VectorShuffle<Float> TWO = ahead(2);
    private static final VectorShuffle<Float> ONE = ahead(1);

    private Tile() {}

    private static VectorShuffle<Float> ahead(int lanes) {
        return VectorShuffle.fromOp(SPECIES, i -> (i + lanes) % LENGTH);
    }

    /// `c[r][j] = sum over d of a[r][d] * b[d][j]` for `rows` rows and a block of keys j.
    ///
    /// @param a [rows, depth]
    /// @param b [depth, KEY_BLOCK]
    /// @param c [rows, KEY_BLOCK]
    static void scores(int rows, int depth, long a, long b, long c) {
        long pitch = 4L * depth;
        int r = 0;
        for (; r + ROWS <= rows; r += ROWS) {
            long a0 = a + pitch * r;
            long a1 = a0 + pitch;
            long a2 = a1 + pitch;
            long a3 = a2 + pitch;
            for (long j = 0; j < SCORE_PITCH; j += 2 * VECTOR) {
                FloatVector c00 = FloatVector.zero(SPECIES);
                FloatVector c01 = FloatVector.zero(SPECIES);
                FloatVector c10 = FloatVector.zero(SPECIES);
                FloatVector c11 = FloatVector.zero(SPECIES);
                FloatVector c20 = FloatVector.zero(SPECIES);
                FloatVector c21 = FloatVector.zero(SPECIES);
                FloatVector c30 = FloatVector.zero(SPECIES);
                FloatVector c31 = FloatVector.zero(SPECIES);
                for (int d = 0; d < depth; d++) {
                    long at = b + SCORE_PITCH * d + j;
                    FloatVector b0 = FloatVector.fromMemorySegment(SPECIES, SPACE, at, ORDER);
                    FloatVector b1 =
                            FloatVector.fromMemorySegment(SPECIES, SPACE, at + VECTOR, ORDER);
                    long in = 4L * d;
                    FloatVector x0 =
                            FloatVector.broadcast(SPECIES, SPACE.get(Lanes.FLOAT, a0 + in));
                    c00 = x0.fma(b0, c00);
                    c01 = x0.fma(b1, c01);
                    FloatVector x1 =
                            FloatVector.broadcast(SPECIES, SPACE.get(Lanes.FLOAT, a1 + in));
                    c10 = x1.fma(b0, c10);
                    c11 = x1.fma(b1, c11);
                    FloatVector x2 =
                            FloatVector.broadcast(SPECIES, SPACE.get(Lanes.FLOAT, a2 + in));
                    c20 = x2.fma(b0, c20);
                    c21 = x2.fma(b1, c21);
                    FloatVector x3 =
                            FloatVector.broadcast(SPECIES, SPACE.get(Lanes.FLOAT, a3 + in));
                    c30 = x3.fma(b0, c30);
                    c31 = x3.fma(b1, c31);
                }
                long to = c + SCORE_PITCH * r + j;
                c00.intoMemorySegment(SPACE, to, ORDER);
                c01.intoMemorySegment(SPACE, to + VECTOR, ORDER);
                c10.intoMemorySegment(SPACE, to + SCORE_PITCH, ORDER);
                c11.intoMemorySegment(SPACE, to + SCORE_PITCH + VECTOR, ORDER);
                c20.intoMemorySegment(SPACE, to + 2 * SCORE_PITCH, ORDER);
                c21.intoMemorySegment(SPACE, to + 2 * SCORE_PITCH + VECTOR, ORDER);
                c30.intoMemorySegment(SPACE, to + 3 * SCORE_PITCH, ORDER);
                c31.intoMemorySegment(SPACE, to + 3 * SCORE_PITCH + VECTOR, ORDER);
            }
        }
        for (; r < rows; r++) {
            long a0 = a + pitch * r;
            for (long j = 0; j < SCORE_PITCH; j += 2 * VECTOR) {
                FloatVector c0 = FloatVector.zero(SPECIES);
                FloatVector c1 = FloatVector.zero(SPECIES);
                for (int d = 0; d < depth; d++) {
                    long at = b + SCORE_PITCH * d + j;
                    FloatVector b0 = FloatVector.fromMemorySegment(SPECIES, SPACE, at, ORDER);
                    FloatVector b1 =
                            FloatVector.fromMemorySegment(SPECIES, SPACE, at + VECTOR, ORDER);
                    FloatVector x =
                            FloatVector.broadcast(SPECIES, SPACE.get(Lanes.FLOAT, a0 + 4L * d));
                    c0 = x.fma(b0, c0);
                    c1 = x.fma(b1, c1);
                }
                long to = c + SCORE_PITCH * r + j;
                c0.intoMemorySegment(SPACE, to, ORDER);
                c1.intoMemorySegment(SPACE, to + VECTOR, ORDER);
            }
        }
    }

    /// `c[r][n] = c[r][n] + sum over i < count(r) of a[r][i] * b[i][n]` for the rows `first` to
    /// `last`, where `count(r) = min(limit, r / group + visible)`: with `visible = limit`, all rows
    /// sum the same; otherwise rows are queries on the diagonal, and a later query sees more.
    ///
    /// @param a its element [r][i] lies at `a + r * aPitch + i * aStep`
    /// @param b rows of `width` floats, `bPitch` apart
    /// @param c rows of `width` floats, `cPitch` apart
    static void accumulate(
            int first,
            int last,
            int limit,
            int visible,
            int group,
            int width,
            long a,
            long aPitch,
            long aStep,
            long b,
            long bPitch,
            long c,
            long cPitch) {
        int r = first;
        for (; r + ROWS <= last; r += ROWS) {
            int count0 = limit;
            int count1 = limit;
            int count2 = limit;
            int count3 = limit;
            if (visible < limit) {
                count0 = Math.min(limit, r / group + visible);
                count1 = Math.min(limit, (r + 1) / group + visible);
                count2 = Math.min(limit, (r + 2) / group + visible);
                count3 = Math.min(limit, (r + 3) / group + visible);
            }
            long a0 = a + aPitch * r;
            long a1 = a0 + aPitch;
            long a2 = a1 + aPitch;
            long a3 = a2 + aPitch;
            for (int n = 0; n + PAIR <= width; n += PAIR) {
                long from = b + 4L * n;
                long c0 = c + cPitch * r + 4L * n;
                long c1 = c0 + cPitch;
                long c2 = c1 + cPitch;
                long c3 = c2 + cPitch;
                FloatVector c00 = FloatVector.fromMemorySegment(SPECIES, SPACE, c0, ORDER);
                FloatVector c01 = FloatVector.fromMemorySegment(SPECIES, SPACE, c0 + VECTOR, ORDER);
                FloatVector c10 = FloatVector.fromMemorySegment(SPECIES, SPACE, c1, ORDER);
                FloatVector c11 = FloatVector.fromMemorySegment(SPECIES, SPACE, c1 + VECTOR, ORDER);
                FloatVector c20 = FloatVector.fromMemorySegment(SPECIES, SPACE, c2, ORDER);
                FloatVector c21 = FloatVector.fromMemorySegment(SPECIES, SPACE, c2 + VECTOR, ORDER);
                FloatVector c30 = FloatVector.fromMemorySegment(SPECIES, SPACE, c3, ORDER);
                FloatVector c31 = FloatVector.fromMemorySegment(SPECIES, SPACE, c3 + VECTOR, ORDER);
                for (int i = 0; i < count0; i++) {
                    long at = from + bPitch * i;
                    FloatVector b0 = FloatVector.fromMemorySegment(SPECIES, SPACE, at, ORDER);
                    FloatVector b1 =
                            FloatVector.fromMemorySegment(SPECIES, SPACE, at + VECTOR, ORDER);
                    long in = aStep * i;
                    FloatVector x0 =
                            FloatVector.broadcast(SPECIES, SPACE.get(Lanes.FLOAT, a0 + in));
                    c00 = x0.fma(b0, c00);
                    c01 = x0.fma(b1, c01);
                    FloatVector x1 =
                            FloatVector.broadcast(SPECIES, SPACE.get(Lanes.FLOAT, a1 + in));
                    c10 = x1.fma(b0, c10);
                    c11 = x1.fma(b1, c11);
                    FloatVector x2 =
                            FloatVector.broadcast(SPECIES, SPACE.get(Lanes.FLOAT, a2 + in));
                    c20 = x2.fma(b0, c20);
                    c21 = x2.fma(b1, c21);
                    FloatVector x3 =
                            FloatVector.broadcast(SPECIES, SPACE.get(Lanes.FLOAT, a3 + in));
                    c30 = x3.fma(b0, c30);
                    c31 = x3.fma(b1, c31);
                }
                c00.intoMemorySegment(SPACE, c0, ORDER);
                c01.intoMemorySegment(SPACE, c0 + VECTOR, ORDER);
                c10.intoMemorySegment(SPACE, c1, ORDER);
                c11.intoMemorySegment(SPACE, c1 + VECTOR, ORDER);
                c20.intoMemorySegment(SPACE, c2, ORDER);
                c21.intoMemorySegment(SPACE, c2 + VECTOR, ORDER);
                c30.intoMemorySegment(SPACE, c3, ORDER);
                c31.intoMemorySegment(SPACE, c3 + VECTOR, ORDER);
                // What the later rows see and the first does not: on the diagonal only.
                pairFrom(count0, count1, a1, aStep, from, bPitch, c1);
                pairFrom(count0, count2, a2, aStep, from, bPitch, c2);
                pairFrom(count0, count3, a3, aStep, from, bPitch, c3);
            }
        }
        for (; r < last; r++) {
            int count = visible < limit ? Math.min(limit, r / group + visible) : limit;
            for (int n = 0; n + PAIR <= width; n += PAIR) {
                pairFrom(
                        0,
                        count,
                        a + aPitch * r,
                        aStep,
                        b + 4L * n,
                        bPitch,
                        c + cPitch * r + 4L * n);
            }
        }
        int rest = width % PAIR;
        if (rest != 0) {
            for (r = first; r < last; r++) {
                int count = visible < limit ? Math.min(limit, r / group + visible) : limit;
                long to = c + cPitch * r;
                columnsFrom(width - rest, count, width, a + aPitch * r, aStep, b, bPitch, to);
            }
        }
    }

    /// One row and two vectors: adds the products `from` to `to`.
    private static void pairFrom(
            int from, int to, long a, long aStep, long b, long bPitch, long c) {
        if (from >= to) {
            return;
        }
        FloatVector c0 = FloatVector.fromMemorySegment(SPECIES, SPACE, c, ORDER);
        FloatVector c1 = FloatVector.fromMemorySegment(SPECIES, SPACE, c + VECTOR, ORDER);
        for (int i = from; i < to; i++) {
            long at = b + bPitch * i;
            FloatVector x = FloatVector.broadcast(SPECIES, SPACE.get(Lanes.FLOAT, a + aStep * i));
            c0 = x.fma(FloatVector.fromMemorySegment(SPECIES, SPACE, at, ORDER), c0);
            c1 = x.fma(FloatVector.fromMemorySegment(SPECIES, SPACE, at + VECTOR, ORDER), c1);
        }
        c0.intoMemorySegment(SPACE, c, ORDER);
        c1.intoMemorySegment(SPACE, c + VECTOR, ORDER);
    }

    /// One row, the columns from `first` on, a masked vector at a time.
    private static void columnsFrom(
            int first, int count, int width, long a, long aStep, long b, long bPitch, long c) {
        for (int n = first; n < width; n += LENGTH) {
            VectorMask<Float> mask = Lanes.first(width - n);
            FloatVector sum = Lanes.load(c + 4L * n, mask);
            for (int i = 0; i < count; i++) {
                FloatVector x = FloatVector.broadcast(SPECIES, Lanes.get(a + aStep * i));
                sum = x.fma(Lanes.load(b + bPitch * i + 4L * n, mask), sum);
            }
            Lanes.store(sum, c + 4L * n, mask);
        }
    }

    /// Merges 16 partial sums, in the order of [Lanes#tree(float[])].
    static float total(long sums) {
        FloatVector t = FloatVector.fromMemorySegment(SPECIES, SPACE, sums, ORDER);
        if (LENGTH == 4) {
            FloatVector t1 = FloatVector.fromMemorySegment(SPECIES, SPACE, sums + VECTOR, ORDER);
            FloatVector t2 =
                    FloatVector.fromMemorySegment(SPECIES, SPACE, sums + 2 * VECTOR, ORDER);
            FloatVector t3 =
                    FloatVector.fromMemorySegment(SPECIES, SPACE, sums + 3 * VECTOR, ORDER);
            t = t.add(t2).add(t1.add(t3));
        } else if (LENGTH == 8) {
            t = t.add(FloatVector.fromMemorySegment(SPECIES, SPACE, sums + VECTOR, ORDER));
            t = t.add(t.rearrange(FOUR));
        } else {
            t = t.add(t.rearrange(EIGHT));
            t = t.add(t.rearrange(FOUR));
        }
        t = t.add(t.rearrange(TWO));
        return t.add(t.rearrange(ONE)).lane(0);
    }

    /// Whether rows `pitch` bytes apart, of `rowBytes` each, should be copied together before
    /// `uses` rows of a product walk over them: rows a power of two apart share few cache sets.
    static boolean worthPacking(int uses, long rowBytes, long pitch) {
        return pitch != rowBytes && uses >= 16;
    }

    /// Copies rows to where they follow one another.
    static void pack(int rows, long rowBytes, long from, long pitch, long to) {
        for (int row = 0; row < rows; row++) {
            MemorySegment.copy(SPACE, from + pitch * row, SPACE, to + rowBytes * row, rowBytes);
        }
    }

    /// `x[0 .. width) = 0`.
    static void clear(int width, long x) {
        int n = 0;
        for (; n + LENGTH <= width; n += LENGTH) {
            Lanes.store(FloatVector.zero(SPECIES), x + 4L * n);
        }
        if (n < width) {
            Lanes.store(FloatVector.zero(SPECIES), x + 4L * n, Lanes.first(width - n));
        }
    }
}
