package dev.saccade.rl.cli;

import dev.saccade.engine.InputException;
import dev.saccade.model.chat.ChatTemplate;
import java.nio.file.Path;
import java.util.Locale;
import java.util.SequencedMap;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/// Options of the commands that ask a trained model: which one, and how it reads.
final class CheckpointOptions {
    @Option(
            names = {"-c", "--checkpoint", "-m", "--model"},
            required = true,
            paramLabel = "DIR",
            description = "The checkpoint's folder.")
    Path folder = Path.of("");

    @Option(
            names = "--max-tiles",
            defaultValue = "12",
            paramLabel = "N",
            description = "Cut a picture into at most N tiles (default: ${DEFAULT-VALUE}).")
    int maxTiles;

    @Option(
            names = "--template",
            paramLabel = "NAME",
            description =
                    "How the conversation is written out: tiny, r1v3, internvl2_5, qwen2 or"
                            + " chatml (default: as the checkpoint's files say).")
    @Nullable String template;

    /// The template that was named, or else the checkpoint's.
    ChatTemplate template() {
        if (maxTiles < 1) {
            throw new InputException("--max-tiles " + maxTiles, "counts from 1", "give 1 or more");
        }
        if (template == null) {
            return ChatTemplate.read(folder);
        }
        SequencedMap<String, ChatTemplate> named = ChatTemplate.named();
        ChatTemplate found = named.get(template.toLowerCase(Locale.ROOT));
        if (found == null) {
            throw new InputException(
                    "--template " + template,
                    "there is no such template" + Suggestion.of(template, named.keySet()),
                    "name one of " + String.join(", ", named.keySet()));
        }
        return found;
    }
}
