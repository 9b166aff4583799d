package dev.saccade.kernels.elementwise;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Oracle;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// The CPU's pointwise operations are exact; its sums run in a fixed order.
class HostElementwiseTest {

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 15, 16, 17, 1000, 65536, 65537, 300_001})
    void pointwiseOperationsAreExact(int count) {
        float[] a = Buffers.normal(1, count, 1);
        float[] b = Buffers.normal(2, count, 1);
        float[] sum = new float[count];
        float[] product = new float[count];
        float[] scaled = new float[count];
        float[] accumulated = new float[count];
        float[] filled = new float[count];
        for (int i = 0; i < count; i++) {
            sum[i] = a[i] + b[i];
            product[i] = a[i] * b[i];
            scaled[i] = a[i] * 0.3f;
            accumulated[i] = sum[i] + a[i];
            filled[i] = -2f;
        }
        for (int workers : new int[] {1, 2}) {
            try (Buffers buffers = new Buffers(workers)) {
                Elementwise elementwise = Elementwise.on(buffers.device());
                Span x = buffers.of(a);
                Span y = buffers.of(b);
                // One element more than is worked on must stay as it was.
                Span out = buffers.poison(count + 1);
                elementwise.multiply(count, x, y, out);
                assertThat(buffers.floats(out)).isEqualTo(withNan(product));
                elementwise.add(count, x, y, out);
                assertThat(buffers.floats(out)).isEqualTo(withNan(sum));
                elementwise.accumulate(count, x, out);
                assertThat(buffers.floats(out)).isEqualTo(withNan(accumulated));
                elementwise.scale(count, 0.3f, x, out);
                assertThat(buffers.floats(out)).isEqualTo(withNan(scaled));
                elementwise.fill(count, -2f, out);
                assertThat(buffers.floats(out)).isEqualTo(withNan(filled));
                elementwise.add(count, x, y, x);
                assertThat(buffers.floats(x)).isEqualTo(sum);
            }
        }
    }

    private static float[] withNan(float[] values) {
        float[] result = Arrays.copyOf(values, values.length + 1);
        result[values.length] = Float.NaN;
        return result;
    }

    /// All 65536 values of a 16-bit type survive the way to F32 and back.
    @ParameterizedTest
    @EnumSource(names = {"BF16", "F16"})
    void everyHalfIsExactInF32(DType dtype) {
        short[] all = new short[1 << 16];
        for (int i = 0; i < all.length; i++) {
            all[i] = (short) i;
        }
        float[] wide = widened(dtype, all);
        for (int i = 0; i < all.length; i++) {
            double expected = value(dtype, i);
            if (Double.isNaN(expected)) {
                assertThat(wide[i]).isNaN();
                all[i] = 0;
                wide[i] = 0f;
            } else {
                assertThat(Double.doubleToRawLongBits(wide[i]))
                        .isEqualTo(Double.doubleToRawLongBits(expected));
            }
        }
        assertThat(narrowed(dtype, wide)).isEqualTo(all);
    }

    /// Between two neighbouring halves: below the middle, the middle, and above it.
    @ParameterizedTest
    @EnumSource(names = {"BF16", "F16"})
    void roundsToNearestEven(DType dtype) {
        int infinity = dtype == DType.F16 ? 0x7c00 : 0x7f80;
        int count = infinity;
        float[] values = new float[6 * count];
        short[] expected = new short[6 * count];
        for (int i = 0; i < count; i++) {
            double low = value(dtype, i);
            double step = low - (i == 0 ? -value(dtype, 1) : value(dtype, i - 1));
            double high = i + 1 == infinity ? low + step : value(dtype, i + 1);
            float middle = (float) ((low + high) / 2);
            int even = i % 2 == 0 ? i : i + 1;
            float[] samples = {Math.nextDown(middle), middle, Math.nextUp(middle)};
            int[] rounded = {i, even, i + 1};
            for (int sample = 0; sample < 3; sample++) {
                values[6 * i + sample] = samples[sample];
                expected[6 * i + sample] = (short) rounded[sample];
                values[6 * i + 3 + sample] = -samples[sample];
                expected[6 * i + 3 + sample] = (short) (rounded[sample] | 0x8000);
            }
        }
        assertThat(narrowed(dtype, values)).isEqualTo(expected);
    }

    @ParameterizedTest
    @EnumSource(names = {"BF16", "F16"})
    void specialValuesStay(DType dtype) {
        float[] values = {
            Float.POSITIVE_INFINITY,
            Float.NEGATIVE_INFINITY,
            0f,
            -0f,
            Float.NaN,
            Float.intBitsToFloat(0x7f800001),
            Float.intBitsToFloat(0xffffffff),
            Float.MAX_VALUE
        };
        float[] back = widened(dtype, narrowed(dtype, values));
        assertThat(back[0]).isEqualTo(Float.POSITIVE_INFINITY);
        assertThat(back[1]).isEqualTo(Float.NEGATIVE_INFINITY);
        assertThat(Float.floatToRawIntBits(back[2])).isZero();
        assertThat(Float.floatToRawIntBits(back[3])).isEqualTo(Integer.MIN_VALUE);
        assertThat(back[4]).isNaN();
        assertThat(back[5]).isNaN();
        assertThat(back[6]).isNaN();
        assertThat(back[7]).isEqualTo(Float.POSITIVE_INFINITY);
    }

    @Test
    void castsBetweenTheHalvesAndToTheSameType() {
        try (Buffers buffers = new Buffers(2)) {
            Elementwise elementwise = Elementwise.on(buffers.device());
            int count = 100_003;
            float[] values = Buffers.normal(5, count, 10);
            short[] brain = narrowed(DType.BF16, values);
            Span f16 = buffers.poison(DType.F16, count);
            elementwise.cast(count, buffers.ofBits(DType.BF16, brain), f16);
            assertThat(buffers.bits(f16))
                    .isEqualTo(narrowed(DType.F16, widened(DType.BF16, brain)));
            Span copy = buffers.poison(count);
            elementwise.cast(count, buffers.of(values), copy);
            assertThat(buffers.floats(copy)).isEqualTo(values);
            Span bytes = buffers.of(new byte[4]);
            assertThatThrownBy(() -> elementwise.cast(4, bytes, copy))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("cast knows F32, BF16 and F16, not U8");
        }
    }

    private static float[] widened(DType dtype, short[] bits) {
        try (Buffers buffers = new Buffers(2)) {
            Span wide = buffers.poison(bits.length);
            Elementwise.on(buffers.device()).cast(bits.length, buffers.ofBits(dtype, bits), wide);
            return buffers.floats(wide);
        }
    }

    private static short[] narrowed(DType dtype, float[] values) {
        try (Buffers buffers = new Buffers(2)) {
            Span narrow = buffers.poison(dtype, values.length);
            Elementwise.on(buffers.device()).cast(values.length, buffers.of(values), narrow);
            return buffers.bits(narrow);
        }
    }

    /// The value of 16 bits by the definition of the format.
    private static double value(DType dtype, int bits) {
        int fractionBits = dtype == DType.F16 ? 10 : 7;
        int exponentBits = 15 - fractionBits;
        int bias = (1 << (exponentBits - 1)) - 1;
        int exponent = (bits >> fractionBits) & ((1 << exponentBits) - 1);
        int fraction = bits & ((1 << fractionBits) - 1);
        double sign = (bits & 0x8000) == 0 ? 1 : -1;
        if (exponent == (1 << exponentBits) - 1) {
            return fraction == 0 ? sign * Double.POSITIVE_INFINITY : Double.NaN;
        }
        double unit = Math.scalb(1.0, Math.max(exponent, 1) - bias - fractionBits);
        return sign * unit * (fraction + (exponent == 0 ? 0 : 1 << fractionBits));
    }

    @ParameterizedTest
    @CsvSource({"1, 1", "5, 3", "9, 64", "7, 65", "33, 131", "700, 200", "3, 40000"})
    void sumsOfRowsRunInRowOrder(int rows, int width) {
        float[] x = Buffers.normal(1, rows * width, 1);
        float[] w = Buffers.normal(2, rows * width, 1);
        float[] sum = Buffers.normal(3, width, 1);
        float[] product = sum.clone();
        float[] scaled = new float[rows * width];
        float[] start = sum.clone();
        for (int row = 0; row < rows; row++) {
            for (int i = 0; i < width; i++) {
                int at = row * width + i;
                sum[i] += x[at];
                product[i] = Math.fma(x[at], w[at], product[i]);
                scaled[at] = x[at] * start[i];
            }
        }
        for (int workers : new int[] {1, 2}) {
            try (Buffers buffers = new Buffers(workers)) {
                Elementwise elementwise = Elementwise.on(buffers.device());
                Span dy = buffers.of(x);
                Span branch = buffers.of(w);
                Span bias = buffers.of(start);
                elementwise.sumRows(rows, width, dy, bias);
                assertThat(buffers.floats(bias)).isEqualTo(sum);
                Span dScale = buffers.of(start);
                Span dBranch = buffers.poison(rows * width);
                Span scale = buffers.of(start);
                elementwise.layerScaleBackward(rows, width, scale, null, dy, dBranch, null);
                assertThat(buffers.floats(dBranch)).isEqualTo(scaled);
                // In place, and both at once: the product must see dy as it was.
                elementwise.layerScaleBackward(rows, width, scale, branch, dy, dy, dScale);
                assertThat(buffers.floats(dScale)).isEqualTo(product);
                assertThat(buffers.floats(dy)).isEqualTo(scaled);
            }
        }
    }

    @Test
    void scaleGradientNeedsTheBranch() {
        try (Buffers buffers = new Buffers(1)) {
            Span x = buffers.of(1f);
            assertThatThrownBy(() ->
                            Elementwise.on(buffers.device())
                                    .layerScaleBackward(1, 1, x, null, x, null, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("dScale needs branch");
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 7, 8, 9, 4095, 4096, 4097, 100_001})
    void dotIsExactToDouble(int count) {
        SplittableRandom random = new SplittableRandom(count);
        float[] x = Buffers.normal(random.nextLong(), count, 1);
        float[] w = Buffers.normal(random.nextLong(), count, 1);
        double plain = 0;
        double weighted = 0;
        for (int i = 0; i < count; i++) {
            plain += x[i];
            weighted += (double) x[i] * w[i];
        }
        double[] one = dots(x, w, 1);
        assertThat(one[0]).isCloseTo(plain, within(1e-9));
        assertThat(one[1]).isCloseTo(weighted, within(1e-9));
        assertThat(dots(x, w, 2)).isEqualTo(one);
    }

    private static double[] dots(float[] x, float[] w, int workers) {
        try (Buffers buffers = new Buffers(workers)) {
            Elementwise elementwise = Elementwise.on(buffers.device());
            Span a = buffers.of(x);
            return new double[] {
                elementwise.dot(x.length, a, null), elementwise.dot(x.length, a, buffers.of(w))
            };
        }
    }

    @Test
    void oracleKnowsNan() {
        assertThat(Oracle.error(new double[] {1}, new float[] {Float.NaN}))
                .isEqualTo(Double.POSITIVE_INFINITY);
    }
}
