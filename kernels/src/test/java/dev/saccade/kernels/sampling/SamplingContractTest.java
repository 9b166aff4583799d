package dev.saccade.kernels.sampling;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.Replay;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.sampling.Sampling.Options;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Comparator;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// What [Sampling] promises on every device: the tokens that the rule, written down plainly, draws.
/// The operation knows F32 only, so that the BF16 target is left out.
@Tag("device")
class SamplingContractTest {
    private static final float NONE = Float.NEGATIVE_INFINITY;

    /// What the keys of [#theNoiseIsThatOfEveryMachine] draw of 20,000 and of 100 words.
    private static final int[] LARGE_ANSWERS = {5592, 17_683, 6410, 10_207, 9086};

    private static final int[] SMALL_ANSWERS = {63, 30, 15, 1, 0};

    /// Kinds of logits.
    private enum Kind {
        NORMAL,
        TIED,
        UNIFORM,
        HUGE,
        TINY,
        MASKED,
        PEAKED;

        float next(SplittableRandom random) {
            float normal = (float) random.nextGaussian();
            return switch (this) {
                case NORMAL -> 3 * normal;
                case TIED -> Math.round(2 * normal);
                case UNIFORM -> -0.25f;
                case HUGE -> 1e4f * normal;
                case TINY -> 1e-30f * normal;
                case MASKED -> random.nextInt(4) > 0 ? NONE : 5 * normal;
                case PEAKED -> random.nextInt(50) == 0 ? 60 : -60f * random.nextInt(2);
            };
        }
    }

    private static int[] draw(
            Target target,
            int vocab,
            Options options,
            float[] logits,
            byte @Nullable [] banned,
            long[] keys,
            int[] positions) {
        try (Buffers buffers = target.open()) {
            // Rows lie at addresses of no alignment, and what surrounds the tokens must stay.
            float[] padded = new float[logits.length + 1];
            System.arraycopy(logits, 0, padded, 1, logits.length);
            Span tokens = buffers.poison(DType.I32, keys.length + 2);
            Sampling.on(buffers.device())
                    .sample(
                            keys.length,
                            vocab,
                            options,
                            buffers.of(padded).slice(1, logits.length),
                            banned == null ? null : buffers.of(banned),
                            buffers.of(keys),
                            buffers.of(positions),
                            tokens.slice(1, keys.length));
            int[] all = buffers.ints(tokens);
            assertThat(all[0]).isEqualTo(-1);
            assertThat(all[keys.length + 1]).isEqualTo(-1);
            return Arrays.copyOfRange(all, 1, keys.length + 1);
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
                        .filter(v -> z[v] > NONE)
                        .boxed()
                        .sorted(Comparator.comparingDouble((Integer v) -> -z[v] + 0.0))
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
        if (options.minP() > 0) {
            double max = z[order[0]];
            order =
                    Arrays.stream(order)
                            .filter(v -> StrictMath.exp(z[v] - max) >= options.minP())
                            .toArray();
        }
        Arrays.sort(order);
        int best = -1;
        float bestScore = NONE;
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

    static Stream<Arguments> options() {
        return Stream.of(Target.CPU_F32, Target.CUDA_F32)
                .flatMap(target ->
                        Stream.of(
                                Arguments.of(target, 1, 1f, 0, 1f),
                                Arguments.of(target, 1, 1f, 1, 0.5f),
                                Arguments.of(target, 7, 1f, 0, 1f),
                                Arguments.of(target, 7, 0f, 0, 1f),
                                Arguments.of(target, 31, 1f, 3, 0.7f),
                                Arguments.of(target, 33, 1f, 0, 0.9f),
                                Arguments.of(target, 136, 0.7f, 20, 1f),
                                Arguments.of(target, 136, 1.5f, 50, 0.8f),
                                Arguments.of(target, 136, 1f, 1, 1f),
                                Arguments.of(target, 1000, 1f, 0, 0.95f),
                                Arguments.of(target, 1000, 0f, 5, 0.5f),
                                Arguments.of(target, 1000, 1f, 999, 0.999f),
                                Arguments.of(target, 1000, 1f, 5000, 1f),
                                Arguments.of(target, 1031, 1.2f, 0, 1f),
                                Arguments.of(target, 1031, 1f, 0, 0.3f),
                                Arguments.of(target, 8191, 1f, 100, 0.95f),
                                Arguments.of(target, 9001, 1f, 0, 1f),
                                Arguments.of(target, 9001, 0f, 0, 1f),
                                Arguments.of(target, 9001, 1f, 50, 1f),
                                Arguments.of(target, 9001, 1f, 0, 0.999f)));
    }

    @ParameterizedTest
    @MethodSource("options")
    void drawsWhatTheRuleSays(Target target, int vocab, float temperature, int topK, float topP) {
        assertFollowsTheRule(target, vocab, new Options(temperature, topK, topP));
    }

    static Stream<Arguments> minimums() {
        return Stream.of(Target.CPU_F32, Target.CUDA_F32)
                .flatMap(target ->
                        Stream.of(
                                Arguments.of(target, 1, new Options(1, 0, 1, 0.1f)),
                                Arguments.of(target, 33, new Options(1, 0, 1, 0.02f)),
                                Arguments.of(target, 136, new Options(0.7f, 0, 1, 1)),
                                Arguments.of(target, 136, new Options(1.5f, 5, 1, 0.3f)),
                                Arguments.of(target, 136, new Options(1.5f, 50, 1, 1e-6f)),
                                Arguments.of(target, 1000, new Options(1, 0, 0.9f, 0.05f)),
                                Arguments.of(target, 1000, new Options(0, 0, 1, 0.5f)),
                                Arguments.of(target, 1031, new Options(2, 100, 0.8f, 0.01f)),
                                Arguments.of(target, 9001, new Options(1, 0, 1, 0.2f)),
                                Arguments.of(target, 9001, new Options(1, 50, 0.99f, 1e-3f))));
    }

    @ParameterizedTest
    @MethodSource("minimums")
    void minPCutsAfterTheOthers(Target target, int vocab, Options options) {
        assertFollowsTheRule(target, vocab, options);
    }

    private static void assertFollowsTheRule(Target target, int vocab, Options options) {
        int rows = vocab > 2000 ? 5 : 40;
        long[] keys = keys(rows, 4);
        int[] positions = positions(rows);
        for (Kind kind : Kind.values()) {
            SplittableRandom random = new SplittableRandom(vocab + kind.name().hashCode());
            float[] logits = new float[rows * vocab];
            for (int i = 0; i < logits.length; i++) {
                logits[i] = kind.next(random);
            }
            byte[] banned = null;
            if (vocab > 8 && kind != Kind.NORMAL && kind != Kind.UNIFORM) {
                banned = new byte[vocab];
                for (int v = 0; v < vocab; v += 3) {
                    banned[v] = 1;
                }
            }
            for (int row = 0; row < rows; row++) {
                logits[row * vocab + vocab / 2] = 1; // there is a word to draw
            }
            if (banned != null) {
                banned[vocab / 2] = 0;
            }
            int[] tokens = draw(target, vocab, options, logits, banned, keys, positions);
            for (int row = 0; row < rows; row++) {
                assertThat(tokens[row])
                        .as("%s, row %d", kind, row)
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
    }

    static Stream<Arguments> largeOptions() {
        return Stream.of(Target.CPU_F32, Target.CUDA_F32)
                .flatMap(target ->
                        Stream.of(
                                Arguments.of(target, 1f, 0, 1f),
                                Arguments.of(target, 1f, 50, 1f),
                                Arguments.of(target, 0.8f, 0, 0.95f),
                                Arguments.of(target, 1f, 0, 0.9999f),
                                Arguments.of(target, 0f, 0, 1f)));
    }

    @ParameterizedTest
    @MethodSource("largeOptions")
    void aLargeVocabulary(Target target, float temperature, int topK, float topP) {
        int vocab = 151_674;
        Options options = new Options(temperature, topK, topP);
        float[] logits = Buffers.normal(23, 3 * vocab, 4);
        Arrays.fill(logits, 2 * vocab, 3 * vocab, 0.5f);
        long[] keys = keys(3, 9);
        int[] tokens = draw(target, vocab, options, logits, null, keys, positions(3));
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

    /// The tokens that the CPU draws, over many rows.
    @ParameterizedTest
    @EnumSource(names = {"CUDA_F32"})
    void drawsTheTokensOfTheCpu(Target target) {
        int vocab = 1500;
        int rows = 2000;
        float[] logits = Buffers.normal(77, rows * vocab, 2);
        long[] keys = keys(rows, 3);
        for (Options options :
                new Options[] {
                    new Options(1, 0, 1),
                    new Options(0.6f, 0, 1),
                    new Options(1, 20, 1),
                    new Options(1, 0, 0.9f),
                    new Options(1.3f, 300, 0.8f),
                    new Options(1, 0, 1, 0.02f),
                    new Options(1.3f, 300, 0.95f, 0.01f),
                    new Options(0, 0, 1)
                }) {
            assertThat(draw(target, vocab, options, logits, null, keys, positions(rows)))
                    .containsExactly(
                            draw(
                                    Target.CPU_F32,
                                    vocab,
                                    options,
                                    logits,
                                    null,
                                    keys,
                                    positions(rows)));
        }
    }

    /// Known answers: where all words are as likely, the token is that of the largest random word.
    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void theNoiseIsThatOfEveryMachine(Target target) {
        long[] keys = {0, -1, 0x1234_5678_9abc_def0L, Long.MIN_VALUE, 1L << 32};
        int[] positions = {0, 1, 77, Integer.MAX_VALUE, -1};
        Options options = new Options(1, 0, 1);
        float[] logits = new float[5 * 20_000];
        assertThat(draw(target, 20_000, options, logits, null, keys, positions))
                .containsExactly(LARGE_ANSWERS);
        assertThat(draw(target, 100, options, logits, null, keys, positions))
                .containsExactly(SMALL_ANSWERS);
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void aDrawDependsOnItsOwnRowAlone(Target target) {
        int rows = 50;
        for (int vocab : new int[] {300, 1100, 9000}) {
            Options options = new Options(1, 40, 0.9f);
            float[] logits = Buffers.normal(31, rows * vocab, 2);
            long[] keys = keys(rows, 2);
            int[] positions = positions(rows);
            int[] tokens = draw(target, vocab, options, logits, null, keys, positions);
            assertThat(draw(target, vocab, options, logits, null, keys, positions))
                    .containsExactly(tokens);
            for (int row = 0; row < rows; row += 7) {
                float[] own = Arrays.copyOfRange(logits, row * vocab, (row + 1) * vocab);
                long[] key = {keys[row]};
                int[] position = {positions[row]};
                assertThat(draw(target, vocab, options, own, null, key, position))
                        .containsExactly(tokens[row]);
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void theOnlyWordIsDrawn(Target target) {
        for (int vocab : new int[] {7, 1000, 8191, 20_000}) {
            byte[] banned = new byte[vocab];
            Arrays.fill(banned, (byte) 1);
            banned[vocab - 2] = 0;
            float[] logits = Buffers.normal(vocab, 4 * vocab, 5);
            for (Options options :
                    new Options[] {
                        new Options(1, 0, 1), new Options(0, 0, 1), new Options(1, 5, 0.3f)
                    }) {
                assertThat(draw(target, vocab, options, logits, banned, keys(4, 1), positions(4)))
                        .containsOnly(vocab - 2);
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void infinitiesNanAndRowsWithNothingToDraw(Target target) {
        target.open().close();
        float inf = Float.POSITIVE_INFINITY;
        float nan = Float.NaN;
        float[] logits = {NONE, 0, NONE, NONE, NONE, inf, 1, nan, nan, 0, NONE, nan};
        for (Options options :
                new Options[] {
                    new Options(1, 0, 1),
                    new Options(0, 0, 1),
                    new Options(1, 3, 0.5f),
                    new Options(1, 0, 0.5f)
                }) {
            assertThat(draw(target, 4, options, logits, null, keys(3, 1), positions(3)))
                    .containsExactly(1, 1, 1);
            byte[] banned = {0, 1, 0, 0};
            float[] row = {NONE, 9, NONE, nan};
            assertThatThrownBy(
                            () -> draw(target, 4, options, row, banned, keys(1, 1), positions(1)))
                    .isInstanceOf(
                            target.isCuda()
                                    ? IndexOutOfBoundsException.class
                                    : IllegalArgumentException.class);
        }
    }

    /// With a large top-k nothing is cut, however unlikely it is.
    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void aTopKOfEverythingCutsNothing(Target target) {
        int vocab = 4;
        int rows = 200_000;
        float[] logits = new float[rows * vocab];
        for (int row = 0; row < rows; row++) {
            logits[row * vocab] = 0;
            Arrays.fill(logits, row * vocab + 1, (row + 1) * vocab, -10.5f);
        }
        // The words that a search near the largest one would miss are drawn now and then.
        long[] keys = keys(rows, 12);
        int[] positions = positions(rows);
        for (float temperature : new float[] {0.9f, 1}) {
            Options cut = new Options(temperature, 4, 1);
            Options all = new Options(temperature, 0, 1);
            assertThat(draw(target, vocab, cut, logits, null, keys, positions))
                    .containsExactly(draw(target, vocab, all, logits, null, keys, positions));
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void penalisesWhatARowHasSeen(Target target) {
        for (int vocab : new int[] {1, 31, 1000, 1024, 9001}) {
            int rows = 3;
            float[] logits = Buffers.normal(vocab, rows * vocab, 4);
            logits[vocab / 2] = NONE;
            logits[vocab] = 0;
            logits[rows * vocab - 1] = Float.NaN;
            byte[] seen = new byte[logits.length];
            SplittableRandom random = new SplittableRandom(vocab);
            for (int i = 0; i < seen.length; i++) {
                seen[i] = (byte) random.nextInt(2);
            }
            for (float penalty : new float[] {1, 1.05f, 1.3f, 0.8f}) {
                float[] expected = logits.clone();
                for (int i = 0; i < expected.length; i++) {
                    if (seen[i] != 0) {
                        expected[i] *= logits[i] < 0 ? penalty : 1;
                        expected[i] /= logits[i] < 0 ? 1 : penalty;
                    }
                }
                try (Buffers buffers = target.open()) {
                    Sampling sampling = Sampling.on(buffers.device());
                    float[] padded = new float[logits.length + 1];
                    System.arraycopy(logits, 0, padded, 1, logits.length);
                    Span in = buffers.of(padded).slice(1, logits.length);
                    Span marks = buffers.of(seen);
                    Span out = buffers.poison(logits.length);
                    sampling.penalise(rows, vocab, penalty, in, marks, out);
                    assertThat(buffers.floats(out)).containsExactly(expected);
                    assertThat(buffers.floats(in)).containsExactly(logits);
                    sampling.penalise(rows, vocab, penalty, in, marks, in);
                    assertThat(buffers.floats(in)).containsExactly(expected);
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void forcedWordsAreTakenAndAllAreSeen(Target target) {
        int vocab = 300;
        int rows = 400;
        int[] drawn = IntStream.range(0, rows).map(row -> row * 7 % vocab).toArray();
        int[] forced =
                IntStream.range(0, rows).map(row -> row % 3 == 0 ? row % vocab : -1).toArray();
        int[] taken =
                IntStream.range(0, rows)
                        .map(row -> forced[row] >= 0 ? forced[row] : drawn[row])
                        .toArray();
        try (Buffers buffers = target.open()) {
            Sampling sampling = Sampling.on(buffers.device());
            byte[] before = new byte[rows * vocab];
            before[vocab + 5] = 1;
            Span seen = buffers.of(before);
            Span tokens = buffers.of(drawn);
            sampling.settle(rows, vocab, buffers.of(forced), seen, tokens);
            assertThat(buffers.ints(tokens)).containsExactly(taken);
            byte[] expected = before.clone();
            for (int row = 0; row < rows; row++) {
                expected[row * vocab + taken[row]] = 1;
            }
            byte[] after = new byte[before.length];
            buffers.device().download(seen.buffer(), 0, MemorySegment.ofArray(after));
            assertThat(after).containsExactly(expected);

            Span again = buffers.of(drawn);
            sampling.settle(rows, vocab, null, seen, again);
            sampling.settle(rows, vocab, null, null, again);
            assertThat(buffers.ints(again)).containsExactly(drawn);
            sampling.settle(rows, vocab, buffers.of(forced), null, again);
            assertThat(buffers.ints(again)).containsExactly(taken);
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void wordsThatDoNotExistAreNotForced(Target target) {
        try (Buffers buffers = target.open()) {
            Span tokens = buffers.of(1, 2);
            Span forced = buffers.of(-1, 7);
            assertThatThrownBy(
                            () -> {
                                Sampling.on(buffers.device()).settle(2, 7, forced, null, tokens);
                                buffers.ints(tokens);
                            })
                    .isInstanceOf(IndexOutOfBoundsException.class);
        }
    }

    /// A recorded draw reads keys, positions and logits anew each time it runs.
    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void aRecordedDrawRunsAgain(Target target) {
        int vocab = 9000;
        int rows = 6;
        float[] logits = Buffers.normal(9, rows * vocab, 2);
        Options options = new Options(1, 100, 0.9f);
        try (Buffers buffers = target.open()) {
            Sampling sampling = Sampling.on(buffers.device());
            Span in = buffers.of(logits);
            Span key = buffers.of(keys(rows, 6));
            Span position = buffers.of(positions(rows));
            Span later = buffers.of(IntStream.range(0, rows).map(row -> row + 100).toArray());
            Span tokens = buffers.poison(DType.I32, rows);
            try (Replay replay =
                    buffers.device()
                            .record(() ->
                                    sampling.sample(
                                            rows, vocab, options, in, null, key, position,
                                            tokens))) {
                replay.run();
                assertThat(buffers.ints(tokens))
                        .containsExactly(
                                draw(
                                        target,
                                        vocab,
                                        options,
                                        logits,
                                        null,
                                        keys(rows, 6),
                                        positions(rows)));
                buffers.device()
                        .copy(
                                later.buffer(),
                                later.offset(),
                                position.buffer(),
                                position.offset(),
                                later.bytes());
                replay.run();
                assertThat(buffers.ints(tokens))
                        .containsExactly(
                                draw(
                                        target,
                                        vocab,
                                        options,
                                        logits,
                                        null,
                                        keys(rows, 6),
                                        buffers.ints(later)));
            }
        }
    }
}
