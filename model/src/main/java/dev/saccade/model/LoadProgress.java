package dev.saccade.model;

/// Hears how far a checkpoint's loading has come; on the loading thread, after each tensor.
@FunctionalInterface
public interface LoadProgress {
    /// Nobody listens.
    LoadProgress NONE = (_, _) -> {};

    /// Hears that another tensor has been read.
    ///
    /// @param doneBytes of the files' tensors that are on the device or on their way
    /// @param totalBytes of all tensors to load
    void loaded(long doneBytes, long totalBytes);
}
