package dev.saccade.kernels.gemm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.gemm.Gemm.Layout;
import dev.saccade.kernels.gemm.Gemm.Shape;
import dev.saccade.kernels.internal.HostArrays;
import dev.saccade.kernels.internal.VectorMath;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class HostGemmTest {
    private static final int[][] SHAPES = {
        {1, 1, 1},
        {1, 1, 0},
        {2, 3, 5},
        {3, 17, 1},
        {17, 3, 129},
        {1, 136, 128},
        {5, 33, 16},
        {4, 32, 15},
        {9, 31, 17},
        {16, 64, 48},
        {129, 17, 3},
        {129, 129, 17},
        {31, 129, 129},
        {64, 136, 65},
        {300, 47, 64},
        {7, 588, 33},
        {130, 96, 600}
    };

    /// A layout's operands, as random values.
    private record Operands(Layout layout, int m, int n, int k, float[] a, float[] b, float[] old) {
        static Operands random(Layout layout, int m, int n, int k) {
            long seed = 31L * (31L * m + n) + k;
            return new Operands(
                    layout,
                    m,
                    n,
                    k,
                    HostArrays.random(seed, m * k, -1, 1),
                    HostArrays.random(seed + 1, k * n, -1, 1),
                    HostArrays.random(seed + 2, m * n, -1, 1));
        }

        float a(int row, int i) {
            return layout == Layout.TN ? a[i * m + row] : a[row * k + i];
        }

        float b(int i, int column) {
            return layout == Layout.NT ? b[column * k + i] : b[i * n + column];
        }

        Shape shape() {
            return new Shape(layout, m, n, k);
        }

        /// Every element's chain, one after the other.
        float[] chains(boolean accumulate) {
            float[] c = accumulate ? old.clone() : new float[m * n];
            for (int row = 0; row < m; row++) {
                for (int column = 0; column < n; column++) {
                    float s = c[row * n + column];
                    for (int i = 0; i < k; i++) {
                        s = Math.fma(a(row, i), b(i, column), s);
                    }
                    c[row * n + column] = s;
                }
            }
            return c;
        }
    }

    private static void assertSameBits(float[] actual, float[] expected, String what) {
        assertThat(Arrays.mismatch(actual, expected))
                .as("first difference in %s", what)
                .isEqualTo(-1);
    }

    private static float[] multiply(Operands operands, int workers) {
        try (HostArrays arrays = new HostArrays(workers)) {
            Span c = arrays.poison(operands.m * operands.n, DType.F32);
            Gemm.on(arrays.device())
                    .multiply(
                            operands.shape(),
                            arrays.of(operands.a),
                            arrays.of(operands.b),
                            c,
                            Epilogue.STORE);
            return arrays.floats(c);
        }
    }

    @ParameterizedTest
    @EnumSource
    void everyElementIsOneChain(Layout layout) {
        for (int[] shape : SHAPES) {
            Operands operands = Operands.random(layout, shape[0], shape[1], shape[2]);
            float[] expected = operands.chains(false);
            for (int workers = 1; workers <= 3; workers++) {
                assertSameBits(
                        multiply(operands, workers), expected, operands.shape() + " by " + workers);
            }
        }
    }

    /// Products so large that operands are packed in several blocks and chunks.
    @ParameterizedTest
    @CsvSource({"NT,300,150,2000", "NN,90,1100,1000", "TN,260,70,3001", "NT,40,40,70001"})
    void cuttingIntoBlocksDoesNotShow(Layout layout, int m, int n, int k) {
        Operands operands = Operands.random(layout, m, n, k);
        float[] expected = operands.chains(false);
        assertSameBits(multiply(operands, 1), expected, "1 worker");
        assertSameBits(multiply(operands, 2), expected, "2 workers");
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3, 8, 64})
    void aRowNeverDependsOnTheOthers(int rows) {
        Operands all = Operands.random(Layout.NT, 129, 136, 128);
        float[] whole = multiply(all, 2);
        for (int first = 0; first + rows <= 129; first += Math.max(1, rows - 1) * 3) {
            float[] a = Arrays.copyOfRange(all.a, first * 128, (first + rows) * 128);
            Operands some = new Operands(Layout.NT, rows, 136, 128, a, all.b, all.old);
            assertSameBits(
                    multiply(some, 2),
                    Arrays.copyOfRange(whole, first * 136, (first + rows) * 136),
                    rows + " rows from " + first);
        }
    }

    @ParameterizedTest
    @EnumSource
    void errorIsThatOfAPlainSum(Layout layout) {
        Operands operands = Operands.random(layout, 65, 70, 500);
        float[] actual = multiply(operands, 2);
        double worst = 0;
        double worstPlain = 0;
        for (int row = 0; row < operands.m; row++) {
            for (int column = 0; column < operands.n; column++) {
                double exact = 0;
                float plain = 0;
                for (int i = 0; i < operands.k; i++) {
                    exact += (double) operands.a(row, i) * operands.b(i, column);
                    plain += operands.a(row, i) * operands.b(i, column);
                }
                float got = actual[row * operands.n + column];
                worst = Math.max(worst, Math.abs(got - exact));
                worstPlain = Math.max(worstPlain, Math.abs(plain - exact));
            }
        }
        assertThat(worst).isLessThanOrEqualTo(2 * worstPlain);
    }

    @ParameterizedTest
    @EnumSource
    void accumulateStartsFromTheOldValue(Layout layout) {
        for (int[] shape : SHAPES) {
            Operands operands = Operands.random(layout, shape[0], shape[1], shape[2]);
            float[] expected = operands.chains(true);
            for (int workers = 1; workers <= 3; workers++) {
                try (HostArrays arrays = new HostArrays(workers)) {
                    Span c = arrays.of(operands.old.clone());
                    Gemm.on(arrays.device())
                            .multiply(
                                    operands.shape(),
                                    arrays.of(operands.a),
                                    arrays.of(operands.b),
                                    c,
                                    Epilogue.ACCUMULATE);
                    assertSameBits(arrays.floats(c), expected, operands.shape().toString());
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void epiloguesWorkOnTheSum(Layout layout) {
        for (int[] shape : SHAPES) {
            for (int workers = 1; workers <= 3; workers++) {
                epilogues(Operands.random(layout, shape[0], shape[1], shape[2]), workers);
            }
        }
    }

    private static void epilogues(Operands operands, int workers) {
        int n = operands.n;
        int count = operands.m * n;
        float[] sums = operands.chains(false);
        float[] bias = HostArrays.random(7, n, -1, 1);
        float[] scale = HostArrays.random(8, n, -1, 1);
        float[] residual = HostArrays.random(9, count, -1, 1);
        float[] biased = new float[count];
        float[] gelu = new float[count];
        float[] scaledBranch = new float[count];
        float[] scaledSum = new float[count];
        float[] plainBranch = new float[count];
        float[] slopes = new float[count];
        for (int i = 0; i < count; i++) {
            biased[i] = sums[i] + bias[i % n];
            gelu[i] = VectorMath.gelu(biased[i]);
            scaledBranch[i] = Math.fma(scale[i % n], biased[i], residual[i]);
            scaledSum[i] = Math.fma(scale[i % n], sums[i], residual[i]);
            plainBranch[i] = residual[i] + biased[i];
            slopes[i] = sums[i] * VectorMath.geluDerivative(residual[i]);
        }
        try (HostArrays arrays = new HostArrays(workers)) {
            Span biasSpan = arrays.of(bias);
            Span scaleSpan = arrays.of(scale);
            Span residualSpan = arrays.of(residual);
            Span side = arrays.poison(count, DType.F32);
            Span branch = arrays.poison(count, DType.F32);
            String what = operands.shape() + " by " + workers;
            check(arrays, operands, new Epilogue.Bias(biasSpan), biased, "bias " + what);
            check(arrays, operands, new Epilogue.BiasGelu(biasSpan, null), gelu, "gelu " + what);
            check(arrays, operands, new Epilogue.BiasGelu(biasSpan, side), gelu, "gelu " + what);
            assertSameBits(arrays.floats(side), biased, "preActivation of " + what);
            check(
                    arrays,
                    operands,
                    new Epilogue.Residual(residualSpan, biasSpan, scaleSpan, branch),
                    scaledBranch,
                    "residual, bias, scale " + what);
            assertSameBits(arrays.floats(branch), biased, "branch of " + what);
            check(
                    arrays,
                    operands,
                    new Epilogue.Residual(residualSpan, biasSpan, null, null),
                    plainBranch,
                    "residual, bias " + what);
            check(
                    arrays,
                    operands,
                    new Epilogue.Residual(residualSpan, null, scaleSpan, null),
                    scaledSum,
                    "residual, scale " + what);
            check(
                    arrays,
                    operands,
                    new Epilogue.GeluBackward(residualSpan),
                    slopes,
                    "gelu backward " + what);
        }
    }

    private static void check(
            HostArrays arrays,
            Operands operands,
            Epilogue epilogue,
            float[] expected,
            String what) {
        Span c = arrays.poison(expected.length, DType.F32);
        Gemm.on(arrays.device())
                .multiply(
                        operands.shape(),
                        arrays.of(operands.a),
                        arrays.of(operands.b),
                        c,
                        epilogue);
        assertSameBits(arrays.floats(c), expected, what);
    }

    @Test
    void residualMayBeTheResult() {
        Operands operands = Operands.random(Layout.NT, 37, 45, 29);
        float[] expected = operands.chains(false);
        for (int i = 0; i < expected.length; i++) {
            expected[i] = operands.old[i] + expected[i];
        }
        try (HostArrays arrays = new HostArrays(2)) {
            Span c = arrays.of(operands.old.clone());
            Gemm.on(arrays.device())
                    .multiply(
                            operands.shape(),
                            arrays.of(operands.a),
                            arrays.of(operands.b),
                            c,
                            new Epilogue.Residual(c, null, null, null));
            assertSameBits(arrays.floats(c), expected, "c");
        }
    }

    @ParameterizedTest
    @CsvSource({
        "1,1,1,1",
        "1,136,128,2",
        "3,17,129,1",
        "9,33,20,2",
        "129,130,65,2",
        "129,130,65,3",
        "200,96,64,3",
        "20,70,2100,2"
    })
    void swiGluIsTwoProductsInOne(int m, int n, int k, int workers) {
        Operands gate = Operands.random(Layout.NT, m, n, k);
        float[] upWeight = HostArrays.random(99, n * k, -1, 1);
        Operands up = new Operands(Layout.NT, m, n, k, gate.a, upWeight, gate.old);
        float[] g = gate.chains(false);
        float[] u = up.chains(false);
        float[] expected = new float[m * n];
        for (int i = 0; i < expected.length; i++) {
            expected[i] = VectorMath.silu(g[i]) * u[i];
        }
        try (HostArrays arrays = new HostArrays(workers)) {
            Gemm gemm = Gemm.on(arrays.device());
            Span x = arrays.of(gate.a);
            Span gateSpan = arrays.of(gate.b);
            Span upSpan = arrays.of(upWeight);
            Span out = arrays.poison(m * n, DType.F32);
            gemm.swiGlu(m, n, k, x, gateSpan, upSpan, out, null, null);
            assertSameBits(arrays.floats(out), expected, "out alone");
            Span keptGate = arrays.poison(m * n, DType.F32);
            Span keptUp = arrays.poison(m * n, DType.F32);
            Span again = arrays.poison(m * n, DType.F32);
            gemm.swiGlu(m, n, k, x, gateSpan, upSpan, again, keptGate, keptUp);
            assertSameBits(arrays.floats(again), expected, "out");
            assertSameBits(arrays.floats(keptGate), g, "gate");
            assertSameBits(arrays.floats(keptUp), u, "up");
        }
    }

    @Test
    void nothingBeyondTheResultIsTouched() {
        Operands operands = Operands.random(Layout.NT, 13, 21, 18);
        try (HostArrays arrays = new HostArrays(2)) {
            float[] frame = HostArrays.random(5, 13 * 21 + 200, -1, 1);
            Span memory = arrays.of(frame);
            Gemm.on(arrays.device())
                    .multiply(
                            operands.shape(),
                            arrays.of(operands.a),
                            arrays.of(operands.b),
                            memory.slice(100, 13 * 21),
                            Epilogue.STORE);
            System.arraycopy(operands.chains(false), 0, frame, 100, 13 * 21);
            assertSameBits(arrays.floats(memory), frame, "memory");
        }
    }

    @Test
    void anEmptyProductIsNothing() {
        try (HostArrays arrays = new HostArrays(2)) {
            Span none = arrays.poison(0, DType.F32);
            Span some = arrays.of(1f, 2f);
            Gemm gemm = Gemm.on(arrays.device());
            gemm.multiply(new Shape(Layout.NT, 0, 2, 1), none, some, none, Epilogue.STORE);
            gemm.multiply(new Shape(Layout.NN, 2, 0, 1), some, none, none, Epilogue.STORE);
            Span c = arrays.poison(2, DType.F32);
            gemm.multiply(new Shape(Layout.TN, 1, 2, 0), none, none, c, Epilogue.STORE);
            assertThat(arrays.floats(c)).containsExactly(0f, 0f);
        }
    }

    @Test
    void aShortOperandIsNamed() {
        try (HostArrays arrays = new HostArrays(1)) {
            Span six = arrays.poison(6, DType.F32);
            Span five = arrays.poison(5, DType.F32);
            Gemm gemm = Gemm.on(arrays.device());
            Shape shape = new Shape(Layout.NT, 2, 2, 3);
            assertThatThrownBy(() -> gemm.multiply(shape, six, five, six, Epilogue.STORE))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("b holds 5 elements, expected at least 6");
            Span one = arrays.poison(1, DType.F32);
            assertThatThrownBy(() -> gemm.multiply(shape, six, six, six, new Epilogue.Bias(one)))
                    .hasMessage("bias holds 1 elements, expected at least 2");
        }
    }
}
