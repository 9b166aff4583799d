package dev.saccade.kernels.gemm;

import static dev.saccade.kernels.internal.Lanes.LENGTH;
import static dev.saccade.kernels.internal.Lanes.SPECIES;

import jdk.incubator.vector.FloatVector;

/// The innermost loop: a few rows of A times one panel of B, all sums in registers.
///
/// A sum is one chain of fused multiply-adds over k, so a tile's shape decides how fast its
/// elements are computed and never what they are. 8 rows by 2 vectors make 16 independent chains,
/// enough to hide the latency of two multipliers with 512-bit registers; machines with 16 registers
/// take 4 rows at a time. The loops are written out because the compiler keeps named vectors in
/// registers, and arrays of vectors not; panels lie in arrays because the compiler proves their
/// bounds once a loop, and because a body of this size with memory segments exceeds its limit for
/// inlining, after which every vector is an object (10 times slower).
final class RegisterTile {
    /// Rows of a packed panel of A.
    static final int ROWS = 16;

    /// Columns of a packed panel of B, and of a tile.
    static final int COLUMNS = 2 * LENGTH;

    /// Rows of the widest tile.
    static final int HEIGHT = LENGTH == 16 ? 8 : 4;

    /// Floats in a tile's array.
    static final int FLOATS = HEIGHT * COLUMNS;

    private RegisterTile() {}

    /// Continues the chains in `start` (HEIGHT rows of COLUMNS) over k into `out`, for `rows` rows
    /// and `columns` columns at least; the elements beyond them in `out` are undefined.
    ///
    /// @param a a panel, element (row, i) at `aFrom + i * ROWS + row`
    /// @param b a panel, element (i, column) at `bFrom + i * COLUMNS + column`
    static void run(
            float[] a,
            int aFrom,
            int rows,
            float[] b,
            int bFrom,
            int columns,
            int k,
            float[] start,
            float[] out) {
        if (rows <= 4) {
            rows4(a, aFrom, b, bFrom, k, start, out);
        } else if (columns <= LENGTH) {
            rows8Left(a, aFrom, b, bFrom, k, start, out);
        } else {
            rows8(a, aFrom, b, bFrom, k, start, out);
        }
    }

    /// 8 rows, all columns.
    private static void rows8(
            float[] a, int aFrom, float[] b, int bFrom, int k, float[] start, float[] out) {
        FloatVector s0l = FloatVector.fromArray(SPECIES, start, 0 * COLUMNS);
        FloatVector s0r = FloatVector.fromArray(SPECIES, start, 0 * COLUMNS + LENGTH);
        FloatVector s1l = FloatVector.fromArray(SPECIES, start, 1 * COLUMNS);
        FloatVector s1r = FloatVector.fromArray(SPECIES, start, 1 * COLUMNS + LENGTH);
        FloatVector s2l = FloatVector.fromArray(SPECIES, start, 2 * COLUMNS);
        FloatVector s2r = FloatVector.fromArray(SPECIES, start, 2 * COLUMNS + LENGTH);
        FloatVector s3l = FloatVector.fromArray(SPECIES, start, 3 * COLUMNS);
        FloatVector s3r = FloatVector.fromArray(SPECIES, start, 3 * COLUMNS + LENGTH);
        FloatVector s4l = FloatVector.fromArray(SPECIES, start, 4 * COLUMNS);
        FloatVector s4r = FloatVector.fromArray(SPECIES, start, 4 * COLUMNS + LENGTH);
        FloatVector s5l = FloatVector.fromArray(SPECIES, start, 5 * COLUMNS);
        FloatVector s5r = FloatVector.fromArray(SPECIES, start, 5 * COLUMNS + LENGTH);
        FloatVector s6l = FloatVector.fromArray(SPECIES, start, 6 * COLUMNS);
        FloatVector s6r = FloatVector.fromArray(SPECIES, start, 6 * COLUMNS + LENGTH);
        FloatVector s7l = FloatVector.fromArray(SPECIES, start, 7 * COLUMNS);
        FloatVector s7r = FloatVector.fromArray(SPECIES, start, 7 * COLUMNS + LENGTH);
        int x = aFrom;
        int y = bFrom;
        for (int i = 0; i < k; i++) {
            FloatVector left = FloatVector.fromArray(SPECIES, b, y);
            FloatVector right = FloatVector.fromArray(SPECIES, b, y + LENGTH);
            FloatVector a0 = FloatVector.broadcast(SPECIES, a[x]);
            s0l = a0.fma(left, s0l);
            s0r = a0.fma(right, s0r);
            FloatVector a1 = FloatVector.broadcast(SPECIES, a[x + 1]);
            s1l = a1.fma(left, s1l);
            s1r = a1.fma(right, s1r);
            FloatVector a2 = FloatVector.broadcast(SPECIES, a[x + 2]);
            s2l = a2.fma(left, s2l);
            s2r = a2.fma(right, s2r);
            FloatVector a3 = FloatVector.broadcast(SPECIES, a[x + 3]);
            s3l = a3.fma(left, s3l);
            s3r = a3.fma(right, s3r);
            FloatVector a4 = FloatVector.broadcast(SPECIES, a[x + 4]);
            s4l = a4.fma(left, s4l);
            s4r = a4.fma(right, s4r);
            FloatVector a5 = FloatVector.broadcast(SPECIES, a[x + 5]);
            s5l = a5.fma(left, s5l);
            s5r = a5.fma(right, s5r);
            FloatVector a6 = FloatVector.broadcast(SPECIES, a[x + 6]);
            s6l = a6.fma(left, s6l);
            s6r = a6.fma(right, s6r);
            FloatVector a7 = FloatVector.broadcast(SPECIES, a[x + 7]);
            s7l = a7.fma(left, s7l);
            s7r = a7.fma(right, s7r);
            x += ROWS;
            y += COLUMNS;
        }
        s0l.intoArray(out, 0 * COLUMNS);
        s0r.intoArray(out, 0 * COLUMNS + LENGTH);
        s1l.intoArray(out, 1 * COLUMNS);
        s1r.intoArray(out, 1 * COLUMNS + LENGTH);
        s2l.intoArray(out, 2 * COLUMNS);
        s2r.intoArray(out, 2 * COLUMNS + LENGTH);
        s3l.intoArray(out, 3 * COLUMNS);
        s3r.intoArray(out, 3 * COLUMNS + LENGTH);
        s4l.intoArray(out, 4 * COLUMNS);
        s4r.intoArray(out, 4 * COLUMNS + LENGTH);
        s5l.intoArray(out, 5 * COLUMNS);
        s5r.intoArray(out, 5 * COLUMNS + LENGTH);
        s6l.intoArray(out, 6 * COLUMNS);
        s6r.intoArray(out, 6 * COLUMNS + LENGTH);
        s7l.intoArray(out, 7 * COLUMNS);
        s7r.intoArray(out, 7 * COLUMNS + LENGTH);
    }

    /// 8 rows, the left vector's columns.
    private static void rows8Left(
            float[] a, int aFrom, float[] b, int bFrom, int k, float[] start, float[] out) {
        FloatVector s0l = FloatVector.fromArray(SPECIES, start, 0 * COLUMNS);
        FloatVector s1l = FloatVector.fromArray(SPECIES, start, 1 * COLUMNS);
        FloatVector s2l = FloatVector.fromArray(SPECIES, start, 2 * COLUMNS);
        FloatVector s3l = FloatVector.fromArray(SPECIES, start, 3 * COLUMNS);
        FloatVector s4l = FloatVector.fromArray(SPECIES, start, 4 * COLUMNS);
        FloatVector s5l = FloatVector.fromArray(SPECIES, start, 5 * COLUMNS);
        FloatVector s6l = FloatVector.fromArray(SPECIES, start, 6 * COLUMNS);
        FloatVector s7l = FloatVector.fromArray(SPECIES, start, 7 * COLUMNS);
        int x = aFrom;
        int y = bFrom;
        for (int i = 0; i < k; i++) {
            FloatVector left = FloatVector.fromArray(SPECIES, b, y);
            FloatVector a0 = FloatVector.broadcast(SPECIES, a[x]);
            s0l = a0.fma(left, s0l);
            FloatVector a1 = FloatVector.broadcast(SPECIES, a[x + 1]);
            s1l = a1.fma(left, s1l);
            FloatVector a2 = FloatVector.broadcast(SPECIES, a[x + 2]);
            s2l = a2.fma(left, s2l);
            FloatVector a3 = FloatVector.broadcast(SPECIES, a[x + 3]);
            s3l = a3.fma(left, s3l);
            FloatVector a4 = FloatVector.broadcast(SPECIES, a[x + 4]);
            s4l = a4.fma(left, s4l);
            FloatVector a5 = FloatVector.broadcast(SPECIES, a[x + 5]);
            s5l = a5.fma(left, s5l);
            FloatVector a6 = FloatVector.broadcast(SPECIES, a[x + 6]);
            s6l = a6.fma(left, s6l);
            FloatVector a7 = FloatVector.broadcast(SPECIES, a[x + 7]);
            s7l = a7.fma(left, s7l);
            x += ROWS;
            y += COLUMNS;
        }
        s0l.intoArray(out, 0 * COLUMNS);
        s1l.intoArray(out, 1 * COLUMNS);
        s2l.intoArray(out, 2 * COLUMNS);
        s3l.intoArray(out, 3 * COLUMNS);
        s4l.intoArray(out, 4 * COLUMNS);
        s5l.intoArray(out, 5 * COLUMNS);
        s6l.intoArray(out, 6 * COLUMNS);
        s7l.intoArray(out, 7 * COLUMNS);
    }

    /// 4 rows, all columns.
    private static void rows4(
            float[] a, int aFrom, float[] b, int bFrom, int k, float[] start, float[] out) {
        FloatVector s0l = FloatVector.fromArray(SPECIES, start, 0 * COLUMNS);
        FloatVector s0r = FloatVector.fromArray(SPECIES, start, 0 * COLUMNS + LENGTH);
        FloatVector s1l = FloatVector.fromArray(SPECIES, start, 1 * COLUMNS);
        FloatVector s1r = FloatVector.fromArray(SPECIES, start, 1 * COLUMNS + LENGTH);
        FloatVector s2l = FloatVector.fromArray(SPECIES, start, 2 * COLUMNS);
        FloatVector s2r = FloatVector.fromArray(SPECIES, start, 2 * COLUMNS + LENGTH);
        FloatVector s3l = FloatVector.fromArray(SPECIES, start, 3 * COLUMNS);
        FloatVector s3r = FloatVector.fromArray(SPECIES, start, 3 * COLUMNS + LENGTH);
        int x = aFrom;
        int y = bFrom;
        for (int i = 0; i < k; i++) {
            FloatVector left = FloatVector.fromArray(SPECIES, b, y);
            FloatVector right = FloatVector.fromArray(SPECIES, b, y + LENGTH);
            FloatVector a0 = FloatVector.broadcast(SPECIES, a[x]);
            s0l = a0.fma(left, s0l);
            s0r = a0.fma(right, s0r);
            FloatVector a1 = FloatVector.broadcast(SPECIES, a[x + 1]);
            s1l = a1.fma(left, s1l);
            s1r = a1.fma(right, s1r);
            FloatVector a2 = FloatVector.broadcast(SPECIES, a[x + 2]);
            s2l = a2.fma(left, s2l);
            s2r = a2.fma(right, s2r);
            FloatVector a3 = FloatVector.broadcast(SPECIES, a[x + 3]);
            s3l = a3.fma(left, s3l);
            s3r = a3.fma(right, s3r);
            x += ROWS;
            y += COLUMNS;
        }
        s0l.intoArray(out, 0 * COLUMNS);
        s0r.intoArray(out, 0 * COLUMNS + LENGTH);
        s1l.intoArray(out, 1 * COLUMNS);
        s1r.intoArray(out, 1 * COLUMNS + LENGTH);
        s2l.intoArray(out, 2 * COLUMNS);
        s2r.intoArray(out, 2 * COLUMNS + LENGTH);
        s3l.intoArray(out, 3 * COLUMNS);
        s3r.intoArray(out, 3 * COLUMNS + LENGTH);
    }
}
