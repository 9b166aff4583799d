package dev.saccade.model.generate;

import dev.saccade.tensor.Tensor;

/// What one call's draws have in common.
///
/// @param options of the call
/// @param banned U8 [vocabSize], the tokens that can't be drawn: the model's and the options'
/// @param guided whether tokens may be forced
record DrawRules(SamplingOptions options, Tensor banned, boolean guided) {}
