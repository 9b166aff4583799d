package dev.saccade.rl.rollout;

import dev.saccade.model.chat.CriticalTokens;
import dev.saccade.model.tokenizer.Tokenizer;
import dev.saccade.tensor.AtomicFiles;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// Writes rollouts as JSON lines, each token with its entropy, log-probability, whether it is
/// critical, and how probable a critical one was in its place.
public final class RolloutFile {
    private static final JsonMapper JSON = JsonMapper.builder().build();

    private final Tokenizer tokenizer;
    private final CriticalTokens critical;
    private final Path run;

    /// A writer for a run.
    ///
    /// @param run the run's folder; images are named relative to it
    public RolloutFile(Tokenizer tokenizer, CriticalTokens critical, Path run) {
        this.tokenizer = tokenizer;
        this.critical = critical;
        this.run = run.toAbsolutePath().normalize();
    }

    /// Writes a file, whole or not at all.
    ///
    /// @param advantages each rollout's advantage; empty = there are none
    public void write(
            Path file, long step, String stage, List<Rollout> rollouts, List<Double> advantages) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < rollouts.size(); i++) {
            ObjectNode line = line(step, stage, rollouts.get(i));
            if (!advantages.isEmpty()) {
                line.put("advantage", advantages.get(i));
            }
            line.set("tokens", tokens(rollouts.get(i)));
            text.append(JSON.writeValueAsString(line)).append('\n');
        }
        AtomicFiles.write(file, text.toString().getBytes(StandardCharsets.UTF_8));
    }

    private ObjectNode line(long step, String stage, Rollout rollout) {
        ObjectNode line = JSON.createObjectNode();
        line.put("step", step);
        line.put("stage", stage);
        line.put("data_source", rollout.row().dataSource());
        line.put("prompt", rollout.promptText());
        if (!rollout.row().images().isEmpty()) {
            line.put("image", relative(rollout.row().images().getFirst()));
        }
        line.put("response", rollout.response());
        line.put("ground_truth", rollout.row().groundTruth());
        line.put("score", rollout.score().total());
        line.put("accuracy", rollout.score().accuracy());
        line.put("format", rollout.score().format());
        return line;
    }

    private String relative(Path image) {
        Path absolute = image.toAbsolutePath().normalize();
        boolean sameRoot = absolute.getRoot().equals(run.getRoot());
        Path named = sameRoot ? run.relativize(absolute) : absolute;
        return named.toString().replace('\\', '/');
    }

    private ArrayNode tokens(Rollout rollout) {
        int[] ids = rollout.completion().tokens();
        boolean[] marks = critical.mark(ids);
        float[] masses = rollout.completion().masses();
        ArrayNode tokens = JSON.createArrayNode();
        for (int t = 0; t < ids.length; t++) {
            ObjectNode token = tokens.addObject();
            token.put("t", tokenizer.token(ids[t]));
            token.put("h", rounded(rollout.completion().entropies()[t]));
            token.put("lp", rounded(rollout.completion().logProbs()[t]));
            if (marks[t]) {
                token.put("c", true);
            }
            double mass = masses.length == 0 ? 0 : rounded(masses[t]);
            if (mass > 0) {
                token.put("m", mass);
            }
        }
        return tokens;
    }

    /// Four decimals are what a reader can use; the exact values are in the training step.
    private static double rounded(float value) {
        return Math.round(value * 1e4) / 1e4;
    }
}
