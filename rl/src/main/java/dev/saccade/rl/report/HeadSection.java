package dev.saccade.rl.report;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// The top of the report: what was trained, what came of it.
final class HeadSection {
    private final RunData data;

    HeadSection(RunData data) {
        this.data = data;
    }

    /// What reinforcement learning did to the accuracy.
    ///
    /// @param stage the stage's name
    /// @param before before it
    /// @param after after it
    private record Gain(String stage, Accuracies before, Accuracies after) {
        double points() {
            return after.all() - before.all();
        }
    }

    Html draw() {
        Html html = new Html();
        html.open("header", "class", "head");
        html.element("p", "Saccade training report", "class", "overline");
        html.element("h1", data.name());
        html.element("p", introduction(), "class", "lede");
        drawIncomplete(html);
        @Nullable Gain gain = gain();
        if (gain != null) {
            drawGain(html, gain);
        }
        drawTiles(html, gain);
        return html.close("header");
    }

    private String introduction() {
        StringBuilder text = new StringBuilder();
        JsonNode summary = data.summary();
        long parameters = summary.path("parameters").asLong(0);
        text.append(
                parameters > 0
                        ? "A vision-language model of "
                                + Numbers.compact(parameters)
                                + " parameters"
                        : "A vision-language model");
        List<String> stages = data.stages().stream().map(StageSpan::name).toList();
        if (!stages.isEmpty()) {
            text.append(", trained through ").append(String.join(" → ", stages));
        }
        if (summary.has("seconds")) {
            text.append(" in ")
                    .append(Numbers.duration(summary.path("seconds").asDouble(Double.NaN)));
        }
        String device = summary.path("device").asString("");
        if (!device.isEmpty()) {
            text.append(" on ").append(device);
        }
        return text.append('.').toString();
    }

    private void drawIncomplete(Html html) {
        boolean complete =
                data.summary().path("complete").asBoolean(!data.summary().isMissingNode());
        if (complete) {
            return;
        }
        long done = data.stages().isEmpty() ? 0 : data.stages().getLast().to();
        long planned = 0;
        for (JsonNode stage : data.config().path("stages")) {
            planned += stage.path("steps").asLong(0);
        }
        html.element(
                "p",
                planned > 0
                        ? "This run is not finished: %s of %s steps are done."
                                .formatted(Numbers.whole(done), Numbers.whole(planned))
                        : "This run is not finished: %s steps are done."
                                .formatted(Numbers.whole(done)),
                "class",
                "notice");
    }

    private @Nullable Gain gain() {
        List<StageSpan> stages = data.reinforcement();
        if (stages.isEmpty()) {
            return null;
        }
        Accuracies before =
                Accuracies.of(data.stageSummary(stages.getFirst().name()).path("accuracy_before"));
        Accuracies after =
                Accuracies.of(data.stageSummary(stages.getLast().name()).path("accuracy_after"));
        Gain gain =
                new Gain(
                        stages.stream().map(StageSpan::name).collect(Collectors.joining(", ")),
                        before,
                        after);
        return Double.isFinite(gain.points()) ? gain : null;
    }

    private void drawGain(Html html, Gain gain) {
        html.open("p", "class", "headline");
        html.text("Reinforcement learning ");
        boolean unchanged = Math.abs(gain.points()) < 0.0005;
        html.text(unchanged ? "left" : gain.points() > 0 ? "raised" : "lowered");
        html.text(" accuracy on held-out rows ").text(unchanged ? "at " : "from ");
        html.element("b", Numbers.percent(gain.before().all()));
        if (!unchanged) {
            html.text(" to ").element("b", Numbers.percent(gain.after().all()));
        }
        html.text(".").close("p");
        List<String> trained = new ArrayList<>();
        List<String> unseen = new ArrayList<>();
        for (String subject : gain.after().subjects()) {
            double difference = gain.after().of(subject) - gain.before().of(subject);
            if (Double.isFinite(difference)) {
                (data.trainedSubjects().contains(subject) ? trained : unseen)
                        .add(subject + " " + Numbers.points(difference));
            }
        }
        if (!trained.isEmpty() && !unseen.isEmpty()) {
            html.element(
                    "p",
                    "Trained on: %s points. Carried over to subjects it never trained on: %s points."
                            .formatted(String.join(", ", trained), String.join(", ", unseen)),
                    "class",
                    "transfer");
        }
    }

    /// Of the difference, as if the rows were asked independently before and after.
    private String standardError(Gain gain) {
        int rows = data.rowsPerSubject() * gain.after().subjects().size();
        if (rows == 0) {
            return "";
        }
        double before = gain.before().all() * (1 - gain.before().all());
        double after = gain.after().all() * (1 - gain.after().all());
        return ", standard error " + Numbers.fixed(100 * Math.sqrt((before + after) / rows), 1);
    }

    private void drawTiles(Html html, @Nullable Gain gain) {
        html.open("dl", "class", "tiles");
        Accuracies last = lastAccuracies();
        if (Double.isFinite(last.all())) {
            tile(html, "Final accuracy", Numbers.percent(last.all()), "after the last stage");
        }
        if (gain != null) {
            tile(
                    html,
                    "Brought by RL",
                    Numbers.points(gain.points()),
                    "percentage points in " + gain.stage() + standardError(gain));
        }
        JsonNode selected = selected();
        if (!selected.isMissingNode()) {
            tile(
                    html,
                    "Selected checkpoint",
                    "step " + Numbers.whole(selected.path("step").asLong(0)),
                    "accuracy "
                            + Numbers.percent(
                                    selected.path("accuracy")
                                            .path(Accuracies.ALL)
                                            .asDouble(Double.NaN))
                            + " on validation rows");
        }
        @Nullable SamplerAgreement agreement = SamplerAgreement.of(data);
        if (agreement != null) {
            tile(
                    html,
                    "Sampler − trainer",
                    agreement.isExact() ? "0" : Numbers.significant(agreement.largest()),
                    agreement.isExact() ? "equal bit for bit" : "largest difference: should be 0");
        }
        JsonNode summary = data.summary();
        if (summary.has("seconds")) {
            int threads = summary.path("threads").asInt(0);
            tile(
                    html,
                    "Compute time",
                    Numbers.duration(summary.path("seconds").asDouble(Double.NaN)),
                    summary.path("device").asString("").startsWith("cuda")
                            ? "on a GPU"
                            : threads > 0
                                    ? "with " + threads + (threads == 1 ? " thread" : " threads")
                                    : "");
        }
        JsonNode seed = summary.has("seed") ? summary.path("seed") : data.config().path("seed");
        if (seed.isNumber()) {
            tile(html, "Seed", seed.asString(), "same seed, same bytes");
        }
        html.close("dl");
    }

    private static void tile(Html html, String name, String value, String detail) {
        html.open("div").element("dt", name).element("dd", value, "class", "value");
        html.element("dd", detail, "class", "detail").close("div");
    }

    private Accuracies lastAccuracies() {
        Accuracies last = new Accuracies(java.util.Map.of());
        for (JsonNode stage : data.summary().path("stages")) {
            Accuracies after = Accuracies.of(stage.path("accuracy_after"));
            if (!after.isEmpty()) {
                last = after;
            }
        }
        return last;
    }

    private JsonNode selected() {
        for (JsonNode checkpoint : data.summary().path("checkpoints")) {
            if (checkpoint.path("selected").asBoolean(false)) {
                return checkpoint;
            }
        }
        return tools.jackson.databind.node.MissingNode.getInstance();
    }
}
