package dev.saccade.kernels.loss;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// Losses on per-token log-probabilities; all operands `[tokens]` F32, on every device. The
/// arithmetic is fp32 in a fixed order, the same bits on every device.
public interface PolicyLoss {

    /// The clip of the ratio r: low and high bound the ratio to [1-low, 1+high]; dual (c > 1)
    /// bounds the loss of negative advantages at -A*c.
    record Clip(float low, float high, float dual) {}

    /// The clipped surrogate as verl computes it: `r = exp(clamp(logProb - oldLogProb, -20, 20))`,
    /// `L1 = -A r`, `L2 = -A clip(r, 1-low, 1+high)`, `L = max(L1, L2)`, and for A < 0 `L = min(L,
    /// -A dual)`. `loss` `[tokens]` receives `weight * L`, `dLogProb` its gradient `weight *
    /// dL/dlogProb`, `clipped` `[tokens]` 1 where L2 > L1, 2 where the dual clip bound, else 0; it
    /// may be null.
    ///
    /// The gradient is `-A r` where the unclipped term is the loss and log r lies within [-20, 20],
    /// and 0 where a clip binds. A token of weight 0 is outside the loss: its loss, gradient and
    /// clip mark are 0 whatever its other operands hold.
    void clippedSurrogate(
            int tokens,
            Clip clip,
            Span logProb,
            Span oldLogProb,
            Span advantage,
            Span weight,
            Span loss,
            Span dLogProb,
            @Nullable Span clipped);

    /// The implementation for `device`.
    static PolicyLoss on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostPolicyLoss(host);
            case CudaDevice cuda -> new CudaPolicyLoss(cuda);
        };
    }
}
