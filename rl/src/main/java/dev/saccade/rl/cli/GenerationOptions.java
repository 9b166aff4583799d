package dev.saccade.rl.cli;

import dev.saccade.engine.InputException;
import dev.saccade.model.chat.ChatTemplate;
import dev.saccade.model.chat.CriticalTokens;
import dev.saccade.model.chat.Thinking;
import dev.saccade.model.generate.SamplingOptions;
import dev.saccade.model.generate.TextGuide;
import dev.saccade.model.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/// Options of the commands that let a model write: how tokens are drawn, how it thinks, when it
/// stops.
final class GenerationOptions {
    private static final int MOST_TOKENS = 2048;

    @Option(
            names = "--temperature",
            defaultValue = "0",
            paramLabel = "T",
            description = "0 takes the most probable token (default: ${DEFAULT-VALUE}).")
    float temperature;

    @Option(
            names = "--top-k",
            defaultValue = "0",
            paramLabel = "K",
            description = "Keep the K most probable tokens (default: all).")
    int topK;

    @Option(
            names = "--top-p",
            defaultValue = "1",
            paramLabel = "P",
            description = "Keep the most probable tokens that reach mass P (default: all).")
    float topP;

    @Option(
            names = "--min-p",
            defaultValue = "0",
            paramLabel = "P",
            description =
                    "Keep tokens at least P times as probable as the most probable one (default:"
                            + " all).")
    float minP;

    @Option(
            names = "--repetition-penalty",
            defaultValue = "1",
            paramLabel = "R",
            description = "Above 1, make repeated tokens less likely (default: ${DEFAULT-VALUE}).")
    float repetitionPenalty;

    @Option(
            names = "--max-new-tokens",
            paramLabel = "N",
            description =
                    "Stop after N tokens (default: what the model has positions for, at most"
                            + " 2048).")
    @Nullable Integer maxNewTokens;

    @Option(
            names = "--stop",
            paramLabel = "TEXT",
            description = "Stop before this text; repeat for several.")
    List<String> stops = new ArrayList<>();

    @Option(
            names = "--seed",
            defaultValue = "0",
            paramLabel = "S",
            description = "Seed of the draws (default: ${DEFAULT-VALUE}).")
    long seed;

    @Option(
            names = "--thinking",
            paramLabel = "slow|none|nowait",
            description =
                    "Think first, answer at once, or think without \"Wait\", \"Alternatively\""
                            + " and \"Hmm\" (default: as the template has it).")
    @Nullable Thinking thinking;

    @Option(
            names = "--thinking-budget",
            paramLabel = "N",
            description = "Put in </think> after N tokens of thinking (default: no limit).")
    @Nullable Integer thinkingBudget;

    /// Checks everything that needs no model.
    void check() {
        sampling(1, new int[0], new int[0]);
        if (maxNewTokens != null && maxNewTokens < 1) {
            throw new InputException(
                    "--max-new-tokens " + maxNewTokens, "counts from 1", "give 1 or more");
        }
        if (stops.contains("")) {
            throw new InputException("--stop", "the text is empty", "give a text, or leave it out");
        }
        if (thinkingBudget != null && thinkingBudget < 0) {
            throw new InputException(
                    "--thinking-budget " + thinkingBudget, "is below 0", "give 0 or more");
        }
        if (thinkingBudget != null && thinking == Thinking.NONE) {
            throw new InputException(
                    "--thinking-budget",
                    "there is no thinking with --thinking none",
                    "leave one of them out");
        }
    }

    /// The template with the way to think that was asked for.
    ChatTemplate apply(ChatTemplate template) {
        return thinking == null ? template : template.with(thinking);
    }

    /// The tokens that the way to think rules out.
    int[] bannedTokens(Tokenizer tokenizer) {
        if (thinking != Thinking.NOWAIT) {
            return new int[0];
        }
        int[] forms = CriticalTokens.of(CriticalTokens.DEFAULT_WORDS, tokenizer).forms();
        if (forms.length == 0) {
            throw new InputException(
                    "--thinking nowait",
                    "the tokenizer has no token for any of "
                            + String.join(", ", CriticalTokens.DEFAULT_WORDS),
                    "use slow");
        }
        return forms;
    }

    /// How many tokens an answer may have.
    int maxNewTokens(int promptTokens, int positions) {
        return maxNewTokens != null
                ? maxNewTokens
                : Math.clamp((long) positions - promptTokens, 1, MOST_TOKENS);
    }

    SamplingOptions sampling(int most, int[] stopTokens, int[] bannedTokens) {
        try {
            return new SamplingOptions(
                    temperature,
                    topK,
                    topP,
                    minP,
                    repetitionPenalty,
                    most,
                    stopTokens,
                    bannedTokens);
        } catch (IllegalArgumentException e) {
            throw new InputException(
                    "sampling options",
                    String.valueOf(e.getMessage()),
                    "temperature and top-k are at least 0, top-p is above 0 and at most 1, min-p"
                            + " is between 0 and 1, the repetition penalty is above 0",
                    e);
        }
    }

    /// Follows one answer.
    TextGuide guide(ChatTemplate template, Tokenizer tokenizer, Consumer<String> sink) {
        if (thinkingBudget == null) {
            return TextGuide.of(tokenizer, stops, sink);
        }
        boolean begun =
                template.generationSuffix().lastIndexOf(ChatTemplate.THINKING_BEGIN)
                        > template.generationSuffix().lastIndexOf(ChatTemplate.THINKING_END);
        return TextGuide.withBudget(tokenizer, stops, thinkingBudget, begun, sink);
    }
}
