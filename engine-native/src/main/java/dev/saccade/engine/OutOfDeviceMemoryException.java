package dev.saccade.engine;

import java.util.Locale;

/// A device could not give the memory asked for.
public final class OutOfDeviceMemoryException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    OutOfDeviceMemoryException(String device, long askedBytes, MemoryStatistics statistics) {
        super(
                "%s: out of memory: asked for %s, %s in use, %s cached; use a smaller batch or model"
                        .formatted(
                                device,
                                mebibytes(askedBytes),
                                mebibytes(statistics.usedBytes()),
                                mebibytes(statistics.cachedBytes())));
    }

    private static String mebibytes(long bytes) {
        return String.format(Locale.ROOT, "%,d MiB", Math.ceilDiv(bytes, 1L << 20));
    }
}
