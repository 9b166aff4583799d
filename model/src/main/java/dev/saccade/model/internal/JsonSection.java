package dev.saccade.model.internal;

import dev.saccade.engine.InputException;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// One object of a configuration file. Keys that nobody asks for are left alone; what is missing or
/// of the wrong type is an [InputException] that names the file and the key.
public final class JsonSection {
    private final String source;
    private final String path;
    private final JsonNode node;

    /// @param source the file's name, for messages
    /// @param path the section's path inside the file with a dot behind it, or nothing at the top
    /// @param node the object
    public JsonSection(String source, String path, JsonNode node) {
        this.source = source;
        this.path = path;
        this.node = node;
        if (!node.isObject()) {
            throw new InputException(
                    source,
                    (path.isEmpty() ? "the file" : path.substring(0, path.length() - 1))
                            + " is not a JSON object",
                    "use the config.json that came with the checkpoint");
        }
    }

    /// Whether the key is there and not null.
    public boolean has(String key) {
        return find(key) != null;
    }

    /// The object under `key`.
    public JsonSection section(String key) {
        return new JsonSection(source, path + key + ".", required(key));
    }

    /// The whole number under `key`.
    public int integer(String key) {
        return integer(key, required(key));
    }

    /// The whole number under `key`, or `fallback` where there is none.
    public int integer(String key, int fallback) {
        JsonNode value = find(key);
        return value == null ? fallback : integer(key, value);
    }

    /// The number under `key`.
    public double number(String key) {
        return number(key, required(key));
    }

    /// The number under `key`, or `fallback` where there is none.
    public double number(String key, double fallback) {
        JsonNode value = find(key);
        return value == null ? fallback : number(key, value);
    }

    /// The truth value under `key`.
    public boolean truth(String key) {
        return truth(key, required(key));
    }

    /// The truth value under `key`, or `fallback` where there is none.
    public boolean truth(String key, boolean fallback) {
        JsonNode value = find(key);
        return value == null ? fallback : truth(key, value);
    }

    /// The text under `key`, or `fallback` where there is none.
    public String text(String key, String fallback) {
        JsonNode value = find(key);
        if (value == null) {
            return fallback;
        }
        if (!value.isString()) {
            throw wrongType(key, value, "text");
        }
        return value.stringValue();
    }

    /// A size that may be written as a number or as two equal ones, `[448, 448]`.
    public int squareSize(String key) {
        JsonNode value = required(key);
        if (!value.isArray()) {
            return integer(key, value);
        }
        if (value.size() != 2) {
            throw wrongType(key, value, "a number or two");
        }
        int height = integer(key, value.get(0));
        int width = integer(key, value.get(1));
        if (height != width) {
            throw unsupported(key, value.toString(), "a square size");
        }
        return height;
    }

    /// The whole numbers of the list under `key`; none where there is no list.
    public int[] integers(String key) {
        JsonNode value = find(key);
        if (value == null) {
            return new int[0];
        }
        if (!value.isArray()) {
            throw wrongType(key, value, "a list of whole numbers");
        }
        int[] result = new int[value.size()];
        for (int i = 0; i < result.length; i++) {
            result[i] = integer(key, value.get(i));
        }
        return result;
    }

    /// The error for a value that is well-formed but not what this engine can run.
    public InputException unsupported(String key, String value, String supported) {
        return new InputException(
                source,
                "%s%s is %s, which is not supported".formatted(path, key, value),
                "it has to be " + supported);
    }

    private JsonNode required(String key) {
        JsonNode value = find(key);
        if (value == null) {
            throw new InputException(
                    source,
                    "%s%s is missing".formatted(path, key),
                    "use the config.json that came with the checkpoint");
        }
        return value;
    }

    private @Nullable JsonNode find(String key) {
        JsonNode value = node.get(key);
        return value == null || value.isNull() ? null : value;
    }

    private int integer(String key, JsonNode value) {
        if (!value.isIntegralNumber() || !value.canConvertToInt()) {
            throw wrongType(key, value, "a whole number");
        }
        return value.intValue();
    }

    private double number(String key, JsonNode value) {
        if (!value.isNumber()) {
            throw wrongType(key, value, "a number");
        }
        return value.doubleValue();
    }

    private boolean truth(String key, JsonNode value) {
        if (!value.isBoolean()) {
            throw wrongType(key, value, "true or false");
        }
        return value.booleanValue();
    }

    private InputException wrongType(String key, JsonNode value, String expected) {
        return new InputException(
                source,
                "%s%s is %s".formatted(path, key, abbreviated(value.toString())),
                "it has to be " + expected);
    }

    private static String abbreviated(String json) {
        return json.length() <= 60 ? json : json.substring(0, 57) + "...";
    }
}
