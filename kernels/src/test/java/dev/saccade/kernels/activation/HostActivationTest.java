package dev.saccade.kernels.activation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.data.Offset.offset;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.gemm.Epilogue;
import dev.saccade.kernels.gemm.Gemm;
import dev.saccade.kernels.internal.HostArrays;
import java.util.Arrays;
import java.util.function.DoubleUnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class HostActivationTest {
    private static final int MANY = 3 * 8192 + 17;

    /// A few units in the last place of the larger of the value and 1: a naive fp32 form's error.
    private static void assertNear(float[] actual, int index, double expected) {
        assertThat((double) actual[index])
                .as("element %d", index)
                .isCloseTo(expected, offset(4e-7 * Math.max(1, Math.abs(expected))));
    }

    private static void assertSameBits(float[] actual, float[] expected) {
        assertThat(Arrays.mismatch(actual, expected)).as("first difference").isEqualTo(-1);
    }

    private interface Call {
        void run(Activation activation, HostArrays arrays, Span out);
    }

    private static float[] compute(int count, int workers, Call call) {
        try (HostArrays arrays = new HostArrays(workers)) {
            Span out = arrays.poison(count, DType.F32);
            call.run(Activation.on(arrays.device()), arrays, out);
            return arrays.floats(out);
        }
    }

    private static float[] inputs(int count) {
        float[] values = HostArrays.random(count, count, -6, 6);
        float[] corners = {0f, -0f, 20f, -20f, 100f, -100f};
        System.arraycopy(corners, 0, values, 0, Math.min(count, corners.length));
        return values;
    }

    private static void compare(float[] z, float[] actual, DoubleUnaryOperator exact) {
        for (int i = 0; i < z.length; i++) {
            assertNear(actual, i, exact.applyAsDouble(z[i]));
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3, 16, 17, 129, 8192, MANY})
    void geluIsTheExactForm(int count) {
        float[] z = inputs(count);
        Call call = (activation, arrays, out) -> activation.gelu(count, arrays.of(z), out);
        float[] y = compute(count, 1, call);
        compare(z, y, ActivationDefinition::gelu);
        assertSameBits(compute(count, 2, call), y);
        assertSameBits(compute(count, 3, call), y);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 17, 129, MANY})
    void geluBackwardIsTheDerivative(int count) {
        float[] z = inputs(count);
        float[] dy = HostArrays.random(2, count, -1, 1);
        Call call =
                (activation, arrays, out) ->
                        activation.geluBackward(count, arrays.of(z), arrays.of(dy), out);
        float[] dz = compute(count, 1, call);
        for (int i = 0; i < count; i++) {
            assertNear(dz, i, dy[i] * ActivationDefinition.geluSlope(z[i]));
        }
        assertSameBits(compute(count, 2, call), dz);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 17, 129, MANY})
    void swiGluIsSiluTimesUp(int count) {
        float[] gate = inputs(count);
        float[] up = HostArrays.random(2, count, -1, 1);
        Call call =
                (activation, arrays, out) ->
                        activation.swiGlu(count, arrays.of(gate), arrays.of(up), out);
        float[] y = compute(count, 1, call);
        for (int i = 0; i < count; i++) {
            assertNear(y, i, gate[i] * ActivationDefinition.sigmoid(gate[i]) * up[i]);
        }
        assertSameBits(compute(count, 2, call), y);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 17, 129, MANY})
    void swiGluBackwardIsTheDerivative(int count) {
        float[] gate = inputs(count);
        float[] up = HostArrays.random(2, count, -1, 1);
        float[] dy = HostArrays.random(3, count, -1, 1);
        float[][] first = swiGluBackward(gate, up, dy, 1);
        for (int i = 0; i < count; i++) {
            assertNear(
                    first[0], i, (double) dy[i] * up[i] * ActivationDefinition.siluSlope(gate[i]));
            assertNear(first[1], i, dy[i] * gate[i] * ActivationDefinition.sigmoid(gate[i]));
        }
        float[][] second = swiGluBackward(gate, up, dy, 2);
        assertSameBits(second[0], first[0]);
        assertSameBits(second[1], first[1]);
    }

    private static float[][] swiGluBackward(float[] gate, float[] up, float[] dy, int workers) {
        try (HostArrays arrays = new HostArrays(workers)) {
            Span dGate = arrays.poison(gate.length, DType.F32);
            Span dUp = arrays.poison(gate.length, DType.F32);
            Activation.on(arrays.device())
                    .swiGluBackward(
                            gate.length, arrays.of(gate), arrays.of(up), arrays.of(dy), dGate, dUp);
            return new float[][] {arrays.floats(dGate), arrays.floats(dUp)};
        }
    }

    @Test
    void resultsMayOverwriteInputs() {
        int count = 1000;
        float[] gate = inputs(count);
        float[] up = HostArrays.random(2, count, -1, 1);
        float[] dy = HostArrays.random(3, count, -1, 1);
        float[][] apart = swiGluBackward(gate, up, dy, 1);
        try (HostArrays arrays = new HostArrays(1)) {
            Activation activation = Activation.on(arrays.device());
            Span g = arrays.of(gate);
            Span u = arrays.of(up);
            activation.swiGluBackward(count, g, u, arrays.of(dy), g, u);
            assertSameBits(arrays.floats(g), apart[0]);
            assertSameBits(arrays.floats(u), apart[1]);

            Span expected = arrays.poison(count, DType.F32);
            Span z = arrays.of(gate);
            activation.gelu(count, z, expected);
            activation.gelu(count, z, z);
            assertSameBits(arrays.floats(z), arrays.floats(expected));

            Span d = arrays.of(dy);
            activation.geluBackward(count, arrays.of(gate), d, expected);
            activation.geluBackward(count, arrays.of(gate), d, d);
            assertSameBits(arrays.floats(d), arrays.floats(expected));
        }
    }

    /// x W^T with k = 1 and x = 1 is W: the epilogue sees the very same numbers.
    @Test
    void fusedEpiloguesGiveTheSameBits() {
        int count = 1003;
        float[] z = inputs(count);
        z[1] = 1f; // a chain from 0 turns -0 into 0
        float[] up = HostArrays.random(2, count, -1, 1);
        try (HostArrays arrays = new HostArrays(1)) {
            Activation activation = Activation.on(arrays.device());
            Gemm gemm = Gemm.on(arrays.device());
            Span one = arrays.of(1f);
            Span zs = arrays.of(z);
            Span ups = arrays.of(up);
            Span alone = arrays.poison(count, DType.F32);
            Span fused = arrays.poison(count, DType.F32);
            activation.gelu(count, zs, alone);
            Epilogue epilogue = new Epilogue.BiasGelu(arrays.of(new float[count]), null);
            Gemm.Shape shape = new Gemm.Shape(Gemm.Layout.NT, 1, count, 1);
            gemm.multiply(shape, one, zs, fused, epilogue);
            assertThat(Arrays.equals(arrays.floats(fused), arrays.floats(alone))).isTrue();

            activation.swiGlu(count, zs, ups, alone);
            gemm.swiGlu(1, count, 1, one, zs, ups, fused, null, null);
            assertThat(Arrays.equals(arrays.floats(fused), arrays.floats(alone))).isTrue();
        }
    }

    @Test
    void aShortOperandIsNamed() {
        try (HostArrays arrays = new HostArrays(1)) {
            Activation activation = Activation.on(arrays.device());
            Span two = arrays.of(1f, 2f);
            Span three = arrays.of(1f, 2f, 3f);
            assertThatThrownBy(() -> activation.swiGlu(3, three, two, three))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("up holds 2 elements, expected at least 3");
        }
    }
}
