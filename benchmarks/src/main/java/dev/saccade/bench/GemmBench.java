package dev.saccade.bench;

import dev.saccade.kernels.Span;
import dev.saccade.kernels.gemm.Epilogue;
import dev.saccade.kernels.gemm.Gemm;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/// Matrix products on the CPU, fp32: cubes, and the products of the quick start's model.
///
/// The secondary result `gigaflops` counts 2 m n k operations a product; with the time unit of
/// seconds it reads as GFLOP/s. `-p workers=1,2` compares crews (0: one worker a processor), `-p
/// shape=...` takes any m x n x k.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Warmup(iterations = 4, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {
            "--add-modules=jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED"
        })
public class GemmBench {

    /// m x n x k.
    @Param({
        "256x256x256",
        "512x512x512",
        "768x768x768",
        "1024x1024x1024",
        "1600x128x128",
        "1600x384x128",
        "1600x512x128",
        "128x256x128",
        "16x128x128"
    })
    public String shape = "";

    @Param({"NT", "NN", "TN"})
    public Gemm.Layout layout = Gemm.Layout.NT;

    /// Threads; 0 is one a processor.
    @Param("0")
    public int workers;

    private @Nullable Session session;

    /// Arithmetic done, in units of 10^9 operations.
    @State(Scope.Thread)
    @AuxCounters(AuxCounters.Type.OPERATIONS)
    public static class Arithmetic {
        public double gigaflops;

        @Setup(Level.Iteration)
        public void reset() {
            gigaflops = 0;
        }
    }

    /// Makes the operands and compares the product with every element's chain of multiply-adds.
    @Setup
    public void setUp() {
        String[] extents = shape.split("x", -1);
        session =
                new Session(
                        new Gemm.Shape(
                                layout,
                                Integer.parseInt(extents[0]),
                                Integer.parseInt(extents[1]),
                                Integer.parseInt(extents[2])),
                        workers);
        session.check();
    }

    @TearDown
    public void tearDown() {
        Objects.requireNonNull(session).close();
    }

    @Benchmark
    public void multiply(Arithmetic arithmetic) {
        Session current = Objects.requireNonNull(session);
        current.multiply();
        arithmetic.gigaflops += current.gigaflops;
    }

    /// The operands of one product.
    private static final class Session implements AutoCloseable {
        private final HostOperands operands;
        private final Gemm gemm;
        private final SplittableRandom random = new SplittableRandom(2026);
        private final Gemm.Shape shape;
        private final float[] left;
        private final float[] right;
        private final Span a;
        private final Span b;
        private final Span c;
        private final double gigaflops;

        Session(Gemm.Shape shape, int workers) {
            this.shape = shape;
            operands = new HostOperands(workers);
            gemm = Gemm.on(operands.device());
            left = random(shape.m() * shape.k());
            right = random(shape.k() * shape.n());
            a = operands.of(left);
            b = operands.of(right);
            c = operands.empty(shape.m() * shape.n());
            gigaflops = 2e-9 * shape.m() * shape.n() * shape.k();
        }

        private float[] random(int count) {
            float[] values = new float[count];
            for (int i = 0; i < count; i++) {
                values[i] = (float) random.nextDouble(-1, 1);
            }
            return values;
        }

        void multiply() {
            gemm.multiply(shape, a, b, c, Epilogue.STORE);
        }

        void check() {
            multiply();
            int m = shape.m();
            int n = shape.n();
            int k = shape.k();
            boolean transposedA = shape.layout() == Gemm.Layout.TN;
            boolean transposedB = shape.layout() == Gemm.Layout.NT;
            float[] actual = operands.floats(c);
            for (int row = 0; row < m; row++) {
                for (int column = 0; column < n; column++) {
                    float sum = 0;
                    for (int i = 0; i < k; i++) {
                        float x = left[transposedA ? i * m + row : row * k + i];
                        float y = right[transposedB ? column * k + i : i * n + column];
                        sum = Math.fma(x, y, sum);
                    }
                    if (Float.floatToRawIntBits(sum)
                            != Float.floatToRawIntBits(actual[row * n + column])) {
                        throw new IllegalStateException(
                                "wrong result at row %d, column %d: %s, expected %s"
                                        .formatted(row, column, actual[row * n + column], sum));
                    }
                }
            }
        }

        @Override
        public void close() {
            operands.close();
        }
    }
}
