package dev.saccade.kernels.loss;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.Span;
import dev.saccade.kernels.loss.PolicyLoss.Clip;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// What [PolicyLoss] promises on every device. The operation knows F32 only, so that the BF16
/// target is left out.
@Tag("device")
class PolicyLossContractTest {
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

    private static Result run(Target target, float[] now, float[] old, float[] a, float[] weight) {
        int tokens = now.length;
        try (Buffers buffers = target.open()) {
            Span loss = buffers.poison(tokens);
            Span gradient = buffers.poison(tokens);
            Span clipped = buffers.poison(tokens);
            PolicyLoss.on(buffers.device())
                    .clippedSurrogate(
                            tokens,
                            CLIP,
                            buffers.of(now),
                            buffers.of(old),
                            buffers.of(a),
                            buffers.of(weight),
                            loss,
                            gradient,
                            clipped);
            return new Result(
                    buffers.floats(loss), buffers.floats(gradient), buffers.floats(clipped));
        }
    }

    static Stream<Arguments> sizes() {
        return Stream.of(Target.CPU_F32, Target.CUDA_F32)
                .flatMap(target ->
                        Stream.of(0, 1, 7, 256, 257, 20_003)
                                .map(tokens -> Arguments.of(target, tokens)));
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void lossAndGradientAreExact(Target target, int tokens) {
        float[] old = Buffers.normal(1, tokens, 2);
        float[] now = Buffers.normal(2, tokens, 0.6);
        float[] a = Buffers.normal(3, tokens, 1);
        float[] weight = new float[tokens];
        for (int i = 0; i < tokens; i++) {
            now[i] += old[i];
            weight[i] = i % 5 == 0 ? 0 : 1f / (1 + i % 7);
        }
        Result result = run(target, now, old, a, weight);
        for (int i = 0; i < tokens; i++) {
            double minusA = -(double) a[i];
            double ratio = StrictMath.exp(Math.clamp((double) now[i] - old[i], -20.0, 20.0));
            double free = minusA * ratio;
            double bound =
                    minusA * Math.clamp(ratio, 1 - (double) CLIP.low(), 1 + (double) CLIP.high());
            boolean dual = minusA > 0 && Math.max(free, bound) > minusA * CLIP.dual();
            // Where two terms meet, either may be the larger one in fp32.
            double gap = Math.min(Math.abs(bound - free), Math.abs(free - minusA * CLIP.dual()));
            boolean onKink = gap < 1e-5 * (1 + Math.abs(free)) && bound != free;
            double loss = dual ? minusA * CLIP.dual() : Math.max(free, bound);
            double slope = dual || bound > free ? 0 : free;
            double mark = dual ? 2 : bound > free ? 1 : 0;
            assertThat(Math.abs(result.loss[i] - weight[i] * loss))
                    .isLessThanOrEqualTo(1e-6 * weight[i] * (1 + Math.abs(loss)));
            if (weight[i] == 0) {
                assertThat(result.gradient[i]).isZero();
                assertThat(result.clipped[i]).isZero();
            } else if (!onKink && Math.abs(ratio - 1) > 1e-5) {
                assertThat(Math.abs(result.gradient[i] - weight[i] * slope))
                        .isLessThanOrEqualTo(1e-6 * weight[i] * (1 + Math.abs(slope)));
                if (ratio < 0.79 || ratio > 1.29) {
                    assertThat((double) result.clipped[i]).isEqualTo(mark);
                }
            }
        }
    }

    /// The bits that the CPU makes.
    @ParameterizedTest
    @EnumSource(names = {"CUDA_F32"})
    void everyDeviceMakesTheSameBits(Target target) {
        int tokens = 50_000;
        float[] old = Buffers.normal(1, tokens, 2);
        float[] now = Buffers.normal(2, tokens, 9);
        float[] a = Buffers.normal(3, tokens, 1);
        float[] weight = Buffers.normal(4, tokens, 1);
        Result cuda = run(target, now, old, a, weight);
        Result cpu = run(Target.CPU_F32, now, old, a, weight);
        assertThat(cuda.loss).isEqualTo(cpu.loss);
        assertThat(cuda.gradient).isEqualTo(cpu.gradient);
        assertThat(cuda.clipped).isEqualTo(cpu.clipped);
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void clipsAreMarked(Target target) {
        float[] old = new float[8];
        float[] now = {0, 0.5f, -0.5f, 0.5f, -0.5f, 2, 0.1f, 30};
        float[] a = {1, 1, 1, -1, -1, -1, -1, 1};
        float[] ones = new float[8];
        Arrays.fill(ones, 1);
        Result result = run(target, now, old, a, ones);
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

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void aTokenWithoutWeightIsOutsideAndNanIsSeen(Target target) {
        float nan = Float.NaN;
        float none = Float.NEGATIVE_INFINITY;
        Result result =
                run(
                        target,
                        new float[] {nan, none, nan},
                        new float[] {0, none, 0},
                        new float[] {1, nan, 1},
                        new float[] {0, 0, 1});
        assertThat(result.loss[0]).isZero();
        assertThat(result.gradient[1]).isZero();
        assertThat(result.clipped[1]).isZero();
        assertThat(result.loss[2]).isNaN();
        assertThat(result.gradient[2]).isNaN();
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void marksAreOptionalAndClipsAreChecked(Target target) {
        try (Buffers buffers = target.open()) {
            PolicyLoss kernel = PolicyLoss.on(buffers.device());
            Span one = buffers.of(0f);
            Span loss = buffers.poison(3);
            Span gradient = buffers.poison(3);
            kernel.clippedSurrogate(
                    1, CLIP, one, one, one, one, loss.slice(1, 1), gradient.slice(1, 1), null);
            assertThat(buffers.floats(loss)).containsExactly(Float.NaN, 0, Float.NaN);
            assertThat(buffers.floats(gradient)).containsExactly(Float.NaN, 0, Float.NaN);
            Clip wrong = new Clip(0.2f, 0.2f, 1f);
            assertThatThrownBy(() ->
                            kernel.clippedSurrogate(
                                    1, wrong, one, one, one, one, loss, gradient, null))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("dual=1.0");
        }
    }
}
