package dev.saccade.bench;

import java.util.LinkedHashMap;
import java.util.Map;

/// How far a case's results are from exact ones, and how far they may be: relative Frobenius norms
/// over the elements that were compared.
///
/// @param error `|got - exact| / |exact|`
/// @param allowed the same of the deviations that the comparison allows, element by element
record Accuracy(double error, double allowed) {
    /// Of what nothing is known of.
    static final Accuracy UNKNOWN = new Accuracy(Double.NaN, Double.NaN);

    boolean isKnown() {
        return !Double.isNaN(error);
    }

    /// Adds up what is compared. A case with several results (a gradient beside a value, statistics
    /// beside an output) has a norm for each of them: one would hide the small behind the large.
    static final class Sums {
        private final Map<String, double[]> byResult = new LinkedHashMap<>();

        /// An element was compared.
        ///
        /// @param what the element, its result's name first: `y[3, 4]`, `lse of row 7`
        void add(String what, double got, double exact, double allowed) {
            double[] squares = byResult.computeIfAbsent(result(what), _ -> new double[3]);
            squares[0] += (got - exact) * (got - exact);
            squares[1] += allowed * allowed;
            squares[2] += exact * exact;
        }

        /// What comes before the first index.
        private static String result(String what) {
            int end = 0;
            while (end < what.length() && !Character.isDigit(what.charAt(end))) {
                end++;
            }
            return what.substring(0, end);
        }

        /// That of the result which uses most of what it is allowed; and begins anew.
        Accuracy take() {
            Accuracy worst = UNKNOWN;
            for (double[] squares : byResult.values()) {
                // A result of zeros has no relative error: its absolute one stands for it.
                double scale = squares[2] == 0 ? 1 : Math.sqrt(squares[2]);
                double error = Math.sqrt(squares[0]) / scale;
                double allowed = Math.sqrt(squares[1]) / scale;
                if (!worst.isKnown() || error * worst.allowed > worst.error * allowed) {
                    worst = new Accuracy(error, allowed);
                }
            }
            byResult.clear();
            return worst;
        }
    }
}
