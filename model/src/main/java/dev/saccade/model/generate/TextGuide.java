package dev.saccade.model.generate;

import dev.saccade.model.tokenizer.StreamingDecoder;
import dev.saccade.model.tokenizer.Tokenizer;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// Turns a completion into text as it grows, without special tokens and never cutting a character;
/// ends it at a stop string, which is not part of the text; keeps its thinking within a budget. For
/// one completion.
public final class TextGuide implements Guide {
    private final Tokenizer tokenizer;
    private final StreamingDecoder decoder;
    private final StopStrings stops;
    private final @Nullable ThinkingBudget budget;
    private final Consumer<String> sink;
    private final StringBuilder text = new StringBuilder();

    private TextGuide(
            Tokenizer tokenizer,
            List<String> stopStrings,
            @Nullable ThinkingBudget budget,
            Consumer<String> sink) {
        this.tokenizer = tokenizer;
        this.decoder = tokenizer.streamingDecoder();
        this.stops = new StopStrings(stopStrings);
        this.budget = budget;
        this.sink = sink;
    }

    /// A guide without a budget.
    ///
    /// @param stopStrings where the completion ends; none of them empty
    /// @param sink receives the text in parts as it becomes certain, none of them empty
    public static TextGuide of(
            Tokenizer tokenizer, List<String> stopStrings, Consumer<String> sink) {
        return new TextGuide(tokenizer, stopStrings, null, sink);
    }

    /// A guide that ends the thinking after some tokens by putting in `</think>`.
    ///
    /// @param stopStrings where the completion ends; none of them empty
    /// @param thinkingTokens the most tokens between `<think>` and `</think>`
    /// @param thinkingBegun whether the prompt ends with an open `<think>`
    /// @param sink receives the text in parts as it becomes certain, none of them empty
    public static TextGuide withBudget(
            Tokenizer tokenizer,
            List<String> stopStrings,
            int thinkingTokens,
            boolean thinkingBegun,
            Consumer<String> sink) {
        return new TextGuide(
                tokenizer,
                stopStrings,
                new ThinkingBudget(tokenizer, thinkingTokens, thinkingBegun),
                sink);
    }

    @Override
    public Next begin() {
        return budget == null ? Choice.DRAW : budget.begin();
    }

    @Override
    public Next follow(int token) {
        String part = tokenizer.isSpecial(token) ? "" : decoder.accept(token);
        give(stops.accept(part));
        if (stops.found() != null) {
            return Choice.STOP;
        }
        return budget == null ? Choice.DRAW : budget.follow(part);
    }

    /// The whole text, once the completion has ended; hands on what was held back.
    public String finish() {
        give(stops.accept(decoder.finish()));
        give(stops.finish());
        return text.toString();
    }

    /// The stop string that ended the completion; null where none did.
    public @Nullable String stopString() {
        return stops.found();
    }

    private void give(String part) {
        if (!part.isEmpty()) {
            text.append(part);
            sink.accept(part);
        }
    }
}
