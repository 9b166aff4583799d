package dev.saccade.rl.report;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import tools.jackson.databind.JsonNode;

/// The table of accuracies before and after each stage, by subject.
final class ResultsSection {
    private final RunData data;

    ResultsSection(RunData data) {
        this.data = data;
    }

    /// A stage with accuracies.
    private record Column(String stage, Accuracies before, Accuracies after) {}

    Html draw() {
        Html html = new Html();
        boolean sampled =
                drawTable(html, "Sampled answers", columns("accuracy_before", "accuracy_after"));
        boolean greedy =
                drawTable(
                        html,
                        "Most probable answers (greedy)",
                        columns("greedy_accuracy_before", "greedy_accuracy_after"));
        if (sampled || greedy) {
            html.element("p", explanation(), "class", "note");
        }
        return html;
    }

    private List<Column> columns(String before, String after) {
        List<Column> columns = new ArrayList<>();
        for (JsonNode stage : data.summary().path("stages")) {
            Column column =
                    new Column(
                            stage.path("name").asString(""),
                            Accuracies.of(stage.path(before)),
                            Accuracies.of(stage.path(after)));
            if (!column.before().isEmpty() || !column.after().isEmpty()) {
                columns.add(column);
            }
        }
        return columns;
    }

    private boolean drawTable(Html html, String caption, List<Column> columns) {
        if (columns.isEmpty()) {
            return false;
        }
        Set<String> subjects = new TreeSet<>();
        columns.forEach(column -> {
            subjects.addAll(column.before().subjects());
            subjects.addAll(column.after().subjects());
        });
        List<String> rows = new ArrayList<>();
        rows.add(Accuracies.ALL);
        rows.addAll(subjects);
        boolean start = !columns.getFirst().before().isEmpty();
        html.open("div", "class", "scroll", "tabindex", 0, "role", "region", "aria-label", caption);
        html.open("table", "class", "results").element("caption", caption);
        html.open("thead").open("tr").element("th", "Subject", "scope", "col");
        if (start) {
            html.element("th", "before", "scope", "col");
        }
        for (Column column : columns) {
            html.element("th", "after " + column.stage(), "scope", "col");
        }
        html.close("tr", "thead").open("tbody");
        for (String subject : rows) {
            boolean all = subject.equals(Accuracies.ALL);
            html.open("tr", "class", all ? "all" : "");
            html.open("th", "scope", "row").text(all ? "all subjects" : subject);
            if (data.trainedSubjects().contains(subject)) {
                html.element("span", "trained in RL", "class", "tag");
            }
            html.close("th");
            if (start) {
                html.element("td", Numbers.percent(columns.getFirst().before().of(subject)));
            }
            for (Column column : columns) {
                drawCell(html, column, subject);
            }
            html.close("tr");
        }
        html.close("tbody", "table", "div");
        return true;
    }

    private static void drawCell(Html html, Column column, String subject) {
        double after = column.after().of(subject);
        double change = after - column.before().of(subject);
        html.open("td").text(Numbers.percent(after));
        if (Double.isFinite(change)) {
            String direction = Math.abs(change) < 0.0005 ? "same" : change > 0 ? "up" : "down";
            html.text(" ");
            html.element("span", Numbers.points(change), "class", "delta " + direction);
        }
        html.close("td");
    }

    private String explanation() {
        JsonNode evaluation = data.config().path("evaluation");
        StringBuilder text = new StringBuilder("Small numbers: change in percentage points");
        text.append(" over the stage. ");

        text.append(
                data.hasTestRows()
                        ? "Measured on the test rows, which choose nothing."
                        : "Measured on the held-out rows.");
        if (evaluation.path("temperature").isNumber()) {
            text.append(" Sampled at temperature ")
                    .append(
                            Numbers.significant(
                                    evaluation.path("temperature").asDouble(Double.NaN)))
                    .append(", ")
                    .append(evaluation.path("n").asInt(1))
                    .append(" a row.");
        }
        int rows = data.rowsPerSubject();
        if (rows > 0) {
            text.append(
                    " %s rows a subject: one standard error of a subject's accuracy is at most %s points."
                            .formatted(
                                    Numbers.whole(rows),
                                    Numbers.fixed(100 * 0.5 / Math.sqrt(rows), 1)));
        }
        return text.toString();
    }
}
