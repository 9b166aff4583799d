package dev.saccade.model.chat;

import dev.saccade.engine.InputException;
import dev.saccade.model.internal.JsonSection;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Finds the chat template of a checkpoint's folder.
final class CheckpointTemplate {
    static final String JINJA_FILE = "chat_template.jinja";

    /// What to do about a template that can't be used.
    static final String CURE = "name one of " + String.join(", ", ChatTemplate.named().keySet());

    private static final String KEY = "chat_template";

    private CheckpointTemplate() {}

    static ChatTemplate read(Path folder) {
        Path configFile = folder.resolve("config.json");
        String configText = text(configFile);
        if (configText == null) {
            throw new InputException(
                    configFile.toString(),
                    "there is no such file",
                    "give the folder of a checkpoint");
        }
        JsonSection config =
                new JsonSection(configFile.toString(), "", parse(configFile, configText));
        String family = config.text("model_type", "");
        String name = config.text("template", "");
        if (!name.isEmpty()) {
            Path conversations = folder.resolve(ConversationFile.NAME);
            String python = text(conversations);
            if (python != null) {
                return ConversationFile.template(python, name, conversations.toString());
            }
        }
        // Skywork's code has its own roles under a name that others use too.
        if (!name.isEmpty() && !family.equals("skywork_chat")) {
            return byName(name, configFile);
        }
        ChatTemplate written = jinja(folder);
        return written != null ? written : ofFamily(family, configFile);
    }

    private static ChatTemplate byName(String name, Path configFile) {
        ChatTemplate template = ChatTemplate.named().get(name);
        if (template == null) {
            throw new InputException(
                    configFile.toString(),
                    "template is \"%s\", which is not known, and there is no %s beside it"
                            .formatted(name, ConversationFile.NAME),
                    CURE);
        }
        return template;
    }

    private static ChatTemplate ofFamily(String family, Path configFile) {
        return switch (family) {
            case "skywork_chat" -> ChatTemplate.R1V3;
            case "internvl_chat" -> ChatTemplate.INTERNVL2_5;
            case "internvl" -> ChatTemplate.CHATML;
            case "qwen2" -> ChatTemplate.QWEN2;
            default ->
                    throw new InputException(
                            configFile.toString(),
                            "models of type \"%s\" have no chat template of their own, and the"
                                            .formatted(family)
                                    + " folder holds none",
                            CURE);
        };
    }

    /// The folder's Jinja template, from the file that transformers would take; null where there is
    /// none.
    private static @Nullable ChatTemplate jinja(Path folder) {
        Path plain = folder.resolve(JINJA_FILE);
        String written = text(plain);
        if (written != null) {
            return JinjaTemplate.read(written, plain.toString());
        }
        for (String name : new String[] {"chat_template.json", "tokenizer_config.json"}) {
            Path file = folder.resolve(name);
            String json = text(file);
            if (json == null) {
                continue;
            }
            JsonNode node = parse(file, json).path(KEY);
            if (node.isArray()) {
                node = defaultOf(node);
            }
            if (node.isString()) {
                return JinjaTemplate.read(node.stringValue(), file + ": " + KEY);
            }
            if (!node.isMissingNode() && !node.isNull()) {
                throw new InputException(
                        file.toString(), KEY + " is neither a text nor a list of named ones", CURE);
            }
        }
        return null;
    }

    /// Of several named templates the one called `default`.
    private static JsonNode defaultOf(JsonNode list) {
        for (JsonNode entry : list) {
            if (entry.path("name").asString("").equals("default")) {
                return entry.path("template");
            }
        }
        return list;
    }

    private static JsonNode parse(Path file, String json) {
        try {
            return JsonMapper.shared().readTree(json);
        } catch (JacksonException e) {
            throw new InputException(
                    file.toString(),
                    "not JSON at line %d, column %d"
                            .formatted(e.getLocation().getLineNr(), e.getLocation().getColumnNr()),
                    "fetch the file again",
                    e);
        }
    }

    /// A file's text; null where there is no such file.
    private static @Nullable String text(Path file) {
        try {
            return Files.readString(file, StandardCharsets.UTF_8);
        } catch (NoSuchFileException e) {
            return null;
        } catch (IOException e) {
            throw new InputException(
                    file.toString(),
                    "can't be read (" + e.getMessage() + ")",
                    "check that it is UTF-8 text and its permissions",
                    e);
        }
    }
}
