package dev.saccade.model.generate;

import dev.saccade.model.Prompt;

/// One completion to sample.
///
/// @param prompt what it continues; requests that share the object share its prefill
/// @param key the key of its random numbers: with the model, the prompt and the options it decides
///   the completion, whatever else is generated beside it
public record Request(Prompt prompt, long key) {}
