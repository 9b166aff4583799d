package dev.saccade.rl.recipe;

import dev.saccade.engine.InputException;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.TokenStreamLocation;
import tools.jackson.dataformat.yaml.YAMLFactory;

/// Reads YAML into [RecipeNode]s and applies `--set key=value`.
final class RecipeParser {
    private static final YAMLFactory YAML = new YAMLFactory();

    private final String source;
    private final JsonParser parser;

    private RecipeParser(String source, JsonParser parser) {
        this.source = source;
        this.parser = parser;
    }

    /// Parses a whole document.
    ///
    /// @param source what to call it in messages
    static RecipeNode.Mapping parse(String yaml, String source) {
        RecipeNode node = parseValue(yaml, source);
        if (node instanceof RecipeNode.Mapping mapping) {
            return mapping;
        }
        throw new InputException(
                source,
                "a recipe is 'key: value' lines, this is " + node.kind(),
                "begin with name:, data: and stages:");
    }

    private static RecipeNode parseValue(String yaml, String source) {
        try (JsonParser parser = YAML.createParser(ObjectReadContext.empty(), yaml)) {
            if (parser.nextToken() == null) {
                return new RecipeNode.Scalar(null, source);
            }
            RecipeNode node = new RecipeParser(source, parser).value();
            if (parser.nextToken() != null) {
                throw new InputException(
                        source + " line " + parser.currentTokenLocation().getLineNr(),
                        "a second document starts here",
                        "keep one recipe in a file");
            }
            return node;
        } catch (JacksonException e) {
            @Nullable TokenStreamLocation location = e.getLocation();
            String line = location == null ? "" : " line " + Math.max(1, location.getLineNr());
            throw new InputException(
                    source + line,
                    "not YAML: " + firstLine(e.getOriginalMessage()),
                    "correct the line",
                    e);
        }
    }

    private static String firstLine(@Nullable String message) {
        return message == null ? "no reason given" : message.lines().findFirst().orElse("");
    }

    private String place() {
        return source + " line " + Math.max(1, parser.currentTokenLocation().getLineNr());
    }

    private RecipeNode value() {
        String place = place();
        JsonToken token = parser.currentToken();
        if (token == JsonToken.START_OBJECT) {
            RecipeNode.Mapping mapping = new RecipeNode.Mapping(place);
            while (parser.nextToken() != JsonToken.END_OBJECT) {
                String key = parser.currentName();
                String keyPlace = place();
                if (mapping.entries().containsKey(key)) {
                    throw new InputException(
                            keyPlace, "the key '" + key + "' stands twice", "keep one of them");
                }
                parser.nextToken();
                mapping.put(key, value(), keyPlace);
            }
            return mapping;
        }
        if (token == JsonToken.START_ARRAY) {
            RecipeNode.Sequence sequence = new RecipeNode.Sequence(place);
            while (parser.nextToken() != JsonToken.END_ARRAY) {
                sequence.items().add(value());
            }
            return sequence;
        }
        return new RecipeNode.Scalar(
                token == JsonToken.VALUE_NULL ? null : parser.getString(), place);
    }

    /// Applies `key.key=value`; a stage is named by its name or its index, the value is YAML
    /// (`[vision, language]` is a list).
    static void override(RecipeNode.Mapping recipe, String assignment) {
        int equals = assignment.indexOf('=');
        if (equals < 1) {
            throw new InputException(
                    "--set " + assignment,
                    "not of the form key=value",
                    "write for example --set stages.grpo.optim.lr=1e-4");
        }
        String key = assignment.substring(0, equals).strip();
        String place = "--set " + key;
        RecipeNode value = relocate(parseValue(assignment.substring(equals + 1), place), place);
        List<String> steps = List.of(key.split("\\.", -1));
        RecipeNode node = recipe;
        for (int i = 0; i < steps.size() - 1; i++) {
            node = child(node, steps.get(i), place);
        }
        String last = steps.getLast();
        switch (node) {
            case RecipeNode.Mapping mapping -> mapping.put(last, value, place);
            case RecipeNode.Sequence sequence -> {
                int index = sequence.items().indexOf(child(sequence, last, place));
                sequence.items().set(index, value);
            }
            case RecipeNode.Scalar _ ->
                    throw new InputException(
                            place,
                            "'" + steps.get(steps.size() - 2) + "' has no keys below it",
                            "see the recipe for the keys there are");
        }
    }

    private static RecipeNode child(RecipeNode node, String step, String place) {
        return switch (node) {
            case RecipeNode.Mapping mapping -> {
                RecipeNode next = mapping.entries().get(step);
                // A section that the recipe leaves at its defaults is still one to set keys in; a
                // key that does not exist is found when the recipe is bound.
                if (next == null
                        || (next instanceof RecipeNode.Scalar(var text, _) && text == null)) {
                    next = new RecipeNode.Mapping(place);
                    mapping.put(step, next, place);
                }
                yield next;
            }
            case RecipeNode.Sequence sequence -> {
                for (RecipeNode item : sequence.items()) {
                    if (item instanceof RecipeNode.Mapping mapping
                            && mapping.entries().get("name")
                                    instanceof RecipeNode.Scalar(var name, _)
                            && step.equals(name)) {
                        yield item;
                    }
                }
                if (step.matches("\\d{1,6}") && Integer.parseInt(step) < sequence.items().size()) {
                    yield sequence.items().get(Integer.parseInt(step));
                }
                List<String> names =
                        sequence.items().stream()
                                .flatMap(item ->
                                        item instanceof RecipeNode.Mapping mapping
                                                ? mapping.entries().entrySet().stream()
                                                : java.util.stream.Stream.empty())
                                .filter(entry -> entry.getKey().equals("name"))
                                .map(Map.Entry::getValue)
                                .map(name -> ((RecipeNode.Scalar) name).text() + "")
                                .toList();
                throw new InputException(
                        place,
                        "there is no '" + step + "' in the list",
                        "use one of " + String.join(", ", names) + " or an index from 0");
            }
            case RecipeNode.Scalar _ ->
                    throw new InputException(
                            place,
                            "'" + step + "' stands below a single value",
                            "see the recipe for the keys there are");
        };
    }

    private static RecipeNode relocate(RecipeNode node, String place) {
        return switch (node) {
            case RecipeNode.Scalar scalar -> new RecipeNode.Scalar(scalar.text(), place);
            case RecipeNode.Mapping mapping -> {
                RecipeNode.Mapping moved = new RecipeNode.Mapping(place);
                mapping.entries().forEach((k, v) -> moved.put(k, relocate(v, place), place));
                yield moved;
            }
            case RecipeNode.Sequence sequence -> {
                RecipeNode.Sequence moved = new RecipeNode.Sequence(place);
                sequence.items().forEach(item -> moved.items().add(relocate(item, place)));
                yield moved;
            }
        };
    }
}
