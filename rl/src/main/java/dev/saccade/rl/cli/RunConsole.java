package dev.saccade.rl.cli;

import dev.saccade.model.ComputeType;
import dev.saccade.rl.evaluation.Evaluation;
import dev.saccade.rl.recipe.Recipe;
import dev.saccade.rl.recipe.StageRecipe;
import dev.saccade.rl.run.Listener;
import dev.saccade.rl.run.Progress;
import dev.saccade.rl.run.Summary;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.SequencedSet;
import java.util.TreeSet;
import java.util.function.Function;

/// Shows a run on the console: a progress bar a stage, a line an evaluation, and the table at the
/// end. Progress goes to standard error, the table to standard output.
final class RunConsole implements Listener {
    private final ProgressDisplay progress = ProgressDisplay.onStandardError();
    private final ByteProgress loading = new ByteProgress("load", progress);
    private final Function<ComputeType, String> header;
    private boolean interrupted;

    /// @param header the line that says where the run is computed, in a type
    RunConsole(Function<ComputeType, String> header) {
        this.header = header;
    }

    @Override
    public void started(Recipe recipe, Path folder, long step) {
        progress.line(header.apply(Objects.requireNonNull(recipe.model().type())));
        progress.line(
                step == 0
                        ? "run %s: %s, seed %d, %d steps"
                                .formatted(
                                        folder, recipe.name(), recipe.seed(), recipe.totalSteps())
                        : "run %s: goes on from step %d of %d"
                                .formatted(folder, step, recipe.totalSteps()));
    }

    @Override
    public void notice(String message) {
        progress.line("note: " + message);
    }

    @Override
    public void preparing(String what) {
        progress.line(what);
    }

    @Override
    public void loading(long doneBytes, long totalBytes) {
        loading.loaded(doneBytes, totalBytes);
    }

    @Override
    public void stageStarted(StageRecipe stage, int index, int stageStep) {
        StringBuilder groups = new StringBuilder();
        stage.trainable().forEach(group -> groups.append(' ').append(group.label()));
        String kind = stage.kind().name().toLowerCase(Locale.ROOT);
        String name = stage.name().equals(kind) ? kind : stage.name() + " (" + kind + ")";
        progress.line("stage %d, %s, trains%s".formatted(index + 1, name, groups));
    }

    @Override
    public void step(Progress step) {
        progress.update(
                step.stage(),
                step.stageStep(),
                step.stageSteps(),
                step.remaining().toMillis() / 1e3,
                detail(step.metrics()));
    }

    private static String detail(Map<String, Double> metrics) {
        Double reward = metrics.get("critic/rewards/mean");
        if (reward != null) {
            return String.format(
                    Locale.ROOT,
                    "reward %.2f, length %.0f, entropy %.2f",
                    reward,
                    metrics.getOrDefault("response_length/mean", Double.NaN),
                    metrics.getOrDefault("actor/entropy", Double.NaN));
        }
        return String.format(
                Locale.ROOT, "loss %.3f", metrics.getOrDefault("train/loss", Double.NaN));
    }

    @Override
    public void evaluating(String stage, long step, int rows) {
        progress.status("%-12s evaluating %d rows".formatted(stage, rows));
    }

    @Override
    public void evaluated(String stage, long step, Evaluation evaluation) {
        StringBuilder line =
                new StringBuilder(
                        String.format(
                                Locale.ROOT,
                                "  step %d: accuracy %.3f",
                                step,
                                evaluation.overallAccuracy()));
        String separator = " (";
        for (Map.Entry<String, Double> subject : evaluation.accuracy().entrySet()) {
            if (!subject.getKey().equals(Evaluation.ALL)) {
                line.append(separator)
                        .append(
                                String.format(
                                        Locale.ROOT,
                                        "%s %.2f",
                                        subject.getKey(),
                                        subject.getValue()));
                separator = ", ";
            }
        }
        line.append(separator.equals(", ") ? ")" : "");
        if (Double.isFinite(evaluation.criticalEntropy())) {
            line.append(
                    String.format(
                            Locale.ROOT, ", critical entropy %.2f", evaluation.criticalEntropy()));
        }
        progress.line(line.toString());
    }

    @Override
    public void interrupted(long step) {
        interrupted = true;
        progress.finish();
        progress.line("stopped after step " + step + "; everything is saved");
    }

    /// Says that Ctrl-C was seen.
    void stopping() {
        progress.line("stopping after this step");
    }

    /// Ends the progress shown, so that what follows has a line of its own.
    void end() {
        progress.finish();
    }

    /// Whether the run ended because it was asked to.
    boolean wasInterrupted() {
        return interrupted;
    }

    /// Prints what the run found: accuracies after each stage, by subject.
    static void printTable(Summary summary, Path folder, PrintStream out) {
        SequencedSet<String> subjects = new TreeSet<>();
        for (Summary.Stage stage : summary.stages()) {
            subjects.addAll(stage.accuracyAfter().keySet());
        }
        if (!subjects.isEmpty()) {
            subjects.remove(Evaluation.ALL);
            out.printf("%n%-14s %6s %8s", "accuracy", "steps", Evaluation.ALL);
            subjects.forEach(subject -> out.printf(" %9s", subject));
            out.println();
            for (Summary.Stage stage : summary.stages()) {
                out.printf(
                        "%-14s %6d %8s", stage.name(), stage.steps(), cell(stage, Evaluation.ALL));
                subjects.forEach(subject -> out.printf(" %9s", cell(stage, subject)));
                out.println();
            }
        }
        out.printf(
                Locale.ROOT,
                "%nagreement    sampler and trainer differ by %s in log-probs, %s in entropies%n",
                exact(summary.difference().logProb()),
                exact(summary.difference().entropy()));
        if (summary.selectedCheckpoint() != null) {
            out.printf(
                    "selected     %s%n             %s%n",
                    folder.resolve(summary.selectedCheckpoint()), summary.selection().rule());
        }
        out.printf(Locale.ROOT, "time         %s%n", ProgressDisplay.duration(summary.seconds()));
    }

    private static String exact(double value) {
        return value == 0 ? "0" : Double.toString(value);
    }

    private static String cell(Summary.Stage stage, String subject) {
        Double value = stage.accuracyAfter().get(subject);
        return value == null ? "-" : String.format(Locale.ROOT, "%.3f", value);
    }
}
