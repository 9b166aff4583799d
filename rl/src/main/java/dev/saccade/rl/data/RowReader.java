package dev.saccade.rl.data;

import dev.saccade.engine.InputException;
import dev.saccade.model.chat.ChatTemplate;
import dev.saccade.model.chat.Message;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Reads and checks single rows of one file.
final class RowReader {
    private static final String RULE = "rule";

    private static final JsonMapper JSON =
            JsonMapper.builder().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS).build();
    private static final TypeReference<Map<String, Object>> OBJECT = new TypeReference<>() {};

    private final Path file;
    private final Path folder;

    /// Rows repeat a few names many times; one copy of each is kept.
    private final Map<String, String> names = new HashMap<>();

    RowReader(Path file) {
        this.file = file;
        Path parent = file.toAbsolutePath().getParent();
        folder = parent == null ? file.toAbsolutePath() : parent;
    }

    Row read(String line, int number) {
        return new Line(line, number).row();
    }

    private final class Line {
        private final String origin;
        private final JsonNode root;

        Line(String line, int number) {
            origin = "%s: line %d".formatted(file, number);
            try {
                root = JSON.readTree(line);
            } catch (JacksonException e) {
                throw new InputException(
                        origin,
                        "not JSON at column %d (%s)"
                                .formatted(
                                        e.getLocation().getColumnNr(),
                                        e.getOriginalMessage().lines().findFirst().orElse("")),
                        "write one JSON object on each line",
                        e);
            }
            if (!root.isObject()) {
                throw bad("is not a JSON object", "write one JSON object on each line");
            }
        }

        Row row() {
            JsonNode reward = root.path("reward_model");
            if (!reward.isObject()) {
                throw bad(
                        "reward_model is missing or not an object",
                        "add \"reward_model\": {\"style\": \"rule\", \"ground_truth\": \"...\"}");
            }
            List<Message> prompt = prompt();
            List<Path> images = images();
            requirePlaceholders(prompt, images.size());
            return new Row(
                    name(text(root.path("data_source"), "data_source", null)),
                    prompt,
                    images,
                    name(text(root.path("ability"), "ability", "")),
                    style(text(reward.path("style"), "reward_model.style", RULE)),
                    groundTruth(reward.path("ground_truth")),
                    extraInfo(root.path("extra_info")),
                    isNothing(root.path("response"))
                            ? null
                            : text(root.path("response"), "response", null),
                    origin);
        }

        /// Only rules score answers here: another style would be scored by them without a word.
        private String style(String style) {
            if (!style.equals(RULE)) {
                throw bad(
                        "reward_model.style is '" + style + "', which is not supported",
                        "use \"" + RULE + "\"");
            }
            return RULE;
        }

        private List<Message> prompt() {
            JsonNode list = root.path("prompt");
            if (!list.isArray() || list.isEmpty()) {
                throw bad(
                        "prompt is missing or not a list of messages",
                        "add \"prompt\": [{\"role\": \"user\", \"content\": \"...\"}]");
            }
            List<Message> messages = new ArrayList<>(list.size());
            for (int i = 0; i < list.size(); i++) {
                String place = "prompt[%d]".formatted(i);
                String role = text(list.get(i).path("role"), place + ".role", null);
                if (!ChatTemplate.isRole(role)) {
                    throw bad(
                            "%s.role \"%s\" is not known".formatted(place, role),
                            "use system, user or assistant");
                }
                messages.add(
                        new Message(
                                name(role),
                                text(list.get(i).path("content"), place + ".content", null)));
            }
            return List.copyOf(messages);
        }

        private List<Path> images() {
            JsonNode list = root.path("images");
            if (isNothing(list)) {
                return List.of();
            }
            if (!list.isArray()) {
                throw bad("images is not a list", "write \"images\": [{\"path\": \"...\"}]");
            }
            List<Path> images = new ArrayList<>(list.size());
            for (int i = 0; i < list.size(); i++) {
                JsonNode entry = list.get(i);
                String place = "images[%d]".formatted(i);
                String path =
                        entry.isObject()
                                ? text(entry.path("path"), place + ".path", null)
                                : text(entry, place, null);
                images.add(image(path));
            }
            return List.copyOf(images);
        }

        private Path image(String path) {
            try {
                Path image = folder.resolve(path);
                if (Files.isRegularFile(image)) {
                    return image;
                }
                throw bad(
                        "image %s does not exist".formatted(image),
                        "paths start at the folder of the data file");
            } catch (InvalidPathException e) {
                throw bad("image \"%s\" is not a path".formatted(path), "write a file's path");
            }
        }

        private void requirePlaceholders(List<Message> prompt, int images) {
            int placeholders = ChatTemplate.countPlaceholders(prompt);
            if (placeholders != images) {
                throw bad(
                        "the prompt has %d <image> for %d picture%s"
                                .formatted(placeholders, images, images == 1 ? "" : "s"),
                        "write <image> once for each picture");
            }
        }

        private String groundTruth(JsonNode node) {
            if (node.isNumber() || node.isBoolean()) {
                return node.asString();
            }
            if (!node.isString()) {
                throw bad(
                        "reward_model.ground_truth is missing or not a text",
                        "add the right answer as a text");
            }
            return node.asString();
        }

        private Map<String, Object> extraInfo(JsonNode node) {
            if (isNothing(node)) {
                return Map.of();
            }
            if (!node.isObject()) {
                throw bad("extra_info is not an object", "write \"extra_info\": {...}");
            }
            return JSON.convertValue(node, OBJECT);
        }

        private String text(JsonNode node, String place, @Nullable String otherwise) {
            if (otherwise != null && isNothing(node)) {
                return otherwise;
            }
            if (!node.isString()) {
                throw bad(
                        "%s is %s".formatted(place, isNothing(node) ? "missing" : "not a text"),
                        "write a text");
            }
            return node.asString();
        }

        private InputException bad(String why, String cure) {
            return new InputException(origin, why, cure);
        }
    }

    private String name(String text) {
        String known = names.putIfAbsent(text, text);
        return known == null ? text : known;
    }

    private static boolean isNothing(JsonNode node) {
        return node.isMissingNode() || node.isNull();
    }
}
