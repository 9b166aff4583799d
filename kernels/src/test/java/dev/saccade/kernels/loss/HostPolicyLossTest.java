package dev.saccade.kernels.loss;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.HostArrays;
import dev.saccade.kernels.loss.PolicyLoss.Clip;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class HostPolicyLossTest {
    private static final Clip CLIP = new Clip(0.2f, 0.28f, 3f);

    private static final class Result {
        private final float[] loss;
        private final float[] gradient;
        private final float[] clipped;

        Result(float[] loss, float[] gradient, float[] clipped) {
            this.loss = loss;
            this.gradient = gradient;
            this.clipped = clipped;
        }
    }

    private static Result run(int workers, float[] now, float[] old, float[] a, float[] weight) {
        int tokens = now.length;
        try (HostArrays arrays = new HostArrays(workers)) {
            Span loss = arrays.poison(tokens, DType.F32);
            Span gradient = arrays.poison(tokens, DType.F32);
            Span clipped = arrays.poison(tokens, DType.F32);
            PolicyLoss.on(arrays.device())
                    .clippedSurrogate(
                            tokens,
                            CLIP,
                            arrays.of(now),
                            arrays.of(old),
                            arrays.of(a),
                            arrays.of(weight),
                            loss,
                            gradient,
                            clipped);
            return new Result(arrays.floats(loss), arrays.floats(gradient), arrays.floats(clipped));
        }
    }

    private static double exact(double now, double old, double a, double weight) {
        double r = StrictMath.exp(Math.clamp(now - old, -20.0, 20.0));
        double bounded = Math.clamp(r, 1 - (double) CLIP.low(), 1 + (double) CLIP.high());
        double loss = Math.max(-a * r, -a * bounded);
        return weight * (a < 0 ? Math.min(loss, -a * CLIP.dual()) : loss);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 7, 1000, 20_003})
    void lossAndGradientAreExact(int tokens) {
        float[] old = HostArrays.random(1, tokens, -5, 0);
        float[] now = HostArrays.random(2, tokens, -1.5, 1.5);
        for (int i = 0; i < tokens; i++) {
            now[i] += old[i];
        }
        float[] a = HostArrays.random(3, tokens, -2, 2);
        float[] weight = HostArrays.random(4, tokens, 0.1, 1);
        Result result = run(2, now, old, a, weight);
        Result alone = run(1, now, old, a, weight);
        assertThat(result.loss).containsExactly(alone.loss);
        assertThat(result.gradient).containsExactly(alone.gradient);
        for (int i = 0; i < tokens; i++) {
            double loss = exact(now[i], old[i], a[i], weight[i]);
            assertThat(Math.abs(result.loss[i] - loss)).isLessThan(1e-6 * (1 + Math.abs(loss)));
            double h = 1e-6;
            double above = exact(now[i] + h, old[i], a[i], weight[i]);
            double below = exact(now[i] - h, old[i], a[i], weight[i]);
            double left = (loss - below) / h;
            double right = (above - loss) / h;
            if (Math.abs(left - right) < 1e-3) { // not on a kink
                double slope = (above - below) / (2 * h);
                assertThat(Math.abs(result.gradient[i] - slope))
                        .isLessThan(1e-5 * (1 + Math.abs(slope)));
            }
        }
    }

    @Test
    void clipsAreMarked() {
        float[] old = new float[8];
        float[] now = {0, 0.5f, -0.5f, 0.5f, -0.5f, 2, 0.1f, 30};
        float[] a = {1, 1, 1, -1, -1, -1, -1, 1};
        float[] ones = new float[8];
        Arrays.fill(ones, 1);
        Result result = run(1, now, old, a, ones);
        assertThat(result.clipped).containsExactly(0, 1, 0, 0, 1, 2, 0, 1);
        assertThat(result.gradient[0]).isEqualTo(-1f);
        assertThat(result.gradient[1]).isZero();
        assertThat(result.gradient[2]).isLessThan(-0.6f);
        assertThat(result.gradient[3]).isGreaterThan(1.6f);
        assertThat(result.gradient[4]).isZero();
        assertThat(result.gradient[5]).isZero();
        assertThat(result.loss[5]).isEqualTo(3f);
        assertThat(result.gradient[6]).isGreaterThan(1.1f);
        assertThat(result.loss[7]).isEqualTo(-1.28f);
    }

    @Test
    void theSamePolicyHasRatioOne() {
        float[] same = HostArrays.random(9, 100, -9, 0);
        float[] a = HostArrays.random(10, 100, -2, 2);
        float[] ones = new float[100];
        Arrays.fill(ones, 1);
        Result result = run(1, same, same, a, ones);
        for (int i = 0; i < 100; i++) {
            assertThat(result.loss[i]).isEqualTo(-a[i]);
            assertThat(result.gradient[i]).isEqualTo(-a[i]);
        }
    }

    @Test
    void aTokenWithoutWeightIsOutsideAndNanIsSeen() {
        float nan = Float.NaN;
        float[] now = {nan, Float.NEGATIVE_INFINITY, nan};
        float[] old = {0, Float.NEGATIVE_INFINITY, 0};
        Result result = run(1, now, old, new float[] {1, nan, 1}, new float[] {0, 0, 1});
        assertThat(result.loss[0]).isZero();
        assertThat(result.gradient[1]).isZero();
        assertThat(result.clipped[1]).isZero();
        assertThat(result.loss[2]).isNaN();
        assertThat(result.gradient[2]).isNaN();
    }

    @Test
    void marksAreOptionalAndClipsAreChecked() {
        try (HostArrays arrays = new HostArrays(1)) {
            PolicyLoss kernel = PolicyLoss.on(arrays.device());
            Span one = arrays.of(0f);
            Span loss = arrays.poison(1, DType.F32);
            Span gradient = arrays.poison(1, DType.F32);
            kernel.clippedSurrogate(1, CLIP, one, one, one, one, loss, gradient, null);
            assertThat(arrays.floats(loss)).containsExactly(0f);
            Clip wrong = new Clip(0.2f, 0.2f, 1f);
            assertThatThrownBy(() ->
                            kernel.clippedSurrogate(
                                    1, wrong, one, one, one, one, loss, gradient, null))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("dual=1.0");
        }
    }
}
