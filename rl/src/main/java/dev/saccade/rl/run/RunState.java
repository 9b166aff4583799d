package dev.saccade.rl.run;

import dev.saccade.engine.InputException;
import dev.saccade.rl.evaluation.Candidate;
import dev.saccade.rl.stage.StepReport;
import dev.saccade.tensor.AtomicFiles;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.SerializationFeature;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// Where a run stands at a step boundary: with the weights and the optimiser's moments, all that a
/// run needs to go on. It holds no times, so that it is the same in every run of a recipe.
///
/// @param stage which stage, from 0
/// @param stageStep its steps that are done; the stage's end counts to the stage that ends
/// @param step the run's steps that are done
/// @param metricsLines lines of metrics.jsonl up to here
/// @param difference the largest difference of sampler and trainer so far
/// @param accuracies of the stages so far, the present one included
/// @param candidates the evaluated checkpoints so far
record RunState(
        int stage,
        int stageStep,
        long step,
        long metricsLines,
        StepReport.Difference difference,
        List<StageAccuracy> accuracies,
        List<Candidate> candidates) {

    /// What evaluations before and after a stage found; empty where there was none.
    record StageAccuracy(
            Map<String, Double> before,
            Map<String, Double> after,
            Map<String, Double> greedyBefore,
            Map<String, Double> greedyAfter) {
        static final StageAccuracy NONE = new StageAccuracy(Map.of(), Map.of(), Map.of(), Map.of());
    }

    /// The state before the first step.
    static final RunState START =
            new RunState(0, 0, 0, 0, StepReport.Difference.NONE, List.of(), List.of());

    private static final JsonMapper JSON =
            JsonMapper.builder().enable(SerializationFeature.INDENT_OUTPUT).build();

    private static final String FILE_NAME = "state.json";

    /// Writes state.json into a checkpoint's folder, with the sizes of the files that are there.
    void write(Path checkpoint) {
        Map<String, Long> sizes = new TreeMap<>();
        try (Stream<Path> files = Files.list(checkpoint)) {
            for (Path file : files.toList()) {
                sizes.put(String.valueOf(file.getFileName()), Files.size(file));
            }
        } catch (IOException e) {
            throw new InputException(
                    checkpoint.toString(),
                    "can't be read (" + e.getMessage() + ")",
                    "check its permissions",
                    e);
        }
        AtomicFiles.write(checkpoint.resolve(FILE_NAME), toJson(sizes));
    }

    private byte[] toJson(Map<String, Long> fileBytes) {
        ObjectNode json = JSON.createObjectNode();
        json.put("stage", stage);
        json.put("stage_step", stageStep);
        json.put("step", step);
        json.put("metrics_lines", metricsLines);
        json.put("log_prob_difference", difference.logProb());
        json.put("entropy_difference", difference.entropy());
        ArrayNode stages = json.putArray("accuracies");
        for (StageAccuracy accuracy : accuracies) {
            ObjectNode node = stages.addObject();
            put(node.putObject("before"), accuracy.before());
            put(node.putObject("after"), accuracy.after());
            put(node.putObject("greedy_before"), accuracy.greedyBefore());
            put(node.putObject("greedy_after"), accuracy.greedyAfter());
        }
        ArrayNode list = json.putArray("candidates");
        for (Candidate candidate : candidates) {
            ObjectNode node = list.addObject();
            node.put("step", candidate.step());
            node.put("stage", candidate.stage());
            node.put("stage_step", candidate.stageStep());
            put(node.putObject("accuracy"), candidate.accuracy());
            put(node, "critical_entropy", candidate.criticalEntropy());
            put(node, "mean_entropy", candidate.meanEntropy());
            put(node, "critical_share", candidate.criticalShare());
            put(node, "reward_mean", candidate.rewardMean());
        }
        ObjectNode files = json.putObject("files");
        fileBytes.forEach(files::put);
        return (JSON.writeValueAsString(json) + "\n").getBytes(StandardCharsets.UTF_8);
    }

    private static void put(ObjectNode node, Map<String, Double> values) {
        values.forEach((key, value) -> put(node, key, value));
    }

    /// NaN has no form in JSON: null.
    private static void put(ObjectNode node, String key, double value) {
        if (Double.isNaN(value)) {
            node.putNull(key);
        } else {
            node.put(key, value);
        }
    }

    /// Reads a checkpoint's state and checks that the files beside it have the sizes they were
    /// saved with.
    ///
    /// @throws InputException when the checkpoint is not whole
    static RunState read(Path checkpoint) {
        Path file = checkpoint.resolve(FILE_NAME);
        JsonNode json;
        try {
            json = JSON.readTree(Files.readString(file, StandardCharsets.UTF_8));
        } catch (IOException | JacksonException e) {
            throw new InputException(
                    file.toString(),
                    "the checkpoint is damaged: its state can't be read",
                    "remove the checkpoint's folder to go on from an older one",
                    e);
        }
        for (Map.Entry<String, JsonNode> entry : json.path("files").properties()) {
            requireSize(checkpoint.resolve(entry.getKey()), entry.getValue().asLong());
        }
        try {
            return parse(json);
        } catch (JacksonException e) {
            throw new InputException(
                    file.toString(),
                    "the checkpoint is damaged: its state is incomplete",
                    "remove the checkpoint's folder to go on from an older one",
                    e);
        }
    }

    private static void requireSize(Path file, long bytes) {
        long found;
        try {
            found = Files.exists(file) ? Files.size(file) : 0;
        } catch (IOException e) {
            throw new InputException(
                    file.toString(),
                    "can't be read (" + e.getMessage() + ")",
                    "check the file and its permissions",
                    e);
        }
        if (found != bytes) {
            throw new InputException(
                    file.toString(),
                    "the checkpoint is damaged: the file has "
                            + found
                            + " bytes, "
                            + bytes
                            + " were saved",
                    "remove the checkpoint's folder to go on from an older one");
        }
    }

    private static RunState parse(JsonNode json) {
        List<StageAccuracy> accuracies = new ArrayList<>();
        for (JsonNode node : json.required("accuracies").values()) {
            accuracies.add(
                    new StageAccuracy(
                            numbers(node.required("before")),
                            numbers(node.required("after")),
                            numbers(node.required("greedy_before")),
                            numbers(node.required("greedy_after"))));
        }
        List<Candidate> candidates = new ArrayList<>();
        for (JsonNode node : json.required("candidates").values()) {
            candidates.add(
                    new Candidate(
                            node.required("step").asLong(),
                            node.required("stage").asString(),
                            node.required("stage_step").asInt(),
                            numbers(node.required("accuracy")),
                            number(node.required("critical_entropy")),
                            number(node.required("mean_entropy")),
                            number(node.required("critical_share")),
                            number(node.required("reward_mean"))));
        }
        return new RunState(
                json.required("stage").asInt(),
                json.required("stage_step").asInt(),
                json.required("step").asLong(),
                json.required("metrics_lines").asLong(),
                new StepReport.Difference(
                        json.required("log_prob_difference").asDouble(),
                        json.required("entropy_difference").asDouble()),
                List.copyOf(accuracies),
                List.copyOf(candidates));
    }

    private static Map<String, Double> numbers(JsonNode node) {
        Map<String, Double> numbers = new TreeMap<>();
        for (Map.Entry<String, JsonNode> entry : node.properties()) {
            numbers.put(entry.getKey(), number(entry.getValue()));
        }
        return numbers;
    }

    private static double number(JsonNode node) {
        return node.isNull() ? Double.NaN : node.asDouble();
    }
}
