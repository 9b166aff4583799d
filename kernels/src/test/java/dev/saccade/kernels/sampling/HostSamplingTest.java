package dev.saccade.kernels.sampling;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.HostArrays;
import dev.saccade.kernels.sampling.Sampling.Options;
import java.util.Arrays;
import java.util.Comparator;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class HostSamplingTest {

    private static int[] draw(
            int workers,
            int vocab,
            Options options,
            float[] logits,
            byte @Nullable [] banned,
            long[] keys,
            int[] positions) {
        try (HostArrays arrays = new HostArrays(workers)) {
            Span tokens = arrays.poison(keys.length, DType.I32);
            Sampling.on(arrays.device())
                    .sample(
                            keys.length,
                            vocab,
                            options,
                            arrays.of(logits),
                            banned == null ? null : arrays.of(banned),
                            arrays.of(keys),
                            arrays.of(positions),
                            tokens);
            return arrays.ints(tokens);
        }
    }

    /// The rule written down plainly: sort, cut, add noise word by word, take the largest.
    private static int plain(
            int vocab,
            Options options,
            float[] logits,
            int offset,
            byte @Nullable [] banned,
            long key,
            int position) {
        boolean greedy = options.temperature() == 0;
        float inverse = greedy ? 1 : 1 / options.temperature();
        float[] z = new float[vocab];
        for (int v = 0; v < vocab; v++) {
            z[v] = logits[offset + v] * inverse;
        }
        int[] order =
                IntStream.range(0, vocab)
                        .filter(v -> banned == null || banned[v] == 0)
                        .filter(v -> z[v] > Float.NEGATIVE_INFINITY)
                        .boxed()
                        .sorted(Comparator.comparingDouble((Integer v) -> -z[v]))
                        .mapToInt(v -> v)
                        .toArray();
        if (greedy) {
            return order[0];
        }
        if (options.topK() > 0) {
            order = Arrays.copyOf(order, Math.min(options.topK(), order.length));
        }
        if (options.topP() < 1) {
            double max = z[order[0]];
            double total = Arrays.stream(order).mapToDouble(v -> StrictMath.exp(z[v] - max)).sum();
            double mass = 0;
            int kept = 0;
            while (kept < order.length && mass < options.topP() * total) {
                mass += StrictMath.exp(z[order[kept++]] - max);
            }
            order = Arrays.copyOf(order, kept);
        }
        Arrays.sort(order);
        int best = -1;
        float bestScore = Float.NEGATIVE_INFINITY;
        for (int v : order) {
            float score = z[v] + Gumbel.noise(Philox.word(key, position, v));
            if (score > bestScore) {
                bestScore = score;
                best = v;
            }
        }
        return best;
    }

    private static long[] keys(int rows, long seed) {
        long[] keys = new long[rows];
        for (int row = 0; row < rows; row++) {
            keys[row] = Philox.key(seed, 1, 0, row, 0);
        }
        return keys;
    }

    private static int[] positions(int rows) {
        return IntStream.range(0, rows).map(row -> 3 * row + 1).toArray();
    }

    @ParameterizedTest
    @CsvSource({
        "1, 1, 0, 1",
        "7, 1, 0, 1",
        "7, 0, 0, 1",
        "136, 1, 0, 1",
        "136, 0.7, 20, 1",
        "136, 1, 0, 0.9",
        "136, 1.5, 50, 0.8",
        "136, 1, 1, 1",
        "1000, 1, 0, 0.95",
        "1000, 0, 5, 0.5",
        "1000, 1, 999, 0.999",
        "1000, 1, 5000, 1",
        "1031, 1.2, 0, 1"
    })
    void drawsWhatTheRuleSays(int vocab, float temperature, int topK, float topP) {
        int rows = 60;
        Options options = new Options(temperature, topK, topP);
        float[] logits = HostArrays.random(17, rows * vocab, -8, 8);
        // Coarse values in the second half of the rows, so that there are ties.
        for (int i = logits.length / 2; i < logits.length; i++) {
            logits[i] = Math.round(logits[i] / 4);
        }
        byte[] banned = null;
        if (vocab > 8) {
            banned = new byte[vocab];
            for (int v = 0; v < vocab; v += 3) {
                banned[v] = 1;
            }
        }
        long[] keys = keys(rows, 4);
        int[] positions = positions(rows);
        int[] tokens = draw(2, vocab, options, logits, banned, keys, positions);
        assertThat(draw(1, vocab, options, logits, banned, keys, positions))
                .containsExactly(tokens);
        for (int row = 0; row < rows; row++) {
            assertThat(tokens[row])
                    .isEqualTo(
                            plain(
                                    vocab,
                                    options,
                                    logits,
                                    row * vocab,
                                    banned,
                                    keys[row],
                                    positions[row]));
        }
    }

    @ParameterizedTest
    @CsvSource({"1, 0, 1", "1, 50, 1", "0.8, 0, 0.95", "1, 0, 0.9999", "0, 0, 1"})
    void aLargeVocabulary(float temperature, int topK, float topP) {
        int vocab = 151_674;
        Options options = new Options(temperature, topK, topP);
        float[] logits = HostArrays.random(23, 3 * vocab, -15, 10);
        Arrays.fill(logits, 2 * vocab, 3 * vocab, 0.5f);
        long[] keys = keys(3, 9);
        int[] tokens = draw(2, vocab, options, logits, null, keys, positions(3));
        for (int row = 0; row < 3; row++) {
            assertThat(tokens[row])
                    .isEqualTo(
                            plain(
                                    vocab,
                                    options,
                                    logits,
                                    row * vocab,
                                    null,
                                    keys[row],
                                    positions(3)[row]));
        }
    }

    @Test
    void aDrawDependsOnItsOwnRowAlone() {
        int vocab = 300;
        int rows = 50;
        Options options = new Options(1, 40, 0.9f);
        float[] logits = HostArrays.random(31, rows * vocab, -3, 3);
        long[] keys = keys(rows, 2);
        int[] positions = positions(rows);
        int[] tokens = draw(2, vocab, options, logits, null, keys, positions);
        for (int row = 0; row < rows; row++) {
            float[] own = Arrays.copyOfRange(logits, row * vocab, (row + 1) * vocab);
            long[] key = {keys[row]};
            assertThat(draw(1, vocab, options, own, null, key, new int[] {positions[row]}))
                    .containsExactly(tokens[row]);
        }
    }

    /// Pearson's statistic of the drawn words stays below the 99.99 % point of its distribution.
    @ParameterizedTest
    @ValueSource(floats = {1f, 0.5f, 2f})
    void frequenciesAreTheProbabilities(float temperature) {
        int vocab = 24;
        int rows = 40_000;
        float[] row = HostArrays.random(71, vocab, -2, 2);
        byte[] banned = new byte[vocab];
        banned[3] = 1;
        banned[23] = 1;
        float[] logits = new float[rows * vocab];
        for (int i = 0; i < rows; i++) {
            System.arraycopy(row, 0, logits, i * vocab, vocab);
        }
        Options options = new Options(temperature, 0, 1);
        int[] tokens = draw(2, vocab, options, logits, banned, keys(rows, 5), new int[rows]);
        int[] counts = new int[vocab];
        for (int token : tokens) {
            counts[token]++;
        }
        double[] mass = new double[vocab];
        double total = 0;
        for (int v = 0; v < vocab; v++) {
            mass[v] = banned[v] == 0 ? StrictMath.exp(row[v] / temperature) : 0;
            total += mass[v];
        }
        double statistic = 0;
        for (int v = 0; v < vocab; v++) {
            double expected = rows * mass[v] / total;
            if (expected == 0) {
                assertThat(counts[v]).isZero();
            } else {
                statistic += (counts[v] - expected) * (counts[v] - expected) / expected;
            }
        }
        assertThat(statistic).isLessThan(53.96); // 21 degrees of freedom
    }

    /// One key's draws at consecutive positions are as independent as those of different keys.
    @Test
    void positionsOfOneKeyAreIndependent() {
        int rows = 40_000;
        long[] keys = new long[rows];
        Arrays.fill(keys, Philox.key(8, 1, 2, 3, 4));
        int[] tokens =
                draw(
                        1,
                        4,
                        new Options(1, 0, 1),
                        new float[rows * 4],
                        null,
                        keys,
                        IntStream.range(0, rows).toArray());
        int[] pairs = new int[16];
        for (int i = 0; i + 1 < rows; i++) {
            pairs[tokens[i] * 4 + tokens[i + 1]]++;
        }
        double statistic = 0;
        for (int count : pairs) {
            statistic += (count - rows / 16.0) * (count - rows / 16.0) / (rows / 16.0);
        }
        assertThat(statistic).isLessThan(44.3); // 15 degrees of freedom
    }

    @Test
    void infinitiesNanAndRowsWithNothingToDraw() {
        float none = Float.NEGATIVE_INFINITY;
        float[] logits = {none, 0, none, none, none, Float.POSITIVE_INFINITY, 1, Float.NaN};
        for (Options options :
                new Options[] {
                    new Options(1, 0, 1), new Options(0, 0, 1), new Options(1, 3, 0.5f)
                }) {
            assertThat(draw(1, 4, options, logits, null, keys(2, 1), positions(2)))
                    .containsExactly(1, 1);
            byte[] banned = {0, 1, 0, 0};
            float[] row = {none, 9, none, none};
            assertThatThrownBy(() -> draw(1, 4, options, row, banned, keys(1, 1), positions(1)))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("row 0");
        }
    }

    @Test
    void optionsAreChecked() {
        for (float temperature : new float[] {-1, Float.NaN}) {
            assertThatThrownBy(() -> new Options(temperature, 0, 1))
                    .isInstanceOf(IllegalArgumentException.class);
        }
        assertThatThrownBy(() -> new Options(1, -1, 1))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new Options(1, 0, 0)).isInstanceOf(IllegalArgumentException.class);
        for (float minP : new float[] {-0.1f, 1.1f, Float.NaN}) {
            assertThatThrownBy(() -> new Options(1, 0, 1, minP))
                    .isInstanceOf(IllegalArgumentException.class);
        }
    }
}
