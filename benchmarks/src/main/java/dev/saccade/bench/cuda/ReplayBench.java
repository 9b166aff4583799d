package dev.saccade.bench.cuda;

import dev.saccade.bench.MeasuredCase;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/// A recorded graph of launches: the host's time until the device has run all of them. Divided by
/// the number of launches it is what a launch inside a graph costs.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {
            "--add-modules=jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED"
        })
public class ReplayBench {
    /// Launches in the graph.
    @Param({"1", "256"})
    public int launches;

    private @Nullable MeasuredCase measured;

    @Setup
    public void setUp() {
        measured = MeasuredCase.of("op=replay launches=" + launches);
    }

    @TearDown
    public void tearDown() {
        Objects.requireNonNull(measured).close();
    }

    @Benchmark
    public void replay() {
        MeasuredCase current = Objects.requireNonNull(measured);
        current.run(0);
        current.synchronize();
    }
}
