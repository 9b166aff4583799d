package dev.saccade.rl.evaluation;

import java.util.Map;

/// An evaluated checkpoint.
///
/// @param step the run's step
/// @param stage the stage's name
/// @param stageStep the stage's step
/// @param accuracy by `data_source`, and over everything as [Evaluation#ALL]
/// @param criticalEntropy in nats; NaN when no critical token was emitted
/// @param meanEntropy in nats
/// @param criticalShare the share of responses with a critical token
/// @param rewardMean the mean reward
public record Candidate(
        long step,
        String stage,
        int stageStep,
        Map<String, Double> accuracy,
        double criticalEntropy,
        double meanEntropy,
        double criticalShare,
        double rewardMean) {

    /// The accuracy over every row.
    public double overallAccuracy() {
        return accuracy.getOrDefault(Evaluation.ALL, Double.NaN);
    }
}
