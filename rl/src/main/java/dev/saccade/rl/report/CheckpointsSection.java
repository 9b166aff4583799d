package dev.saccade.rl.report;

import java.util.ArrayList;
import java.util.List;
import tools.jackson.databind.JsonNode;

/// How the checkpoint was selected, and whether its criterion followed the accuracy.
final class CheckpointsSection {
    private final RunData data;

    CheckpointsSection(RunData data) {
        this.data = data;
    }

    Html draw() {
        Html html = new Html();
        JsonNode checkpoints = data.summary().path("checkpoints");
        List<ScatterChart.Point> points = new ArrayList<>();
        int without = 0;
        for (JsonNode checkpoint : checkpoints) {
            double entropy = checkpoint.path("critical_entropy").asDouble(Double.NaN);
            double accuracy = checkpoint.path("accuracy").path(Accuracies.ALL).asDouble(Double.NaN);
            if (Double.isFinite(entropy) && Double.isFinite(accuracy)) {
                points.add(
                        new ScatterChart.Point(
                                checkpoint.path("step").asLong(0),
                                checkpoint.path("stage").asString(""),
                                entropy,
                                accuracy,
                                checkpoint.path("selected").asBoolean(false)));
            } else {
                without++;
            }
        }
        if (checkpoints.isEmpty()) {
            return html;
        }
        String selected = data.summary().path("selected_checkpoint").asString("");
        html.open("p").text("Rule: " + data.summary().path("selection").path("rule").asString("–"));
        if (!selected.isEmpty()) {
            html.text(". Selected: ").element("code", selected);
        }
        html.text(".").close("p");
        if (!points.isEmpty()) {
            List<String> stages =
                    points.stream().map(ScatterChart.Point::stage).distinct().toList();
            html.add(new ScatterChart(points, stages).draw());
        }
        drawCorrelations(html, points);
        if (without > 0) {
            html.element(
                    "p",
                    "%d of %d checkpoints answered without critical tokens: they have no critical entropy and are not in the plot."
                            .formatted(without, checkpoints.size()),
                    "class",
                    "note");
        }
        return html;
    }

    private void drawCorrelations(Html html, List<ScatterChart.Point> points) {
        html.open("ul", "class", "findings");
        drawCorrelation(html, "all of them", points);
        List<String> stages = points.stream().map(ScatterChart.Point::stage).distinct().toList();
        for (String stage : stages) {
            List<ScatterChart.Point> own =
                    points.stream().filter(point -> point.stage().equals(stage)).toList();
            if (stages.size() > 1 && own.size() >= RankCorrelation.FEWEST) {
                drawCorrelation(html, "those in " + stage, own);
            }
        }
        html.close("ul");
        if (points.size() >= RankCorrelation.FEWEST) {
            html.element(
                    "p",
                    "Checkpoints of one run follow each other, so they are not independent: the"
                            + " shuffled share is a lower bound for chance, and one run is one"
                            + " observation. The claim that critical entropy follows accuracy is"
                            + " the Skywork-R1V3 report's.",
                    "class",
                    "note");
        }
    }

    private static void drawCorrelation(Html html, String of, List<ScatterChart.Point> points) {
        RankCorrelation correlation =
                RankCorrelation.of(
                        points.stream().mapToDouble(ScatterChart.Point::entropy).toArray(),
                        points.stream().mapToDouble(ScatterChart.Point::accuracy).toArray());
        html.open("li").text("Rank correlation over " + of + ": ");
        if (Double.isFinite(correlation.value())) {
            html.element("b", "ρ = " + Numbers.signed(correlation.value(), 2));
            html.text(", n = " + correlation.count() + ". ");
        }
        String words = correlation.describe();
        html.text(Character.toUpperCase(words.charAt(0)) + words.substring(1) + ".").close("li");
    }
}
