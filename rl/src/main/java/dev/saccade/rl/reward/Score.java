package dev.saccade.rl.reward;

import org.jspecify.annotations.Nullable;

/// A response's score.
///
/// @param total the reward
/// @param accuracy 1 for a right answer, 0 for a wrong one
/// @param format 1 for a well-formed response, 0 for another
/// @param predicted the answer that was found in the response; null when there is none
public record Score(double total, double accuracy, double format, @Nullable String predicted) {
    /// Nothing right.
    public static final Score ZERO = new Score(0, 0, 0, null);
}
