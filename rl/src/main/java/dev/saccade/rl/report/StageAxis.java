package dev.saccade.rl.report;

import java.util.ArrayList;
import java.util.List;
import java.util.function.ToLongFunction;

/// The horizontal axis of the curves: the stages side by side, each as wide as the square root of
/// how many of its steps have a value, so that a short stage beside a long one can still be read,
/// and a stage that was measured once takes little room.
final class StageAxis {
    private static final double CLOSEST_LABELS = 34;
    private static final double CLOSEST_TO_END = 48;
    private static final double CLOSEST_TICKS = 70;

    /// A stage's place.
    ///
    /// @param stage the stage
    /// @param left where it begins
    /// @param right where it ends
    record Band(StageSpan stage, double left, double right) {
        double x(long step) {
            long steps = Math.max(1, stage.to() - stage.from());
            double along = (double) (step - stage.from()) / steps;
            return left + Math.clamp(along, 0, 1) * (right - left);
        }
    }

    /// A labelled step.
    record Tick(long step, double x) {}

    private final List<Band> bands = new ArrayList<>();

    /// @param stages the stages to show, at least one
    /// @param measured how many of a stage's steps have a value
    StageAxis(
            List<StageSpan> stages, ToLongFunction<StageSpan> measured, double left, double right) {
        double total = stages.stream().mapToDouble(stage -> weight(stage, measured)).sum();
        double x = left;
        for (StageSpan stage : stages) {
            double width = (right - left) * weight(stage, measured) / total;
            bands.add(new Band(stage, x, x + width));
            x += width;
        }
    }

    private static double weight(StageSpan stage, ToLongFunction<StageSpan> measured) {
        return Math.sqrt((double) Math.max(1, measured.applyAsLong(stage)));
    }

    List<Band> bands() {
        return bands;
    }

    /// The band of a stage.
    Band band(String stage) {
        for (Band band : bands) {
            if (band.stage().name().equals(stage)) {
                return band;
            }
        }
        throw new IllegalArgumentException("stage " + stage + " is not on this axis");
    }

    boolean shows(String stage) {
        return bands.stream().anyMatch(band -> band.stage().name().equals(stage));
    }

    /// Labels at the ends of stages, and at round steps within wide ones.
    List<Tick> ticks() {
        List<Tick> ticks = new ArrayList<>();
        Band last = bands.getLast();
        Tick end = new Tick(last.stage().to(), last.right());
        addIfFree(ticks, new Tick(bands.getFirst().stage().from(), bands.getFirst().left()), end);
        for (Band band : bands) {
            addIfFree(ticks, new Tick(band.stage().to(), band.right()), end);
        }
        for (Band band : bands) {
            int parts = (int) ((band.right() - band.left()) / CLOSEST_TICKS);
            if (parts > 1) {
                ValueAxis inner =
                        ValueAxis.linear(
                                (double) band.stage().from(), (double) band.stage().to(), parts);
                for (double step : inner.ticks()) {
                    if (step > band.stage().from() && step < band.stage().to()) {
                        addIfFree(ticks, new Tick((long) step, band.x((long) step)), end);
                    }
                }
            }
        }
        ticks.add(end);
        return ticks;
    }

    private static void addIfFree(List<Tick> ticks, Tick tick, Tick end) {
        boolean free =
                Math.abs(tick.x() - end.x()) > CLOSEST_TO_END
                        && ticks.stream()
                                .noneMatch(t -> Math.abs(t.x() - tick.x()) < CLOSEST_LABELS);
        if (free) {
            ticks.add(tick);
        }
    }
}
