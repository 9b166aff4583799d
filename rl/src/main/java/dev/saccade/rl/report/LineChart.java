package dev.saccade.rl.report;

import java.util.ArrayList;
import java.util.List;
import java.util.function.DoubleFunction;
import java.util.stream.DoubleStream;

/// A chart of curves over the steps of a run, drawn as SVG, with its stages as bands.
///
/// @param id unique in the page
/// @param title what it shows
/// @param note a sentence below the title; may be empty
/// @param series the curves
/// @param fromZero whether the axis of values has to reach 0
/// @param format how a value is written
record LineChart(
        String id,
        String title,
        String note,
        List<Series> series,
        boolean fromZero,
        DoubleFunction<String> format) {

    private static final int MOST_POINTS = 240;
    private static final int FEWEST_SMOOTHED = 24;
    private static final double LOGARITHMIC_FROM_RATIO = 40;
    private static final double TOP = 24;
    private static final double BOTTOM = 24;
    private static final double RIGHT = 10;

    /// A curve.
    ///
    /// @param label its name
    /// @param color the number of its colour and marker; 0 = ink
    /// @param evaluated whether its points are few and exact: drawn with markers, not smoothed
    /// @param points in the order of their steps
    record Series(String label, int color, boolean evaluated, List<Point> points) {}

    /// A value.
    record Point(String stage, long step, double value) {}

    boolean isEmpty() {
        return series.stream().allMatch(s -> s.points().isEmpty());
    }

    /// Draws the chart with its title and legend.
    ///
    /// @param data the run, for its stages
    /// @param wide whether it fills a wide page, with a smaller drawing for narrow ones
    Html draw(RunData data, boolean wide) {
        Html html = new Html();
        html.open("figure", "class", wide ? "chart wide" : "chart");
        html.open("figcaption").element("h3", title);
        drawLegend(html);
        if (!note.isEmpty()) {
            html.element("p", note, "class", "note");
        }
        html.close("figcaption");
        if (wide) {
            svg(html, data, 1060, 330, "on-wide", id + "-wide");
            svg(html, data, 400, 280, "on-narrow", id + "-narrow");
        } else {
            svg(html, data, 400, 230, "", id);
        }
        return html.close("figure");
    }

    private void drawLegend(Html html) {
        html.open("ul", "class", "legend");
        for (Series s : series) {
            if (s.points().isEmpty()) {
                continue;
            }
            html.open("li", "class", "s" + s.color());
            html.open(
                    "svg", "width", 26, "height", 12, "viewBox", "0 0 26 12", "aria-hidden", true);
            html.empty("path", "class", "line", "d", "M1 6H25");
            if (s.evaluated()) {
                Marker.of(s.color()).draw(html, 13, 6, 3.4, "mark");
            }
            html.close("svg").text(s.label() + " ");
            html.element("b", format.apply(last(s)));
            html.close("li");
        }
        html.close("ul");
    }

    /// The last value; of a curve that is smoothed, the end of its running mean.
    private static double last(Series s) {
        Point last = s.points().getLast();
        List<Point> stage =
                s.points().stream().filter(p -> p.stage().equals(last.stage())).toList();
        return isSmoothed(s, stage) ? mean(thinned(stage)).getLast().value() : last.value();
    }

    private static boolean isSmoothed(Series s, List<Point> stage) {
        return !s.evaluated() && stage.size() >= FEWEST_SMOOTHED;
    }

    private void svg(
            Html html, RunData data, double width, double height, String cssClass, String svgId) {
        ValueAxis values = valueAxis((int) (height / 55));
        int longest =
                values.ticks().stream()
                        .mapToInt(tick -> format.apply(tick).length())
                        .max()
                        .orElse(1);
        double left = 10 + 6.3 * longest;
        List<StageSpan> shown =
                data.stages().stream().filter(stage -> measured(stage) > 0).toList();
        StageAxis steps = new StageAxis(shown, this::measured, left, width - RIGHT);
        html.open(
                "svg",
                "class",
                ("plot " + cssClass).strip(),
                "viewBox",
                "0 0 " + Numbers.coordinate(width) + " " + Numbers.coordinate(height),
                "role",
                "img",
                "aria-label",
                description());
        double bottom = height - BOTTOM;
        drawBands(html, steps, bottom);
        for (double tick : values.ticks()) {
            double y = y(values, tick, bottom);
            html.empty(
                    "path",
                    "class",
                    tick == 0 ? "grid zero" : "grid",
                    "d",
                    "M%s %sH%s"
                            .formatted(
                                    Numbers.coordinate(left),
                                    Numbers.coordinate(y),
                                    Numbers.coordinate(width - RIGHT)));
            html.element(
                    "text",
                    format.apply(tick),
                    "class",
                    "tick end",
                    "x",
                    Numbers.coordinate(left - 6),
                    "y",
                    Numbers.coordinate(y + 3.5));
        }
        for (StageAxis.Tick tick : steps.ticks()) {
            html.element(
                    "text",
                    Numbers.whole(tick.step()),
                    "class",
                    tick.x() > width - 30 ? "tick end" : "tick mid",
                    "x",
                    Numbers.coordinate(tick.x() > width - 30 ? width - 2 : tick.x()),
                    "y",
                    Numbers.coordinate(bottom + 15));
        }
        html.open("clipPath", "id", "clip-" + svgId);
        html.empty(
                "rect",
                "x",
                Numbers.coordinate(left - 6),
                "y",
                0,
                "width",
                Numbers.coordinate(width - left + 6),
                "height",
                Numbers.coordinate(height));
        html.close("clipPath");
        html.open("g", "clip-path", "url(#clip-" + svgId + ")");
        for (int i = series.size() - 1; i >= 0; i--) {
            drawSeries(html, series.get(i), steps, values, bottom);
        }
        html.close("g");
        html.empty(
                "path",
                "class",
                "cursor",
                "d",
                "M0 %sV%s".formatted(Numbers.coordinate(TOP), Numbers.coordinate(bottom)));
        html.close("svg");
    }

    private long measured(StageSpan stage) {
        return series.stream()
                .flatMap(s -> s.points().stream())
                .filter(point -> point.stage().equals(stage.name()))
                .mapToLong(Point::step)
                .distinct()
                .count();
    }

    private static double y(ValueAxis values, double value, double bottom) {
        return bottom - values.position(value) * (bottom - TOP);
    }

    private void drawBands(Html html, StageAxis steps, double bottom) {
        for (int i = 0; i < steps.bands().size(); i++) {
            StageAxis.Band band = steps.bands().get(i);
            double width = band.right() - band.left();
            html.empty(
                    "rect",
                    "class",
                    i % 2 == 0 ? "band" : "band odd",
                    "x",
                    Numbers.coordinate(band.left()),
                    "y",
                    0,
                    "width",
                    Numbers.coordinate(width),
                    "height",
                    Numbers.coordinate(bottom));
            String name = band.stage().name();
            int fits = (int) ((width - 6) / 6.0);
            if (fits >= Math.min(name.length(), 5)) {
                html.element(
                        "text",
                        name.length() <= fits ? name : name.substring(0, fits - 1) + "…",
                        "class",
                        "stage",
                        "x",
                        Numbers.coordinate(band.left() + 5),
                        "y",
                        14);
            }
        }
    }

    private ValueAxis valueAxis(int ticks) {
        double[] all =
                series.stream()
                        .flatMapToDouble(s -> s.points().stream().mapToDouble(Point::value))
                        .toArray();
        double min = DoubleStream.of(all).min().orElse(0);
        double max = DoubleStream.of(all).max().orElse(1);
        if (!fromZero && min > 0 && max / min > LOGARITHMIC_FROM_RATIO) {
            return ValueAxis.logarithmic(min, max);
        }
        return ValueAxis.linear(fromZero ? Math.min(0, min) : min, Math.max(max, min), ticks);
    }

    private void drawSeries(Html html, Series s, StageAxis steps, ValueAxis values, double bottom) {
        html.open("g", "class", "s" + s.color());
        StringBuilder raw = new StringBuilder();
        StringBuilder smooth = new StringBuilder();
        StringBuilder known = new StringBuilder();
        boolean anySmooth = false;
        for (StageAxis.Band band : steps.bands()) {
            List<Point> points =
                    thinned(
                            s.points().stream()
                                    .filter(p -> p.stage().equals(band.stage().name()))
                                    .toList());
            boolean smoothed = isSmoothed(s, points);
            anySmooth |= smoothed;
            boolean joined = s.evaluated() && isNextTo(steps, band) && !raw.isEmpty();
            line(raw, points, joined, band, values, bottom);
            line(smooth, smoothed ? mean(points) : points, joined, band, values, bottom);
            for (Point point : points) {
                known.append(known.isEmpty() ? "" : ";")
                        .append(Numbers.coordinate(band.x(point.step())))
                        .append('|')
                        .append(Numbers.coordinate(y(values, point.value(), bottom)))
                        .append('|')
                        .append(Numbers.whole(point.step()))
                        .append('|')
                        .append(format.apply(point.value()));
            }
        }
        if (anySmooth) {
            html.empty("path", "class", "line faint", "d", raw);
        }
        html.empty(
                "path",
                "class",
                "line",
                "d",
                smooth,
                "data-label",
                s.label(),
                "data-points",
                known);
        if (s.evaluated()) {
            for (Point point : s.points()) {
                if (steps.shows(point.stage())) {
                    Marker.of(s.color())
                            .draw(
                                    html,
                                    steps.band(point.stage()).x(point.step()),
                                    y(values, point.value(), bottom),
                                    3.2,
                                    "mark");
                }
            }
        }
        html.close("g");
    }

    /// Whether the band before this one is the stage before it.
    private static boolean isNextTo(StageAxis steps, StageAxis.Band band) {
        int index = steps.bands().indexOf(band);
        return index > 0 && steps.bands().get(index - 1).stage().to() == band.stage().from();
    }

    private void line(
            StringBuilder path,
            List<Point> points,
            boolean joined,
            StageAxis.Band band,
            ValueAxis values,
            double bottom) {
        for (int i = 0; i < points.size(); i++) {
            path.append(i == 0 && !joined ? 'M' : 'L')
                    .append(Numbers.coordinate(band.x(points.get(i).step())))
                    .append(' ')
                    .append(Numbers.coordinate(y(values, points.get(i).value(), bottom)));
        }
    }

    /// At most so many points as can be seen: neighbours become their mean.
    private static List<Point> thinned(List<Point> points) {
        if (points.size() <= MOST_POINTS) {
            return points;
        }
        List<Point> thinned = new ArrayList<>();
        for (int i = 0; i < MOST_POINTS; i++) {
            int from = (int) ((long) i * points.size() / MOST_POINTS);
            int to = (int) ((long) (i + 1) * points.size() / MOST_POINTS);
            double mean =
                    points.subList(from, to).stream()
                            .mapToDouble(Point::value)
                            .average()
                            .orElseThrow();
            Point middle = points.get((from + to - 1) / 2);
            thinned.add(new Point(middle.stage(), middle.step(), mean));
        }
        return thinned;
    }

    /// The running mean over a tenth of the points around each.
    private static List<Point> mean(List<Point> points) {
        int reach = Math.max(2, points.size() / 20);
        List<Point> means = new ArrayList<>();
        for (int i = 0; i < points.size(); i++) {
            double mean =
                    points
                            .subList(Math.max(0, i - reach), Math.min(points.size(), i + reach + 1))
                            .stream()
                            .mapToDouble(Point::value)
                            .average()
                            .orElseThrow();
            means.add(new Point(points.get(i).stage(), points.get(i).step(), mean));
        }
        return means;
    }

    /// What the chart shows, in words.
    private String description() {
        StringBuilder text = new StringBuilder(title).append(" over steps.");
        for (Series s : series) {
            if (!s.points().isEmpty()) {
                Point first = s.points().getFirst();
                Point last = s.points().getLast();
                text.append(
                        " %s: %s at step %d, %s at step %d."
                                .formatted(
                                        s.label(),
                                        format.apply(first.value()),
                                        first.step(),
                                        format.apply(last.value()),
                                        last.step()));
            }
        }
        return text.toString();
    }
}
