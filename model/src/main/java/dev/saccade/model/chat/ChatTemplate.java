package dev.saccade.model.chat;

import dev.saccade.engine.InputException;
import dev.saccade.tensor.AtomicFiles;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// Writes a conversation as the text that a model reads, in the ChatML form of Qwen2 and InternVL:
/// `<|im_start|>role\ncontent<|im_end|>\n` for each turn. Each `<image>` in a turn becomes `<img>`,
/// one `<IMG_CONTEXT>` per visual token, `</img>`.
///
/// @param system what the system turn says when a conversation has none; null for no such turn
/// @param generationSuffix what follows the opening of the assistant's turn that is to be
///   generated: `<think>\n` for Skywork-R1V3, empty for InternVL3
/// @param pictures where pictures go that a turn does not place itself
/// @param keepsThinking whether earlier answers are shown with their thinking; otherwise what
///   stands before `</think>` is left out of them
public record ChatTemplate(
        @Nullable String system,
        String generationSuffix,
        Pictures pictures,
        boolean keepsThinking) {

    /// Where pictures go that a turn does not place itself.
    public enum Pictures {
        /// Before the text, each on a line of its own.
        BEFORE,
        /// After the text, with nothing between.
        AFTER
    }

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

    /// Begins the thinking part of an answer.
    public static final String THINKING_BEGIN = "<think>";

    /// Ends the thinking part of an answer.
    public static final String THINKING_END = "</think>";

    /// The template of Skywork-R1V3: thinking starts on a line of its own.
    public static final ChatTemplate R1V3 =
            new ChatTemplate("You are a helpful assistant.", THINKING_BEGIN + "\n");

    /// The template `internvl2_5` of InternVL's remote code, with its Chinese system text, which
    /// says whose model it is.
    public static final ChatTemplate INTERNVL2_5 =
            new ChatTemplate("你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。", "");

    /// The template of Qwen2's text models.
    public static final ChatTemplate QWEN2 = new ChatTemplate("You are a helpful assistant.", "");

    /// Turns and nothing else, as in InternVL3's Hugging Face-native checkpoints.
    public static final ChatTemplate CHATML = new ChatTemplate(null, "");

    /// The template of the tiny models: no system turn, thinking starts at once.
    public static final ChatTemplate TINY =
            new ChatTemplate(null, THINKING_BEGIN, Pictures.AFTER, true);

    private static final Set<String> ROLES = Set.of("system", "user", "assistant");

    /// A template that puts pictures before the text and keeps the thinking of earlier answers.
    public ChatTemplate(@Nullable String system, String generationSuffix) {
        this(system, generationSuffix, Pictures.BEFORE, true);
    }

    /// The templates that a user can name.
    public static SequencedMap<String, ChatTemplate> named() {
        SequencedMap<String, ChatTemplate> named = new LinkedHashMap<>();
        named.put("tiny", TINY);
        named.put("r1v3", R1V3);
        named.put("internvl2_5", INTERNVL2_5);
        named.put("qwen2", QWEN2);
        named.put("chatml", CHATML);
        return Collections.unmodifiableSequencedMap(named);
    }

    /// The template that a checkpoint's folder asks for: the remote code's (`template` in
    /// config.json, read from conversation.py where that is there), else the `chat_template` of
    /// chat_template.jinja, chat_template.json or tokenizer_config.json, else the family's.
    ///
    /// @throws InputException naming the file when it asks for one that is not known
    public static ChatTemplate read(Path folder) {
        return CheckpointTemplate.read(folder);
    }

    /// Writes `chat_template.jinja`, which [#read] and transformers read, into an existing folder.
    public void save(Path folder) {
        AtomicFiles.write(
                folder.resolve(CheckpointTemplate.JINJA_FILE),
                JinjaTemplate.write(this).getBytes(StandardCharsets.UTF_8));
    }

    /// This template with another way to think: what opens the assistant's turn.
    public ChatTemplate with(Thinking thinking) {
        boolean opens = generationSuffix.contains(THINKING_BEGIN);
        return switch (thinking) {
            case NONE -> new ChatTemplate(system, "", pictures, keepsThinking);
            case SLOW, NOWAIT ->
                    opens
                            ? this
                            : new ChatTemplate(
                                    system, THINKING_BEGIN + "\n", pictures, keepsThinking);
        };
    }

    /// A turn with some pictures. Where its text has no `<image>`, they are placed as the template
    /// says.
    ///
    /// @throws InputException when the text places some, but another number
    public Message withPictures(String role, String text, int count) {
        Message message = new Message(role, text);
        if (countPlaceholders(List.of(message)) > 0 || count == 0) {
            requireImages(List.of(message), count);
            return message;
        }
        return new Message(
                role,
                switch (pictures) {
                    case BEFORE -> (IMAGE_PLACEHOLDER + "\n").repeat(count) + text;
                    case AFTER -> text + IMAGE_PLACEHOLDER.repeat(count);
                });
    }

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
            String said = said(message);
            StringBuilder content = new StringBuilder();
            int done = 0;
            int at;
            while ((at = said.indexOf(IMAGE_PLACEHOLDER, done)) >= 0) {
                content.append(said, done, at)
                        .append(IMAGE_BEGIN)
                        .repeat(IMAGE_TOKEN, visualTokens[image++])
                        .append(IMAGE_END);
                done = at + IMAGE_PLACEHOLDER.length();
            }
            content.append(said, done, said.length());
            turn(text, message.role(), content);
        }
        if (addGenerationPrompt) {
            text.append(TURN_BEGIN).append("assistant\n").append(generationSuffix);
        }
        return text.toString();
    }

    private String said(Message message) {
        String content = message.content();
        if (keepsThinking || !message.role().equals("assistant")) {
            return content;
        }
        int end = content.lastIndexOf(THINKING_END);
        if (end < 0) {
            return content;
        }
        int answer = end + THINKING_END.length();
        while (answer < content.length() && content.charAt(answer) == '\n') {
            answer++;
        }
        return content.substring(answer);
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
