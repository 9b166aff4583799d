package dev.saccade.kernels.sampling;

/// Random numbers without a state: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random
/// numbers: as easy as 1, 2, 3", SC 2011), a keyed bijection of 128-bit counters. A number depends
/// on its key and its place alone, so a draw is the same in any batch, on any thread, on any device
/// and after a resume.
///
/// The words of one (key, position) are numbered by lanes, four to a counter. So that a vector of
/// 64 bits a lane makes 32-bit words that lie next to each other, lane v is output `2 ((v >> 4) &
/// 1)
/// + (v & 1)` of the counter `8 (v >> 5) + ((v >> 1) & 7)`: of the 32 lanes of a block, the first
///   16 are the outputs 0 and 1 of 8 counters by turns, the last 16 the outputs 2 and 3.
public final class Philox {
    static final int MULTIPLIER_0 = 0xD2511F53;
    static final int MULTIPLIER_1 = 0xCD9E8D57;
    static final int WEYL_0 = 0x9E3779B9;
    static final int WEYL_1 = 0xBB67AE85;
    static final int ROUNDS = 10;

    /// Lanes that one run of 8 counters makes.
    static final int BLOCK = 32;

    /// The third counter word of Gaussian numbers, which keeps them apart from the lanes' words.
    private static final int GAUSSIAN = 1;

    private static final long UNSIGNED = 0xFFFF_FFFFL;

    private Philox() {}

    /// The key of one sequence. The fields go in one after the other, each scrambled by its own odd
    /// constant and SplitMix64's finaliser and then folded into what came before, through the
    /// finaliser again. Every stage is a bijection of the field that it takes in: keys that differ
    /// in one field are different, and keys that differ in several collide as random 64-bit numbers
    /// do.
    ///
    /// @param seed the run's seed
    /// @param purpose what the numbers are for, a constant of the caller
    /// @param step the training step
    /// @param prompt the prompt's number
    /// @param sample which of the prompt's samples
    public static long key(long seed, int purpose, long step, long prompt, int sample) {
        long key = mix(seed + 0x9E3779B97F4A7C15L);
        key = mix(key ^ mix(purpose + 0xD1B54A32D192ED03L));
        key = mix(key ^ mix(step + 0xABC98388FB8FAC03L));
        key = mix(key ^ mix(prompt + 0x8CB92BA72F3D8DD7L));
        return mix(key ^ mix(sample + 0xDB4F0B9175AE2165L));
    }

    /// Random bits: the word of one lane.
    ///
    /// @param position the place in the sequence
    /// @param lane which word of the position, e.g. the id of a word of the vocabulary; not
    ///   negative
    public static int word(long key, int position, int lane) {
        int counter = 8 * (lane >>> 5) + (lane >>> 1 & 7);
        return output(key, counter, position, 0, 0, 2 * (lane >>> 4 & 1) + (lane & 1));
    }

    /// A number in (0, 1), one of the 2^23 odd multiples of 2^-24: exact in fp32, never 0, never 1,
    /// symmetric about 1/2.
    public static float uniform(long key, int position, int lane) {
        return (2 * (word(key, position, lane) >>> 9) + 1) * 0x1p-24f;
    }

    /// A standard normal number, by Box and Muller's transform in double from one counter.
    ///
    /// @param index which number of this key
    public static double gaussian(long key, long index) {
        int low = (int) index;
        int high = (int) (index >>> 32);
        double radius =
                unit(
                        output(key, low, high, GAUSSIAN, 0, 0),
                        output(key, low, high, GAUSSIAN, 0, 1));
        double angle =
                unit(
                        output(key, low, high, GAUSSIAN, 0, 2),
                        output(key, low, high, GAUSSIAN, 0, 3));
        return StrictMath.sqrt(-2 * StrictMath.log(radius))
                * StrictMath.cos(2 * StrictMath.PI * angle);
    }

    /// 52 of 64 bits as an odd multiple of 2^-53, in (0, 1).
    private static double unit(int high, int low) {
        long bits = ((long) high << 32) | (low & UNSIGNED);
        return (2 * (bits >>> 12) + 1) * 0x1p-53;
    }

    /// One of the four words that the bijection makes of a counter.
    static int output(long key, int c0, int c1, int c2, int c3, int which) {
        int k0 = (int) key;
        int k1 = (int) (key >>> 32);
        for (int round = 0; round < ROUNDS; round++) {
            long p0 = (MULTIPLIER_0 & UNSIGNED) * (c0 & UNSIGNED);
            long p1 = (MULTIPLIER_1 & UNSIGNED) * (c2 & UNSIGNED);
            c0 = (int) (p1 >>> 32) ^ c1 ^ k0;
            c1 = (int) p1;
            c2 = (int) (p0 >>> 32) ^ c3 ^ k1;
            c3 = (int) p0;
            k0 += WEYL_0;
            k1 += WEYL_1;
        }
        return switch (which) {
            case 0 -> c0;
            case 1 -> c1;
            case 2 -> c2;
            default -> c3;
        };
    }

    /// SplitMix64's finaliser, a bijection.
    private static long mix(long value) {
        long z = (value ^ value >>> 30) * 0xBF58476D1CE4E5B9L;
        z = (z ^ z >>> 27) * 0x94D049BB133111EBL;
        return z ^ z >>> 31;
    }
}
