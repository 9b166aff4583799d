package dev.saccade.rl.stage;

import java.util.Map;

/// The metrics of a step's speed, which differ from run to run.
final class Throughput {
    private Throughput() {}

    /// @param tokens of prompts and responses
    /// @param seconds the whole step
    static void put(Map<String, Double> metrics, long tokens, double seconds) {
        metrics.put("perf/total_num_tokens", (double) tokens);
        metrics.put("perf/time_per_step", seconds);
        metrics.put("perf/throughput", tokens / seconds);
        metrics.put("timing_s/step", seconds);
    }
}
