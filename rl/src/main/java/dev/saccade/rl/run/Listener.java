package dev.saccade.rl.run;

import dev.saccade.rl.evaluation.Evaluation;
import dev.saccade.rl.recipe.Recipe;
import dev.saccade.rl.recipe.StageRecipe;
import java.nio.file.Path;

/// Hears what a run does, on the run's own thread. Every method may be left out.
public interface Listener {
    /// Hears nothing.
    Listener SILENT = new Listener() {};

    /// The run begins.
    ///
    /// @param step the step it goes on from; 0 = from the start
    default void started(Recipe recipe, Path folder, long step) {}

    /// Something that the user should know and that is no error: an older checkpoint is used, say.
    default void notice(String message) {}

    /// Work that is not a step begins: writing data, loading a checkpoint.
    default void preparing(String what) {}

    /// So many bytes of a checkpoint have been loaded.
    default void loading(long doneBytes, long totalBytes) {}

    /// A stage begins or goes on.
    ///
    /// @param index which stage, from 0
    /// @param stageStep the step it goes on from; 0 = from its start
    default void stageStarted(StageRecipe stage, int index, int stageStep) {}

    /// A step is done.
    default void step(Progress progress) {}

    /// An evaluation begins.
    ///
    /// @param rows how many rows it answers
    default void evaluating(String stage, long step, int rows) {}

    /// An evaluation is done.
    default void evaluated(String stage, long step, Evaluation evaluation) {}

    /// A checkpoint is saved.
    default void saved(Path checkpoint) {}

    /// The run has stopped at a step boundary because it was asked to; everything is saved.
    default void interrupted(long step) {}

    /// The run is done.
    default void finished(Summary summary) {}
}
