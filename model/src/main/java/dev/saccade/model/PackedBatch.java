package dev.saccade.model;

import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.stream.IntStream;

/// Sequences of different lengths, one behind the other without padding.
///
/// @param tokens the tokens of all sequences [T]
/// @param positions each token's position in its sequence [T]
/// @param cumulative sequence s is the rows cumulative[s] to cumulative[s + 1]
/// @param imageRows the rows that hold an image token
/// @param visualRows row imageRows[i] receives visual token visualRows[i] instead of its embedding;
///   several rows may receive the same one
public record PackedBatch(
        int[] tokens, int[] positions, int[] cumulative, int[] imageRows, int[] visualRows) {

    /// How many tokens.
    public int rows() {
        return tokens.length;
    }

    /// How many sequences.
    public int sequences() {
        return cumulative.length - 1;
    }

    /// Packs sequences that each are a prompt and what follows it. Visual tokens are numbered by
    /// distinct prompt objects, in the order of [#distinct(List)]: prompts that occur several times
    /// need their pixels encoded once.
    ///
    /// @param prompts each sequence's prompt
    /// @param continuations each sequence's tokens after the prompt
    /// @throws IllegalArgumentException when a prompt's image tokens and tiles do not match, or an
    ///   image token follows a prompt
    public static PackedBatch pack(
            VisionLanguageConfig config, List<Prompt> prompts, List<int[]> continuations) {
        if (prompts.size() != continuations.size()) {
            throw new IllegalArgumentException(
                    "%d prompts, %d continuations".formatted(prompts.size(), continuations.size()));
        }
        IdentityHashMap<Prompt, Integer> firstVisual = new IdentityHashMap<>();
        int visuals = 0;
        for (Prompt prompt : distinct(prompts)) {
            firstVisual.put(prompt, visuals);
            visuals += requireVisualTokens(config, prompt);
        }
        int rows = 0;
        int[] cumulative = new int[prompts.size() + 1];
        for (int s = 0; s < prompts.size(); s++) {
            rows =
                    Math.addExact(
                            rows, prompts.get(s).tokens().length + continuations.get(s).length);
            cumulative[s + 1] = rows;
        }
        int[] tokens = new int[rows];
        int[] positions = new int[rows];
        IntStream.Builder imageRows = IntStream.builder();
        IntStream.Builder visualRows = IntStream.builder();
        for (int s = 0; s < prompts.size(); s++) {
            int[] prompt = prompts.get(s).tokens();
            int[] continuation = continuations.get(s);
            int start = cumulative[s];
            System.arraycopy(prompt, 0, tokens, start, prompt.length);
            System.arraycopy(continuation, 0, tokens, start + prompt.length, continuation.length);
            for (int i = 0; i < prompt.length + continuation.length; i++) {
                positions[start + i] = i;
            }
            int visual = firstVisual.getOrDefault(prompts.get(s), 0);
            for (int i = 0; i < prompt.length; i++) {
                if (prompt[i] == config.imageTokenId()) {
                    imageRows.add(start + i);
                    visualRows.add(visual++);
                }
            }
            for (int token : continuation) {
                if (token == config.imageTokenId()) {
                    throw new IllegalArgumentException(
                            "sequence %d: an image token behind the prompt".formatted(s));
                }
            }
        }
        return new PackedBatch(
                tokens,
                positions,
                cumulative,
                imageRows.build().toArray(),
                visualRows.build().toArray());
    }

    /// The distinct prompt objects in the order they first occur.
    public static List<Prompt> distinct(List<Prompt> prompts) {
        IdentityHashMap<Prompt, Boolean> seen = new IdentityHashMap<>();
        List<Prompt> distinct = new ArrayList<>();
        for (Prompt prompt : prompts) {
            if (seen.put(prompt, true) == null) {
                distinct.add(prompt);
            }
        }
        return distinct;
    }

    /// The visual tokens of a prompt, which its image tokens have to match.
    private static int requireVisualTokens(VisionLanguageConfig config, Prompt prompt) {
        int visuals =
                prompt.pixels() == null ? 0 : prompt.pixels().tiles() * config.tokensPerTile();
        int imageTokens = 0;
        for (int token : prompt.tokens()) {
            if (token == config.imageTokenId()) {
                imageTokens++;
            }
        }
        if (imageTokens != visuals) {
            throw new IllegalArgumentException(
                    "a prompt has %d image tokens, but its tiles make %d visual tokens"
                            .formatted(imageTokens, visuals));
        }
        return visuals;
    }
}
