package dev.saccade.kernels.optimizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.optimizer.Optimizer.AdamW;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// What [Optimizer] promises on every device: the same bits. Weights, gradients and moments are
/// F32, so that the BF16 target is left out; the weights' rounded copy is BF16 or F16.
@Tag("device")
class OptimizerContractTest {
    private static final int STEPS = 4;

    private static AdamW step(long step) {
        return new AdamW(1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, step, 0.5f);
    }

    /// A gradient with zeros and numbers of all sizes, subnormal ones and their squares among them.
    private static float[] gradient(long seed, int count) {
        float[] values = Buffers.normal(seed, count, 1);
        for (int i = 0; i < count; i++) {
            values[i] = Math.scalb(values[i], -(i % 45) * 3);
            if (i % 17 == 3) {
                values[i] = 0;
            }
        }
        return values;
    }

    /// Weights, first and second moments, and the rounded weights, after some steps.
    private static List<float[]> train(
            Target target, int count, int shift, @Nullable DType rounded) {
        try (Buffers buffers = target.open()) {
            Optimizer optimizer = Optimizer.on(buffers.device());
            Span weight = shifted(buffers, shift, Buffers.normal(1, count, 1));
            Span first = shifted(buffers, shift, new float[count]);
            Span second = shifted(buffers, shift, new float[count]);
            Span copy =
                    rounded == null
                            ? null
                            : buffers.poison(rounded, count + shift).slice(shift, count);
            for (int step = 1; step <= STEPS; step++) {
                Span gradient = shifted(buffers, shift, gradient(100 + step, count));
                optimizer.adamW(count, step(step), weight, gradient, first, second, copy);
            }
            List<float[]> results = new ArrayList<>();
            results.add(buffers.floats(weight));
            results.add(buffers.floats(first));
            results.add(buffers.floats(second));
            if (copy != null) {
                results.add(buffers.floats(copy));
            }
            return results;
        }
    }

    private static Span shifted(Buffers buffers, int shift, float[] values) {
        float[] padded = new float[values.length + shift];
        System.arraycopy(values, 0, padded, shift, values.length);
        return buffers.of(padded).slice(shift, values.length);
    }

    /// The arithmetic written down plainly, one element after the other.
    private static List<float[]> plain(int count) {
        float[] w = Buffers.normal(1, count, 1);
        float[] m = new float[count];
        float[] v = new float[count];
        for (int step = 1; step <= STEPS; step++) {
            AdamW o = step(step);
            double beta1 = o.beta1();
            double beta2 = o.beta2();
            double rate = o.learningRate();
            float stepSize = (float) -(rate * (1 / (1 - StrictMath.pow(beta1, step))));
            float correction2 = (float) (1 / (1 - StrictMath.pow(beta2, step)));
            float decay = (float) -(rate * o.weightDecay());
            float[] gradient = gradient(100 + step, count);
            for (int i = 0; i < count; i++) {
                float g = gradient[i] * o.gradientScale();
                m[i] = Math.fma(m[i], o.beta1(), g * (float) (1 - beta1));
                v[i] = Math.fma(v[i], o.beta2(), g * g * (float) (1 - beta2));
                float root = (float) Math.sqrt(v[i] * correction2) + o.eps();
                w[i] = Math.fma(m[i] / root, stepSize, Math.fma(w[i], decay, w[i]));
            }
        }
        return List.of(w, m, v);
    }

    static Stream<Arguments> counts() {
        return Stream.of(Target.CPU_F32, Target.CUDA_F32)
                .flatMap(target ->
                        Stream.of(0, 1, 3, 4, 7, 136, 1023, 1024, 40_001)
                                .map(count -> Arguments.of(target, count)));
    }

    @ParameterizedTest
    @MethodSource("counts")
    void everyDeviceMakesTheSameBits(Target target, int count) {
        List<float[]> wanted = plain(count);
        for (int shift = 0; shift < 4; shift++) {
            List<float[]> got = train(target, count, shift, null);
            for (int i = 0; i < 3; i++) {
                assertThat(got.get(i)).isEqualTo(wanted.get(i));
            }
            for (DType rounded : new DType[] {DType.BF16, DType.F16}) {
                List<float[]> fused = train(target, count, shift, rounded);
                for (int i = 0; i < 3; i++) {
                    assertThat(fused.get(i)).isEqualTo(wanted.get(i));
                }
                assertThat(fused.get(3)).isEqualTo(Buffers.rounded(rounded, wanted.getFirst()));
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void neighboursAreLeftAlone(Target target) {
        for (int count : new int[] {1, 5, 1021}) {
            try (Buffers buffers = target.open()) {
                float[] ones = new float[count + 5];
                Arrays.fill(ones, 1);
                Span weight = buffers.of(ones);
                Span first = buffers.of(new float[count + 5]);
                Span second = buffers.of(new float[count + 5]);
                Span copy = buffers.poison(DType.BF16, count + 5);
                Optimizer.on(buffers.device())
                        .adamW(
                                count,
                                step(1),
                                weight.slice(4, count),
                                buffers.of(ones).slice(4, count),
                                first.slice(4, count),
                                second.slice(4, count),
                                copy.slice(4, count));
                float[] moved = buffers.floats(weight);
                float[] moments = buffers.floats(first);
                float[] rounded = buffers.floats(copy);
                for (int i = 0; i < count + 5; i++) {
                    boolean inside = i >= 4 && i < count + 4;
                    assertThat(moved[i] < 1).isEqualTo(inside);
                    assertThat(moments[i] > 0).isEqualTo(inside);
                    assertThat(Float.isNaN(rounded[i])).isEqualTo(!inside);
                }
            }
        }
    }

    /// The partial sums and their tree, written down plainly.
    private static double squares(float[] values) {
        double total = 0;
        for (int begin = 0; begin < values.length; begin += 4096) {
            double[] partial = new double[16];
            for (int i = begin; i < Math.min(begin + 4096, values.length); i++) {
                partial[(i - begin) % 16] += (double) values[i] * values[i];
            }
            for (int half = 8; half > 0; half /= 2) {
                for (int i = 0; i < half; i++) {
                    partial[i] += partial[i + half];
                }
            }
            total += partial[0];
        }
        return total;
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void sumsOfSquaresFollowTheirTree(Target target) {
        int[] sizes = {0, 1, 7, 15, 16, 17, 4095, 4096, 4097, 65_536, 65_537, 300_003, 5};
        try (Buffers buffers = target.open()) {
            Optimizer optimizer = Optimizer.on(buffers.device());
            List<Span> all = new ArrayList<>();
            double wanted = 0;
            for (int size : sizes) {
                float[] values = Buffers.normal(size, size, size % 2 == 0 ? 1e-4 : 1e6);
                Span span = shifted(buffers, size % 3, values);
                assertThat(optimizer.sumOfSquares(List.of(span))).isEqualTo(squares(values));
                wanted += squares(values);
                all.add(span);
            }
            assertThat(optimizer.sumOfSquares(all)).isEqualTo(wanted);
            assertThat(optimizer.sumOfSquares(all)).isEqualTo(wanted);
            assertThat(optimizer.sumOfSquares(List.of())).isZero();
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void manySpansAreOneSum(Target target) {
        try (Buffers buffers = target.open()) {
            Span memory = buffers.of(Buffers.normal(4, 5000, 1));
            float[] values = buffers.floats(memory);
            double wanted = 0;
            for (int i = 0; i < 1000; i++) {
                wanted += squares(Arrays.copyOfRange(values, 5 * i, 5 * i + 5));
            }
            List<Span> spans =
                    IntStream.range(0, 1000).mapToObj(i -> memory.slice(5L * i, 5)).toList();
            assertThat(Optimizer.on(buffers.device()).sumOfSquares(spans)).isEqualTo(wanted);
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void hugeValuesDoNotOverflowAndNanIsSeen(Target target) {
        try (Buffers buffers = target.open()) {
            Optimizer optimizer = Optimizer.on(buffers.device());
            assertThat(optimizer.sumOfSquares(List.of(buffers.of(3e38f, 3e38f)))).isFinite();
            float[] one = new float[10_000];
            one[9_000] = Float.NaN;
            Span fine = buffers.of(1f);
            assertThat(optimizer.sumOfSquares(List.of(fine, buffers.of(one), fine))).isNaN();
            one[9_000] = Float.NEGATIVE_INFINITY;
            assertThat(optimizer.sumOfSquares(List.of(buffers.of(one))))
                    .isEqualTo(Double.POSITIVE_INFINITY);
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void operandsAreChecked(Target target) {
        try (Buffers buffers = target.open()) {
            Optimizer optimizer = Optimizer.on(buffers.device());
            Span x = buffers.of(1f);
            assertThatThrownBy(() -> optimizer.adamW(1, step(0), x, x, x, x, null))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("first step is 1");
            assertThatThrownBy(() -> optimizer.adamW(1, step(1), x, x, x, x, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("rounded is F32");
            assertThatThrownBy(() -> optimizer.adamW(2, step(1), x, x, x, x, null))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("weight holds 1");
        }
    }
}
