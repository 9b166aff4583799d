package dev.saccade.rl.evaluation;

import dev.saccade.rl.rollout.Rollout;
import java.util.List;
import java.util.Map;

/// What an evaluation found.
///
/// @param accuracy the share of right sampled answers by `data_source`, and over everything as
///   [#ALL]
/// @param greedyAccuracy the same for the most probable answers; empty when they were not asked for
/// @param metrics everything that goes to the metrics, by name
/// @param histograms counts of tokens by entropy, see
///   [dev.saccade.rl.entropy.EntropyStatistics#toHistograms]
/// @param meanEntropy the mean entropy of a response token in nats
/// @param criticalEntropy the mean entropy where a critical token was emitted, in nats; NaN when
///   none was
/// @param criticalShare the share of responses with a critical token
/// @param rewardMean the mean reward
/// @param rollouts some of the sampled answers
/// @param seconds how long it took
public record Evaluation(
        Map<String, Double> accuracy,
        Map<String, Double> greedyAccuracy,
        Map<String, Double> metrics,
        Map<String, long[]> histograms,
        double meanEntropy,
        double criticalEntropy,
        double criticalShare,
        double rewardMean,
        List<Rollout> rollouts,
        double seconds) {

    /// The key of the mean over every row, in the accuracies.
    public static final String ALL = "all";

    /// The accuracy over every row.
    public double overallAccuracy() {
        return accuracy.getOrDefault(ALL, Double.NaN);
    }
}
