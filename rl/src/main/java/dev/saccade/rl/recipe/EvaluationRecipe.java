package dev.saccade.rl.recipe;

import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// How held-out rows are evaluated.
///
/// Two sets are kept apart: the validation rows, which follow the training and choose the
/// checkpoint, and the test rows, which only measure stages before and after.
///
/// @param data the validation rows, for every stage that names none of its own; null = no
///   evaluation
/// @param testData the test rows; null = the validation rows measure the stages too
/// @param rows how many rows of each `data_source`, from the files' start; 0 = all
/// @param n sampled responses of each row
/// @param temperature the temperature of sampled answers
/// @param greedy whether the most probable answers are evaluated too, at the stages' ends
/// @param maxResponseLength sampling stops there, in tokens
/// @param batchSize rows that are sampled at a time; never changes a result
/// @param rollouts how many answers of each evaluation are written out, with tokens and entropies
public record EvaluationRecipe(
        @Nullable String data,
        @Nullable String testData,
        int rows,
        int n,
        double temperature,
        boolean greedy,
        int maxResponseLength,
        int batchSize,
        int rollouts) {
    static final String[] KEYS = {
        "data",
        "test_data",
        "rows",
        "n",
        "temperature",
        "greedy",
        "max_response_length",
        "batch_size",
        "rollouts"
    };

    static EvaluationRecipe bind(RecipeSection evaluation) {
        return new EvaluationRecipe(
                evaluation.optionalText("data"),
                evaluation.optionalText("test_data"),
                evaluation.integer("rows", 0, 0, 1 << 30),
                evaluation.integer("n", 1, 1, 1024),
                evaluation.number("temperature", 1, 0.01, 100),
                evaluation.flag("greedy", false),
                evaluation.integer("max_response_length", 64, 1, 1 << 20),
                evaluation.integer("batch_size", 256, 1, 1 << 20),
                evaluation.integer("rollouts", 16, 0, 1 << 20));
    }

    Map<String, Object> toTree() {
        Map<String, Object> tree = new LinkedHashMap<>();
        if (data != null) {
            tree.put("data", data);
        }
        if (testData != null) {
            tree.put("test_data", testData);
        }
        tree.put("rows", rows);
        tree.put("n", n);
        tree.put("temperature", temperature);
        tree.put("greedy", greedy);
        tree.put("max_response_length", maxResponseLength);
        tree.put("batch_size", batchSize);
        tree.put("rollouts", rollouts);
        return tree;
    }
}
