package dev.saccade.kernels.norm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Oracle;
import dev.saccade.kernels.testing.Placed;
import dev.saccade.kernels.testing.Target;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// The norms' contract on every device.
@Tag("device")
class NormContractTest {
    private static final float EPS = 1e-6f;
    private static final float BEFORE = 0.25f;

    private record Inputs(float[] x, float[] weight, float[] bias, float[] dy) {
        static Inputs of(DType dtype, int rows, int width) {
            long seed = rows * 1000L + width;
            float[] x = Buffers.normal(seed, rows * width, 2);
            for (int i = 0; i < x.length; i++) {
                x[i] += 0.5f;
            }
            return new Inputs(
                    Buffers.rounded(dtype, x),
                    Buffers.rounded(dtype, Buffers.normal(seed + 1, width, 1)),
                    Buffers.rounded(dtype, Buffers.normal(seed + 2, width, 1)),
                    Buffers.rounded(dtype, Buffers.normal(seed + 3, rows * width, 1)));
        }

        Inputs rows(int from, int to) {
            int width = weight.length;
            return new Inputs(
                    Arrays.copyOfRange(x, from * width, to * width),
                    weight,
                    bias,
                    Arrays.copyOfRange(dy, from * width, to * width));
        }
    }

    private record Results(
            float[] y, float[] mean, float[] rstd, float[] dx, float[] dWeight, float[] dBias) {}

    private static Results run(Target target, boolean centred, Inputs inputs, int shift) {
        DType dtype = target.dtype();
        int width = inputs.weight.length;
        int elements = inputs.x.length;
        int rows = elements / width;
        try (Buffers buffers = target.open()) {
            Norm norm = Norm.on(buffers.device());
            Span x = Placed.of(buffers, dtype, shift, inputs.x);
            Span weight = Placed.of(buffers, dtype, shift, inputs.weight);
            Span dy = Placed.of(buffers, dtype, shift, inputs.dy);
            Span y = Placed.poison(buffers, dtype, shift, elements);
            Span mean = Placed.poison(buffers, DType.F32, shift, rows);
            Span rstd = Placed.poison(buffers, DType.F32, shift, rows);
            Span dx = Placed.poison(buffers, dtype, shift, elements);
            float[] before = new float[width];
            Arrays.fill(before, BEFORE);
            Span dWeight = buffers.of(before);
            Span dBias = buffers.of(before);
            if (centred) {
                Span bias = Placed.of(buffers, dtype, shift, inputs.bias);
                norm.layerNorm(rows, width, EPS, x, weight, bias, y, mean, rstd);
                norm.layerNormBackward(rows, width, x, weight, mean, rstd, dy, dx, dWeight, dBias);
            } else {
                norm.rmsNorm(rows, width, EPS, x, weight, y, rstd);
                norm.rmsNormBackward(rows, width, x, weight, rstd, dy, dx, dWeight);
            }
            return new Results(
                    Placed.floats(buffers, y),
                    centred ? Placed.floats(buffers, mean) : new float[rows],
                    Placed.floats(buffers, rstd),
                    Placed.floats(buffers, dx),
                    buffers.floats(dWeight),
                    buffers.floats(dBias));
        }
    }

    /// Widths on both sides of where the number of threads changes, whole and broken packs.
    static Stream<Arguments> sizes() {
        int[][] sizes = {
            {1, 1},
            {2, 3},
            {5, 7},
            {300, 64},
            {129, 128},
            {4, 130},
            {3, 256},
            {7, 511},
            {130, 896},
            {2, 1000},
            {9, 1024},
            {5, 1025},
            {17_000, 8},
            {5000, 264},
            {45, 1032},
            {3, 3200},
            {2, 3201},
            {3, 5120},
            {2, 8192},
            {400, 8456},
            {9, 12_800},
            {2, 16_384}
        };
        return Arrays.stream(Target.values())
                .flatMap(target ->
                        Arrays.stream(sizes)
                                .flatMap(size ->
                                        Stream.of(true, false)
                                                .map(centred ->
                                                        Arguments.of(
                                                                target, centred, size[0],
                                                                size[1]))));
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void isAccurateAndARowDependsOnItselfAlone(
            Target target, boolean centred, int rows, int width) {
        Inputs inputs = Inputs.of(target.dtype(), rows, width);
        Results results = run(target, centred, inputs, 0);
        NormDefinition exact = definition(false, centred, inputs);
        NormDefinition naive = definition(true, centred, inputs);
        DType dtype = target.dtype();
        Oracle.assertAccurate("y", dtype, exact.y, Oracle.rounded(naive.y), results.y);
        Oracle.assertAccurate("rstd", exact.rstd, Oracle.rounded(naive.rstd), results.rstd);
        Oracle.assertAccurate("dx", dtype, exact.dx, Oracle.rounded(naive.dx), results.dx);
        Oracle.assertAccurate(
                "dWeight", exact.dWeight, Oracle.rounded(naive.dWeight), results.dWeight);
        if (centred) {
            Oracle.assertAccurate("mean", exact.mean, Oracle.rounded(naive.mean), results.mean);
            Oracle.assertAccurate("dBias", exact.dBias, Oracle.rounded(naive.dBias), results.dBias);
        }

        assertSameBits(run(target, centred, inputs, 0), results);
        assertSameBits(run(target, centred, inputs, 1), results);
        Results alone = run(target, centred, inputs.rows(rows - 1, rows), 0);
        int last = (rows - 1) * width;
        assertThat(alone.y).isEqualTo(Arrays.copyOfRange(results.y, last, rows * width));
        assertThat(alone.dx).isEqualTo(Arrays.copyOfRange(results.dx, last, rows * width));
        assertThat(alone.rstd[0]).isEqualTo(results.rstd[rows - 1]);
        assertThat(alone.mean[0]).isEqualTo(results.mean[rows - 1]);
    }

    private static void assertSameBits(Results actual, Results expected) {
        assertThat(actual.y).isEqualTo(expected.y);
        assertThat(actual.mean).isEqualTo(expected.mean);
        assertThat(actual.rstd).isEqualTo(expected.rstd);
        assertThat(actual.dx).isEqualTo(expected.dx);
        assertThat(actual.dWeight).isEqualTo(expected.dWeight);
        assertThat(actual.dBias).isEqualTo(expected.dBias);
    }

    private static NormDefinition definition(boolean rounding, boolean centred, Inputs inputs) {
        return new NormDefinition(
                centred,
                rounding,
                EPS,
                inputs.weight.length,
                inputs.x,
                inputs.weight,
                inputs.bias,
                inputs.dy,
                BEFORE);
    }

    @ParameterizedTest
    @EnumSource
    void resultsMayBeAloneAndReplaceTheUpstreamGradient(Target target) {
        int rows = 50;
        int width = 48;
        Inputs inputs = Inputs.of(target.dtype(), rows, width);
        Results apart = run(target, true, inputs, 0);
        try (Buffers buffers = target.open()) {
            Norm norm = Norm.on(buffers.device());
            Span x = buffers.of(target.dtype(), inputs.x);
            Span weight = buffers.of(target.dtype(), inputs.weight);
            Span dy = buffers.of(target.dtype(), inputs.dy);
            float[] before = new float[width];
            Arrays.fill(before, BEFORE);
            Span dWeight = buffers.of(before);
            Span mean = buffers.of(apart.mean);
            Span rstd = buffers.of(apart.rstd);
            // Each result alone has the bits that it has beside the others.
            norm.layerNormBackward(rows, width, x, weight, mean, rstd, dy, null, dWeight, null);
            assertThat(buffers.floats(dWeight)).isEqualTo(apart.dWeight);
            Span dx = buffers.poison(target.dtype(), rows * width);
            norm.layerNormBackward(rows, width, x, weight, mean, rstd, dy, dx, null, null);
            assertThat(buffers.floats(dx)).isEqualTo(apart.dx);
            Span dBias = buffers.of(before);
            norm.layerNormBackward(rows, width, x, weight, mean, rstd, dy, dy, null, dBias);
            assertThat(buffers.floats(dy)).isEqualTo(apart.dx);
            assertThat(buffers.floats(dBias)).isEqualTo(apart.dBias);
        }
    }

    /// In one pass, with and without statistics, in place and not.
    @ParameterizedTest
    @MethodSource("sizes")
    void bothInOnePassHaveTheBitsOfEach(Target target, boolean inPlace, int rows, int width) {
        DType dtype = target.dtype();
        int elements = rows * width;
        Inputs first = Inputs.of(dtype, rows, width);
        Inputs second =
                new Inputs(
                        Buffers.rounded(dtype, Buffers.normal(9, elements, 3)),
                        Buffers.rounded(dtype, Buffers.normal(8, width, 1)),
                        first.bias,
                        first.dy);
        for (int shift : new int[] {0, 1}) {
            try (Buffers buffers = target.open()) {
                Norm norm = Norm.on(buffers.device());
                Span x = Placed.of(buffers, dtype, shift, first.x);
                Span secondX = Placed.of(buffers, dtype, shift, second.x);
                Span weight = Placed.of(buffers, dtype, 0, first.weight);
                Span secondWeight = Placed.of(buffers, dtype, shift, second.weight);
                Span expected = buffers.poison(dtype, elements);
                Span secondExpected = buffers.poison(dtype, elements);
                Span expectedRstd = buffers.poison(rows);
                norm.rmsNorm(rows, width, EPS, x, weight, expected, expectedRstd);
                norm.rmsNorm(rows, width, EPS, secondX, secondWeight, secondExpected, null);
                Span y = inPlace ? x : Placed.poison(buffers, dtype, shift, elements);
                Span secondY = inPlace ? secondX : Placed.poison(buffers, dtype, 0, elements);
                Span rstd = Placed.poison(buffers, DType.F32, 1, rows);
                norm.rmsNormBoth(
                        rows,
                        width,
                        EPS,
                        new Norm.Operands(x, weight, y, rstd),
                        new Norm.Operands(secondX, secondWeight, secondY, null));
                assertThat(buffers.floats(y)).isEqualTo(buffers.floats(expected));
                assertThat(buffers.floats(secondY)).isEqualTo(buffers.floats(secondExpected));
                assertThat(Placed.floats(buffers, rstd)).isEqualTo(buffers.floats(expectedRstd));
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void optionalResultsMayBeAbsent(Target target) {
        try (Buffers buffers = target.open()) {
            Norm norm = Norm.on(buffers.device());
            DType dtype = target.dtype();
            Span x = buffers.of(dtype, 1f, 2f, 3f, 4f);
            Span weight = buffers.of(dtype, 1f, 1f);
            Span y = buffers.poison(dtype, 4);
            norm.layerNorm(2, 2, EPS, x, weight, buffers.of(dtype, 0f, 0f), y, null, null);
            assertThat(buffers.floats(y)).doesNotContain(Float.NaN);
            norm.rmsNorm(2, 2, EPS, x, weight, y, null);
            Span dWeight = buffers.of(0f, 0f);
            norm.rmsNormBackward(2, 2, x, weight, buffers.of(1f, 1f), y, null, dWeight);
            norm.rmsNormBackward(2, 2, x, weight, buffers.of(1f, 1f), y, null, null);
            norm.rmsNorm(0, 2, EPS, x, weight, y, null);
            norm.rmsNormBackward(0, 2, x, weight, buffers.of(1f, 1f), y, null, dWeight);
        }
    }

    @ParameterizedTest
    @EnumSource
    void wrongOperandsAreRefused(Target target) {
        try (Buffers buffers = target.open()) {
            Norm norm = Norm.on(buffers.device());
            Span small = buffers.poison(target.dtype(), 3);
            assertThatThrownBy(() -> norm.rmsNorm(2, 2, EPS, small, small, small, null))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("x holds 3 elements, expected at least 4");
            Span half = buffers.poison(DType.F16, 3);
            assertThatThrownBy(() -> norm.rmsNorm(1, 2, EPS, half, half, half, null))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageStartingWith("x is F16, expected F32");
            assertThatThrownBy(() -> norm.rmsNorm(2, 0, EPS, small, small, small, null))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageStartingWith("a norm over 2 rows of 0");
            if (target.isCuda()) {
                int most = 65536 / target.dtype().bytes();
                assertThatThrownBy(() -> norm.rmsNorm(1, most + 1, EPS, small, small, small, null))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessage(
                                "a norm over 1 rows of %d, expected a width of 1 to %d"
                                        .formatted(most + 1, most));
            }
        }
    }
}
