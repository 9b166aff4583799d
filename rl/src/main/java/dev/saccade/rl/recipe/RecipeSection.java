package dev.saccade.rl.recipe;

import dev.saccade.engine.InputException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// One section of a recipe while it is bound to a record: typed, ranged access to its keys. A key
/// that the section does not have is refused first, with the nearest one that it has.
final class RecipeSection {
    /// What is written for a choice that is left to the machine.
    static final String AUTO = "auto";

    private final String path;
    private final String place;
    private final Map<String, RecipeNode> entries;

    private RecipeSection(String path, String place, Map<String, RecipeNode> entries) {
        this.path = path;
        this.place = place;
        this.entries = entries;
    }

    /// A section that may hold `keys` and nothing else.
    ///
    /// @param path its name in messages, empty for the whole recipe
    static RecipeSection of(RecipeNode node, String path, String... keys) {
        if (node instanceof RecipeNode.Scalar(var text, var where) && text == null) {
            return new RecipeSection(path, where, Map.of());
        }
        if (!(node instanceof RecipeNode.Mapping mapping)) {
            throw new InputException(
                    node.place(),
                    name(path) + " is " + node.kind() + ", not a section",
                    "write 'key: value' lines below it, with some of: " + String.join(", ", keys));
        }
        List<String> known = Arrays.asList(keys);
        for (String key : mapping.entries().keySet()) {
            if (!known.contains(key)) {
                String where = mapping.keyPlaces().getOrDefault(key, mapping.place());
                throw new InputException(
                        where,
                        "unknown key '" + (path.isEmpty() ? key : path + "." + key) + "'",
                        "did you mean '" + nearest(key, known) + "'?");
            }
        }
        return new RecipeSection(path, mapping.place(), mapping.entries());
    }

    private static String name(String path) {
        return path.isEmpty() ? "the recipe" : "'" + path + "'";
    }

    private String pathOf(String key) {
        return path.isEmpty() ? key : path + "." + key;
    }

    /// Where the section stands.
    String place() {
        return place;
    }

    /// Where a key's value stands, or the section where the key is left out.
    String place(String key) {
        RecipeNode node = entries.get(key);
        return node == null ? place : node.place();
    }

    /// Whether the key is there with a value.
    boolean has(String key) {
        RecipeNode node = entries.get(key);
        return node != null && !(node instanceof RecipeNode.Scalar(var text, _) && text == null);
    }

    private @Nullable String scalar(String key) {
        RecipeNode node = entries.get(key);
        return switch (node) {
            case null -> null;
            case RecipeNode.Scalar scalar -> scalar.text();
            case RecipeNode other ->
                    throw wrong(key, other.kind() + " where one value belongs", "write one value");
        };
    }

    /// An error about a key's value.
    InputException wrong(String key, String why, String cure) {
        return new InputException(place(key), "'" + pathOf(key) + "' is " + why, cure);
    }

    /// A text; null where the key is left out.
    @Nullable String optionalText(String key) {
        return scalar(key);
    }

    /// A text, or the default.
    String text(String key, String otherwise) {
        String text = scalar(key);
        return text == null ? otherwise : text;
    }

    /// A text that must be there.
    String text(String key) {
        String text = scalar(key);
        if (text == null || text.isBlank()) {
            throw missing(key);
        }
        return text;
    }

    private InputException missing(String key) {
        return new InputException(place, "'" + pathOf(key) + "' is missing", "add it");
    }

    /// A whole number that must be there, in a range.
    int integer(String key, int least, int most) {
        if (!has(key)) {
            throw missing(key);
        }
        return integer(key, 0, least, most);
    }

    /// A whole number in a range, or the default.
    int integer(String key, int otherwise, int least, int most) {
        return (int) whole(key, otherwise, least, most);
    }

    /// A whole number in a range, or the default.
    long whole(String key, long otherwise, long least, long most) {
        String text = scalar(key);
        if (text == null) {
            return otherwise;
        }
        long value;
        try {
            value = Long.parseLong(text.replace("_", ""));
        } catch (NumberFormatException _) {
            throw wrong(
                    key,
                    "'" + text + "', not a whole number",
                    "write a whole number from " + least + " to " + most);
        }
        if (value < least || value > most) {
            throw wrong(key, text + ", out of range", "use " + least + " to " + most);
        }
        return value;
    }

    /// A number in a range (both ends allowed), or the default.
    double number(String key, double otherwise, double least, double most) {
        String text = scalar(key);
        if (text == null) {
            return otherwise;
        }
        return number(key, text, least, most);
    }

    /// A number that must be there.
    double number(String key, double least, double most) {
        String text = scalar(key);
        if (text == null) {
            throw missing(key);
        }
        return number(key, text, least, most);
    }

    private double number(String key, String text, double least, double most) {
        double value;
        try {
            value = Double.parseDouble(text);
        } catch (NumberFormatException _) {
            throw wrong(
                    key,
                    "'" + text + "', not a number",
                    "write a number from " + least + " to " + most);
        }
        if (!(value >= least && value <= most)) {
            throw wrong(key, text + ", out of range", "use " + least + " to " + most);
        }
        return value;
    }

    /// true or false, or the default.
    boolean flag(String key, boolean otherwise) {
        String text = scalar(key);
        if (text == null) {
            return otherwise;
        }
        return switch (text.toLowerCase(Locale.ROOT)) {
            case "true" -> true;
            case "false" -> false;
            default -> throw wrong(key, "'" + text + "', not true or false", "write true or false");
        };
    }

    /// One of the names, or the default.
    <T> T choice(String key, T otherwise, Map<String, T> names) {
        String text = scalar(key);
        return text == null ? otherwise : choose(key, text, names);
    }

    /// One of the names; it must be there.
    <T> T choice(String key, Map<String, T> names) {
        return choose(key, text(key), names);
    }

    private <T> T choose(String key, String text, Map<String, T> names) {
        T value = names.get(text);
        if (value == null) {
            throw wrong(
                    key,
                    "'" + text + "', which is not known",
                    "did you mean '"
                            + nearest(text, names.keySet())
                            + "'? There are: "
                            + String.join(", ", names.keySet()));
        }
        return value;
    }

    /// A list of names, or the default.
    <T> List<T> choices(String key, List<T> otherwise, Map<String, T> names) {
        if (!has(key)) {
            return otherwise;
        }
        List<T> values = new ArrayList<>();
        for (String text : texts(key, List.of())) {
            T value = choose(key, text, names);
            if (values.contains(value)) {
                throw wrong(key, "a list with '" + text + "' twice", "name each once");
            }
            values.add(value);
        }
        return List.copyOf(values);
    }

    /// A list of texts (one text alone counts as a list), or the default.
    List<String> texts(String key, List<String> otherwise) {
        RecipeNode node = entries.get(key);
        return switch (node) {
            case null -> otherwise;
            case RecipeNode.Scalar scalar ->
                    scalar.text() == null ? otherwise : List.of(scalar.text());
            case RecipeNode.Sequence sequence -> {
                List<String> texts = new ArrayList<>();
                for (RecipeNode item : sequence.items()) {
                    if (item instanceof RecipeNode.Scalar(var text, _) && text != null) {
                        texts.add(text);
                    } else {
                        throw new InputException(
                                item.place(),
                                "'" + pathOf(key) + "' holds " + item.kind() + ", not a word",
                                "write a list of words");
                    }
                }
                yield List.copyOf(texts);
            }
            case RecipeNode.Mapping _ -> throw wrong(key, "a section, not a list", "write a list");
        };
    }

    /// A list of numbers, all in a range.
    double[] numbers(String key, double[] otherwise, double least, double most) {
        if (!has(key)) {
            return otherwise;
        }
        List<String> texts = texts(key, List.of());
        double[] values = new double[texts.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = number(key, texts.get(i), least, most);
        }
        return values;
    }

    /// A section below this one; an absent one counts as empty.
    RecipeSection section(String key, String... keys) {
        RecipeNode node = entries.get(key);
        return of(node == null ? new RecipeNode.Scalar(null, place) : node, pathOf(key), keys);
    }

    /// The items of a list of sections.
    List<RecipeNode> items(String key) {
        RecipeNode node = entries.get(key);
        return switch (node) {
            case null -> throw missing(key);
            case RecipeNode.Sequence sequence when !sequence.items().isEmpty() -> sequence.items();
            case RecipeNode other ->
                    throw wrong(key, other.kind() + ", not a list", "write '- name: ...' lines");
        };
    }

    /// The candidate with the fewest edits between it and `word`.
    static String nearest(String word, Iterable<String> candidates) {
        String best = "";
        int fewest = Integer.MAX_VALUE;
        for (String candidate : candidates) {
            int edits = edits(word, candidate);
            if (edits < fewest) {
                fewest = edits;
                best = candidate;
            }
        }
        return best;
    }

    /// Levenshtein's distance.
    private static int edits(String a, String b) {
        int[] previous = new int[b.length() + 1];
        int[] current = new int[b.length() + 1];
        for (int j = 0; j <= b.length(); j++) {
            previous[j] = j;
        }
        for (int i = 1; i <= a.length(); i++) {
            current[0] = i;
            for (int j = 1; j <= b.length(); j++) {
                int replaced = previous[j - 1] + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
                current[j] = Math.min(replaced, Math.min(previous[j], current[j - 1]) + 1);
            }
            int[] swap = previous;
            previous = current;
            current = swap;
        }
        return previous[b.length()];
    }
}
