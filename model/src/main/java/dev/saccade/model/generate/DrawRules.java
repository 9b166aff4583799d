package dev.saccade.model.generate;

import dev.saccade.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/// What one call's draws have in common.
///
/// @param options of the call
/// @param banned U8 [vocabSize], the tokens that can't be drawn: the model's and the options'
/// @param watched U8 [vocabSize], the tokens whose mass is kept; null where none are watched
/// @param guided whether tokens may be forced
record DrawRules(
        SamplingOptions options, Tensor banned, @Nullable Tensor watched, boolean guided) {}
