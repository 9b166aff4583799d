package dev.saccade.rl.run;

import dev.saccade.rl.evaluation.Candidate;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.SerializationFeature;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// What a run did and found: `summary.json`.
///
/// @param name the recipe's name
/// @param seed the recipe's seed
/// @param device where it was computed
/// @param dtype the type of parameters and activations
/// @param threads CPU workers; they never change a result
/// @param seconds how long steps and evaluations took, over all processes that worked on the run
/// @param version the version of Saccade
/// @param stages the stages in order
/// @param checkpoints the evaluated checkpoints among which one is selected
/// @param selection how it is selected
/// @param selectedCheckpoint the selected one, relative to the run's folder; null when there is
///   none
/// @param difference the largest differences between sampled and trained values: 0
/// @param finalCheckpoint the last checkpoint
/// @param parameters numbers in the model
/// @param complete whether every stage is done; false after an interruption
public record Summary(
        String name,
        long seed,
        String device,
        String dtype,
        int threads,
        double seconds,
        String version,
        List<Stage> stages,
        List<Checkpoint> checkpoints,
        Selection selection,
        @Nullable String selectedCheckpoint,
        Difference difference,
        @Nullable FinalCheckpoint finalCheckpoint,
        long parameters,
        boolean complete) {

    /// A stage.
    ///
    /// @param name its name
    /// @param kind `sft` or `grpo`
    /// @param steps the steps it took
    /// @param seconds how long its steps and evaluations took
    /// @param trainable the groups that trained
    /// @param accuracyBefore sampled accuracy by `data_source` and `all`; empty when not evaluated
    /// @param accuracyAfter the same after it
    /// @param greedyBefore accuracy of the most probable answers; empty when not evaluated
    /// @param greedyAfter the same after it
    public record Stage(
            String name,
            String kind,
            int steps,
            double seconds,
            List<String> trainable,
            Map<String, Double> accuracyBefore,
            Map<String, Double> accuracyAfter,
            Map<String, Double> greedyBefore,
            Map<String, Double> greedyAfter) {}

    /// An evaluated checkpoint and whether it is the selected one.
    public record Checkpoint(Candidate candidate, boolean selected) {}

    /// How the checkpoint was selected.
    ///
    /// @param rule the rule in words
    /// @param rankCorrelation Spearman's, of critical entropy and accuracy over the candidates; NaN
    ///   when undefined
    /// @param checkpoints how many candidates there were
    public record Selection(String rule, double rankCorrelation, int checkpoints) {}

    /// The largest absolute differences between what the sampler kept and what training computed.
    public record Difference(double logProb, double entropy) {}

    /// The last checkpoint.
    ///
    /// @param path relative to the run's folder
    /// @param sha256 of its model.safetensors, in hexadecimal
    public record FinalCheckpoint(String path, String sha256) {}

    /// The text of summary.json. What is undefined is null.
    public String toJson() {
        JsonMapper mapper = JsonMapper.builder().enable(SerializationFeature.INDENT_OUTPUT).build();
        ObjectNode json = mapper.createObjectNode();
        json.put("name", name);
        json.put("seed", seed);
        json.put("device", device);
        json.put("dtype", dtype);
        json.put("threads", threads);
        json.put("seconds", seconds);
        json.put("version", version);
        ArrayNode stageList = json.putArray("stages");
        for (Stage stage : stages) {
            ObjectNode node = stageList.addObject();
            node.put("name", stage.name());
            node.put("kind", stage.kind());
            node.put("steps", stage.steps());
            node.put("seconds", stage.seconds());
            ArrayNode groups = node.putArray("trainable");
            stage.trainable().forEach(groups::add);
            putAll(node.putObject("accuracy_before"), stage.accuracyBefore());
            putAll(node.putObject("accuracy_after"), stage.accuracyAfter());
            if (!stage.greedyBefore().isEmpty()) {
                putAll(node.putObject("greedy_accuracy_before"), stage.greedyBefore());
            }
            if (!stage.greedyAfter().isEmpty()) {
                putAll(node.putObject("greedy_accuracy_after"), stage.greedyAfter());
            }
        }
        ArrayNode checkpointList = json.putArray("checkpoints");
        for (Checkpoint checkpoint : checkpoints) {
            Candidate candidate = checkpoint.candidate();
            ObjectNode node = checkpointList.addObject();
            node.put("step", candidate.step());
            node.put("stage", candidate.stage());
            node.put("stage_step", candidate.stageStep());
            putAll(node.putObject("accuracy"), candidate.accuracy());
            put(node, "critical_entropy", candidate.criticalEntropy());
            put(node, "mean_entropy", candidate.meanEntropy());
            put(node, "critical_share", candidate.criticalShare());
            put(node, "reward_mean", candidate.rewardMean());
            node.put("selected", checkpoint.selected());
        }
        ObjectNode selectionNode = json.putObject("selection");
        selectionNode.put("rule", selection.rule());
        put(selectionNode, "rank_correlation", selection.rankCorrelation());
        selectionNode.put("checkpoints", selection.checkpoints());
        json.put("selected_checkpoint", selectedCheckpoint);
        ObjectNode differenceNode = json.putObject("sampler_trainer_max_difference");
        differenceNode.put("log_prob", difference.logProb());
        differenceNode.put("entropy", difference.entropy());
        if (finalCheckpoint != null) {
            ObjectNode node = json.putObject("final_checkpoint");
            node.put("path", finalCheckpoint.path());
            node.put("sha256", finalCheckpoint.sha256());
        }
        json.put("parameters", parameters);
        json.put("complete", complete);
        return mapper.writeValueAsString(json) + "\n";
    }

    private static void putAll(ObjectNode node, Map<String, Double> values) {
        values.forEach((key, value) -> put(node, key, value));
    }

    private static void put(ObjectNode node, String key, double value) {
        if (Double.isFinite(value)) {
            node.put(key, value);
        } else {
            node.putNull(key);
        }
    }
}
