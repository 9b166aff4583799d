package dev.saccade.rl.recipe;

import dev.saccade.model.chat.CriticalTokens;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// Which tokens count as critical.
///
/// @param criticalWords words that open a turn of reasoning; their spellings with a leading space,
///   in other case and with punctuation count too
/// @param threshold tokens above this entropy (nats) are counted as uncertain
public record EntropyRecipe(List<String> criticalWords, double threshold) {
    static final String[] KEYS = {"critical_words", "threshold"};

    static EntropyRecipe bind(RecipeSection entropy) {
        List<String> words = entropy.texts("critical_words", CriticalTokens.DEFAULT_WORDS);
        if (words.isEmpty() || words.stream().anyMatch(String::isBlank)) {
            throw entropy.wrong("critical_words", "without a word", "name at least one word");
        }
        return new EntropyRecipe(words, entropy.number("threshold", 6.8, 0, 100));
    }

    Map<String, Object> toTree() {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("critical_words", criticalWords);
        tree.put("threshold", threshold);
        return tree;
    }
}
