package dev.saccade.rl.rollout;

import dev.saccade.engine.InputException;
import dev.saccade.model.VisionLanguageConfig;
import dev.saccade.model.chat.ChatEncoder;
import dev.saccade.model.chat.ChatTemplate;
import dev.saccade.model.generate.Completion;
import dev.saccade.model.generate.FinishReason;
import dev.saccade.model.image.Pixels;
import dev.saccade.model.tokenizer.Tokenizer;
import dev.saccade.rl.data.Row;
import java.util.Arrays;
import java.util.List;

/// Turns rows into what a model reads, and what it says back into text.
public final class RowEncoder {
    private final ChatEncoder chat;

    /// An encoder for a model.
    ///
    /// @param maxTiles the most tiles an image is cut into
    public RowEncoder(
            VisionLanguageConfig config, Tokenizer tokenizer, ChatTemplate template, int maxTiles) {
        this.chat = new ChatEncoder(config, tokenizer, template, maxTiles);
    }

    /// The tokenizer that encodes.
    public Tokenizer tokenizer() {
        return chat.tokenizer();
    }

    /// The tokens at which sampling stops.
    public int[] stopTokens() {
        return new int[] {chat.turnEnd()};
    }

    /// A row's prompt, its images read and cut into tiles.
    ///
    /// @param maxPromptLength in tokens; a longer prompt is an [InputException]
    public EncodedPrompt prompt(Row row, int maxPromptLength) {
        List<Pixels> images = row.loadImages().stream().map(chat::tiles).toList();
        ChatEncoder.Encoded encoded = chat.encode(row.prompt(), images);
        int[] tokens = encoded.prompt().tokens();
        if (tokens.length > maxPromptLength) {
            throw new InputException(
                    row.origin(),
                    "the prompt has "
                            + tokens.length
                            + " tokens, max_prompt_length is "
                            + maxPromptLength,
                    "raise max_prompt_length or remove the row");
        }
        return new EncodedPrompt(row, encoded.text(), encoded.prompt());
    }

    /// The tokens of a row's response, the one that ends the turn included.
    ///
    /// @param maxResponseLength in tokens; a longer response is an [InputException]
    public int[] response(Row row, int maxResponseLength) {
        String response = row.response();
        if (response == null) {
            throw new InputException(
                    row.origin(),
                    "the row has no response, and supervised training needs one",
                    "add \"response\": \"...\" or use the row in a grpo stage");
        }
        int[] text = chat.tokenizer().encode(response);
        int[] tokens = Arrays.copyOf(text, text.length + 1);
        tokens[text.length] = chat.turnEnd();
        if (tokens.length > maxResponseLength) {
            throw new InputException(
                    row.origin(),
                    "the response has "
                            + tokens.length
                            + " tokens, max_response_length is "
                            + maxResponseLength,
                    "raise max_response_length or remove the row");
        }
        for (int token : text) {
            if (token == chat.config().imageTokenId()) {
                throw new InputException(
                        row.origin(),
                        "the response has an image token",
                        "write images into the prompt only");
            }
        }
        return tokens;
    }

    /// A completion's text, without the token that ends the turn.
    public String decode(Completion completion) {
        int[] tokens = completion.tokens();
        boolean stopped = completion.reason() == FinishReason.STOP;
        return chat.tokenizer().decode(stopped ? Arrays.copyOf(tokens, tokens.length - 1) : tokens);
    }
}
