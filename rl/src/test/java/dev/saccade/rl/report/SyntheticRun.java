package dev.saccade.rl.report;

import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import javax.imageio.ImageIO;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// Writes a run's folder as a trainer would, with made-up numbers: what the report is tried on.
final class SyntheticRun {
    private static final JsonMapper JSON = JsonMapper.builder().build();
    private static final List<String> SUBJECTS = List.of("compare", "count", "position", "sum");

    static final String CONFIG =
            """
            name: "quick"
            seed: 1
            data: {task: digits, digits: {validation_per_subject: 128, test_per_subject: 256}}
            reward: {accuracy: 0.8, deadline_seconds: 10}
            entropy: {critical_words: [Wait, Alternatively, Hmm], threshold: 6.8, critical_mass: 0.05, histogram_edges: [0, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6, 6.8, 8, 10]}
            evaluation: {data: validation.jsonl, test_data: test.jsonl, rows: 0, n: 1, temperature: 1.0, greedy: true}
            selection: {rule: critical-entropy, guard: 0.02}
            stages:
              - {name: pretrain, kind: sft, steps: 700, train_batch_size: 32, trainable: [vision, connector, language], optim: {lr: 1.5e-3, schedule: cosine, betas: [0.8, 0.95]}}
              - {name: cold-start, kind: sft, steps: 250, train_batch_size: 32, trainable: [vision, connector, language], optim: {lr: 1.2e-3, schedule: cosine, betas: [0.8, 0.95]}}
              - {name: grpo, kind: grpo, steps: 120, train_batch_size: 16, trainable: [vision, connector, language], rollout: {n: 8, temperature: 1.0}, clip_ratio_low: 0.2, clip_ratio_high: 0.2, loss_agg_mode: seq-mean-token-mean, optim: {lr: 1e-4, schedule: constant, betas: [0.8, 0.95]}}
              - {name: connector, kind: connector, steps: 120, train_batch_size: 32, trainable: [connector], optim: {lr: 5e-4, schedule: cosine, betas: [0.8, 0.95]}}
            """;

    private final Path folder;
    private final Random random = new Random(7);
    private final StringBuilder metrics = new StringBuilder();
    private final ArrayNode checkpoints = JSON.createArrayNode();

    private SyntheticRun(Path folder) {
        this.folder = folder;
    }

    /// Writes the whole run.
    static void write(Path folder) throws IOException {
        new SyntheticRun(folder).write();
    }

    /// For looking at: writes a run and its report into a folder.
    public static void main(String[] arguments) throws IOException {
        Path folder = Path.of(arguments[0]);
        write(folder);
        Report.write(folder);
    }

    private void write() throws IOException {
        Files.createDirectories(folder.resolve("rollouts"));
        Files.createDirectories(folder.resolve("data/images"));
        Files.writeString(folder.resolve("config.yaml"), CONFIG);
        supervised("pretrain", 0, 700, 4.2, 0.42);
        evaluation("pretrain", 700, 700);
        supervised("cold-start", 700, 250, 1.3, 0.55);
        evaluation("cold-start", 950, 250);
        for (int step = 1; step <= 120; step++) {
            reinforcement(950 + step, step);
            if (step % 10 == 0) {
                evaluation("grpo", 950 + step, step);
            }
        }
        supervised("connector", 1070, 120, 0.5, 0.42);
        for (int step = 40; step <= 120; step += 40) {
            evaluation("connector", 1070 + step, step);
        }
        Files.writeString(folder.resolve("metrics.jsonl"), metrics);
        Files.writeString(folder.resolve("summary.json"), summary().toPrettyString());
        rollouts(950, "cold-start", 0.45);
        rollouts(1070, "grpo", 0.8);
        Files.writeString(
                folder.resolve("rollouts/step-960.jsonl"),
                "{\"step\":960,\"stage\":\"grpo\",\"data_source\":\"sum\"}\n");
    }

    private void line(long step, String stage, int stageStep, Map<String, Double> values) {
        ObjectNode line = JSON.createObjectNode();
        line.put("step", step).put("stage", stage).put("stage_step", stageStep);
        if (values.containsKey("val/reward/mean")) {
            line.put("evaluation", true);
        }
        line.put("time", step * 0.2);
        values.forEach(line::put);
        if (values.containsKey("entropy/mean")) {
            histogram(line, "entropy/histogram", 5200, 0.1);
            if (step > 700) {
                histogram(line, "entropy/critical_possible/histogram", 260, 0.6);
                histogram(line, "entropy/critical/histogram", 90, 0.8 - 0.3 * progress(step));
            }
        }
        metrics.append(line).append('\n');
    }

    /// Counts of exponentially distributed entropies in the bins of [#CONFIG].
    private static void histogram(ObjectNode line, String name, int tokens, double mean) {
        double[] edges = {0, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6, 6.8, 8, 10};
        ArrayNode counts = line.putArray(name);
        for (int bin = 0; bin < edges.length; bin++) {
            double end = bin + 1 < edges.length ? edges[bin + 1] : Double.POSITIVE_INFINITY;
            double share = Math.exp(-edges[bin] / mean) - Math.exp(-end / mean);
            counts.add(Math.round(tokens * share));
        }
    }

    private double noise(double size) {
        return random.nextGaussian() * size;
    }

    private void supervised(String stage, long from, int steps, double first, double last) {
        for (int step = 1; step <= steps; step++) {
            double along = 1 - Math.exp(-6.0 * step / steps);
            Map<String, Double> values = new LinkedHashMap<>();
            values.put("train/loss", (first + (last - first) * along) * (1 + noise(0.05)));
            values.put("actor/grad_norm", Math.exp(noise(0.3)) * (1.2 - 0.6 * along));
            values.put("actor/lr", 1e-3);
            values.put("response_length/mean", 17 + noise(0.5));
            values.put("perf/throughput", 9200 + noise(350));
            values.put("timing_s/step", 0.09);
            line(from + step, stage, step, values);
        }
    }

    private double progress(long step) {
        return step <= 950 ? 0 : Math.min(1, 1 - Math.exp(-(step - 950) / 35.0));
    }

    private void reinforcement(long step, int stageStep) {
        double along = progress(step);
        Map<String, Double> values = new LinkedHashMap<>();
        values.put("actor/pg_loss", noise(0.01) - 0.004);
        values.put("actor/entropy", 0.24 - 0.14 * along + noise(0.008));
        values.put("actor/grad_norm", Math.exp(noise(0.25)) * 0.4);
        values.put("critic/rewards/mean", 0.46 + 0.36 * along + noise(0.035));
        values.put("response_length/mean", 18 + 11 * along + noise(0.6));
        values.put("entropy/critical/mean", 0.76 - 0.3 * along + noise(0.03));
        values.put("entropy/critical/share", 0.3 + 0.6 * along + noise(0.03));
        values.put("entropy/critical_possible/mean", 0.62 - 0.2 * along + noise(0.03));
        values.put("entropy/critical_possible/share", 0.5 + 0.45 * along + noise(0.02));
        values.put("perf/throughput", 4100 + noise(200));
        values.put("reward/failures", 0.0);
        values.put("training/rollout_logprob_max_difference", 0.0);
        values.put("training/rollout_entropy_max_difference", 0.0);
        values.put("timing_s/step", 0.6);
        line(step, "grpo", stageStep, values);
    }

    private Map<String, Double> accuracy(long step) {
        double along = progress(step);
        boolean pretrained = step <= 700;
        Map<String, Double> accuracy = new LinkedHashMap<>();
        accuracy.put("compare", pretrained ? 0 : 0.61 + 0.09 * along + noise(0.012));
        accuracy.put("count", pretrained ? 0 : 0.47 + 0.18 * along + noise(0.012));
        accuracy.put("position", pretrained ? 0 : 0.73 + 0.05 * along + noise(0.012));
        accuracy.put("sum", pretrained ? 0 : 0.29 + 0.42 * along + noise(0.015));
        accuracy.put("all", accuracy.values().stream().mapToDouble(v -> v).average().orElseThrow());
        return accuracy;
    }

    private void evaluation(String stage, long step, int stageStep) {
        double along = progress(step);
        Map<String, Double> accuracy = accuracy(step);
        Map<String, Double> values = new LinkedHashMap<>();
        accuracy.forEach(
                (subject, value) -> values.put("val-core/" + subject + "/acc/mean@1", value));
        double criticalEntropy = 0.77 - 0.32 * along + noise(0.04);
        values.put("val/reward/mean", 0.2 + 0.8 * accuracy.getOrDefault("all", 0.0));
        values.put("val/response_length/mean", 18 + 11 * along);
        values.put("entropy/mean", 0.22 - 0.13 * along);
        if (step > 700) {
            values.put("entropy/critical/mean", criticalEntropy);
            values.put("entropy/critical_possible/mean", criticalEntropy * 0.8);
            values.put("entropy/critical_possible/share", 0.5 + 0.45 * along);
            values.put("entropy/critical_mass/mean", 0.031);
            for (String row : List.of("sum/", "count/", "correct/", "incorrect/")) {
                values.put("entropy/" + row + "mean", 0.2);
                values.put("entropy/critical/" + row + "count", 41.0);
                values.put("entropy/critical/" + row + "share", 0.25);
            }
            values.put("entropy/critical/count", 82.0);
            values.put("entropy/critical/sum/mean", 0.875);
        }
        values.put("entropy/above_threshold/share", 0.004);
        values.put("entropy/critical/share", step > 700 ? 0.3 + 0.55 * along : 0);
        values.put("timing_s/testing", 2.0);
        line(step, stage, stageStep, values);
        if (step > 950) {
            ObjectNode node = checkpoints.addObject();
            node.put("step", step).put("stage", stage).put("stage_step", stageStep);
            accuracy.forEach(node.putObject("accuracy")::put);
            node.put("critical_entropy", criticalEntropy);
            node.put("mean_entropy", 0.22 - 0.13 * along);
            node.put("critical_share", 0.3 + 0.55 * along);
            node.put("reward_mean", 0.8);
            node.put("selected", step == 1040);
        }
    }

    private ObjectNode summary() {
        ObjectNode summary = JSON.createObjectNode();
        summary.put("name", "quick")
                .put("seed", 1)
                .put("device", "AMD EPYC 9454, 16 lanes of fp32");
        summary.put("threads", 2).put("seconds", 212.4).put("version", "0.1.0");
        ArrayNode stages = summary.putArray("stages");
        stage(
                stages,
                "pretrain",
                "sft",
                700,
                76.2,
                List.of("vision", "connector", "language"),
                0,
                700);
        stage(
                stages,
                "cold-start",
                "sft",
                250,
                31.7,
                List.of("vision", "connector", "language"),
                700,
                950);
        stage(
                stages,
                "grpo",
                "grpo",
                120,
                91.3,
                List.of("vision", "connector", "language"),
                950,
                1070);
        stage(stages, "connector", "sft", 120, 13.2, List.of("connector"), 1070, 1190);
        summary.set("checkpoints", checkpoints);
        summary.putObject("selection")
                .put(
                        "rule",
                        "highest critical-token entropy among checkpoints within 0.02 of the best"
                                + " accuracy")
                .put("rank_correlation", -0.6)
                .put("checkpoints", 15);
        summary.put("selected_checkpoint", "checkpoints/step-1040");
        summary.putObject("sampler_trainer_max_difference")
                .put("log_prob", 0.0)
                .put("entropy", 0.0);
        summary.putObject("final_checkpoint")
                .put("path", "checkpoints/step-1190")
                .put("sha256", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
        summary.put("parameters", 1_043_712).put("complete", true);
        return summary;
    }

    private void stage(
            ArrayNode stages,
            String name,
            String kind,
            int steps,
            double seconds,
            List<String> trainable,
            long from,
            long to) {
        ObjectNode node = stages.addObject();
        node.put("name", name).put("kind", kind).put("steps", steps).put("seconds", seconds);
        trainable.forEach(node.putArray("trainable")::add);
        accuracy(from).forEach(node.putObject("accuracy_before")::put);
        accuracy(to).forEach(node.putObject("accuracy_after")::put);
        accuracy(from)
                .forEach((k, v) -> node.withObject("greedy_accuracy_before").put(k, v * 1.12));
        accuracy(to).forEach((k, v) -> node.withObject("greedy_accuracy_after").put(k, v * 1.12));
    }

    private void rollouts(long step, String stage, double skill) throws IOException {
        StringBuilder text = new StringBuilder();
        Random rows = new Random(3);
        for (int row = 0; row < 32; row++) {
            int a = 1 + rows.nextInt(9);
            int b = rows.nextInt(10);
            String subject = SUBJECTS.get(row % 4);
            String image = "data/images/" + row + ".png";
            paint(folder.resolve(image), a, b, rows.nextLong());
            boolean right = random.nextDouble() < skill;
            text.append(response(step, stage, subject, image, a, b, right, skill)).append('\n');
        }
        Files.writeString(folder.resolve("rollouts/eval-step-" + step + ".jsonl"), text);
    }

    private ObjectNode response(
            long step,
            String stage,
            String subject,
            String image,
            int a,
            int b,
            boolean right,
            double skill) {
        Map<String, String> questions =
                Map.of(
                        "sum", "What is the sum?",
                        "compare", "Which digit is largest?",
                        "count", "How many even digits?",
                        "position", "What digit is at the top left?");
        int truth =
                switch (subject) {
                    case "sum" -> a + b;
                    case "compare" -> Math.max(a, b);
                    case "count" -> (1 - a % 2) + (1 - b % 2);
                    default -> a;
                };
        int said = right ? truth : truth + 1;
        List<String> spoken = new ArrayList<>();
        if (random.nextDouble() < skill) {
            int misread = (a + 3) % 10;
            spoken.addAll(
                    List.of(
                            "I see",
                            " ",
                            String.valueOf(misread),
                            "_",
                            String.valueOf(b),
                            "_",
                            "."));
            spoken.addAll(List.of(" ", "Wait", ",", " ", "I see"));
            spoken.addAll(List.of(" ", String.valueOf(a), "_", String.valueOf(b), "_", ".", " "));
            if (subject.equals("sum")) {
                spoken.addAll(List.of(String.valueOf(a), "+", String.valueOf(b), "="));
            }
            spoken.addAll(List.of(String.valueOf(said), "."));
        } else {
            spoken.addAll(List.of("Clearly", " ", String.valueOf(said), "."));
        }
        spoken.addAll(List.of("</think>", "\\boxed{", String.valueOf(said), "}", "<|im_end|>"));
        ObjectNode node = JSON.createObjectNode();
        node.put("step", step).put("stage", stage).put("data_source", subject);
        node.put(
                "prompt",
                "<|im_start|>user\n"
                        + questions.get(subject)
                        + "<img><IMG_CONTEXT><IMG_CONTEXT></img><|im_end|>\n"
                        + "<|im_start|>assistant\n"
                        + "<think>");
        node.put("image", image).put("response", String.join("", spoken));
        node.put("ground_truth", String.valueOf(truth));
        node.put("score", right ? 1.0 : 0.2).put("accuracy", right ? 1 : 0).put("format", 1);
        ArrayNode tokens = node.putArray("tokens");
        for (String token : spoken) {
            boolean digit = token.length() == 1 && Character.isDigit(token.charAt(0));
            boolean critical = token.equals("Wait");
            double entropy =
                    critical
                            ? 0.5 + random.nextDouble() * 0.6
                            : digit ? random.nextDouble() * 1.7 : random.nextDouble() * 0.12;
            ObjectNode entry = tokens.addObject();
            entry.put("t", token).put("h", entropy).put("lp", -entropy * random.nextDouble());
            if (critical) {
                entry.put("c", true).put("m", 0.375);
            }
        }
        return node;
    }

    private static void paint(Path file, int a, int b, long seed) throws IOException {
        BufferedImage image = new BufferedImage(56, 56, BufferedImage.TYPE_BYTE_GRAY);
        Graphics2D graphics = image.createGraphics();
        graphics.setColor(Color.WHITE);
        Random shift = new Random(seed);
        for (int cell = 0; cell < 2; cell++) {
            int x = 5 + shift.nextInt(5) + (cell == 0 ? 0 : 28);
            int y = 3 + shift.nextInt(5);
            int digit = cell == 0 ? a : b;
            for (int bit = 0; bit < 15; bit++) {
                if (((DIGITS[digit] >> (14 - bit)) & 1) == 1) {
                    graphics.fillRect(x + bit % 3 * 5, y + bit / 3 * 4, 5, 4);
                }
            }
        }
        graphics.dispose();
        ImageIO.write(image, "png", file.toFile());
    }

    /// Three by five dots, row by row.
    private static final int[] DIGITS = {
        0b111101101101111, 0b010110010010111, 0b111001111100111, 0b111001111001111,
                0b101101111001001,
        0b111100111001111, 0b111100111101111, 0b111001010010010, 0b111101111101111,
                0b111101111001111
    };
}
