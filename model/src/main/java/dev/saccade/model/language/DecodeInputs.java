package dev.saccade.model.language;

import dev.saccade.kernels.attention.Attention;
import dev.saccade.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/// What a decode step reads: one new token of each of n sequences. All of it is in device memory,
/// so that a recorded step can run again after the sequences have moved on.
///
/// @param tokens I32 [n], each sequence's newest token, whose keys and values enter the cache
/// @param positions I32 [n], its position in the sequence
/// @param cacheRows I32 [n], its row in the cache
/// @param pages where the sequences lie in the cache, the newest tokens counted
/// @param prefixes which sequences begin with the same pages; null where nothing is made of that
public record DecodeInputs(
        Tensor tokens,
        Tensor positions,
        Tensor cacheRows,
        Attention.Pages pages,
        Attention.@Nullable Prefixes prefixes) {}
