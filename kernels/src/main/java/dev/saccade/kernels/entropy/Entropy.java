package dev.saccade.kernels.entropy;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// Log-probability and entropy of each token's distribution in one pass over its logits, fp32.
///
/// With z = logits / temperature over the allowed words (banned ones count as -inf): `lse = log sum
/// exp z`, `logProb = z[target] - lse`, `entropy = lse - sum p z` in nats, p = exp(z - lse). Online
/// over blocks of 16 interleaved lanes with a fixed merge tree. -inf logits are allowed and carry
/// no probability and no entropy.
public interface Entropy {

    /// Forward. logits `[rows, vocab]` F32; targets `[rows]` I32; banned `[vocab]` U8, 1 = not
    /// allowed, null = all allowed; logProb, entropy, lse `[rows]` F32, of which entropy and lse
    /// may be null.
    void forward(
            int rows,
            int vocab,
            float temperature,
            Span logits,
            Span targets,
            @Nullable Span banned,
            Span logProb,
            @Nullable Span entropy,
            @Nullable Span lse);

    /// Backward to the logits: with upstream gradients dLogProb and dEntropy `[rows]` (null = 0),
    /// `dLogits[v] = (dLogProb ([v = target] - p_v) - dEntropy p_v (log p_v + entropy)) /
    /// temperature`. dLogits `[rows, vocab]` is written; it may be `logits`.
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
            case CudaDevice cuda -> throw new UnsupportedOperationException("skeleton");
        };
    }
}
