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
    public void forward(
            int rows,
            int vocab,
            float temperature,
            Span logits,
            Span targets,
            @Nullable Span banned,
            Span logProb,
            @Nullable Span entropy,
            @Nullable Span lse,
            @Nullable Span set,
            @Nullable Span mass) {
        check(rows, vocab, temperature);
        checkSet(set, mass);
        long from = logits.require("logits", DType.F32, (long) rows * vocab);
        long target = targets.require("targets", DType.I32, rows);
        long toLogProb = logProb.require("logProb", DType.F32, rows);
        long toEntropy = entropy == null ? 0 : entropy.require("entropy", DType.F32, rows);
        long toLse = lse == null ? 0 : lse.require("lse", DType.F32, rows);
        int[] members = set == null ? new int[0] : members(vocab, set);
        long toMass = mass == null ? 0 : mass.require("mass", DType.F32, rows);
        checkTargets(rows, vocab, target);
        try (AllowedWords words = new AllowedWords(device, vocab, temperature, banned)) {
            overRows(
                    rows,
                    vocab,
                    (_, begin, end) -> {
                        float[] sum = new float[Lanes.VIRTUAL];
                        float[] weighted = new float[Lanes.VIRTUAL];
                        for (int row = begin; row < end; row++) {
                            long at = from + 4L * vocab * row;
                            float max = words.maximum(at);
                            float rowLse = Float.NEGATIVE_INFINITY;
                            float rowLogProb = Float.NEGATIVE_INFINITY;
                            float rowEntropy = 0f;
                            float rowMass = 0f;
                            if (max != Float.NEGATIVE_INFINITY || hasNan(words, at)) {
                                sums(words, at, max, sum, weighted);
                                float t = Lanes.tree(weighted);
                                float s = Lanes.tree(sum);
                                // T carries every NaN of the row; a NaN's exponential need not.
                                float logSum = Float.isNaN(t) ? Float.NaN : VectorMath.log(s);
                                float z = words.scaledAt(at, Lanes.getInt(target + 4L * row));
                                rowLse = max + logSum;
                                rowLogProb = z - max - logSum;
                                rowEntropy = logSum - t / s;
                                if (toMass != 0) {
                                    float inside = sumOf(words, at, max, members);
                                    rowMass = Float.isNaN(t) ? Float.NaN : inside / s;
                                }
                            }
                            Lanes.set(toLogProb + 4L * row, rowLogProb);
                            if (toEntropy != 0) {
                                Lanes.set(toEntropy + 4L * row, rowEntropy);
                            }
                            if (toLse != 0) {
                                Lanes.set(toLse + 4L * row, rowLse);
                            }
                            if (toMass != 0) {
                                Lanes.set(toMass + 4L * row, rowMass);
                            }
                        }
                    });
        }
    }

    @Override
    public void backward(
            int rows,
            int vocab,
            float temperature,
            Span logits,
            Span targets,
            @Nullable Span banned,
            Span entropy,
            Span lse,
            @Nullable Span dLogProb,
            @Nullable Span dEntropy,
            Span dLogits) {
        check(rows, vocab, temperature);
        long from = logits.require("logits", DType.F32, (long) rows * vocab);
        long target = targets.require("targets", DType.I32, rows);
        long fromEntropy = entropy.require("entropy", DType.F32, rows);
        long fromLse = lse.require("lse", DType.F32, rows);
        long upLogProb = dLogProb == null ? 0 : dLogProb.require("dLogProb", DType.F32, rows);
        long upEntropy = dEntropy == null ? 0 : dEntropy.require("dEntropy", DType.F32, rows);
        long to = dLogits.require("dLogits", DType.F32, (long) rows * vocab);
        checkTargets(rows, vocab, target);
        float inverse = 1f / temperature;
        try (AllowedWords words = new AllowedWords(device, vocab, temperature, banned)) {
            overRows(
                    rows,
                    vocab,
                    (_, begin, end) -> {
                        for (int row = begin; row < end; row++) {
                            long at = from + 4L * vocab * row;
                            long out = to + 4L * vocab * row;
                            float rowLse = Lanes.get(fromLse + 4L * row);
                            int rowTarget = Lanes.getInt(target + 4L * row);
                            boolean reachable =
                                    words.scaledAt(at, rowTarget) != Float.NEGATIVE_INFINITY;
                            float a =
                                    upLogProb == 0 || !reachable
                                            ? 0f
                                            : Lanes.get(upLogProb + 4L * row) * inverse;
                            float b =
                                    upEntropy == 0 ? 0f : Lanes.get(upEntropy + 4L * row) * inverse;
                            if (rowLse == Float.NEGATIVE_INFINITY || (a == 0f && b == 0f)) {
                                zero(out, vocab);
                            } else {
                                float rowEntropy = Lanes.get(fromEntropy + 4L * row);
                                gradient(words, at, rowLse, b, Math.fma(b, rowEntropy, a), out);
                                long atTarget = out + 4L * rowTarget;
                                Lanes.set(atTarget, Lanes.get(atTarget) + a);
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

    /// Checks what does not lie on the device.
    static void check(int rows, int vocab, float temperature) {
        if (rows < 0 || vocab < 1 || !(temperature > 0)) {
            throw new IllegalArgumentException(
                    "entropy: %d rows, vocabulary of %d, temperature %s"
                            .formatted(rows, vocab, temperature));
        }
    }

    /// A set's words and their mass are asked for together.
    static void checkSet(@Nullable Span set, @Nullable Span mass) {
        if ((set == null) != (mass == null)) {
            throw new IllegalArgumentException(
                    set == null
                            ? "entropy: a mass without a set"
                            : "entropy: a set without a mass");
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
