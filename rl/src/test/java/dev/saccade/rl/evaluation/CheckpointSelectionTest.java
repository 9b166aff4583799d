package dev.saccade.rl.evaluation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.rl.recipe.SelectionRecipe;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;

final class CheckpointSelectionTest {
    private static final CheckpointSelection SELECTION = by(SelectionRecipe.Rule.CRITICAL_ENTROPY);

    private static CheckpointSelection by(SelectionRecipe.Rule rule) {
        return new CheckpointSelection(new SelectionRecipe(rule, 0.02));
    }

    private static Candidate candidate(long step, double accuracy, double criticalEntropy) {
        return new Candidate(
                step, "grpo", (int) step, Map.of("all", accuracy), criticalEntropy, 0.1, 0.5, 0.7);
    }

    private static long best(CheckpointSelection selection, Candidate... candidates) {
        return selection.best(List.of(candidates)).orElseThrow().step();
    }

    @Test
    void theHighestCriticalEntropyNearTheBestAccuracyWins() {
        Candidate[] candidates = {
            candidate(1, 0.60, 0.9), candidate(2, 0.69, 0.3), candidate(3, 0.70, 0.2)
        };
        assertThat(best(SELECTION, candidates)).isEqualTo(2);
        assertThat(best(by(SelectionRecipe.Rule.ACCURACY), candidates)).isEqualTo(3);
        assertThat(best(by(SelectionRecipe.Rule.LAST), candidates)).isEqualTo(3);
    }

    @Test
    void withoutCriticalTokensAccuracyDecides() {
        assertThat(best(SELECTION, candidate(1, 0.69, Double.NaN), candidate(2, 0.70, Double.NaN)))
                .isEqualTo(2);
        assertThat(best(SELECTION, candidate(1, 0.69, 0.0), candidate(2, 0.70, Double.NaN)))
                .isEqualTo(1);
    }

    @Test
    void tiesGoToAccuracyThenToTheEarlierStep() {
        assertThat(best(SELECTION, candidate(1, 0.69, 0.3), candidate(2, 0.70, 0.3))).isEqualTo(2);
        assertThat(best(SELECTION, candidate(1, 0.70, 0.3), candidate(2, 0.70, 0.3))).isEqualTo(1);
    }

    @Test
    void noneOfNothing() {
        assertThat(SELECTION.best(List.of())).isEmpty();
    }

    @Test
    void whoeverWinsInTheEndWasAContenderAllTheTime() {
        for (long seed = 0; seed < 300; seed++) {
            Random random = new Random(seed);
            List<Candidate> candidates = new ArrayList<>();
            List<List<Candidate>> contenders = new ArrayList<>();
            for (int step = 1; step <= 12; step++) {
                double entropy = random.nextInt(6) == 0 ? Double.NaN : random.nextInt(8) / 8.0;
                candidates.add(candidate(step, 0.6 + random.nextInt(8) / 100.0, entropy));
                contenders.add(SELECTION.contenders(candidates));
            }
            Candidate winner = SELECTION.best(candidates).orElseThrow();
            for (int step = (int) winner.step(); step <= 12; step++) {
                assertThat(contenders.get(step - 1)).as("seed %d", seed).contains(winner);
            }
        }
    }

    @Test
    void rankCorrelationLeavesOutWhoNeverEmittedACriticalToken() {
        assertThat(
                        CheckpointSelection.rankCorrelation(
                                List.of(
                                        candidate(1, 0.5, 0.1),
                                        candidate(2, 0.9, Double.NaN),
                                        candidate(3, 0.6, 0.2),
                                        candidate(4, 0.7, 0.4))))
                .isCloseTo(1, within(1e-12));
        assertThat(CheckpointSelection.rankCorrelation(List.of(candidate(1, 0.5, 0.1)))).isNaN();
    }
}
