package dev.saccade.bench;

import java.util.Collection;
import java.util.List;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.infra.IterationParams;
import org.openjdk.jmh.profile.InternalProfiler;
import org.openjdk.jmh.results.AggregationPolicy;
import org.openjdk.jmh.results.IterationResult;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.ScalarResult;
import org.openjdk.jmh.runner.IterationType;

/// Adds what a suite's [Contest] measured on the device to JMH's results, with units: JMH's own
/// counters know sums and rates by the host's clock only. `./saccade bench` turns it on.
public final class DeviceProfiler implements InternalProfiler {

    @Override
    public String getDescription() {
        return "times on the device, rates, errors and peers of the CUDA suites";
    }

    @Override
    public void beforeIteration(BenchmarkParams benchmark, IterationParams iteration) {}

    @Override
    public Collection<? extends Result<?>> afterIteration(
            BenchmarkParams benchmark, IterationParams iteration, IterationResult result) {
        if (iteration.getType() != IterationType.MEASUREMENT) {
            return List.of();
        }
        return Contest.latest().stream()
                .map(measure ->
                        new ScalarResult(
                                measure.label(),
                                measure.value(),
                                measure.unit(),
                                AggregationPolicy.AVG))
                .toList();
    }
}
