package dev.saccade.bench;

import dev.saccade.engine.InputException;
import dev.saccade.kernels.DType;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/// One thing that is measured: an operation and its extents. Cases are lines of text, `name
/// key=value ...`, so that the peers written in Python read the same list
/// (`src/main/resources/dev/saccade/bench/cases.txt`).
///
/// @param name unique; results are keyed by it
/// @param parameters `op` names the operation, the others its type and extents
record Case(String name, Map<String, String> parameters) {

    /// What is measured on a GPU.
    static final String FULL = "cases.txt";

    /// The same operations in sizes that a CPU does at once: they show that every case works.
    static final String TINY = "cases-tiny.txt";

    /// Reads a list of cases.
    ///
    /// @param resource [#FULL] or [#TINY]
    static List<Case> read(String resource) {
        try (InputStream stream = Case.class.getResourceAsStream(resource)) {
            if (stream == null) {
                throw new IllegalStateException("this build has no " + resource);
            }
            String text = new String(stream.readAllBytes(), StandardCharsets.UTF_8);
            List<Case> cases = new ArrayList<>();
            for (String line : text.lines().toList()) {
                String content = line.strip();
                if (!content.isEmpty() && !content.startsWith("#")) {
                    cases.add(parse(content));
                }
            }
            return cases;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// A case of the full list.
    ///
    /// @throws InputException when there is none of that name
    static Case named(String name) {
        return read(FULL).stream()
                .filter(work -> work.name.equals(name))
                .findFirst()
                .orElseThrow(() ->
                        new InputException(
                                "case " + name, "is not in the list", "--table --list shows it"));
    }

    /// A line of the list.
    static Case parse(String line) {
        String[] words = line.strip().split("\\s+", -1);
        Map<String, String> parameters = new LinkedHashMap<>();
        for (int i = 1; i < words.length; i++) {
            int equals = words[i].indexOf('=');
            if (equals < 1) {
                throw new InputException(
                        "case " + words[0],
                        "'" + words[i] + "' is no key=value",
                        "correct the list");
            }
            parameters.put(words[i].substring(0, equals), words[i].substring(equals + 1));
        }
        return new Case(words[0], Map.copyOf(parameters));
    }

    String text(String key) {
        String value = parameters.get(key);
        if (value == null) {
            throw new InputException("case " + name, "has no " + key, "correct the list");
        }
        return value;
    }

    String text(String key, String otherwise) {
        return parameters.getOrDefault(key, otherwise);
    }

    int integer(String key) {
        return Integer.parseInt(text(key));
    }

    int integer(String key, int otherwise) {
        return parameters.containsKey(key) ? integer(key) : otherwise;
    }

    boolean flag(String key) {
        return Boolean.parseBoolean(text(key, "false"));
    }

    /// The type under `dtype`, or another key that falls back to it.
    DType dtype(String key) {
        return DType.valueOf(text(key, text("dtype", "f32")).toUpperCase(Locale.ROOT));
    }

    DType dtype() {
        return dtype("dtype");
    }
}
