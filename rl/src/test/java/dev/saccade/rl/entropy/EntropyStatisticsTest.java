package dev.saccade.rl.entropy;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.model.chat.CriticalTokens;
import dev.saccade.model.generate.Completion;
import dev.saccade.model.generate.FinishReason;
import dev.saccade.model.tokenizer.TinyVocabulary;
import dev.saccade.model.tokenizer.Tokenizer;
import dev.saccade.rl.recipe.EntropyRecipe;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;

final class EntropyStatisticsTest {
    private static final Tokenizer TOKENIZER = TinyVocabulary.tokenizer(List.of("Wait"));
    private static final int WAIT = TOKENIZER.id("Wait").orElseThrow();

    private static final EntropyRecipe RECIPE =
            new EntropyRecipe(
                    CriticalTokens.DEFAULT_WORDS, 6.8, 0.1, List.of(0.0, 1.0, 2.0, 7.0, 12.0));

    private static EntropyStatistics statistics() {
        return new EntropyStatistics(CriticalTokens.of(RECIPE.criticalWords(), TOKENIZER), RECIPE);
    }

    private static Completion completion(int[] tokens, float[] entropies, float... masses) {
        return new Completion(
                tokens, new float[tokens.length], entropies, masses, FinishReason.STOP);
    }

    @Test
    void addsUpBySourceAndByCorrectness() {
        EntropyStatistics statistics = statistics();
        statistics.add("sum", true, completion(new int[] {'.', WAIT, '.'}, new float[] {1, 2, 0}));
        statistics.add("sum", false, completion(new int[] {'.', '.'}, new float[] {7, 0.5f}));
        statistics.add(
                "count",
                false,
                completion(new int[] {WAIT, '.', WAIT, '.'}, new float[] {1, 0, 3, 12.5f}));
        Map<String, Double> metrics = statistics.toMetrics("");
        assertThat(metrics.get("entropy/mean")).isCloseTo(27.0 / 9, within(1e-12));
        assertThat(metrics.get("entropy/critical/mean")).isCloseTo(2, within(1e-12));
        assertThat(metrics.get("entropy/critical/count")).isEqualTo(3);
        assertThat(metrics.get("entropy/critical/share")).isCloseTo(2.0 / 3, within(1e-12));
        assertThat(metrics.get("entropy/above_threshold/share")).isCloseTo(2.0 / 9, within(1e-12));
        assertThat(metrics.get("entropy/above_threshold/count/share")).isEqualTo(0.25);
        assertThat(metrics.get("entropy/above_threshold/correct/share")).isEqualTo(0);
        assertThat(metrics.get("entropy/critical/above_threshold/share")).isEqualTo(0);
        assertThat(metrics.get("entropy/sum/mean")).isCloseTo(10.5 / 5, within(1e-12));
        assertThat(metrics.get("entropy/critical/sum/mean")).isEqualTo(2);
        assertThat(metrics.get("entropy/critical/count/mean")).isEqualTo(2);
        assertThat(metrics.get("entropy/critical/count/share")).isEqualTo(1);
        assertThat(metrics.get("entropy/critical/correct/mean")).isEqualTo(2);
        assertThat(metrics.get("entropy/critical/incorrect/count")).isEqualTo(2);
        assertThat(metrics.keySet()).noneMatch(name -> name.contains("critical_"));
        assertThat(statistics.toMetrics("val/")).containsKey("val/entropy/critical/sum/count");
    }

    @Test
    void countsWhereACriticalTokenWasPossible() {
        EntropyStatistics statistics = statistics();
        statistics.add(
                "sum",
                true,
                completion(
                        new int[] {'.', WAIT, '.', '.'},
                        new float[] {1, 2, 8, 0},
                        0.5f,
                        0.05f,
                        0.25f,
                        0));
        statistics.add("count", false, completion(new int[] {'.'}, new float[] {3}, 0));
        Map<String, Double> metrics = statistics.toMetrics("");
        assertThat(metrics)
                .containsEntry("entropy/critical/mean", 2.0)
                .containsEntry("entropy/critical_possible/mean", 4.5)
                .containsEntry("entropy/critical_possible/count", 2.0)
                .containsEntry("entropy/critical_possible/share", 0.5)
                .containsEntry("entropy/critical_possible/above_threshold/share", 0.5)
                .containsEntry("entropy/critical_possible/sum/mean", 4.5)
                .containsEntry("entropy/critical_possible/correct/share", 1.0)
                .containsEntry("entropy/critical_possible/incorrect/count", 0.0)
                .containsEntry("entropy/critical_mass/incorrect/mean", 0.0)
                .doesNotContainKey("entropy/critical_possible/incorrect/mean");
        assertThat(metrics.get("entropy/critical_mass/mean")).isCloseTo(0.16, within(1e-8));
        assertThat(metrics.get("entropy/critical_mass/sum/mean")).isCloseTo(0.2, within(1e-8));
        assertThat(statistics.toHistograms().get("entropy/critical_possible/histogram"))
                .containsExactly(0, 1, 0, 1, 0);
    }

    @Test
    void countsTokensByEntropy() {
        EntropyStatistics statistics = statistics();
        statistics.add(
                "sum",
                true,
                completion(
                        new int[] {'.', WAIT, '.', '.', '.'},
                        new float[] {-1e-7f, 2, 6.999f, 7, 99}));
        statistics.add("count", false, completion(new int[] {'.'}, new float[] {0.999f}));
        Map<String, long[]> histograms = statistics.toHistograms();
        assertThat(histograms.get("entropy/histogram")).containsExactly(2, 0, 2, 1, 1);
        assertThat(histograms.get("entropy/critical/histogram")).containsExactly(0, 0, 1, 0, 0);
        assertThat(histograms.get("entropy/sum/histogram")).containsExactly(1, 0, 2, 1, 1);
        assertThat(histograms.get("entropy/incorrect/histogram")).containsExactly(1, 0, 0, 0, 0);
        assertThat(histograms)
                .doesNotContainKeys(
                        "entropy/critical/incorrect/histogram",
                        "entropy/critical_possible/histogram");
    }

    @Test
    void whatIsUndefinedIsLeftOut() {
        EntropyStatistics statistics = statistics();
        assertThat(statistics.toMetrics(""))
                .containsEntry("entropy/critical/count", 0.0)
                .doesNotContainKeys("entropy/mean", "entropy/critical/mean");
        statistics.add("sum", true, completion(new int[] {'.'}, new float[] {1}));
        assertThat(statistics.toMetrics(""))
                .containsEntry("entropy/critical/share", 0.0)
                .containsEntry("entropy/mean", 1.0)
                .doesNotContainKeys("entropy/critical/mean", "entropy/critical/sum/mean");
        assertThat(statistics.toMetrics("").values()).allMatch(Double::isFinite);
    }

    @Test
    void refusesBrokenInput() {
        EntropyStatistics statistics = statistics();
        assertThatThrownBy(() -> statistics.add("s", true, completion(new int[2], new float[1])))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> statistics.add("s", true, completion(new int[2], new float[2], 1)))
                .isInstanceOf(IllegalArgumentException.class);
        Completion entropy = completion(new int[] {1}, new float[] {Float.NaN});
        assertThatThrownBy(() -> statistics.add("s", true, entropy))
                .hasMessage("the entropy of token 0 is NaN");
        Completion mass = completion(new int[] {1}, new float[1], Float.NaN);
        assertThatThrownBy(() -> statistics.add("s", true, mass))
                .hasMessage("the critical mass of token 0 is NaN");
    }

    @Test
    void rankCorrelationOfKnownData() {
        assertThat(
                        EntropyStatistics.rankCorrelation(
                                new double[] {1, 2, 3}, new double[] {5, 7, 9}))
                .isEqualTo(1);
        assertThat(
                        EntropyStatistics.rankCorrelation(
                                new double[] {1, 2, 3}, new double[] {9, 7, 0}))
                .isEqualTo(-1);
        // Without ties it is 1 - 6 sum d^2 / (n (n^2 - 1)); here d = 0, 1, -1, 2, -2.
        assertThat(
                        EntropyStatistics.rankCorrelation(
                                new double[] {10, 20, 30, 40, 50}, new double[] {1, 3, 2, 6, 4}))
                .isCloseTo(1 - 6.0 * (0 + 1 + 1 + 1 + 1) / (5 * 24), within(1e-12));
        // Ties share ranks: 1.5, 1.5, 3, 4 against 1, 2, 3, 4.
        assertThat(
                        EntropyStatistics.rankCorrelation(
                                new double[] {2, 2, 5, 9}, new double[] {1, 2, 3, 4}))
                .isCloseTo(4.5 / Math.sqrt(4.5 * 5), within(1e-12));
    }

    @Test
    void rankCorrelationMayBeUndefined() {
        assertThat(EntropyStatistics.rankCorrelation(new double[0], new double[0])).isNaN();
        assertThat(EntropyStatistics.rankCorrelation(new double[] {1}, new double[] {1})).isNaN();
        assertThat(EntropyStatistics.rankCorrelation(new double[] {1, 1}, new double[] {1, 2}))
                .isNaN();
        assertThat(
                        EntropyStatistics.rankCorrelation(
                                new double[] {1, Double.NaN}, new double[] {1, 2}))
                .isNaN();
        assertThatThrownBy(() -> EntropyStatistics.rankCorrelation(new double[2], new double[1]))
                .isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void rankCorrelationIgnoresMonotoneChanges() {
        Random random = new Random(5);
        double[] a = random.doubles(50).toArray();
        double[] b = random.doubles(50).toArray();
        double[] cubes = a.clone();
        for (int i = 0; i < cubes.length; i++) {
            cubes[i] = cubes[i] * cubes[i] * cubes[i];
        }
        assertThat(EntropyStatistics.rankCorrelation(cubes, b))
                .isEqualTo(EntropyStatistics.rankCorrelation(a, b))
                .isEqualTo(EntropyStatistics.rankCorrelation(b, a));
    }
}
