package dev.saccade.rl.run;

import dev.saccade.engine.InputException;
import dev.saccade.rl.metrics.MetricsLog;
import dev.saccade.rl.metrics.TensorBoardWriter;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// A run's metrics: lines in metrics.jsonl, and the same for TensorBoard. How many lines there are
/// belongs to a run's state, so that a run goes on behind exactly those that its checkpoint knew.
final class RunMetrics implements AutoCloseable {
    private static final JsonMapper JSON = JsonMapper.builder().build();

    private final MetricsLog log;
    private final TensorBoardWriter board;
    private final List<Double> histogramEdges;
    private final double earlierSeconds;
    private final long startNanos = System.nanoTime();
    private final Map<String, Double> stageSeconds;
    private long lines;

    private RunMetrics(
            MetricsLog log, TensorBoardWriter board, List<Double> histogramEdges, Earlier earlier) {
        this.log = log;
        this.board = board;
        this.histogramEdges = histogramEdges;
        this.lines = earlier.lines();
        this.earlierSeconds = earlier.lastTime();
        this.stageSeconds = earlier.stageSeconds();
    }

    /// Opens a run's metrics behind a line.
    ///
    /// @param state where the run stands; later lines are taken away
    /// @param histogramEdges where the bins of all histograms begin
    static RunMetrics open(RunDirectory directory, RunState state, List<Double> histogramEdges) {
        Path file = directory.metrics();
        Earlier earlier = keep(file, state.metricsLines());
        MetricsLog log = MetricsLog.open(directory.folder(), state.step());
        try {
            long first = state.step() == 0 ? 0 : state.step() + 1;
            return new RunMetrics(
                    log,
                    TensorBoardWriter.open(directory.folder(), first),
                    histogramEdges,
                    earlier);
        } catch (RuntimeException e) {
            log.close();
            throw e;
        }
    }

    /// What the lines say that stay.
    private record Earlier(long lines, double lastTime, Map<String, Double> stageSeconds) {}

    private static Earlier keep(Path file, long lines) {
        Map<String, Double> stageSeconds = new HashMap<>();
        if (!Files.exists(file)) {
            requireLines(file, 0, lines);
            return new Earlier(0, 0, stageSeconds);
        }
        long kept = 0;
        long bytes = 0;
        double lastTime = 0;
        try {
            try (BufferedReader reader = Files.newBufferedReader(file, StandardCharsets.UTF_8)) {
                while (kept < lines) {
                    String line = reader.readLine();
                    if (line == null) {
                        break;
                    }
                    JsonNode node = JSON.readTree(line);
                    lastTime = node.path("time").asDouble(lastTime);
                    addSeconds(
                            stageSeconds,
                            node.path("stage").asString(""),
                            node.path("timing_s/step").asDouble(0)
                                    + node.path("timing_s/testing").asDouble(0));
                    bytes += line.getBytes(StandardCharsets.UTF_8).length + 1;
                    kept++;
                }
            }
            requireLines(file, kept, lines);
            try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
                channel.truncate(bytes);
            }
        } catch (IOException e) {
            throw new InputException(
                    file.toString(),
                    "can't be read and written (" + e.getMessage() + ")",
                    "check that the disk is neither full nor read-only",
                    e);
        } catch (JacksonException e) {
            throw new InputException(
                    file.toString(),
                    "line " + (kept + 1) + " is damaged",
                    "start a new run: this one's metrics are not whole",
                    e);
        }
        return new Earlier(kept, lastTime, stageSeconds);
    }

    private static void requireLines(Path file, long found, long expected) {
        if (found < expected) {
            throw new InputException(
                    file.toString(),
                    "has " + found + " lines, the checkpoint was saved after " + expected,
                    "put the file back, or start a new run");
        }
    }

    private static void addSeconds(Map<String, Double> sums, String stage, double seconds) {
        sums.merge(stage, seconds, Double::sum);
    }

    /// Lines so far.
    long lines() {
        return lines;
    }

    /// Writes a training step's metrics.
    void training(
            long step,
            String stage,
            int stageStep,
            Map<String, Double> values,
            Map<String, long[]> histograms) {
        log.training(step, stage, stageStep, seconds(), values, histograms);
        board.write(step, values, histograms, histogramEdges);
        addSeconds(stageSeconds, stage, values.getOrDefault("timing_s/step", 0.0));
        lines++;
    }

    /// Writes an evaluation's metrics. For TensorBoard, names that training has too begin with
    /// `val/`.
    void evaluation(
            long step,
            String stage,
            int stageStep,
            Map<String, Double> values,
            Map<String, long[]> histograms) {
        log.evaluation(step, stage, stageStep, seconds(), values, histograms);
        Map<String, Double> scalars = new LinkedHashMap<>();
        values.forEach((name, value) -> scalars.put(nameInEvaluations(name), value));
        Map<String, long[]> counts = new LinkedHashMap<>();
        histograms.forEach((name, value) -> counts.put(nameInEvaluations(name), value));
        board.write(step, scalars, counts, histogramEdges);
        addSeconds(stageSeconds, stage, values.getOrDefault("timing_s/testing", 0.0));
        lines++;
    }

    private static String nameInEvaluations(String name) {
        boolean own = name.startsWith("val") || name.startsWith("test-");
        return own ? name : "val/" + name;
    }

    private double seconds() {
        return earlierSeconds + (System.nanoTime() - startNanos) / 1e9;
    }

    /// The time that each stage's steps and evaluations took, over all processes that worked on the
    /// run.
    Map<String, Double> secondsByStage() {
        return Map.copyOf(stageSeconds);
    }

    @Override
    public void close() {
        try (board) {
            log.close();
        }
    }
}
