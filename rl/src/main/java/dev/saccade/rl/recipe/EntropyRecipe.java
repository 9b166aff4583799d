package dev.saccade.rl.recipe;

import dev.saccade.model.chat.CriticalTokens;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/// Which tokens count as critical, and how entropies are counted.
///
/// @param criticalWords words that open a turn of reasoning; their spellings with a leading space,
///   in other case and with punctuation count too
/// @param threshold tokens above this entropy (nats) are counted as uncertain
/// @param criticalMass a critical token was possible where the probability of drawing one was above
///   this
/// @param histogramEdges where the bins of histograms begin, in nats: 0 first, ascending; the last
///   one has no end
public record EntropyRecipe(
        List<String> criticalWords,
        double threshold,
        double criticalMass,
        List<Double> histogramEdges) {
    /// The threshold of the Skywork-R1V3 report (section 6.5), in nats.
    public static final double DEFAULT_THRESHOLD = 6.8;

    /// With it, a critical token is drawn at one of twenty places that are barely possible ones.
    public static final double DEFAULT_CRITICAL_MASS = 0.05;

    /// Narrow where most tokens are, and with an edge at [#DEFAULT_THRESHOLD].
    public static final List<Double> DEFAULT_HISTOGRAM_EDGES =
            List.of(0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 6.8, 8.0, 10.0);

    /// Written among the words, it stands for all of [CriticalTokens#LONG_LIST].
    public static final String LONG_LIST = "long-list";

    private static final double MOST_NATS = 100;
    private static final int MOST_BINS = 1000;

    static final String[] KEYS = {
        "critical_words", "threshold", "critical_mass", "histogram_edges"
    };

    /// The defaults for some words.
    public static EntropyRecipe of(List<String> criticalWords) {
        return new EntropyRecipe(
                criticalWords, DEFAULT_THRESHOLD, DEFAULT_CRITICAL_MASS, DEFAULT_HISTOGRAM_EDGES);
    }

    /// The words that a list means: each once, and those of the longer list for [#LONG_LIST].
    public static List<String> words(List<String> written) {
        return written.stream()
                .flatMap(word ->
                        word.equals(LONG_LIST)
                                ? CriticalTokens.LONG_LIST.stream()
                                : Stream.of(word))
                .distinct()
                .toList();
    }

    static EntropyRecipe bind(RecipeSection entropy) {
        List<String> words = words(entropy.texts("critical_words", CriticalTokens.DEFAULT_WORDS));
        if (words.isEmpty() || words.stream().anyMatch(String::isBlank)) {
            throw entropy.wrong("critical_words", "without a word", "name at least one word");
        }
        return new EntropyRecipe(
                words,
                entropy.number("threshold", DEFAULT_THRESHOLD, 0, MOST_NATS),
                entropy.number("critical_mass", DEFAULT_CRITICAL_MASS, 0, 1),
                edges(entropy));
    }

    private static List<Double> edges(RecipeSection entropy) {
        double[] otherwise =
                DEFAULT_HISTOGRAM_EDGES.stream().mapToDouble(Double::doubleValue).toArray();
        double[] edges = entropy.numbers("histogram_edges", otherwise, 0, MOST_NATS);
        boolean good = edges.length > 0 && edges.length <= MOST_BINS && edges[0] == 0;
        for (int i = 1; good && i < edges.length; i++) {
            good = edges[i] > edges[i - 1];
        }
        if (!good) {
            throw entropy.wrong(
                    "histogram_edges",
                    "not a list of ascending edges from 0 on",
                    "write where bins begin, at most "
                            + MOST_BINS
                            + " of them, in nats: [0, 0.5, 1, 2, 4]");
        }
        return Arrays.stream(edges).boxed().toList();
    }

    Map<String, Object> toTree() {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("critical_words", criticalWords);
        tree.put("threshold", threshold);
        tree.put("critical_mass", criticalMass);
        tree.put("histogram_edges", histogramEdges);
        return tree;
    }
}
