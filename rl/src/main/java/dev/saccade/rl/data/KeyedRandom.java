package dev.saccade.rl.data;

/// Random numbers that depend on nothing but their key: the n-th number of a key is a hash of the
/// key and n (SplitMix64). Equal on every machine and in every version, so a data set or an order
/// of rows can be made again from its seed.
public final class KeyedRandom {
    private static final long STEP = 0x9E3779B97F4A7C15L;

    private final long key;
    private long count;

    private KeyedRandom(long key) {
        this.key = key;
    }

    /// The numbers of a key.
    ///
    /// @param seed the run's or the data set's seed
    /// @param purpose what the numbers are for
    /// @param index which of the things of that purpose
    public static KeyedRandom of(long seed, String purpose, long index) {
        long key = mix(seed + STEP);
        for (int i = 0; i < purpose.length(); i++) {
            key = mix(key ^ purpose.charAt(i));
        }
        return new KeyedRandom(mix(mix(key + STEP) + index));
    }

    /// 64 random bits.
    public long nextLong() {
        count++;
        return mix(key + count * STEP);
    }

    /// A number from 0 to `bound` - 1.
    public int nextInt(int bound) {
        if (bound < 1) {
            throw new IllegalArgumentException("bound " + bound);
        }
        // The upper 32 bits, scaled: for small bounds the bias is below 2^-20.
        return (int) (((nextLong() >>> 32) * bound) >>> 32);
    }

    /// A number from 0 to below 1, of 53 random bits.
    public double nextDouble() {
        return (nextLong() >>> 11) * 0x1p-53;
    }

    private static long mix(long value) {
        long z = value;
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }
}
