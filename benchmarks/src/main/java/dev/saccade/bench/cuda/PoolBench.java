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

/// A buffer taken from the device's pool and given back, when the pool has one of that size.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {
            "--add-modules=jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED"
        })
public class PoolBench {
    @Param({"256", "4096", "1048576", "67108864"})
    public int bytes;

    private @Nullable MeasuredCase measured;

    @Setup
    public void setUp() {
        measured = MeasuredCase.of("op=allocate bytes=" + bytes);
    }

    @TearDown
    public void tearDown() {
        Objects.requireNonNull(measured).close();
    }

    @Benchmark
    public void allocateAndFree() {
        Objects.requireNonNull(measured).run(0);
    }
}
