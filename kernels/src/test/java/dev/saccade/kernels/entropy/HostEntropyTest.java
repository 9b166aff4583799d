package dev.saccade.kernels.entropy;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.HostArrays;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HostEntropyTest {

    private static final float NONE = Float.NEGATIVE_INFINITY;

    /// One batch and what the kernel made of it.
    private static final class Batch {
        private final int rows;
        private final int vocab;
        private final float temperature;
        private final float[] logits;
        private final int[] targets;
        private final byte @Nullable [] banned;

        Batch(
                int rows,
                int vocab,
                float temperature,
                float[] logits,
                int[] targets,
                byte @Nullable [] banned) {
            this.rows = rows;
            this.vocab = vocab;
            this.temperature = temperature;
            this.logits = logits;
            this.targets = targets;
            this.banned = banned;
        }

        Result run(int workers) {
            try (HostArrays arrays = new HostArrays(workers)) {
                Entropy kernel = Entropy.on(arrays.device());
                Span in = arrays.of(logits);
                Span target = arrays.of(targets);
                Span ban = banned == null ? null : arrays.of(banned);
                Span logProb = arrays.poison(rows, DType.F32);
                Span entropy = arrays.poison(rows, DType.F32);
                Span lse = arrays.poison(rows, DType.F32);
                kernel.forward(rows, vocab, temperature, in, target, ban, logProb, entropy, lse);
                return new Result(
                        arrays.floats(logProb), arrays.floats(entropy), arrays.floats(lse));
            }
        }

        float[] backward(int workers, float @Nullable [] dLogProb, float @Nullable [] dEntropy) {
            Result forward = run(workers);
            try (HostArrays arrays = new HostArrays(workers)) {
                Span out = arrays.poison(rows * vocab, DType.F32);
                Entropy.on(arrays.device())
                        .backward(
                                rows,
                                vocab,
                                temperature,
                                arrays.of(logits),
                                arrays.of(targets),
                                banned == null ? null : arrays.of(banned),
                                arrays.of(forward.entropy),
                                arrays.of(forward.lse),
                                dLogProb == null ? null : arrays.of(dLogProb),
                                dEntropy == null ? null : arrays.of(dEntropy),
                                out);
                return arrays.floats(out);
            }
        }

        Batch row(int row) {
            float[] own = Arrays.copyOfRange(logits, row * vocab, (row + 1) * vocab);
            return new Batch(1, vocab, temperature, own, new int[] {targets[row]}, banned);
        }

        /// A row's scaled logits.
        double[] scaled(int row) {
            double[] z = new double[vocab];
            for (int v = 0; v < vocab; v++) {
                boolean no = banned != null && banned[v] != 0;
                z[v] = no ? NONE : logits[row * vocab + v] * (1f / temperature);
            }
            return z;
        }
    }

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

    private static Batch batch(int rows, int vocab, float temperature, double size, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
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
        float[] logits = HostArrays.random(seed + 1, rows * vocab, -size, size);
        return new Batch(rows, vocab, temperature, logits, targets, banned);
    }

    @ParameterizedTest
    @CsvSource({
        "5, 1, 1, 3",
        "4, 7, 1, 3",
        "9, 16, 0.7, 3",
        "9, 31, 1.3, 30",
        "33, 136, 1, 5",
        "7, 1000, 0.6, 10",
        "5, 4097, 1, 0",
        "3, 9001, 1, 100",
        "2, 151674, 1, 12",
        "2, 151674, 1, 0.001",
        "6, 1000, 1, 10000"
    })
    void forwardIsExact(int rows, int vocab, float temperature, double size) {
        Batch batch = batch(rows, vocab, temperature, size == 0 ? 1e-30 : size, 42);
        Result result = batch.run(2);
        for (int row = 0; row < rows; row++) {
            Exact exact = Exact.of(batch.scaled(row), batch.targets[row]);
            near(result.logProb[row], exact.logProb, 1e-6);
            near(result.entropy[row], exact.entropy, 1e-6);
            near(result.lse[row], exact.lse, 2e-7);
        }
    }

    @Test
    void workersAndBatchDoNotChangeABit() {
        for (int vocab : new int[] {7, 136, 1000, 5003}) {
            Batch batch = batch(37, vocab, 0.9f, 8, vocab);
            Result one = batch.run(1);
            Result two = batch.run(2);
            assertThat(two.logProb).containsExactly(one.logProb);
            assertThat(two.entropy).containsExactly(one.entropy);
            assertThat(two.lse).containsExactly(one.lse);
            float[] up = HostArrays.random(3, 37, -1, 1);
            float[] gradient = batch.backward(1, up, up);
            assertThat(batch.backward(2, up, up)).containsExactly(gradient);
            for (int row = 0; row < 37; row += 9) {
                Result own = batch.row(row).run(1);
                assertThat(own.logProb[0]).isEqualTo(one.logProb[row]);
                assertThat(own.entropy[0]).isEqualTo(one.entropy[row]);
                float[] ownUp = {up[row]};
                assertThat(batch.row(row).backward(1, ownUp, ownUp))
                        .containsExactly(
                                Arrays.copyOfRange(gradient, row * vocab, (row + 1) * vocab));
            }
        }
    }

    /// A digest of the results' bits: the same on every machine, for every vector length.
    @Test
    void theBitsAreTheOnesOfEveryMachine() {
        Batch batch = batch(5, 10007, 0.8f, 12, 11);
        Result result = batch.run(2);
        float[] up = {1, -0.5f, 0.25f, 2, -3};
        int digest = Arrays.hashCode(result.logProb);
        digest = 31 * digest + Arrays.hashCode(result.entropy);
        digest = 31 * digest + Arrays.hashCode(result.lse);
        digest = 31 * digest + Arrays.hashCode(batch.backward(2, up, up));
        assertThat(digest).isEqualTo(-1_636_681_915);
    }

    @Test
    void infiniteAndBannedWordsCarryNothing() {
        float[] logits = {
            1,
            NONE,
            2,
            0, // a word without probability
            NONE,
            NONE,
            NONE,
            0, // only a banned word has a logit
            5,
            1,
            1,
            Float.NaN, // a banned NaN
            1,
            2,
            Float.NaN,
            0, // an allowed NaN
            1,
            2,
            Float.POSITIVE_INFINITY,
            0,
            3,
            3,
            3,
            50 // the target is banned
        };
        byte[] banned = {0, 0, 0, 1};
        Batch batch = new Batch(6, 4, 1, logits, new int[] {2, 0, 1, 0, 0, 3}, banned);
        Result result = batch.run(1);
        Exact first = Exact.of(new double[] {1, NONE, 2, NONE}, 2);
        near(result.logProb[0], first.logProb, 1e-6);
        near(result.entropy[0], first.entropy, 1e-6);
        assertThat(result.logProb[1]).isEqualTo(NONE);
        assertThat(result.entropy[1]).isEqualTo(0f);
        assertThat(result.lse[1]).isEqualTo(NONE);
        near(result.logProb[2], Exact.of(new double[] {5, 1, 1, NONE}, 1).logProb, 1e-6);
        for (int row = 3; row < 5; row++) {
            assertThat(result.logProb[row]).isNaN();
            assertThat(result.entropy[row]).isNaN();
            assertThat(result.lse[row]).isNaN();
        }
        assertThat(result.logProb[5]).isEqualTo(NONE);
        near(result.entropy[5], StrictMath.log(3), 1e-6);

        float[] up = {1, 1, 1, 1, 1, 1};
        float[] gradient = batch.backward(1, up, up);
        assertThat(Arrays.copyOfRange(gradient, 4, 8)).containsExactly(0, 0, 0, 0);
        for (int row : new int[] {0, 2, 5}) {
            assertThat(gradient[row * 4 + 3]).isZero();
            for (int v = 0; v < 4; v++) {
                assertThat(gradient[row * 4 + v]).isFinite();
            }
        }
        assertThat(gradient[12]).isNaN();
    }

    @Test
    void onlyNanIsNanAndNotNothing() {
        float nan = Float.NaN;
        Batch batch = new Batch(1, 3, 1, new float[] {nan, nan, nan}, new int[] {0}, null);
        assertThat(batch.run(1).logProb[0]).isNaN();
    }

    @ParameterizedTest
    @CsvSource({"3, 1, 1", "4, 7, 0.7", "5, 136, 1", "2, 1000, 1.4", "2, 4111, 1"})
    void gradientIsTheDifferenceQuotient(int rows, int vocab, float temperature) {
        Batch batch = batch(rows, vocab, temperature, 4, 77);
        float[] upLogProb = HostArrays.random(5, rows, -2, 2);
        float[] upEntropy = HostArrays.random(6, rows, -2, 2);
        float[] gradient = batch.backward(2, upLogProb, upEntropy);
        for (int row = 0; row < rows; row++) {
            double[] z = batch.scaled(row);
            for (int v = 0; v < vocab; v += 1 + vocab / 50) {
                double step = 1e-4;
                double saved = z[v];
                z[v] = saved + step;
                Exact above = Exact.of(z, batch.targets[row]);
                z[v] = saved - step;
                Exact below = Exact.of(z, batch.targets[row]);
                z[v] = saved;
                double wanted =
                        (upLogProb[row] * (above.logProb - below.logProb)
                                        + upEntropy[row] * (above.entropy - below.entropy))
                                / (2 * step)
                                * (1f / temperature);
                if (saved == NONE) {
                    wanted = 0;
                }
                near(gradient[row * vocab + v], wanted, 1e-6);
            }
        }
    }

    @Test
    void gradientIsExactOnALargeVocabulary() {
        Batch batch = batch(2, 151_674, 1, 9, 5);
        float[] upLogProb = {1.5f, -0.7f};
        float[] upEntropy = {-0.3f, 2};
        float[] gradient = batch.backward(2, upLogProb, upEntropy);
        for (int row = 0; row < 2; row++) {
            double[] z = batch.scaled(row);
            Exact exact = Exact.of(z, batch.targets[row]);
            for (int v = 0; v < batch.vocab; v++) {
                double logP = z[v] - exact.lse;
                double p = StrictMath.exp(logP);
                double wanted = z[v] == NONE ? 0 : -upEntropy[row] * p * (logP + exact.entropy);
                wanted += upLogProb[row] * ((v == batch.targets[row] ? 1 : 0) - p);
                assertThat(Math.abs(gradient[row * batch.vocab + v] - wanted))
                        .isLessThanOrEqualTo(1e-5 * p * 20 + 1e-7 * Math.abs(wanted));
            }
        }
    }

    @Test
    void eitherGradientMayBeMissingAndTheLogitsMayBeOverwritten() {
        Batch batch = batch(3, 136, 1, 4, 8);
        float[] up = {1, 2, 3};
        float[] zero = new float[3];
        assertThat(batch.backward(1, up, null)).containsExactly(batch.backward(1, up, zero));
        assertThat(batch.backward(1, null, up)).containsExactly(batch.backward(1, zero, up));
        assertThat(batch.backward(1, null, null)).containsOnly(0f);
        Result forward = batch.run(1);
        try (HostArrays arrays = new HostArrays(1)) {
            Span inPlace = arrays.of(batch.logits);
            Entropy.on(arrays.device())
                    .backward(
                            3,
                            136,
                            1,
                            inPlace,
                            arrays.of(batch.targets),
                            batch.banned == null ? null : arrays.of(batch.banned),
                            arrays.of(forward.entropy),
                            arrays.of(forward.lse),
                            arrays.of(up),
                            arrays.of(up),
                            inPlace);
            assertThat(arrays.floats(inPlace)).containsExactly(batch.backward(1, up, up));
        }
    }

    @Test
    void entropyAndLseAreOptional() {
        Batch batch = batch(3, 136, 1, 4, 8);
        try (HostArrays arrays = new HostArrays(1)) {
            Span logProb = arrays.poison(3, DType.F32);
            Entropy.on(arrays.device())
                    .forward(
                            3,
                            136,
                            1,
                            arrays.of(batch.logits),
                            arrays.of(batch.targets),
                            batch.banned == null ? null : arrays.of(batch.banned),
                            logProb,
                            null,
                            null);
            assertThat(arrays.floats(logProb)).containsExactly(batch.run(1).logProb);
        }
    }

    @Test
    void aTargetOutsideTheVocabularyIsAnError() {
        Batch batch = new Batch(2, 3, 1, new float[6], new int[] {0, 3}, null);
        assertThatThrownBy(() -> batch.run(1))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("row 1 is 3");
        assertThatThrownBy(() -> new Batch(1, 3, 0, new float[3], new int[1], null).run(1))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("temperature 0");
    }

    private static void near(double got, double wanted, double relative) {
        assertThat(Math.abs(got - wanted))
                .as("%s for %s", got, wanted)
                .isLessThanOrEqualTo(relative * (1 + Math.abs(wanted)));
    }
}
