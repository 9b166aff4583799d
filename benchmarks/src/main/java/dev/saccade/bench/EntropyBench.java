package dev.saccade.bench;

import dev.saccade.kernels.Span;
import dev.saccade.kernels.entropy.Entropy;
import java.util.Arrays;
import java.util.Objects;
import java.util.SplittableRandom;
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

/// Log-probabilities and entropies of rows of logits on the CPU, with all workers: a training batch
/// of the quick start (2048 tokens, 136 words) and Qwen2's vocabulary (64 tokens, 151674 words).
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
public class EntropyBench {

    /// Tokens x vocabulary.
    @Param({"2048x136", "64x151674"})
    public String shape = "";

    private @Nullable Session session;

    /// Makes the inputs and compares both results with double arithmetic.
    @Setup
    public void setUp() {
        int cross = shape.indexOf('x');
        int rows = Integer.parseInt(shape.substring(0, cross));
        int vocab = Integer.parseInt(shape.substring(cross + 1));
        session = new Session(rows, vocab);
        session.check();
    }

    @TearDown
    public void tearDown() {
        session().close();
    }

    @Benchmark
    public void forward() {
        session().forward();
    }

    @Benchmark
    public void forwardBackward() {
        session().forward();
        session().backward();
    }

    private Session session() {
        return Objects.requireNonNull(session);
    }

    /// The operands of one shape.
    private static final class Session implements AutoCloseable {
        private final HostOperands operands = new HostOperands(0);
        private final Entropy kernel = Entropy.on(operands.device());
        private final int rows;
        private final int vocab;
        private final float[] values;
        private final int[] words;
        private final float[] ones;
        private final Span logits;
        private final Span targets;
        private final Span logProb;
        private final Span entropy;
        private final Span lse;
        private final Span upstream;
        private final Span gradient;

        Session(int rows, int vocab) {
            this.rows = rows;
            this.vocab = vocab;
            SplittableRandom random = new SplittableRandom(2026);
            words = random.ints(rows, 0, vocab).toArray();
            values = new float[rows * vocab];
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) random.nextDouble(-10, 10);
            }
            ones = new float[rows];
            Arrays.fill(ones, 1f);
            logits = operands.of(values);
            targets = operands.of(words);
            upstream = operands.of(ones);
            logProb = operands.empty(rows);
            entropy = operands.empty(rows);
            lse = operands.empty(rows);
            gradient = operands.empty(rows * vocab);
        }

        void forward() {
            kernel.forward(rows, vocab, 1f, logits, targets, null, logProb, entropy, lse);
        }

        void backward() {
            kernel.backward(
                    rows, vocab, 1f, logits, targets, null, entropy, lse, upstream, upstream,
                    gradient);
        }

        /// Compares some rows with double arithmetic.
        void check() {
            forward();
            backward();
            float[] gotLogProb = operands.floats(logProb);
            float[] gotEntropy = operands.floats(entropy);
            float[] gotGradient = operands.floats(gradient);
            for (int row = 0; row < rows; row += rows / 8) {
                int from = row * vocab;
                double sum = 0;
                for (int v = 0; v < vocab; v++) {
                    sum += StrictMath.exp(values[from + v]);
                }
                double exactLse = StrictMath.log(sum);
                double exactEntropy = 0;
                for (int v = 0; v < vocab; v++) {
                    double logP = values[from + v] - exactLse;
                    exactEntropy -= StrictMath.exp(logP) * logP;
                }
                require(gotLogProb[row], values[from + words[row]] - exactLse);
                require(gotEntropy[row], exactEntropy);
                for (int v = 0; v < vocab; v++) {
                    double logP = values[from + v] - exactLse;
                    double p = StrictMath.exp(logP);
                    double wanted = (v == words[row] ? 1 : 0) - p - p * (logP + exactEntropy);
                    require(gotGradient[from + v], wanted);
                }
            }
        }

        private static void require(double got, double wanted) {
            if (!(Math.abs(got - wanted) <= 2e-6 * (1 + Math.abs(wanted)))) {
                throw new IllegalStateException("wrong result: " + got + ", expected " + wanted);
            }
        }

        @Override
        public void close() {
            operands.close();
        }
    }
}
