package dev.saccade.rl.stage;

import dev.saccade.model.generate.Completion;
import dev.saccade.rl.rollout.Rollout;
import java.util.List;

/// Compares what the sampler kept with what training computes over the same tokens. Sampler and
/// trainer are one engine on one set of weights: the two are equal bit for bit, and anything else
/// is a fault of the engine that would bias every later step.
final class SamplerCheck {
    private final String where;

    /// @param where the step, for the message
    SamplerCheck(String where) {
        this.where = where;
    }

    /// Compares a micro-batch.
    ///
    /// @param rollouts its sequences
    /// @param logProbs the trainer's, all tokens of all sequences
    /// @param entropies the trainer's
    /// @return the largest differences: 0, as anything else is thrown
    /// @throws IllegalStateException at the first token that differs
    StepReport.Difference compare(List<Rollout> rollouts, float[] logProbs, float[] entropies) {
        int at = 0;
        double logProbDifference = 0;
        double entropyDifference = 0;
        for (int i = 0; i < rollouts.size(); i++) {
            Completion completion = rollouts.get(i).completion();
            for (int t = 0; t < completion.tokens().length; t++) {
                require("log-probability", rollouts, i, t, completion.logProbs()[t], logProbs[at]);
                require("entropy", rollouts, i, t, completion.entropies()[t], entropies[at]);
                logProbDifference =
                        Math.max(
                                logProbDifference,
                                Math.abs((double) completion.logProbs()[t] - logProbs[at]));
                entropyDifference =
                        Math.max(
                                entropyDifference,
                                Math.abs((double) completion.entropies()[t] - entropies[at]));
                at++;
            }
        }
        return new StepReport.Difference(logProbDifference, entropyDifference);
    }

    private void require(
            String what, List<Rollout> rollouts, int i, int token, float sampled, float trained) {
        if (Float.floatToRawIntBits(sampled) != Float.floatToRawIntBits(trained)
                || !Float.isFinite(trained)) {
            throw new IllegalStateException(
                    ("the sampler and the trainer disagree (%s): the %s of token %d of a response"
                                    + " to %s is %s when sampled and %s when trained, difference %s")
                            .formatted(
                                    where,
                                    what,
                                    token,
                                    rollouts.get(i).row().origin(),
                                    sampled,
                                    trained,
                                    Math.abs((double) sampled - trained)));
        }
    }
}
