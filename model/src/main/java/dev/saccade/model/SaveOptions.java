package dev.saccade.model;

import dev.saccade.tensor.ShardedSafetensors;
import org.jspecify.annotations.Nullable;

/// How a checkpoint is written.
///
/// @param layout the names of its tensors; null for Hugging Face's own
/// @param shardBytes the most bytes of tensors in a file; at least 1
public record SaveOptions(@Nullable CheckpointLayout layout, long shardBytes) {

    /// Hugging Face's own names, files of 5 GB.
    public static final SaveOptions DEFAULT =
            new SaveOptions(null, ShardedSafetensors.DEFAULT_SHARD_BYTES);

    /// @throws IllegalArgumentException when the limit is below 1
    public SaveOptions {
        if (shardBytes < 1) {
            throw new IllegalArgumentException("shards of " + shardBytes + " bytes");
        }
    }

    /// Files of 5 GB in a layout.
    public static SaveOptions of(CheckpointLayout layout) {
        return new SaveOptions(layout, ShardedSafetensors.DEFAULT_SHARD_BYTES);
    }
}
