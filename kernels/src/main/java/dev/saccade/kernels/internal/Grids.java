package dev.saccade.kernels.internal;

/// Arithmetic of launches.
public final class Grids {
    private Grids() {}

    /// How many blocks of `each` hold `count`.
    public static int blocks(long count, int each) {
        return Math.toIntExact((count + each - 1) / each);
    }

    /// Whether 16-byte accesses reach everything: `bits` are the addresses and pitches in bytes,
    /// combined by or.
    public static boolean packed(long bits) {
        return (bits & 15) == 0;
    }

    /// Threads that share a row of `units` accesses where each makes up to four at once: a power of
    /// two, at most `threads`.
    public static int lanes(int units, int threads) {
        int lanes = 1;
        while (lanes < threads && lanes * 4 < units) {
            lanes *= 2;
        }
        return lanes;
    }
}
