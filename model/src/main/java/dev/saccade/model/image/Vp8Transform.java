package dev.saccade.model.image;

/// The inverse transforms of VP8, exact in integers (RFC 6386, section 14).
final class Vp8Transform {
    private static final int BLOCK = 16;

    private final int[] half = new int[BLOCK];

    /// Inverse Walsh-Hadamard transform: the first coefficients of a macroblock's sixteen blocks.
    ///
    /// @param from sixteen coefficients
    /// @param to sixteen blocks of sixteen, of which the first of each is written
    void walshHadamard(short[] from, short[] to) {
        for (int i = 0; i < 4; i++) {
            int outerSum = from[i] + from[12 + i];
            int innerSum = from[4 + i] + from[8 + i];
            int innerDifference = from[4 + i] - from[8 + i];
            int outerDifference = from[i] - from[12 + i];
            half[i] = outerSum + innerSum;
            half[4 + i] = outerDifference + innerDifference;
            half[8 + i] = outerSum - innerSum;
            half[12 + i] = outerDifference - innerDifference;
        }
        for (int i = 0; i < 4; i++) {
            int first = half[4 * i] + 3;
            int outerSum = first + half[4 * i + 3];
            int innerSum = half[4 * i + 1] + half[4 * i + 2];
            int innerDifference = half[4 * i + 1] - half[4 * i + 2];
            int outerDifference = first - half[4 * i + 3];
            int row = 4 * BLOCK * i;
            to[row] = (short) ((outerSum + innerSum) >> 3);
            to[row + BLOCK] = (short) ((outerDifference + innerDifference) >> 3);
            to[row + 2 * BLOCK] = (short) ((outerSum - innerSum) >> 3);
            to[row + 3 * BLOCK] = (short) ((outerDifference - innerDifference) >> 3);
        }
    }

    /// Adds the inverse cosine transform of a block to the 4x4 samples at `at`.
    ///
    /// @param block where its sixteen coefficients begin
    void addCosine(short[] from, int block, Vp8Plane plane, int at) {
        for (int i = 0; i < 4; i++) {
            int a = from[block + i] + from[block + 8 + i];
            int b = from[block + i] - from[block + 8 + i];
            int c = sine(from[block + 4 + i]) - cosine(from[block + 12 + i]);
            int d = cosine(from[block + 4 + i]) + sine(from[block + 12 + i]);
            half[4 * i] = a + d;
            half[4 * i + 1] = b + c;
            half[4 * i + 2] = b - c;
            half[4 * i + 3] = a - d;
        }
        for (int i = 0; i < 4; i++) {
            int first = half[i] + 4;
            int a = first + half[8 + i];
            int b = first - half[8 + i];
            int c = sine(half[4 + i]) - cosine(half[12 + i]);
            int d = cosine(half[4 + i]) + sine(half[12 + i]);
            int row = at + i * plane.stride;
            add(plane, row, (a + d) >> 3);
            add(plane, row + 1, (b + c) >> 3);
            add(plane, row + 2, (b - c) >> 3);
            add(plane, row + 3, (a - d) >> 3);
        }
    }

    /// As [#addCosine], of a block with nothing but its first coefficient.
    static void addConstant(int first, Vp8Plane plane, int at) {
        int value = (first + 4) >> 3;
        for (int y = 0; y < 4; y++) {
            for (int x = 0; x < 4; x++) {
                add(plane, at + y * plane.stride + x, value);
            }
        }
    }

    private static void add(Vp8Plane plane, int at, int value) {
        plane.samples[at] = Vp8Plane.clip(plane.sample(at) + value);
    }

    /// Times sqrt(2) cos(pi/8).
    private static int cosine(int value) {
        return value + ((value * 20091) >> 16);
    }

    /// Times sqrt(2) sin(pi/8).
    private static int sine(int value) {
        return (value * 35468) >> 16;
    }
}
