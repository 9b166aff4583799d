package dev.saccade.model.image;

import dev.saccade.model.image.Vp8Prediction.Mode;
import java.util.Arrays;

/// Decodes a VP8 key frame, the content of lossy WebP (RFC 6386), to the bytes that libwebp gives.
///
/// The RFC settles every sample up to the three planes; how colours are made of them is libwebp's
/// choice and what models saw in training, see [YuvToRgb].
final class Vp8Frame {
    private static final int LUMA = 16;
    private static final int COLOUR = 8;
    private static final int BLOCK = 4;

    /// What is kept of each macroblock for the filter: its place in [Vp8Header#strengths], and that
    /// the edges of its blocks are smoothed too.
    private static final int INNER_EDGES = 8;

    private final ImageBytes file;
    private final int begin;
    private final Vp8Header header;
    private final Vp8Plane luma;
    private final Vp8Plane blue;
    private final Vp8Plane red;
    private final byte[] filters;
    private final Vp8Transform transform = new Vp8Transform();
    private final Vp8Prediction prediction = new Vp8Prediction();
    private final Vp8Coefficients coefficients;

    /// Modes of the 4x4 blocks at the lower edge of the row above, and at the right edge of the
    /// macroblock to the left.
    private final Mode[] modesAbove;

    private final Mode[] modesLeft = new Mode[BLOCK];
    private final Mode[] smallModes = new Mode[BLOCK * BLOCK];

    private Vp8Frame(ImageBytes file, int begin, int end, int width, int height) {
        this.file = file;
        this.begin = begin;
        header = new Vp8Header(file, begin, end, width, height);
        int columns = header.columns();
        int rows = header.rows();
        luma = new Vp8Plane(LUMA * columns, LUMA * rows);
        blue = new Vp8Plane(COLOUR * columns, COLOUR * rows);
        red = new Vp8Plane(COLOUR * columns, COLOUR * rows);
        filters = new byte[columns * rows];
        modesAbove = new Mode[BLOCK * columns];
        Arrays.fill(modesAbove, Mode.DC);
        coefficients = new Vp8Coefficients(header, transform);
    }

    /// @param begin of the frame in the file
    /// @param end of the frame in the file
    /// @param width as the frame says, and so is `height`
    static RgbImage decode(ImageBytes file, int begin, int end, int width, int height) {
        Vp8Frame frame = new Vp8Frame(file, begin, end, width, height);
        frame.reconstruct();
        // Prediction is from samples that are not smoothed yet.
        if (frame.header.filtered) {
            frame.smooth();
        }
        return YuvToRgb.convert(frame.luma, frame.blue, frame.red, width, height);
    }

    private void reconstruct() {
        BoolDecoder modes = header.modes;
        for (int row = 0; row < header.rows(); row++) {
            BoolDecoder part = header.parts[row & (header.parts.length - 1)];
            Arrays.fill(modesLeft, Mode.DC);
            coefficients.beginRow();
            for (int column = 0; column < header.columns(); column++) {
                macroblock(modes, part, column, row);
                if (modes.isPastEnd() || part.isPastEnd()) {
                    throw file.damaged(
                            begin,
                            "the frame ends in row %d of %d".formatted(LUMA * row, header.height));
                }
            }
        }
    }

    private void macroblock(BoolDecoder modes, BoolDecoder part, int column, int row) {
        int segment = header.readSegment();
        boolean skip = header.readSkip();
        boolean small = !modes.read(145);
        Mode mode = Mode.DC;
        if (small) {
            readSmallModes(modes, column);
        } else {
            mode = readMode(modes);
            Arrays.fill(modesAbove, BLOCK * column, BLOCK * (column + 1), mode);
            Arrays.fill(modesLeft, mode);
        }
        Mode colourMode = readColourMode(modes);
        boolean any = false;
        if (skip) {
            coefficients.skip(column, small);
        } else {
            any = coefficients.read(part, column, small, header.steps[segment]);
        }
        filters[row * header.columns() + column] =
                (byte) (2 * segment + (small ? 1 : 0) + (small || any ? INNER_EDGES : 0));
        int at = luma.index(LUMA * column, LUMA * row);
        if (small) {
            predictSmall(at, column, row, any);
        } else {
            Vp8Prediction.predict(luma, at, LUMA, mode, row > 0, column > 0);
            if (any) {
                for (int block = 0; block < Vp8Coefficients.LUMA_BLOCKS; block++) {
                    add(luma, at + place(luma, block, BLOCK), block);
                }
            }
        }
        colour(blue, Vp8Coefficients.LUMA_BLOCKS, colourMode, column, row, any);
        colour(red, Vp8Coefficients.LUMA_BLOCKS + 4, colourMode, column, row, any);
    }

    private static Mode readMode(BoolDecoder in) {
        if (in.read(156)) {
            return in.flag() ? Mode.TRUE_MOTION : Mode.HORIZONTAL;
        }
        return in.read(163) ? Mode.VERTICAL : Mode.DC;
    }

    private static Mode readColourMode(BoolDecoder in) {
        if (!in.read(142)) {
            return Mode.DC;
        }
        if (!in.read(114)) {
            return Mode.VERTICAL;
        }
        return in.read(183) ? Mode.TRUE_MOTION : Mode.HORIZONTAL;
    }

    private void readSmallModes(BoolDecoder in, int column) {
        for (int y = 0; y < BLOCK; y++) {
            for (int x = 0; x < BLOCK; x++) {
                int above = BLOCK * column + x;
                Mode mode = readSmallMode(in, modesAbove[above], modesLeft[y]);
                smallModes[BLOCK * y + x] = mode;
                modesAbove[above] = mode;
                modesLeft[y] = mode;
            }
        }
    }

    private static Mode readSmallMode(BoolDecoder in, Mode above, Mode left) {
        if (!readNode(in, above, left, 0)) {
            return Mode.DC;
        }
        if (!readNode(in, above, left, 1)) {
            return Mode.TRUE_MOTION;
        }
        if (!readNode(in, above, left, 2)) {
            return Mode.VERTICAL;
        }
        if (!readNode(in, above, left, 3)) {
            if (!readNode(in, above, left, 4)) {
                return Mode.HORIZONTAL;
            }
            return readNode(in, above, left, 5) ? Mode.VERTICAL_RIGHT : Mode.RIGHT_DOWN;
        }
        if (!readNode(in, above, left, 6)) {
            return Mode.LEFT_DOWN;
        }
        if (!readNode(in, above, left, 7)) {
            return Mode.VERTICAL_LEFT;
        }
        return readNode(in, above, left, 8) ? Mode.HORIZONTAL_UP : Mode.HORIZONTAL_DOWN;
    }

    private static boolean readNode(BoolDecoder in, Mode above, Mode left, int node) {
        return in.read(Vp8Tables.modeProbability(above, left, node));
    }

    /// Where a block begins in its macroblock.
    ///
    /// @param side of the macroblock, in blocks
    private static int place(Vp8Plane plane, int block, int side) {
        return BLOCK * (block / side * plane.stride + block % side);
    }

    private void predictSmall(int at, int column, int row, boolean any) {
        // To the right of the macroblock above; all rows of blocks take these for the last in them,
        // and where there is no such macroblock the last sample above stands for them.
        boolean last = row > 0 && column == header.columns() - 1;
        int beyond = at - luma.stride + LUMA - (last ? 1 : 0);
        for (int block = 0; block < Vp8Coefficients.LUMA_BLOCKS; block++) {
            int blockAt = at + place(luma, block, BLOCK);
            boolean atEdge = block % BLOCK == BLOCK - 1;
            prediction.predictSmall(
                    luma,
                    blockAt,
                    smallModes[block],
                    atEdge ? beyond : blockAt - luma.stride + BLOCK,
                    atEdge && last ? 0 : 1);
            if (any) {
                add(luma, blockAt, block);
            }
        }
    }

    private void colour(
            Vp8Plane plane, int firstBlock, Mode mode, int column, int row, boolean any) {
        int at = plane.index(COLOUR * column, COLOUR * row);
        Vp8Prediction.predict(plane, at, COLOUR, mode, row > 0, column > 0);
        for (int block = 0; any && block < 4; block++) {
            add(plane, at + place(plane, block, 2), firstBlock + block);
        }
    }

    private void add(Vp8Plane plane, int at, int block) {
        int begin = block * Vp8Coefficients.PER_BLOCK;
        if (!coefficients.isConstant(block)) {
            transform.addCosine(coefficients.values, begin, plane, at);
        } else if (!coefficients.isZero(block)) {
            Vp8Transform.addConstant(coefficients.values[begin], plane, at);
        }
    }

    private void smooth() {
        Vp8LoopFilter onLuma = new Vp8LoopFilter(luma);
        Vp8LoopFilter onBlue = new Vp8LoopFilter(blue);
        Vp8LoopFilter onRed = new Vp8LoopFilter(red);
        for (int row = 0; row < header.rows(); row++) {
            for (int column = 0; column < header.columns(); column++) {
                int filter = filters[row * header.columns() + column];
                Vp8LoopFilter.Strength strength = header.strengths[filter & (INNER_EDGES - 1)];
                if (strength.isNone()) {
                    continue;
                }
                boolean inner = (filter & INNER_EDGES) != 0;
                if (header.simpleFilter) {
                    onLuma.smoothSimply(column, row, LUMA, inner, strength);
                } else {
                    onLuma.smooth(column, row, LUMA, inner, strength);
                    onBlue.smooth(column, row, COLOUR, inner, strength);
                    onRed.smooth(column, row, COLOUR, inner, strength);
                }
            }
        }
    }
}
