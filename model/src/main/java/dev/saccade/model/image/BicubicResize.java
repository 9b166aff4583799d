package dev.saccade.model.image;

import java.util.Arrays;

/// Resizes 8-bit pictures bit for bit as Pillow does with its `BICUBIC` filter (Keys' cubic with a
/// = -0.5, widened by the scale when shrinking, so that shrinking is anti-aliased): first along the
/// rows, then along the columns, in integers of 22 fractional bits, rounded to 8 bits between the
/// two. A direction whose size stays is left out.
final class BicubicResize {
    private static final double SUPPORT = 2;
    private static final double A = -0.5;
    private static final int PRECISION_BITS = 22;

    private BicubicResize() {}

    static RgbImage resize(RgbImage image, int width, int height) {
        RgbImage wide = width == image.width() ? image : resizeRows(image, width);
        return height == wide.height() ? wide : resizeColumns(wide, height);
    }

    /// For each output place the first input place and the weights from there on.
    ///
    /// @param first for each output place, the first input place
    /// @param weights for each output place, a weight for each input place from the first on
    @SuppressWarnings("ArrayRecordComponent") // used within one resize
    private record Taps(int[] first, int[][] weights) {

        static Taps of(int in, int out) {
            double scale = (double) in / out;
            double filterScale = Math.max(scale, 1);
            double support = SUPPORT * filterScale;
            double inverse = 1 / filterScale;
            int[] first = new int[out];
            int[][] weights = new int[out][];
            for (int i = 0; i < out; i++) {
                double center = (i + 0.5) * scale;
                int begin = Math.max(0, (int) (center - support + 0.5));
                int end = Math.min(in, (int) (center + support + 0.5));
                double[] exact = new double[end - begin];
                double sum = 0;
                for (int k = 0; k < exact.length; k++) {
                    exact[k] = cubic((k + begin - center + 0.5) * inverse);
                    sum += exact[k];
                }
                first[i] = begin;
                weights[i] = new int[exact.length];
                for (int k = 0; k < exact.length; k++) {
                    double weight = sum == 0 ? exact[k] : exact[k] / sum;
                    double fixed = weight * (1 << PRECISION_BITS);
                    weights[i][k] = (int) (weight < 0 ? fixed - 0.5 : fixed + 0.5);
                }
            }
            return new Taps(first, weights);
        }

        private static double cubic(double distance) {
            double x = Math.abs(distance);
            if (x < 1) {
                return ((A + 2) * x - (A + 3)) * x * x + 1;
            }
            if (x < 2) {
                return (((x - 5) * x + 8) * x - 4) * A;
            }
            return 0;
        }
    }

    private static RgbImage resizeRows(RgbImage image, int width) {
        Taps taps = Taps.of(image.width(), width);
        byte[] in = image.values();
        byte[] out = new byte[Math.multiplyExact(3 * width, image.height())];
        for (int y = 0; y < image.height(); y++) {
            int row = 3 * y * image.width();
            int target = 3 * y * width;
            for (int x = 0; x < width; x++) {
                int[] weights = taps.weights()[x];
                int source = row + 3 * taps.first()[x];
                int red = 1 << (PRECISION_BITS - 1);
                int green = red;
                int blue = red;
                for (int weight : weights) {
                    red += (in[source] & 0xff) * weight;
                    green += (in[source + 1] & 0xff) * weight;
                    blue += (in[source + 2] & 0xff) * weight;
                    source += 3;
                }
                out[target] = clip(red);
                out[target + 1] = clip(green);
                out[target + 2] = clip(blue);
                target += 3;
            }
        }
        return new RgbImage(width, image.height(), out);
    }

    private static RgbImage resizeColumns(RgbImage image, int height) {
        Taps taps = Taps.of(image.height(), height);
        byte[] in = image.values();
        int stride = 3 * image.width();
        byte[] out = new byte[Math.multiplyExact(stride, height)];
        int[] sums = new int[stride];
        for (int y = 0; y < height; y++) {
            Arrays.fill(sums, 1 << (PRECISION_BITS - 1));
            int source = taps.first()[y] * stride;
            for (int weight : taps.weights()[y]) {
                for (int i = 0; i < stride; i++) {
                    sums[i] += (in[source + i] & 0xff) * weight;
                }
                source += stride;
            }
            for (int i = 0; i < stride; i++) {
                out[y * stride + i] = clip(sums[i]);
            }
        }
        return new RgbImage(image.width(), height, out);
    }

    private static byte clip(int sum) {
        return (byte) Math.clamp(sum >> PRECISION_BITS, 0, 255);
    }
}
