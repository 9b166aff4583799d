package dev.saccade.rl.report;

import java.util.ArrayList;
import java.util.List;

/// Critical entropy against accuracy, a point for each checkpoint.
///
/// @param points the checkpoints that have both
/// @param stages the stages' names in order; each has its colour and shape
record ScatterChart(List<Point> points, List<String> stages) {
    private static final double TOP = 14;
    private static final double LEFT = 52;
    private static final double RIGHT = 16;
    private static final double BOTTOM = 44;
    private static final int MOST_LABELS = 40;

    /// A checkpoint.
    record Point(long step, String stage, double entropy, double accuracy, boolean selected) {}

    /// A checkpoint's place in the drawing.
    private record Placed(Point point, double x, double y) {}

    /// Room that is taken.
    private record Box(double left, double top, double right, double bottom) {
        static Box around(double x, double y, double halfWidth, double halfHeight) {
            return new Box(x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight);
        }

        boolean meets(Box other) {
            return left < other.right
                    && other.left < right
                    && top < other.bottom
                    && other.top < bottom;
        }

        boolean holds(Box other) {
            return left <= other.left
                    && other.right <= right
                    && top <= other.top
                    && other.bottom <= bottom;
        }
    }

    Html draw() {
        Html html = new Html();
        html.open("figure", "class", "chart scatter").open("figcaption");
        html.element("h3", "Critical entropy and accuracy of the checkpoints");
        html.open("ul", "class", "legend");
        for (int i = 0; i < stages.size(); i++) {
            html.open("li", "class", "s" + (i + 1));
            html.open(
                    "svg", "width", 14, "height", 14, "viewBox", "0 0 14 14", "aria-hidden", true);
            Marker.of(i + 1).draw(html, 7, 7, 4, "mark");
            html.close("svg").text("in " + stages.get(i)).close("li");
        }
        html.open("li");
        html.open("svg", "width", 18, "height", 18, "viewBox", "0 0 18 18", "aria-hidden", true);
        html.empty("circle", "class", "ring", "cx", 9, "cy", 9, "r", 7.5).close("svg");
        html.text("selected").close("li").close("ul", "figcaption");
        svg(html, 760, 380, "on-wide");
        svg(html, 400, 320, "on-narrow");
        return html.close("figure");
    }

    private void svg(Html html, double width, double height, String cssClass) {
        ValueAxis x =
                axis(points.stream().mapToDouble(Point::entropy).toArray(), width > 500 ? 8 : 5);
        ValueAxis y = axis(points.stream().mapToDouble(Point::accuracy).toArray(), 5);
        html.open(
                "svg",
                "class",
                "plot " + cssClass,
                "viewBox",
                "0 0 " + Numbers.coordinate(width) + " " + Numbers.coordinate(height),
                "role",
                "img",
                "aria-label",
                description());
        double bottom = height - BOTTOM;
        for (double tick : y.ticks()) {
            String at = Numbers.coordinate(bottom - y.position(tick) * (bottom - TOP));
            html.empty(
                    "path",
                    "class",
                    "grid",
                    "d",
                    "M" + LEFT + " " + at + "H" + Numbers.coordinate(width - RIGHT));
            html.element(
                    "text",
                    Numbers.fixed(100 * tick, y.ticks().size() > 1 && step(y) < 0.01 ? 1 : 0)
                            + "\u202f%",
                    "class",
                    "tick end",
                    "x",
                    LEFT - 6,
                    "y",
                    at,
                    "dy",
                    "3.5");
        }
        for (double tick : x.ticks()) {
            String at = Numbers.coordinate(x(x, tick, width));
            html.empty(
                    "path",
                    "class",
                    "grid",
                    "d",
                    "M" + at + " " + TOP + "V" + Numbers.coordinate(bottom));
            html.element(
                    "text",
                    Numbers.significant(tick),
                    "class",
                    "tick mid",
                    "x",
                    at,
                    "y",
                    Numbers.coordinate(bottom + 16));
        }
        html.element(
                "text",
                "entropy at critical tokens, nats",
                "class",
                "axis mid",
                "x",
                Numbers.coordinate((LEFT + width - RIGHT) / 2),
                "y",
                Numbers.coordinate(height - 8));
        html.element("text", "accuracy", "class", "axis", "x", LEFT + 6, "y", TOP + 12);
        List<Placed> placed =
                points.stream()
                        .map(point ->
                                new Placed(
                                        point,
                                        x(x, point.entropy(), width),
                                        bottom - y.position(point.accuracy()) * (bottom - TOP)))
                        .toList();
        List<Box> taken = new ArrayList<>();
        for (Placed point : placed) {
            taken.add(Box.around(point.x(), point.y(), 5, 5));
        }
        for (Placed point : placed) {
            drawPoint(html, point, taken, new Box(LEFT, TOP, width, bottom));
        }
        html.close("svg");
    }

    private static double step(ValueAxis axis) {
        return axis.ticks().get(1) - axis.ticks().get(0);
    }

    private static ValueAxis axis(double[] values, int ticks) {
        double min = java.util.Arrays.stream(values).min().orElse(0);
        double max = java.util.Arrays.stream(values).max().orElse(1);
        double margin = Math.max((max - min) * 0.06, 1e-3);
        return ValueAxis.linear(Math.max(0, min - margin), max + margin, ticks);
    }

    private static double x(ValueAxis axis, double value, double width) {
        return LEFT + axis.position(value) * (width - LEFT - RIGHT);
    }

    private void drawPoint(Html html, Placed placed, List<Box> taken, Box plot) {
        Point point = placed.point();
        int color = stages.indexOf(point.stage()) + 1;
        html.open("g", "class", "s" + color);
        html.element(
                "title",
                "Step %s (%s): critical entropy %s nats, accuracy %s%s"
                        .formatted(
                                Numbers.whole(point.step()),
                                point.stage(),
                                Numbers.significant(point.entropy()),
                                Numbers.percent(point.accuracy()),
                                point.selected() ? ", selected" : ""));
        if (point.selected()) {
            html.empty(
                    "circle",
                    "class",
                    "ring",
                    "cx",
                    Numbers.coordinate(placed.x()),
                    "cy",
                    Numbers.coordinate(placed.y()),
                    "r",
                    9);
        }
        Marker.of(color).draw(html, placed.x(), placed.y(), 4.4, "mark");
        if (points.size() <= MOST_LABELS || point.selected()) {
            drawLabel(html, placed, taken, plot);
        }
        html.close("g");
    }

    /// Beside its point, where nothing is in the way; a label without room is left out, and the
    /// point's title says what it is.
    private static void drawLabel(Html html, Placed placed, List<Box> taken, Box plot) {
        Point point = placed.point();
        String text = Numbers.whole(point.step());
        double half = 3.4 * text.length() + 1;
        double away = point.selected() ? 13 : 8;
        double[][] centers = {
            {placed.x() + away + half, placed.y()},
            {placed.x() - away - half, placed.y()},
            {placed.x(), placed.y() - away - 5},
            {placed.x(), placed.y() + away + 5}
        };
        for (double[] center : centers) {
            Box box = Box.around(center[0], center[1], half, 6);
            if (plot.holds(box) && taken.stream().noneMatch(box::meets)) {
                taken.add(box);
                html.element(
                        "text",
                        text,
                        "class",
                        point.selected() ? "mid strong" : "mid",
                        "x",
                        Numbers.coordinate(center[0]),
                        "y",
                        Numbers.coordinate(center[1] + 4));
                return;
            }
        }
    }

    private String description() {
        StringBuilder text =
                new StringBuilder("Scatter plot of ").append(points.size()).append(" checkpoints.");
        for (Point point : points) {
            if (point.selected()) {
                text.append(
                        " Selected: step %d with critical entropy %s nats and accuracy %s."
                                .formatted(
                                        point.step(),
                                        Numbers.significant(point.entropy()),
                                        Numbers.percent(point.accuracy())));
            }
        }
        return text.toString();
    }
}
