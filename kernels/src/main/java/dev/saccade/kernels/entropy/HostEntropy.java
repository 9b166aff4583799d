package dev.saccade.kernels.entropy;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.AllowedWords;
import dev.saccade.kernels.internal.Lanes;
import dev.saccade.kernels.internal.VectorMath;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.stream.IntStream;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;
import org.jspecify.annotations.Nullable;

/// Entropy and log-probability on the CPU.
///
/// A row is walked twice: for its maximum m (it is then in the cache), and for S = sum e^(z - m)
/// and T = sum (z - m) e^(z - m). From these `lse = m + log S`, `logProb = (z[target] - m) - log S`
/// and `entropy = log S - T / S`: m has left the entropy and the log-probability before anything is
/// added, so that logits of any size lose nothing. z is logits times 1 / temperature, the inverse
/// rounded once.
///
/// Sums run over blocks of 4096 words in 16 interleaved partial sums; the blocks' partial sums are
/// added in order and merged by [Lanes#tree(float[])] at the end of the row.
///
/// The mass of a set has the same tree as S, of which only the set's words are walked: all others
/// would add 0.
///
/// Special rows: where no word is allowed (or all logits are -infinity), logProb and lse are
/// -infinity, the entropy is 0 and the gradient 0. Where the target is not allowed, logProb is
/// -infinity, and dLogProb counts as 0. A NaN or +infinity among a row's allowed logits makes its
/// results NaN, and no other row's.
final class HostEntropy implements Entropy {
    private static final int BLOCK = 4096;

    /// Elements below which a call to the workers costs more than it saves.
    private static final long SMALL = 1 << 14;

    private final HostDevice device;

    HostEntropy(HostDevice device) {
        this.device = device;
    }

    @Override
    public void forward(Rows rows, Span targets, @Nullable Span banned, Results results) {
        int count = rows.count();
        int vocab = rows.vocab();
        long pitchBytes = 4L * rows.pitch();
        long from = rows.logits().require("logits", DType.F32, rows.elements());
        long target = targets.require("targets", DType.I32, count);
        long toLogProb = results.logProb().require("logProb", DType.F32, count);
        long toEntropy = address("entropy", results.entropy(), DType.F32, count);
        long toLse = address("lse", results.lse(), DType.F32, count);
        long toMaxProb = address("maxProb", results.maxProb(), DType.F32, count);
        long toArgmax = address("argmax", results.argmax(), DType.I32, count);
        int[] members = results.set() == null ? new int[0] : members(vocab, results.set());
        long toMass = address("mass", results.mass(), DType.F32, count);
        checkTargets(count, vocab, target);
        try (AllowedWords words = new AllowedWords(device, vocab, rows.temperature(), banned)) {
            overRows(
                    count,
                    vocab,
                    (_, begin, end) -> {
                        float[] sum = new float[Lanes.VIRTUAL];
                        float[] weighted = new float[Lanes.VIRTUAL];
                        for (int row = begin; row < end; row++) {
                            long at = from + pitchBytes * row;
                            float max = words.maximum(at);
                            float rowLse = Float.NEGATIVE_INFINITY;
                            float rowLogProb = Float.NEGATIVE_INFINITY;
                            float rowEntropy = 0f;
                            float rowMaxProb = 0f;
                            float rowMass = 0f;
                            if (max != Float.NEGATIVE_INFINITY || hasNan(words, at)) {
                                sums(words, at, max, sum, weighted);
                                float t = Lanes.tree(weighted);
                                float s = Lanes.tree(sum);
                                // T carries every NaN of the row; a NaN's exponential need not.
                                boolean nan = Float.isNaN(t);
                                float logSum = nan ? Float.NaN : VectorMath.log(s);
                                float z = words.scaledAt(at, Lanes.getInt(target + 4L * row));
                                rowLse = max + logSum;
                                rowLogProb = z - max - logSum;
                                rowEntropy = logSum - t / s;
                                rowMaxProb = nan ? Float.NaN : 1 / s;
                                if (toMass != 0) {
                                    float inside = sumOf(words, at, max, members);
                                    rowMass = nan ? Float.NaN : inside / s;
                                }
                            }
                            Lanes.set(toLogProb + 4L * row, rowLogProb);
                            store(toEntropy, row, rowEntropy);
                            store(toLse, row, rowLse);
                            store(toMaxProb, row, rowMaxProb);
                            store(toMass, row, rowMass);
                            if (toArgmax != 0) {
                                Lanes.setInt(toArgmax + 4L * row, words.first(at, max));
                            }
                        }
                    });
        }
    }

    private static long address(String operand, @Nullable Span span, DType type, int rows) {
        return span == null ? 0 : span.require(operand, type, rows);
    }

    private static void store(long to, int row, float value) {
        if (to != 0) {
            Lanes.set(to + 4L * row, value);
        }
    }

    @Override
    public void backward(
            Rows rows,
            @Nullable Part part,
            Span targets,
            @Nullable Span banned,
            Span entropy,
            Span lse,
            @Nullable Span dLogProb,
            @Nullable Span dEntropy,
            Span dLogits) {
        int count = rows.count();
        int vocab = rows.vocab();
        int first = part == null ? 0 : part.first();
        int allWords = part == null ? vocab : part.vocab();
        long pitchBytes = 4L * rows.pitch();
        long from = rows.logits().require("logits", DType.F32, rows.elements());
        long target = targets.require("targets", DType.I32, count);
        long logProb = part == null ? 0 : part.logProb().require("logProb", DType.F32, count);
        long fromEntropy = entropy.require("entropy", DType.F32, count);
        long fromLse = lse.require("lse", DType.F32, count);
        long upLogProb = address("dLogProb", dLogProb, DType.F32, count);
        long upEntropy = address("dEntropy", dEntropy, DType.F32, count);
        long to = dLogits.require("dLogits", DType.F32, rows.elements());
        checkPart(part, vocab);
        checkTargets(count, allWords, target);
        float inverse = 1f / rows.temperature();
        Span bans = banned == null ? null : banned.slice(first, vocab);
        try (AllowedWords words = new AllowedWords(device, vocab, rows.temperature(), bans)) {
            overRows(
                    count,
                    vocab,
                    (_, begin, end) -> {
                        for (int row = begin; row < end; row++) {
                            long at = from + pitchBytes * row;
                            long out = to + pitchBytes * row;
                            float rowLse = Lanes.get(fromLse + 4L * row);
                            int rowTarget = Lanes.getInt(target + 4L * row) - first;
                            float reach =
                                    logProb == 0
                                            ? words.scaledAt(at, rowTarget)
                                            : Lanes.get(logProb + 4L * row);
                            float a =
                                    upLogProb == 0 || reach == Float.NEGATIVE_INFINITY
                                            ? 0f
                                            : Lanes.get(upLogProb + 4L * row) * inverse;
                            float b =
                                    upEntropy == 0 ? 0f : Lanes.get(upEntropy + 4L * row) * inverse;
                            if (rowLse == Float.NEGATIVE_INFINITY || (a == 0f && b == 0f)) {
                                zero(out, vocab);
                            } else {
                                float rowEntropy = Lanes.get(fromEntropy + 4L * row);
                                gradient(words, at, rowLse, b, Math.fma(b, rowEntropy, a), out);
                                if (rowTarget >= 0 && rowTarget < vocab) {
                                    long atTarget = out + 4L * rowTarget;
                                    Lanes.set(atTarget, Lanes.get(atTarget) + a);
                                }
                            }
                        }
                    });
        }
    }

    private void overRows(int rows, int vocab, HostDevice.Part part) {
        if ((long) rows * vocab < SMALL) {
            part.run(0, 0, rows);
        } else {
            device.run(rows, part);
        }
    }

    /// Leaves the 16 partial sums of S and T in `sum` and `weighted`.
    private static void sums(
            AllowedWords words, long row, float max, float[] sum, float[] weighted) {
        Arrays.fill(sum, 0f);
        Arrays.fill(weighted, 0f);
        int vocab = words.vocab();
        for (int begin = 0; begin < vocab; begin += BLOCK) {
            int end = Math.min(begin + BLOCK, vocab);
            for (int group = 0; group < Lanes.VIRTUAL; group += Lanes.LENGTH) {
                block(words, row, max, begin + group, end, group, sum, weighted);
            }
        }
    }

    /// Adds one block's words of one group of lanes: those from `begin` on, 16 apart.
    private static void block(
            AllowedWords words,
            long row,
            float max,
            int begin,
            int end,
            int group,
            float[] sum,
            float[] weighted) {
        FloatVector s = FloatVector.zero(Lanes.SPECIES);
        FloatVector t = s;
        int word = begin;
        for (; word <= end - Lanes.LENGTH; word += Lanes.VIRTUAL) {
            FloatVector d = words.scaled(row, word).sub(max);
            FloatVector e = VectorMath.expNotPositive(d);
            s = s.add(e);
            t = e.fma(finite(d), t);
        }
        if (word < end) {
            FloatVector d = words.scaledTail(row, word).sub(max);
            FloatVector e = VectorMath.expNotPositive(d);
            s = s.add(e);
            t = e.fma(finite(d), t);
        }
        s.add(FloatVector.fromArray(Lanes.SPECIES, sum, group)).intoArray(sum, group);
        t.add(FloatVector.fromArray(Lanes.SPECIES, weighted, group)).intoArray(weighted, group);
    }

    /// The sum of e^(z - m) over some words, in the tree of S.
    ///
    /// @param members the words in ascending order
    private static float sumOf(AllowedWords words, long row, float max, int[] members) {
        float[] sum = new float[Lanes.VIRTUAL];
        float[] block = new float[Lanes.VIRTUAL];
        int blockEnd = 0;
        for (int word : members) {
            if (word >= blockEnd) {
                addTo(sum, block);
                blockEnd = (word / BLOCK + 1) * BLOCK;
            }
            block[word % Lanes.VIRTUAL] += VectorMath.exp(words.scaledAt(row, word) - max);
        }
        addTo(sum, block);
        return Lanes.tree(sum);
    }

    /// Adds a block's partial sums to the row's and leaves zeros.
    private static void addTo(float[] sum, float[] block) {
        for (int lane = 0; lane < Lanes.VIRTUAL; lane++) {
            sum[lane] += block[lane];
            block[lane] = 0f;
        }
    }

    /// The words of a set in ascending order.
    private static int[] members(int vocab, Span set) {
        long flags = set.require("set", DType.U8, vocab);
        return IntStream.range(0, vocab)
                .filter(word -> HostMemory.SPACE.get(ValueLayout.JAVA_BYTE, flags + word) != 0)
                .toArray();
    }

    /// `d` with 0 where its exponential is 0, so that -infinity times 0 does not arise.
    private static FloatVector finite(FloatVector d) {
        return d.blend(0f, d.compare(VectorOperators.LT, VectorMath.EXP_LOW));
    }

    /// dz = -p (c + b log p) with c = a + b entropy; the target's own term is added by the caller.
    private static void gradient(
            AllowedWords words, long row, float lse, float b, float c, long out) {
        int vocab = words.vocab();
        int word = 0;
        for (; word <= vocab - Lanes.LENGTH; word += Lanes.LENGTH) {
            FloatVector d = words.scaled(row, word).sub(lse);
            Lanes.store(gradient(d, b, c), out + 4L * word);
        }
        if (word < vocab) {
            FloatVector d = words.scaledTail(row, word).sub(lse);
            Lanes.store(gradient(d, b, c), out + 4L * word, Lanes.first(vocab - word));
        }
    }

    private static FloatVector gradient(FloatVector logP, float b, float c) {
        FloatVector p = VectorMath.expNotPositive(logP);
        FloatVector minusB = FloatVector.broadcast(Lanes.SPECIES, -b);
        FloatVector minusC = FloatVector.broadcast(Lanes.SPECIES, -c);
        return p.mul(finite(logP).fma(minusB, minusC));
    }

    private static void zero(long out, int vocab) {
        for (int word = 0; word < vocab; word++) {
            Lanes.set(out + 4L * word, 0f);
        }
    }

    /// Whether an allowed logit is NaN; asked only where the maximum found nothing.
    private static boolean hasNan(AllowedWords words, long row) {
        for (int word = 0; word < words.vocab(); word++) {
            if (Float.isNaN(words.scaledAt(row, word))) {
                return true;
            }
        }
        return false;
    }

    /// Checks that the words of a part exist.
    static void checkPart(@Nullable Part part, int words) {
        if (part != null && (part.first() < 0 || part.first() > part.vocab() - words)) {
            throw new IllegalArgumentException(
                    "entropy: words %d to %d of a vocabulary of %d"
                            .formatted(part.first(), part.first() + words, part.vocab()));
        }
    }

    private static void checkTargets(int rows, int vocab, long targets) {
        for (int row = 0; row < rows; row++) {
            int target = Lanes.getInt(targets + 4L * row);
            if (target < 0 || target >= vocab) {
                throw new IllegalArgumentException(
                        "entropy: the target of row %d is %d, the vocabulary has %d words"
                                .formatted(row, target, vocab));
            }
        }
    }
}
