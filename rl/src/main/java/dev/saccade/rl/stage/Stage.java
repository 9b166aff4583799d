package dev.saccade.rl.stage;

/// A stage while it runs. It has no state besides the model's weights and the optimiser's moments:
/// a step depends on these, the recipe and the step's number, so that a run can go on from any
/// checkpoint.
public sealed interface Stage permits SftStage, GrpoStage {

    /// Takes one step: one batch, one update of the trainable weights.
    ///
    /// @param stageStep the stage's step, from 0
    /// @param step the run's step, from 0
    StepReport step(int stageStep, long step);
}
