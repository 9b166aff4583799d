package dev.saccade.kernels.optimizer;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The optimiser's arithmetic on one parameter's memory.
public interface Optimizer {

    /// AdamW's constants for one step of one parameter.
    ///
    /// @param learningRate lr of this step
    /// @param beta1 decay of the first moment
    /// @param beta2 decay of the second moment
    /// @param eps added to the root of the second moment
    /// @param weightDecay decoupled decay, times lr
    /// @param step 1 for the first step: bias correction
    /// @param gradientScale multiplies the gradient (clipping, averaging)
    record AdamW(
            float learningRate,
            float beta1,
            float beta2,
            float eps,
            float weightDecay,
            long step,
            float gradientScale) {}

    /// One AdamW step (Loshchilov and Hutter, 1711.05101, as PyTorch orders it): `g = scale *
    /// grad`; `w -= lr*decay*w`; `m = beta1 m + (1-beta1) g`; `v = beta2 v + (1-beta2) g^2`; `w -=
    /// lr/(1-beta1^t) * m / (sqrt(v/(1-beta2^t)) + eps)`. All F32, `count` elements.
    ///
    /// 1 - beta, lr times decay and the bias corrections are made in double and rounded to fp32;
    /// the elements' arithmetic is fp32 with fused multiply-adds in a fixed order, roots and
    /// quotients correctly rounded: the same bits on every device.
    ///
    /// @param rounded BF16 or F16, receives the new weights rounded to nearest even, for a model
    ///   whose parameters are `weight`'s rounded copy; null = none
    void adamW(
            long count,
            AdamW options,
            Span weight,
            Span gradient,
            Span first,
            Span second,
            @Nullable Span rounded);

    /// The sum of squares of all elements of some F32 spans: partial sums in double over fixed
    /// blocks of 4096 elements, merged in order within a span, then span after span. In a block,
    /// element i belongs to partial sum i mod 16, and a tree adds the 16: the same bits on every
    /// device. One read back for all spans.
    ///
    /// @return the sum, read back
    double sumOfSquares(List<Span> values);

    /// The implementation for `device`.
    static Optimizer on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostOptimizer(host);
            case CudaDevice cuda -> new CudaOptimizer(cuda);
        };
    }
}
