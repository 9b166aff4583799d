package dev.saccade.model.image;

import java.util.Arrays;

/// Reads the coefficients of a VP8 frame's macroblocks (RFC 6386, section 13).
///
/// Whether a block has any makes it likelier that those below it and to its right have, so this
/// remembers it of the row above and of the macroblock to the left.
final class Vp8Coefficients {
    /// Of luma 4x4, then of each of the two colours 2x2.
    static final int BLOCKS = 24;

    static final int LUMA_BLOCKS = 16;
    static final int PER_BLOCK = 16;

    private static final int LUMA_AFTER_FIRST = 0;
    private static final int SECOND = 1;
    private static final int COLOUR = 2;
    private static final int LUMA = 3;

    /// Blocks at a macroblock's edge: four of luma, two of each colour, and the macroblock's luma
    /// as a whole.
    private static final int EDGE = 9;

    private static final int WHOLE = 8;

    private final Vp8Header header;
    private final int[] above;
    private final int[] left = new int[EDGE];
    private final short[] seconds = new short[PER_BLOCK];
    private final Vp8Transform transform;

    /// Of the last macroblock read, in their natural order, times their step.
    final short[] values = new short[BLOCKS * PER_BLOCK];

    /// How many of each block's coefficients, in the order of the stream, may be other than 0.
    private final int[] counts = new int[BLOCKS];

    Vp8Coefficients(Vp8Header header, Vp8Transform transform) {
        this.header = header;
        this.transform = transform;
        above = new int[EDGE * header.columns()];
    }

    void beginRow() {
        Arrays.fill(left, 0);
    }

    /// Passes a macroblock without coefficients.
    ///
    /// @param small whether it is predicted in 4x4 blocks: then it says nothing of whole ones
    void skip(int column, boolean small) {
        int kept = small ? WHOLE : EDGE;
        Arrays.fill(above, column * EDGE, column * EDGE + kept, 0);
        Arrays.fill(left, 0, kept, 0);
    }

    /// Reads a macroblock's.
    ///
    /// @param small whether it is predicted in 4x4 blocks
    /// @return whether there are any that are not 0
    boolean read(BoolDecoder in, int column, boolean small, Vp8Header.Steps steps) {
        Arrays.fill(values, (short) 0);
        int edge = column * EDGE;
        int first = 0;
        int type = LUMA;
        if (!small) {
            Arrays.fill(seconds, (short) 0);
            int count =
                    block(
                            in,
                            SECOND,
                            above[edge + WHOLE] + left[WHOLE],
                            0,
                            steps.secondFirst(),
                            steps.secondOther(),
                            seconds,
                            0);
            above[edge + WHOLE] = left[WHOLE] = count > 0 ? 1 : 0;
            transform.walshHadamard(seconds, values);
            first = 1;
            type = LUMA_AFTER_FIRST;
        }
        boolean any = square(in, type, first, 4, edge, 0, 0, steps.lumaFirst(), steps.lumaOther());
        for (int colour = 0; colour < 2; colour++) {
            any |=
                    square(
                            in,
                            COLOUR,
                            0,
                            2,
                            edge,
                            4 + 2 * colour,
                            LUMA_BLOCKS + 4 * colour,
                            steps.colourFirst(),
                            steps.colourOther());
        }
        return any;
    }

    /// Reads a square of blocks.
    ///
    /// @param side of the square, in blocks
    /// @param edge where the macroblock's begin in `above`
    /// @param place of the square at the edges
    /// @param begin its first block
    private boolean square(
            BoolDecoder in,
            int type,
            int first,
            int side,
            int edge,
            int place,
            int begin,
            int firstStep,
            int otherStep) {
        boolean any = false;
        int block = begin;
        for (int y = place; y < place + side; y++) {
            for (int x = edge + place; x < edge + place + side; x++) {
                int count =
                        block(
                                in,
                                type,
                                above[x] + left[y],
                                first,
                                firstStep,
                                otherStep,
                                values,
                                block * PER_BLOCK);
                above[x] = left[y] = count > first ? 1 : 0;
                counts[block] = count;
                any |= !isZero(block);
                block++;
            }
        }
        return any;
    }

    /// Whether all of a block's coefficients are 0.
    boolean isZero(int block) {
        return isConstant(block) && values[block * PER_BLOCK] == 0;
    }

    /// Whether all of a block's coefficients but the first are 0.
    boolean isConstant(int block) {
        return counts[block] <= 1;
    }

    private int node(int type, int position, int context) {
        return ((type * Vp8Tables.BANDS + Vp8Tables.BAND[position]) * Vp8Tables.CONTEXTS + context)
                * Vp8Tables.NODES;
    }

    /// @return the position behind the last that was read
    private int block(
            BoolDecoder in,
            int type,
            int context,
            int first,
            int firstStep,
            int otherStep,
            short[] to,
            int offset) {
        int[] probabilities = header.coefficientProbabilities;
        int at = first;
        int node = node(type, at, context);
        while (at < PER_BLOCK) {
            if (!in.read(probabilities[node])) {
                return at;
            }
            while (!in.read(probabilities[node + 1])) {
                if (++at == PER_BLOCK) {
                    return at;
                }
                node = node(type, at, 0);
            }
            int value = in.read(probabilities[node + 2]) ? large(in, probabilities, node) : 1;
            int step = at == 0 ? firstStep : otherStep;
            // 16 bits, as every decoder keeps them: a damaged file can ask for more.
            to[offset + Vp8Tables.ZIGZAG[at]] = (short) (step * (in.flag() ? -value : value));
            at++;
            node = node(type, at, value == 1 ? 1 : 2);
        }
        return at;
    }

    /// The rest of a coefficient that is not 0 nor 1.
    private static int large(BoolDecoder in, int[] probabilities, int node) {
        if (!in.read(probabilities[node + 3])) {
            if (!in.read(probabilities[node + 4])) {
                return 2;
            }
            return 3 + in.bit(probabilities[node + 5]);
        }
        if (!in.read(probabilities[node + 6])) {
            if (!in.read(probabilities[node + 7])) {
                return 5 + in.bit(159);
            }
            int high = in.bit(165);
            return 7 + 2 * high + in.bit(145);
        }
        int high = in.bit(probabilities[node + 8]);
        int group = 2 * high + in.bit(probabilities[node + 9 + high]);
        int rest = 0;
        for (int probability : Vp8Tables.LARGE[group]) {
            rest = 2 * rest + in.bit(probability);
        }
        return 3 + (8 << group) + rest;
    }
}
