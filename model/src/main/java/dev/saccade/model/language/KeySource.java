package dev.saccade.model.language;

import dev.saccade.kernels.attention.Attention;
import dev.saccade.tensor.Tensor;

/// Where the keys and values are that a forward pass's queries attend to.
sealed interface KeySource {

    /// In the pass itself: packed self-attention.
    record Packed(Attention.Sequences sequences) implements KeySource {}

    /// In a cache, to which the pass's own keys and values are appended first.
    ///
    /// @param rows I32, the cache row of each new token
    record Cached(KvCache cache, Tensor rows, Attention.Sequences sequences) implements KeySource {}

    /// In a cache, for one new token of each sequence, all of it read from device memory.
    record Decoded(KvCache cache, DecodeInputs inputs) implements KeySource {}
}
