package dev.saccade.rl.report;

import dev.saccade.engine.InputException;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.MissingNode;
import tools.jackson.dataformat.yaml.YAMLMapper;

/// Reads a run's folder. What is missing or damaged is left out and noted.
final class RunReader {
    private static final ObjectMapper JSON = JsonMapper.builder().build();
    private static final ObjectMapper YAML = new YAMLMapper();
    private static final Set<String> NO_VALUES =
            Set.of("step", "stage", "stage_step", "evaluation", "time");
    private static final Pattern EVALUATION = Pattern.compile("eval-step-(\\d{1,18})\\.jsonl");
    private static final Pattern TRAINING = Pattern.compile("step-(\\d{1,18})\\.jsonl");

    /// Training rollouts are large, and which subjects they are of shows in a few.
    private static final int MOST_TRAINING_FILES = 12;

    private final Path folder;
    private final List<String> notes = new ArrayList<>();

    private RunReader(Path folder) {
        this.folder = folder;
    }

    /// Reads a run.
    ///
    /// @throws InputException when the folder holds no run
    static RunData read(Path folder) {
        return new RunReader(folder).read();
    }

    private RunData read() {
        @Nullable String configText = text(folder.resolve("config.yaml"));
        @Nullable String summaryText = text(folder.resolve("summary.json"));
        Path metrics = folder.resolve("metrics.jsonl");
        if (configText == null && summaryText == null && !Files.isRegularFile(metrics)) {
            throw new InputException(
                    folder.toString(),
                    Files.isDirectory(folder)
                            ? "holds no run: no config.yaml, metrics.jsonl or summary.json"
                            : "there is no such folder",
                    "give the folder of a run");
        }
        List<MetricLine> lines = lines(metrics);
        List<StageSpan> stages = stages(lines);
        Path rollouts = folder.resolve("rollouts");
        RunData data =
                new RunData(
                        folder,
                        tree(JSON, summaryText, "summary.json"),
                        tree(YAML, configText, "config.yaml"),
                        configText,
                        lines,
                        stages,
                        numbered(rollouts, EVALUATION),
                        new TreeSet<>(),
                        notes);
        addTrainedSubjects(data, numbered(rollouts, TRAINING));
        return data;
    }

    private @Nullable String text(Path file) {
        if (!Files.isRegularFile(file)) {
            return null;
        }
        try {
            return new String(Files.readAllBytes(file), StandardCharsets.UTF_8);
        } catch (IOException e) {
            notes.add(file.getFileName() + " could not be read.");
            return null;
        }
    }

    private JsonNode tree(ObjectMapper mapper, @Nullable String text, String name) {
        if (text == null) {
            return MissingNode.getInstance();
        }
        try {
            return mapper.readTree(text);
        } catch (JacksonException e) {
            notes.add(name + " is damaged and was left out.");
            return MissingNode.getInstance();
        }
    }

    /// Takes a file's JSON objects one by one.
    private interface LineReader {
        void read(JsonNode line);
    }

    private void eachLine(Path file, LineReader reader) {
        int damaged = 0;
        try (BufferedReader lines =
                new BufferedReader(
                        new java.io.InputStreamReader(
                                Files.newInputStream(file), StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                @Nullable JsonNode node = object(line);
                if (node != null) {
                    reader.read(node);
                } else if (!line.isBlank()) {
                    damaged++;
                }
            }
        } catch (IOException e) {
            notes.add(folder.relativize(file) + " could not be read to its end.");
        }
        if (damaged > 0) {
            notes.add(
                    "%s: %d damaged %s left out."
                            .formatted(
                                    folder.relativize(file),
                                    damaged,
                                    damaged == 1 ? "line was" : "lines were"));
        }
    }

    private static @Nullable JsonNode object(String line) {
        try {
            JsonNode node = JSON.readTree(line);
            return node.isObject() ? node : null;
        } catch (JacksonException e) {
            return null;
        }
    }

    private List<MetricLine> lines(Path file) {
        List<MetricLine> lines = new ArrayList<>();
        if (!Files.isRegularFile(file)) {
            return lines;
        }
        eachLine(
                file,
                node -> {
                    Map<String, Double> values = new HashMap<>();
                    Map<String, long[]> histograms = new HashMap<>();
                    for (Map.Entry<String, JsonNode> entry : node.properties()) {
                        if (entry.getValue().isNumber() && !NO_VALUES.contains(entry.getKey())) {
                            values.put(entry.getKey(), entry.getValue().asDouble(Double.NaN));
                        } else if (entry.getValue().isArray()) {
                            histograms.put(entry.getKey(), counts(entry.getValue()));
                        }
                    }
                    lines.add(
                            new MetricLine(
                                    node.path("step").asLong(0),
                                    node.path("stage").asString(""),
                                    node.path("evaluation").asBoolean(false),
                                    node.path("time").asDouble(Double.NaN),
                                    values,
                                    histograms));
                });
        return lines;
    }

    private static long[] counts(JsonNode list) {
        long[] counts = new long[list.size()];
        Arrays.setAll(counts, i -> Math.max(0, list.path(i).asLong(0)));
        return counts;
    }

    /// A stage begins where the one before it ends.
    private static List<StageSpan> stages(List<MetricLine> lines) {
        Map<String, Long> ends = new java.util.LinkedHashMap<>();
        for (MetricLine line : lines) {
            ends.merge(line.stage(), line.step(), Math::max);
        }
        List<StageSpan> stages = new ArrayList<>();
        long from = 0;
        for (Map.Entry<String, Long> end : ends.entrySet()) {
            stages.add(new StageSpan(end.getKey(), from, Math.max(from, end.getValue())));
            from = stages.getLast().to();
        }
        return stages;
    }

    private NavigableMap<Long, Path> numbered(Path directory, Pattern name) {
        NavigableMap<Long, Path> files = new TreeMap<>();
        if (!Files.isDirectory(directory)) {
            return files;
        }
        try (Stream<Path> list = Files.list(directory)) {
            list.forEach(file -> {
                Matcher matcher = name.matcher(String.valueOf(file.getFileName()));
                if (matcher.matches()) {
                    files.put(Long.parseLong(matcher.group(1)), file);
                }
            });
        } catch (IOException e) {
            notes.add(folder.relativize(directory) + " could not be read.");
        }
        return files;
    }

    private void addTrainedSubjects(RunData data, NavigableMap<Long, Path> files) {
        for (StageSpan stage : data.reinforcement()) {
            List<Path> of =
                    List.copyOf(files.subMap(stage.from(), false, stage.to(), true).values());
            int count = Math.min(of.size(), MOST_TRAINING_FILES);
            for (int i = 0; i < count; i++) {
                eachLine(
                        of.get((int) ((long) i * of.size() / count)),
                        node -> data.trainedSubjects().add(node.path("data_source").asString("")));
            }
        }
        data.trainedSubjects().remove("");
    }

    /// Reads a file of responses.
    static List<Response> responses(RunData data, Path file) {
        List<Response> responses = new ArrayList<>();
        RunReader reader = new RunReader(data.folder());
        reader.eachLine(file, node -> responses.add(response(node)));
        data.notes().addAll(reader.notes);
        return responses;
    }

    private static Response response(JsonNode node) {
        List<Response.Token> tokens = new ArrayList<>();
        for (JsonNode token : node.path("tokens")) {
            tokens.add(
                    new Response.Token(
                            token.path("t").asString(""),
                            token.path("h").asDouble(Double.NaN),
                            token.path("lp").asDouble(Double.NaN),
                            token.path("c").asBoolean(false),
                            token.path("m").asDouble(0)));
        }
        return new Response(
                node.path("step").asLong(0),
                node.path("stage").asString(""),
                node.path("data_source").asString(""),
                node.path("prompt").asString(""),
                node.path("image").isString() ? node.path("image").asString() : null,
                node.path("response").asString(""),
                node.path("ground_truth").asString(""),
                node.path("score").asDouble(Double.NaN),
                node.path("accuracy").asDouble(0) > 0,
                node.path("format").asDouble(0) > 0,
                tokens);
    }
}
