package dev.saccade.rl.stage;

import dev.saccade.model.VisionLanguageModel;
import dev.saccade.rl.data.DataSet;
import dev.saccade.rl.recipe.Recipe;
import dev.saccade.rl.recipe.StageRecipe;
import dev.saccade.rl.rollout.RowEncoder;
import dev.saccade.tensor.AdamW;

/// What a stage works with.
///
/// @param model the weights; frozen groups are marked already
/// @param encoder turns rows into tokens
/// @param optimizer over the trainable weights
/// @param recipe the run's recipe
/// @param stage the stage's part of it
/// @param index which stage it is, from 0
/// @param data the rows it trains on
public record StageContext(
        VisionLanguageModel model,
        RowEncoder encoder,
        AdamW optimizer,
        Recipe recipe,
        StageRecipe stage,
        int index,
        DataSet data) {

    /// The rows of each step.
    RowOrder order() {
        return new RowOrder(data, recipe.seed(), index, stage.trainBatchSize());
    }

    /// The learning rate of a step, from 0.
    double learningRate(int stageStep) {
        return stage.optim().learningRate(stage.steps()).at(stageStep);
    }
}
