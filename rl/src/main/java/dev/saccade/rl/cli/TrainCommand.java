package dev.saccade.rl.cli;

import dev.saccade.engine.InputException;
import dev.saccade.rl.recipe.Recipe;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/// Runs a recipe, or goes on with a run.
@Command(
        name = "train",
        description = "Run a recipe's stages, or go on with a run that was stopped.",
        footerHeading = "%nExamples:%n",
        footer = {
            "  saccade train recipe.yaml --set stages.grpo.optim.lr=5e-5 --out runs/a",
            "  saccade train quick --seed 2",
            "  saccade train --resume runs/a"
        })
final class TrainCommand implements Callable<Integer> {
    @Mixin HelpOption help = new HelpOption();

    @Mixin CommonOptions common = new CommonOptions();

    @Parameters(
            arity = "0..1",
            paramLabel = "RECIPE",
            description = "A YAML file, or the name of a recipe that comes with Saccade.")
    @Nullable String recipe;

    @Option(
            names = "--set",
            paramLabel = "KEY=VALUE",
            description = "Change a value of the recipe; repeat for several.")
    List<String> overrides = new ArrayList<>();

    @Option(
            names = {"-o", "--out"},
            paramLabel = "DIR",
            description = "The run's folder (default: runs/NAME-DATE-TIME).")
    @Nullable Path out;

    @Option(names = "--seed", paramLabel = "S", description = "Short for --set seed=S.")
    @Nullable Long seed;

    @Option(
            names = "--resume",
            paramLabel = "RUN",
            description = "Go on with this run from its newest checkpoint.")
    @Nullable Path resume;

    @Override
    public Integer call() {
        if (resume != null) {
            if (recipe != null
                    || !overrides.isEmpty()
                    || out != null
                    || seed != null
                    || common.dtype != CommonOptions.DType.AUTO) {
                throw new InputException(
                        "--resume " + resume,
                        "a run goes on with its own recipe",
                        "give no recipe, --set, --seed, --dtype or --out with it");
            }
            return new RunSession(common).resume(resume);
        }
        if (recipe == null) {
            throw new InputException(
                    "train",
                    "no recipe given",
                    "name a YAML file or one of " + String.join(", ", Recipe.builtIn()));
        }
        List<String> assignments = new ArrayList<>(overrides);
        assignments.addAll(common.overrides());
        if (seed != null) {
            assignments.add("seed=" + seed);
        }
        Recipe loaded = Recipe.load(recipe, assignments);
        Path folder = out != null ? out : RunSession.newFolder(loaded.name());
        return new RunSession(common).start(loaded, folder);
    }
}
