package dev.saccade.rl.report;

import java.util.List;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/// The evaluations that show what reinforcement learning changed.
///
/// @param before the last one before it; null without reinforcement learning, or without one
/// @param after the last one up to its end, of a run without it the last of all; null where there
///   is none
record MeasuredEvaluations(@Nullable MetricLine before, @Nullable MetricLine after) {

    /// Those of a run.
    ///
    /// @param wanted only evaluations for which this holds count
    static MeasuredEvaluations of(RunData data, Predicate<MetricLine> wanted) {
        List<MetricLine> lines =
                data.lines().stream().filter(MetricLine::evaluation).filter(wanted).toList();
        List<StageSpan> stages = data.reinforcement();
        @Nullable MetricLine after =
                last(lines, stages.isEmpty() ? Long.MAX_VALUE : stages.getLast().to());
        @Nullable MetricLine before =
                stages.isEmpty() ? null : last(lines, stages.getFirst().from());
        boolean apart = before != null && after != null && before.step() < after.step();
        return new MeasuredEvaluations(apart ? before : null, after);
    }

    private static @Nullable MetricLine last(List<MetricLine> lines, long upTo) {
        return lines.stream()
                .filter(line -> line.step() <= upTo)
                .reduce((_, second) -> second)
                .orElse(null);
    }
}
