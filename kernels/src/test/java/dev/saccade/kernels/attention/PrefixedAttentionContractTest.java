package dev.saccade.kernels.attention;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.Attention.Shape;
import dev.saccade.kernels.attention.PrefixedAttention.Prefixed;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Oracle;
import dev.saccade.kernels.testing.Target;
import java.util.Arrays;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Attention over two ranges of keys on each device: the bits of attention over the ranges side by
/// side, and gradients that sum over all sequences of a prefix.
@Tag("device")
class PrefixedAttentionContractTest {
    /// A prompt of 75 tokens with three answers, one of 64 with two, a sequence without a prefix,
    /// and rows between them that belong to nobody.
    private static final int[] PROMPT_OF = {-1, 0, 0, 0, -1, 4, 4, -1};

    private static final int[] START = {2, 77, 90, 150, 190, 254, 260, 300};
    private static final int[] LENGTH = {75, 13, 60, 33, 64, 1, 40, 21};
    private static final int ROWS = 325;

    private static Prefixed prefixed() {
        int count = START.length;
        int[] prefixStart = new int[count];
        int[] prefixLength = new int[count];
        for (int s = 0; s < count; s++) {
            if (PROMPT_OF[s] >= 0) {
                prefixStart[s] = START[PROMPT_OF[s]];
                prefixLength[s] = LENGTH[PROMPT_OF[s]];
            }
        }
        return new Prefixed(new Sequences(START, LENGTH, START, LENGTH), prefixStart, prefixLength);
    }

    /// The row in k and v of each key of a sequence.
    private static int[] keyRows(int sequence) {
        Prefixed all = prefixed();
        int prefix = all.prefixLength()[sequence];
        int[] rows = new int[prefix + LENGTH[sequence]];
        Arrays.setAll(
                rows,
                i -> i < prefix ? all.prefixStart()[sequence] + i : START[sequence] + i - prefix);
        return rows;
    }

    private static int width(float[] values) {
        return values.length / ROWS;
    }

    private static float[] rows(float[] values, int[] rows) {
        int width = width(values);
        float[] taken = new float[rows.length * width];
        for (int i = 0; i < rows.length; i++) {
            System.arraycopy(values, rows[i] * width, taken, i * width, width);
        }
        return taken;
    }

    private static int[] queryRows(int sequence) {
        int[] rows = new int[LENGTH[sequence]];
        Arrays.setAll(rows, i -> START[sequence] + i);
        return rows;
    }

    private record Inputs(float[] q, float[] k, float[] v, float[] dO) {
        static Inputs random(Target target, Shape shape) {
            int query = ROWS * shape.heads() * shape.headDim();
            int key = ROWS * shape.kvHeads() * shape.headDim();
            Inputs in =
                    new Inputs(
                            Buffers.rounded(target.dtype(), Buffers.normal(1, query, 1.5)),
                            Buffers.rounded(target.dtype(), Buffers.normal(2, key, 1.5)),
                            Buffers.rounded(target.dtype(), Buffers.normal(3, key, 1)),
                            Buffers.rounded(target.dtype(), Buffers.normal(4, query, 1)));
            boolean[] used = used();
            for (float[] values : new float[][] {in.q, in.k, in.v, in.dO}) {
                for (int row = 0; row < ROWS; row++) {
                    if (!used[row]) {
                        Arrays.fill(
                                values, row * width(values), (row + 1) * width(values), Float.NaN);
                    }
                }
            }
            return in;
        }
    }

    private static boolean[] used() {
        boolean[] used = new boolean[ROWS];
        for (int s = 0; s < START.length; s++) {
            Arrays.fill(used, START[s], START[s] + LENGTH[s], true);
        }
        return used;
    }

    private record Results(float[] o, float[] lse, float[] dq, float[] dk, float[] dv) {
        static Results of(Target target, Shape shape, Inputs in) {
            try (Buffers buffers = target.open()) {
                PrefixedAttention attention = PrefixedAttention.on(buffers.device());
                DType dtype = target.dtype();
                Span q = buffers.of(dtype, in.q);
                Span k = buffers.of(dtype, in.k);
                Span v = buffers.of(dtype, in.v);
                Span o = buffers.poison(dtype, in.q.length);
                Span lse = buffers.poison(in.q.length / shape.headDim());
                Span dO = buffers.of(dtype, in.dO);
                Span dq = buffers.poison(dtype, in.q.length);
                Span dk = buffers.poison(dtype, in.k.length);
                Span dv = buffers.poison(dtype, in.v.length);
                attention.forward(shape, prefixed(), q, k, v, o, lse);
                attention.backward(shape, prefixed(), q, k, v, o, lse, dO, dq, dk, dv);
                return new Results(
                        buffers.floats(o),
                        buffers.floats(lse),
                        buffers.floats(dq),
                        buffers.floats(dk),
                        buffers.floats(dv));
            }
        }
    }

    static Stream<Arguments> shapes() {
        return Stream.of(Target.values())
                .flatMap(target ->
                        Stream.of(
                                Arguments.of(target, 10, 2, 128, true),
                                Arguments.of(target, 4, 4, 64, true),
                                Arguments.of(target, 7, 1, 33, true),
                                Arguments.of(target, 2, 1, 32, false)));
    }

    @ParameterizedTest
    @MethodSource("shapes")
    void aQueryHasTheBitsOfItsKeysSideBySide(
            Target target, int heads, int kvHeads, int headDim, boolean causal) {
        Shape shape = new Shape(heads, kvHeads, headDim, causal, (float) Math.pow(headDim, -0.5));
        Inputs in = Inputs.random(target, shape);
        Results results = Results.of(target, shape, in);
        for (int s = 0; s < START.length; s++) {
            int[] queries = queryRows(s);
            int[] keys = keyRows(s);
            try (Buffers buffers = target.open()) {
                DType dtype = target.dtype();
                Span o = buffers.poison(dtype, queries.length * heads * headDim);
                Span lse = buffers.poison(queries.length * heads);
                Attention.on(buffers.device())
                        .forward(
                                shape,
                                alone(s),
                                buffers.of(dtype, rows(in.q, queries)),
                                buffers.of(dtype, rows(in.k, keys)),
                                buffers.of(dtype, rows(in.v, keys)),
                                o,
                                lse);
                assertThat(rows(results.o, queries)).isEqualTo(buffers.floats(o));
                assertThat(rows(results.lse, queries)).isEqualTo(buffers.floats(lse));
            }
        }
        boolean[] used = used();
        for (int row = 0; row < ROWS; row++) {
            assertThat(Float.isNaN(results.lse[row * heads])).isEqualTo(!used[row]);
        }
    }

    private static Sequences alone(int sequence) {
        return new Sequences(
                new int[] {0},
                new int[] {LENGTH[sequence]},
                new int[] {0},
                new int[] {keyRows(sequence).length});
    }

    @ParameterizedTest
    @MethodSource("shapes")
    void gradientsOfAPrefixSumOverItsSequences(
            Target target, int heads, int kvHeads, int headDim, boolean causal) {
        Shape shape = new Shape(heads, kvHeads, headDim, causal, (float) Math.pow(headDim, -0.5));
        Inputs in = Inputs.random(target, shape);
        Results results = Results.of(target, shape, in);
        Results again = Results.of(target, shape, in);
        assertThat(again.dq).isEqualTo(results.dq);
        assertThat(again.dk).isEqualTo(results.dk);
        assertThat(again.dv).isEqualTo(results.dv);
        DType dtype = target.dtype();
        double[][] exact = new double[3][];
        double[][] naive = new double[3][];
        for (double[][] sums : new double[][][] {exact, naive}) {
            sums[0] = new double[in.q.length];
            sums[1] = new double[in.k.length];
            sums[2] = new double[in.v.length];
        }
        for (int s = 0; s < START.length; s++) {
            int[] queries = queryRows(s);
            int[] keys = keyRows(s);
            double[] q = wide(rows(in.q, queries));
            double[] k = wide(rows(in.k, keys));
            double[] v = wide(rows(in.v, keys));
            double[] dO = wide(rows(in.dO, queries));
            AttentionOracle.Backward slopes =
                    new AttentionOracle(shape, alone(s), false).backward(q, k, v, dO);
            add(exact[0], slopes.dq(), queries, null);
            add(exact[1], slopes.dk(), keys, null);
            add(exact[2], slopes.dv(), keys, null);
            slopes = AttentionOracle.naive(shape, alone(s), dtype).backward(q, k, v, dO);
            add(naive[0], slopes.dq(), queries, dtype);
            add(naive[1], slopes.dk(), keys, dtype);
            add(naive[2], slopes.dv(), keys, dtype);
        }
        boolean[] used = used();
        for (int row = 0; row < ROWS; row++) {
            if (!used[row]) {
                int from = row * heads * headDim;
                Arrays.fill(results.dq, from, from + heads * headDim, 0);
            }
        }
        Oracle.assertAccurate("dq", dtype, exact[0], Oracle.rounded(naive[0]), results.dq);
        Oracle.assertAccurate("dk", dtype, exact[1], Oracle.rounded(naive[1]), results.dk);
        Oracle.assertAccurate("dv", dtype, exact[2], Oracle.rounded(naive[2]), results.dv);
    }

    /// @param dtype to which each part is rounded before it is added; null for not at all
    private static void add(double[] sums, double[] parts, int[] rows, @Nullable DType dtype) {
        int width = sums.length / ROWS;
        for (int i = 0; i < parts.length; i++) {
            double part = dtype == null ? parts[i] : Buffers.rounded(dtype, (float) parts[i]);
            sums[rows[i / width] * width + i % width] += part;
        }
    }

    private static double[] wide(float[] values) {
        double[] result = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            result[i] = values[i];
        }
        return result;
    }

    @ParameterizedTest
    @EnumSource
    void wrongExtentsAreRefused(Target target) {
        Shape shape = new Shape(1, 1, 8, true, 1);
        int[] one = {1};
        int[] zero = {0};
        try (Buffers buffers = target.open()) {
            Span row = buffers.of(target.dtype(), new float[8]);
            Span lse = buffers.poison(1);
            PrefixedAttention attention = PrefixedAttention.on(buffers.device());
            Sequences own = new Sequences(zero, one, zero, one);
            assertThatThrownBy(() ->
                            attention.forward(
                                    shape,
                                    new Prefixed(own, new int[] {-1}, one),
                                    row,
                                    row,
                                    row,
                                    buffers.of(target.dtype(), new float[8]),
                                    lse))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("sequence 0 has a negative extent");
            assertThatThrownBy(() ->
                            attention.forward(
                                    shape,
                                    new Prefixed(own, new int[2], one),
                                    row,
                                    row,
                                    row,
                                    buffers.of(target.dtype(), new float[8]),
                                    lse))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("the arrays of the prefixes differ in length");
        }
    }
}
