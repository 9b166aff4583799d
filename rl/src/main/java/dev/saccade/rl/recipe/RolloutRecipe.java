package dev.saccade.rl.recipe;

import java.util.LinkedHashMap;
import java.util.Map;

/// How a GRPO stage samples.
///
/// @param n responses of each prompt
/// @param temperature divides the logits, in sampling and in training
/// @param topP keep the smallest set of words whose mass reaches it; 1 = all
/// @param topK keep this many words; -1 or 0 = all
public record RolloutRecipe(int n, double temperature, double topP, int topK) {
    static final String[] KEYS = {"n", "temperature", "top_p", "top_k"};

    static RolloutRecipe bind(RecipeSection rollout) {
        return new RolloutRecipe(
                rollout.integer("n", 8, 1, 4096),
                rollout.number("temperature", 1, 0.01, 100),
                rollout.number("top_p", 1, 1e-6, 1),
                rollout.integer("top_k", -1, -1, 1_000_000));
    }

    Map<String, Object> toTree() {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("n", n);
        tree.put("temperature", temperature);
        tree.put("top_p", topP);
        tree.put("top_k", topK);
        return tree;
    }
}
