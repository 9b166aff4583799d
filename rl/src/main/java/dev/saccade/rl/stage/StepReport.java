package dev.saccade.rl.stage;

import dev.saccade.rl.rollout.Rollout;
import java.util.List;
import java.util.Map;

/// What a step did.
///
/// @param metrics by name, in the order they are written
/// @param histograms counts by name, see [dev.saccade.rl.entropy.EntropyStatistics#toHistograms];
///   empty in supervised stages
/// @param rollouts what was sampled; empty in supervised stages
/// @param advantages each rollout's advantage
/// @param difference how far the sampler and the trainer were apart; [Difference#NONE] in
///   supervised stages
public record StepReport(
        Map<String, Double> metrics,
        Map<String, long[]> histograms,
        List<Rollout> rollouts,
        List<Double> advantages,
        Difference difference) {

    /// The largest absolute differences between what the sampler kept and what training computed
    /// over the same tokens.
    public record Difference(double logProb, double entropy) {
        /// No difference, or nothing compared.
        public static final Difference NONE = new Difference(0, 0);

        /// The larger of both, each.
        public Difference max(Difference other) {
            return new Difference(
                    Math.max(logProb, other.logProb), Math.max(entropy, other.entropy));
        }
    }
}
