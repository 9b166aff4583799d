package dev.saccade.rl.report;

import java.util.Locale;

/// How the report writes numbers. A narrow blank stands between a number and its unit.
final class Numbers {
    private static final String BLANK = "\u202f";
    private static final String UNDEFINED = "–";

    private Numbers() {}

    /// A share as a percentage with one decimal.
    static String percent(double share) {
        return Double.isFinite(share) ? fixed(100 * share, 1) + BLANK + "%" : UNDEFINED;
    }

    /// A difference of shares in percentage points, with its sign.
    static String points(double difference) {
        return Double.isFinite(difference) ? signed(100 * difference, 1) : UNDEFINED;
    }

    /// With a sign; a difference that is shown as 0 has none.
    static String signed(double value, int decimals) {
        String text = fixed(value, decimals);
        boolean zero = text.chars().noneMatch(digit -> digit >= '1' && digit <= '9');
        if (zero) {
            return "±" + text.replace("−", "");
        }
        return value > 0 ? "+" + text : text;
    }

    /// With a number of decimals and a real minus sign.
    static String fixed(double value, int decimals) {
        return Double.isFinite(value)
                ? String.format(Locale.ROOT, "%." + decimals + "f", value).replace('-', '−')
                : UNDEFINED;
    }

    /// With at most three significant digits: `0.0123`, `1.2`, `1,230`, `2.1e−7`.
    static String significant(double value) {
        if (!Double.isFinite(value)) {
            return UNDEFINED;
        }
        double size = Math.abs(value);
        if (size == 0) {
            return "0";
        }
        if (size >= 1e7 || size < 1e-4) {
            String text = String.format(Locale.ROOT, "%.1e", value);
            int e = text.indexOf('e');
            return (text.substring(0, e) + "e" + Integer.parseInt(text.substring(e + 1)))
                    .replace('-', '−');
        }
        if (size >= 1000) {
            return String.format(Locale.ROOT, "%,.0f", value).replace('-', '−');
        }
        int decimals = Math.clamp(2 - (int) Math.floor(Math.log10(size)), 0, 6);
        String text = fixed(value, decimals);
        return text.contains(".") ? text.replaceFirst("\\.?0+$", "") : text;
    }

    /// A whole number with separators.
    static String whole(long value) {
        return String.format(Locale.ROOT, "%,d", value).replace('-', '−');
    }

    /// A count in thousands, millions, billions.
    static String compact(long count) {
        if (count >= 1_000_000_000) {
            return significant(count / 1e9) + BLANK + "B";
        }
        if (count >= 1_000_000) {
            return significant(count / 1e6) + BLANK + "M";
        }
        return count >= 10_000 ? significant(count / 1e3) + BLANK + "k" : whole(count);
    }

    /// A duration: `12.3 s`, `4 min 12 s`, `2 h 5 min`.
    static String duration(double seconds) {
        if (!Double.isFinite(seconds) || seconds < 0) {
            return UNDEFINED;
        }
        if (seconds < 60) {
            return fixed(seconds, seconds < 10 ? 1 : 0) + BLANK + "s";
        }
        long whole = Math.round(seconds);
        if (whole < 3600) {
            return whole / 60 + BLANK + "min " + whole % 60 + BLANK + "s";
        }
        return whole / 3600 + BLANK + "h " + whole % 3600 / 60 + BLANK + "min";
    }

    /// A coordinate for SVG.
    static String coordinate(double value) {
        String text = String.format(Locale.ROOT, "%.1f", value);
        return text.endsWith(".0") ? text.substring(0, text.length() - 2) : text;
    }
}
