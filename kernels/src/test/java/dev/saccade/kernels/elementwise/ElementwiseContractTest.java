package dev.saccade.kernels.elementwise;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Oracle;
import dev.saccade.kernels.testing.Placed;
import dev.saccade.kernels.testing.Target;
import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// The contract of pointwise arithmetic, casts and sums on every device.
@Tag("device")
class ElementwiseContractTest {

    static Stream<Arguments> counts() {
        int[] counts = {0, 1, 7, 8, 255, 4095, 4096, 4097, 10_000, 100_003};
        return Arrays.stream(Target.values())
                .flatMap(target ->
                        Arrays.stream(counts).mapToObj(count -> Arguments.of(target, count)));
    }

    /// A pointwise result is the exact one, computed in F32 and rounded once, so there is only one
    /// right answer.
    @ParameterizedTest
    @MethodSource("counts")
    void pointwiseOperationsRoundOnce(Target target, int count) {
        DType dtype = target.dtype();
        float[] a = Buffers.rounded(dtype, Buffers.normal(1, count, 1));
        float[] b = Buffers.rounded(dtype, Buffers.normal(2, count, 1));
        float[] sum = new float[count];
        float[] product = new float[count];
        float[] scaled = new float[count];
        float[] filled = new float[count];
        for (int i = 0; i < count; i++) {
            sum[i] = Buffers.rounded(dtype, a[i] + b[i]);
            product[i] = Buffers.rounded(dtype, a[i] * b[i]);
            scaled[i] = Buffers.rounded(dtype, a[i] * 0.3f);
            filled[i] = Buffers.rounded(dtype, -2.3f);
        }
        for (int shift : new int[] {0, 1}) {
            try (Buffers buffers = target.open()) {
                Elementwise elementwise = Elementwise.on(buffers.device());
                Span x = Placed.of(buffers, dtype, shift, a);
                Span y = Placed.of(buffers, dtype, shift, b);
                Span out = Placed.poison(buffers, dtype, shift, count);
                elementwise.add(count, x, y, out);
                assertThat(Placed.floats(buffers, out)).isEqualTo(sum);
                elementwise.multiply(count, x, y, out);
                assertThat(Placed.floats(buffers, out)).isEqualTo(product);
                elementwise.scale(count, 0.3f, x, out);
                assertThat(Placed.floats(buffers, out)).isEqualTo(scaled);
                elementwise.fill(count, -2.3f, out);
                assertThat(Placed.floats(buffers, out)).isEqualTo(filled);
                elementwise.accumulate(count, x, y);
                assertThat(buffers.floats(y)).isEqualTo(sum);
                elementwise.scale(count, 0.3f, x, x);
                assertThat(buffers.floats(x)).isEqualTo(scaled);
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void resultsMayReplaceOperands(Target target) {
        DType dtype = target.dtype();
        int count = 5000;
        float[] a = Buffers.rounded(dtype, Buffers.normal(1, count, 1));
        float[] b = Buffers.rounded(dtype, Buffers.normal(2, count, 1));
        try (Buffers buffers = target.open()) {
            Elementwise elementwise = Elementwise.on(buffers.device());
            Span y = buffers.of(dtype, b);
            Span sum = buffers.of(dtype, a);
            elementwise.add(count, sum, y, sum);
            Span product = buffers.of(dtype, a);
            elementwise.multiply(count, y, product, product);
            float[] sums = buffers.floats(sum);
            float[] products = buffers.floats(product);
            for (int i = 0; i < count; i++) {
                assertThat(sums[i]).isEqualTo(Buffers.rounded(dtype, a[i] + b[i]));
                assertThat(products[i]).isEqualTo(Buffers.rounded(dtype, a[i] * b[i]));
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CUDA_BF16"})
    void brainFloatsAddToFloats(Target target) {
        int count = 5003;
        float[] a = Buffers.rounded(DType.BF16, Buffers.normal(1, count, 1));
        float[] b = Buffers.normal(2, count, 1);
        for (int shift : new int[] {0, 1}) {
            try (Buffers buffers = target.open()) {
                Span x = Placed.of(buffers, DType.BF16, shift, a);
                Span y = Placed.of(buffers, DType.F32, shift, b);
                Elementwise.on(buffers.device()).accumulate(count, x, y);
                float[] sums = buffers.floats(y);
                for (int i = 0; i < count; i++) {
                    assertThat(sums[i]).isEqualTo(a[i] + b[i]);
                }
            }
        }
    }

    /// Every exponent and many fractions, ties between neighbours of the narrow types, zeros,
    /// infinities and NaN.
    private static float[] ofAllKinds() {
        SplittableRandom random = new SplittableRandom(5);
        float[] values = new float[5000];
        for (int i = 0; i < values.length; i++) {
            int bits = random.nextInt();
            values[i] =
                    Float.intBitsToFloat(
                            switch (i % 4) {
                                case 0 -> bits & 0xffff8000;
                                case 1 -> bits & 0xfffff000;
                                case 2 -> 0x38000000 | (bits & 0x87ffffff);
                                default -> bits;
                            });
        }
        values[0] = 0f;
        values[1] = -0f;
        values[2] = Float.POSITIVE_INFINITY;
        values[3] = Float.NaN;
        values[4] = Float.MAX_VALUE;
        values[5] = Float.intBitsToFloat(0x7f800001);
        return values;
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void castsRoundToNearestEven(Target target) {
        DType[] types = {DType.F32, DType.BF16, DType.F16};
        for (DType from : types) {
            float[] values = ofAllKinds();
            for (int i = 0; i < values.length; i++) {
                // A narrow NaN whose payload is cut off would be an infinity.
                boolean canonical = from != DType.F32 && Float.isNaN(values[i]);
                values[i] = canonical ? Float.NaN : Buffers.rounded(from, values[i]);
            }
            for (DType to : types) {
                for (int shift : new int[] {0, 1}) {
                    try (Buffers buffers = target.open()) {
                        Span x = Placed.of(buffers, from, shift, values);
                        Span y = Placed.poison(buffers, to, shift, values.length);
                        Elementwise.on(buffers.device()).cast(values.length, x, y);
                        // In bits, so that zeros keep their signs; any NaN is as good as another.
                        assertThat(Placed.floats(buffers, y))
                                .as("%s to %s", from, to)
                                .isEqualTo(Buffers.rounded(to, values));
                    }
                }
            }
        }
    }

    static Stream<Arguments> matrices() {
        int[][] sizes = {
            {1, 1},
            {3, 7},
            {127, 33},
            {128, 256},
            {129, 264},
            {1000, 40},
            {2500, 5},
            {70, 1024},
            {0, 6}
        };
        return Arrays.stream(Target.values())
                .flatMap(target ->
                        Arrays.stream(sizes).map(size -> Arguments.of(target, size[0], size[1])));
    }

    private record Sums(float[] rows, float[] scale, float[] branch) {}

    private static Sums sums(
            Target target, int rows, int width, float[] x, float[] b, float[] scale, int shift) {
        DType dtype = target.dtype();
        try (Buffers buffers = target.open()) {
            Elementwise elementwise = Elementwise.on(buffers.device());
            Span dy = Placed.of(buffers, dtype, shift, x);
            Span branch = Placed.of(buffers, dtype, shift, b);
            Span factor = Placed.of(buffers, dtype, shift, scale);
            float[] before = new float[width];
            Arrays.fill(before, 0.5f);
            Span sum = buffers.of(before);
            Span dScale = buffers.of(before);
            Span dBranch = Placed.poison(buffers, dtype, shift, x.length);
            elementwise.sumRows(rows, width, dy, sum);
            elementwise.layerScaleBackward(rows, width, factor, branch, dy, dBranch, dScale);
            float[] gradient = Placed.floats(buffers, dBranch);
            // Without the sum, and in place, the same.
            elementwise.layerScaleBackward(rows, width, factor, null, dy, dy, null);
            assertThat(buffers.floats(dy)).isEqualTo(gradient);
            return new Sums(buffers.floats(sum), buffers.floats(dScale), gradient);
        }
    }

    @ParameterizedTest
    @MethodSource("matrices")
    void columnSumsAreAccurateAndRepeatable(Target target, int rows, int width) {
        DType dtype = target.dtype();
        float[] x = Buffers.rounded(dtype, Buffers.normal(1, rows * width, 1));
        float[] branch = Buffers.rounded(dtype, Buffers.normal(2, rows * width, 1));
        float[] scale = Buffers.rounded(dtype, Buffers.normal(3, width, 1));
        Sums sums = sums(target, rows, width, x, branch, scale, 0);
        double[] exactRows = new double[width];
        double[] exactScale = new double[width];
        float[] naiveRows = new float[width];
        float[] naiveScale = new float[width];
        float[] scaled = new float[x.length];
        for (int n = 0; n < width; n++) {
            exactRows[n] = 0.5;
            exactScale[n] = 0.5;
            naiveRows[n] = 0.5f;
            naiveScale[n] = 0.5f;
            for (int r = 0; r < rows; r++) {
                int i = r * width + n;
                exactRows[n] += x[i];
                exactScale[n] += (double) x[i] * branch[i];
                naiveRows[n] += x[i];
                naiveScale[n] += x[i] * branch[i];
                scaled[i] = Buffers.rounded(dtype, x[i] * scale[n]);
            }
        }
        Oracle.assertAccurate("sumRows", exactRows, naiveRows, sums.rows);
        Oracle.assertAccurate("dScale", exactScale, naiveScale, sums.scale);
        assertThat(sums.branch).isEqualTo(scaled);
        for (int shift : new int[] {0, 1}) {
            assertThat(sums(target, rows, width, x, branch, scale, shift))
                    .usingRecursiveComparison()
                    .isEqualTo(sums);
        }
    }

    @ParameterizedTest
    @MethodSource("counts")
    void dotIsTheSumInDouble(Target target, int count) {
        DType dtype = target.dtype();
        float[] x = Buffers.rounded(dtype, Buffers.normal(1, count, 1));
        float[] w = Buffers.normal(2, count, 1);
        double exact = 0;
        double plain = 0;
        for (int i = 0; i < count; i++) {
            exact += (double) x[i] * w[i];
            plain += x[i];
        }
        try (Buffers buffers = target.open()) {
            Elementwise elementwise = Elementwise.on(buffers.device());
            Span values = Placed.of(buffers, dtype, 1, x);
            Span weights = Placed.of(buffers, DType.F32, 0, w);
            double sum = elementwise.dot(count, values, weights);
            assertThat(sum).isCloseTo(exact, within(1e-12 * (count + 1)));
            assertThat(elementwise.dot(count, values, weights)).isEqualTo(sum);
            assertThat(elementwise.dot(count, values, null))
                    .isCloseTo(plain, within(1e-12 * (count + 1)));
        }
    }

    @ParameterizedTest
    @EnumSource
    void wrongOperandsAreRefused(Target target) {
        try (Buffers buffers = target.open()) {
            Elementwise elementwise = Elementwise.on(buffers.device());
            Span x = buffers.poison(target.dtype(), 3);
            Span half = buffers.poison(DType.F16, 3);
            assertThatThrownBy(() -> elementwise.add(4, x, x, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("a holds 3 elements, expected at least 4");
            assertThatThrownBy(() -> elementwise.scale(3, 2f, half, half))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageStartingWith("x is F16, expected F32");
            assertThatThrownBy(() -> elementwise.cast(3, x, buffers.poison(DType.I32, 3)))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("cast knows F32, BF16 and F16, not I32");
        }
    }
}
