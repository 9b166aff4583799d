package dev.saccade.bench;

import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention;
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

/// Attention on the CPU, with all workers: a training batch of the quick start, a tile of
/// InternViT-300M, a long causal sequence of a Qwen2-1.5B layer, and a decoding step of 64
/// sequences.
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
public class AttentionBench {

    /// What is computed.
    public enum Case {
        /// 4 heads of 32 over 2 key-value heads, 32 causal sequences of 64.
        QUICKSTART(4, 2, 32, true, 32, 64, 64),
        /// 16 heads of 64, 1025 tokens that all see each other.
        VISION(16, 16, 64, false, 1, 1025, 1025),
        /// 12 heads of 128 over 2 key-value heads, one causal sequence of 1024.
        LANGUAGE(12, 2, 128, true, 1, 1024, 1024),
        /// One query each of 64 sequences of 256 keys, heads as in the quick start.
        DECODE(4, 2, 32, true, 64, 1, 256);

        private final int heads;
        private final int kvHeads;
        private final int headDim;
        private final boolean causal;
        private final int sequences;
        private final int queries;
        private final int keys;

        Case(
                int heads,
                int kvHeads,
                int headDim,
                boolean causal,
                int sequences,
                int queries,
                int keys) {
            this.heads = heads;
            this.kvHeads = kvHeads;
            this.headDim = headDim;
            this.causal = causal;
            this.sequences = sequences;
            this.queries = queries;
            this.keys = keys;
        }

        Attention.Shape shape() {
            float scale = (float) (1 / Math.sqrt(headDim));
            return new Attention.Shape(heads, kvHeads, headDim, causal, scale);
        }
    }

    @Param public Case shape = Case.QUICKSTART;

    private @Nullable Session session;

    /// Makes the inputs and compares both passes with double arithmetic.
    @Setup
    public void setUp() {
        session = new Session(shape);
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
    public void backward() {
        session().backward();
    }

    private Session session() {
        return Objects.requireNonNull(session);
    }

    /// The operands of one case.
    private static final class Session implements AutoCloseable {
        private final HostOperands operands = new HostOperands(0);
        private final Attention kernel = Attention.on(operands.device());
        private final SplittableRandom random = new SplittableRandom(2026);
        private final Case work;
        private final Attention.Shape shape;
        private final Attention.Sequences sequences;
        private final Span q;
        private final Span k;
        private final Span v;
        private final Span o;
        private final Span lse;
        private final Span dO;
        private final Span dq;
        private final Span dk;
        private final Span dv;

        Session(Case work) {
            this.work = work;
            shape = work.shape();
            sequences =
                    new Attention.Sequences(
                            starts(work.queries),
                            lengths(work.queries),
                            starts(work.keys),
                            lengths(work.keys));
            int rows = work.sequences * work.queries * shape.heads();
            int query = rows * shape.headDim();
            int key = work.sequences * work.keys * shape.kvHeads() * shape.headDim();
            q = random(query);
            k = random(key);
            v = random(key);
            dO = random(query);
            o = operands.empty(query);
            lse = operands.empty(rows);
            dq = operands.empty(query);
            dk = operands.empty(key);
            dv = operands.empty(key);
        }

        private int[] starts(int length) {
            int[] starts = new int[work.sequences];
            Arrays.setAll(starts, s -> s * length);
            return starts;
        }

        private int[] lengths(int length) {
            int[] lengths = new int[work.sequences];
            Arrays.fill(lengths, length);
            return lengths;
        }

        private Span random(int elements) {
            float[] values = new float[elements];
            for (int i = 0; i < elements; i++) {
                values[i] = (float) random.nextGaussian();
            }
            return operands.of(values);
        }

        void forward() {
            kernel.forward(shape, sequences, q, k, v, o, lse);
        }

        void backward() {
            kernel.backward(shape, sequences, q, k, v, o, lse, dO, dq, dk, dv);
        }

        /// Compares o and dq of every query of the last sequence's last head, and dk and dv of that
        /// head's first key, with double arithmetic.
        void check() {
            forward();
            backward();
            float[] queries = operands.floats(q);
            float[] keys = operands.floats(k);
            float[] values = operands.floats(v);
            float[] upstream = operands.floats(dO);
            float[] outputs = operands.floats(o);
            float[] queryGradients = operands.floats(dq);
            int headDim = shape.headDim();
            int group = shape.heads() / shape.kvHeads();
            int keyHead = shape.kvHeads() - 1;
            int keyPitch = shape.kvHeads() * headDim;
            int key0 = (work.sequences - 1) * work.keys * keyPitch + keyHead * headDim;
            double[] keyGradient = new double[headDim];
            double[] valueGradient = new double[headDim];
            for (int i = 0; i < work.queries; i++) {
                for (int head = shape.heads() - group; head < shape.heads(); head++) {
                    int token = (work.sequences - 1) * work.queries + i;
                    int row = (token * shape.heads() + head) * headDim;
                    int seen = shape.causal() ? work.keys - work.queries + i + 1 : work.keys;
                    double[] p = new double[seen];
                    double sum = 0;
                    for (int j = 0; j < seen; j++) {
                        double s = product(queries, row, keys, key0 + j * keyPitch);
                        p[j] = StrictMath.exp(s * shape.scale());
                        sum += p[j];
                    }
                    double[] exact = new double[headDim];
                    for (int j = 0; j < seen; j++) {
                        p[j] /= sum;
                        for (int d = 0; d < headDim; d++) {
                            exact[d] += p[j] * values[key0 + j * keyPitch + d];
                        }
                    }
                    double constant = 0;
                    for (int d = 0; d < headDim; d++) {
                        require(outputs[row + d], exact[d]);
                        constant += exact[d] * upstream[row + d];
                    }
                    double[] gradient = new double[headDim];
                    for (int j = 0; j < seen; j++) {
                        int at = key0 + j * keyPitch;
                        double slope = product(upstream, row, values, at) - constant;
                        double dS = p[j] * slope * shape.scale();
                        for (int d = 0; d < headDim; d++) {
                            gradient[d] += dS * keys[at + d];
                            if (j == 0) {
                                keyGradient[d] += dS * queries[row + d];
                                valueGradient[d] += p[j] * upstream[row + d];
                            }
                        }
                    }
                    for (int d = 0; d < headDim; d++) {
                        require(queryGradients[row + d], gradient[d]);
                    }
                }
            }
            float[] keyGradients = operands.floats(dk);
            float[] valueGradients = operands.floats(dv);
            for (int d = 0; d < headDim; d++) {
                require(keyGradients[key0 + d], keyGradient[d]);
                require(valueGradients[key0 + d], valueGradient[d]);
            }
        }

        private double product(float[] a, int atA, float[] b, int atB) {
            double sum = 0;
            for (int d = 0; d < shape.headDim(); d++) {
                sum += (double) a[atA + d] * b[atB + d];
            }
            return sum;
        }

        private static void require(double got, double wanted) {
            if (!(Math.abs(got - wanted) <= 1e-5 * (1 + Math.abs(wanted)))) {
                throw new IllegalStateException("wrong result: " + got + ", expected " + wanted);
            }
        }

        @Override
        public void close() {
            operands.close();
        }
    }
}
