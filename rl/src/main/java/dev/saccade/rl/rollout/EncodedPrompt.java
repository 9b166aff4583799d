package dev.saccade.rl.rollout;

import dev.saccade.model.Prompt;
import dev.saccade.rl.data.Row;

/// A row's prompt as the model reads it.
///
/// @param row the row
/// @param text the rendered conversation
/// @param prompt its tokens and pixels
public record EncodedPrompt(Row row, String text, Prompt prompt) {}
