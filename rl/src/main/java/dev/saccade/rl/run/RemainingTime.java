package dev.saccade.rl.run;

import dev.saccade.rl.recipe.PolicyRecipe;
import dev.saccade.rl.recipe.StageRecipe;
import java.time.Duration;
import java.util.List;

/// Estimates how long a run still takes. A stage that has not begun is estimated by its sequences:
/// a sampled one costs about twice a supervised one, being generated and trained on.
final class RemainingTime {
    private final List<StageRecipe> stages;
    private double unitsDone;
    private double secondsDone;
    private int stage = -1;
    private int stageSteps;
    private double stageSeconds;

    RemainingTime(List<StageRecipe> stages) {
        this.stages = stages;
    }

    private static double unitsPerStep(StageRecipe stage) {
        PolicyRecipe policy = stage.policy();
        return policy == null
                ? stage.trainBatchSize()
                : 2.0 * stage.trainBatchSize() * policy.rollout().n();
    }

    /// A step with its evaluation and checkpoint took `seconds`.
    void add(int index, double seconds) {
        if (index != stage) {
            stage = index;
            stageSteps = 0;
            stageSeconds = 0;
        }
        stageSteps++;
        stageSeconds += seconds;
        unitsDone += unitsPerStep(stages.get(index));
        secondsDone += seconds;
    }

    /// The rest of the run after `stageStep` steps of stage `index`.
    Duration estimate(int index, int stageStep) {
        double perStep = stageSeconds / Math.max(1, stageSteps);
        double seconds = perStep * (stages.get(index).steps() - stageStep);
        double perUnit = unitsDone == 0 ? 0 : secondsDone / unitsDone;
        for (StageRecipe later : stages.subList(index + 1, stages.size())) {
            seconds += perUnit * unitsPerStep(later) * later.steps();
        }
        return Duration.ofMillis(Math.round(seconds * 1000));
    }
}
