package dev.saccade.rl.recipe;

import java.util.LinkedHashMap;
import java.util.Map;

/// How the run's best checkpoint is chosen.
///
/// @param rule the rule
/// @param guard critical entropy: how far below the best accuracy a candidate may be
public record SelectionRecipe(Rule rule, double guard) {
    /// The rules there are.
    public enum Rule {
        /// The highest entropy of critical tokens among the candidates whose accuracy is near the
        /// best.
        CRITICAL_ENTROPY("critical-entropy"),
        /// The highest accuracy.
        ACCURACY("accuracy"),
        /// The last one.
        LAST("last");

        private final String label;

        Rule(String label) {
            this.label = label;
        }

        /// The name in a recipe.
        public String label() {
            return label;
        }
    }

    static final String[] KEYS = {"rule", "guard"};

    static SelectionRecipe bind(RecipeSection selection) {
        Map<String, Rule> names = new LinkedHashMap<>();
        for (Rule rule : Rule.values()) {
            names.put(rule.label(), rule);
        }
        return new SelectionRecipe(
                selection.choice("rule", Rule.CRITICAL_ENTROPY, names),
                selection.number("guard", 0.02, 0, 1));
    }

    Map<String, Object> toTree() {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("rule", rule.label());
        tree.put("guard", guard);
        return tree;
    }
}
