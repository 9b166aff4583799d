package dev.saccade.kernels.attention;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.Attention.Shape;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Oracle;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// The CPU's attention: against the definition in double precision, and the same bits however the
/// queries are cut into calls, sequences and workers.
class HostAttentionTest {
    private static final int[] LENGTHS = {1, 31, 32, 33, 65, 130};

    /// What a call leaves behind.
    private record Outputs(float[] o, float[] lse) {}

    /// What a backward call leaves behind.
    private record Gradients(float[] dq, float[] dk, float[] dv) {}

    /// Inputs of one case.
    private record Inputs(Shape shape, Sequences sequences, float[] q, float[] k, float[] v) {
        static Inputs random(Shape shape, Sequences sequences, long seed) {
            int query = sequences.queryRows() * shape.heads() * shape.headDim();
            int key = sequences.keyRows() * shape.kvHeads() * shape.headDim();
            return new Inputs(
                    shape,
                    sequences,
                    Buffers.normal(seed, query, 2),
                    Buffers.normal(seed + 1, key, 2),
                    Buffers.normal(seed + 2, key, 1));
        }

        float[] upstream(long seed) {
            return Buffers.normal(seed, q.length, 1);
        }
    }

    private static Shape shape(int heads, int kvHeads, int headDim, boolean causal) {
        return new Shape(heads, kvHeads, headDim, causal, (float) Math.pow(headDim, -0.5));
    }

    private static Sequences packed(int... lengths) {
        int[] cumulative = new int[lengths.length + 1];
        for (int s = 0; s < lengths.length; s++) {
            cumulative[s + 1] = cumulative[s] + lengths[s];
        }
        return Sequences.packed(cumulative);
    }

    private static Outputs forward(Inputs in, int workers) {
        try (Buffers buffers = new Buffers(workers)) {
            Span o = buffers.poison(in.q.length);
            Span lse = buffers.poison(in.q.length / in.shape.headDim());
            Attention.on(buffers.device())
                    .forward(
                            in.shape,
                            in.sequences,
                            buffers.of(in.q),
                            buffers.of(in.k),
                            buffers.of(in.v),
                            o,
                            lse);
            return new Outputs(buffers.floats(o), buffers.floats(lse));
        }
    }

    private static Gradients backward(Inputs in, float[] dO, int workers) {
        try (Buffers buffers = new Buffers(workers)) {
            Attention attention = Attention.on(buffers.device());
            Span q = buffers.of(in.q);
            Span k = buffers.of(in.k);
            Span v = buffers.of(in.v);
            Span o = buffers.poison(in.q.length);
            Span lse = buffers.poison(in.q.length / in.shape.headDim());
            attention.forward(in.shape, in.sequences, q, k, v, o, lse);
            Span dq = buffers.poison(in.q.length);
            Span dk = buffers.poison(in.k.length);
            Span dv = buffers.poison(in.v.length);
            attention.backward(in.shape, in.sequences, q, k, v, o, lse, buffers.of(dO), dq, dk, dv);
            return new Gradients(buffers.floats(dq), buffers.floats(dk), buffers.floats(dv));
        }
    }

    private static double[] exact(float[] values) {
        double[] result = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            result[i] = values[i];
        }
        return result;
    }

    private static void assertForwardAccurate(Inputs in) {
        Outputs outputs = forward(in, 2);
        double[] q = exact(in.q);
        double[] k = exact(in.k);
        double[] v = exact(in.v);
        AttentionOracle.Forward exact =
                new AttentionOracle(in.shape, in.sequences, false).forward(q, k, v);
        AttentionOracle.Forward naive =
                new AttentionOracle(in.shape, in.sequences, true).forward(q, k, v);
        Oracle.assertAccurate("o", exact.o(), Oracle.rounded(naive.o()), outputs.o);
        Oracle.assertAccurate("lse", exact.lse(), Oracle.rounded(naive.lse()), outputs.lse);
    }

    @ParameterizedTest
    @CsvSource({
        "1, 1, 1, true", "2, 1, 5, false", "4, 2, 32, true", "4, 2, 32, false", "5, 1, 33, true",
        "3, 3, 17, true", "2, 2, 64, false", "6, 1, 128, true", "1, 1, 80, true", "8, 2, 48, false"
    })
    void forwardIsAccurate(int heads, int kvHeads, int headDim, boolean causal) {
        assertForwardAccurate(
                Inputs.random(shape(heads, kvHeads, headDim, causal), packed(LENGTHS), headDim));
    }

    @Test
    void forwardIsAccurateOverManyChunks() {
        assertForwardAccurate(Inputs.random(shape(2, 1, 64, true), packed(700), 7));
        assertForwardAccurate(Inputs.random(shape(1, 1, 128, false), packed(290), 8));
    }

    @ParameterizedTest
    @CsvSource({
        "1, 1, 1, true",
        "2, 1, 5, false",
        "4, 2, 32, true",
        "4, 2, 32, false",
        "5, 1, 33, true",
        "3, 3, 17, true",
        "2, 2, 64, false",
        "6, 1, 128, true",
        "8, 2, 48, false"
    })
    void backwardIsAccurate(int heads, int kvHeads, int headDim, boolean causal) {
        Inputs in = Inputs.random(shape(heads, kvHeads, headDim, causal), packed(LENGTHS), headDim);
        assertBackwardAccurate(in);
    }

    @Test
    void backwardIsAccurateOverManyChunks() {
        assertBackwardAccurate(Inputs.random(shape(2, 1, 64, true), packed(300), 9));
        assertBackwardAccurate(Inputs.random(shape(1, 1, 128, false), packed(150), 10));
    }

    private static void assertBackwardAccurate(Inputs in) {
        float[] dO = in.upstream(77);
        Gradients gradients = backward(in, dO, 2);
        double[] q = exact(in.q);
        double[] k = exact(in.k);
        double[] v = exact(in.v);
        AttentionOracle.Backward exact =
                new AttentionOracle(in.shape, in.sequences, false).backward(q, k, v, exact(dO));
        AttentionOracle.Backward naive =
                new AttentionOracle(in.shape, in.sequences, true).backward(q, k, v, exact(dO));
        Oracle.assertAccurate("dq", exact.dq(), Oracle.rounded(naive.dq()), gradients.dq);
        Oracle.assertAccurate("dk", exact.dk(), Oracle.rounded(naive.dk()), gradients.dk);
        Oracle.assertAccurate("dv", exact.dv(), Oracle.rounded(naive.dv()), gradients.dv);
    }

    /// The oracle's own gradients, against central differences of its forward pass.
    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void oracleGradientsAreDerivatives(boolean causal) {
        Inputs in = Inputs.random(shape(4, 2, 3, causal), packed(4, 3), 11);
        AttentionOracle oracle = new AttentionOracle(in.shape, in.sequences, false);
        double[] q = exact(in.q);
        double[] k = exact(in.k);
        double[] v = exact(in.v);
        double[] dO = exact(in.upstream(12));
        AttentionOracle.Backward gradients = oracle.backward(q, k, v, dO);
        double[][] inputs = {q, k, v};
        double[][] expected = {gradients.dq(), gradients.dk(), gradients.dv()};
        for (int which = 0; which < 3; which++) {
            for (int i = 0; i < inputs[which].length; i++) {
                double value = inputs[which][i];
                double step = 1e-5;
                inputs[which][i] = value + step;
                double above = inner(oracle.forward(q, k, v).o(), dO);
                inputs[which][i] = value - step;
                double below = inner(oracle.forward(q, k, v).o(), dO);
                inputs[which][i] = value;
                assertThat((above - below) / (2 * step))
                        .isCloseTo(expected[which][i], within(1e-8));
            }
        }
    }

    private static double inner(double[] a, double[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += a[i] * b[i];
        }
        return sum;
    }

    @ParameterizedTest
    @CsvSource({
        "4, 2, 32",
        "6, 1, 128",
        "5, 1, 33",
        "1, 1, 64",
        "7, 1, 64",
        "8, 2, 16",
        "3, 3, 20"
    })
    void decodingOneByOneGivesTheBitsOfTheWholeSequence(int heads, int kvHeads, int headDim) {
        int length = 131;
        Shape shape = shape(heads, kvHeads, headDim, true);
        Inputs in = Inputs.random(shape, packed(length), 21);
        Outputs whole = forward(in, 1);
        // Behind every step's keys lies what has not been computed yet.
        for (int query = 0; query < length; query++) {
            float[] k = in.k.clone();
            float[] v = in.v.clone();
            Arrays.fill(k, (query + 1) * kvHeads * headDim, k.length, Float.NaN);
            Arrays.fill(v, (query + 1) * kvHeads * headDim, v.length, Float.NaN);
            int width = heads * headDim;
            Inputs step =
                    new Inputs(
                            shape,
                            new Sequences(
                                    new int[] {0},
                                    new int[] {1},
                                    new int[] {0},
                                    new int[] {query + 1}),
                            Arrays.copyOfRange(in.q, query * width, (query + 1) * width),
                            k,
                            v);
            Outputs one = forward(step, 1);
            assertThat(one.o)
                    .as("position %d", query)
                    .isEqualTo(Arrays.copyOfRange(whole.o, query * width, (query + 1) * width));
            assertThat(one.lse)
                    .isEqualTo(Arrays.copyOfRange(whole.lse, query * heads, (query + 1) * heads));
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 7, 31, 32, 33, 64, 100})
    void chunkedPrefillGivesTheBitsOfTheWholeSequence(int chunk) {
        int length = 197;
        int heads = 6;
        Shape shape = shape(heads, 2, 64, true);
        Inputs in = Inputs.random(shape, packed(length), 31);
        Outputs whole = forward(in, 2);
        int width = heads * 64;
        for (int from = 0; from < length; from += chunk) {
            int to = Math.min(length, from + chunk);
            Inputs part =
                    new Inputs(
                            shape,
                            new Sequences(
                                    new int[] {0},
                                    new int[] {to - from},
                                    new int[] {0},
                                    new int[] {to}),
                            Arrays.copyOfRange(in.q, from * width, to * width),
                            in.k,
                            in.v);
            Outputs outputs = forward(part, 2);
            assertThat(outputs.o).isEqualTo(Arrays.copyOfRange(whole.o, from * width, to * width));
            assertThat(outputs.lse)
                    .isEqualTo(Arrays.copyOfRange(whole.lse, from * heads, to * heads));
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void aSequenceDoesNotDependOnItsBatch(boolean causal) {
        Shape shape = shape(4, 2, 32, causal);
        int[] lengths = new int[64];
        for (int s = 0; s < lengths.length; s++) {
            lengths[s] = 1 + s * 37 % 90;
        }
        Inputs batch = Inputs.random(shape, packed(lengths), 41);
        float[] dO = batch.upstream(44);
        Outputs outputs = forward(batch, 2);
        Gradients gradients = backward(batch, dO, 2);
        int query = 4 * 32;
        int key = 2 * 32;
        for (int count : new int[] {1, 3}) {
            int from = 0;
            for (int s = 0; s + count <= lengths.length; s += count) {
                int[] some = Arrays.copyOfRange(lengths, s, s + count);
                int to = from + Arrays.stream(some).sum();
                Inputs alone =
                        new Inputs(
                                shape,
                                packed(some),
                                Arrays.copyOfRange(batch.q, from * query, to * query),
                                Arrays.copyOfRange(batch.k, from * key, to * key),
                                Arrays.copyOfRange(batch.v, from * key, to * key));
                Outputs o = forward(alone, 1);
                assertThat(o.o).isEqualTo(Arrays.copyOfRange(outputs.o, from * query, to * query));
                assertThat(o.lse).isEqualTo(Arrays.copyOfRange(outputs.lse, from * 4, to * 4));
                Gradients g = backward(alone, Arrays.copyOfRange(dO, from * query, to * query), 1);
                assertThat(g.dq)
                        .isEqualTo(Arrays.copyOfRange(gradients.dq, from * query, to * query));
                assertThat(g.dk).isEqualTo(Arrays.copyOfRange(gradients.dk, from * key, to * key));
                assertThat(g.dv).isEqualTo(Arrays.copyOfRange(gradients.dv, from * key, to * key));
                from = to;
            }
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void workersDoNotShow(boolean causal) {
        Inputs in = Inputs.random(shape(6, 2, 64, causal), packed(200, 33, 0, 150), 51);
        float[] dO = in.upstream(52);
        Outputs one = forward(in, 1);
        Gradients oneGradients = backward(in, dO, 1);
        for (int workers : new int[] {2, 3}) {
            Outputs more = forward(in, workers);
            assertThat(more.o).isEqualTo(one.o);
            assertThat(more.lse).isEqualTo(one.lse);
            Gradients gradients = backward(in, dO, workers);
            assertThat(gradients.dq).isEqualTo(oneGradients.dq);
            assertThat(gradients.dk).isEqualTo(oneGradients.dk);
            assertThat(gradients.dv).isEqualTo(oneGradients.dv);
        }
    }

    @Test
    void onlyCoveredRowsAreWritten() {
        // Two sequences with rows between them that belong to nobody; one has no queries.
        Shape shape = shape(2, 1, 20, true);
        Sequences sequences =
                new Sequences(
                        new int[] {1, 5}, new int[] {2, 0}, new int[] {3, 10}, new int[] {4, 2});
        Inputs in =
                new Inputs(
                        shape,
                        sequences,
                        Buffers.normal(1, 5 * 40, 1),
                        Buffers.normal(2, 12 * 20, 1),
                        Buffers.normal(3, 12 * 20, 1));
        Outputs outputs = forward(in, 2);
        for (int i = 0; i < outputs.o.length; i++) {
            int row = i / 40;
            assertThat(Float.isNaN(outputs.o[i])).isEqualTo(row < 1 || row > 2);
        }
        Gradients gradients = backward(in, in.upstream(4), 2);
        for (int i = 0; i < gradients.dq.length; i++) {
            int row = i / 40;
            assertThat(Float.isNaN(gradients.dq[i])).isEqualTo(row < 1 || row > 2);
        }
        for (int i = 0; i < gradients.dk.length; i++) {
            int row = i / 20;
            boolean covered = (row >= 3 && row < 7) || row >= 10;
            assertThat(Float.isNaN(gradients.dk[i])).isEqualTo(!covered);
            assertThat(Float.isNaN(gradients.dv[i])).isEqualTo(!covered);
            if (row >= 10) {
                assertThat(gradients.dk[i]).isZero();
                assertThat(gradients.dv[i]).isZero();
            }
        }
    }

    @Test
    void largeScoresDoNotOverflowAndNanStays() {
        Shape shape = new Shape(1, 1, 16, true, 1f);
        float[] q = Buffers.normal(1, 70 * 16, 100);
        float[] k = Buffers.normal(2, 70 * 16, 100);
        float[] v = Buffers.normal(3, 70 * 16, 1);
        Outputs outputs = forward(new Inputs(shape, packed(70), q, k, v), 1);
        for (float value : outputs.o) {
            assertThat(value).isFinite();
        }
        k[40 * 16 + 3] = Float.NaN;
        Outputs broken = forward(new Inputs(shape, packed(70), q, k, v), 1);
        for (int row = 0; row < 70; row++) {
            assertThat(Float.isNaN(broken.o[row * 16])).as("row %d", row).isEqualTo(row >= 40);
            assertThat(Float.isNaN(broken.lse[row])).isEqualTo(row >= 40);
        }
    }

    @Test
    void queriesWithoutKeysGiveZero() {
        Shape shape = shape(1, 1, 8, false);
        Sequences sequences =
                new Sequences(new int[] {0}, new int[] {2}, new int[] {0}, new int[] {0});
        Outputs outputs =
                forward(new Inputs(shape, sequences, new float[16], new float[0], new float[0]), 1);
        assertThat(outputs.o).containsOnly(0f);
        assertThat(outputs.lse).containsOnly(Float.NEGATIVE_INFINITY);
    }

    @Test
    void wrongExtentsAreRefused() {
        Shape shape = shape(1, 1, 8, true);
        Sequences fewKeys =
                new Sequences(new int[] {0}, new int[] {2}, new int[] {0}, new int[] {1});
        Inputs in = new Inputs(shape, fewKeys, new float[16], new float[16], new float[16]);
        assertThatThrownBy(() -> forward(in, 1))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("causal sequence 0 has 2 queries but 1 keys");
        Inputs small = new Inputs(shape, packed(3), new float[16], new float[24], new float[24]);
        assertThatThrownBy(() -> forward(small, 1))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("q holds 16 elements, expected at least 24");
    }
}
