package dev.saccade.rl.loss;

import java.util.Arrays;
import java.util.Locale;

/// How the losses of a batch's tokens become one number: verl's `loss_agg_mode`.
///
/// With `B` sequences, `n_i` response tokens in sequence `i`, `N` tokens in all, and `L_it` the
/// loss of a token, the aggregate is a sum of `weight * L_it`. `B` and `N` are those of the whole
/// batch, also where it is computed in parts: the parts' sums add up to the whole's, so the number
/// of micro-batches changes nothing.
public enum LossAggregation {
    /// `1 / N` for each token: the mean over all tokens (DAPO).
    TOKEN_MEAN,
    /// `1` for each token.
    TOKEN_SUM,
    /// `1 / (B n_i)`: the mean over the sequences of the means over their tokens (GRPO).
    SEQ_MEAN_TOKEN_MEAN,
    /// `1 / B`: the mean over the sequences of the sums over their tokens.
    SEQ_MEAN_TOKEN_SUM,
    /// `1 / (B c)` with a constant `c`: the same divided by a length that does not depend on the
    /// batch (Dr. GRPO).
    SEQ_MEAN_TOKEN_SUM_NORM;

    /// The name in a recipe, as in verl: `seq-mean-token-mean`.
    public String label() {
        return name().toLowerCase(Locale.ROOT).replace('_', '-');
    }

    /// The weights of some of the batch's tokens.
    ///
    /// @param lengths response tokens of each of these sequences; a sequence without tokens has no
    ///   weights
    /// @param globalTokens response tokens of the whole batch
    /// @param globalSequences sequences of the whole batch
    /// @param lossScaleFactor the constant of [#SEQ_MEAN_TOKEN_SUM_NORM]
    /// @return a weight for each token, sequence after sequence
    public float[] weights(
            int[] lengths, long globalTokens, int globalSequences, int lossScaleFactor) {
        int total = 0;
        for (int length : lengths) {
            if (length < 0) {
                throw new IllegalArgumentException("a sequence of " + length + " tokens");
            }
            total = Math.addExact(total, length);
        }
        if (total > globalTokens || lengths.length > globalSequences || lossScaleFactor < 1) {
            throw new IllegalArgumentException(
                    "%d of %d tokens, %d of %d sequences, loss scale factor %d"
                            .formatted(
                                    total,
                                    globalTokens,
                                    lengths.length,
                                    globalSequences,
                                    lossScaleFactor));
        }
        float[] weights = new float[total];
        int at = 0;
        for (int length : lengths) {
            double divisor =
                    switch (this) {
                        case TOKEN_MEAN -> globalTokens;
                        case TOKEN_SUM -> 1;
                        case SEQ_MEAN_TOKEN_MEAN -> (double) globalSequences * length;
                        case SEQ_MEAN_TOKEN_SUM -> globalSequences;
                        case SEQ_MEAN_TOKEN_SUM_NORM -> (double) globalSequences * lossScaleFactor;
                    };
            Arrays.fill(weights, at, at + length, (float) (1 / divisor));
            at += length;
        }
        return weights;
    }
}
