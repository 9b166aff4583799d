package dev.saccade.rl.recipe;

import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;

/// The reward: `accuracy * right + (1 - accuracy) * well-formed`.
///
/// @param accuracy the weight of a right answer; the rest is for the format
/// @param deadlineSeconds a reward call that takes longer scores 0 and is counted
/// @param threads reward calls at a time
public record RewardRecipe(double accuracy, double deadlineSeconds, int threads) {
    static final String[] KEYS = {"accuracy", "deadline_seconds", "threads"};

    static RewardRecipe bind(RecipeSection reward) {
        return new RewardRecipe(
                reward.number("accuracy", 0.8, 0, 1),
                reward.number("deadline_seconds", 10, 0.001, 86_400),
                reward.integer("threads", 2, 1, 1024));
    }

    /// The deadline of one call.
    public Duration deadline() {
        return Duration.ofNanos(Math.round(deadlineSeconds * 1e9));
    }

    Map<String, Object> toTree() {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("accuracy", accuracy);
        tree.put("deadline_seconds", deadlineSeconds);
        tree.put("threads", threads);
        return tree;
    }
}
