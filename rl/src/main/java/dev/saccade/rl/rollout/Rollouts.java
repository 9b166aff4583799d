package dev.saccade.rl.rollout;

import dev.saccade.rl.reward.Score;
import java.util.List;

/// What one sampling gave.
///
/// @param rollouts prompt by prompt, the samples of a prompt one behind the other
/// @param failures reward calls that failed or were late; they scored 0
/// @param generationNanos time spent sampling
/// @param rewardNanos time spent scoring
public record Rollouts(
        List<Rollout> rollouts, int failures, long generationNanos, long rewardNanos) {

    /// Each rollout's reward.
    public double[] rewards() {
        return rollouts.stream().map(Rollout::score).mapToDouble(Score::total).toArray();
    }

    /// Tokens of all prompts, each counted once for every sample.
    public long promptTokens() {
        return rollouts.stream().mapToLong(r -> r.prompt().tokens().length).sum();
    }

    /// Tokens of all responses.
    public long responseTokens() {
        return rollouts.stream().mapToLong(r -> r.completion().tokens().length).sum();
    }
}
