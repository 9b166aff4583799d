package dev.saccade.rl.metrics;

import dev.saccade.engine.InputException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// A run's `metrics.jsonl`: one JSON object a line, written out line by line, so that whoever reads
/// along sees whole lines and a killed run loses none.
///
/// A line has `step` (counted over the run), `stage`, `stage_step`, `evaluation` (true in lines of
/// evaluations, absent in others), `time` (seconds since the run began), the metrics by name and
/// the histograms as lists of counts. What is not finite is `null`.
public final class MetricsLog implements AutoCloseable {
    /// The name of the file in a run's folder.
    public static final String FILE_NAME = "metrics.jsonl";

    private static final JsonMapper JSON = JsonMapper.builder().build();

    private final Path file;
    private final OutputStream out;

    private MetricsLog(Path file, OutputStream out) {
        this.file = file;
        this.out = out;
    }

    /// Opens a run's metrics for appending and takes away what is behind a step, as well as a last
    /// line that was cut off: a resumed run writes those lines again.
    ///
    /// @param run the run's folder
    /// @param step lines up to this step stay; -1 = none
    public static MetricsLog open(Path run, long step) {
        Path file = run.resolve(FILE_NAME);
        try {
            if (Files.exists(file)) {
                truncate(file, step);
            }
            return new MetricsLog(file, new FileOutputStream(file.toFile(), true));
        } catch (IOException e) {
            throw notWritable(file, e);
        }
    }

    /// Keeps the lines up to the first one that is behind the step or damaged. Lines are in the
    /// order of their steps.
    private static void truncate(Path file, long step) throws IOException {
        byte[] bytes = Files.readAllBytes(file);
        int kept = 0;
        while (kept < bytes.length) {
            int end = kept;
            while (end < bytes.length && bytes[end] != '\n') {
                end++;
            }
            if (end == bytes.length || !isUpTo(step, bytes, kept, end)) {
                break;
            }
            kept = end + 1;
        }
        if (kept < bytes.length) {
            try (RandomAccessFile access = new RandomAccessFile(file.toFile(), "rw")) {
                access.setLength(kept);
            }
        }
    }

    private static boolean isUpTo(long step, byte[] bytes, int from, int to) {
        try {
            JsonNode line = JSON.readTree(bytes, from, to - from);
            JsonNode value = line.path("step");
            return value.isIntegralNumber() && value.longValue() <= step;
        } catch (JacksonException e) {
            return false;
        }
    }

    /// Writes a training step's line.
    ///
    /// @param step the step over the whole run
    /// @param stage the stage's name
    /// @param stageStep the step of the stage
    /// @param seconds since the run began
    /// @param metrics by name, written in their order
    /// @param histograms counts by name, written behind the metrics
    public void training(
            long step,
            String stage,
            int stageStep,
            double seconds,
            Map<String, Double> metrics,
            Map<String, long[]> histograms) {
        write(line(step, stage, stageStep), seconds, metrics, histograms);
    }

    /// Writes an evaluation's line; the parameters are those of [#training].
    public void evaluation(
            long step,
            String stage,
            int stageStep,
            double seconds,
            Map<String, Double> metrics,
            Map<String, long[]> histograms) {
        ObjectNode line = line(step, stage, stageStep).put("evaluation", true);
        write(line, seconds, metrics, histograms);
    }

    private static ObjectNode line(long step, String stage, int stageStep) {
        return JSON.createObjectNode()
                .put("step", step)
                .put("stage", stage)
                .put("stage_step", stageStep);
    }

    private void write(
            ObjectNode line,
            double seconds,
            Map<String, Double> metrics,
            Map<String, long[]> histograms) {
        line.put("time", seconds);
        metrics.forEach((name, value) -> {
            if (Double.isFinite(value)) {
                line.put(name, value);
            } else {
                line.putNull(name);
            }
        });
        histograms.forEach((name, counts) -> {
            ArrayNode list = line.putArray(name);
            for (long count : counts) {
                list.add(count);
            }
        });
        try {
            out.write((JSON.writeValueAsString(line) + "\n").getBytes(StandardCharsets.UTF_8));
            out.flush();
        } catch (IOException e) {
            throw notWritable(file, e);
        }
    }

    @Override
    public void close() {
        try {
            out.close();
        } catch (IOException e) {
            throw notWritable(file, e);
        }
    }

    private static InputException notWritable(Path file, IOException e) {
        return new InputException(
                file.toString(),
                "can't be written: " + e.getMessage(),
                "check that the disk is neither full nor read-only",
                e);
    }
}
