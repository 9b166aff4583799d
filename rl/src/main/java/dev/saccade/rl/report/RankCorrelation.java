package dev.saccade.rl.report;

import dev.saccade.rl.entropy.EntropyStatistics;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;

/// A rank correlation and how much it says.
///
/// @param value Spearman's; NaN when undefined
/// @param count of how many pairs
/// @param chance how often shuffled pairs give at least as large a one; NaN when undefined
record RankCorrelation(double value, int count, double chance) {
    private static final int SHUFFLES = 20_000;

    /// Fewer than these say nothing at all.
    static final int FEWEST = 4;

    static RankCorrelation of(double[] a, double[] b) {
        double value = EntropyStatistics.rankCorrelation(a, b);
        return new RankCorrelation(
                value, a.length, Double.isNaN(value) ? Double.NaN : chance(a, b));
    }

    /// By shuffling with fixed random numbers, so that a report can be made again. Shuffled pairs
    /// have the same ranks, so only the sum of their products differs.
    private static double chance(double[] a, double[] b) {
        RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(1);
        double[] ranksA = EntropyStatistics.ranks(a);
        double[] shuffled = EntropyStatistics.ranks(b);
        double least = Math.abs(products(ranksA, shuffled)) - 1e-9 * a.length;
        int asLarge = 0;
        for (int round = 0; round < SHUFFLES; round++) {
            for (int i = shuffled.length - 1; i > 0; i--) {
                int j = random.nextInt(i + 1);
                double other = shuffled[i];
                shuffled[i] = shuffled[j];
                shuffled[j] = other;
            }
            if (Math.abs(products(ranksA, shuffled)) >= least) {
                asLarge++;
            }
        }
        return (double) asLarge / SHUFFLES;
    }

    private static double products(double[] ranksA, double[] ranksB) {
        double mean = (ranksA.length + 1) / 2.0;
        double sum = 0;
        for (int i = 0; i < ranksA.length; i++) {
            sum += (ranksA[i] - mean) * (ranksB[i] - mean);
        }
        return sum;
    }

    /// What it says, in words that do not promise more.
    String describe() {
        if (Double.isNaN(value)) {
            return count < 2
                    ? "undefined: there are fewer than two such checkpoints"
                    : "undefined: all %d have the same entropy or the same accuracy"
                            .formatted(count);
        }
        if (count < FEWEST) {
            return "%d checkpoints are too few for it to say anything".formatted(count);
        }
        double size = Math.abs(value);
        String strength =
                size < 0.2
                        ? "none to speak of"
                        : size < 0.4 ? "weak" : size < 0.7 ? "moderate" : "strong";
        String direction =
                size < 0.2
                        ? ""
                        : value > 0
                                ? ", in the report's direction: more entropy at critical tokens"
                                        + " goes with higher accuracy"
                                : ", against the report's claim: more entropy at critical tokens"
                                        + " goes with lower accuracy";
        String luck =
                chance < 0.0005
                        ? "pairs shuffled at random reach it in fewer than 1 case of 2,000"
                        : "pairs shuffled at random reach it in %s of the cases"
                                .formatted(Numbers.percent(chance));
        return strength + direction + "; " + luck;
    }
}
