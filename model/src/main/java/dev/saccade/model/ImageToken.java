package dev.saccade.model;

import dev.saccade.engine.InputException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Finds the id of `<IMG_CONTEXT>`, the token that stands for a visual token, where config.json
/// does not name it: the remote code asks the tokenizer.
final class ImageToken {
    private static final String TEXT = "<IMG_CONTEXT>";
    private static final long MOST_BYTES = 100_000_000;

    /// The vocabulary of the InternVL3 family's Qwen2 sizes, and its token.
    private static final int FAMILY_VOCABULARY = 151674;

    private static final int FAMILY_TOKEN = 151667;

    private ImageToken() {}

    /// @param source the config.json, for messages
    /// @param folder where the tokenizer's files may be
    static int find(String source, @Nullable Path folder, LanguageConfig text) {
        OptionalInt found = folder == null ? OptionalInt.empty() : inFolder(folder);
        if (found.isPresent()) {
            return found.getAsInt();
        }
        if (text.vocabSize() == FAMILY_VOCABULARY) {
            return FAMILY_TOKEN;
        }
        throw new InputException(
                source,
                "names no image_token_id, and no tokenizer file beside it has " + TEXT,
                "put the checkpoint's tokenizer there, or add image_token_id");
    }

    /// The token's id in a folder's tokenizer, whichever of its files are there.
    static OptionalInt inFolder(Path folder) {
        JsonNode added = read(folder.resolve("added_tokens.json")).path(TEXT);
        if (added.isInt()) {
            return OptionalInt.of(added.intValue());
        }
        JsonNode decoder =
                read(folder.resolve("tokenizer_config.json")).path("added_tokens_decoder");
        for (Map.Entry<String, JsonNode> entry : decoder.properties()) {
            if (isToken(entry.getValue()) && entry.getKey().matches("\\d{1,9}")) {
                return OptionalInt.of(Integer.parseInt(entry.getKey()));
            }
        }
        for (JsonNode token : read(folder.resolve("tokenizer.json")).path("added_tokens")) {
            if (isToken(token) && token.path("id").isInt()) {
                return OptionalInt.of(token.path("id").intValue());
            }
        }
        return OptionalInt.empty();
    }

    private static boolean isToken(JsonNode entry) {
        JsonNode content = entry.path("content");
        return content.isString() && content.stringValue().equals(TEXT);
    }

    private static JsonNode read(Path file) {
        try {
            if (!Files.isRegularFile(file) || Files.size(file) > MOST_BYTES) {
                return JsonMapper.shared().createObjectNode();
            }
            return JsonMapper.shared().readTree(Files.readString(file, StandardCharsets.UTF_8));
        } catch (IOException | JacksonException e) {
            throw new InputException(
                    file.toString(), "can't be read as JSON", "download the tokenizer again", e);
        }
    }
}
