package dev.saccade.rl.loss;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

final class LossAggregationTest {
    private static final int SCALE = 48;

    /// The aggregations written down as verl's formulas, on whole sequences.
    private static double expected(LossAggregation mode, double[][] losses) {
        double tokens = Arrays.stream(losses).mapToInt(l -> l.length).sum();
        double[] sums = Arrays.stream(losses).mapToDouble(l -> Arrays.stream(l).sum()).toArray();
        return switch (mode) {
            case TOKEN_MEAN -> Arrays.stream(sums).sum() / tokens;
            case TOKEN_SUM -> Arrays.stream(sums).sum();
            case SEQ_MEAN_TOKEN_MEAN -> {
                double mean = 0;
                for (double[] sequence : losses) {
                    mean += Arrays.stream(sequence).average().orElse(0) / losses.length;
                }
                yield mean;
            }
            case SEQ_MEAN_TOKEN_SUM -> Arrays.stream(sums).sum() / losses.length;
            case SEQ_MEAN_TOKEN_SUM_NORM -> Arrays.stream(sums).sum() / losses.length / SCALE;
        };
    }

    private static double weighted(float[] weights, double[][] losses) {
        double sum = 0;
        int at = 0;
        for (double[] sequence : losses) {
            for (double loss : sequence) {
                sum += weights[at++] * loss;
            }
        }
        assertThat(at).isEqualTo(weights.length);
        return sum;
    }

    private static int[] lengths(double[][] losses) {
        return Arrays.stream(losses).mapToInt(l -> l.length).toArray();
    }

    @ParameterizedTest
    @EnumSource(LossAggregation.class)
    void isVerlsFormulaHoweverTheBatchIsCut(LossAggregation mode) {
        Random random = new Random(17);
        double[][] losses = new double[13][];
        long tokens = 0;
        for (int i = 0; i < losses.length; i++) {
            losses[i] = random.doubles(i == 4 ? 0 : random.nextInt(1, 30), -2, 2).toArray();
            tokens += losses[i].length;
        }
        double expected = expected(mode, losses);
        for (int micro = 1; micro <= losses.length; micro++) {
            double sum = 0;
            for (int from = 0; from < losses.length; from += micro) {
                double[][] part =
                        Arrays.copyOfRange(losses, from, Math.min(from + micro, losses.length));
                float[] weights = mode.weights(lengths(part), tokens, losses.length, SCALE);
                sum += weighted(weights, part);
            }
            assertThat(sum)
                    .as("%s in parts of %d", mode, micro)
                    .isCloseTo(expected, within(1e-6 * Math.max(1, Math.abs(expected))));
        }
    }

    @Test
    void aTokensWeightDoesNotDependOnTheCut() {
        float[] whole = LossAggregation.SEQ_MEAN_TOKEN_MEAN.weights(new int[] {3, 7, 5}, 15, 3, 1);
        float[] part = LossAggregation.SEQ_MEAN_TOKEN_MEAN.weights(new int[] {7}, 15, 3, 1);
        assertThat(part).isEqualTo(Arrays.copyOfRange(whole, 3, 10));
    }

    @Test
    void hasVerlsNames() {
        assertThat(LossAggregation.SEQ_MEAN_TOKEN_SUM_NORM.label())
                .isEqualTo("seq-mean-token-sum-norm");
    }

    @Test
    void refusesMoreThanTheWholeBatch() {
        LossAggregation mode = LossAggregation.TOKEN_MEAN;
        assertThatThrownBy(() -> mode.weights(new int[] {3}, 2, 1, 1))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> mode.weights(new int[] {1, 1}, 2, 1, 1))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> mode.weights(new int[] {-1}, 2, 1, 1))
                .isInstanceOf(IllegalArgumentException.class);
    }
}
