package dev.saccade.model.language;

import dev.saccade.tensor.Tensor;

/// What a decode step reads: one new token of each of n sequences, all I32 [n] in device memory, so
/// that a recorded step can run again after they have moved on.
///
/// @param tokens each sequence's newest token, whose keys and values enter the cache
/// @param positions its position in the sequence
/// @param cacheRows its row in the cache
/// @param keyStart the sequence's first row in the cache
/// @param keyLength the sequence's tokens with the newest
public record DecodeInputs(
        Tensor tokens, Tensor positions, Tensor cacheRows, Tensor keyStart, Tensor keyLength) {}
