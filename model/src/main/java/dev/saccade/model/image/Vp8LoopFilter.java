package dev.saccade.model.image;

/// Smooths the edges of a VP8 frame's blocks where they are no edges of the picture (RFC 6386,
/// section 15).
///
/// @param plane whose samples it changes
record Vp8LoopFilter(Vp8Plane plane) {
    private static final int BLOCK = 4;
    private static final int HIGHEST_LEVEL = 63;

    /// How far it goes.
    ///
    /// @param edge how large a step at the edge of an inner block may be; 0 for no smoothing
    /// @param interior how large a step beside the edge may be
    /// @param variance from which step on beside the edge only the samples at the edge change
    record Strength(int edge, int interior, int variance) {
        /// Macroblocks' own edges may have a larger step.
        private static final int OUTER = 4;

        static Strength of(int anyLevel, int sharpness) {
            int level = Math.clamp(anyLevel, 0, HIGHEST_LEVEL);
            if (level == 0) {
                return new Strength(0, 0, 0);
            }
            int interior = level;
            if (sharpness > 0) {
                interior = Math.min(level >> (sharpness > 4 ? 2 : 1), 9 - sharpness);
            }
            interior = Math.max(interior, 1);
            return new Strength(
                    2 * level + interior, interior, level >= 40 ? 2 : level >= 15 ? 1 : 0);
        }

        boolean isNone() {
            return edge == 0;
        }

        /// For an edge of a macroblock.
        Strength outer() {
            return new Strength(edge + OUTER, interior, variance);
        }
    }

    /// Smooths a macroblock's left and upper edge and, with `inner`, those between its blocks.
    ///
    /// @param size the macroblock's side: 16, or 8 for colour
    void smooth(int column, int row, int size, boolean inner, Strength strength) {
        int at = plane.index(size * column, size * row);
        int stride = plane.stride;
        if (column > 0) {
            outer(at, 1, stride, size, strength.outer());
        }
        for (int x = BLOCK; inner && x < size; x += BLOCK) {
            inner(at + x, 1, stride, size, strength);
        }
        if (row > 0) {
            outer(at, stride, 1, size, strength.outer());
        }
        for (int y = BLOCK; inner && y < size; y += BLOCK) {
            inner(at + y * stride, stride, 1, size, strength);
        }
    }

    /// As [#smooth] by the simple filter.
    void smoothSimply(int column, int row, int size, boolean inner, Strength strength) {
        int at = plane.index(size * column, size * row);
        int stride = plane.stride;
        if (column > 0) {
            simple(at, 1, stride, size, strength.outer());
        }
        for (int x = BLOCK; inner && x < size; x += BLOCK) {
            simple(at + x, 1, stride, size, strength);
        }
        if (row > 0) {
            simple(at, stride, 1, size, strength.outer());
        }
        for (int y = BLOCK; inner && y < size; y += BLOCK) {
            simple(at + y * stride, stride, 1, size, strength);
        }
    }

    /// Smooths an edge between macroblocks.
    ///
    /// @param at the first sample behind it
    /// @param across from a sample to the next across the edge
    /// @param along from a sample to the next along the edge
    /// @param length of the edge
    private void outer(int at, int across, int along, int length, Strength strength) {
        for (int i = 0, p = at; i < length; i++, p += along) {
            if (isSmooth(p, across, strength)) {
                if (hasVariance(p, across, strength)) {
                    two(p, across);
                } else {
                    six(p, across);
                }
            }
        }
    }

    /// Smooths an edge within a macroblock; parameters as of [#outer].
    private void inner(int at, int across, int along, int length, Strength strength) {
        for (int i = 0, p = at; i < length; i++, p += along) {
            if (isSmooth(p, across, strength)) {
                if (hasVariance(p, across, strength)) {
                    two(p, across);
                } else {
                    four(p, across);
                }
            }
        }
    }

    /// Smooths any edge by the simple filter; parameters as of [#outer].
    private void simple(int at, int across, int along, int length, Strength strength) {
        for (int i = 0, p = at; i < length; i++, p += along) {
            if (isSmall(p, across, strength)) {
                two(p, across);
            }
        }
    }

    private boolean isSmall(int p, int across, Strength strength) {
        return 4 * difference(p - across, p) + difference(p - 2 * across, p + across)
                <= 2 * strength.edge + 1;
    }

    private boolean isSmooth(int p, int across, Strength strength) {
        int most = strength.interior;
        return isSmall(p, across, strength)
                && difference(p - 4 * across, p - 3 * across) <= most
                && difference(p - 3 * across, p - 2 * across) <= most
                && difference(p - 2 * across, p - across) <= most
                && difference(p + 3 * across, p + 2 * across) <= most
                && difference(p + 2 * across, p + across) <= most
                && difference(p + across, p) <= most;
    }

    private boolean hasVariance(int p, int across, Strength strength) {
        return difference(p - 2 * across, p - across) > strength.variance
                || difference(p + across, p) > strength.variance;
    }

    private int difference(int a, int b) {
        return Math.abs(plane.sample(a) - plane.sample(b));
    }

    /// The step at the edge, three times.
    private int step(int p, int across) {
        return 3 * (plane.sample(p) - plane.sample(p - across));
    }

    /// The step between the samples beside those at the edge.
    private int widerStep(int p, int across) {
        return signed8(plane.sample(p - 2 * across) - plane.sample(p + across));
    }

    private void two(int p, int across) {
        int a = step(p, across) + widerStep(p, across);
        add(p - across, signed5((a + 3) >> 3));
        add(p, -signed5((a + 4) >> 3));
    }

    private void four(int p, int across) {
        int a = step(p, across);
        int behind = signed5((a + 4) >> 3);
        int farther = (behind + 1) >> 1;
        add(p - 2 * across, farther);
        add(p - across, signed5((a + 3) >> 3));
        add(p, -behind);
        add(p + across, -farther);
    }

    private void six(int p, int across) {
        int a = signed8(step(p, across) + widerStep(p, across));
        for (int i = 0, weight = 27; i < 3; i++, weight -= 9) {
            int change = (weight * a + 63) >> 7;
            add(p - (i + 1) * across, change);
            add(p + i * across, -change);
        }
    }

    private void add(int p, int change) {
        plane.samples[p] = Vp8Plane.clip(plane.sample(p) + change);
    }

    private static int signed8(int value) {
        return Math.max(-128, Math.min(value, 127));
    }

    private static int signed5(int value) {
        return Math.max(-16, Math.min(value, 15));
    }
}
