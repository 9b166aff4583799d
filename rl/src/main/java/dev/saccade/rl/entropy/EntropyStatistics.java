package dev.saccade.rl.entropy;

import dev.saccade.model.chat.CriticalTokens;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;

/// Adds up the entropies of sampled responses: over all tokens, and over the critical ones alone,
/// by data source and by whether the answer was right.
///
/// A token's entropy is that of the distribution it was sampled from, in nats. The mean of critical
/// entropy is over all critical tokens of all responses, each token once. What is undefined, as the
/// mean over no token, is left out of the metrics.
public final class EntropyStatistics {
    /// The width of the histogram's bins, in nats.
    public static final double BIN_NATS = 0.25;

    /// How many bins there are: 0 to 12 nats. The last one also counts what is above.
    public static final int BINS = 48;

    private static final class Sums {
        double entropy;
        long tokens;
        double criticalEntropy;
        long criticalTokens;
        long responses;
        long responsesWithCritical;

        void put(Map<String, Double> metrics, String prefix, String part) {
            if (tokens > 0) {
                metrics.put(prefix + "entropy/" + part + "mean", entropy / tokens);
            }
            if (criticalTokens > 0) {
                metrics.put(
                        prefix + "entropy/critical/" + part + "mean",
                        criticalEntropy / criticalTokens);
            }
            metrics.put(prefix + "entropy/critical/" + part + "count", (double) criticalTokens);
            if (responses > 0) {
                metrics.put(
                        prefix + "entropy/critical/" + part + "share",
                        (double) responsesWithCritical / responses);
            }
        }
    }

    private final CriticalTokens critical;
    private final double threshold;
    private final Sums all = new Sums();
    private final Sums correct = new Sums();
    private final Sums incorrect = new Sums();
    private final Map<String, Sums> bySource = new TreeMap<>();
    private final long[] histogram = new long[BINS];
    private long aboveThreshold;

    /// Empty statistics.
    ///
    /// @param threshold tokens above this entropy are counted, in nats; the report uses 6.8
    public EntropyStatistics(CriticalTokens critical, double threshold) {
        this.critical = critical;
        this.threshold = threshold;
    }

    /// Adds a response.
    ///
    /// @param isCorrect whether its answer was right
    /// @param tokens its token ids
    /// @param entropies their entropies in nats
    public void add(String dataSource, boolean isCorrect, int[] tokens, float[] entropies) {
        if (tokens.length != entropies.length) {
            throw new IllegalArgumentException(
                    tokens.length + " tokens, " + entropies.length + " entropies");
        }
        boolean[] marks = critical.mark(tokens);
        Sums response = new Sums();
        response.responses = 1;
        for (int t = 0; t < tokens.length; t++) {
            double entropy = entropies[t];
            if (!Double.isFinite(entropy)) {
                throw new IllegalArgumentException("the entropy of token " + t + " is " + entropy);
            }
            response.entropy += entropy;
            response.tokens++;
            if (marks[t]) {
                response.criticalEntropy += entropy;
                response.criticalTokens++;
                response.responsesWithCritical = 1;
            }
            if (entropy > threshold) {
                aboveThreshold++;
            }
            histogram[Math.clamp((long) (entropy / BIN_NATS), 0, BINS - 1)]++;
        }
        addTo(all, response);
        addTo(isCorrect ? correct : incorrect, response);
        addTo(bySource.computeIfAbsent(dataSource, _ -> new Sums()), response);
    }

    private static void addTo(Sums sums, Sums response) {
        sums.entropy += response.entropy;
        sums.tokens += response.tokens;
        sums.criticalEntropy += response.criticalEntropy;
        sums.criticalTokens += response.criticalTokens;
        sums.responses += response.responses;
        sums.responsesWithCritical += response.responsesWithCritical;
    }

    /// Tokens by entropy: bin `i` counts those from `i` to `i + 1` times [#BIN_NATS].
    public long[] histogram() {
        return Arrays.copyOf(histogram, BINS);
    }

    /// The numbers by name: `entropy/mean`, `entropy/above_threshold/share`,
    /// `entropy/critical/mean`, `.../count` (tokens) and `.../share` (of responses with one), and
    /// each of these with `correct/`, `incorrect/` or `{data_source}/` before the last part.
    ///
    /// @param prefix comes before each name; may be empty
    public Map<String, Double> toMetrics(String prefix) {
        Map<String, Double> metrics = new LinkedHashMap<>();
        all.put(metrics, prefix, "");
        if (all.tokens > 0) {
            metrics.put(
                    prefix + "entropy/above_threshold/share", (double) aboveThreshold / all.tokens);
        }
        bySource.forEach((source, sums) -> sums.put(metrics, prefix, source + "/"));
        correct.put(metrics, prefix, "correct/");
        incorrect.put(metrics, prefix, "incorrect/");
        return metrics;
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
