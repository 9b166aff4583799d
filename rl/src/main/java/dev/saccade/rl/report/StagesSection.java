package dev.saccade.rl.report;

import java.util.ArrayList;
import java.util.List;
import tools.jackson.databind.JsonNode;

/// The stages as a timeline.
final class StagesSection {
    private static final List<String> GROUPS = List.of("vision", "connector", "language");

    private final RunData data;

    StagesSection(RunData data) {
        this.data = data;
    }

    Html draw() {
        Html html = new Html();
        List<String> names = names();
        if (names.isEmpty()) {
            return html;
        }
        double total = names.stream().mapToDouble(this::seconds).filter(s -> s > 0).sum();
        html.open("ol", "class", "stages");
        for (String name : names) {
            drawStage(html, name, total);
        }
        return html.close("ol");
    }

    /// The recipe's stages, those that have not begun included.
    private List<String> names() {
        List<String> names = new ArrayList<>();
        for (JsonNode source :
                List.of(data.config().path("stages"), data.summary().path("stages"))) {
            for (JsonNode stage : source) {
                String name = stage.path("name").asString("");
                if (!name.isEmpty() && !names.contains(name)) {
                    names.add(name);
                }
            }
        }
        data.stages().stream()
                .map(StageSpan::name)
                .filter(name -> !names.contains(name))
                .forEach(names::add);
        return names;
    }

    /// Of steps and evaluations; from the metrics when the summary does not say.
    private double seconds(String name) {
        JsonNode stage = data.stageSummary(name);
        if (stage.has("seconds")) {
            return stage.path("seconds").asDouble(Double.NaN);
        }
        return data.lines().stream()
                .filter(line -> line.stage().equals(name))
                .mapToDouble(line ->
                        line.values().getOrDefault("timing_s/step", 0.0)
                                + line.values().getOrDefault("timing_s/testing", 0.0))
                .sum();
    }

    private long steps(String name) {
        return data.stages().stream()
                .filter(stage -> stage.name().equals(name))
                .mapToLong(stage -> stage.to() - stage.from())
                .findFirst()
                .orElse(data.stageSummary(name).path("steps").asLong(0));
    }

    private void drawStage(Html html, String name, double total) {
        JsonNode summary = data.stageSummary(name);
        JsonNode config = data.stageConfig(name);
        long steps = steps(name);
        long planned = config.path("steps").asLong(steps);
        double seconds = seconds(name);
        html.open("li", "class", steps == 0 ? "stage pending" : "stage");
        html.open("div", "class", "stage-head").element("h3", name);
        html.element("span", kind(config, summary), "class", "kind").close("div");
        if (total > 0) {
            html.open("div", "class", "time", "aria-hidden", true);
            html.open(
                    "i",
                    "style",
                    "width:" + Numbers.coordinate(100 * Math.max(0, seconds) / total) + "%");
            html.close("i", "div");
        }
        html.element("p", work(steps, planned, seconds, total), "class", "work");
        drawGroups(html, summary.has("trainable") ? summary : config);
        Accuracies before = Accuracies.of(summary.path("accuracy_before"));
        Accuracies after = Accuracies.of(summary.path("accuracy_after"));
        if (Double.isFinite(after.all())) {
            html.open("p", "class", "change").text("accuracy ");
            if (Double.isFinite(before.all())) {
                html.text(Numbers.percent(before.all()) + " → ");
            }
            html.element("b", Numbers.percent(after.all())).close("p");
        }
        html.close("li");
    }

    private static String kind(JsonNode config, JsonNode summary) {
        String kind = config.path("kind").asString(summary.path("kind").asString(""));
        return switch (kind) {
            case "grpo" -> "reinforcement · GRPO";
            case "connector" -> "supervised · connector";
            case "sft" -> "supervised";
            default -> kind;
        };
    }

    private static String work(long steps, long planned, double seconds, double total) {
        if (steps == 0) {
            return Numbers.whole(planned) + " steps, not begun";
        }
        String text =
                steps < planned
                        ? "%s of %s steps".formatted(Numbers.whole(steps), Numbers.whole(planned))
                        : Numbers.whole(steps) + (steps == 1 ? " step" : " steps");
        if (seconds > 0) {
            text += " · " + Numbers.duration(seconds);
        }
        return total > 0 && seconds > 0
                ? text + " · " + Numbers.fixed(100 * seconds / total, 0) + "\u202f% of the time"
                : text;
    }

    private static void drawGroups(Html html, JsonNode stage) {
        List<String> trainable = new ArrayList<>();
        for (JsonNode group : stage.path("trainable")) {
            trainable.add(group.asString(""));
        }
        if (trainable.isEmpty()) {
            return;
        }
        html.open("ul", "class", "groups");
        for (String group : GROUPS) {
            boolean trains = trainable.contains(group);
            html.open("li", "class", trains ? "trains" : "frozen").text(group);
            html.element("span", trains ? " trains" : " frozen").close("li");
        }
        html.close("ul");
    }
}
