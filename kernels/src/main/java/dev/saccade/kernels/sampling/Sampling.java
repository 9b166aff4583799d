package dev.saccade.kernels.sampling;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// Draws a token from each row's distribution by the Gumbel-max rule: the allowed word with the
/// largest `z + g`, where g is Gumbel noise from a counter-based generator ([Philox]) keyed by the
/// row's key, the row's position and the word, so a draw depends on nothing but its key. Ties go to
/// the lower id. Temperature 0 is greedy: the largest logit.
///
/// z is the logit times 1 / temperature in fp32, the inverse rounded once. Noise, scores and cuts
/// are the same on every device, operation by operation: the same F32 logits and keys draw the same
/// tokens on the CPU and on CUDA.
///
/// **Cuts.** As if a row's words were sorted by z from the largest down, the lower id first among
/// equals: top-k keeps the first k; top-p then keeps the shortest prefix whose share of the mass
/// that is left reaches p (Holtzman et al., 1904.09751); min-p then keeps what is at least p times
/// as probable as the likeliest word (Nguyen et al., 2407.01082), which is `z >= max + log p` in
/// fp32, the logarithm rounded once. Masses are exponentials in fp32, added in double on the CPU
/// and in fixed point of 63 bits on CUDA; the two could differ only where a prefix's share equals p
/// to 1e-11 of the mass.
///
/// This is the order of transformers: repetition penalty ([#penalise]), temperature, top-k, top-p,
/// min-p. There, words that are equal to the k-th are all kept, here only the first of them.
///
/// **Special rows.** -inf and NaN are never drawn and carry no mass; +inf wins whatever the cut. A
/// row without a word to draw is an IllegalArgumentException; on CUDA it is reported at the next
/// download or synchronisation.
///
/// On CUDA nothing depends on what the host knows: a call can be recorded and run again.
public interface Sampling {

    /// How to draw.
    ///
    /// @param temperature divides the logits; 0 = greedy
    /// @param topK keep the k most probable words; 0 = all
    /// @param topP keep the smallest set of most probable words whose mass reaches p; 1 = all
    /// @param minP keep the words at least p times as probable as the most probable one; 0 = all
    record Options(float temperature, int topK, float topP, float minP) {
        public Options {
            if (!(temperature >= 0)
                    || topK < 0
                    || !(topP > 0 && topP <= 1)
                    || !(minP >= 0 && minP <= 1)) {
                throw new IllegalArgumentException(
                        "sampling: temperature %s, top-k %d, top-p %s, min-p %s"
                                .formatted(temperature, topK, topP, minP));
            }
        }

        /// Options without min-p.
        public Options(float temperature, int topK, float topP) {
            this(temperature, topK, topP, 0);
        }

        /// Whether the largest logit is taken.
        public boolean greedy() {
            return temperature == 0;
        }

        /// Whether words are cut from a row before one is drawn. The largest is never cut.
        public boolean cuts() {
            return !greedy() && (topK > 0 || topP < 1 || minP > 0);
        }

        /// How far below the largest z a word may lie: log(minP), -infinity where all may be drawn.
        float reach() {
            return (float) StrictMath.log(minP);
        }
    }

    /// Draws. logits `[rows, vocab]` F32; banned `[vocab]` U8 or null; keys `[rows]` I64 the random
    /// key of each row's sequence; positions `[rows]` I32 the position of the token drawn; tokens
    /// `[rows]` I32 receives the ids. The log-probability and entropy of the drawn token come from
    /// [dev.saccade.kernels.entropy.Entropy] over the same logits, so that they are what training
    /// computes. [dev.saccade.kernels.head.Head#sample] does all of it without logits in memory.
    void sample(
            int rows,
            int vocab,
            Options options,
            Span logits,
            @Nullable Span banned,
            Span keys,
            Span positions,
            Span tokens);

    /// The repetition penalty (Keskar et al., 1909.05858) as transformers applies it: a word that
    /// its row has seen gets `logit / penalty`, or `logit * penalty` where the logit is below 0,
    /// rounded once; the other words keep their logits. It comes before [#sample], under greedy
    /// decoding too. Log-probabilities stay those of `logits`.
    ///
    /// logits and result `[rows, vocab]` F32, which may be the same memory; seen `[rows, vocab]`
    /// U8, 0 where a row has not seen a word.
    ///
    /// @param penalty above 0; above 1 makes repetitions less likely
    void penalise(int rows, int vocab, float penalty, Span logits, Span seen, Span result);

    /// What is done with the words drawn: where a word is forced, it takes the drawn one's place;
    /// then each row has seen its word.
    ///
    /// forced `[rows]` I32, the word of each row, negative where it is free; null where all are.
    /// seen as in [#penalise]; null where nobody asks. tokens `[rows]` I32 from [#sample]. A forced
    /// word that is not of the vocabulary is an IndexOutOfBoundsException, on CUDA at the next
    /// download or synchronisation.
    void settle(int rows, int vocab, @Nullable Span forced, @Nullable Span seen, Span tokens);

    /// The implementation for `device`.
    static Sampling on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostSampling(host);
            case CudaDevice cuda -> new CudaSampling(cuda);
        };
    }
}
