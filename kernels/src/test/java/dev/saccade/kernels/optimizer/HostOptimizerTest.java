package dev.saccade.kernels.optimizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.HostArrays;
import dev.saccade.kernels.optimizer.Optimizer.AdamW;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class HostOptimizerTest {

    private static AdamW step(long step) {
        return new AdamW(1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, step, 0.5f);
    }

    /// Three arrays after some steps: weights, first and second moments.
    private static float[][] train(int workers, int count, int steps) {
        try (HostArrays arrays = new HostArrays(workers)) {
            Optimizer optimizer = Optimizer.on(arrays.device());
            Span weight = arrays.of(HostArrays.random(1, count, -1, 1));
            Span first = arrays.of(new float[count]);
            Span second = arrays.of(new float[count]);
            for (int step = 1; step <= steps; step++) {
                Span gradient = arrays.of(HostArrays.random(100 + step, count, -1, 1));
                optimizer.adamW(count, step(step), weight, gradient, first, second, null);
            }
            return new float[][] {
                arrays.floats(weight), arrays.floats(first), arrays.floats(second)
            };
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 7, 136, 1000, 40_001})
    void adamWIsExact(int count) {
        int steps = 5;
        double[] w = new double[count];
        double[] m = new double[count];
        double[] v = new double[count];
        float[] start = HostArrays.random(1, count, -1, 1);
        for (int i = 0; i < count; i++) {
            w[i] = start[i];
        }
        for (int step = 1; step <= steps; step++) {
            AdamW o = step(step);
            float[] gradient = HostArrays.random(100 + step, count, -1, 1);
            double correction1 = 1 - StrictMath.pow(o.beta1(), step);
            double correction2 = 1 - StrictMath.pow(o.beta2(), step);
            for (int i = 0; i < count; i++) {
                double g = (double) gradient[i] * o.gradientScale();
                w[i] -= (double) o.learningRate() * o.weightDecay() * w[i];
                m[i] = o.beta1() * m[i] + (1 - (double) o.beta1()) * g;
                v[i] = o.beta2() * v[i] + (1 - (double) o.beta2()) * g * g;
                w[i] -=
                        o.learningRate()
                                / correction1
                                * m[i]
                                / (StrictMath.sqrt(v[i] / correction2) + o.eps());
            }
        }
        float[][] got = train(2, count, steps);
        float[][] alone = train(1, count, steps);
        for (int array = 0; array < 3; array++) {
            assertThat(got[array]).containsExactly(alone[array]);
        }
        for (int i = 0; i < count; i++) {
            assertThat(Math.abs(got[0][i] - w[i])).isLessThan(1e-6);
            assertThat(Math.abs(got[1][i] - m[i])).isLessThan(1e-7);
            assertThat(Math.abs(got[2][i] - v[i])).isLessThan(1e-7);
        }
    }

    @Test
    void theFirstStepIsTheSignOfTheGradient() {
        try (HostArrays arrays = new HostArrays(1)) {
            Span weight = arrays.of(0f, 0f, 0f);
            Span gradient = arrays.of(3f, -1e-4f, 0f);
            Span zeros = arrays.of(0f, 0f, 0f);
            Span more = arrays.of(0f, 0f, 0f);
            AdamW options = new AdamW(0.01f, 0.9f, 0.999f, 1e-8f, 0, 1, 1);
            Optimizer.on(arrays.device()).adamW(3, options, weight, gradient, zeros, more, null);
            float[] moved = arrays.floats(weight);
            assertThat(Math.abs(moved[0] + 0.01)).isLessThan(1e-7);
            assertThat(Math.abs(moved[1] - 0.01)).isLessThan(2e-6);
            assertThat(moved[2]).isZero();
        }
    }

    @Test
    void neighboursAreLeftAlone() {
        try (HostArrays arrays = new HostArrays(1)) {
            Span weight = arrays.of(1f, 1f, 1f, 1f, 1f);
            Span ones = arrays.of(1f, 1f, 1f, 1f, 1f);
            Span first = arrays.of(0f, 0f, 0f, 0f, 0f);
            Span second = arrays.of(0f, 0f, 0f, 0f, 0f);
            Optimizer.on(arrays.device())
                    .adamW(
                            3,
                            step(1),
                            weight.slice(1, 3),
                            ones.slice(1, 3),
                            first.slice(1, 3),
                            second.slice(1, 3),
                            null);
            float[] moved = arrays.floats(weight);
            assertThat(moved[0]).isEqualTo(1f);
            assertThat(moved[4]).isEqualTo(1f);
            assertThat(moved[1]).isLessThan(1f).isEqualTo(moved[3]);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 7, 15, 4095, 4096, 4097, 100_003})
    void sumOfSquaresIsExact(int count) {
        float[] values = HostArrays.random(3, count, -3, 3);
        double exact = 0;
        for (float value : values) {
            exact += (double) value * value;
        }
        double one = sum(1, values);
        assertThat(Math.abs(one - exact)).isLessThanOrEqualTo(1e-12 * exact);
        assertThat(sum(2, values)).isEqualTo(one);
    }

    /// 16 partial sums a block of 4096, whatever the vector length.
    @Test
    void sumOfSquaresFollowsItsTree() {
        float[] values = HostArrays.random(8, 4096 + 777, -1e4, 1e4);
        double total = 0;
        for (int begin = 0; begin < values.length; begin += 4096) {
            double[] partial = new double[16];
            for (int i = begin; i < Math.min(begin + 4096, values.length); i++) {
                partial[i % 16] += (double) values[i] * values[i];
            }
            for (int half = 8; half > 0; half /= 2) {
                for (int i = 0; i < half; i++) {
                    partial[i] += partial[i + half];
                }
            }
            total += partial[0];
        }
        assertThat(sum(2, values)).isEqualTo(total);
    }

    private static double sum(int workers, float[] values) {
        try (HostArrays arrays = new HostArrays(workers)) {
            return Optimizer.on(arrays.device()).sumOfSquares(List.of(arrays.of(values)));
        }
    }

    @Test
    void hugeValuesDoNotOverflowAndNanIsSeen() {
        assertThat(sum(1, new float[] {3e38f, 3e38f})).isFinite();
        assertThat(sum(1, new float[] {1, Float.NaN})).isNaN();
    }

    @Test
    void stepsStartAtOne() {
        try (HostArrays arrays = new HostArrays(1)) {
            Span x = arrays.of(1f);
            assertThatThrownBy(
                            () -> Optimizer.on(arrays.device()).adamW(1, step(0), x, x, x, x, null))
                    .isInstanceOf(IllegalArgumentException.class);
        }
    }
}
