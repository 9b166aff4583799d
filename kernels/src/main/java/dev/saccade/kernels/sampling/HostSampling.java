package dev.saccade.kernels.sampling;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.AllowedWords;
import dev.saccade.kernels.internal.Lanes;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;
import org.jspecify.annotations.Nullable;

/// Sampling on the CPU: one walk over a row for the largest score, after [Nucleus] has found where
/// top-k, top-p and min-p cut, if they do. A score is z + noise in fp32, z the logit times 1 /
/// temperature (the logit itself at temperature 0, where there is no noise).
final class HostSampling implements Sampling {
    /// Words that noise is made for at a time; it stays in the first-level cache.
    private static final int CHUNK = 32 * Philox.BLOCK;

    /// Elements below which a call to the workers costs more than it saves.
    private static final long SMALL = 1 << 12;

    private static final VectorSpecies<Integer> INTS =
            VectorSpecies.of(int.class, Lanes.SPECIES.vectorShape());

    private final HostDevice device;

    HostSampling(HostDevice device) {
        this.device = device;
    }

    @Override
    public void sample(
            int rows,
            int vocab,
            Options options,
            Span logits,
            @Nullable Span banned,
            Span keys,
            Span positions,
            Span tokens) {
        check(rows, vocab);
        long from = logits.require("logits", DType.F32, (long) rows * vocab);
        long key = keys.require("keys", DType.I64, rows);
        long position = positions.require("positions", DType.I32, rows);
        long to = tokens.require("tokens", DType.I32, rows);
        boolean greedy = options.greedy();
        float temperature = greedy ? 1f : options.temperature();
        try (AllowedWords words = new AllowedWords(device, vocab, temperature, banned)) {
            HostDevice.Part part =
                    (_, begin, end) -> {
                        Nucleus nucleus = options.cuts() ? new Nucleus(words, options) : null;
                        Draw draw = new Draw(words, !greedy);
                        for (int row = begin; row < end; row++) {
                            long at = from + 4L * vocab * row;
                            long rowKey =
                                    HostMemory.SPACE.get(ValueLayout.JAVA_LONG, key + 8L * row);
                            int rowPosition = Lanes.getInt(position + 4L * row);
                            if (nucleus != null) {
                                nucleus.find(at);
                                draw.cut(nucleus.cut(), nucleus.cutWord());
                            }
                            int token = draw.largest(at, rowKey, rowPosition);
                            if (token < 0) {
                                throw new IllegalArgumentException(
                                        "sampling: row "
                                                + row
                                                + " has no allowed word with a logit");
                            }
                            HostMemory.SPACE.set(Lanes.INT, to + 4L * row, token);
                        }
                    };
            run(rows, vocab, part);
        }
    }

    private void run(int rows, int vocab, HostDevice.Part part) {
        if ((long) rows * vocab < SMALL) {
            part.run(0, 0, rows);
        } else {
            device.run(rows, part);
        }
    }

    @Override
    public void penalise(int rows, int vocab, float penalty, Span logits, Span seen, Span result) {
        check(rows, vocab);
        checkPenalty(penalty);
        long elements = (long) rows * vocab;
        long from = logits.require("logits", DType.F32, elements);
        long marks = seen.require("seen", DType.U8, elements);
        long to = result.require("result", DType.F32, elements);
        run(
                rows,
                vocab,
                (_, begin, end) -> {
                    for (long i = (long) begin * vocab; i < (long) end * vocab; i++) {
                        float logit = Lanes.get(from + 4 * i);
                        if (HostMemory.SPACE.get(ValueLayout.JAVA_BYTE, marks + i) != 0) {
                            logit = logit < 0 ? logit * penalty : logit / penalty;
                        }
                        Lanes.set(to + 4 * i, logit);
                    }
                });
    }

    @Override
    public void settle(
            int rows, int vocab, @Nullable Span forced, @Nullable Span seen, Span tokens) {
        check(rows, vocab);
        long words = tokens.require("tokens", DType.I32, rows);
        long chosen = forced == null ? 0 : forced.require("forced", DType.I32, rows);
        long marks = seen == null ? 0 : seen.require("seen", DType.U8, (long) rows * vocab);
        for (int row = 0; row < rows; row++) {
            if (forced != null) {
                int word = Lanes.getInt(chosen + 4L * row);
                if (word >= vocab) {
                    throw new IndexOutOfBoundsException(
                            "forced word %d of a vocabulary of %d".formatted(word, vocab));
                }
                if (word >= 0) {
                    HostMemory.SPACE.set(Lanes.INT, words + 4L * row, word);
                }
            }
            if (seen != null) {
                long mark = marks + (long) vocab * row + Lanes.getInt(words + 4L * row);
                HostMemory.SPACE.set(ValueLayout.JAVA_BYTE, mark, (byte) 1);
            }
        }
    }

    /// Checks what does not lie on the device.
    static void check(int rows, int vocab) {
        if (rows < 0 || vocab < 1) {
            throw new IllegalArgumentException(
                    "sampling: %d rows, vocabulary of %d".formatted(rows, vocab));
        }
    }

    static void checkPenalty(float penalty) {
        if (!(penalty > 0 && penalty < Float.POSITIVE_INFINITY)) {
            throw new IllegalArgumentException("sampling: repetition penalty " + penalty);
        }
    }

    /// The walk over a row, with one worker's scratch memory.
    private static final class Draw {
        private final AllowedWords words;
        private final boolean noisy;
        private final float[] noise = new float[CHUNK];
        private final float[] scores = new float[Lanes.LENGTH];
        private final int[] winners = new int[Lanes.LENGTH];
        private float cut = Float.NEGATIVE_INFINITY;
        private int cutWord = Integer.MAX_VALUE;

        Draw(AllowedWords words, boolean noisy) {
            this.words = words;
            this.noisy = noisy;
        }

        /// Leaves out what is less likely than z = `value`, and of those as likely the words after
        /// `word`.
        void cut(float value, int word) {
            cut = value;
            cutWord = word;
        }

        /// The word with the largest score, the lowest of several; -1 where none is allowed.
        int largest(long row, long key, int position) {
            Arrays.fill(scores, Float.NEGATIVE_INFINITY);
            Arrays.fill(winners, -1);
            int vocab = words.vocab();
            for (int begin = 0; begin < vocab; begin += CHUNK) {
                int end = Math.min(begin + CHUNK, vocab);
                if (noisy) {
                    Gumbel.fill(key, position, begin, end - begin, noise);
                }
                chunk(row, begin, end);
            }
            float score = Float.NEGATIVE_INFINITY;
            int word = -1;
            for (int lane = 0; lane < Lanes.LENGTH; lane++) {
                boolean better = scores[lane] > score;
                boolean earlier = scores[lane] == score && winners[lane] < word;
                if (better || earlier) {
                    score = scores[lane];
                    word = winners[lane];
                }
            }
            return word;
        }

        private void chunk(long row, int begin, int end) {
            FloatVector best = FloatVector.fromArray(Lanes.SPECIES, scores, 0);
            IntVector winner = IntVector.fromArray(INTS, winners, 0);
            for (int word = begin; word < end; word += Lanes.LENGTH) {
                FloatVector z =
                        word <= end - Lanes.LENGTH
                                ? words.scaled(row, word)
                                : words.scaledTail(row, word);
                FloatVector score =
                        z.add(FloatVector.fromArray(Lanes.SPECIES, noise, word - begin));
                IntVector id = IntVector.broadcast(INTS, word).addIndex(1);
                VectorMask<Float> kept =
                        id.compare(VectorOperators.LE, cutWord)
                                .cast(Lanes.SPECIES)
                                .and(z.compare(VectorOperators.EQ, cut))
                                .or(z.compare(VectorOperators.GT, cut));
                VectorMask<Float> better = score.compare(VectorOperators.GT, best).and(kept);
                best = best.blend(score, better);
                winner = winner.blend(id, better.cast(INTS));
            }
            best.intoArray(scores, 0);
            winner.intoArray(winners, 0);
        }
    }
}
