package dev.saccade.bench;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.entropy.Entropy;
import dev.saccade.kernels.gemm.Epilogue;
import dev.saccade.kernels.gemm.Gemm;
import dev.saccade.kernels.head.Head;
import dev.saccade.kernels.sampling.Philox;
import dev.saccade.kernels.sampling.Sampling;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.function.IntConsumer;

/// The language model's head with log-probability and entropy, and with a token drawn: `rows width
/// vocab dtype`.
final class HeadCases {
    private static final int SAMPLES = 4;

    /// A training step's: with it the backward pass of 8192 rows has two rounds of clusters a chunk
    /// on 132 multiprocessors.
    private static final long SCRATCH_BYTES = 528L << 20;

    /// Products of the forward pass, and with those of the backward pass: the logits once more, and
    /// two gradients.
    private static final double FORWARD_FLOPS = 2;

    private static final double BOTH_FLOPS = 8;

    private final Workbench bench;
    private final int rows;
    private final int width;
    private final int vocab;
    private final DType dtype;

    /// Puts logits of normally distributed operands at a deviation of 3, as a model's are.
    private final float temperature;

    private final Head head;
    private final Operand hidden;
    private final Operand weight;
    private final int[] targets;
    private final Operand logProb;
    private final Operand entropy;
    private final Operand lse;
    private final Head.Input input;

    private HeadCases(Case work, Workbench bench) {
        this.bench = bench;
        this.rows = work.integer("rows");
        this.width = work.integer("width");
        this.vocab = work.integer("vocab");
        this.dtype = work.dtype();
        this.temperature = (float) (Math.sqrt(width) / 3);
        this.head = Head.on(bench.device());
        this.hidden = bench.normal(dtype, (long) rows * width, 1);
        this.weight = bench.normal(dtype, (long) vocab * width, 1);
        this.targets = bench.draw(rows, vocab);
        this.logProb = bench.empty(DType.F32, rows, 1);
        this.entropy = bench.empty(DType.F32, rows, 1);
        this.lse = bench.empty(DType.F32, rows, 1);
        this.input =
                new Head.Input(
                        rows,
                        width,
                        vocab,
                        temperature,
                        hidden.set(0),
                        weight.set(0),
                        bench.integers(targets),
                        null,
                        SCRATCH_BYTES);
    }

    /// `op=head`: forward.
    static PreparedCase forward(Case work, Workbench bench) {
        HeadCases cases = new HeadCases(work, bench);
        return PreparedCase.of(
                FORWARD_FLOPS * cases.rows * cases.width * cases.vocab,
                cases.bytes(),
                1,
                _ -> cases.forward(),
                cases::reset,
                cases::compareForward,
                null);
    }

    /// `op=head_backward`: forward and backward.
    static PreparedCase both(Case work, Workbench bench) {
        HeadCases cases = new HeadCases(work, bench);
        Operand dLogProb = bench.normal(DType.F32, cases.rows, 1);
        Operand dEntropy = bench.normal(DType.F32, cases.rows, 1);
        Operand dHidden = bench.empty(cases.dtype, (long) cases.rows * cases.width, 1);
        Operand dWeight = bench.zeros(DType.F32, (long) cases.vocab * cases.width, 1);
        return PreparedCase.of(
                BOTH_FLOPS * cases.rows * cases.width * cases.vocab,
                2 * cases.bytes() + 4.0 * cases.vocab * cases.width,
                1,
                _ -> {
                    cases.forward();
                    cases.head.backward(
                            cases.input,
                            cases.logProb.set(0),
                            cases.entropy.set(0),
                            cases.lse.set(0),
                            dLogProb.set(0),
                            dEntropy.set(0),
                            dHidden.set(0),
                            dWeight.set(0));
                },
                () -> {
                    cases.reset();
                    bench.reset(dHidden);
                    bench.reset(dWeight);
                },
                () -> {
                    cases.compareForward();
                    cases.compareHidden(dLogProb, dEntropy, dHidden);
                    cases.compareWeight(dLogProb, dEntropy, dWeight);
                },
                null);
    }

    /// `op=head_draw`: a token for each row, with its log-probability and entropy; beside it the
    /// same from logits that are stored.
    static PreparedCase draw(Case work, Workbench bench) {
        HeadCases cases = new HeadCases(work, bench);
        int rows = cases.rows;
        long[] keys = new long[rows];
        Arrays.setAll(keys, row -> Philox.key(1, 1, 0, row, 0));
        int[] positions = new int[rows];
        Arrays.setAll(positions, row -> 3 * row + 1);
        Head.Draw draw =
                new Head.Draw(
                        new Sampling.Options(cases.temperature, 0, 1),
                        bench.longs(keys),
                        bench.integers(positions),
                        null,
                        null);
        Entropy.Results results = cases.results();
        Operand logits = bench.empty(DType.F32, (long) rows * cases.vocab, 1);
        Gemm gemm = Gemm.on(bench.device());
        Sampling sampling = Sampling.on(bench.device());
        Entropy entropy = Entropy.on(bench.device());
        IntConsumer stored =
                _ -> {
                    Span all = logits.set(0);
                    gemm.multiply(
                            new Gemm.Shape(Gemm.Layout.NT, rows, cases.vocab, cases.width),
                            cases.hidden.set(0),
                            cases.weight.set(0),
                            all,
                            Epilogue.STORE);
                    sampling.sample(
                            rows,
                            cases.vocab,
                            draw.options(),
                            all,
                            null,
                            draw.keys(),
                            draw.positions(),
                            cases.input.targets());
                    entropy.forward(
                            Entropy.Rows.dense(rows, cases.vocab, cases.temperature, all),
                            cases.input.targets(),
                            null,
                            results);
                };
        return new PreparedCase(
                FORWARD_FLOPS * rows * cases.width * cases.vocab,
                cases.bytes(),
                1,
                PreparedCase.Clock.DEVICE,
                _ -> cases.head.sample(cases.input, draw, results),
                cases::reset,
                () -> {
                    cases.readTokens();
                    cases.compareForward();
                    cases.compareDraw(keys, positions);
                },
                null,
                List.of(new PreparedCase.Rival("stored logits", stored)));
    }

    /// Makes the tokens drawn last the targets of what is compared.
    private void readTokens() {
        Span tokens = input.targets();
        bench.device()
                .download(
                        tokens.buffer(),
                        tokens.offset() * Integer.BYTES,
                        MemorySegment.ofArray(targets));
    }

    /// The first and last row's tokens have the largest score, by noise in float64.
    private void compareDraw(long[] keys, int[] positions) {
        for (int row : new int[] {0, rows - 1}) {
            double[] z = logits(row);
            double best = Double.NEGATIVE_INFINITY;
            double own = Double.NEGATIVE_INFINITY;
            for (int word = 0; word < vocab; word++) {
                int half = Philox.word(keys[row], positions[row], word) >>> 1;
                double u = (half + 0.25) * 0x1p-31;
                double score = z[word] - Math.log(-Math.log1p(-u));
                best = Math.max(best, score);
                if (word == targets[row]) {
                    own = score;
                }
            }
            bench.require(
                    "score of row " + row, DType.F32, own, best, 16 + Math.abs(best), 2 * slack());
        }
    }

    private Entropy.Results results() {
        return Entropy.Results.of(logProb.set(0), entropy.set(0), lse.set(0));
    }

    private double bytes() {
        return (double) dtype.bytes() * width * ((double) rows + vocab) + 16.0 * rows;
    }

    private void forward() {
        head.forward(input, results());
    }

    private void reset() {
        bench.reset(logProb);
        bench.reset(entropy);
        bench.reset(lse);
    }

    /// A row's scaled logits.
    private double[] logits(int row) {
        double[] z = new double[vocab];
        for (int word = 0; word < vocab; word++) {
            z[word] = logit(row, word);
        }
        return z;
    }

    private double logit(int row, int word) {
        float[] left = hidden.noise();
        float[] right = weight.noise();
        int atLeft = (int) ((hidden.phase() + (long) row * width) % left.length);
        int atRight = (int) ((weight.phase() + (long) word * width) % right.length);
        double sum = 0;
        for (int i = 0; i < width; i++) {
            sum += (double) left[atLeft] * right[atRight];
            atLeft = atLeft + 1 == left.length ? 0 : atLeft + 1;
            atRight = atRight + 1 == right.length ? 0 : atRight + 1;
        }
        return sum / temperature;
    }

    /// What a row's logits may be off by, relative to their size: tensor cores cut sums off.
    private double slack() {
        return 0x1p-19 + width * 0x1p-27;
    }

    private void compareForward() {
        int row = rows - 1;
        double[] z = logits(row);
        double lseExact = lse(z);
        double entropyExact = 0;
        for (double x : z) {
            entropyExact -= Math.exp(x - lseExact) * (x - lseExact);
        }
        require("log-probability", logProb, row, z[targets[row]] - lseExact);
        require("entropy", entropy, row, entropyExact);
        require("lse", lse, row, lseExact);
        // The others by their own logit: one word instead of all.
        for (int sample = 0; sample < SAMPLES; sample++) {
            int other = (int) bench.draw((long) rows);
            double own = logit(other, targets[other]) - bench.read(lse.set(0), other);
            require("log-probability", logProb, other, own);
        }
    }

    private static double lse(double[] z) {
        double sum = 0;
        for (double x : z) {
            sum += Math.exp(x);
        }
        return Math.log(sum);
    }

    private void require(String what, Operand result, int row, double exact) {
        bench.require(
                what + " of row " + row,
                DType.F32,
                bench.read(result.set(0), row),
                exact,
                16 + Math.abs(exact),
                slack());
    }

    /// dLogits of a word, from what the forward pass found.
    private double gradient(
            double z, double rowLse, double rowEntropy, boolean hit, double up, double upEntropy) {
        double logP = z - rowLse;
        double p = Math.exp(logP);
        return (up * ((hit ? 1 : 0) - p) - upEntropy * p * (logP + rowEntropy)) / temperature;
    }

    /// Elements of the last row's dHidden.
    private void compareHidden(Operand dLogProb, Operand dEntropy, Operand dHidden) {
        int row = rows - 1;
        double[] z = logits(row);
        double rowLse = lse(z);
        double rowEntropy = bench.read(entropy.set(0), row);
        double[] d = new double[vocab];
        for (int word = 0; word < vocab; word++) {
            boolean hit = word == targets[row];
            d[word] =
                    gradient(
                            z[word],
                            rowLse,
                            rowEntropy,
                            hit,
                            dLogProb.value(row),
                            dEntropy.value(row));
        }
        for (int sample = 0; sample < SAMPLES; sample++) {
            int column = sample == 0 ? width - 1 : (int) bench.draw((long) width);
            double sum = 0;
            double magnitude = 0;
            for (int word = 0; word < vocab; word++) {
                double term = d[word] * weight.value((long) word * width + column);
                sum += term;
                magnitude += Math.abs(term);
            }
            bench.require(
                    "dHidden[%d, %d]".formatted(row, column),
                    dtype,
                    bench.read(dHidden.set(0), (long) row * width + column),
                    sum,
                    magnitude,
                    rounding());
        }
    }

    /// What dLogits lose where they are rounded, beside what the logits are off by.
    private double rounding() {
        return 16 * slack() + (dtype == DType.BF16 ? 0x1p-8 : 0);
    }

    /// Elements of some words' dWeight.
    private void compareWeight(Operand dLogProb, Operand dEntropy, Operand dWeight) {
        float[] lses = read(lse.set(0));
        float[] entropies = read(entropy.set(0));
        for (int sample = 0; sample < SAMPLES; sample++) {
            int word = sample == 0 ? vocab - 1 : sample == 1 ? targets[0] : draw(vocab);
            int column = draw(width);
            double sum = 0;
            double magnitude = 0;
            for (int row = 0; row < rows; row++) {
                double d =
                        gradient(
                                logit(row, word),
                                lses[row],
                                entropies[row],
                                word == targets[row],
                                dLogProb.value(row),
                                dEntropy.value(row));
                double term = d * hidden.value((long) row * width + column);
                sum += term;
                magnitude += Math.abs(term);
            }
            bench.require(
                    "dWeight[%d, %d]".formatted(word, column),
                    DType.F32,
                    bench.read(dWeight.set(0), (long) word * width + column),
                    sum,
                    magnitude,
                    rounding());
        }
    }

    private float[] read(Span span) {
        return bench.read(span, 0, rows);
    }

    private int draw(int bound) {
        return (int) bench.draw((long) bound);
    }
}
