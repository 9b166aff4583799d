package dev.saccade.bench.cuda;

import dev.saccade.bench.MeasuredCase;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/// The host's time for one kernel launch through the Foreign Function & Memory API; the device's
/// queue is empty when 256 launches begin. [JCudaLaunchBench] is the same through JCuda.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {
            "--add-modules=jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED",
            "-Dsaccade.cuda.driver=ffm"
        })
public class LaunchBench {
    private static final int LAUNCHES = 256;

    /// Arguments of the kernel.
    @Param({"0", "12"})
    public int arguments;

    private @Nullable MeasuredCase measured;

    @Setup
    public void setUp() {
        measured = MeasuredCase.of("op=launch arguments=" + arguments);
    }

    @TearDown
    public void tearDown() {
        measured().close();
    }

    /// Empties the queue.
    @TearDown(Level.Invocation)
    public void drain() {
        measured().synchronize();
    }

    @Benchmark
    @OperationsPerInvocation(LAUNCHES)
    public void launch() {
        MeasuredCase current = measured();
        for (int i = 0; i < LAUNCHES; i++) {
            current.run(i);
        }
    }

    private MeasuredCase measured() {
        return Objects.requireNonNull(measured);
    }
}
