package dev.saccade.rl.run;

import dev.saccade.kernels.Kernels;
import dev.saccade.rl.recipe.Recipe;

import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicBoolean;

/// Runs recipes. A run is a folder; it can be stopped at any moment, killed even, and goes on from
/// its newest checkpoint to the same bytes.
public final class Trainer {
    private static final AtomicBoolean STOP = new AtomicBoolean();

    private Trainer() {}

    /// Runs a recipe's stages from the start.
    ///
    /// @param runFolder an empty folder or one that does not exist yet
    /// @param kernels where to compute
    /// @param listener hears about it
    /// @return what was found; [Summary#complete()] is false after [#requestStop()]
    /// @throws dev.saccade.engine.InputException when the folder, the data or a checkpoint can't be
    ///   used
    /// @throws IllegalStateException when the run can't go on: sampler and trainer disagree, or a
    ///   loss is not finite
    public static Summary run(Recipe recipe, Path runFolder, Kernels kernels, Listener listener) {
        try (RunDirectory directory = RunDirectory.create(runFolder, recipe);
                Session session = Session.start(directory, recipe, kernels, listener, STOP::get)) {
            return session.execute();
        } finally {
            STOP.set(false);
        }
    }

    /// Goes on with a run from its newest checkpoint that is whole. A run that is complete is left
    /// as it is.
    ///
    /// @param runFolder the folder of a run
    /// @param kernels where to compute
    /// @param listener hears about it
    /// @return what was found; [Summary#complete()] is false after [#requestStop()]
    public static Summary resume(Path runFolder, Kernels kernels, Listener listener) {
        try (RunDirectory directory = RunDirectory.open(runFolder);
                Session session = Session.resume(directory, kernels, listener, STOP::get)) {
            return session.execute();
        } finally {
            STOP.set(false);
        }
    }

    /// Asks the run in progress to stop at the next step boundary with everything saved. May be
    /// called from any thread.
    public static void requestStop() {
        STOP.set(true);
    }
}
