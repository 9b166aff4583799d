package dev.saccade.kernels.entropy;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Target;
import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.function.IntToDoubleFunction;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// What [Entropy] promises on every device. Logits are F32, but for those tests that say BF16.
@Tag("device")
class EntropyContractTest {
    private static final float NONE = Float.NEGATIVE_INFINITY;

    /// A batch of rows.
    private record Batch(
            int rows,
            int vocab,
            float temperature,
            float[] logits,
            int[] targets,
            byte @Nullable [] banned) {

        /// Rows of normally distributed logits, a tenth of the words banned where there are enough.
        static Batch random(int rows, int vocab, float temperature, double size) {
            SplittableRandom random = new SplittableRandom(vocab + 7L * rows);
            int[] targets = random.ints(rows, 0, vocab).toArray();
            byte[] banned = null;
            if (vocab > 8) {
                banned = new byte[vocab];
                for (int v = 0; v < vocab; v++) {
                    banned[v] = (byte) (random.nextInt(10) == 0 ? 1 : 0);
                }
                for (int target : targets) {
                    banned[target] = 0;
                }
            }
            float[] logits = Buffers.normal(vocab + 31L * rows, rows * vocab, size);
            return new Batch(rows, vocab, temperature, logits, targets, banned);
        }

        /// One row of given logits.
        static Batch row(int vocab, int target, IntToDoubleFunction logit) {
            float[] logits = new float[vocab];
            for (int v = 0; v < vocab; v++) {
                logits[v] = (float) logit.applyAsDouble(v);
            }
            return new Batch(1, vocab, 1, logits, new int[] {target}, null);
        }

        double[] scaled(int row) {
            double[] z = new double[vocab];
            for (int v = 0; v < vocab; v++) {
                boolean no = banned != null && banned[v] != 0;
                z[v] = no ? NONE : logits[row * vocab + v] * (1f / temperature);
            }
            return z;
        }

        Batch only(int row) {
            return new Batch(
                    1,
                    vocab,
                    temperature,
                    Arrays.copyOfRange(logits, row * vocab, (row + 1) * vocab),
                    new int[] {targets[row]},
                    banned);
        }
    }

    /// Results of a forward pass.
    private static final class Result {
        private final float[] logProb;
        private final float[] entropy;
        private final float[] lse;

        Result(float[] logProb, float[] entropy, float[] lse) {
            this.logProb = logProb;
            this.entropy = entropy;
            this.lse = lse;
        }
    }

    private record Exact(double logProb, double entropy, double lse) {
        static Exact of(double[] z, int target) {
            double max = Arrays.stream(z).max().orElseThrow();
            double sum = 0;
            double weighted = 0;
            for (double x : z) {
                double e = StrictMath.exp(x - max);
                sum += e;
                weighted += e == 0 ? 0 : e * (x - max);
            }
            double logSum = StrictMath.log(sum);
            return new Exact(z[target] - max - logSum, logSum - weighted / sum, max + logSum);
        }
    }

    /// Values that begin `shift` elements into their memory, so that rows lie at any address.
    private static Span shifted(Buffers buffers, int shift, float[] values) {
        float[] padded = new float[values.length + shift];
        System.arraycopy(values, 0, padded, shift, values.length);
        return buffers.of(padded).slice(shift, values.length);
    }

    private static @Nullable Span bans(Buffers buffers, Batch batch) {
        return batch.banned == null ? null : buffers.of(batch.banned);
    }

    private static Result forward(Target target, Batch batch, int shift) {
        try (Buffers buffers = target.open()) {
            return forward(buffers, batch, shift);
        }
    }

    private static Result forward(Buffers buffers, Batch batch, int shift) {
        Span logProb = buffers.poison(batch.rows);
        Span entropy = buffers.poison(batch.rows);
        Span lse = buffers.poison(batch.rows);
        Entropy.on(buffers.device())
                .forward(
                        batch.rows,
                        batch.vocab,
                        batch.temperature,
                        shifted(buffers, shift, batch.logits),
                        buffers.of(batch.targets),
                        bans(buffers, batch),
                        logProb,
                        entropy,
                        lse);
        return new Result(buffers.floats(logProb), buffers.floats(entropy), buffers.floats(lse));
    }

    private static float[] backward(
            Target target,
            Batch batch,
            int shift,
            float @Nullable [] dLogProb,
            float @Nullable [] dEntropy) {
        try (Buffers buffers = target.open()) {
            Span out = buffers.poison(batch.rows * batch.vocab);
            backward(
                    buffers, batch, shifted(buffers, shift, batch.logits), dLogProb, dEntropy, out);
            return buffers.floats(out);
        }
    }

    private static void backward(
            Buffers buffers,
            Batch batch,
            Span logits,
            float @Nullable [] dLogProb,
            float @Nullable [] dEntropy,
            Span out) {
        Result forward = forward(buffers, batch, 0);
        Entropy.on(buffers.device())
                .backward(
                        batch.rows,
                        batch.vocab,
                        batch.temperature,
                        logits,
                        buffers.of(batch.targets),
                        bans(buffers, batch),
                        buffers.of(forward.entropy),
                        buffers.of(forward.lse),
                        dLogProb == null ? null : buffers.of(dLogProb),
                        dEntropy == null ? null : buffers.of(dEntropy),
                        out);
    }

    private static void near(String what, double got, double wanted, double relative) {
        assertThat(Math.abs(got - wanted))
                .as("%s: %s for %s", what, got, wanted)
                .isLessThanOrEqualTo(relative * (1 + Math.abs(wanted)));
    }

    private static void isExact(Target target, Batch batch) {
        Result result = forward(target, batch, 0);
        for (int row = 0; row < batch.rows; row++) {
            Exact exact = Exact.of(batch.scaled(row), batch.targets[row]);
            near("logProb", result.logProb[row], exact.logProb, 2e-6);
            near("entropy", result.entropy[row], exact.entropy, 2e-6);
            near("lse", result.lse[row], exact.lse, 4e-7);
        }
    }

    static Stream<Arguments> sizes() {
        return Stream.of(Target.CPU_F32, Target.CUDA_F32)
                .flatMap(target ->
                        Stream.of(
                                Arguments.of(target, 5, 1, 1f, 3.0),
                                Arguments.of(target, 300, 7, 1f, 3.0),
                                Arguments.of(target, 9, 31, 0.7f, 3.0),
                                Arguments.of(target, 9, 33, 1.3f, 30.0),
                                Arguments.of(target, 33, 136, 1f, 5.0),
                                Arguments.of(target, 7, 1000, 0.6f, 10.0),
                                Arguments.of(target, 3, 512, 1f, 3.0),
                                Arguments.of(target, 3, 513, 1f, 3.0),
                                Arguments.of(target, 6, 1000, 1f, 10000.0),
                                Arguments.of(target, 5, 4097, 1f, 1e-30),
                                Arguments.of(target, 3, 8191, 1f, 3.0),
                                Arguments.of(target, 2, 8192, 1f, 3.0),
                                Arguments.of(target, 2, 8193, 1f, 3.0),
                                Arguments.of(target, 3, 9001, 1f, 100.0),
                                Arguments.of(target, 2, 151_674, 1f, 4.0),
                                Arguments.of(target, 2, 151_674, 1f, 0.001),
                                Arguments.of(target, 2, 151_674, 0.9f, 10000.0)));
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void forwardIsExact(Target target, int rows, int vocab, float temperature, double size) {
        isExact(target, Batch.random(rows, vocab, temperature, size));
    }

    /// Uniform, almost one-hot, a ramp, two words far from the rest, large offsets.
    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void extremeRowsAreExact(Target target) {
        for (int vocab : new int[] {1, 7, 33, 1000, 8191, 20_000}) {
            int last = vocab - 1;
            isExact(target, Batch.row(vocab, last, _ -> 0));
            isExact(target, Batch.row(vocab, last, _ -> 12_345.678));
            isExact(target, Batch.row(vocab, 0, v -> v == last ? 60 : 0));
            isExact(target, Batch.row(vocab, last, v -> v == last ? 1e4 : -1e4));
            isExact(target, Batch.row(vocab, last / 2, v -> v * -0.01));
            isExact(target, Batch.row(vocab, last / 2, v -> v * 0.5 - 3000));
            isExact(target, Batch.row(vocab, 0, v -> v == 0 || v == last ? 20 : -20));
            isExact(target, Batch.row(vocab, 0, v -> v % 2 == 0 ? 0 : NONE));
            isExact(target, Batch.row(vocab, last, v -> v == last ? 3 : NONE));
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void aRowHasTheSameBitsInAnyBatchAtAnyAddress(Target target) {
        for (int vocab : new int[] {1, 7, 136, 1000, 5003, 20_001}) {
            int rows = vocab > 5003 ? 11 : 37;
            Batch batch = Batch.random(rows, vocab, 0.9f, 4);
            Result all = forward(target, batch, 0);
            Result again = forward(target, batch, 3);
            assertThat(again.logProb).isEqualTo(all.logProb);
            assertThat(again.entropy).isEqualTo(all.entropy);
            assertThat(again.lse).isEqualTo(all.lse);
            float[] up = Buffers.normal(3, rows, 1);
            float[] gradient = backward(target, batch, 0, up, up);
            assertThat(backward(target, batch, 1, up, up)).isEqualTo(gradient);
            for (int row = 0; row < rows; row += 5) {
                Result own = forward(target, batch.only(row), 1);
                assertThat(own.logProb[0]).isEqualTo(all.logProb[row]);
                assertThat(own.entropy[0]).isEqualTo(all.entropy[row]);
                assertThat(own.lse[0]).isEqualTo(all.lse[row]);
                float[] ownUp = {up[row]};
                assertThat(backward(target, batch.only(row), 2, ownUp, ownUp))
                        .isEqualTo(Arrays.copyOfRange(gradient, row * vocab, (row + 1) * vocab));
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void infiniteAndBannedWordsCarryNothing(Target target) {
        float inf = Float.POSITIVE_INFINITY;
        float nan = Float.NaN;
        float[] logits = {
            1, NONE, 2, 0, // a word without probability
            NONE, NONE, NONE, 0, // only a banned word has a logit
            5, 1, 1, nan, // a banned NaN
            1, 2, nan, 0, // an allowed NaN
            1, 2, inf, 0, //
            3, 3, 3, 50, // the target is banned
            nan, NONE, nan, 0, // NaN and nothing else
        };
        byte[] bannedHere = {0, 0, 0, 1};
        // The same rows with words between them that carry nothing: every kernel's size.
        for (int stride : new int[] {1, 300, 2000, 5000}) {
            int vocab = 4 * stride;
            byte[] banned = new byte[vocab];
            float[] spread = new float[7 * vocab];
            Arrays.fill(spread, NONE);
            for (int i = 0; i < logits.length; i++) {
                spread[i * stride] = logits[i];
                banned[i % 4 * stride] = bannedHere[i % 4];
            }
            int[] targets = {2 * stride, 0, stride, 0, 0, 3 * stride, 0};
            Batch batch = new Batch(7, vocab, 1, spread, targets, banned);
            Result result = forward(target, batch, 0);
            for (int row : new int[] {0, 2}) {
                Exact exact = Exact.of(batch.scaled(row), targets[row]);
                near("logProb", result.logProb[row], exact.logProb, 1e-6);
                near("entropy", result.entropy[row], exact.entropy, 1e-6);
            }
            assertThat(result.logProb[1]).isEqualTo(NONE);
            assertThat(result.entropy[1]).isEqualTo(0f);
            assertThat(result.lse[1]).isEqualTo(NONE);
            for (int row : new int[] {3, 4, 6}) {
                assertThat(result.logProb[row]).isNaN();
                assertThat(result.entropy[row]).isNaN();
                assertThat(result.lse[row]).isNaN();
            }
            assertThat(result.logProb[5]).isEqualTo(NONE);
            near("entropy", result.entropy[5], StrictMath.log(3), 1e-6);

            float[] up = {1, 1, 1, 1, 1, 1, 1};
            float[] gradient = backward(target, batch, 0, up, up);
            for (int row : new int[] {0, 1, 2, 5}) {
                int wrong = 0;
                for (int v = 0; v < vocab; v++) {
                    float g = gradient[row * vocab + v];
                    boolean nothing = row == 1 || banned[v] != 0 || spread[row * vocab + v] == NONE;
                    wrong += nothing ? (g == 0 ? 0 : 1) : (Float.isFinite(g) ? 0 : 1);
                }
                assertThat(wrong).as("row %d", row).isZero();
            }
            assertThat(gradient[3 * vocab]).isNaN();
        }
    }

    /// A forward pass with the mass of a set; its result and the mass.
    private record WithMass(Result result, float[] mass) {
        static WithMass of(Target target, Batch batch, int shift, byte[] set) {
            try (Buffers buffers = target.open()) {
                Span logProb = buffers.poison(batch.rows);
                Span entropy = buffers.poison(batch.rows);
                Span lse = buffers.poison(batch.rows);
                Span mass = buffers.poison(batch.rows);
                Entropy.on(buffers.device())
                        .forward(
                                batch.rows,
                                batch.vocab,
                                batch.temperature,
                                shifted(buffers, shift, batch.logits),
                                buffers.of(batch.targets),
                                bans(buffers, batch),
                                logProb,
                                entropy,
                                lse,
                                buffers.of(set),
                                mass);
                return new WithMass(
                        new Result(
                                buffers.floats(logProb),
                                buffers.floats(entropy),
                                buffers.floats(lse)),
                        buffers.floats(mass));
            }
        }
    }

    /// One word in `every` from `first` on.
    private static byte[] everyWord(int vocab, int first, int every) {
        byte[] set = new byte[vocab];
        for (int word = first; word < vocab; word += every) {
            set[word] = (byte) (1 + word % 3);
        }
        return set;
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void theMassOfASetIsExactAndChangesNothingElse(
            Target target, int rows, int vocab, float temperature, double size) {
        Batch batch = Batch.random(rows, vocab, temperature, size);
        Result plain = forward(target, batch, 0);
        for (byte[] set : new byte[][] {everyWord(vocab, vocab / 2, 11), everyWord(vocab, 0, 2)}) {
            WithMass with = WithMass.of(target, batch, 0, set);
            assertThat(with.result.logProb).isEqualTo(plain.logProb);
            assertThat(with.result.entropy).isEqualTo(plain.entropy);
            assertThat(with.result.lse).isEqualTo(plain.lse);
            for (int row = 0; row < rows; row++) {
                double[] z = batch.scaled(row);
                double lse = Exact.of(z, batch.targets[row]).lse;
                double mass = 0;
                for (int word = 0; word < vocab; word++) {
                    mass += set[word] == 0 ? 0 : StrictMath.exp(z[word] - lse);
                }
                assertThat((double) with.mass[row]).isBetween(0.0, 1.0);
                // Rounding of z - m, which grows with the logits' distance, is a factor of p.
                near("mass", with.mass[row], mass, 2e-6);
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void theMassHasTheSameBitsInAnyBatchAtAnyAddress(Target target) {
        for (int vocab : new int[] {7, 136, 1000, 5003, 20_001}) {
            Batch batch = Batch.random(11, vocab, 0.9f, 4);
            byte[] set = everyWord(vocab, 2, 5);
            float[] mass = WithMass.of(target, batch, 0, set).mass;
            assertThat(WithMass.of(target, batch, 3, set).mass).isEqualTo(mass);
            for (int row = 0; row < 11; row += 5) {
                assertThat(WithMass.of(target, batch.only(row), 1, set).mass[0])
                        .isEqualTo(mass[row]);
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void massesOfEverythingAndOfNothing(Target target) {
        for (int vocab : new int[] {1, 33, 700, 8191, 20_000}) {
            Batch batch = Batch.random(3, vocab, 1, 4);
            float[] ones = {1, 1, 1};
            byte[] all = everyWord(vocab, 0, 1);
            assertThat(WithMass.of(target, batch, 0, all).mass).isEqualTo(ones);
            assertThat(WithMass.of(target, batch, 0, new byte[vocab]).mass).isEqualTo(new float[3]);
            if (batch.banned != null) {
                // A banned word carries nothing, and what is left are all words that do.
                assertThat(WithMass.of(target, batch, 0, batch.banned).mass)
                        .isEqualTo(new float[3]);
                for (int word = 0; word < vocab; word++) {
                    all[word] = (byte) (1 - batch.banned[word]);
                }
                assertThat(WithMass.of(target, batch, 0, all).mass).isEqualTo(ones);
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void massesOfSpecialRows(Target target) {
        for (int vocab : new int[] {8, 1200, 20_000}) {
            float[] logits = new float[4 * vocab];
            Arrays.fill(logits, 0, vocab, NONE); // no word
            logits[vocab + 3] = Float.NaN;
            logits[2 * vocab + 3] = Float.POSITIVE_INFINITY;
            Arrays.fill(logits, 3 * vocab, 4 * vocab, NONE);
            logits[3 * vocab + 1] = 5;
            logits[3 * vocab + 2] = 5;
            Batch batch = new Batch(4, vocab, 1, logits, new int[] {0, 0, 0, 7}, null);
            float[] mass = WithMass.of(target, batch, 0, everyWord(vocab, 2, 4)).mass;
            assertThat(mass[0]).isEqualTo(0f);
            assertThat(mass[1]).isNaN();
            assertThat(mass[2]).isNaN();
            assertThat(mass[3]).isEqualTo(0.5f);
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void aSetAndItsMassAreAskedForTogether(Target target) {
        try (Buffers buffers = target.open()) {
            Span floats = buffers.poison(3);
            Span targets = buffers.of(new int[1]);
            Entropy entropy = Entropy.on(buffers.device());
            Span set = buffers.of(new byte[3]);
            assertThatThrownBy(() ->
                            entropy.forward(
                                    1, 3, 1, floats, targets, null, floats, null, null, set, null))
                    .hasMessageContaining("a set without a mass");
            assertThatThrownBy(() ->
                            entropy.forward(
                                    1, 3, 1, floats, targets, null, floats, null, null, null,
                                    floats))
                    .hasMessageContaining("a mass without a set");
        }
    }

    /// All that a forward pass gives, of rows with something between them.
    private record Everything(Result result, float[] maxProb, int[] argmax, float[] mass) {
        static Everything of(Target target, Batch batch, DType type, int between, byte[] set) {
            int pitch = batch.vocab + between;
            float[] apart = new float[batch.rows * pitch];
            Arrays.fill(apart, Float.NaN);
            for (int row = 0; row < batch.rows; row++) {
                System.arraycopy(batch.logits, row * batch.vocab, apart, row * pitch, batch.vocab);
            }
            try (Buffers buffers = target.open()) {
                Entropy.Results results =
                        new Entropy.Results(
                                buffers.poison(batch.rows),
                                buffers.poison(batch.rows),
                                buffers.poison(batch.rows),
                                buffers.poison(batch.rows),
                                buffers.poison(DType.I32, batch.rows),
                                buffers.of(set),
                                buffers.poison(batch.rows));
                Entropy.on(buffers.device())
                        .forward(
                                new Entropy.Rows(
                                        batch.rows,
                                        batch.vocab,
                                        pitch,
                                        batch.temperature,
                                        buffers.of(type, apart)),
                                buffers.of(batch.targets),
                                bans(buffers, batch),
                                results);
                return new Everything(
                        new Result(
                                buffers.floats(results.logProb()),
                                floats(buffers, results.entropy()),
                                floats(buffers, results.lse())),
                        floats(buffers, results.maxProb()),
                        buffers.ints(present(results.argmax())),
                        floats(buffers, results.mass()));
            }
        }

        private static float[] floats(Buffers buffers, @Nullable Span span) {
            return buffers.floats(present(span));
        }

        private static Span present(@Nullable Span span) {
            if (span == null) {
                throw new IllegalStateException("absent");
            }
            return span;
        }
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void theMostProbableWordAndRowsApart(
            Target target, int rows, int vocab, float temperature, double size) {
        Batch batch = Batch.random(rows, vocab, temperature, size);
        Result plain = forward(target, batch, 0);
        byte[] set = everyWord(vocab, 0, 3);
        float[] mass = WithMass.of(target, batch, 0, set).mass;
        for (int between : new int[] {0, 1, 6}) {
            Everything all = Everything.of(target, batch, DType.F32, between, set);
            assertThat(all.result.logProb).isEqualTo(plain.logProb);
            assertThat(all.result.entropy).isEqualTo(plain.entropy);
            assertThat(all.result.lse).isEqualTo(plain.lse);
            assertThat(all.mass).isEqualTo(mass);
            for (int row = 0; row < rows; row++) {
                double[] z = batch.scaled(row);
                int best = 0;
                for (int word = 1; word < vocab; word++) {
                    best = z[word] > z[best] ? word : best;
                }
                assertThat(all.argmax[row]).isEqualTo(best);
                double exact = Exact.of(z, best).logProb;
                near("maxProb", all.maxProb[row], StrictMath.exp(exact), 2e-6);
            }
        }
    }

    /// Logits in BF16 are those widened to F32, at any address and pitch.
    @ParameterizedTest
    @EnumSource(names = {"CUDA_BF16"})
    void logitsMayBeBf16(Target target) {
        for (int vocab : new int[] {1, 7, 300, 1024, 8191, 20_002}) {
            Batch drawn = Batch.random(5, vocab, 0.8f, 4);
            Batch batch =
                    new Batch(
                            5,
                            vocab,
                            0.8f,
                            Buffers.rounded(DType.BF16, drawn.logits),
                            drawn.targets,
                            drawn.banned);
            byte[] set = everyWord(vocab, 0, 3);
            for (int between : new int[] {0, 1, 6}) {
                Everything wide = Everything.of(target, batch, DType.F32, between, set);
                Everything half = Everything.of(target, batch, DType.BF16, between, set);
                assertThat(half.result.logProb).isEqualTo(wide.result.logProb);
                assertThat(half.result.entropy).isEqualTo(wide.result.entropy);
                assertThat(half.maxProb).isEqualTo(wide.maxProb);
                assertThat(half.argmax).isEqualTo(wide.argmax);
                assertThat(half.mass).isEqualTo(wide.mass);
            }
            float[] up = {1, -2, 0, 3, 0.5f};
            float[] gradient =
                    Buffers.rounded(DType.BF16, backward(Target.CUDA_F32, batch, 0, up, up));
            try (Buffers buffers = target.open()) {
                Span logits = buffers.of(DType.BF16, batch.logits);
                backward(buffers, batch, logits, up, up, logits);
                assertThat(buffers.floats(logits)).isEqualTo(gradient);
            }
        }
    }

    /// Masks that are numbers: -1e30, the smallest float, and rows of nothing else.
    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void finiteMasksCarryNothing(Target target) {
        for (int vocab : new int[] {2, 255, 1025, 8191}) {
            for (float mask : new float[] {-1e30f, -Float.MAX_VALUE}) {
                isExact(target, Batch.row(vocab, vocab - 1, v -> v == vocab - 1 ? 2 : mask));
                isExact(target, Batch.row(vocab, 0, v -> v < vocab / 2 + 1 ? v % 3 : mask));
                Batch all = Batch.row(vocab, 0, _ -> mask);
                Result result = forward(target, all, 0);
                near("entropy", result.entropy[0], StrictMath.log(vocab), 2e-6);
                near("logProb", result.logProb[0], -StrictMath.log(vocab), 2e-6);
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void theFirstOfEqualWordsIsTheMostProbable(Target target) {
        for (int vocab : new int[] {1, 7, 300, 1100, 8191, 20_000}) {
            byte[] set = new byte[vocab];
            for (int first : new int[] {0, vocab / 3, vocab - 1}) {
                Batch batch = Batch.row(vocab, 0, v -> v < first ? -1 : 2);
                assertThat(Everything.of(target, batch, DType.F32, 0, set).argmax)
                        .containsExactly(first);
            }
            Batch nothing = Batch.row(vocab, 0, _ -> NONE);
            Everything none = Everything.of(target, nothing, DType.F32, 0, set);
            assertThat(none.argmax).containsExactly(-1);
            assertThat(none.maxProb).containsExactly(0f);
            Batch nan = Batch.row(vocab, 0, v -> v == 0 ? Double.NaN : v);
            Everything some = Everything.of(target, nan, DType.F32, 0, set);
            assertThat(some.argmax).containsExactly(vocab == 1 ? -1 : vocab - 1);
            assertThat(some.maxProb[0]).isNaN();
        }
    }

    /// Thousands of rows, each as it is alone.
    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void manyRows(Target target) {
        Batch batch = Batch.random(3001, 333, 1, 4);
        Result all = forward(target, batch, 0);
        for (int row = 0; row < 3001; row += 500) {
            Result own = forward(target, batch.only(row), 1);
            assertThat(own.logProb[0]).isEqualTo(all.logProb[row]);
            assertThat(own.entropy[0]).isEqualTo(all.entropy[row]);
        }
    }

    /// A part of the vocabulary's logits has the gradients that it has among all.
    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void gradientsOfAPartOfTheWords(Target target) {
        int vocab = 2000;
        Batch batch = Batch.random(5, vocab, 0.9f, 4);
        batch.targets[0] = 0;
        batch.targets[1] = vocab - 1;
        float[] up = {1, -2, 0, 3, 0.5f};
        float[] gradient = backward(target, batch, 0, up, up);
        Result whole = forward(target, batch, 0);
        for (int[] part : new int[][] {{0, 1}, {0, 700}, {697, 1003}, {1990, 10}}) {
            int first = part[0];
            int words = part[1];
            float[] logits = new float[5 * (words + 3)];
            float[] expected = new float[5 * (words + 3)];
            for (int row = 0; row < 5; row++) {
                int to = row * (words + 3);
                System.arraycopy(batch.logits, row * vocab + first, logits, to, words);
                System.arraycopy(gradient, row * vocab + first, expected, to, words);
            }
            try (Buffers buffers = target.open()) {
                Span inPlace = buffers.of(logits);
                Entropy.on(buffers.device())
                        .backward(
                                new Entropy.Rows(5, words, words + 3, 0.9f, inPlace),
                                new Entropy.Part(first, vocab, buffers.of(whole.logProb)),
                                buffers.of(batch.targets),
                                bans(buffers, batch),
                                buffers.of(whole.entropy),
                                buffers.of(whole.lse),
                                buffers.of(up),
                                buffers.of(up),
                                inPlace);
                assertThat(buffers.floats(inPlace)).isEqualTo(expected);
            }
        }
    }

    static Stream<Arguments> gradientSizes() {
        return Stream.of(Target.CPU_F32, Target.CUDA_F32)
                .flatMap(target ->
                        Stream.of(
                                Arguments.of(target, 3, 1, 1f),
                                Arguments.of(target, 40, 7, 0.7f),
                                Arguments.of(target, 5, 136, 1f),
                                Arguments.of(target, 2, 1000, 1.4f),
                                Arguments.of(target, 3, 4111, 1f),
                                Arguments.of(target, 2, 8195, 1f),
                                Arguments.of(target, 2, 151_674, 1f)));
    }

    @ParameterizedTest
    @MethodSource("gradientSizes")
    void gradientIsExact(Target target, int rows, int vocab, float temperature) {
        Batch batch = Batch.random(rows, vocab, temperature, 3);
        float[] upLogProb = Buffers.normal(5, rows, 1);
        float[] upEntropy = Buffers.normal(6, rows, 1);
        float[] gradient = backward(target, batch, 0, upLogProb, upEntropy);
        float inverse = 1f / temperature;
        for (int row = 0; row < rows; row++) {
            double[] z = batch.scaled(row);
            Exact exact = Exact.of(z, batch.targets[row]);
            double worst = 0;
            for (int v = 0; v < vocab; v++) {
                double logP = z[v] - exact.lse;
                double p = StrictMath.exp(logP);
                double wanted = z[v] == NONE ? 0 : -upEntropy[row] * p * (logP + exact.entropy);
                wanted += upLogProb[row] * ((v == batch.targets[row] ? 1 : 0) - p);
                wanted *= inverse;
                double allowed = 2e-4 * p + 2e-7 * Math.abs(wanted) + 1e-12;
                double error = Math.abs(gradient[row * vocab + v] - wanted) / allowed;
                worst = Double.isNaN(error) ? error : Math.max(worst, error);
            }
            assertThat(worst).as("error / tolerance").isLessThanOrEqualTo(1);
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void eitherGradientMayBeMissingAndTheLogitsMayBeOverwritten(Target target) {
        for (int vocab : new int[] {7, 136, 8197}) {
            Batch batch = Batch.random(3, vocab, 1, 4);
            float[] up = {1, 2, 3};
            float[] zero = new float[3];
            float[] both = backward(target, batch, 0, up, up);
            assertThat(backward(target, batch, 0, up, null))
                    .isEqualTo(backward(target, batch, 0, up, zero));
            assertThat(backward(target, batch, 0, null, up))
                    .isEqualTo(backward(target, batch, 0, zero, up));
            assertThat(backward(target, batch, 0, null, null)).isEqualTo(new float[3 * vocab]);
            try (Buffers buffers = target.open()) {
                Span inPlace = shifted(buffers, 1, batch.logits);
                backward(buffers, batch, inPlace, up, up, inPlace);
                assertThat(buffers.floats(inPlace)).isEqualTo(both);
            }
        }
    }

    /// A BF16 gradient is the F32 one rounded.
    @ParameterizedTest
    @EnumSource(names = {"CUDA_F32"})
    void theGradientMayBeBf16(Target target) {
        float[] up = {1, -2, 3};
        for (int vocab : new int[] {7, 136, 8197, 20_000}) {
            Batch batch = Batch.random(3, vocab, 1, 4);
            float[] wide = backward(target, batch, 0, up, up);
            for (int shift = 0; shift < 4; shift++) {
                try (Buffers buffers = target.open()) {
                    Span logits = shifted(buffers, shift, batch.logits);
                    Span out = buffers.poison(DType.BF16, 3 * vocab + 1);
                    Span narrow = out.slice(shift % 2, 3L * vocab);
                    backward(buffers, batch, logits, up, up, narrow);
                    assertThat(buffers.floats(narrow)).isEqualTo(Buffers.rounded(DType.BF16, wide));
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void entropyAndLseAreOptionalAndNothingElseIsWritten(Target target) {
        for (int vocab : new int[] {136, 2000, 9000}) {
            Batch batch = Batch.random(3, vocab, 1, 4);
            try (Buffers buffers = target.open()) {
                Span logProb = buffers.poison(5);
                Entropy.on(buffers.device())
                        .forward(
                                3,
                                vocab,
                                1,
                                buffers.of(batch.logits),
                                buffers.of(batch.targets),
                                bans(buffers, batch),
                                logProb.slice(1, 3),
                                null,
                                null);
                float[] written = buffers.floats(logProb);
                assertThat(written[0]).isNaN();
                assertThat(written[4]).isNaN();
                assertThat(Arrays.copyOfRange(written, 1, 4))
                        .containsExactly(forward(target, batch, 0).logProb);
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void noRowsAreNothing(Target target) {
        Batch none = new Batch(0, 9000, 1, new float[0], new int[0], null);
        assertThat(forward(target, none, 1).logProb).isEmpty();
        assertThat(backward(target, none, 1, new float[0], null)).isEmpty();
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void aTargetOutsideTheVocabularyIsAnError(Target target) {
        target.open().close();
        for (int wrong : new int[] {-1, 3}) {
            Batch batch = new Batch(2, 3, 1, new float[6], new int[] {0, wrong}, null);
            assertThatThrownBy(() -> forward(target, batch, 0))
                    .isInstanceOf(
                            target.isCuda()
                                    ? IndexOutOfBoundsException.class
                                    : IllegalArgumentException.class)
                    .hasMessageContaining(Integer.toString(wrong));
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CPU_F32", "CUDA_F32"})
    void operandsAreChecked(Target target) {
        target.open().close();
        Batch cold = new Batch(1, 3, 0, new float[3], new int[1], null);
        assertThatThrownBy(() -> forward(target, cold, 0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("temperature 0");
        Batch tooShort = new Batch(2, 3, 1, new float[5], new int[2], null);
        assertThatThrownBy(() -> forward(target, tooShort, 0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("logits holds 5");
    }
}
