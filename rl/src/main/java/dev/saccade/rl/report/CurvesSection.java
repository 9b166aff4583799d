package dev.saccade.rl.report;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.DoubleFunction;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// The curves of a run.
final class CurvesSection {
    private static final Pattern ACCURACY = Pattern.compile("val-core/(.+)/acc/mean@\\d+");
    private static final DoubleFunction<String> NUMBER = Numbers::significant;
    private static final DoubleFunction<String> SHARE =
            share -> Numbers.fixed(100 * share, 0) + "\u202f%";

    /// A policy loss below this has no information; its gradient has.
    private static final double NOTHING_BUT_ROUNDING = 1e-5;

    private final RunData data;

    CurvesSection(RunData data) {
        this.data = data;
    }

    /// Accuracy by subject over the evaluations, `all` first.
    Html accuracy() {
        Map<String, List<LineChart.Point>> bySubject = new TreeMap<>();
        for (MetricLine line : data.lines()) {
            if (line.evaluation()) {
                line.values()
                        .forEach((name, value) -> {
                            Matcher matcher = ACCURACY.matcher(name);
                            if (matcher.matches()) {
                                bySubject
                                        .computeIfAbsent(matcher.group(1), _ -> new ArrayList<>())
                                        .add(point(line, value));
                            }
                        });
            }
        }
        List<LineChart.Series> series = new ArrayList<>();
        List<LineChart.Point> all = bySubject.remove("all");
        if (all != null) {
            series.add(new LineChart.Series("all subjects", 0, true, all));
        }
        bySubject.forEach((subject, points) ->
                series.add(new LineChart.Series(subject, series.size(), true, points)));
        LineChart chart =
                new LineChart(
                        "accuracy",
                        "Accuracy on held-out rows",
                        "Sampled answers to the validation rows, at every evaluation.",
                        series,
                        true,
                        SHARE);
        return chart.isEmpty() ? new Html() : chart.draw(data, true);
    }

    /// Everything else.
    Html others() {
        Html html = new Html();
        for (LineChart chart : charts()) {
            if (!chart.isEmpty()) {
                html.add(chart.draw(data, false));
            }
        }
        HistogramChart histogram = HistogramChart.of(data);
        if (!histogram.isEmpty()) {
            html.add(histogram.draw());
        }
        return html;
    }

    private List<LineChart> charts() {
        return List.of(
                new LineChart(
                        "reward",
                        "Reward",
                        "",
                        List.of(
                                trained("in training", 1, "critic/rewards/mean"),
                                evaluated("held-out rows", 2, "val/reward/mean")),
                        true,
                        NUMBER),
                new LineChart(
                        "entropy",
                        "Entropy in evaluations, nats",
                        untrainedNote(),
                        List.of(
                                evaluatedTrained("critical tokens", 2, "entropy/critical/mean"),
                                evaluatedTrained(
                                        "critical token possible",
                                        3,
                                        "entropy/critical_possible/mean"),
                                evaluatedTrained("all tokens", 1, "entropy/mean")),
                        true,
                        NUMBER),
                new LineChart(
                        "entropy-training",
                        "Entropy in training, nats",
                        "",
                        List.of(
                                trained("critical tokens", 2, "entropy/critical/mean"),
                                trained(
                                        "critical token possible",
                                        3,
                                        "entropy/critical_possible/mean"),
                                trained("all tokens", 1, "actor/entropy")),
                        true,
                        NUMBER),
                new LineChart(
                        "critical-share",
                        "Responses with a critical token",
                        "",
                        List.of(
                                trained("in training", 1, "entropy/critical/share"),
                                evaluatedTrained("held-out rows", 2, "entropy/critical/share")),
                        true,
                        SHARE),
                new LineChart(
                        "critical-possible",
                        "Responses where a critical token was possible",
                        "",
                        List.of(
                                trained("in training", 1, "entropy/critical_possible/share"),
                                evaluatedTrained(
                                        "held-out rows", 2, "entropy/critical_possible/share")),
                        true,
                        SHARE),
                aboveThreshold(),
                new LineChart(
                        "length",
                        "Response length, tokens",
                        "",
                        List.of(
                                trained("in training", 1, "response_length/mean"),
                                evaluatedTrained("held-out rows", 2, "val/response_length/mean")),
                        true,
                        NUMBER),
                new LineChart(
                        "loss",
                        "Supervised loss, nats a token",
                        "",
                        List.of(trained("cross-entropy", 1, "train/loss")),
                        false,
                        NUMBER),
                new LineChart(
                        "policy-loss",
                        "Policy loss",
                        policyNote(),
                        List.of(trained("clipped surrogate", 1, "actor/pg_loss")),
                        false,
                        NUMBER),
                new LineChart(
                        "gradient",
                        "Gradient norm",
                        "",
                        List.of(trained("before clipping", 1, "actor/grad_norm")),
                        false,
                        NUMBER),
                new LineChart(
                        "throughput",
                        "Throughput, tokens a second",
                        "",
                        List.of(trained("whole step", 1, "perf/throughput")),
                        true,
                        NUMBER));
    }

    /// The share of uncertain tokens, which may rise while the mean entropy falls (Skywork-R1V3
    /// report, section 6.5). Where no token ever was one there is nothing to see.
    private LineChart aboveThreshold() {
        List<LineChart.Series> series =
                List.of(
                        trained("in training", 1, "entropy/above_threshold/share"),
                        evaluatedTrained("held-out rows", 2, "entropy/above_threshold/share"),
                        evaluatedTrained(
                                "held-out critical tokens",
                                3,
                                "entropy/critical/above_threshold/share"));
        boolean any =
                series.stream()
                        .flatMap(one -> one.points().stream())
                        .anyMatch(point -> point.value() > 0);
        double threshold = data.config().path("entropy").path("threshold").asDouble(Double.NaN);
        return new LineChart(
                "above-threshold",
                "Tokens above %s nats".formatted(Numbers.significant(threshold)),
                "",
                any ? series : List.of(),
                true,
                Numbers::percent);
    }

    private LineChart.Series trained(String label, int color, String metric) {
        return new LineChart.Series(label, color, false, points(false, metric));
    }

    private LineChart.Series evaluated(String label, int color, String metric) {
        return new LineChart.Series(label, color, true, points(true, metric));
    }

    /// Without the answers of random weights, beside which nothing else could be seen.
    private LineChart.Series evaluatedTrained(String label, int color, String metric) {
        List<LineChart.Point> points = points(true, metric);
        return new LineChart.Series(
                label,
                color,
                true,
                data.beganUntrained()
                        ? points.stream().filter(point -> point.step() > 0).toList()
                        : points);
    }

    private String untrainedNote() {
        boolean leftOut =
                data.beganUntrained()
                        && points(true, "entropy/mean").stream().anyMatch(p -> p.step() == 0);
        return leftOut ? "Without the untrained model at step 0." : "";
    }

    private String policyNote() {
        List<LineChart.Point> points = points(false, "actor/pg_loss");
        return points.stream().allMatch(point -> Math.abs(point.value()) < NOTHING_BUT_ROUNDING)
                ? "Rounding only: on policy every ratio is 1 and a group's advantages sum to 0."
                : "";
    }

    private List<LineChart.Point> points(boolean evaluation, String metric) {
        return data.lines().stream()
                .filter(line -> line.evaluation() == evaluation)
                .filter(line -> line.values().containsKey(metric))
                .map(line -> point(line, line.values().getOrDefault(metric, Double.NaN)))
                .toList();
    }

    private static LineChart.Point point(MetricLine line, double value) {
        return new LineChart.Point(line.stage(), line.step(), value);
    }
}
