package dev.saccade.engine;

import java.lang.foreign.MemorySegment;

/// Bytes that are made where an upload wants them, such as those of a file: no copy of the whole is
/// ever held.
@FunctionalInterface
public interface UploadSource {
    /// Parts begin at multiples of this many bytes.
    int ALIGNMENT = 64;

    /// Fills all of `part` with the bytes from `offset` on. Called by several threads at once, for
    /// parts that don't overlap, in no particular order; what it throws ends the upload.
    ///
    /// @param part native memory that any thread may write, valid during the call
    void read(long offset, MemorySegment part);
}
