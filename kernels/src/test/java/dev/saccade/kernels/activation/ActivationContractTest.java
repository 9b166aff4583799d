package dev.saccade.kernels.activation;

import static dev.saccade.kernels.activation.ActivationDefinition.gelu;
import static dev.saccade.kernels.activation.ActivationDefinition.geluSlope;
import static dev.saccade.kernels.activation.ActivationDefinition.sigmoid;
import static dev.saccade.kernels.activation.ActivationDefinition.siluSlope;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.VectorMath;
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

/// The contract of the activations on every device.
@Tag("device")
class ActivationContractTest {

    private record Results(
            float[] gelu, float[] geluGradient, float[] swiGlu, float[] dGate, float[] dUp) {}

    private static Results run(Target target, float[] z, float[] up, float[] dy, int shift) {
        DType dtype = target.dtype();
        int count = z.length;
        try (Buffers buffers = target.open()) {
            Activation activation = Activation.on(buffers.device());
            Span gates = Placed.of(buffers, dtype, shift, z);
            Span ups = Placed.of(buffers, dtype, shift, up);
            Span upstream = Placed.of(buffers, dtype, shift, dy);
            Span gelu = Placed.poison(buffers, dtype, shift, count);
            Span geluGradient = Placed.poison(buffers, dtype, shift, count);
            Span swiGlu = Placed.poison(buffers, dtype, shift, count);
            Span dGate = Placed.poison(buffers, dtype, shift, count);
            Span dUp = Placed.poison(buffers, dtype, shift, count);
            activation.gelu(count, gates, gelu);
            activation.geluBackward(count, gates, upstream, geluGradient);
            activation.swiGlu(count, gates, ups, swiGlu);
            activation.swiGluBackward(count, gates, ups, upstream, dGate, dUp);
            return new Results(
                    Placed.floats(buffers, gelu),
                    Placed.floats(buffers, geluGradient),
                    Placed.floats(buffers, swiGlu),
                    Placed.floats(buffers, dGate),
                    Placed.floats(buffers, dUp));
        }
    }

    static Stream<Arguments> counts() {
        int[] counts = {1, 7, 8, 255, 4096, 4097, 30_011};
        return Arrays.stream(Target.values())
                .flatMap(target ->
                        Arrays.stream(counts).mapToObj(count -> Arguments.of(target, count)));
    }

    @ParameterizedTest
    @MethodSource("counts")
    void isAccurateWhereverTheOperandsLie(Target target, int count) {
        DType dtype = target.dtype();
        float[] z = Buffers.rounded(dtype, Buffers.normal(1, count, 2));
        float[] up = Buffers.rounded(dtype, Buffers.normal(2, count, 1));
        float[] dy = Buffers.rounded(dtype, Buffers.normal(3, count, 1));
        double[][] exact = new double[5][count];
        float[][] naive = new float[5][count];
        for (int i = 0; i < count; i++) {
            exact[0][i] = gelu(z[i]);
            exact[1][i] = dy[i] * geluSlope(z[i]);
            exact[2][i] = z[i] * sigmoid(z[i]) * up[i];
            exact[3][i] = (double) dy[i] * up[i] * siluSlope(z[i]);
            exact[4][i] = dy[i] * (z[i] * sigmoid(z[i]));
            float erf = (float) (2 * (gelu(z[i]) / z[i]) - 1);
            float density = (float) Math.exp(z[i] * z[i] * -0.5f) * 0.3989423f;
            float logistic = 1f / (1f + (float) Math.exp(-z[i]));
            float silu = z[i] * logistic;
            naive[0][i] = z[i] * 0.5f * (1f + erf);
            naive[1][i] = dy[i] * (0.5f * (1f + erf) + z[i] * density);
            naive[2][i] = silu * up[i];
            naive[3][i] = dy[i] * up[i] * (logistic + silu * (1f - logistic));
            naive[4][i] = dy[i] * silu;
        }
        Results results = run(target, z, up, dy, 0);
        Oracle.assertAccurate("gelu", dtype, exact[0], naive[0], results.gelu);
        Oracle.assertAccurate("gelu gradient", dtype, exact[1], naive[1], results.geluGradient);
        Oracle.assertAccurate("swiGlu", dtype, exact[2], naive[2], results.swiGlu);
        Oracle.assertAccurate("dGate", dtype, exact[3], naive[3], results.dGate);
        Oracle.assertAccurate("dUp", dtype, exact[4], naive[4], results.dUp);
        for (int shift : new int[] {0, 1}) {
            assertThat(run(target, z, up, dy, shift)).usingRecursiveComparison().isEqualTo(results);
        }
        int last = count - 1;
        Results alone =
                run(
                        target,
                        Arrays.copyOfRange(z, last, count),
                        Arrays.copyOfRange(up, last, count),
                        Arrays.copyOfRange(dy, last, count),
                        0);
        assertThat(alone.gelu[0]).isEqualTo(results.gelu[last]);
        assertThat(alone.swiGlu[0]).isEqualTo(results.swiGlu[last]);
    }

    @ParameterizedTest
    @EnumSource
    void farFromZeroItIsLinearOrZero(Target target) {
        float[] z = {0f, 100f, -100f, 1000f, -1000f};
        float[] ones = {1f, 1f, 1f, 1f, 1f};
        Results results = run(target, z, ones, ones, 0);
        float[] linear = {0f, 100f, 0f, 1000f, 0f};
        float[] slope = {0.5f, 1f, 0f, 1f, 0f};
        for (int i = 0; i < z.length; i++) {
            assertThat(Math.abs(results.gelu[i])).isEqualTo(linear[i]);
            assertThat(Math.abs(results.swiGlu[i])).isEqualTo(linear[i]);
            assertThat(Math.abs(results.dUp[i])).isEqualTo(linear[i]);
            assertThat(Math.abs(results.geluGradient[i])).isEqualTo(slope[i]);
            assertThat(Math.abs(results.dGate[i])).isEqualTo(slope[i]);
        }
    }

    /// Numbers of every size, and what isn't a number.
    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void everySizeHasTheBitsOfTheScalar(Target target) {
        int count = 1 << 20;
        float[] z = new float[count];
        float[] ones = new float[count];
        for (int i = 0; i < count; i++) {
            z[i] = Float.intBitsToFloat((int) (i * ((1L << 32) / count) + i % 4093));
            ones[i] = 1;
        }
        z[1] = 88f;
        z[2] = -88.72f;
        z[3] = -88.73f;
        z[4] = Float.NEGATIVE_INFINITY;
        z[5] = Float.POSITIVE_INFINITY;
        z[6] = -0f;
        Results results = run(target, z, ones, ones, 0);
        for (int i = 0; i < count; i++) {
            assertSame("gelu", z[i], results.gelu[i], VectorMath.gelu(z[i]));
            assertSame("slope", z[i], results.geluGradient[i], VectorMath.geluDerivative(z[i]));
            assertSame("silu", z[i], results.swiGlu[i], VectorMath.silu(z[i]));
        }
    }

    private static void assertSame(String what, float z, float got, float wanted) {
        if (Float.floatToIntBits(got) != Float.floatToIntBits(wanted)) {
            throw new AssertionError("%s of %s: %s, not %s".formatted(what, z, got, wanted));
        }
    }

    @ParameterizedTest
    @EnumSource
    void resultsMayReplaceOperands(Target target) {
        DType dtype = target.dtype();
        int count = 5000;
        float[] z = Buffers.rounded(dtype, Buffers.normal(1, count, 2));
        float[] up = Buffers.rounded(dtype, Buffers.normal(2, count, 1));
        float[] dy = Buffers.rounded(dtype, Buffers.normal(3, count, 1));
        Results apart = run(target, z, up, dy, 0);
        try (Buffers buffers = target.open()) {
            Activation activation = Activation.on(buffers.device());
            Span gelu = buffers.of(dtype, z);
            activation.gelu(count, gelu, gelu);
            assertThat(buffers.floats(gelu)).isEqualTo(apart.gelu);
            Span gates = buffers.of(dtype, z);
            Span gradient = buffers.of(dtype, dy);
            activation.geluBackward(count, gates, gradient, gradient);
            assertThat(buffers.floats(gradient)).isEqualTo(apart.geluGradient);
            Span ups = buffers.of(dtype, up);
            activation.swiGluBackward(count, gates, ups, buffers.of(dtype, dy), gates, ups);
            assertThat(buffers.floats(gates)).isEqualTo(apart.dGate);
            assertThat(buffers.floats(ups)).isEqualTo(apart.dUp);
        }
    }

    @ParameterizedTest
    @EnumSource
    void wrongOperandsAreRefused(Target target) {
        try (Buffers buffers = target.open()) {
            Activation activation = Activation.on(buffers.device());
            Span x = buffers.poison(target.dtype(), 3);
            Span half = buffers.poison(DType.F16, 4);
            assertThatThrownBy(() -> activation.gelu(4, x, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("z holds 3 elements, expected at least 4");
            assertThatThrownBy(() -> activation.swiGlu(3, x, half, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("up is F16, expected " + target.dtype());
        }
    }
}
