package dev.saccade.model.generate;

import dev.saccade.model.tokenizer.Tokenizer;
import java.util.Arrays;

/// Ends a completion's thinking: after so many tokens of it, `</think>` is put in token by token,
/// and the completion goes on with its answer (Skywork-R1V3 report, section 6.3).
final class ThinkingBudget {
    private static final String BEGIN = "<think>";
    private static final String END = "</think>";

    private final int tokens;
    private final int[] end;

    /// The text of `end`'s first 0, 1, .. tokens.
    private final String[] written;

    private final StringBuilder recent = new StringBuilder();
    private boolean thinking;
    private int used;
    private int forced;

    /// @param tokens the most tokens of thinking, without those of `</think>`
    /// @param begun whether the prompt has opened the thinking
    ThinkingBudget(Tokenizer tokenizer, int tokens, boolean begun) {
        this.tokens = tokens;
        this.end = tokenizer.encode(END);
        this.written = new String[end.length];
        Arrays.setAll(written, i -> tokenizer.decode(Arrays.copyOf(end, i)));
        this.thinking = begun;
    }

    /// What comes before the first token.
    Guide.Next begin() {
        return next();
    }

    /// What comes after a token with this text.
    Guide.Next follow(String text) {
        if (forced > 0) {
            if (forced < end.length) {
                return new Guide.Force(end[forced++]);
            }
            forced = 0;
            thinking = false;
            recent.setLength(0);
            return Guide.Choice.DRAW;
        }
        recent.append(text);
        used += thinking ? 1 : 0;
        String mark = thinking ? END : BEGIN;
        int at = recent.indexOf(mark);
        if (at >= 0) {
            thinking = !thinking;
            recent.delete(0, at + mark.length());
        }
        recent.delete(0, Math.max(0, recent.length() - END.length()));
        return next();
    }

    private Guide.Next next() {
        if (!thinking || used < tokens) {
            return Guide.Choice.DRAW;
        }
        // Where the model has begun to write the mark itself, what is missing is put in.
        String text = recent.toString();
        int begun = end.length - 1;
        while (!text.endsWith(written[begun])) {
            begun--;
        }
        forced = begun + 1;
        return new Guide.Force(end[begun]);
    }
}
