package dev.saccade.engine;

import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/// A device could not give the memory asked for.
public final class OutOfDeviceMemoryException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    OutOfDeviceMemoryException(String device, long askedBytes, MemoryStatistics statistics) {
        super(
                "%s: out of memory: asked for %s, %s in use, %s cached; use a smaller batch or model"
                        .formatted(
                                device,
                                size(askedBytes),
                                size(statistics.usedBytes()),
                                size(statistics.cachedBytes())));
    }

    /// @param freeBytes what the driver says is free, after the cache was given back
    /// @param holders block sizes and how many of them are in use, those that hold most first
    OutOfDeviceMemoryException(
            String device,
            long askedBytes,
            long freeBytes,
            MemoryStatistics statistics,
            List<Map.Entry<Long, Integer>> holders) {
        super(
                "%s: out of memory: asked for %s, %s free on the device, %s in use%s, %s cached;"
                                .formatted(
                                        device,
                                        size(askedBytes),
                                        size(freeBytes),
                                        size(statistics.usedBytes()),
                                        holders.isEmpty() ? "" : " (" + text(holders) + ")",
                                        size(statistics.cachedBytes()))
                        + " use a smaller batch, shorter sequences or a smaller model, or end other"
                        + " programs on this GPU");
    }

    private static String text(List<Map.Entry<Long, Integer>> holders) {
        return holders.stream()
                .map(holder -> holder.getValue() + " x " + size(holder.getKey()))
                .collect(Collectors.joining(", ", "most of it ", ""));
    }

    private static String size(long bytes) {
        return String.format(Locale.ROOT, "%,d MiB", Math.ceilDiv(bytes, 1L << 20));
    }
}
