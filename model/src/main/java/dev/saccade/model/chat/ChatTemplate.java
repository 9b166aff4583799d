package dev.saccade.model.chat;

import dev.saccade.engine.InputException;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// Writes a conversation as the text that a model reads, in the ChatML form of Qwen2 and InternVL:
/// `<|im_start|>role\ncontent<|im_end|>\n` for each turn. Each `<image>` in a turn becomes `<img>`,
/// one `<IMG_CONTEXT>` per visual token, `</img>`.
///
/// @param system what the system turn says when a conversation has none; null for no such turn
/// @param generationSuffix what follows the opening of the assistant's turn that is to be
///   generated: `<think>\n` for Skywork-R1V3, empty for InternVL3
public record ChatTemplate(@Nullable String system, String generationSuffix) {
    /// Stands for a picture in a message.
    public static final String IMAGE_PLACEHOLDER = "<image>";

    /// Before a picture's visual tokens.
    public static final String IMAGE_BEGIN = "<img>";

    /// One visual token.
    public static final String IMAGE_TOKEN = "<IMG_CONTEXT>";

    /// After a picture's visual tokens.
    public static final String IMAGE_END = "</img>";

    /// Begins a turn.
    public static final String TURN_BEGIN = "<|im_start|>";

    /// Ends a turn: the token at which generation stops.
    public static final String TURN_END = "<|im_end|>";

    /// The template of Skywork-R1V3: thinking starts on a line of its own.
    public static final ChatTemplate R1V3 =
            new ChatTemplate("You are a helpful assistant.", "<think>\n");

    /// The template of the tiny models: no system turn, thinking starts at once.
    public static final ChatTemplate TINY = new ChatTemplate(null, "<think>");

    private static final Set<String> ROLES = Set.of("system", "user", "assistant");

    /// A conversation without pictures; see [#render(List, int\[\], boolean)].
    public String render(List<Message> messages, boolean addGenerationPrompt) {
        return render(messages, new int[0], addGenerationPrompt);
    }

    /// The text of a conversation. The number of `<image>` in all turns must be that of the
    /// pictures, otherwise an [InputException] says both.
    ///
    /// @param visualTokens for each picture in order, how many tokens it takes: the tokens per tile
    ///   times its tiles
    /// @param addGenerationPrompt open the assistant's turn at the end
    public String render(List<Message> messages, int[] visualTokens, boolean addGenerationPrompt) {
        requireImages(messages, visualTokens.length);
        StringBuilder text = new StringBuilder();
        if (system != null
                && (messages.isEmpty() || !messages.getFirst().role().equals("system"))) {
            turn(text, "system", system);
        }
        int image = 0;
        for (Message message : messages) {
            StringBuilder content = new StringBuilder();
            int done = 0;
            int at;
            while ((at = message.content().indexOf(IMAGE_PLACEHOLDER, done)) >= 0) {
                content.append(message.content(), done, at)
                        .append(IMAGE_BEGIN)
                        .repeat(IMAGE_TOKEN, visualTokens[image++])
                        .append(IMAGE_END);
                done = at + IMAGE_PLACEHOLDER.length();
            }
            content.append(message.content(), done, message.content().length());
            turn(text, message.role(), content);
        }
        if (addGenerationPrompt) {
            text.append(TURN_BEGIN).append("assistant\n").append(generationSuffix);
        }
        return text.toString();
    }

    private static void turn(StringBuilder text, String role, CharSequence content) {
        if (!isRole(role)) {
            throw new InputException(
                    "role \"%s\"".formatted(role), "is not known", "use system, user or assistant");
        }
        text.append(TURN_BEGIN)
                .append(role)
                .append('\n')
                .append(content)
                .append(TURN_END)
                .append('\n');
    }

    /// How many `<image>` the turns hold.
    public static int countPlaceholders(List<Message> messages) {
        int placeholders = 0;
        for (Message message : messages) {
            int at = -1;
            while ((at = message.content().indexOf(IMAGE_PLACEHOLDER, at + 1)) >= 0) {
                placeholders++;
            }
        }
        return placeholders;
    }

    /// Whether a turn can have this role.
    public static boolean isRole(String role) {
        return ROLES.contains(role);
    }

    private static void requireImages(List<Message> messages, int images) {
        int placeholders = countPlaceholders(messages);
        if (placeholders != images) {
            throw new InputException(
                    "the prompt",
                    "has %d <image> for %d picture%s"
                            .formatted(placeholders, images, images == 1 ? "" : "s"),
                    "write <image> once for each picture");
        }
    }
}
