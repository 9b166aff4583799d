package dev.saccade.rl.report;

import java.nio.file.Path;
import java.util.List;
import java.util.NavigableMap;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.MissingNode;

/// What a run's folder holds. Everything may be missing: a run that was stopped early, or has no
/// reinforcement learning, gives a smaller report.
///
/// @param folder the run's folder
/// @param summary summary.json; a missing node when there is none
/// @param config config.yaml; a missing node when there is none
/// @param configText its text; null when there is none
/// @param lines metrics.jsonl
/// @param stages the stages that have begun, in order
/// @param evaluationRollouts the files of answers to held-out rows by step
/// @param trainedSubjects the subjects in the saved rollouts of reinforcement learning
/// @param notes what could not be read
record RunData(
        Path folder,
        JsonNode summary,
        JsonNode config,
        @Nullable String configText,
        List<MetricLine> lines,
        List<StageSpan> stages,
        NavigableMap<Long, Path> evaluationRollouts,
        Set<String> trainedSubjects,
        List<String> notes) {

    /// A stage's part of summary.json; a missing node when there is none.
    JsonNode stageSummary(String name) {
        return named(summary.path("stages"), name);
    }

    /// A stage's part of config.yaml; a missing node when there is none.
    JsonNode stageConfig(String name) {
        return named(config.path("stages"), name);
    }

    private static JsonNode named(JsonNode list, String name) {
        for (JsonNode stage : list) {
            if (stage.path("name").asString("").equals(name)) {
                return stage;
            }
        }
        return MissingNode.getInstance();
    }

    /// Whether a stage is reinforcement learning.
    boolean isReinforcement(String stage) {
        String kind = stageSummary(stage).path("kind").asString("");
        return (kind.isEmpty() ? stageConfig(stage).path("kind").asString("") : kind)
                .equals("grpo");
    }

    /// The stages of reinforcement learning that have begun.
    List<StageSpan> reinforcement() {
        return stages.stream().filter(stage -> isReinforcement(stage.name())).toList();
    }

    /// The run's name.
    String name() {
        String name = summary.path("name").asString(config.path("name").asString(""));
        Path file = folder.toAbsolutePath().normalize().getFileName();
        return name.isEmpty() && file != null ? file.toString() : name;
    }

    /// Whether the stages are measured before and after on rows of their own.
    boolean hasTestRows() {
        return config.path("evaluation").path("test_data").isString();
    }

    /// How many rows of a subject measure the stages; 0 when the recipe does not say.
    int rowsPerSubject() {
        int asked = config.path("evaluation").path("rows").asInt(0);
        int written =
                config.path("data")
                        .path("digits")
                        .path(hasTestRows() ? "test_per_subject" : "validation_per_subject")
                        .asInt(0);
        return asked > 0 && written > 0 ? Math.min(asked, written) : Math.max(asked, written);
    }

    /// Whether the run began with random weights: what these answer is noise.
    boolean beganUntrained() {
        return !config.path("model").path("path").isString();
    }
}
