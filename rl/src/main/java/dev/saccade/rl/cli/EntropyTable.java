package dev.saccade.rl.cli;

import dev.saccade.rl.evaluation.Evaluation;
import dev.saccade.rl.recipe.EntropyRecipe;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The entropies of an evaluation as a table: over everything, by data source, and of right and
/// wrong answers, each over all tokens, where a critical one was emitted, and where one was
/// possible.
final class EntropyTable {
    /// A column: its head, the metric behind it around a row's name, and how a value is written.
    private record Column(String head, String before, String after, String format, double scale) {
        String cell(Map<String, Double> metrics, String row) {
            @Nullable Double value = metrics.get(before + row + after);
            return value == null ? "-" : String.format(Locale.ROOT, format, scale * value);
        }
    }

    private EntropyTable() {}

    private static List<Column> columns(double threshold) {
        String above = threshold == Math.rint(threshold) ? "%.0f" : "%s";
        String head = ">" + String.format(Locale.ROOT, above, threshold) + ",%";
        return List.of(
                new Column("nats", "entropy/", "mean", "%.3f", 1),
                new Column(head, "entropy/above_threshold/", "share", "%.2f", 100),
                new Column("nats", "entropy/critical/", "mean", "%.3f", 1),
                new Column("tokens", "entropy/critical/", "count", "%.0f", 1),
                new Column("answers,%", "entropy/critical/", "share", "%.1f", 100),
                new Column(head, "entropy/critical/above_threshold/", "share", "%.2f", 100),
                new Column("nats", "entropy/critical_possible/", "mean", "%.3f", 1),
                new Column("tokens", "entropy/critical_possible/", "count", "%.0f", 1),
                new Column("answers,%", "entropy/critical_possible/", "share", "%.1f", 100),
                new Column("mass", "entropy/critical_mass/", "mean", "%.4f", 1));
    }

    /// The table's lines, the words and what the columns mean above it. What is undefined, as the
    /// mean over no token, is `-`.
    static List<String> lines(Evaluation evaluation, EntropyRecipe entropy) {
        List<Column> columns = columns(entropy.threshold());
        List<String> lines = new ArrayList<>();
        lines.add("");
        lines.add(
                String.format(
                        Locale.ROOT,
                        "entropy of sampled tokens; critical: %s; possible: more probable than %s",
                        String.join(", ", entropy.criticalWords()),
                        entropy.criticalMass()));
        lines.add(String.format("%-16s%20s%40s%30s", "", "all tokens", "critical", "possible"));
        StringBuilder head = new StringBuilder(cell("", 16));
        columns.forEach(column -> head.append(' ').append(right(column.head())));
        lines.add(head.toString());
        Map<String, Double> metrics = evaluation.metrics();
        lines.add(line(columns, metrics, Evaluation.ALL, ""));
        evaluation.accuracy().keySet().stream()
                .filter(source -> !source.equals(Evaluation.ALL))
                .forEach(source -> lines.add(line(columns, metrics, source, source + "/")));
        lines.add(line(columns, metrics, "right answers", "correct/"));
        lines.add(line(columns, metrics, "wrong answers", "incorrect/"));
        return lines;
    }

    private static String line(
            List<Column> columns, Map<String, Double> metrics, String name, String row) {
        StringBuilder line = new StringBuilder(cell(name, 16));
        columns.forEach(column -> line.append(' ').append(right(column.cell(metrics, row))));
        return line.toString();
    }

    private static String cell(String text, int width) {
        return String.format("%-" + width + "s", text);
    }

    private static String right(String text) {
        return String.format("%9s", text);
    }
}
