package dev.saccade.rl.cli;

import dev.saccade.rl.recipe.Recipe;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// The whole pipeline on real handwritten digits.
@Command(
        name = "quickstart",
        description = {
            "Run the whole pipeline on real handwritten digits, then write the report.",
            "",
            "Pretraining, cold-start SFT, GRPO, connector tuning, and the choice of a checkpoint by"
                    + " the entropy of its critical tokens.",
            ""
        },
        footerHeading = "%nExamples:%n",
        footer = {"  saccade quickstart", "  saccade quickstart --preset smoke --out runs/smoke"})
final class QuickstartCommand implements Callable<Integer> {
    /// How much to run.
    enum Preset {
        /// The full demonstration, some minutes on two cores.
        QUICK,
        /// The same pipeline in under a minute; its figures mean nothing.
        SMOKE
    }

    @Mixin HelpOption help = new HelpOption();

    @Mixin CommonOptions common = new CommonOptions();

    @Option(
            names = "--preset",
            defaultValue = "quick",
            paramLabel = "quick|smoke",
            description =
                    "quick: the demonstration, some minutes on two cores; smoke: the same cut down"
                            + " to a minute (default: ${DEFAULT-VALUE}).")
    Preset preset = Preset.QUICK;

    @Option(
            names = {"-o", "--out"},
            paramLabel = "DIR",
            description = "The run's folder (default: runs/NAME-DATE-TIME).")
    @Nullable Path out;

    @Option(
            names = "--seed",
            paramLabel = "S",
            description = "Seed of every random choice (default: 1).")
    @Nullable Long seed;

    @Override
    public Integer call() {
        String name = preset.name().toLowerCase(Locale.ROOT);
        List<String> overrides = new ArrayList<>(common.overrides());
        if (seed != null) {
            overrides.add("seed=" + seed);
        }
        Recipe recipe = Recipe.load(name, overrides);
        Path folder = out != null ? out : RunSession.newFolder("quickstart-" + name);
        return new RunSession(common).start(recipe, folder);
    }
}
