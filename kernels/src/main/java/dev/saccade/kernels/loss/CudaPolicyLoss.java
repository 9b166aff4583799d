package dev.saccade.kernels.loss;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Kernel;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import org.jspecify.annotations.Nullable;

/// The policy loss on CUDA: a thread a token.
final class CudaPolicyLoss implements PolicyLoss {
    private static final int THREADS = 256;

    private final Kernel kernel;

    CudaPolicyLoss(CudaDevice device) {
        this.kernel = device.program("loss/portable").kernel("clipped_surrogate");
    }

    @Override
    public void clippedSurrogate(
            int tokens,
            Clip clip,
            Span logProb,
            Span oldLogProb,
            Span advantage,
            Span weight,
            Span loss,
            Span dLogProb,
            @Nullable Span clipped) {
        HostPolicyLoss.check(clip);
        kernel.begin()
                .int32(tokens)
                .float32(1f - clip.low())
                .float32(1f + clip.high())
                .float32(clip.dual())
                .pointer(logProb.require("logProb", DType.F32, tokens))
                .pointer(oldLogProb.require("oldLogProb", DType.F32, tokens))
                .pointer(advantage.require("advantage", DType.F32, tokens))
                .pointer(weight.require("weight", DType.F32, tokens))
                .pointer(loss.require("loss", DType.F32, tokens))
                .pointer(dLogProb.require("dLogProb", DType.F32, tokens))
                .pointer(clipped == null ? 0 : clipped.require("clipped", DType.F32, tokens))
                .launch(Math.ceilDiv(tokens, THREADS), THREADS);
    }
}
