package dev.saccade.rl.report;

import java.util.ArrayList;
import java.util.List;

/// An axis of values with ticks at round numbers.
///
/// @param low its lower end
/// @param high its upper end
/// @param logarithmic whether equal distances are equal ratios
/// @param ticks the values that are labelled
record ValueAxis(double low, double high, boolean logarithmic, List<Double> ticks) {

    /// A linear axis that holds a range.
    ///
    /// @param count about how many ticks
    static ValueAxis linear(double min, double max, int count) {
        double span = max - min;
        if (!(span > 0)) {
            double around = Math.max(Math.abs(min) * 0.1, 1e-3);
            return linear(min - around, max + around, count);
        }
        double raw = span / count;
        double power = Math.pow(10, Math.floor(Math.log10(raw)));
        double step = power * (raw <= power ? 1 : raw <= 2 * power ? 2 : raw <= 5 * power ? 5 : 10);
        long first = (long) Math.floor(min / step + 1e-9);
        long last = (long) Math.ceil(max / step - 1e-9);
        List<Double> ticks = new ArrayList<>();
        for (long i = first; i <= last; i++) {
            ticks.add(i * step);
        }
        return new ValueAxis(first * step, last * step, false, ticks);
    }

    /// A logarithmic axis that holds a range above 0.
    static ValueAxis logarithmic(double min, double max) {
        double[] mantissas = Math.log10(max / min) > 3 ? new double[] {1} : new double[] {1, 3};
        List<Double> candidates = new ArrayList<>();
        int from = (int) Math.floor(Math.log10(min)) - 1;
        int to = (int) Math.ceil(Math.log10(max)) + 1;
        for (int power = from; power <= to; power++) {
            for (double mantissa : mantissas) {
                candidates.add(mantissa * Math.pow(10, power));
            }
        }
        List<Double> ticks = new ArrayList<>();
        for (int i = 0; i < candidates.size(); i++) {
            boolean below = i + 1 < candidates.size() && candidates.get(i + 1) <= min;
            boolean above = i > 0 && candidates.get(i - 1) >= max;
            if (!below && !above) {
                ticks.add(candidates.get(i));
            }
        }
        return new ValueAxis(ticks.getFirst(), ticks.getLast(), true, ticks);
    }

    /// Where a value is between the ends, from 0 to 1.
    double position(double value) {
        return logarithmic
                ? Math.log(Math.max(value, low) / low) / Math.log(high / low)
                : (value - low) / (high - low);
    }
}
