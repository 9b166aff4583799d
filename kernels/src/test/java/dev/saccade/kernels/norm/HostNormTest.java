package dev.saccade.kernels.norm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.Span;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Oracle;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The CPU's norms against their definition, and the same bits for any batch and worker count.
class HostNormTest {
    private static final float EPS = 1e-6f;

    /// What the kernel gives.
    private record Results(
            float[] y, float[] mean, float[] rstd, float[] dx, float[] dWeight, float[] dBias) {}

    private static Results run(
            boolean centred,
            int width,
            float[] x,
            float[] weight,
            float[] bias,
            float[] dy,
            float before,
            int workers) {
        int rows = x.length / width;
        try (Buffers buffers = new Buffers(workers)) {
            Norm norm = Norm.on(buffers.device());
            Span inputs = buffers.of(x);
            Span factors = buffers.of(weight);
            Span upstream = buffers.of(dy);
            Span y = buffers.poison(x.length);
            Span mean = buffers.poison(rows);
            Span rstd = buffers.poison(rows);
            Span dx = buffers.poison(x.length);
            float[] start = new float[width];
            Arrays.fill(start, before);
            Span dWeight = buffers.of(start);
            Span dBias = buffers.of(start);
            if (centred) {
                norm.layerNorm(rows, width, EPS, inputs, factors, buffers.of(bias), y, mean, rstd);
                norm.layerNormBackward(
                        rows, width, inputs, factors, mean, rstd, upstream, dx, dWeight, dBias);
            } else {
                norm.rmsNorm(rows, width, EPS, inputs, factors, y, rstd);
                norm.rmsNormBackward(rows, width, inputs, factors, rstd, upstream, dx, dWeight);
            }
            return new Results(
                    buffers.floats(y),
                    buffers.floats(mean),
                    buffers.floats(rstd),
                    buffers.floats(dx),
                    buffers.floats(dWeight),
                    buffers.floats(dBias));
        }
    }

    @ParameterizedTest
    @CsvSource({
        "true, 1, 1",
        "true, 3, 2",
        "true, 5, 7",
        "true, 9, 15",
        "true, 4, 16",
        "true, 33, 17",
        "true, 300, 128",
        "true, 7, 1000",
        "true, 3, 3201",
        "false, 1, 1",
        "false, 3, 2",
        "false, 5, 7",
        "false, 9, 15",
        "false, 4, 16",
        "false, 33, 17",
        "false, 300, 128",
        "false, 7, 1000",
        "false, 3, 3201"
    })
    void isAccurateAndIndependentOfWorkersAndBatch(boolean centred, int rows, int width) {
        long seed = rows * 1000L + width;
        float[] x = Buffers.normal(seed, rows * width, 2);
        for (int i = 0; i < x.length; i++) {
            x[i] += 0.5f;
        }
        float[] weight = Buffers.normal(seed + 1, width, 1);
        float[] bias = Buffers.normal(seed + 2, width, 1);
        float[] dy = Buffers.normal(seed + 3, rows * width, 1);
        Results results = run(centred, width, x, weight, bias, dy, 0.25f, 2);
        NormDefinition exact =
                new NormDefinition(centred, false, EPS, width, x, weight, bias, dy, 0.25f);
        NormDefinition naive =
                new NormDefinition(centred, true, EPS, width, x, weight, bias, dy, 0.25f);
        Oracle.assertAccurate("y", exact.y, Oracle.rounded(naive.y), results.y);
        Oracle.assertAccurate("rstd", exact.rstd, Oracle.rounded(naive.rstd), results.rstd);
        Oracle.assertAccurate("dx", exact.dx, Oracle.rounded(naive.dx), results.dx);
        Oracle.assertAccurate(
                "dWeight", exact.dWeight, Oracle.rounded(naive.dWeight), results.dWeight);
        if (centred) {
            Oracle.assertAccurate("mean", exact.mean, Oracle.rounded(naive.mean), results.mean);
            Oracle.assertAccurate("dBias", exact.dBias, Oracle.rounded(naive.dBias), results.dBias);
        }

        Results one = run(centred, width, x, weight, bias, dy, 0.25f, 1);
        assertThat(one.y).isEqualTo(results.y);
        assertThat(one.mean).isEqualTo(results.mean);
        assertThat(one.rstd).isEqualTo(results.rstd);
        assertThat(one.dx).isEqualTo(results.dx);
        assertThat(one.dWeight).isEqualTo(results.dWeight);
        assertThat(one.dBias).isEqualTo(results.dBias);
        int last = (rows - 1) * width;
        Results alone =
                run(
                        centred,
                        width,
                        Arrays.copyOfRange(x, last, x.length),
                        weight,
                        bias,
                        Arrays.copyOfRange(dy, last, dy.length),
                        0f,
                        1);
        assertThat(alone.y).isEqualTo(Arrays.copyOfRange(results.y, last, x.length));
        assertThat(alone.dx).isEqualTo(Arrays.copyOfRange(results.dx, last, x.length));
    }

    /// Rows one after another give the bits of all rows at once: the order of a gradient's sum.
    @Test
    void weightGradientsAddRowByRow() {
        int width = 37;
        int rows = 5;
        float[] x = Buffers.normal(1, rows * width, 1);
        float[] dy = Buffers.normal(2, rows * width, 1);
        float[] weight = Buffers.normal(3, width, 1);
        try (Buffers buffers = new Buffers(1)) {
            Norm norm = Norm.on(buffers.device());
            Span inputs = buffers.of(x);
            Span upstream = buffers.of(dy);
            Span factors = buffers.of(weight);
            Span bias = buffers.of(new float[width]);
            Span y = buffers.poison(x.length);
            Span mean = buffers.poison(rows);
            Span rstd = buffers.poison(rows);
            norm.layerNorm(rows, width, EPS, inputs, factors, bias, y, mean, rstd);
            Span dWeight = buffers.of(new float[width]);
            Span dBias = buffers.of(new float[width]);
            norm.layerNormBackward(
                    rows, width, inputs, factors, mean, rstd, upstream, null, dWeight, dBias);
            Span dWeightByRow = buffers.of(new float[width]);
            Span dBiasByRow = buffers.of(new float[width]);
            for (int row = 0; row < rows; row++) {
                norm.layerNormBackward(
                        1,
                        width,
                        inputs.slice((long) row * width, width),
                        factors,
                        mean.slice(row, 1),
                        rstd.slice(row, 1),
                        upstream.slice((long) row * width, width),
                        null,
                        dWeightByRow,
                        dBiasByRow);
            }
            assertThat(buffers.floats(dWeightByRow)).isEqualTo(buffers.floats(dWeight));
            assertThat(buffers.floats(dBiasByRow)).isEqualTo(buffers.floats(dBias));
        }
    }

    @Test
    void optionalResultsMayBeAbsent() {
        try (Buffers buffers = new Buffers(1)) {
            Norm norm = Norm.on(buffers.device());
            Span x = buffers.of(1f, 2f, 3f, 4f);
            Span weight = buffers.of(1f, 1f);
            Span y = buffers.poison(4);
            norm.layerNorm(2, 2, EPS, x, weight, buffers.of(0f, 0f), y, null, null);
            assertThat(buffers.floats(y)).doesNotContain(Float.NaN);
            norm.rmsNorm(2, 2, EPS, x, weight, y, null);
            norm.rmsNormBackward(2, 2, x, weight, buffers.of(1f, 1f), y, null, null);
            norm.rmsNorm(0, 2, EPS, x, weight, y, null);
        }
    }

    @Test
    void wrongOperandsAreRefused() {
        try (Buffers buffers = new Buffers(1)) {
            Norm norm = Norm.on(buffers.device());
            Span small = buffers.poison(3);
            assertThatThrownBy(() -> norm.rmsNorm(2, 2, EPS, small, small, small, null))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("x holds 3 elements, expected at least 4");
            assertThatThrownBy(() -> norm.rmsNorm(2, 0, EPS, small, small, small, null))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("a norm over 2 rows of 0");
        }
    }
}
