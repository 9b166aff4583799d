package dev.saccade.rl.report;

import java.util.Map;

/// A line of metrics.jsonl.
///
/// @param step the step over the whole run
/// @param stage the stage's name
/// @param evaluation whether it is of an evaluation
/// @param seconds since the run began; NaN when not given
/// @param values the finite numbers by name
/// @param histograms the lists of counts by name
record MetricLine(
        long step,
        String stage,
        boolean evaluation,
        double seconds,
        Map<String, Double> values,
        Map<String, long[]> histograms) {}
