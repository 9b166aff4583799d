package dev.saccade.rl.recipe;

import dev.saccade.rl.loss.LossAggregation;
import java.util.LinkedHashMap;
import java.util.Map;

/// The policy loss of a GRPO stage, under verl's names.
///
/// @param rollout how responses are sampled
/// @param clipRatioLow the ratio is bounded below by 1 minus this
/// @param clipRatioHigh the ratio is bounded above by 1 plus this
/// @param clipRatioC bounds the loss of negative advantages (dual clip); above 1
/// @param lossAggMode how token losses become one number
/// @param lossScaleFactor the constant of `seq-mean-token-sum-norm`
/// @param normAdvByStdInGrpo whether advantages are divided by their group's standard deviation
public record PolicyRecipe(
        RolloutRecipe rollout,
        double clipRatioLow,
        double clipRatioHigh,
        double clipRatioC,
        LossAggregation lossAggMode,
        int lossScaleFactor,
        boolean normAdvByStdInGrpo) {

    static final String[] KEYS = {
        "rollout",
        "clip_ratio",
        "clip_ratio_low",
        "clip_ratio_high",
        "clip_ratio_c",
        "loss_agg_mode",
        "loss_scale_factor",
        "norm_adv_by_std_in_grpo"
    };

    static PolicyRecipe bind(RecipeSection stage, int maxResponseLength) {
        double clip = stage.number("clip_ratio", 0.2, 0, 0.999);
        return new PolicyRecipe(
                RolloutRecipe.bind(stage.section("rollout", RolloutRecipe.KEYS)),
                stage.number("clip_ratio_low", clip, 0, 1),
                stage.number("clip_ratio_high", clip, 0, 100),
                stage.number("clip_ratio_c", 3, 1.000001, 1e6),
                stage.choice("loss_agg_mode", LossAggregation.SEQ_MEAN_TOKEN_MEAN, modes()),
                stage.integer("loss_scale_factor", maxResponseLength, 1, 1_000_000_000),
                stage.flag("norm_adv_by_std_in_grpo", true));
    }

    private static Map<String, LossAggregation> modes() {
        Map<String, LossAggregation> names = new LinkedHashMap<>();
        for (LossAggregation mode : LossAggregation.values()) {
            names.put(mode.label(), mode);
        }
        return names;
    }

    void addTo(Map<String, Object> tree) {
        tree.put("rollout", rollout.toTree());
        tree.put("clip_ratio_low", clipRatioLow);
        tree.put("clip_ratio_high", clipRatioHigh);
        tree.put("clip_ratio_c", clipRatioC);
        tree.put("loss_agg_mode", lossAggMode.label());
        tree.put("loss_scale_factor", lossScaleFactor);
        tree.put("norm_adv_by_std_in_grpo", normAdvByStdInGrpo);
    }
}
