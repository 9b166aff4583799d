package dev.saccade.model.image;

import java.util.Arrays;

/// Prediction of a block of samples from those above it and to its left (RFC 6386, section 12).
final class Vp8Prediction {
    /// How a block is predicted.
    enum Mode {
        /// The mean of the neighbours.
        DC(0),
        /// Left plus above minus corner.
        TRUE_MOTION(1),
        VERTICAL(2),
        HORIZONTAL(3),
        RIGHT_DOWN(4),
        VERTICAL_RIGHT(5),
        LEFT_DOWN(6),
        VERTICAL_LEFT(7),
        HORIZONTAL_DOWN(8),
        HORIZONTAL_UP(9);

        static final int COUNT = 10;

        /// Its place in the probabilities of [Vp8Tables].
        final int place;

        Mode(int place) {
            this.place = place;
        }
    }

    /// Of the neighbours of a 4x4 block, its corner: before it are those to the left from the
    /// lowest on, after it those above from the left on, four to the right of the block included.
    private static final int CORNER = 4;

    private static final int NEIGHBOURS = 13;

    private final int[] edge = new int[NEIGHBOURS];

    /// Predicts a whole macroblock's samples of one plane.
    ///
    /// @param at its first sample
    /// @param size its side: 16, or 8 for colour
    /// @param hasAbove whether there is a macroblock above it
    /// @param hasLeft whether there is one to its left
    static void predict(
            Vp8Plane plane, int at, int size, Mode mode, boolean hasAbove, boolean hasLeft) {
        byte[] samples = plane.samples;
        int stride = plane.stride;
        int above = at - stride;
        for (int y = 0, row = at; y < size; y++, row += stride) {
            switch (mode) {
                case DC -> {
                    if (y == 0) {
                        Arrays.fill(
                                samples,
                                row,
                                row + size,
                                (byte) mean(plane, at, size, hasAbove, hasLeft));
                    } else {
                        System.arraycopy(samples, at, samples, row, size);
                    }
                }
                case VERTICAL -> System.arraycopy(samples, above, samples, row, size);
                case HORIZONTAL -> Arrays.fill(samples, row, row + size, samples[row - 1]);
                case TRUE_MOTION -> {
                    int difference = plane.sample(row - 1) - plane.sample(above - 1);
                    for (int x = 0; x < size; x++) {
                        samples[row + x] = Vp8Plane.clip(plane.sample(above + x) + difference);
                    }
                }
                default -> throw new IllegalArgumentException(mode.name());
            }
        }
    }

    private static int mean(Vp8Plane plane, int at, int size, boolean hasAbove, boolean hasLeft) {
        int sum = 0;
        int count = 0;
        if (hasAbove) {
            for (int i = 0; i < size; i++) {
                sum += plane.sample(at - plane.stride + i);
            }
            count += size;
        }
        if (hasLeft) {
            for (int i = 0; i < size; i++) {
                sum += plane.sample(at + i * plane.stride - 1);
            }
            count += size;
        }
        return count == 0 ? 128 : (sum + count / 2) / count;
    }

    /// Predicts 4x4 samples.
    ///
    /// @param at the first of them
    /// @param beyond the first of the four samples to the right of those above
    /// @param step from one of these to the next: 0 where the first stands for all
    void predictSmall(Vp8Plane plane, int at, Mode mode, int beyond, int step) {
        int stride = plane.stride;
        for (int i = 0; i < 4; i++) {
            edge[CORNER - 1 - i] = plane.sample(at + i * stride - 1);
            edge[CORNER + 1 + i] = plane.sample(at - stride + i);
            edge[CORNER + 5 + i] = plane.sample(beyond + i * step);
        }
        edge[CORNER] = plane.sample(at - stride - 1);
        for (int y = 0, row = at; y < 4; y++, row += stride) {
            for (int x = 0; x < 4; x++) {
                plane.samples[row + x] = (byte) small(mode, x, y);
            }
        }
    }

    private int small(Mode mode, int x, int y) {
        return switch (mode) {
            case DC -> {
                int sum = 4;
                for (int i = 1; i <= 4; i++) {
                    sum += edge[CORNER - i] + edge[CORNER + i];
                }
                yield sum >> 3;
            }
            case TRUE_MOTION -> Vp8Plane.clip(left(y) + above(x) - edge[CORNER]);
            case VERTICAL -> smooth(CORNER + 1 + x);
            case HORIZONTAL -> y < 3 ? smooth(CORNER - 1 - y) : smooth(left(2), left(3), left(3));
            case RIGHT_DOWN -> smooth(CORNER + x - y);
            case LEFT_DOWN ->
                    x + y < 6 ? smooth(CORNER + 2 + x + y) : smooth(above(6), above(7), above(7));
            case VERTICAL_RIGHT -> {
                int along = 2 * x - y;
                if (along < 0) {
                    yield smooth(CORNER + 1 + along);
                }
                int from = CORNER + along / 2;
                yield along % 2 == 0 ? between(from) : smooth(from + 1);
            }
            case VERTICAL_LEFT -> {
                if (x == 3 && y >= 2) {
                    yield smooth(CORNER + 4 + y);
                }
                int from = CORNER + 1 + x + y / 2;
                yield y % 2 == 0 ? between(from) : smooth(from + 1);
            }
            case HORIZONTAL_DOWN -> {
                int along = 2 * y - x;
                if (along < 0) {
                    yield smooth(CORNER - 1 - along);
                }
                int from = CORNER - along / 2;
                yield along % 2 == 0 ? between(from - 1) : smooth(from - 1);
            }
            case HORIZONTAL_UP -> {
                int along = x + 2 * y;
                int from = along / 2;
                if (along > 5) {
                    yield left(3);
                }
                if (along == 5) {
                    yield smooth(left(2), left(3), left(3));
                }
                yield along % 2 == 0 ? between(CORNER - 2 - from) : smooth(CORNER - 2 - from);
            }
        };
    }

    private int left(int y) {
        return edge[CORNER - 1 - y];
    }

    private int above(int x) {
        return edge[CORNER + 1 + x];
    }

    private int between(int from) {
        return (edge[from] + edge[from + 1] + 1) >> 1;
    }

    private int smooth(int middle) {
        return smooth(edge[middle - 1], edge[middle], edge[middle + 1]);
    }

    private static int smooth(int before, int middle, int after) {
        return (before + 2 * middle + after + 2) >> 2;
    }
}
