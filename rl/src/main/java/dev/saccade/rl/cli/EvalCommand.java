package dev.saccade.rl.cli;

import dev.saccade.engine.Device;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.Kernels;
import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.chat.CriticalTokens;
import dev.saccade.model.tokenizer.Tokenizer;
import dev.saccade.rl.data.DataSet;
import dev.saccade.rl.evaluation.Evaluation;
import dev.saccade.rl.evaluation.Evaluator;
import dev.saccade.rl.recipe.EntropyRecipe;
import dev.saccade.rl.recipe.EvaluationRecipe;
import dev.saccade.rl.reward.RewardRunner;
import dev.saccade.rl.reward.RuleReward;
import dev.saccade.rl.rollout.RowEncoder;
import java.io.PrintStream;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import tools.jackson.databind.json.JsonMapper;

/// Accuracy of a checkpoint on a data set, by `data_source`, with the entropy of critical tokens.
@Command(name = "eval", description = "Evaluate a checkpoint on a data set, by data source.")
final class EvalCommand implements Callable<Integer> {
    @Mixin HelpOption help = new HelpOption();

    @Mixin CommonOptions common = new CommonOptions();

    @Mixin CheckpointOptions checkpoint = new CheckpointOptions();

    @Option(
            names = {"-d", "--data"},
            required = true,
            paramLabel = "FILE",
            description = "Rows in verl's schema, JSONL.")
    Path data = Path.of("");

    @Option(
            names = "--temperature",
            defaultValue = "1",
            paramLabel = "T",
            description =
                    "Of sampled answers (default: ${DEFAULT-VALUE}); the most probable ones are"
                            + " evaluated too.")
    double temperature;

    @Option(
            names = {"-n", "--samples"},
            defaultValue = "1",
            paramLabel = "N",
            description = "Sampled answers of each row (default: ${DEFAULT-VALUE}).")
    int samples;

    @Option(
            names = "--rows",
            defaultValue = "0",
            paramLabel = "N",
            description = "Only the first N rows of each data source (default: all).")
    int rows;

    @Option(
            names = "--max-new-tokens",
            defaultValue = "64",
            paramLabel = "N",
            description = "Stop an answer after N tokens (default: ${DEFAULT-VALUE}).")
    int maxNewTokens;

    @Option(
            names = "--critical",
            split = ",",
            paramLabel = "WORD",
            description =
                    "The critical words (default: Wait,Alternatively,Hmm); long-list stands for"
                            + " the seventeen of the NoWait paper.")
    List<String> critical = new ArrayList<>();

    @Option(
            names = "--threshold",
            defaultValue = "" + EntropyRecipe.DEFAULT_THRESHOLD,
            paramLabel = "NATS",
            description = "Count tokens above this entropy (default: ${DEFAULT-VALUE}).")
    double threshold;

    @Option(
            names = "--critical-mass",
            defaultValue = "" + EntropyRecipe.DEFAULT_CRITICAL_MASS,
            paramLabel = "P",
            description =
                    "A critical token was possible where one was more probable than this (default:"
                            + " ${DEFAULT-VALUE}).")
    double criticalMass;

    @Option(
            names = "--seed",
            defaultValue = "1",
            paramLabel = "S",
            description = "Seed of the sampled answers (default: ${DEFAULT-VALUE}).")
    long seed;

    @Option(names = "--json", description = "Print JSON.")
    boolean json;

    @Override
    public Integer call() {
        if (!(temperature > 0)
                || samples < 1
                || rows < 0
                || maxNewTokens < 1
                || !(threshold >= 0)
                || !(criticalMass >= 0 && criticalMass <= 1)
                || critical.stream().anyMatch(String::isBlank)
                || checkpoint.maxTiles < 1) {
            throw new InputException(
                    "eval",
                    "an option is out of range",
                    "--temperature is above 0; --samples, --max-new-tokens and --max-tiles are"
                            + " at least 1; --rows and --threshold at least 0; --critical-mass 0 to 1;"
                            + " --critical has no empty word");
        }
        DataSet set = DataSet.read(data);
        EvaluationRecipe how =
                new EvaluationRecipe(
                        data.toString(),
                        null,
                        rows,
                        samples,
                        temperature,
                        true,
                        maxNewTokens,
                        256,
                        0);
        EntropyRecipe entropy =
                new EntropyRecipe(
                        critical.isEmpty()
                                ? CriticalTokens.DEFAULT_WORDS
                                : EntropyRecipe.words(critical),
                        threshold,
                        criticalMass,
                        EntropyRecipe.DEFAULT_HISTOGRAM_EDGES);
        try (Device device = common.open(null);
                VisionLanguageModel model =
                        VisionLanguageModel.load(
                                checkpoint.folder,
                                Kernels.of(device),
                                common.type(device),
                                new ByteProgress("load"));
                RewardRunner rewards =
                        new RewardRunner(new RuleReward(), Duration.ofSeconds(10), 2)) {
            RowEncoder encoder =
                    new RowEncoder(
                            model.config(),
                            Tokenizer.load(checkpoint.folder),
                            checkpoint.template(),
                            checkpoint.maxTiles);
            System.err.println(common.header(device, model.type()));
            Evaluation evaluation =
                    new Evaluator(
                                    model,
                                    encoder,
                                    set,
                                    how,
                                    entropy,
                                    rewards,
                                    model.config().text().maxPositionEmbeddings(),
                                    seed)
                            .evaluate(true);
            print(evaluation, entropy);
        }
        return 0;
    }

    private void print(Evaluation evaluation, EntropyRecipe entropy) {
        PrintStream out = System.out;
        if (json) {
            Map<String, Object> facts = new LinkedHashMap<>();
            facts.put("accuracy", evaluation.accuracy());
            facts.put("greedy_accuracy", evaluation.greedyAccuracy());
            facts.put("metrics", evaluation.metrics());
            facts.put("histograms", evaluation.histograms());
            facts.put("histogram_edges", entropy.histogramEdges());
            facts.put("critical_words", entropy.criticalWords());
            facts.put("threshold", entropy.threshold());
            facts.put("critical_mass", entropy.criticalMass());
            out.println(JsonMapper.builder().build().writeValueAsString(facts));
            return;
        }
        out.printf("%-16s %9s %9s%n", "data source", "sampled", "greedy");
        evaluation
                .accuracy()
                .forEach((source, accuracy) ->
                        out.printf(
                                Locale.ROOT,
                                "%-16s %9.3f %9.3f%n",
                                source,
                                accuracy,
                                evaluation.greedyAccuracy().getOrDefault(source, Double.NaN)));
        EntropyTable.lines(evaluation, entropy).forEach(out::println);
    }
}
