package dev.saccade.rl.report;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// Tokens by entropy: all of them, those where a critical token was possible, and the critical
/// ones, each as columns of their share of tokens. In a run with reinforcement learning a line
/// across a column says where it was before.
///
/// @param edges where the bins begin, in nats
/// @param rows what is drawn, one above the other
/// @param note which evaluations they are of
record HistogramChart(List<Double> edges, List<Row> rows, String note) {
    private static final double WIDTH = 400;
    private static final double TOP = 4;
    private static final double ROW = 62;
    private static final double LABEL = 16;
    private static final double BOTTOM = 32;
    private static final double LEFT = 8;
    private static final double RIGHT = 22;

    /// One kind of tokens.
    ///
    /// @param label what they are
    /// @param color the number of their colour
    /// @param counts tokens by bin
    /// @param before the same before reinforcement learning; null when there is nothing to compare
    record Row(String label, int color, long[] counts, long @Nullable [] before) {
        static double share(long[] counts, int bin) {
            long all = Arrays.stream(counts).sum();
            return all == 0 ? 0 : (double) counts[bin] / all;
        }

        double highest() {
            double highest = 0;
            for (int bin = 0; bin < counts.length; bin++) {
                highest = Math.max(highest, share(counts, bin));
                if (before != null) {
                    highest = Math.max(highest, share(before, bin));
                }
            }
            return highest;
        }
    }

    /// The chart of a run's evaluations; without rows where none has counted tokens by entropy.
    static HistogramChart of(RunData data) {
        List<Double> edges = new ArrayList<>();
        for (JsonNode edge : data.config().path("entropy").path("histogram_edges")) {
            edges.add(edge.asDouble(Double.NaN));
        }
        MeasuredEvaluations measured =
                MeasuredEvaluations.of(data, line -> !line.histograms().isEmpty());
        @Nullable MetricLine after = measured.after();
        @Nullable MetricLine before = measured.before();
        if (after == null) {
            return new HistogramChart(edges, List.of(), "");
        }
        List<Row> rows = new ArrayList<>();
        addRow(rows, "all tokens", 1, "entropy/histogram", edges, before, after);
        addRow(
                rows,
                "critical token possible",
                3,
                "entropy/critical_possible/histogram",
                edges,
                before,
                after);
        addRow(rows, "critical tokens", 2, "entropy/critical/histogram", edges, before, after);
        String note = "Evaluation after step " + Numbers.whole(after.step());
        return new HistogramChart(
                edges,
                rows,
                before == null
                        ? note + "."
                        : "%s; the lines are step %s, before RL."
                                .formatted(note, Numbers.whole(before.step())));
    }

    private static void addRow(
            List<Row> rows,
            String label,
            int color,
            String metric,
            List<Double> edges,
            @Nullable MetricLine before,
            MetricLine after) {
        long @Nullable [] counts = after.histograms().get(metric);
        if (counts == null || counts.length != edges.size()) {
            return;
        }
        long @Nullable [] earlier = before == null ? null : before.histograms().get(metric);
        boolean comparable = earlier != null && earlier.length == counts.length;
        rows.add(new Row(label, color, counts, comparable ? earlier : null));
    }

    boolean isEmpty() {
        return rows.isEmpty();
    }

    Html draw() {
        Html html = new Html();
        html.open("figure", "class", "chart").open("figcaption");
        html.element("h3", "Tokens by entropy");
        html.element("p", note, "class", "note").close("figcaption");
        double height = TOP + rows.size() * ROW + BOTTOM;
        html.open(
                "svg",
                "class",
                "plot",
                "viewBox",
                "0 0 " + Numbers.coordinate(WIDTH) + " " + Numbers.coordinate(height),
                "role",
                "img",
                "aria-label",
                description());
        for (int i = 0; i < rows.size(); i++) {
            drawRow(html, rows.get(i), TOP + i * ROW);
        }
        drawEdges(html, height - BOTTOM);
        return html.close("svg", "figure");
    }

    private double column() {
        return (WIDTH - LEFT - RIGHT) / edges.size();
    }

    private void drawRow(Html html, Row row, double top) {
        double bottom = top + ROW - 4;
        double scale = (bottom - top - LABEL) / Math.max(row.highest(), 1e-9);
        html.open("g", "class", "s" + row.color());
        html.element(
                "text",
                "%s, %s".formatted(row.label(), Numbers.whole(Arrays.stream(row.counts()).sum())),
                "class",
                "end",
                "x",
                Numbers.coordinate(WIDTH - RIGHT),
                "y",
                Numbers.coordinate(top + 11));
        for (int bin = 0; bin < edges.size(); bin++) {
            double x = LEFT + bin * column();
            double share = Row.share(row.counts(), bin);
            html.open("g").element("title", describe(row, bin));
            html.empty(
                    "rect",
                    "class",
                    "bar",
                    "x",
                    Numbers.coordinate(x + 1),
                    "y",
                    Numbers.coordinate(bottom - share * scale),
                    "width",
                    Numbers.coordinate(column() - 2),
                    "height",
                    Numbers.coordinate(share * scale));
            double was = row.before() == null ? 0 : Row.share(row.before(), bin);
            if (was > 0) {
                double y = bottom - was * scale;
                html.empty(
                        "path",
                        "class",
                        "was",
                        "d",
                        "M%s %sH%s"
                                .formatted(
                                        Numbers.coordinate(x),
                                        Numbers.coordinate(y),
                                        Numbers.coordinate(x + column())));
            }
            html.close("g");
        }
        html.empty(
                "path",
                "class",
                "grid zero",
                "d",
                "M%s %sH%s"
                        .formatted(
                                Numbers.coordinate(LEFT),
                                Numbers.coordinate(bottom),
                                Numbers.coordinate(WIDTH - RIGHT)));
        html.close("g");
    }

    /// As many edges as have room, from the first on.
    private void drawEdges(Html html, double top) {
        int each = (int) Math.ceil(30 / column());
        for (int edge = 0; edge < edges.size(); edge += each) {
            html.element(
                    "text",
                    Numbers.significant(edges.get(edge)),
                    "class",
                    "tick mid",
                    "x",
                    Numbers.coordinate(LEFT + edge * column()),
                    "y",
                    Numbers.coordinate(top + 9));
        }
        html.element(
                "text",
                "nats",
                "class",
                "axis mid",
                "x",
                Numbers.coordinate((LEFT + WIDTH - RIGHT) / 2),
                "y",
                Numbers.coordinate(top + 26));
    }

    private String describe(Row row, int bin) {
        String from = Numbers.significant(edges.get(bin));
        String range =
                bin + 1 == edges.size()
                        ? from + " nats and above"
                        : from + " to " + Numbers.significant(edges.get(bin + 1)) + " nats";
        String was =
                row.before() == null
                        ? ""
                        : ", before RL " + Numbers.percent(Row.share(row.before(), bin));
        return "%s, %s: %s (%s%s)"
                .formatted(
                        row.label(),
                        range,
                        Numbers.whole(row.counts()[bin]),
                        Numbers.percent(Row.share(row.counts(), bin)),
                        was);
    }

    private String description() {
        StringBuilder text = new StringBuilder("Columns: shares of tokens by entropy.");
        for (Row row : rows) {
            int most = 0;
            for (int bin = 1; bin < row.counts().length; bin++) {
                most = row.counts()[bin] > row.counts()[most] ? bin : most;
            }
            text.append(" Most of: ").append(describe(row, most)).append('.');
        }
        return text.toString();
    }
}
