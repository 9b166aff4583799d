package dev.saccade.model;

import dev.saccade.model.image.Pixels;
import org.jspecify.annotations.Nullable;

/// What a sequence starts with. Several sequences may share one prompt object; it is then encoded
/// and prefilled once.
///
/// @param tokens its tokens, an image token for every visual token of every tile
/// @param pixels all images' tiles in order; null without images
public record Prompt(int[] tokens, @Nullable Pixels pixels) {

    /// @throws IllegalArgumentException when there is no token
    public Prompt {
        if (tokens.length == 0) {
            throw new IllegalArgumentException("a prompt without tokens");
        }
    }
}
