package dev.saccade.rl.stage;

import dev.saccade.rl.recipe.StageRecipe;

/// Numbers that end a run when they go wrong: nothing after them would mean anything.
final class Checks {
    private Checks() {}

    static void finite(String what, double value, StageRecipe stage, int stageStep) {
        if (!Double.isFinite(value)) {
            throw new IllegalStateException(
                    "%s is %s at step %d of stage %s: lower stages.%s.optim.lr"
                            .formatted(what, value, stageStep + 1, stage.name(), stage.name()));
        }
    }
}
