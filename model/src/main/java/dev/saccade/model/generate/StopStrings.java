package dev.saccade.model.generate;

import java.util.List;
import org.jspecify.annotations.Nullable;

/// Cuts a text that arrives in parts at the first of some strings, wherever they are cut into
/// parts. What could still become one of them is held back until it is certain.
final class StopStrings {
    private final List<String> stops;
    private final StringBuilder waiting = new StringBuilder();
    private @Nullable String found;

    /// @param stops none of them empty
    StopStrings(List<String> stops) {
        if (stops.stream().anyMatch(String::isEmpty)) {
            throw new IllegalArgumentException("an empty stop string");
        }
        this.stops = List.copyOf(stops);
    }

    /// The string that the text has been cut at; null as long as there is none.
    @Nullable String found() {
        return found;
    }

    /// Takes the text's next part; returns what certainly belongs to the text before the cut.
    String accept(String part) {
        if (found != null) {
            return "";
        }
        waiting.append(part);
        int cut = waiting.length();
        for (String stop : stops) {
            int at = waiting.indexOf(stop);
            if (at >= 0 && (found == null || at < cut)) {
                found = stop;
                cut = at;
            }
        }
        if (found == null) {
            cut -= undecided();
        }
        String certain = waiting.substring(0, cut);
        if (found == null) {
            waiting.delete(0, cut);
        } else {
            waiting.setLength(0);
        }
        return certain;
    }

    /// What was held back at the text's end.
    String finish() {
        String rest = waiting.toString();
        waiting.setLength(0);
        return rest;
    }

    /// The length of the longest end that a stop string begins with.
    private int undecided() {
        int longest = 0;
        for (String stop : stops) {
            int most = Math.min(stop.length() - 1, waiting.length());
            for (int length = most; length > longest; length--) {
                if (stop.startsWith(waiting.substring(waiting.length() - length))) {
                    longest = length;
                }
            }
        }
        return longest;
    }
}
