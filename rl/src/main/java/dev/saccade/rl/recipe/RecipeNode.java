package dev.saccade.rl.recipe;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// A value of a recipe as it was written, with the place to name when it is wrong. Jackson's tree
/// forgets lines; this one keeps them.
sealed interface RecipeNode {

    /// Where the value stands: `quick.yaml line 12` or `--set stages.grpo.optim.lr`.
    String place();

    /// A word or a number; null for an empty value.
    record Scalar(@Nullable String text, String place) implements RecipeNode {}

    /// `key: value` lines.
    record Mapping(Map<String, RecipeNode> entries, Map<String, String> keyPlaces, String place)
            implements RecipeNode {
        Mapping(String place) {
            this(new LinkedHashMap<>(), new LinkedHashMap<>(), place);
        }

        void put(String key, RecipeNode value, String keyPlace) {
            entries.put(key, value);
            keyPlaces.put(key, keyPlace);
        }
    }

    /// `- value` lines.
    record Sequence(List<RecipeNode> items, String place) implements RecipeNode {
        Sequence(String place) {
            this(new ArrayList<>(), place);
        }
    }

    /// What the value is, for messages.
    default String kind() {
        return switch (this) {
            case Scalar scalar -> scalar.text() == null ? "nothing" : "'" + scalar.text() + "'";
            case Mapping _ -> "a section";
            case Sequence _ -> "a list";
        };
    }
}
