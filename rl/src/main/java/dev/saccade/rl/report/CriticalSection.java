package dev.saccade.rl.report;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.DoubleFunction;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// Where the model turned in its reasoning and where it could have: by subject, and in right and
/// wrong answers, with what it was before reinforcement learning.
final class CriticalSection {
    private static final String NAME = "entropy/critical/";
    private static final Pattern SUBJECT = Pattern.compile("entropy/critical/(.+)/count");
    private static final DoubleFunction<String> NATS = value -> Numbers.fixed(value, 3);
    private static final DoubleFunction<String> COUNT = value -> Numbers.whole((long) value);

    /// These stand where a subject's name does.
    private static final Set<String> OUTCOMES = Set.of("correct", "incorrect");

    private final RunData data;

    CriticalSection(RunData data) {
        this.data = data;
    }

    /// A column of the table.
    ///
    /// @param head what it is
    /// @param before the metric's name up to the row's
    /// @param after and behind it
    /// @param format how a value is written
    private record Column(String head, String before, String after, DoubleFunction<String> format) {
        double of(MetricLine line, String row) {
            return line.values().getOrDefault(before + row + after, Double.NaN);
        }
    }

    private List<Column> columns() {
        String above = "above " + Numbers.significant(threshold());
        String all = "entropy/";
        String possible = "entropy/critical_possible/";
        return List.of(
                new Column("Nats, all tokens", all, "mean", NATS),
                new Column(above, all + "above_threshold/", "share", Numbers::percent),
                new Column("Nats, critical", NAME, "mean", NATS),
                new Column("tokens", NAME, "count", COUNT),
                new Column("answers with one", NAME, "share", Numbers::percent),
                new Column(above, NAME + "above_threshold/", "share", Numbers::percent),
                new Column("Nats, possible", possible, "mean", NATS),
                new Column("tokens", possible, "count", COUNT),
                new Column("answers where", possible, "share", Numbers::percent),
                new Column("mean mass", "entropy/critical_mass/", "mean", Numbers::percent));
    }

    private double threshold() {
        return data.config().path("entropy").path("threshold").asDouble(Double.NaN);
    }

    Html draw() {
        Html html = new Html();
        MeasuredEvaluations measured =
                MeasuredEvaluations.of(data, line -> line.values().containsKey(NAME + "count"));
        @Nullable MetricLine after = measured.after();
        if (after == null) {
            return html;
        }
        @Nullable MetricLine before = measured.before();
        List<Column> columns =
                columns().stream()
                        .filter(column ->
                                rows(after).keySet().stream()
                                        .anyMatch(row -> Double.isFinite(column.of(after, row))))
                        .toList();
        String caption = "Entropy where reasoning takes a turn";
        html.open("div", "class", "scroll", "tabindex", 0, "role", "region", "aria-label", caption);
        html.open("table", "class", "results").element("caption", caption);
        html.open("thead").open("tr").element("th", "Held-out rows", "scope", "col");
        columns.forEach(column -> html.element("th", column.head(), "scope", "col"));
        html.close("tr", "thead").open("tbody");
        rows(after)
                .forEach((row, label) -> {
                    html.open("tr", "class", row.isEmpty() ? "all" : "");
                    html.element("th", label, "scope", "row");
                    for (Column column : columns) {
                        drawCell(html, column, row, before, after);
                    }
                    html.close("tr");
                });
        html.close("tbody", "table", "div");
        html.element("p", explanation(before, after), "class", "note");
        return html;
    }

    private static void drawCell(
            Html html, Column column, String row, @Nullable MetricLine before, MetricLine after) {
        double value = column.of(after, row);
        html.open("td").text(Double.isFinite(value) ? column.format().apply(value) : "–");
        if (before != null) {
            double was = column.of(before, row);
            html.text(" ");
            html.element(
                    "span",
                    Double.isFinite(was) ? column.format().apply(was) : "–",
                    "class",
                    "delta same");
        }
        html.close("td");
    }

    /// The rows: the part of a metric's name, and what it is. Everything, the subjects, the
    /// outcomes.
    private static Map<String, String> rows(MetricLine line) {
        TreeSet<String> subjects = new TreeSet<>();
        for (String name : line.values().keySet()) {
            Matcher matcher = SUBJECT.matcher(name);
            if (matcher.matches() && !OUTCOMES.contains(matcher.group(1))) {
                subjects.add(matcher.group(1));
            }
        }
        Map<String, String> rows = new LinkedHashMap<>();
        rows.put("", "all subjects");
        subjects.forEach(subject -> rows.put(subject + "/", subject));
        rows.put("correct/", "right answers");
        rows.put("incorrect/", "wrong answers");
        return rows;
    }

    private String explanation(@Nullable MetricLine before, MetricLine after) {
        StringBuilder words = new StringBuilder();
        for (JsonNode word : data.config().path("entropy").path("critical_words")) {
            words.append(words.isEmpty() ? "" : ", ").append(word.asString(""));
        }
        StringBuilder text = new StringBuilder("Sampled answers after step ");
        text.append(Numbers.whole(after.step()));
        if (before != null) {
            text.append("; small: step %s, before RL".formatted(Numbers.whole(before.step())));
        }
        text.append(". Critical: the token that begins one of the words ")
                .append(words)
                .append(". Possible: the places, whatever was drawn there, where the probability")
                .append(" of drawing a token that begins one was above ")
                .append(
                        Numbers.significant(
                                data.config()
                                        .path("entropy")
                                        .path("critical_mass")
                                        .asDouble(Double.NaN)));
        return text.append(".").toString();
    }
}
