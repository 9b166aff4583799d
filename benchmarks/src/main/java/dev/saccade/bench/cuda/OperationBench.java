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

/// One operation on a CUDA device. JMH's own time is the host's, for 16 runs and the wait; what
/// counts are the secondary results, sums over all measured runs: `microseconds` of the device
/// between events, `runs`, `gigaflops` and `gigabytes`. So `microseconds / runs` is the time of a
/// run, and `1e6 gigabytes / microseconds` is GB/s.
///
/// Any case can be chosen (`-p name=gemm/38b/down`); `--table --list` shows their names.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 3, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {
            "--add-modules=jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED"
        })
public class OperationBench {
    /// A case of the list.
    @Param({
        "gemm/square/8192",
        "gemm/38b/down",
        "gemm/38b/decode64-down",
        "attention/300m",
        "attention/38b",
        "attention/38b-backward",
        "attention/38b-decode",
        "rms-norm/38b",
        "entropy/8192",
        "adamw/f32"
    })
    public String name = "";

    private @Nullable MeasuredCase measured;

    /// What the device did in all measured iterations.
    @State(Scope.Thread)
    @AuxCounters(AuxCounters.Type.EVENTS)
    public static class OnDevice {
        public double microseconds;
        public long runs;
        public double gigaflops;
        public double gigabytes;
    }

    /// Prepares the case and compares its result with exact samples.
    @Setup
    public void setUp() {
        measured = MeasuredCase.named(name);
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
        counters.gigaflops += 1e-9 * current.flops() * current.runs();
        counters.gigabytes += 1e-9 * current.bytes() * current.runs();
    }
}
