package dev.saccade.rl.evaluation;

import dev.saccade.model.VisionLanguageModel;
import dev.saccade.model.chat.CriticalTokens;
import dev.saccade.model.generate.FinishReason;
import dev.saccade.model.generate.SamplingOptions;
import dev.saccade.rl.data.DataSet;
import dev.saccade.rl.data.Row;
import dev.saccade.rl.entropy.EntropyStatistics;
import dev.saccade.rl.recipe.EntropyRecipe;
import dev.saccade.rl.recipe.EvaluationRecipe;
import dev.saccade.rl.reward.RewardRunner;
import dev.saccade.rl.rollout.EncodedPrompt;
import dev.saccade.rl.rollout.Purpose;
import dev.saccade.rl.rollout.Rollout;
import dev.saccade.rl.rollout.RolloutSampler;
import dev.saccade.rl.rollout.Rollouts;
import dev.saccade.rl.rollout.RowEncoder;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/// Answers held-out rows and scores the answers.
///
/// The random keys depend on the seed, the row and the sample only, not on the step: every
/// checkpoint is asked with the same random numbers, which makes differences between checkpoints
/// less noisy, and an evaluation can be repeated on its own.
public final class Evaluator {
    private final RolloutSampler sampler;
    private final RowEncoder encoder;
    private final CriticalTokens critical;
    private final EvaluationRecipe recipe;
    private final EntropyRecipe entropy;
    private final List<Row> rows;
    private final int maxPromptLength;
    private final long seed;

    /// An evaluator of a model.
    ///
    /// @param model what answers; its weights are used as they are at each evaluation
    /// @param encoder renders prompts and decodes answers
    /// @param data the rows
    /// @param recipe how they are answered
    /// @param entropy which tokens are critical
    /// @param rewards scores answers; stays open
    /// @param maxPromptLength in tokens
    /// @param seed of sampled answers
    public Evaluator(
            VisionLanguageModel model,
            RowEncoder encoder,
            DataSet data,
            EvaluationRecipe recipe,
            EntropyRecipe entropy,
            RewardRunner rewards,
            int maxPromptLength,
            long seed) {
        this.sampler = new RolloutSampler(model, encoder, rewards);
        this.encoder = encoder;
        this.critical = CriticalTokens.of(entropy.criticalWords(), encoder.tokenizer());
        this.recipe = recipe;
        this.entropy = entropy;
        this.rows = chosen(data, recipe.rows());
        this.maxPromptLength = maxPromptLength;
        this.seed = seed;
    }

    /// The first rows of each source.
    private static List<Row> chosen(DataSet data, int perSource) {
        Map<String, Integer> taken = new HashMap<>();
        return data.rows().stream()
                .filter(row ->
                        taken.merge(row.dataSource(), 1, Integer::sum) <= perSource
                                || perSource == 0)
                .toList();
    }

    /// How many rows an evaluation answers.
    public int rows() {
        return rows.size();
    }

    /// Evaluates.
    ///
    /// @param greedy whether the most probable answers are evaluated too
    public Evaluation evaluate(boolean greedy) {
        long start = System.nanoTime();
        Map<String, Double> metrics = new LinkedHashMap<>();
        List<Rollout> sampled = answer((float) recipe.temperature(), recipe.n(), metrics);
        Map<String, Double> accuracy = accuracies(sampled);
        accuracy.forEach((source, value) ->
                metrics.put("val-core/" + source + "/acc/mean@" + recipe.n(), value));
        double reward = sampled.stream().mapToDouble(r -> r.score().total()).average().orElse(0);
        double length =
                sampled.stream().mapToInt(r -> r.completion().tokens().length).average().orElse(0);
        double clipped =
                sampled.stream()
                        .mapToInt(r -> r.completion().reason() == FinishReason.LENGTH ? 1 : 0)
                        .average()
                        .orElse(0);
        metrics.put("val/reward/mean", reward);
        metrics.put(
                "val/format/mean",
                sampled.stream().mapToDouble(r -> r.score().format()).average().orElse(0));
        metrics.put("val/response_length/mean", length);
        metrics.put("val/response_length/clip_ratio", clipped);
        EntropyStatistics statistics = new EntropyStatistics(critical, entropy);
        for (Rollout rollout : sampled) {
            statistics.add(
                    rollout.row().dataSource(),
                    rollout.score().accuracy() > 0,
                    rollout.completion());
        }
        Map<String, Double> entropies = statistics.toMetrics("");
        metrics.putAll(entropies);
        Map<String, Double> greedyAccuracy = new TreeMap<>();
        if (greedy) {
            greedyAccuracy.putAll(accuracies(answer(0, 1, metrics)));
            greedyAccuracy.forEach((source, value) ->
                    metrics.put("val-aux/" + source + "/greedy_acc/mean@1", value));
        }
        double seconds = (System.nanoTime() - start) / 1e9;
        metrics.put("timing_s/testing", seconds);
        return new Evaluation(
                accuracy,
                greedyAccuracy,
                metrics,
                statistics.toHistograms(),
                entropies.getOrDefault("entropy/mean", Double.NaN),
                entropies.getOrDefault("entropy/critical/mean", Double.NaN),
                entropies.getOrDefault("entropy/critical/share", 0.0),
                reward,
                spread(sampled),
                seconds);
    }

    private List<Rollout> answer(float temperature, int n, Map<String, Double> metrics) {
        SamplingOptions options =
                new SamplingOptions(
                                temperature, 0, 1, recipe.maxResponseLength(), encoder.stopTokens())
                        .watching(critical.firstTokens());
        List<Rollout> answers = new ArrayList<>(rows.size() * n);
        int failures = 0;
        for (int from = 0; from < rows.size(); from += recipe.batchSize()) {
            int first = from;
            List<EncodedPrompt> prompts =
                    rows.subList(from, Math.min(from + recipe.batchSize(), rows.size())).stream()
                            .map(row -> encoder.prompt(row, maxPromptLength))
                            .toList();
            Rollouts rollouts =
                    sampler.sample(
                            prompts,
                            n,
                            options,
                            (prompt, sample) ->
                                    Purpose.EVALUATION.key(seed, 0, first + prompt, sample));
            answers.addAll(rollouts.rollouts());
            failures += rollouts.failures();
        }
        metrics.merge("reward/failures", (double) failures, Double::sum);
        return answers;
    }

    /// The mean accuracy of each source, and of everything.
    private static Map<String, Double> accuracies(List<Rollout> rollouts) {
        Map<String, double[]> sums = new TreeMap<>();
        for (Rollout rollout : rollouts) {
            for (String key : List.of(Evaluation.ALL, rollout.row().dataSource())) {
                double[] sum = sums.computeIfAbsent(key, _ -> new double[2]);
                sum[0] += rollout.score().accuracy();
                sum[1]++;
            }
        }
        Map<String, Double> accuracies = new TreeMap<>();
        sums.forEach((key, sum) -> accuracies.put(key, sum[0] / sum[1]));
        return accuracies;
    }

    /// A fixed sample of the answers, the same rows at every evaluation, evenly over the sources
    /// and over each source's rows.
    private List<Rollout> spread(List<Rollout> rollouts) {
        Map<String, List<Rollout>> bySource = new TreeMap<>();
        for (Rollout rollout : rollouts) {
            bySource.computeIfAbsent(rollout.row().dataSource(), _ -> new ArrayList<>())
                    .add(rollout);
        }
        Set<Rollout> chosen = Collections.newSetFromMap(new IdentityHashMap<>());
        // Small sources first: what they can't fill goes to the others.
        List<List<Rollout>> sources = new ArrayList<>(bySource.values());
        sources.sort(Comparator.comparingInt(List::size));
        int sourcesLeft = sources.size();
        for (List<Rollout> source : sources) {
            int share = (recipe.rollouts() - chosen.size()) / sourcesLeft--;
            int count = Math.min(share, source.size());
            for (int i = 0; i < count; i++) {
                chosen.add(source.get((int) ((long) i * source.size() / count)));
            }
        }
        return rollouts.stream().filter(chosen::contains).toList();
    }
}
