package dev.saccade.kernels.entropy;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// Log-probability and entropy of each token's distribution in one pass over its logits, fp32.
///
/// With z = logits / temperature over the allowed words (banned ones count as -inf): `lse = log sum
/// exp z`, `logProb = z[target] - lse`, `entropy = lse - sum p z` in nats, p = exp(z - lse), and
/// the most probable word with its probability. z is logits times 1 / temperature, the inverse
/// rounded once. Sums are relative to the row's maximum m, which has left logProb and entropy
/// before anything is added: S = sum e^(z - m), T = sum (z - m) e^(z - m), `lse = m + log S`,
/// `logProb = (z[target] - m) - log S`, `entropy = log S - T / S`, `maxProb = 1 / S`. At a
/// vocabulary of 151,674 and logits of normal size, logProb and entropy are exact to 2e-5.
///
/// **Order.** Sums have a fixed tree that depends on the vocabulary alone: a row's bits are the
/// same in any batch, at any address, on any number of threads or multiprocessors. The CPU adds
/// over blocks of 4096 words in 16 interleaved lanes. CUDA adds over blocks of 256 words in four
/// lanes, blocks to segments of 1024 words, and segments to the row (`cuda/entropy/tree.cuh`): the
/// order in which [dev.saccade.kernels.head.Head] adds the logits that it never stores.
///
/// **Special rows.** -inf logits are allowed and carry no probability and no entropy. Where no word
/// is allowed (or all logits are -inf), logProb and lse are -inf, the entropy and the largest
/// probability are 0, the most probable word is -1 and the gradient 0. Where the target is not
/// allowed, logProb is -inf, and dLogProb counts as 0. A NaN or +inf among a row's allowed logits
/// makes its results NaN, and no other row's; the most probable word is then that of the largest
/// logit that is a number, -1 if that is -inf. Of equal logits the first is the most probable. A
/// target outside the vocabulary is an IllegalArgumentException; on CUDA it is reported at the next
/// download or synchronisation, as an IndexOutOfBoundsException.
///
/// **Mass of a set of words.** Where a set is asked for, the forward pass also gives the
/// probability of drawing one of its words: `mass = sum over the set's allowed words of e^(z - m) /
/// S`, its numerator added in the tree of S with 0 for the other words. So it lies in [0, 1], and
/// is 1 to the bit where no word with probability is outside the set. It is 0 where no word is
/// allowed, and NaN where the row's other results are.
///
/// What is asked for beside a result changes no bit of it.
///
/// Types are the same on both devices: F32 everywhere. On CUDA logits may be BF16 (they are
/// widened, all else stays in F32), and so may `dLogits`.
public interface Entropy {

    /// Logits `[count, vocab]` and how they are read.
    ///
    /// @param pitch elements from a row's first logit to the next row's, at least vocab
    /// @param temperature above 0; logits are divided by it
    record Rows(int count, int vocab, long pitch, float temperature, Span logits) {
        public Rows {
            if (count < 0 || vocab < 1 || pitch < vocab || !(temperature > 0)) {
                throw new IllegalArgumentException(
                        "entropy: %d rows, vocabulary of %d, pitch %d, temperature %s"
                                .formatted(count, vocab, pitch, temperature));
            }
        }

        /// Rows without anything between them.
        public static Rows dense(int count, int vocab, float temperature, Span logits) {
            return new Rows(count, vocab, vocab, temperature, logits);
        }

        /// Elements from the first logit to the last.
        long elements() {
            return count == 0 ? 0 : (count - 1) * pitch + vocab;
        }
    }

    /// Where a forward pass writes, and what it is asked for: all but logProb may be null.
    ///
    /// @param logProb F32 [rows]
    /// @param entropy F32 [rows]
    /// @param lse F32 [rows]
    /// @param maxProb F32 [rows], the largest probability
    /// @param argmax I32 [rows], its word
    /// @param set U8 [vocab], not 0 = in the set
    /// @param mass F32 [rows], the probability of the set; null if the set is, and only then
    record Results(
            Span logProb,
            @Nullable Span entropy,
            @Nullable Span lse,
            @Nullable Span maxProb,
            @Nullable Span argmax,
            @Nullable Span set,
            @Nullable Span mass) {

        public Results {
            if ((set == null) != (mass == null)) {
                throw new IllegalArgumentException(
                        set == null
                                ? "entropy: a mass without a set"
                                : "entropy: a set without a mass");
            }
        }

        /// What a training step needs.
        public static Results of(Span logProb, @Nullable Span entropy, @Nullable Span lse) {
            return new Results(logProb, entropy, lse, null, null, null, null);
        }
    }

    /// The words that logits are of, where they are not those of the whole vocabulary.
    ///
    /// @param first the first of them
    /// @param vocab words of the whole vocabulary
    /// @param logProb of the forward pass, F32 [rows]: where it is -inf the target is not allowed
    record Part(int first, int vocab, Span logProb) {}

    /// Forward. targets `[rows]` I32; banned `[vocab]` U8, 1 = not allowed, null = all allowed.
    void forward(Rows rows, Span targets, @Nullable Span banned, Results results);

    /// As [#forward(Rows, Span, Span, Results)], for dense rows of F32.
    default void forward(
            int rows,
            int vocab,
            float temperature,
            Span logits,
            Span targets,
            @Nullable Span banned,
            Span logProb,
            @Nullable Span entropy,
            @Nullable Span lse) {
        forward(
                Rows.dense(rows, vocab, temperature, logits),
                targets,
                banned,
                Results.of(logProb, entropy, lse));
    }

    /// The same with the mass of a set of words.
    default void forward(
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
        forward(
                Rows.dense(rows, vocab, temperature, logits),
                targets,
                banned,
                new Results(logProb, entropy, lse, null, null, set, mass));
    }

    /// Backward to the logits: with upstream gradients dLogProb and dEntropy `[rows]` (null = 0),
    /// `dLogits[v] = (dLogProb ([v = target] - p_v) - dEntropy p_v (log p_v + entropy)) /
    /// temperature`. dLogits is written, with the rows' pitch; what lies between rows stays. It may
    /// be `logits`. On CUDA the dLogits of F32 logits may also be BF16 in memory of their own: the
    /// F32 gradient rounded to nearest even, for a product that takes BF16 operands.
    ///
    /// The logits may be those of a part of the vocabulary, each of whose gradients depends on no
    /// other logit; banned, targets, entropy and lse are still the whole vocabulary's.
    ///
    /// @param part null for the whole vocabulary
    void backward(
            Rows rows,
            @Nullable Part part,
            Span targets,
            @Nullable Span banned,
            Span entropy,
            Span lse,
            @Nullable Span dLogProb,
            @Nullable Span dEntropy,
            Span dLogits);

    /// As [#backward(Rows, Part, Span, Span, Span, Span, Span, Span, Span)], for dense rows of F32
    /// of the whole vocabulary.
    default void backward(
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
        backward(
                Rows.dense(rows, vocab, temperature, logits),
                null,
                targets,
                banned,
                entropy,
                lse,
                dLogProb,
                dEntropy,
                dLogits);
    }

    /// The implementation for `device`.
    static Entropy on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostEntropy(host);
            case CudaDevice cuda -> new CudaEntropy(cuda);
        };
    }
}
