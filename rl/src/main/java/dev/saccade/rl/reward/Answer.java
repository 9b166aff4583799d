package dev.saccade.rl.reward;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// An answer as it was understood.
sealed interface Answer {
    /// Deeper brackets are text.
    int DEEPEST = 8;

    /// A number, see [NumberReader].
    record Numeric(NumberReader.Quantity quantity) implements Answer {}

    /// One of the choices that a question offered.
    record Choice(char letter) implements Answer {}

    /// Several answers.
    ///
    /// @param open its opening bracket; a blank for a list without brackets
    /// @param close its closing bracket
    record Several(char open, char close, List<Answer> items) implements Answer {
        boolean isSet() {
            return open == '{';
        }

        boolean isBare() {
            return open == ' ';
        }
    }

    /// Anything else, in its normal form.
    record Text(String text) implements Answer {}

    Pattern BARE_CHOICE =
            Pattern.compile(
                    "(?i:(?:the )?(?:correct )?(?:answer|option|choice)(?: is)?:? ?)?"
                            + "[(\\[\"']?([A-Ja-j])[)\\]\"']?[.):]?");
    Pattern CHOICE_WITH_TEXT =
            Pattern.compile(
                    "(?:\\(([A-J])\\) ?|([A-J])[.):] )(?!(?:and|or|&|,)\\b)(?!.*\\([A-J]\\)).+");
    Pattern ASSIGNMENT = Pattern.compile("([A-Za-z](?:_\\{?\\w{1,8}\\}?)?) ?= ?(?=[^=])");

    /// Reads an answer.
    static Answer parse(String raw) {
        if (raw.length() > AnswerText.LONGEST) {
            return new Text(raw.strip());
        }
        @Nullable String boxed = Boxed.last(raw);
        return parse(AnswerText.clean(boxed == null ? raw : boxed), 0);
    }

    private static Answer parse(String clean, int depth) {
        Matcher assignment = ASSIGNMENT.matcher(clean);
        if (assignment.lookingAt()) {
            Answer value = parse(clean.substring(assignment.end()), depth);
            if (value instanceof Numeric || value instanceof Several) {
                return value;
            }
        }
        Matcher choice = BARE_CHOICE.matcher(clean);
        if (choice.matches()) {
            return new Choice(Character.toUpperCase(choice.group(1).charAt(0)));
        }
        NumberReader.@Nullable Quantity number = NumberReader.read(clean);
        if (number != null) {
            return new Numeric(number);
        }
        @Nullable Answer several = depth < DEEPEST ? several(clean, depth) : null;
        if (several != null) {
            return several;
        }
        choice = CHOICE_WITH_TEXT.matcher(clean);
        if (choice.matches()) {
            String letter = choice.group(1) == null ? choice.group(2) : choice.group(1);
            return new Choice(letter.charAt(0));
        }
        return new Text(AnswerText.normal(clean));
    }

    private static @Nullable Answer several(String clean, int depth) {
        if (clean.length() >= 2
                && closingOf(clean.charAt(0)).indexOf(clean.charAt(clean.length() - 1)) >= 0) {
            @Nullable List<String> inner = AnswerText.split(clean.substring(1, clean.length() - 1));
            if (inner != null) {
                char open = clean.charAt(0);
                // Brackets around one thing only hold it together.
                return inner.size() == 1 && open != '['
                        ? parse(inner.getFirst().strip(), depth + 1)
                        : new Several(
                                open, clean.charAt(clean.length() - 1), parseAll(inner, depth));
            }
        }
        @Nullable List<String> bare = AnswerText.split(clean);
        return bare == null || bare.size() == 1
                ? null
                : new Several(' ', ' ', parseAll(bare, depth));
    }

    /// What may close a bracket: intervals are half open.
    private static String closingOf(char open) {
        return switch (open) {
            case '{' -> "}";
            case '(', '[' -> ")]";
            default -> "";
        };
    }

    private static List<Answer> parseAll(List<String> items, int depth) {
        List<Answer> answers = new ArrayList<>();
        for (String item : items) {
            answers.add(parse(item.strip(), depth + 1));
        }
        return answers;
    }

    /// Whether two answers are the same.
    default boolean matches(Answer other) {
        if (this instanceof Numeric a && other instanceof Numeric b) {
            return a.quantity().matches(b.quantity());
        }
        if (this instanceof Several a && other instanceof Several b) {
            return matches(a, b);
        }
        return equals(other);
    }

    private static boolean matches(Several a, Several b) {
        if (a.items().size() != b.items().size()) {
            return false;
        }
        if (a.isSet() || b.isSet()) {
            return (a.isSet() || a.isBare()) && (b.isSet() || b.isBare()) && sameItems(a, b);
        }
        boolean sameBrackets = a.open() == b.open() && a.close() == b.close();
        if (!sameBrackets && !a.isBare() && !b.isBare()) {
            return false;
        }
        for (int i = 0; i < a.items().size(); i++) {
            if (!a.items().get(i).matches(b.items().get(i))) {
                return false;
            }
        }
        return true;
    }

    /// Whether each item has a partner. Which partner does not matter as long as equality is
    /// transitive, which only missing units and percent signs could spoil.
    private static boolean sameItems(Several a, Several b) {
        List<Answer> rest = new ArrayList<>(b.items());
        for (Answer item : a.items()) {
            boolean found = false;
            for (int i = 0; i < rest.size() && !found; i++) {
                if (item.matches(rest.get(i))) {
                    rest.remove(i);
                    found = true;
                }
            }
            if (!found) {
                return false;
            }
        }
        return true;
    }
}
