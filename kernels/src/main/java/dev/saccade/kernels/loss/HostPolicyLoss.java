package dev.saccade.kernels.loss;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Lanes;
import dev.saccade.kernels.internal.VectorMath;
import org.jspecify.annotations.Nullable;

/// The policy loss on the CPU: one pass, one token after the other, since a batch holds few tokens
/// compared with what computes their log-probabilities.
final class HostPolicyLoss implements PolicyLoss {
    private static final float LOG_RATIO_LIMIT = 20f;

    /// Elements of one part.
    private static final int BLOCK = 4096;

    private final HostDevice device;

    HostPolicyLoss(HostDevice device) {
        this.device = device;
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
        check(clip);
        long fromLogProb = logProb.require("logProb", DType.F32, tokens);
        long fromOld = oldLogProb.require("oldLogProb", DType.F32, tokens);
        long fromAdvantage = advantage.require("advantage", DType.F32, tokens);
        long fromWeight = weight.require("weight", DType.F32, tokens);
        long toLoss = loss.require("loss", DType.F32, tokens);
        long toGradient = dLogProb.require("dLogProb", DType.F32, tokens);
        long toClipped = clipped == null ? 0 : clipped.require("clipped", DType.F32, tokens);
        float least = 1f - clip.low();
        float most = 1f + clip.high();
        device.run(
                Math.ceilDiv(tokens, BLOCK),
                (_, begin, end) -> {
                    int last = Math.min(tokens, end * BLOCK);
                    for (int token = begin * BLOCK; token < last; token++) {
                        long at = 4L * token;
                        float w = Lanes.get(fromWeight + at);
                        float tokenLoss = 0f;
                        float gradient = 0f;
                        float mark = 0f;
                        if (w != 0f) {
                            float a = Lanes.get(fromAdvantage + at);
                            float logRatio = Lanes.get(fromLogProb + at) - Lanes.get(fromOld + at);
                            float ratio =
                                    VectorMath.exp(
                                            within(logRatio, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT));
                            float free = -a * ratio;
                            float bound = -a * within(ratio, least, most);
                            float worst = bound > free ? bound : free;
                            if (Math.abs(logRatio) <= LOG_RATIO_LIMIT && !(bound > free)) {
                                gradient = free;
                            }
                            mark = bound > free ? 1f : 0f;
                            if (a < 0 && worst > -a * clip.dual()) {
                                worst = -a * clip.dual();
                                gradient = 0f;
                                mark = 2f;
                            }
                            if (Float.isNaN(free)) {
                                gradient = Float.NaN;
                            }
                            tokenLoss = w * worst;
                            gradient *= w;
                        }
                        Lanes.set(toLoss + at, tokenLoss);
                        Lanes.set(toGradient + at, gradient);
                        if (toClipped != 0) {
                            Lanes.set(toClipped + at, mark);
                        }
                    }
                });
    }

    /// Checks the clip's bounds.
    static void check(Clip clip) {
        if (!(clip.low() >= 0 && clip.high() >= 0 && clip.dual() > 1)) {
            throw new IllegalArgumentException("policy loss: " + clip);
        }
    }

    /// `x`, at least `least` and at most `most`; NaN stays.
    private static float within(float x, float least, float most) {
        return x > most ? most : x < least ? least : x;
    }
}
