package dev.saccade.rl.recipe;

import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;

/// What a stage does.
public enum StageKind {
    /// Supervised: cross-entropy on the rows' responses (pretraining, cold start).
    SFT,
    /// Reinforcement learning with group-relative advantages.
    GRPO,
    /// Supervised, the connector alone.
    CONNECTOR;

    /// The word in a recipe.
    public String label() {
        return name().toLowerCase(Locale.ROOT);
    }

    static Map<String, StageKind> names() {
        Map<String, StageKind> names = new LinkedHashMap<>();
        for (StageKind kind : values()) {
            names.put(kind.label(), kind);
        }
        return names;
    }
}
