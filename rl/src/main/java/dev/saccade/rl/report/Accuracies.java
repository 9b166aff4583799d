package dev.saccade.rl.report;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import tools.jackson.databind.JsonNode;

/// Accuracies by subject out of summary.json.
///
/// @param bySubject accuracy by subject; `all` is the mean over every row
record Accuracies(Map<String, Double> bySubject) {
    static final String ALL = "all";

    static Accuracies of(JsonNode node) {
        Map<String, Double> values = new LinkedHashMap<>();
        for (Map.Entry<String, JsonNode> entry : node.properties()) {
            if (entry.getValue().isNumber()) {
                values.put(entry.getKey(), entry.getValue().asDouble(Double.NaN));
            }
        }
        return new Accuracies(values);
    }

    boolean isEmpty() {
        return bySubject.isEmpty();
    }

    /// NaN when it was not measured.
    double of(String subject) {
        return bySubject.getOrDefault(subject, Double.NaN);
    }

    double all() {
        return of(ALL);
    }

    /// The subjects without `all`, sorted.
    Set<String> subjects() {
        Set<String> subjects = new TreeSet<>(bySubject.keySet());
        subjects.remove(ALL);
        return subjects;
    }
}
