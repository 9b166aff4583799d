package dev.saccade.model.image;

/// What a VP8 key frame says before its macroblocks (RFC 6386, sections 9 and 19.2).
final class Vp8Header {
    static final int SEGMENTS = 4;

    private static final int START_BYTES = 10;
    private static final int SIZE_BYTES = 3;
    private static final int HIGHEST_PROFILE = 3;

    /// The steps of the coefficients: of luma, of luma's first coefficients where they are coded by
    /// themselves, and of colour; of each the first coefficient and the others.
    record Steps(
            int lumaFirst,
            int lumaOther,
            int secondFirst,
            int secondOther,
            int colourFirst,
            int colourOther) {}

    final int width;
    final int height;

    /// The first part, from where the macroblocks' modes begin.
    final BoolDecoder modes;

    /// The parts of the coefficients; rows of macroblocks take turns.
    final BoolDecoder[] parts;

    /// Whether each macroblock says which segment it is in.
    private final boolean hasSegmentMap;

    private final int[] segmentProbabilities = {255, 255, 255};

    /// By segment.
    final Steps[] steps = new Steps[SEGMENTS];

    /// What smooths the edges, by segment and, at odd places, of macroblocks predicted in 4x4
    /// blocks.
    final Vp8LoopFilter.Strength[] strengths = new Vp8LoopFilter.Strength[2 * SEGMENTS];

    /// Whether the simple filter smooths the edges, and luma's only.
    final boolean simpleFilter;

    /// Whether edges are smoothed at all.
    final boolean filtered;

    /// By type, band, context and node.
    final int[] coefficientProbabilities = Vp8Tables.coefficientProbabilities();

    /// Of 256, that a macroblock has coefficients; -1 where each may have.
    private final int skipProbability;

    private final boolean hasSegments;
    private final boolean absolute;
    private final int[] segmentQuantizers = new int[SEGMENTS];
    private final int[] segmentLevels = new int[SEGMENTS];

    /// @param begin of the frame in the file
    /// @param end of the frame in the file
    /// @param width as the frame says, and so is `height`
    Vp8Header(ImageBytes file, int begin, int end, int width, int height) {
        int tag = file.u24LittleEndian(begin);
        if ((tag >> 1 & 7) > HIGHEST_PROFILE || (tag >> 4 & 1) == 0) {
            throw file.damaged(begin, "a frame of an unknown kind or not to be shown");
        }
        this.width = width;
        this.height = height;
        int first = begin + START_BYTES;
        long firstEnd = first + (long) (tag >> 5);
        if (firstEnd > end) {
            throw file.damaged(begin, "a first part beyond the frame's end");
        }
        requireRoom(file, (int) firstEnd - first);
        BoolDecoder in = new BoolDecoder(file.bytes(), first, (int) firstEnd);
        modes = in;
        in.flag(); // the colour space, of which there is one
        in.flag(); // whether samples need no clipping: it changes nothing in a sound file
        hasSegments = in.flag();
        boolean hasMap = false;
        boolean asAbsolute = true;
        if (hasSegments) {
            hasMap = in.flag();
            if (in.flag()) {
                asAbsolute = in.flag();
                for (int i = 0; i < SEGMENTS; i++) {
                    segmentQuantizers[i] = in.optionalSigned(7);
                }
                for (int i = 0; i < SEGMENTS; i++) {
                    segmentLevels[i] = in.optionalSigned(6);
                }
            }
            for (int i = 0; hasMap && i < segmentProbabilities.length; i++) {
                segmentProbabilities[i] = in.flag() ? in.number(8) : 255;
            }
        }
        hasSegmentMap = hasMap;
        absolute = asAbsolute;
        simpleFilter = in.flag();
        int level = in.number(6);
        filtered = level > 0;
        readStrengths(in, level);
        parts = parts(file, (int) firstEnd, end, 1 << in.number(2));
        readSteps(in);
        in.flag(); // whether later frames keep the probabilities
        for (int i = 0; i < coefficientProbabilities.length; i++) {
            if (in.read(Vp8Tables.UPDATE_PROBABILITIES[i])) {
                coefficientProbabilities[i] = in.number(8);
            }
        }
        skipProbability = in.flag() ? in.number(8) : -1;
        if (in.isPastEnd()) {
            throw file.damaged(begin, "the frame's header is cut off");
        }
    }

    /// A macroblock's kind takes more than 1.6 bits however likely it is.
    private void requireRoom(ImageBytes file, long bytes) {
        if (bytes * Byte.SIZE < (long) columns() * rows()) {
            throw file.tooShort(width, height);
        }
    }

    private static BoolDecoder[] parts(ImageBytes file, int begin, int end, int count) {
        int sizes = begin;
        int at = begin + SIZE_BYTES * (count - 1);
        BoolDecoder[] parts = new BoolDecoder[count];
        for (int i = 0; i < count; i++) {
            int partEnd = end;
            if (i + 1 < count) {
                partEnd = at + Math.min(end - at, file.u24LittleEndian(sizes));
                sizes += SIZE_BYTES;
            }
            if (i + 1 == count && at >= end) {
                throw file.damaged(begin, "a part of the coefficients is missing");
            }
            parts[i] = new BoolDecoder(file.bytes(), at, partEnd);
            at = partEnd;
        }
        return parts;
    }

    private void readStrengths(BoolDecoder in, int level) {
        int sharpness = in.number(3);
        int intraDelta = 0;
        int smallDelta = 0;
        boolean hasDeltas = in.flag();
        if (hasDeltas && in.flag()) {
            // Of four references and four modes, key frames know one and one.
            for (int i = 0; i < 4; i++) {
                int delta = in.optionalSigned(6);
                intraDelta = i == 0 ? delta : intraDelta;
            }
            for (int i = 0; i < 4; i++) {
                int delta = in.optionalSigned(6);
                smallDelta = i == 0 ? delta : smallDelta;
            }
        }
        for (int segment = 0; segment < SEGMENTS; segment++) {
            int base = ofSegment(segmentLevels[segment], level) + intraDelta;
            strengths[2 * segment] = Vp8LoopFilter.Strength.of(base, sharpness);
            strengths[2 * segment + 1] = Vp8LoopFilter.Strength.of(base + smallDelta, sharpness);
        }
    }

    private void readSteps(BoolDecoder in) {
        int base = in.number(7);
        int lumaFirst = in.optionalSigned(4);
        int secondFirst = in.optionalSigned(4);
        int secondOther = in.optionalSigned(4);
        int colourFirst = in.optionalSigned(4);
        int colourOther = in.optionalSigned(4);
        for (int segment = 0; segment < SEGMENTS; segment++) {
            int index = ofSegment(segmentQuantizers[segment], base);
            steps[segment] =
                    new Steps(
                            Vp8Tables.firstStep(index + lumaFirst),
                            Vp8Tables.otherStep(index),
                            2 * Vp8Tables.firstStep(index + secondFirst),
                            Math.max(8, Vp8Tables.otherStep(index + secondOther) * 155 / 100),
                            Math.min(132, Vp8Tables.firstStep(index + colourFirst)),
                            Vp8Tables.otherStep(index + colourOther));
        }
    }

    /// Reads which segment the next macroblock is in.
    int readSegment() {
        if (!hasSegmentMap) {
            return 0;
        }
        return modes.read(segmentProbabilities[0])
                ? 2 + modes.bit(segmentProbabilities[2])
                : modes.bit(segmentProbabilities[1]);
    }

    /// Reads whether the next macroblock has no coefficients.
    boolean readSkip() {
        return skipProbability >= 0 && modes.read(skipProbability);
    }

    private int ofSegment(int own, int base) {
        if (!hasSegments) {
            return base;
        }
        return absolute ? own : base + own;
    }

    /// Macroblocks in a row.
    int columns() {
        return (width + 15) >> 4;
    }

    /// Rows of macroblocks.
    int rows() {
        return (height + 15) >> 4;
    }
}
