package dev.saccade.engine;

/// What a device's memory pool holds, in bytes.
///
/// @param usedBytes handed out and not yet given back
/// @param peakBytes the most that was ever handed out at once
/// @param cachedBytes kept by the pool for reuse
/// @param allocations how often the pool had to ask the system for memory
public record MemoryStatistics(
        long usedBytes, long peakBytes, long cachedBytes, long allocations) {}
