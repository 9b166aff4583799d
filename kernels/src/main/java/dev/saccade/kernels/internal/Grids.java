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
}
