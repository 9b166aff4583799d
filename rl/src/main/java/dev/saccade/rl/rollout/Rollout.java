package dev.saccade.rl.rollout;

import dev.saccade.model.Prompt;
import dev.saccade.model.generate.Completion;
import dev.saccade.rl.data.Row;
import dev.saccade.rl.reward.Score;

/// A sampled and scored response.
///
/// @param row the row it answers
/// @param promptText the prompt as the model read it
/// @param prompt the prompt's tokens and pixels
/// @param completion what was sampled
/// @param response the completion's text, without the token that ends it
/// @param score its reward
public record Rollout(
        Row row,
        String promptText,
        Prompt prompt,
        Completion completion,
        String response,
        Score score) {}
