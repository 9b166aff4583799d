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

/// Copies between host and device until they have happened. The table's cases `upload` and
/// `download` have the driver's bare copy beside them.
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
public class CopyBench {
    @Param({"4096", "65536", "1048576", "16777216", "268435456"})
    public int bytes;

    /// Where the host's end is.
    @Param({"pinned", "pageable"})
    public String memory = "";

    /// The way.
    @Param({"upload", "download"})
    public String way = "";

    private @Nullable MeasuredCase measured;

    @Setup
    public void setUp() {
        measured = MeasuredCase.of("op=%s memory=%s bytes=%d".formatted(way, memory, bytes));
    }

    @TearDown
    public void tearDown() {
        Objects.requireNonNull(measured).close();
    }

    @Benchmark
    public void copy() {
        Objects.requireNonNull(measured).run(0);
    }
}
