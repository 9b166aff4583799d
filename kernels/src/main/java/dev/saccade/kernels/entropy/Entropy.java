package dev.saccade.kernels.entropy;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// Log-probability and entropy of each token's distribution in one pass over its logits, fp32.
///
/// With z = logits / temperature over the allowed words (banned ones count as -inf): `lse = log sum
/// exp z`, `logProb = z[target] - lse`, `entropy = lse - sum p z` in nats, p = exp(z - lse). z is
/// logits times 1 / temperature, the inverse rounded once. Sums are relative to the row's maximum
/// m, which has left logProb and entropy before anything is added: S = sum e^(z - m), T = sum (z -
/// m) e^(z - m), `lse = m + log S`, `logProb = (z[target] - m) - log S`, `entropy = log S - T / S`.
/// At a vocabulary of 151,674 and logits of normal size, logProb and entropy are exact to 2e-5.
///
/// **Order.** Sums have a fixed tree that depends on the vocabulary alone: a row's bits are the
/// same in any batch, at any address, on any number of threads or multiprocessors. The CPU adds
/// over blocks of 4096 words in 16 interleaved lanes; CUDA adds over chunks of 8192 words, in each
/// of which a thread of a block (or, up to 512 words, of a warp) takes 16.
///
/// **Special rows.** -inf logits are allowed and carry no probability and no entropy. Where no word
/// is allowed (or all logits are -inf), logProb and lse are -inf, the entropy is 0 and the gradient
/// 0. Where the target is not allowed, logProb is -inf, and dLogProb counts as 0. A NaN or +inf
/// among a row's allowed logits makes its results NaN, and no other row's. A target outside the
/// vocabulary is an IllegalArgumentException; on CUDA it is reported at the next download or
/// synchronisation, as an IndexOutOfBoundsException.
///
/// **Mass of a set of words.** Where a set is asked for, the forward pass also gives the
/// probability of drawing one of its words: `mass = sum over the set's allowed words of e^(z - m) /
/// S`, its numerator added in the tree of S with 0 for the other words. So it lies in [0, 1], and
/// is 1 to the bit where no word with probability is outside the set. It is 0 where no word is
/// allowed, and NaN where the row's other results are. Asking for it changes no bit of them.
///
/// Types are the same on both devices: F32 everywhere. On CUDA `dLogits` may be BF16 instead.
public interface Entropy {

    /// Forward. logits `[rows, vocab]` F32; targets `[rows]` I32; banned `[vocab]` U8, 1 = not
    /// allowed, null = all allowed; logProb, entropy, lse `[rows]` F32, of which entropy and lse
    /// may be null.
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
                rows,
                vocab,
                temperature,
                logits,
                targets,
                banned,
                logProb,
                entropy,
                lse,
                null,
                null);
    }

    /// Forward, with the mass of a set of words from the same pass. set `[vocab]` U8, not 0 = in
    /// the set; mass `[rows]` F32; both or neither are null. The other operands are those of the
    /// forward pass without a set.
    void forward(
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
            @Nullable Span mass);

    /// Backward to the logits: with upstream gradients dLogProb and dEntropy `[rows]` (null = 0),
    /// `dLogits[v] = (dLogProb ([v = target] - p_v) - dEntropy p_v (log p_v + entropy)) /
    /// temperature`. dLogits `[rows, vocab]` is written; it may be `logits`. On CUDA it may instead
    /// be BF16 in memory of its own: the F32 gradient rounded to nearest even, for a product that
    /// takes BF16 operands.
    void backward(
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
            Span dLogits);

    /// The implementation for `device`.
    static Entropy on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostEntropy(host);
            case CudaDevice cuda -> new CudaEntropy(cuda);
        };
    }
}
