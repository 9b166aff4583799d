package dev.saccade.rl.recipe;

import dev.saccade.rl.task.DigitsTask;
import dev.saccade.rl.task.Mixture;
import java.util.LinkedHashMap;
import java.util.Map;

/// The digits task of a run: see [DigitsTask].
///
/// @param sizes rows of each file
/// @param mixture of the cold start
public record DigitsRecipe(DigitsTask.Sizes sizes, Mixture mixture) {
    static final String[] KEYS = {
        "pretrain",
        "sft",
        "rl",
        "connector",
        "test_per_subject",
        "validation_per_subject",
        "mixture"
    };

    private static final String[] MIXTURE_KEYS = {"guess", "plain", "corrected", "checked"};
    private static final int MOST = 1_000_000;

    static DigitsRecipe bind(RecipeSection digits) {
        DigitsTask.Sizes quick = DigitsTask.Sizes.QUICK;
        DigitsTask.Sizes sizes =
                new DigitsTask.Sizes(
                        digits.integer("pretrain", quick.pretrain(), 1, MOST),
                        digits.integer("sft", quick.sft(), 1, MOST),
                        digits.integer("rl", quick.rl(), 1, MOST),
                        digits.integer("connector", quick.connector(), 1, MOST),
                        digits.integer("test_per_subject", quick.testPerSubject(), 1, MOST),
                        digits.integer(
                                "validation_per_subject", quick.validationPerSubject(), 1, MOST));
        return new DigitsRecipe(sizes, mixture(digits));
    }

    private static Mixture mixture(RecipeSection digits) {
        if (!digits.has("mixture")) {
            return Mixture.COLD_START;
        }
        RecipeSection shares = digits.section("mixture", MIXTURE_KEYS);
        double[] values = new double[MIXTURE_KEYS.length];
        for (int i = 0; i < values.length; i++) {
            values[i] = shares.number(MIXTURE_KEYS[i], 0, 0, 1);
        }
        try {
            return new Mixture(values[0], values[1], values[2], values[3]);
        } catch (IllegalArgumentException e) {
            throw digits.wrong(
                    "mixture", "not a mixture: " + e.getMessage(), "make the shares add up to 1");
        }
    }

    Map<String, Object> toTree() {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("pretrain", sizes.pretrain());
        tree.put("sft", sizes.sft());
        tree.put("rl", sizes.rl());
        tree.put("connector", sizes.connector());
        tree.put("test_per_subject", sizes.testPerSubject());
        tree.put("validation_per_subject", sizes.validationPerSubject());
        Map<String, Object> shares = new LinkedHashMap<>();
        shares.put("guess", mixture.guess());
        shares.put("plain", mixture.plain());
        shares.put("corrected", mixture.corrected());
        shares.put("checked", mixture.checked());
        tree.put("mixture", shares);
        return tree;
    }
}
