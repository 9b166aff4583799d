package dev.saccade.tensor;

import java.util.Locale;

/// The part of a vision-language model that a parameter belongs to; freezing goes by group.
public enum ParameterGroup {
    VISION,
    CONNECTOR,
    LANGUAGE;

    /// The name in recipes and summaries: `vision`, `connector`, `language`.
    public String label() {
        return name().toLowerCase(Locale.ROOT);
    }
}
