package dev.saccade.rl.run;

import dev.saccade.engine.InputException;
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
    /// @throws InputException when the folder, the data, a checkpoint or the device can't be used
    /// @throws IllegalStateException when the run can't go on: sampler and trainer disagree, or a
    ///   loss is not finite
    public static Summary run(Recipe recipe, Path runFolder, Kernels kernels, Listener listener) {
        Recipe resolved = recipe.on(kernels.device());
        try (RunDirectory directory = RunDirectory.create(runFolder, resolved);
                Session session = start(directory, resolved, kernels, listener)) {
            return session.execute();
        } finally {
            STOP.set(false);
        }
    }

    /// A run that can't begin, for its data say, leaves no folder.
    private static Session start(
            RunDirectory directory, Recipe recipe, Kernels kernels, Listener listener) {
        try {
            return Session.start(directory, recipe, kernels, listener, STOP::get);
        } catch (InputException e) {
            directory.discard();
            throw e;
        }
    }

    /// The recipe of a run, with the kind of device and the type that it is computed with.
    ///
    /// @throws InputException when the folder is not a run's
    public static Recipe recipe(Path runFolder) {
        return RunDirectory.recipe(runFolder);
    }

    /// Goes on with a run from its newest checkpoint that is whole. A run that is complete is left
    /// as it is.
    ///
    /// @param runFolder the folder of a run
    /// @param kernels where to compute
    /// @param listener hears about it
    /// @return what was found; [Summary#complete()] is false after [#requestStop()]
    /// @throws InputException when the folder is not a run's, or the run was computed on another
    ///   kind of device: it would not end with the bytes of the run never stopped
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
