package dev.saccade.model.image;

import java.util.Arrays;

/// One of a VP8 frame's three planes, in whole macroblocks. Around it lies what prediction takes
/// for the neighbours of the blocks at its edge: 127 above, the corner and four samples to the
/// right included, and 129 to the left.
final class Vp8Plane {
    private static final int ABOVE = 127;
    private static final int LEFT = 129;
    private static final int BESIDE = 4;

    final byte[] samples;

    /// From a row to the next.
    final int stride;

    Vp8Plane(int width, int height) {
        stride = 1 + width + BESIDE;
        samples = new byte[Math.multiplyExact(stride, height + 1)];
        Arrays.fill(samples, 0, stride, (byte) ABOVE);
        for (int y = 0; y < height; y++) {
            samples[index(-1, y)] = (byte) LEFT;
        }
    }

    int index(int x, int y) {
        return (y + 1) * stride + x + 1;
    }

    int sample(int index) {
        return samples[index] & 0xff;
    }

    static byte clip(int value) {
        return (byte) Math.max(0, Math.min(value, 255));
    }
}
