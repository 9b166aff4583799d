package dev.saccade.rl.recipe;

import dev.saccade.tensor.AdamW;
import dev.saccade.tensor.Schedule;
import java.util.LinkedHashMap;
import java.util.Map;

/// The optimiser of a stage: AdamW and its learning rate.
///
/// @param lr the learning rate after the warm-up
/// @param lrWarmupSteps steps over which it rises linearly
/// @param schedule what it does afterwards
/// @param minLrRatio where a cosine ends, as a share of lr
/// @param weightDecay decoupled decay of matrices
/// @param beta1 decay of the first moment
/// @param beta2 decay of the second moment
/// @param eps added to the root of the second moment
/// @param gradClip the largest global gradient norm; 0 = no clipping
public record OptimRecipe(
        double lr,
        int lrWarmupSteps,
        Decay schedule,
        double minLrRatio,
        double weightDecay,
        double beta1,
        double beta2,
        double eps,
        double gradClip) {

    /// What the learning rate does after the warm-up.
    public enum Decay {
        /// It stays.
        CONSTANT,
        /// It falls along half a cosine.
        COSINE
    }

    private static final Map<String, Decay> DECAYS =
            Map.of("constant", Decay.CONSTANT, "cosine", Decay.COSINE);

    static OptimRecipe bind(RecipeSection optim) {
        double[] betas = optim.numbers("betas", new double[] {0.9, 0.999}, 0, 0.999999);
        if (betas.length != 2) {
            throw optim.wrong(
                    "betas", "a list of " + betas.length + " numbers", "write two: [0.9, 0.999]");
        }
        return new OptimRecipe(
                optim.number("lr", 0, 10),
                optim.integer("lr_warmup_steps", 0, 0, 1_000_000_000),
                optim.choice("schedule", Decay.CONSTANT, DECAYS),
                optim.number("min_lr_ratio", 0, 0, 1),
                optim.number("weight_decay", 0.01, 0, 10),
                betas[0],
                betas[1],
                optim.number("eps", 1e-8, 1e-30, 1),
                optim.number("grad_clip", 1, 0, 1e9));
    }

    static final String[] KEYS = {
        "lr",
        "lr_warmup_steps",
        "schedule",
        "min_lr_ratio",
        "weight_decay",
        "betas",
        "eps",
        "grad_clip"
    };

    Map<String, Object> toTree() {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("lr", lr);
        tree.put("lr_warmup_steps", lrWarmupSteps);
        tree.put("schedule", schedule == Decay.COSINE ? "cosine" : "constant");
        tree.put("min_lr_ratio", minLrRatio);
        tree.put("weight_decay", weightDecay);
        tree.put("betas", new double[] {beta1, beta2});
        tree.put("eps", eps);
        tree.put("grad_clip", gradClip);
        return tree;
    }

    /// The learning rate of each of `steps` steps.
    public Schedule learningRate(int steps) {
        return switch (schedule) {
            case CONSTANT -> new Schedule.Constant(lr, lrWarmupSteps);
            case COSINE -> new Schedule.Cosine(lr, lrWarmupSteps, steps, minLrRatio);
        };
    }

    /// The optimiser's constants.
    public AdamW.Settings settings() {
        return new AdamW.Settings(beta1, beta2, eps, weightDecay, gradClip);
    }
}
