package dev.saccade.model.image;

/// Colours of a lossy WebP in the fixed-point arithmetic of libwebp: what is between the samples of
/// colour, of which there is one for 2x2 pixels, is interpolated with weights 9, 3, 3 and 1.
final class YuvToRgb {
    private YuvToRgb() {}

    static RgbImage convert(Vp8Plane luma, Vp8Plane blue, Vp8Plane red, int width, int height) {
        byte[] values = new byte[Math.multiplyExact(3, Math.multiplyExact(width, height))];
        int lastRow = (height - 1) / 2;
        int[] u = new int[width];
        int[] v = new int[width];
        for (int y = 0; y < height; y++) {
            int near = y / 2;
            int far = Math.clamp(y % 2 == 0 ? near - 1 : near + 1, 0, lastRow);
            interpolate(blue, near, far, u);
            interpolate(red, near, far, v);
            int from = luma.index(0, y);
            int to = 3 * y * width;
            for (int x = 0; x < width; x++, to += 3) {
                int light = (luma.sample(from + x) * 19077) >> 8;
                values[to] = narrow(light + ((v[x] * 26149) >> 8) - 14234);
                values[to + 1] =
                        narrow(light - ((u[x] * 6419) >> 8) - ((v[x] * 13320) >> 8) + 8708);
                values[to + 2] = narrow(light + ((u[x] * 33050) >> 8) - 17685);
            }
        }
        return new RgbImage(width, height, values);
    }

    /// One row of pixels' samples. Each is rounded in three steps, so that the order of the terms
    /// counts.
    ///
    /// @param near the row of samples the pixels are in
    /// @param far the next one on the pixels' other side
    private static void interpolate(Vp8Plane plane, int near, int far, int[] to) {
        int width = to.length;
        int nearAt = plane.index(0, near);
        int farAt = plane.index(0, far);
        int nearLeft = plane.sample(nearAt);
        int farLeft = plane.sample(farAt);
        to[0] = (3 * nearLeft + farLeft + 2) >> 2;
        int x = 1;
        for (; x + 1 < width; x += 2) {
            int nearRight = plane.sample(++nearAt);
            int farRight = plane.sample(++farAt);
            int sum = nearLeft + nearRight + farLeft + farRight + 8;
            int falling = (sum + 2 * (nearLeft + farRight)) >> 3;
            int rising = (sum + 2 * (nearRight + farLeft)) >> 3;
            to[x] = (rising + nearLeft) >> 1;
            to[x + 1] = (falling + nearRight) >> 1;
            nearLeft = nearRight;
            farLeft = farRight;
        }
        if (x < width) {
            to[x] = (3 * nearLeft + farLeft + 2) >> 2;
        }
    }

    /// From 14 bits, of which 6 are behind the point.
    private static byte narrow(int value) {
        return Vp8Plane.clip(value >> 6);
    }
}
