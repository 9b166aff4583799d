package dev.saccade.engine;

/// What a CUDA device is.
///
/// @param ordinal its number among the visible devices
/// @param name the vendor's name
/// @param computeMajor compute capability, 9 in 9.0
/// @param computeMinor compute capability, 0 in 9.0
/// @param multiprocessors streaming multiprocessors
/// @param memoryBytes device memory
/// @param l2Bytes second-level cache
/// @param sharedBytesPerBlock the most dynamic shared memory a block can opt in to
public record CudaProperties(
        int ordinal,
        String name,
        int computeMajor,
        int computeMinor,
        int multiprocessors,
        long memoryBytes,
        long l2Bytes,
        int sharedBytesPerBlock) {}
