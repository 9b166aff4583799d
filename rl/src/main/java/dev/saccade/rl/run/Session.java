package dev.saccade.rl.run;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.Kernels;
import dev.saccade.model.Checkpoint;
import dev.saccade.model.ComputeType;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.chat.ChatTemplate;
import dev.saccade.model.chat.CriticalTokens;
import dev.saccade.model.tokenizer.Tokenizer;
import dev.saccade.rl.data.DataSet;
import dev.saccade.rl.data.Row;
import dev.saccade.rl.evaluation.Candidate;
import dev.saccade.rl.evaluation.CheckpointSelection;
import dev.saccade.rl.evaluation.Evaluation;
import dev.saccade.rl.evaluation.Evaluator;
import dev.saccade.rl.recipe.DataRecipe;
import dev.saccade.rl.recipe.DeviceKind;
import dev.saccade.rl.recipe.EvaluationRecipe;
import dev.saccade.rl.recipe.Recipe;
import dev.saccade.rl.recipe.StageKind;
import dev.saccade.rl.recipe.StageRecipe;
import dev.saccade.rl.reward.RewardRunner;
import dev.saccade.rl.reward.RuleReward;
import dev.saccade.rl.rollout.RolloutFile;
import dev.saccade.rl.rollout.RowEncoder;
import dev.saccade.rl.stage.GrpoStage;
import dev.saccade.rl.stage.SftStage;
import dev.saccade.rl.stage.Stage;
import dev.saccade.rl.stage.StageContext;
import dev.saccade.rl.stage.StepReport;
import dev.saccade.rl.task.DigitsTask;
import dev.saccade.tensor.AdamW;
import dev.saccade.tensor.Parameter;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/// One process's work on a run: everything that is open, and where the run stands.
final class Session implements AutoCloseable {
    private static final String OPTIMIZER = "optimizer.safetensors";

    private final RunDirectory directory;
    private final Recipe recipe;
    private final Kernels kernels;
    private final Listener listener;
    private final BooleanSupplier stop;
    private final VisionLanguageModel model;
    private final RowEncoder encoder;
    private final CriticalTokens critical;
    private final RewardRunner rewards;
    private final RunMetrics metrics;
    private final RolloutFile rolloutFile;
    private final Map<String, DataSet> data;
    private final Map<String, Evaluator> evaluators = new HashMap<>();
    private final CheckpointSelection selection;
    private final RemainingTime remaining;
    private final long startNanos = System.nanoTime();

    private RunState state;
    private long savedStep;

    private Session(
            RunDirectory directory,
            Recipe recipe,
            Kernels kernels,
            Listener listener,
            BooleanSupplier stop,
            Loaded loaded) {
        this.directory = directory;
        this.recipe = recipe;
        this.kernels = kernels;
        this.listener = listener;
        this.stop = stop;
        this.model = loaded.model();
        this.state = loaded.state();
        this.savedStep = state.step();
        this.encoder =
                new RowEncoder(
                        model.config(),
                        loaded.tokenizer(),
                        recipe.model().template(),
                        recipe.data().maxTiles());
        this.critical = CriticalTokens.of(recipe.entropy().criticalWords(), loaded.tokenizer());
        this.data = readData(directory, recipe, listener);
        this.rolloutFile = new RolloutFile(loaded.tokenizer(), critical, directory.folder());
        this.selection = new CheckpointSelection(recipe.selection());
        this.remaining = new RemainingTime(recipe.stages());
        this.rewards =
                new RewardRunner(
                        new RuleReward(recipe.reward().accuracy()),
                        recipe.reward().deadline(),
                        recipe.reward().threads());
        this.metrics = RunMetrics.open(directory, state, recipe.entropy().histogramEdges());
    }

    /// The weights and the place that a session goes on from.
    private record Loaded(VisionLanguageModel model, Tokenizer tokenizer, RunState state) {}

    /// A session that begins a run.
    static Session start(
            RunDirectory directory,
            Recipe recipe,
            Kernels kernels,
            Listener listener,
            BooleanSupplier stop) {
        return open(directory, recipe, kernels, listener, stop, initial(recipe, kernels, listener));
    }

    /// A session that goes on with a run.
    static Session resume(
            RunDirectory directory, Kernels kernels, Listener listener, BooleanSupplier stop) {
        Recipe recipe = onItsOwnDevice(directory, kernels.device());
        Loaded loaded = newest(directory, recipe, kernels, listener);
        if (loaded == null) {
            listener.notice("the run has no checkpoint yet and starts again");
            loaded = initial(recipe, kernels, listener);
        }
        long step = loaded.state().step();
        try {
            if (step < recipe.totalSteps()) {
                directory.removeCheckpoints(other -> other > step);
                directory.removeAfter(step);
            }
        } catch (RuntimeException e) {
            loaded.model().close();
            throw e;
        }
        return open(directory, recipe, kernels, listener, stop, loaded);
    }

    private static Recipe onItsOwnDevice(RunDirectory directory, Device device) {
        Recipe recipe = directory.recipe();
        DeviceKind kind = recipe.device();
        if (kind != null && kind != DeviceKind.of(device)) {
            throw new InputException(
                    directory.folder().toString(),
                    "the run was computed on %s, and would not end with its bytes on %s"
                            .formatted(kind.label(), device.name()),
                    "go on with --device %s, or begin a new run from one of its checkpoints"
                                    .formatted(kind.label())
                            + " (--set model.path=...)");
        }
        return recipe.on(device);
    }

    private static Session open(
            RunDirectory directory,
            Recipe recipe,
            Kernels kernels,
            Listener listener,
            BooleanSupplier stop,
            Loaded loaded) {
        try {
            return new Session(directory, recipe, kernels, listener, stop, loaded);
        } catch (RuntimeException e) {
            loaded.model().close();
            throw e;
        }
    }

    private static Loaded initial(Recipe recipe, Kernels kernels, Listener listener) {
        ComputeType type = recipe.model().typeOn(kernels.device());
        String path = recipe.model().path();
        if (path != null) {
            Tokenizer tokenizer = Tokenizer.load(Path.of(path));
            return new Loaded(
                    load(Path.of(path), kernels, type, listener), tokenizer, RunState.START);
        }
        Tokenizer tokenizer = DigitsTask.tokenizer();
        List<Integer> suppressed = new ArrayList<>();
        for (String token : List.of(ChatTemplate.IMAGE_BEGIN, ChatTemplate.IMAGE_END)) {
            tokenizer.id(token).ifPresent(suppressed::add);
        }
        int imageToken = tokenizer.id(ChatTemplate.IMAGE_TOKEN).orElseThrow();
        return new Loaded(
                VisionLanguageModel.initialize(
                        recipe.model().config(tokenizer.size(), imageToken, suppressed),
                        kernels,
                        type,
                        recipe.seed()),
                tokenizer,
                RunState.START);
    }

    private static VisionLanguageModel load(
            Path folder, Kernels kernels, ComputeType type, Listener listener) {
        listener.preparing("loading " + folder);
        return VisionLanguageModel.load(folder, kernels, type, listener::loading);
    }

    /// The newest checkpoint that is whole; null when there is none at all.
    private static @Nullable Loaded newest(
            RunDirectory directory, Recipe recipe, Kernels kernels, Listener listener) {
        ComputeType type = recipe.model().typeOn(kernels.device());
        @Nullable InputException first = null;
        for (long step : directory.checkpointSteps().reversed()) {
            Path checkpoint = directory.checkpoint(step);
            try {
                RunState state = RunState.read(checkpoint);
                Tokenizer tokenizer = Tokenizer.load(checkpoint);
                VisionLanguageModel model = load(checkpoint, kernels, type, listener);
                Loaded loaded = new Loaded(model, tokenizer, state);
                if (first != null) {
                    listener.notice(
                            first.getMessage() + " (the run goes on from step " + step + ")");
                }
                return loaded;
            } catch (InputException e) {
                first = first == null ? e : first;
            }
        }
        if (first != null) {
            throw first;
        }
        return null;
    }

    /// Reads every file that the stages name, so that a fault in the last one shows before the
    /// first step.
    private static Map<String, DataSet> readData(
            RunDirectory directory, Recipe recipe, Listener listener) {
        DataRecipe source = recipe.data();
        if (source.task() != null) {
            listener.preparing("writing the pictures and rows of the digits task");
            DigitsTask.write(
                    source.folder(directory.folder()),
                    source.digits().sizes(),
                    source.digits().mixture(),
                    recipe.seed());
        }
        Path folder = source.folder(directory.folder());
        Map<String, DataSet> sets = new LinkedHashMap<>();
        for (StageRecipe stage : recipe.stages()) {
            DataSet set =
                    sets.computeIfAbsent(stage.data(), name -> DataSet.read(folder.resolve(name)));
            if (stage.kind() != StageKind.GRPO) {
                requireResponses(set, stage);
            }
            String eval = stage.evalData();
            if (eval != null) {
                sets.computeIfAbsent(eval, name -> DataSet.read(folder.resolve(name)));
                String test = recipe.evaluation().testData();
                if (test != null) {
                    sets.computeIfAbsent(test, name -> DataSet.read(folder.resolve(name)));
                }
            }
        }
        return sets;
    }

    private static void requireResponses(DataSet set, StageRecipe stage) {
        for (Row row : set.rows()) {
            if (row.response() == null) {
                throw new InputException(
                        row.origin(),
                        "the row has no response, and stage " + stage.name() + " is supervised",
                        "add \"response\": \"...\" or use the file in a grpo stage");
            }
        }
    }

    private DataSet data(String name) {
        DataSet set = data.get(name);
        if (set == null) {
            throw new IllegalStateException(name + " was not read");
        }
        return set;
    }

    private Evaluator evaluator(String name) {
        return evaluators.computeIfAbsent(
                name,
                _ ->
                        new Evaluator(
                                model,
                                encoder,
                                data(name),
                                recipe.evaluation(),
                                recipe.entropy(),
                                rewards,
                                recipe.stages().stream()
                                        .mapToInt(StageRecipe::maxPromptLength)
                                        .max()
                                        .orElseThrow(),
                                recipe.seed()));
    }

    /// Runs what is left of the run.
    Summary execute() {
        listener.started(recipe, directory.folder(), state.step());
        boolean stopped = false;
        int index = state.stage();
        int stageStep = state.stageStep();
        while (!stopped && index < recipe.stages().size()) {
            if (stageStep < recipe.stages().get(index).steps()) {
                stopped = stop.getAsBoolean() || !runStage(index, stageStep);
            }
            index++;
            stageStep = 0;
        }
        if (savedStep > 0) {
            removeOldCheckpoints();
        }
        Summary summary = summary(!stopped);
        directory.writeSummary(summary);
        if (stopped) {
            listener.interrupted(state.step());
        } else {
            listener.finished(summary);
        }
        return summary;
    }

    /// Runs a stage from a step on; false when it was stopped before its end.
    private boolean runStage(int index, int from) {
        StageRecipe stage = recipe.stages().get(index);
        List<Parameter> trainable = new ArrayList<>();
        for (Parameter parameter : model.parameters()) {
            parameter.trainable(stage.trainable().contains(parameter.group()));
            if (parameter.trainable()) {
                trainable.add(parameter);
            }
        }
        try (AdamW optimizer = new AdamW(kernels, trainable, stage.optim().settings())) {
            if (from > 0) {
                optimizer.restore(directory.checkpoint(state.step()).resolve(OPTIMIZER));
            }
            listener.stageStarted(stage, index, from);
            if (from == 0) {
                begin(stage, index);
            }
            StageContext context =
                    new StageContext(
                            model, encoder, optimizer, recipe, stage, index, data(stage.data()));
            Stage work =
                    stage.kind() == StageKind.GRPO
                            ? new GrpoStage(context, rewards, critical)
                            : new SftStage(context);
            for (int stageStep = from; stageStep < stage.steps(); stageStep++) {
                if (stop.getAsBoolean()) {
                    if (state.step() > savedStep) {
                        save(optimizer);
                    }
                    return false;
                }
                step(work, stage, index, stageStep, optimizer);
            }
            return true;
        }
    }

    /// Sets the stage up in the state, with an evaluation before it; the one after the stage before
    /// serves when it asked the same rows.
    private void begin(StageRecipe stage, int index) {
        List<RunState.StageAccuracy> accuracies = new ArrayList<>(state.accuracies());
        RunState.StageAccuracy before = RunState.StageAccuracy.NONE;
        if (stage.evalData() != null) {
            boolean same =
                    index > 0 && stage.evalData().equals(recipe.stages().get(index - 1).evalData());
            if (same) {
                RunState.StageAccuracy previous = accuracies.getLast();
                before =
                        new RunState.StageAccuracy(
                                previous.after(), Map.of(), previous.greedyAfter(), Map.of());
            } else {
                Boundary boundary = evaluateBoundary(stage, state.step(), 0);
                before =
                        new RunState.StageAccuracy(
                                boundary.accuracy(), Map.of(), boundary.greedy(), Map.of());
            }
        }
        accuracies.add(before);
        state =
                new RunState(
                        index,
                        0,
                        state.step(),
                        metrics.lines(),
                        state.difference(),
                        List.copyOf(accuracies),
                        state.candidates());
    }

    private void step(Stage work, StageRecipe stage, int index, int stageStep, AdamW optimizer) {
        long start = System.nanoTime();
        long step = state.step() + 1;
        int done = stageStep + 1;
        StepReport report = work.step(stageStep, step - 1);
        metrics.training(step, stage.name(), done, report.metrics(), report.histograms());
        if (!report.rollouts().isEmpty() && stage.writesRolloutsOf(done)) {
            rolloutFile.write(
                    directory.rollouts().resolve("step-" + step + ".jsonl"),
                    step,
                    stage.name(),
                    report.rollouts(),
                    report.advantages());
        }
        List<RunState.StageAccuracy> accuracies = new ArrayList<>(state.accuracies());
        List<Candidate> candidates = new ArrayList<>(state.candidates());
        if (stage.evaluatesAfter(done)) {
            Evaluation evaluation;
            if (done == stage.steps()) {
                Boundary boundary = evaluateBoundary(stage, step, done);
                evaluation = boundary.validation();
                RunState.StageAccuracy before = accuracies.removeLast();
                accuracies.add(
                        new RunState.StageAccuracy(
                                before.before(),
                                boundary.accuracy(),
                                before.greedyBefore(),
                                boundary.greedy()));
            } else {
                evaluation = evaluate(stage, step);
                writeEvaluation(stage, step, done, evaluation, evaluation.metrics());
            }
            if (stage.savesAfter(done) && selectable(index)) {
                candidates.add(
                        new Candidate(
                                step,
                                stage.name(),
                                done,
                                evaluation.accuracy(),
                                evaluation.criticalEntropy(),
                                evaluation.meanEntropy(),
                                evaluation.criticalShare(),
                                evaluation.rewardMean()));
            }
        }
        state =
                new RunState(
                        index,
                        done,
                        step,
                        metrics.lines(),
                        state.difference().max(report.difference()),
                        List.copyOf(accuracies),
                        List.copyOf(candidates));
        if (stage.savesAfter(done)) {
            save(optimizer);
        }
        remaining.add(index, (System.nanoTime() - start) / 1e9);
        listener.step(
                new Progress(
                        stage.name(),
                        index,
                        recipe.stages().size(),
                        done,
                        stage.steps(),
                        step,
                        recipe.totalSteps(),
                        report.metrics(),
                        Duration.ofNanos(System.nanoTime() - startNanos),
                        remaining.estimate(index, done)));
    }

    /// Checkpoints take part in the selection from the first GRPO stage on; all of them in a recipe
    /// without one.
    private boolean selectable(int index) {
        List<StageRecipe> stages = recipe.stages();
        return stages.subList(0, index + 1).stream().anyMatch(s -> s.kind() == StageKind.GRPO)
                || stages.stream().noneMatch(s -> s.kind() == StageKind.GRPO);
    }

    private Evaluation evaluate(StageRecipe stage, long step) {
        String name = stage.evalData();
        if (name == null) {
            throw new IllegalStateException("stage " + stage.name() + " is not evaluated");
        }
        Evaluator evaluator = evaluator(name);
        listener.evaluating(stage.name(), step, evaluator.rows());
        boolean alsoMeasures = recipe.evaluation().testData() == null;
        return evaluator.evaluate(alsoMeasures && recipe.evaluation().greedy());
    }

    /// An evaluation before or after a stage.
    ///
    /// @param accuracy on the test rows, or the validation rows where there are none
    /// @param greedy the same, most probable answers
    private record Boundary(
            Evaluation validation, Map<String, Double> accuracy, Map<String, Double> greedy) {}

    private Boundary evaluateBoundary(StageRecipe stage, long step, int stageStep) {
        Evaluation validation = evaluate(stage, step);
        EvaluationRecipe evaluation = recipe.evaluation();
        String testData = evaluation.testData();
        if (testData == null) {
            writeEvaluation(stage, step, stageStep, validation, validation.metrics());
            return new Boundary(validation, validation.accuracy(), validation.greedyAccuracy());
        }
        Evaluator evaluator = evaluator(testData);
        listener.evaluating(stage.name(), step, evaluator.rows());
        Evaluation test = evaluator.evaluate(evaluation.greedy());
        Map<String, Double> both = new LinkedHashMap<>(validation.metrics());
        test.accuracy()
                .forEach((source, value) ->
                        both.put("test-core/" + source + "/acc/mean@" + evaluation.n(), value));
        test.greedyAccuracy()
                .forEach((source, value) ->
                        both.put("test-aux/" + source + "/greedy_acc/mean@1", value));
        both.put("timing_s/testing", validation.seconds() + test.seconds());
        writeEvaluation(stage, step, stageStep, validation, both);
        return new Boundary(validation, test.accuracy(), test.greedyAccuracy());
    }

    private void writeEvaluation(
            StageRecipe stage,
            long step,
            int stageStep,
            Evaluation evaluation,
            Map<String, Double> values) {
        metrics.evaluation(step, stage.name(), stageStep, values, evaluation.histograms());
        if (!evaluation.rollouts().isEmpty()) {
            rolloutFile.write(
                    directory.rollouts().resolve("eval-step-" + step + ".jsonl"),
                    step,
                    stage.name(),
                    evaluation.rollouts(),
                    List.of());
        }
        listener.evaluated(stage.name(), step, evaluation);
    }

    private void save(AdamW optimizer) {
        long step = state.step();
        Path saved =
                directory.save(
                        step,
                        folder -> {
                            model.save(folder);
                            encoder.tokenizer().save(folder);
                            recipe.model().template().save(folder);
                            optimizer.save(folder.resolve(OPTIMIZER));
                            state.write(folder);
                        });
        savedStep = step;
        removeOldCheckpoints();
        listener.saved(saved);
    }

    /// Keeps the newest checkpoints that the recipe asks for, those that may still be selected, and
    /// the one just saved, which an interruption may have asked for.
    private void removeOldCheckpoints() {
        List<Long> keep = new ArrayList<>();
        List<Long> scheduled =
                directory.checkpointSteps().stream().filter(this::scheduled).toList();
        keep.addAll(
                scheduled.subList(
                        Math.max(0, scheduled.size() - recipe.keepCheckpoints()),
                        scheduled.size()));
        selection.contenders(state.candidates()).forEach(c -> keep.add(c.step()));
        keep.add(savedStep);
        directory.removeCheckpoints(step -> !keep.contains(step));
    }

    private boolean scheduled(long step) {
        long first = 0;
        for (StageRecipe stage : recipe.stages()) {
            if (step <= first + stage.steps()) {
                return stage.savesAfter((int) (step - first));
            }
            first += stage.steps();
        }
        return false;
    }

    private Summary summary(boolean complete) {
        Map<String, Double> seconds = metrics.secondsByStage();
        List<Summary.Stage> stages = new ArrayList<>();
        for (int i = 0; i < recipe.stages().size(); i++) {
            StageRecipe stage = recipe.stages().get(i);
            RunState.StageAccuracy accuracy =
                    i < state.accuracies().size()
                            ? state.accuracies().get(i)
                            : RunState.StageAccuracy.NONE;
            int steps =
                    i < state.stage() ? stage.steps() : i == state.stage() ? state.stageStep() : 0;
            stages.add(
                    new Summary.Stage(
                            stage.name(),
                            stage.kind() == StageKind.GRPO ? "grpo" : "sft",
                            steps,
                            seconds.getOrDefault(stage.name(), 0.0),
                            stage.trainable().stream().map(group -> group.label()).toList(),
                            new TreeMap<>(accuracy.before()),
                            new TreeMap<>(accuracy.after()),
                            new TreeMap<>(accuracy.greedyBefore()),
                            new TreeMap<>(accuracy.greedyAfter())));
        }
        List<Candidate> candidates = state.candidates();
        @Nullable Candidate best = selection.best(candidates).orElse(null);
        List<Summary.Checkpoint> checkpoints =
                candidates.stream()
                        .map(candidate -> new Summary.Checkpoint(candidate, candidate.equals(best)))
                        .toList();
        Device device = kernels.device();
        int threads =
                switch (device) {
                    case HostDevice host -> host.workers();
                    case CudaDevice _ -> 1;
                };
        String place =
                switch (device) {
                    case HostDevice host -> host.name();
                    case CudaDevice cuda -> "cuda (" + cuda.properties().name() + ")";
                };
        String version = Session.class.getPackage().getImplementationVersion();
        return new Summary(
                recipe.name(),
                recipe.seed(),
                place,
                model.type().label(),
                threads,
                seconds.values().stream().mapToDouble(Double::doubleValue).sum(),
                version == null ? "development" : version,
                stages,
                checkpoints,
                new Summary.Selection(
                        selection.describe(),
                        CheckpointSelection.rankCorrelation(candidates),
                        candidates.size()),
                best == null ? null : "checkpoints/step-" + best.step(),
                new Summary.Difference(state.difference().logProb(), state.difference().entropy()),
                savedStep == 0
                        ? null
                        : new Summary.FinalCheckpoint(
                                "checkpoints/step-" + savedStep,
                                Hashes.sha256(
                                        Checkpoint.weightFiles(directory.checkpoint(savedStep)))),
                model.config().parameterCount(),
                complete);
    }

    @Override
    public void close() {
        metrics.close();
        rewards.close();
        model.close();
    }
}
