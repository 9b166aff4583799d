package dev.saccade.rl.reward;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Finds `\boxed{...}` in a text. Braces nest; `\{` and `\}` are characters of the answer.
final class Boxed {
    private static final String COMMAND = "\\boxed";

    /// Where one stands.
    ///
    /// @param begin where its backslash is
    /// @param content what its braces hold; null when they never close
    record Occurrence(int begin, @Nullable String content) {}

    private Boxed() {}

    /// Every `\boxed` of a text in order, those without braces excluded. What stands inside another
    /// one's braces is part of its content.
    static List<Occurrence> all(String text) {
        List<Occurrence> found = new ArrayList<>();
        int begin = text.indexOf(COMMAND);
        while (begin >= 0) {
            int open = skipBlanks(text, begin + COMMAND.length());
            int next = begin + COMMAND.length();
            if (open < text.length() && text.charAt(open) == '{') {
                int close = closing(text, open);
                found.add(
                        new Occurrence(begin, close < 0 ? null : text.substring(open + 1, close)));
                next = close < 0 ? text.length() : close + 1;
            }
            begin = text.indexOf(COMMAND, next);
        }
        return found;
    }

    /// The content of the last one; null when there is none, or when it is cut off.
    static @Nullable String last(String text) {
        List<Occurrence> found = all(text);
        return found.isEmpty() ? null : found.getLast().content();
    }

    private static int skipBlanks(String text, int from) {
        int at = from;
        while (at < text.length() && Character.isWhitespace(text.charAt(at))) {
            at++;
        }
        return at;
    }

    /// The brace that closes the one at `open`; -1 when none does.
    static int closing(String text, int open) {
        int depth = 0;
        for (int at = open; at < text.length(); at++) {
            switch (text.charAt(at)) {
                case '\\' -> at++;
                case '{' -> depth++;
                case '}' -> {
                    depth--;
                    if (depth == 0) {
                        return at;
                    }
                }
                default -> {}
            }
        }
        return -1;
    }
}
