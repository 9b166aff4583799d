package dev.saccade.bench.cuda;

import dev.saccade.bench.Contest;
import dev.saccade.engine.CudaException;
import dev.saccade.engine.InputException;
import dev.saccade.engine.OutOfDeviceMemoryException;
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
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/// Cases of the table's list as a JMH suite on a CUDA device. Each case has a process of its own:
/// it measures what the device reaches at best, compares the case's results and its peers' with
/// exact samples, and then, before each iteration, lets ours and the peers run in turns.
///
/// JMH's own score is the host's time for one of 16 runs in a row. The secondary results are of the
/// turns: the device's time, rates, percent of the peaks, errors, and each peer's time and error.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 1, time = 100, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 200, timeUnit = TimeUnit.MILLISECONDS)
@Fork(
        value = 1,
        jvmArgsAppend = {
            "--add-modules=jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED",
            "--sun-misc-unsafe-memory-access=allow"
        })
public abstract class DeviceSuite {
    private @Nullable Contest contest;

    /// The case's name in the list.
    abstract String caseName();

    /// Measures the peaks, prepares the case and its peers, and checks them.
    @Setup
    public void setUp() {
        try {
            contest = Contest.named(caseName());
        } catch (IllegalArgumentException
                | IllegalStateException
                | UnsupportedOperationException
                | InputException
                | CudaException
                | OutOfDeviceMemoryException e) {
            throw new Unmeasured(caseName() + ": " + e.getMessage());
        }
    }

    /// Why a case can't be measured. JMH prints its stack trace, so it has none.
    private static final class Unmeasured extends RuntimeException {
        private static final long serialVersionUID = 1;

        Unmeasured(String why) {
            super(why, null, false, false);
        }
    }

    /// Ours and the peers in turns.
    @Setup(Level.Iteration)
    public void race() {
        contest().race();
    }

    @TearDown
    public void tearDown() {
        contest().close();
    }

    @Benchmark
    @OperationsPerInvocation(Contest.RUNS)
    public void run() {
        contest().run();
    }

    private Contest contest() {
        return Objects.requireNonNull(contest);
    }
}
