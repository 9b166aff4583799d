package dev.saccade.kernels.head;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.Replay;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.entropy.Entropy;
import dev.saccade.kernels.gemm.Epilogue;
import dev.saccade.kernels.gemm.Gemm;
import dev.saccade.kernels.sampling.Philox;
import dev.saccade.kernels.sampling.Sampling;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Function;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// What [Head] promises on every device and in every type: the bits of a product and [Entropy] on
/// stored logits, whatever is held at once.
@Tag("device")
class HeadContractTest {
    private static final long PLENTY = 1L << 28;

    /// A head and a batch of hidden states.
    private record Batch(
            Target target,
            int rows,
            int width,
            int vocab,
            float temperature,
            float[] hidden,
            float[] weight,
            int[] targets,
            byte @Nullable [] banned) {

        static Batch random(Target target, int rows, int width, int vocab, float temperature) {
            SplittableRandom random = new SplittableRandom(rows + 31L * width + 977L * vocab);
            int[] targets = random.ints(rows, 0, vocab).toArray();
            if (rows > 0) {
                targets[rows - 1] = vocab - 1;
            }
            byte[] banned = null;
            if (vocab > 8 && vocab % 2 == 1) {
                banned = new byte[vocab];
                for (int v = 0; v < vocab; v++) {
                    banned[v] = (byte) (random.nextInt(10) == 0 ? 1 : 0);
                }
                for (int word : targets) {
                    banned[word] = 0;
                }
            }
            return new Batch(
                    target,
                    rows,
                    width,
                    vocab,
                    temperature,
                    Buffers.normal(vocab + 1L, rows * width, 1),
                    Buffers.normal(width + 2L, vocab * width, 3 / Math.sqrt(width)),
                    targets,
                    banned);
        }

        /// Some of its rows.
        Batch only(int from, int count) {
            return new Batch(
                    target,
                    count,
                    width,
                    vocab,
                    temperature,
                    Arrays.copyOfRange(hidden, from * width, (from + count) * width),
                    weight,
                    Arrays.copyOfRange(targets, from, from + count),
                    banned);
        }

        Operands open(Buffers buffers, long scratchBytes) {
            Span bans = banned == null ? null : buffers.of(banned);
            return new Operands(
                    buffers,
                    new Head.Input(
                            rows,
                            width,
                            vocab,
                            temperature,
                            buffers.of(target.dtype(), hidden),
                            buffers.of(target.dtype(), weight),
                            buffers.of(targets),
                            bans,
                            scratchBytes));
        }
    }

    /// Results of a forward pass.
    private static final class Forward {
        private final float[] logProb;
        private final float[] entropy;
        private final float[] lse;
        private final float[] maxProb;
        private final int[] argmax;
        private final float[] mass;

        Forward(Buffers buffers, Entropy.Results results) {
            this.logProb = buffers.floats(results.logProb());
            this.entropy = floats(buffers, results.entropy());
            this.lse = floats(buffers, results.lse());
            this.maxProb = floats(buffers, results.maxProb());
            Span words = results.argmax();
            this.argmax = words == null ? new int[0] : buffers.ints(words);
            this.mass = floats(buffers, results.mass());
        }

        private static float[] floats(Buffers buffers, @Nullable Span span) {
            return span == null ? new float[0] : buffers.floats(span);
        }

        void equals(Forward other) {
            assertThat(logProb).isEqualTo(other.logProb);
            assertThat(entropy).isEqualTo(other.entropy);
            assertThat(lse).isEqualTo(other.lse);
            assertThat(maxProb).isEqualTo(other.maxProb);
            assertThat(argmax).isEqualTo(other.argmax);
            assertThat(mass).isEqualTo(other.mass);
        }
    }

    /// A batch's operands on a device.
    private record Operands(Buffers buffers, Head.Input input) {
        /// Everything.
        Entropy.Results results() {
            int rows = input.rows();
            return new Entropy.Results(
                    buffers.poison(rows),
                    buffers.poison(rows),
                    buffers.poison(rows),
                    buffers.poison(rows),
                    buffers.poison(DType.I32, rows),
                    set(),
                    buffers.poison(rows));
        }

        /// Every third word.
        Span set() {
            byte[] members = new byte[input.vocab()];
            for (int v = 0; v < members.length; v += 3) {
                members[v] = 1;
            }
            return buffers.of(members);
        }

        /// What a draw is asked for: without the most probable word, which only stored logits give
        /// beside it.
        Entropy.Results drawResults(boolean watched) {
            int rows = input.rows();
            return new Entropy.Results(
                    buffers.poison(rows),
                    buffers.poison(rows),
                    buffers.poison(rows),
                    buffers.poison(rows),
                    null,
                    watched ? set() : null,
                    watched ? buffers.poison(rows) : null);
        }

        /// All logits, stored.
        Span logits() {
            Span logits = buffers.poison(input.rows() * input.vocab());
            Gemm.on(buffers.device())
                    .multiply(
                            new Gemm.Shape(
                                    Gemm.Layout.NT, input.rows(), input.vocab(), input.width()),
                            input.hidden(),
                            input.weight(),
                            logits,
                            Epilogue.STORE);
            return logits;
        }

        Entropy.Rows rows(Span logits) {
            return Entropy.Rows.dense(input.rows(), input.vocab(), input.temperature(), logits);
        }
    }

    private static Forward fused(Batch batch, long scratchBytes) {
        return fused(batch, scratchBytes, Head::on);
    }

    private static Forward fused(Batch batch, long scratchBytes, Function<Device, Head> head) {
        try (Buffers buffers = batch.target.open()) {
            Operands operands = batch.open(buffers, scratchBytes);
            Entropy.Results results = operands.results();
            head.apply(buffers.device()).forward(operands.input, results);
            return new Forward(buffers, results);
        }
    }

    private static Forward stored(Batch batch) {
        try (Buffers buffers = batch.target.open()) {
            Operands operands = batch.open(buffers, PLENTY);
            Entropy.Results results = operands.results();
            Entropy.on(buffers.device())
                    .forward(
                            operands.rows(operands.logits()),
                            operands.input.targets(),
                            operands.input.banned(),
                            results);
            return new Forward(buffers, results);
        }
    }

    /// Gradients.
    private record Gradients(float[] dHidden, float[] dWeight) {
        void equals(Gradients other) {
            assertThat(dHidden).isEqualTo(other.dHidden);
            assertThat(dWeight).isEqualTo(other.dWeight);
        }
    }

    private static Span old(Batch batch, Buffers buffers) {
        return buffers.of(Buffers.normal(8, batch.vocab * batch.width, 1));
    }

    private static float[] up(Batch batch, long seed) {
        return Buffers.normal(seed, batch.rows, 1);
    }

    private static @Nullable Span span(Buffers buffers, float @Nullable [] values) {
        return values == null ? null : buffers.of(values);
    }

    private static Gradients fusedGradients(
            Batch batch, long scratchBytes, float @Nullable [] up, float @Nullable [] upEntropy) {
        return fusedGradients(batch, scratchBytes, up, upEntropy, Head::on);
    }

    private static Gradients fusedGradients(
            Batch batch,
            long scratchBytes,
            float @Nullable [] up,
            float @Nullable [] upEntropy,
            Function<Device, Head> implementation) {
        try (Buffers buffers = batch.target.open()) {
            Operands operands = batch.open(buffers, scratchBytes);
            Entropy.Results results = operands.results();
            Head head = implementation.apply(buffers.device());
            head.forward(operands.input, results);
            Span dHidden = buffers.poison(batch.target.dtype(), batch.rows * batch.width);
            Span dWeight = old(batch, buffers);
            head.backward(
                    operands.input,
                    results.logProb(),
                    present(results.entropy()),
                    present(results.lse()),
                    span(buffers, up),
                    span(buffers, upEntropy),
                    dHidden,
                    dWeight);
            return new Gradients(buffers.floats(dHidden), buffers.floats(dWeight));
        }
    }

    private static Gradients storedGradients(
            Batch batch, float @Nullable [] up, float @Nullable [] upEntropy) {
        try (Buffers buffers = batch.target.open()) {
            Operands operands = batch.open(buffers, PLENTY);
            Entropy.Results results = operands.results();
            Entropy entropy = Entropy.on(buffers.device());
            Span logits = operands.logits();
            Head.Input input = operands.input;
            entropy.forward(operands.rows(logits), input.targets(), input.banned(), results);
            Span dLogits = buffers.poison(batch.target.dtype(), batch.rows * batch.vocab);
            entropy.backward(
                    operands.rows(logits),
                    null,
                    input.targets(),
                    input.banned(),
                    present(results.entropy()),
                    present(results.lse()),
                    span(buffers, up),
                    span(buffers, upEntropy),
                    dLogits);
            Span dHidden = buffers.poison(batch.target.dtype(), batch.rows * batch.width);
            Span dWeight = old(batch, buffers);
            Gemm gemm = Gemm.on(buffers.device());
            gemm.multiply(
                    new Gemm.Shape(Gemm.Layout.NN, batch.rows, batch.width, batch.vocab),
                    dLogits,
                    input.weight(),
                    dHidden,
                    Epilogue.STORE);
            gemm.multiply(
                    new Gemm.Shape(Gemm.Layout.TN, batch.vocab, batch.width, batch.rows),
                    dLogits,
                    input.hidden(),
                    dWeight,
                    Epilogue.ACCUMULATE);
            return new Gradients(buffers.floats(dHidden), buffers.floats(dWeight));
        }
    }

    private static Span present(@Nullable Span span) {
        if (span == null) {
            throw new IllegalStateException("absent");
        }
        return span;
    }

    /// Odd widths, few rows and F32 go through products on stored logits; on Hopper the rest does
    /// not. Around the edges of its tiles: 128 rows, clusters of 256, blocks of 256 words, segments
    /// of 1024.
    static Stream<Arguments> sizes() {
        return Stream.of(Target.values())
                .flatMap(target ->
                        Stream.of(
                                Arguments.of(target, 1, 8, 1, 1f),
                                Arguments.of(target, 70, 64, 1, 1f),
                                Arguments.of(target, 3, 20, 7, 0.7f),
                                Arguments.of(target, 65, 24, 7, 1.3f),
                                Arguments.of(target, 64, 64, 255, 1f),
                                Arguments.of(target, 127, 64, 255, 0.8f),
                                Arguments.of(target, 128, 72, 256, 1f),
                                Arguments.of(target, 129, 136, 257, 1f),
                                Arguments.of(target, 130, 20, 300, 1f),
                                Arguments.of(target, 257, 64, 1023, 1f),
                                Arguments.of(target, 300, 320, 1024, 0.9f),
                                Arguments.of(target, 100, 192, 1030, 1f),
                                Arguments.of(target, 513, 64, 2049, 1f),
                                Arguments.of(target, 70, 128, 8191, 1f),
                                Arguments.of(target, 66, 64, 20_011, 1.1f)));
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void forwardHasTheBitsOfStoredLogits(
            Target target, int rows, int width, int vocab, float temperature) {
        Batch batch = Batch.random(target, rows, width, vocab, temperature);
        Forward stored = stored(batch);
        fused(batch, PLENTY).equals(stored);
        fused(batch, 0).equals(stored);
    }

    /// As many clusters as a GPU runs at once, and units for each that are not the same number.
    @ParameterizedTest
    @EnumSource
    void manyRowsAndWordsHaveTheBitsOfStoredLogits(Target target) {
        int rows = target.isCuda() ? 3001 : 301;
        Batch batch = Batch.random(target, rows, 64, 13_017, 1);
        fused(batch, PLENTY).equals(stored(batch));
    }

    /// What is asked for beside a result changes no bit of it.
    @ParameterizedTest
    @EnumSource
    void aTrainingStepAsksForLess(Target target) {
        for (int rows : target.isCuda() ? new int[] {20, 70, 2100} : new int[] {20}) {
            Batch batch = Batch.random(target, rows, 64, 1301, 0.9f);
            Forward all = fused(batch, PLENTY);
            try (Buffers buffers = target.open()) {
                Entropy.Results results =
                        Entropy.Results.of(
                                buffers.poison(rows), buffers.poison(rows), buffers.poison(rows));
                Head.on(buffers.device()).forward(batch.open(buffers, PLENTY).input, results);
                Forward less = new Forward(buffers, results);
                assertThat(less.logProb).isEqualTo(all.logProb);
                assertThat(less.entropy).isEqualTo(all.entropy);
                assertThat(less.lse).isEqualTo(all.lse);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void gradientsHaveTheBitsOfStoredLogits(
            Target target, int rows, int width, int vocab, float temperature) {
        Batch batch = Batch.random(target, rows, width, vocab, temperature);
        float[] up = up(batch, 5);
        float[] upEntropy = up(batch, 6);
        Gradients stored = storedGradients(batch, up, upEntropy);
        // All words at once, the fewest, and parts of 256 of them.
        for (long scratch : new long[] {PLENTY, 0, 300L * 6 * rows}) {
            fusedGradients(batch, scratch, up, upEntropy).equals(stored);
        }
    }

    @ParameterizedTest
    @EnumSource
    void eitherGradientMayBeMissing(Target target) {
        Batch batch = Batch.random(target, 130, 64, 701, 1);
        float[] up = up(batch, 5);
        float @Nullable [] none = null;
        fusedGradients(batch, PLENTY, up, none).equals(storedGradients(batch, up, none));
        fusedGradients(batch, PLENTY, none, up).equals(storedGradients(batch, none, up));
        Gradients nothing = fusedGradients(batch, 0, none, none);
        assertThat(nothing.dHidden).containsOnly(0f);
        try (Buffers buffers = target.open()) {
            assertThat(nothing.dWeight).isEqualTo(buffers.floats(old(batch, buffers)));
        }
    }

    /// Only one of the two products is asked for.
    @ParameterizedTest
    @EnumSource
    void eitherResultMayBeMissing(Target target) {
        Batch batch = Batch.random(target, 130, 64, 701, 1);
        float[] up = up(batch, 5);
        Gradients both = fusedGradients(batch, PLENTY, up, up);
        for (boolean hidden : new boolean[] {false, true}) {
            try (Buffers buffers = target.open()) {
                Operands operands = batch.open(buffers, 256L * 6 * 130);
                Entropy.Results results = operands.results();
                Head head = Head.on(buffers.device());
                head.forward(operands.input, results);
                Span dHidden = buffers.poison(target.dtype(), 130 * 64);
                Span dWeight = old(batch, buffers);
                head.backward(
                        operands.input,
                        results.logProb(),
                        present(results.entropy()),
                        present(results.lse()),
                        buffers.of(up),
                        buffers.of(up),
                        hidden ? dHidden : null,
                        hidden ? null : dWeight);
                assertThat(buffers.floats(hidden ? dHidden : dWeight))
                        .isEqualTo(hidden ? both.dHidden : both.dWeight);
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void aRowHasTheSameBitsInAnyBatch(Target target) {
        for (int width : new int[] {64, 20}) {
            Batch batch = Batch.random(target, 300, width, 1500, 0.9f);
            Forward all = fused(batch, PLENTY);
            for (int[] part : new int[][] {{0, 1}, {299, 1}, {17, 64}, {100, 65}, {3, 200}}) {
                int end = part[0] + part[1];
                Forward own = fused(batch.only(part[0], part[1]), PLENTY);
                assertThat(own.logProb).isEqualTo(Arrays.copyOfRange(all.logProb, part[0], end));
                assertThat(own.entropy).isEqualTo(Arrays.copyOfRange(all.entropy, part[0], end));
                assertThat(own.argmax).isEqualTo(Arrays.copyOfRange(all.argmax, part[0], end));
            }
        }
    }

    /// Against float64 on the rounded operands.
    @ParameterizedTest
    @EnumSource
    void forwardIsExact(Target target) {
        for (int vocab : new int[] {1, 7, 8191}) {
            Batch batch = Batch.random(target, 70, 64, vocab, 0.8f);
            Forward result = fused(batch, PLENTY);
            float[] hidden = Buffers.rounded(target.dtype(), batch.hidden);
            float[] weight = Buffers.rounded(target.dtype(), batch.weight);
            for (int row = 0; row < batch.rows; row++) {
                double[] z = new double[vocab];
                for (int word = 0; word < vocab; word++) {
                    for (int k = 0; k < batch.width; k++) {
                        z[word] +=
                                (double) hidden[row * batch.width + k]
                                        * weight[word * batch.width + k];
                    }
                    z[word] *= 1f / batch.temperature;
                    if (batch.banned != null && batch.banned[word] != 0) {
                        z[word] = Double.NEGATIVE_INFINITY;
                    }
                }
                double max = Arrays.stream(z).max().orElseThrow();
                double sum = Arrays.stream(z).map(x -> StrictMath.exp(x - max)).sum();
                double lse = max + StrictMath.log(sum);
                double entropy =
                        Arrays.stream(z)
                                .filter(Double::isFinite)
                                .map(x -> -StrictMath.exp(x - lse) * (x - lse))
                                .sum();
                near("logProb", result.logProb[row], z[batch.targets[row]] - lse);
                near("entropy", result.entropy[row], entropy);
                near("lse", result.lse[row], lse);
                near("maxProb", result.maxProb[row], 1 / sum);
            }
        }
    }

    private static void near(String what, double got, double wanted) {
        assertThat(Math.abs(got - wanted))
                .as("%s: %s for %s", what, got, wanted)
                .isLessThanOrEqualTo(2e-5);
    }

    /// Hidden states of infinity and NaN make their own rows NaN and no other.
    @ParameterizedTest
    @EnumSource
    void aBadRowIsAlone(Target target) {
        Batch batch = Batch.random(target, 140, 64, 900, 1);
        Forward good = fused(batch, PLENTY);
        batch.hidden[3 * 64] = Float.NaN;
        batch.hidden[131 * 64 + 5] = Float.POSITIVE_INFINITY;
        Forward bad = fused(batch, PLENTY);
        for (int row = 0; row < batch.rows; row++) {
            if (row == 3 || row == 131) {
                assertThat(bad.logProb[row]).isNaN();
                assertThat(bad.entropy[row]).isNaN();
            } else {
                assertThat(bad.logProb[row]).isEqualTo(good.logProb[row]);
                assertThat(bad.entropy[row]).isEqualTo(good.entropy[row]);
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void aBannedTargetHasNoProbability(Target target) {
        Batch batch = Batch.random(target, 70, 64, 901, 1);
        byte[] banned = present(batch.banned);
        banned[batch.targets[2]] = 1;
        int word = batch.targets[2];
        Forward result = fused(batch, PLENTY);
        for (int row = 0; row < batch.rows; row++) {
            boolean no = batch.targets[row] == word;
            assertThat(Float.isInfinite(result.logProb[row])).isEqualTo(no);
            assertThat(result.entropy[row]).isFinite();
        }
        float[] up = up(batch, 5);
        fusedGradients(batch, 0, up, up).equals(storedGradients(batch, up, up));
    }

    private static byte[] present(byte @Nullable [] banned) {
        if (banned == null) {
            throw new IllegalStateException("nothing is banned");
        }
        return banned;
    }

    /// Equal weights make equal logits: the first word is the most probable one.
    @ParameterizedTest
    @EnumSource
    void tiesGoToTheFirstWord(Target target) {
        Batch batch = Batch.random(target, 70, 64, 3000, 1);
        Forward before = fused(batch, PLENTY);
        int best = before.argmax[0];
        int other = best < 1500 ? best + 1400 : best - 1400;
        System.arraycopy(batch.weight, best * 64, batch.weight, other * 64, 64);
        assertThat(fused(batch, PLENTY).argmax[0]).isEqualTo(Math.min(best, other));
    }

    // ---- drawing

    /// How a batch is drawn from.
    ///
    /// @param withheld null: nothing besides the banned
    /// @param forced null: nothing
    private record Rule(
            Sampling.Options options, byte @Nullable [] withheld, int @Nullable [] forced) {
        static Rule of(Sampling.Options options) {
            return new Rule(options, null, null);
        }

        boolean meddles() {
            return forced != null;
        }

        /// With some words withheld, some forced and some watched.
        Rule meddled(Batch batch) {
            byte[] withheld = new byte[batch.vocab];
            for (int v = 1; v < batch.vocab; v++) {
                boolean no = batch.banned != null && batch.banned[v] != 0;
                withheld[v] = (byte) (no || v % 5 == 1 ? 1 : 0);
            }
            if (batch.banned != null) {
                withheld[0] = batch.banned[0];
            }
            int[] forced =
                    IntStream.range(0, batch.rows)
                            .map(row -> row % 3 == 0 ? 37 * row % batch.vocab : -1)
                            .toArray();
            return new Rule(options, withheld, forced);
        }

        Head.Draw open(Buffers buffers, int rows, int firstRow) {
            long[] keys = new long[rows];
            int[] positions = new int[rows];
            for (int row = 0; row < rows; row++) {
                keys[row] = Philox.key(7, 1, 0, firstRow + row, 0);
                positions[row] = 3 * (firstRow + row) + 1;
            }
            return new Head.Draw(
                    options,
                    buffers.of(keys),
                    buffers.of(positions),
                    withheld == null ? null : buffers.of(withheld),
                    forced == null ? null : buffers.of(forced));
        }
    }

    /// What a draw gives: tokens, and the results of a forward pass over them.
    private static final class Drawn {
        private final int[] tokens;
        private final Forward results;

        Drawn(Buffers buffers, Span tokens, Entropy.Results results) {
            this.tokens = buffers.ints(tokens);
            this.results = new Forward(buffers, results);
        }

        void equals(Drawn other) {
            assertThat(tokens).isEqualTo(other.tokens);
            results.equals(other.results);
        }
    }

    private static Drawn fusedDraw(Batch batch, Rule rule, long scratchBytes) {
        return fusedDraw(batch, rule, scratchBytes, 0, Head::on);
    }

    private static Drawn fusedDraw(
            Batch batch, Rule rule, long scratchBytes, int firstRow, Function<Device, Head> head) {
        try (Buffers buffers = batch.target.open()) {
            Operands operands = batch.open(buffers, scratchBytes);
            Head.Input input = operands.input;
            Entropy.Results results = operands.drawResults(rule.meddles());
            head.apply(buffers.device())
                    .sample(input, rule.open(buffers, batch.rows, firstRow), results);
            return new Drawn(buffers, input.targets(), results);
        }
    }

    private static Drawn storedDraw(Batch batch, Rule rule) {
        try (Buffers buffers = batch.target.open()) {
            Operands operands = batch.open(buffers, PLENTY);
            Head.Input input = operands.input;
            Head.Draw draw = rule.open(buffers, batch.rows, 0);
            Entropy.Results results = operands.drawResults(rule.meddles());
            Span logits = operands.logits();
            Sampling sampling = Sampling.on(buffers.device());
            sampling.sample(
                    batch.rows,
                    batch.vocab,
                    rule.options,
                    logits,
                    draw.withheld() == null ? input.banned() : draw.withheld(),
                    draw.keys(),
                    draw.positions(),
                    input.targets());
            sampling.settle(batch.rows, batch.vocab, draw.forced(), null, input.targets());
            Entropy.on(buffers.device())
                    .forward(operands.rows(logits), input.targets(), input.banned(), results);
            return new Drawn(buffers, input.targets(), results);
        }
    }

    private static List<Sampling.Options> options(Batch batch) {
        float temperature = batch.temperature;
        return List.of(
                new Sampling.Options(temperature, 0, 1),
                new Sampling.Options(0, 0, 1),
                new Sampling.Options(temperature, 20, 0.8f, 0.001f));
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void drawsHaveTheBitsOfStoredLogits(
            Target target, int rows, int width, int vocab, float temperature) {
        Batch batch = Batch.random(target, rows, width, vocab, temperature);
        for (Sampling.Options options : options(batch)) {
            Rule rule = Rule.of(options);
            fusedDraw(batch, rule, PLENTY).equals(storedDraw(batch, rule));
            Rule meddled = rule.meddled(batch);
            Drawn stored = storedDraw(batch, meddled);
            fusedDraw(batch, meddled, PLENTY).equals(stored);
            fusedDraw(batch, meddled, 0).equals(stored);
        }
    }

    /// More blocks of words than a GPU has multiprocessors, for each number of rows of a kernel.
    @ParameterizedTest
    @EnumSource
    void manyWordsAreDrawnFromAlike(Target target) {
        for (int rows : target.isCuda() ? new int[] {1, 17, 64, 65, 300} : new int[] {3}) {
            Batch batch = Batch.random(target, rows, 64, 50_021, 0.8f);
            Rule rule = Rule.of(new Sampling.Options(0.8f, 0, 1));
            fusedDraw(batch, rule, PLENTY).equals(storedDraw(batch, rule));
            Rule meddled = rule.meddled(batch);
            fusedDraw(batch, meddled, PLENTY).equals(storedDraw(batch, meddled));
        }
    }

    /// The law that sampler and trainer agree: a forward pass over the drawn tokens gives the bits
    /// that were kept with them, in a batch of another size.
    @ParameterizedTest
    @EnumSource
    void aTrainerComputesWhatTheSamplerKept(Target target) {
        Batch all = Batch.random(target, 200, 64, 3001, 0.9f);
        Rule rule = Rule.of(new Sampling.Options(0.9f, 0, 1));
        for (int[] part : new int[][] {{0, 200}, {3, 1}, {64, 40}, {100, 70}}) {
            Batch batch = all.only(part[0], part[1]);
            Drawn drawn = fusedDraw(batch, rule, PLENTY, part[0], Head::on);
            System.arraycopy(drawn.tokens, 0, all.targets, part[0], part[1]);
            Forward trained = fused(all, PLENTY);
            int end = part[0] + part[1];
            assertThat(drawn.results.logProb)
                    .isEqualTo(Arrays.copyOfRange(trained.logProb, part[0], end));
            assertThat(drawn.results.entropy)
                    .isEqualTo(Arrays.copyOfRange(trained.entropy, part[0], end));
            assertThat(drawn.results.lse).isEqualTo(Arrays.copyOfRange(trained.lse, part[0], end));
        }
    }

    @ParameterizedTest
    @EnumSource
    void aDrawDependsOnNothingElseInTheBatch(Target target) {
        Batch batch = Batch.random(target, 150, 64, 2049, 1);
        Rule rule = Rule.of(new Sampling.Options(1, 0, 1));
        Drawn all = fusedDraw(batch, rule, PLENTY);
        for (int[] part : new int[][] {{0, 1}, {149, 1}, {10, 64}, {50, 100}}) {
            int end = part[0] + part[1];
            Drawn own = fusedDraw(batch.only(part[0], part[1]), rule, PLENTY, part[0], Head::on);
            assertThat(own.tokens).isEqualTo(Arrays.copyOfRange(all.tokens, part[0], end));
            assertThat(own.results.logProb)
                    .isEqualTo(Arrays.copyOfRange(all.results.logProb, part[0], end));
            assertThat(own.results.entropy)
                    .isEqualTo(Arrays.copyOfRange(all.results.entropy, part[0], end));
        }
    }

    /// Logits of infinity and NaN, words that are equal, and a word that is all of a row's mass.
    @ParameterizedTest
    @EnumSource
    void oddLogitsAreDrawnFromAlike(Target target) {
        for (int rows : new int[] {20, 70}) {
            Batch batch = Batch.random(target, rows, 64, 700, 1);
            for (int word = 0; word < 700; word += 3) {
                System.arraycopy(batch.weight, 0, batch.weight, word * 64, 64);
            }
            Arrays.fill(batch.weight, 300 * 64, 301 * 64, 0);
            batch.weight[300 * 64] = 1000;
            for (int kind = 0; kind < 3; kind++) {
                if (kind == 1) {
                    batch.weight[65 * 64 + 3] = Float.POSITIVE_INFINITY;
                } else if (kind == 2) {
                    batch.weight[299 * 64 + 1] = Float.NaN;
                }
                for (Sampling.Options options : options(batch)) {
                    Rule rule = Rule.of(options);
                    fusedDraw(batch, rule, PLENTY).equals(storedDraw(batch, rule));
                }
            }
        }
    }

    /// A draw can be recorded and run again, with other hidden states and positions.
    @ParameterizedTest
    @EnumSource
    void aDrawIsRecordedAndRunAgain(Target target) {
        Batch batch = Batch.random(target, 9, 64, 1501, 0.7f);
        Rule rule = Rule.of(new Sampling.Options(0.7f, 0, 1)).meddled(batch);
        Drawn wanted = storedDraw(batch, rule);
        try (Buffers buffers = target.open()) {
            Operands operands = batch.open(buffers, PLENTY);
            Head.Input input = operands.input;
            Head.Draw draw = rule.open(buffers, batch.rows, 0);
            Entropy.Results results = operands.drawResults(rule.meddles());
            Head head = Head.on(buffers.device());
            Span noTokens = buffers.poison(DType.I32, batch.rows);
            try (Replay replay = buffers.device().record(() -> head.sample(input, draw, results))) {
                for (int time = 0; time < 2; time++) {
                    Span to = input.targets();
                    buffers.device()
                            .copy(
                                    noTokens.buffer(),
                                    noTokens.offset(),
                                    to.buffer(),
                                    to.offset(),
                                    to.bytes());
                    replay.run();
                    new Drawn(buffers, to, results).equals(wanted);
                }
            }
        }
    }

    private static void assertRefused(
            Target target, Batch batch, Rule rule, Class<?> exception, String message) {
        try (Buffers buffers = target.open()) {
            Operands operands = batch.open(buffers, PLENTY);
            Head.Input input = operands.input;
            Head.Draw draw = rule.open(buffers, batch.rows, 0);
            Head head = Head.on(buffers.device());
            assertThatThrownBy(
                            () -> {
                                head.sample(input, draw, operands.drawResults(false));
                                buffers.ints(input.targets());
                            })
                    .isInstanceOf(exception)
                    .hasMessageContaining(message);
        }
    }

    @ParameterizedTest
    @EnumSource
    void aRowWithoutAWordIsReported(Target target) {
        for (int rows : new int[] {3, 70}) {
            Batch batch = Batch.random(target, rows, 64, 900, 1);
            byte[] withheld = new byte[900];
            Arrays.fill(withheld, (byte) 1);
            Rule rule = new Rule(new Sampling.Options(1, 0, 1), withheld, null);
            assertRefused(
                    target,
                    batch,
                    rule,
                    target.isCuda()
                            ? IndexOutOfBoundsException.class
                            : IllegalArgumentException.class,
                    "no allowed word");
        }
    }

    @ParameterizedTest
    @EnumSource
    void aForcedWordIsOfTheVocabulary(Target target) {
        Batch batch = Batch.random(target, 3, 64, 900, 1);
        Rule rule = new Rule(new Sampling.Options(1, 0, 1), null, new int[] {-1, 900, 5});
        assertRefused(target, batch, rule, IndexOutOfBoundsException.class, "900");
    }

    @ParameterizedTest
    @EnumSource
    void aDrawHasOneTemperature(Target target) {
        Batch batch = Batch.random(target, 3, 64, 900, 1);
        Rule rule = Rule.of(new Sampling.Options(0.5f, 0, 1));
        assertRefused(target, batch, rule, IllegalArgumentException.class, "temperature 0.5");
    }

    /// On Hopper, what 8192 rows of Qwen2's vocabulary take beside operands and results: forward
    /// less than 64 MiB, and with a training step's scratch less than 0.75 GiB backward at a width
    /// of 5120, whose sums of dHidden are counted in.
    @Test
    void memoryBesideOperandsIsBounded() {
        assumeTrue(HopperHead.runsOn(Target.sharedCuda()), "no Hopper");
        int rows = 8192;
        int width = 64;
        long scratch = 528L << 20;
        Batch batch = Batch.random(Target.CUDA_BF16, rows, width, 151_674, 1);
        try (Buffers buffers = Target.CUDA_BF16.openAlone()) {
            CudaDevice cuda = (CudaDevice) buffers.device();
            Operands operands = batch.open(buffers, scratch);
            Entropy.Results results =
                    Entropy.Results.of(
                            buffers.poison(rows), buffers.poison(rows), buffers.poison(rows));
            Span up = buffers.of(up(batch, 5));
            Span dHidden = buffers.poison(DType.BF16, rows * width);
            Span dWeight = buffers.poison(batch.vocab * width);
            Head head = Head.on(cuda);
            long before = cuda.memory().usedBytes();
            head.forward(operands.input, results);
            assertThat(cuda.memory().peakBytes() - before).isLessThan(64L << 20);
            head.backward(
                    operands.input,
                    results.logProb(),
                    present(results.entropy()),
                    present(results.lse()),
                    up,
                    up,
                    dHidden,
                    dWeight);
            long wider = (5120L - width) * Float.BYTES * rows;
            assertThat(cuda.memory().peakBytes() - before + wider).isLessThan(768L << 20);
        }
    }

    @Test
    void chunksOfWordsFillRoundsOfClusters() {
        int rounds = HopperHead.wordsAtOnce(8192, 151_674, 66, 528L << 20);
        assertThat(rounds).isEqualTo(2 * 66 * 256);
        assertThat(HopperHead.wordsAtOnce(8192, 151_674, 66, 256L << 20)).isEqualTo(16_384);
        assertThat(HopperHead.wordsAtOnce(100, 1000, 66, 528L << 20)).isEqualTo(1000);
        assertThat(HopperHead.wordsAtOnce(8192, 151_674, 66, 0)).isEqualTo(16);
    }

    private static Function<Device, Head> withClusters(int most) {
        assumeTrue(HopperHead.runsOn(Target.sharedCuda()), "no Hopper");
        return device -> new HopperHead((CudaDevice) device, ChunkedHead.of(device), most);
    }

    /// Words are turned away by what their row's earlier tiles had: many tiles to a block, at
    /// temperatures that make rows peaked and flat.
    @Test
    void wordsTurnedAwayAreNotThoseDrawn() {
        Function<Device, Head> two = withClusters(2);
        for (int rows : new int[] {1, 64, 65, 300}) {
            for (float temperature : new float[] {0.02f, 1, 20}) {
                Batch batch = Batch.random(Target.CUDA_BF16, rows, 64, 20_011, temperature);
                Rule rule = Rule.of(new Sampling.Options(temperature, 0, 1));
                fusedDraw(batch, rule, PLENTY, 0, two).equals(storedDraw(batch, rule));
                Rule meddled = rule.meddled(batch);
                fusedDraw(batch, meddled, PLENTY, 0, two).equals(storedDraw(batch, meddled));
            }
        }
    }

    /// Small enough for compute-sanitizer's racecheck, and through every part of the kernels: one
    /// block or cluster takes several tiles, the last of them in part, with both of its warpgroups.
    @Test
    void oneClusterTakesManyTiles() {
        Function<Device, Head> one = withClusters(1);
        for (int rows : new int[] {20, 130}) {
            Batch batch = Batch.random(Target.CUDA_BF16, rows, 136, 1301, 0.9f);
            fused(batch, PLENTY, one).equals(stored(batch));
            Rule rule = Rule.of(new Sampling.Options(0.9f, 0, 1));
            fusedDraw(batch, rule, PLENTY, 0, one).equals(storedDraw(batch, rule));
            Rule meddled = rule.meddled(batch);
            fusedDraw(batch, meddled, PLENTY, 0, one).equals(storedDraw(batch, meddled));
        }
        Batch batch = Batch.random(Target.CUDA_BF16, 130, 136, 1301, 0.9f);
        float[] up = up(batch, 5);
        fusedGradients(batch, 530L * 6 * 130, up, up, one).equals(storedGradients(batch, up, up));
    }

    @ParameterizedTest
    @EnumSource
    void noRowsAreNothing(Target target) {
        Batch batch = Batch.random(target, 0, 64, 900, 1);
        assertThat(fused(batch, PLENTY).logProb).isEmpty();
        Gradients nothing = fusedGradients(batch, 0, new float[0], new float[0]);
        assertThat(nothing.dHidden).isEmpty();
    }

    @ParameterizedTest
    @EnumSource
    void operandsThatDoNotFitAreNamed(Target target) {
        try (Buffers buffers = target.open()) {
            Operands operands = Batch.random(target, 3, 64, 9, 1).open(buffers, PLENTY);
            Head.Input good = operands.input;
            Head head = Head.on(buffers.device());
            Head.Input bad =
                    new Head.Input(
                            3,
                            64,
                            10,
                            1,
                            good.hidden(),
                            good.weight(),
                            good.targets(),
                            null,
                            PLENTY);
            assertThatThrownBy(() -> head.forward(bad, operands.results()))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("weight");
            assertThatThrownBy(() ->
                            new Head.Input(
                                    3,
                                    64,
                                    9,
                                    0,
                                    good.hidden(),
                                    good.weight(),
                                    good.targets(),
                                    null,
                                    PLENTY))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("temperature 0");
        }
    }
}
