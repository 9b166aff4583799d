package dev.saccade.rl.entropy;

import dev.saccade.model.chat.CriticalTokens;
import dev.saccade.model.generate.Completion;
import dev.saccade.rl.recipe.EntropyRecipe;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;

/// Adds up the entropies of sampled responses: over all tokens, over those where a critical token
/// was emitted, and over those where one was possible; by data source and by whether the answer was
/// right. All from what sampling kept.
///
/// A token's entropy is that of the distribution it was sampled from, in nats. A mean is over all
/// tokens of a kind in all responses, each token once. A critical token was possible where the
/// probability of drawing one that opens a critical word ([Completion#masses]) was above
/// [EntropyRecipe#criticalMass], whatever was drawn. What is undefined, as the mean over no token,
/// is left out of the metrics.
public final class EntropyStatistics {
    private static final String ALL = "entropy/";
    private static final String CRITICAL = "entropy/critical/";
    private static final String POSSIBLE = "entropy/critical_possible/";

    /// The tokens of one kind.
    private final class Kind {
        double entropy;
        long tokens;
        long aboveThreshold;
        long responses;
        final long[] histogram = new long[edges.length];

        void add(double value) {
            entropy += value;
            tokens++;
            if (value > recipe.threshold()) {
                aboveThreshold++;
            }
            histogram[bin(value)]++;
        }

        /// Adds those of one response.
        void add(Kind response) {
            entropy += response.entropy;
            tokens += response.tokens;
            aboveThreshold += response.aboveThreshold;
            responses += response.tokens > 0 ? 1 : 0;
            for (int bin = 0; bin < histogram.length; bin++) {
                histogram[bin] += response.histogram[bin];
            }
        }

        void putEntropies(Map<String, Double> metrics, String name, String part) {
            if (tokens > 0) {
                metrics.put(name + part + "mean", entropy / tokens);
                metrics.put(
                        name + "above_threshold/" + part + "share",
                        (double) aboveThreshold / tokens);
            }
        }

        void putCounts(Map<String, Double> metrics, String name, String part, long ofResponses) {
            metrics.put(name + part + "count", (double) tokens);
            if (ofResponses > 0) {
                metrics.put(name + part + "share", (double) responses / ofResponses);
            }
        }
    }

    /// What some responses come to.
    private final class Sums {
        final Kind all = new Kind();
        final Kind critical = new Kind();
        final Kind possible = new Kind();
        double mass;
        long masses;
        long responses;

        void add(Sums response) {
            all.add(response.all);
            critical.add(response.critical);
            possible.add(response.possible);
            mass += response.mass;
            masses += response.masses;
            responses++;
        }

        void put(Map<String, Double> metrics, String prefix, String part) {
            all.putEntropies(metrics, prefix + ALL, part);
            critical.putEntropies(metrics, prefix + CRITICAL, part);
            critical.putCounts(metrics, prefix + CRITICAL, part, responses);
            if (masses > 0) {
                possible.putEntropies(metrics, prefix + POSSIBLE, part);
                possible.putCounts(metrics, prefix + POSSIBLE, part, responses);
                metrics.put(prefix + "entropy/critical_mass/" + part + "mean", mass / masses);
            }
        }

        void putHistograms(Map<String, long[]> histograms, String part) {
            put(histograms, ALL + part, all);
            put(histograms, CRITICAL + part, critical);
            put(histograms, POSSIBLE + part, possible);
        }

        private void put(Map<String, long[]> histograms, String name, Kind kind) {
            if (kind.tokens > 0) {
                histograms.put(name + "histogram", kind.histogram.clone());
            }
        }
    }

    private final CriticalTokens critical;
    private final EntropyRecipe recipe;
    private final double[] edges;
    private final Sums all;
    private final Sums correct;
    private final Sums incorrect;
    private final Map<String, Sums> bySource = new TreeMap<>();

    /// Empty statistics.
    ///
    /// @param critical the recipe's critical tokens
    public EntropyStatistics(CriticalTokens critical, EntropyRecipe recipe) {
        this.critical = critical;
        this.recipe = recipe;
        this.edges = recipe.histogramEdges().stream().mapToDouble(Double::doubleValue).toArray();
        this.all = new Sums();
        this.correct = new Sums();
        this.incorrect = new Sums();
    }

    /// Adds a response.
    ///
    /// @param isCorrect whether its answer was right
    /// @param completion its tokens and their entropies; where it has masses, they are those of
    ///   [CriticalTokens#firstTokens]
    public void add(String dataSource, boolean isCorrect, Completion completion) {
        int[] tokens = completion.tokens();
        float[] entropies = completion.entropies();
        float[] masses = completion.masses();
        if (tokens.length != entropies.length
                || (masses.length > 0 && masses.length != tokens.length)) {
            throw new IllegalArgumentException(
                    "%d tokens, %d entropies, %d masses"
                            .formatted(tokens.length, entropies.length, masses.length));
        }
        boolean[] marks = critical.mark(tokens);
        Sums response = new Sums();
        for (int t = 0; t < tokens.length; t++) {
            double entropy = finite("entropy", t, entropies[t]);
            response.all.add(entropy);
            if (marks[t]) {
                response.critical.add(entropy);
            }
            if (masses.length > 0) {
                double mass = finite("critical mass", t, masses[t]);
                response.mass += mass;
                response.masses++;
                if (mass > recipe.criticalMass()) {
                    response.possible.add(entropy);
                }
            }
        }
        all.add(response);
        (isCorrect ? correct : incorrect).add(response);
        bySource.computeIfAbsent(dataSource, _ -> new Sums()).add(response);
    }

    private static double finite(String what, int token, double value) {
        if (!Double.isFinite(value)) {
            throw new IllegalArgumentException(
                    "the %s of token %d is %s".formatted(what, token, value));
        }
        return value;
    }

    /// The bin of an entropy. Rounding may leave one a little below 0: it is in the first bin.
    private int bin(double entropy) {
        int at = Arrays.binarySearch(edges, entropy);
        return Math.max(0, at >= 0 ? at : -at - 2);
    }

    /// The numbers by name, for X = nothing, `{data_source}/`, `correct/` and `incorrect/`:
    /// `entropy/Xmean` and `entropy/above_threshold/Xshare` (of tokens); the same for
    /// `entropy/critical/` and `entropy/critical_possible/`, with `Xcount` (tokens) and `Xshare`
    /// (of responses with one); `entropy/critical_mass/Xmean`. Those of possible tokens and of the
    /// mass are there where masses were kept.
    ///
    /// @param prefix comes before each name; may be empty
    public Map<String, Double> toMetrics(String prefix) {
        Map<String, Double> metrics = new LinkedHashMap<>();
        all.put(metrics, prefix, "");
        bySource.forEach((source, sums) -> sums.put(metrics, prefix, source + "/"));
        correct.put(metrics, prefix, "correct/");
        incorrect.put(metrics, prefix, "incorrect/");
        return metrics;
    }

    /// Tokens by entropy, for the same X: `entropy/Xhistogram`, `entropy/critical/Xhistogram` and
    /// `entropy/critical_possible/Xhistogram`. Bin `i` counts the tokens from edge `i` of
    /// [EntropyRecipe#histogramEdges] to below the next; the last one has no end. One without a
    /// token is left out.
    public Map<String, long[]> toHistograms() {
        Map<String, long[]> histograms = new LinkedHashMap<>();
        all.putHistograms(histograms, "");
        bySource.forEach((source, sums) -> sums.putHistograms(histograms, source + "/"));
        correct.putHistograms(histograms, "correct/");
        incorrect.putHistograms(histograms, "incorrect/");
        return histograms;
    }

    /// Spearman's rank correlation: Pearson's correlation of the ranks, where equal values share
    /// the mean of their ranks.
    ///
    /// @return from -1 to 1; NaN for fewer than two pairs, where all values of one side are equal,
    ///   or where a value is NaN
    public static double rankCorrelation(double[] a, double[] b) {
        if (a.length != b.length) {
            throw new IllegalArgumentException(a.length + " and " + b.length + " values");
        }
        if (a.length < 2
                || Arrays.stream(a).anyMatch(Double::isNaN)
                || Arrays.stream(b).anyMatch(Double::isNaN)) {
            return Double.NaN;
        }
        double[] ranksA = ranks(a);
        double[] ranksB = ranks(b);
        double mean = (a.length + 1) / 2.0;
        double products = 0;
        double squaresA = 0;
        double squaresB = 0;
        for (int i = 0; i < a.length; i++) {
            products += (ranksA[i] - mean) * (ranksB[i] - mean);
            squaresA += (ranksA[i] - mean) * (ranksA[i] - mean);
            squaresB += (ranksB[i] - mean) * (ranksB[i] - mean);
        }
        if (squaresA == 0 || squaresB == 0) {
            return Double.NaN;
        }
        return Math.clamp(products / Math.sqrt(squaresA * squaresB), -1.0, 1.0);
    }

    /// Each value's rank, from 1; equal values share the mean of their ranks.
    public static double[] ranks(double[] values) {
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        double[] ranks = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            int below = 0;
            int equal = 0;
            for (double other : sorted) {
                if (other < values[i]) {
                    below++;
                } else if (other == values[i]) {
                    equal++;
                }
            }
            ranks[i] = below + (equal + 1) / 2.0;
        }
        return ranks;
    }
}
