package dev.saccade.bench.cuda;

import dev.saccade.bench.MeasuredCase;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.AuxCounters;
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

/// The connector on a CUDA device as training runs it: one operation of the tape, from the vision
/// tower's output to visual tokens, and back to the gradients of all its parameters. Its results
/// are compared with exact samples first.
///
/// JMH's own time is the host's, for 16 runs and the wait. What counts are the secondary results,
/// sums over all measured runs: `microseconds` of the device between events, `runs` and
/// `teraflops`, of the two products and, backward, of the four that make their gradients. So
/// `microseconds / runs` is the time of a run, and `1e6 teraflops / microseconds` is TFLOP/s.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {
            "--add-modules=jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED"
        })
public class ConnectorBench {
    /// The model whose connector it is: InternVL3-1B with 52 tiles, or 38B with 26.
    @Param({"1b", "38b"})
    public String model = "";

    /// The forward pass without recording, or both passes.
    @Param({"forward", "both"})
    public String pass = "";

    private @Nullable MeasuredCase measured;

    /// What the device did in all measured iterations.
    @State(Scope.Thread)
    @AuxCounters(AuxCounters.Type.EVENTS)
    public static class OnDevice {
        public double microseconds;
        public long runs;
        public double teraflops;
    }

    /// Prepares the case and compares its results with exact samples.
    @Setup
    public void setUp() {
        measured = MeasuredCase.named("connector/" + model + "/" + pass);
    }

    @TearDown
    public void tearDown() {
        Objects.requireNonNull(measured).close();
    }

    @Benchmark
    public void run(OnDevice counters) {
        MeasuredCase current = Objects.requireNonNull(measured);
        counters.microseconds += current.timedRuns();
        counters.runs += current.runs();
        counters.teraflops += 1e-12 * current.flops() * current.runs();
    }
}
