package dev.saccade.kernels.sampling;

import dev.saccade.kernels.internal.Lanes;
import dev.saccade.kernels.internal.VectorMath;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/// Standard Gumbel noise -log(-log(1 - u)) from [Philox]'s lanes, one number a word of the
/// vocabulary.
///
/// u is 31 random bits as a float in (0, 1): near 0, where the noise is large and decides which
/// word wins, it is fine-grained, down to 2^-33, so that words as rare as 1e-9 are drawn as often
/// as they should be. The noise lies between -2.82 and 22.88.
final class Gumbel {
    private static final float LARGEST_UNIFORM = 0x1.fffffep-1f;
    private static final int LOW_BITS = 0x7fff;
    private static final long UNSIGNED = 0xFFFF_FFFFL;

    private static final VectorSpecies<Long> LONGS =
            VectorSpecies.of(long.class, Lanes.SPECIES.vectorShape());

    // Constants as vectors: broadcasts in place would cost the compiler many more nodes.
    private static final LongVector LOW_HALF = LongVector.broadcast(LONGS, UNSIGNED);
    private static final LongVector FACTOR_0 =
            LongVector.broadcast(LONGS, Philox.MULTIPLIER_0 & UNSIGNED);
    private static final LongVector FACTOR_1 =
            LongVector.broadcast(LONGS, Philox.MULTIPLIER_1 & UNSIGNED);
    private static final LongVector LANES = LongVector.zero(LONGS).addIndex(1);
    private static final FloatVector FINE = FloatVector.broadcast(Lanes.SPECIES, 0x1p-31f);
    private static final FloatVector HALF_FINE = FloatVector.broadcast(Lanes.SPECIES, 0x1p-33f);
    private static final FloatVector COARSE = FloatVector.broadcast(Lanes.SPECIES, 0x1p-16f);

    private static final Stage[] STAGES = {Gumbel::words, Gumbel::exponentials, Gumbel::logarithms};

    private Gumbel() {}

    /// The noise that one word of random bits makes.
    static float noise(int bits) {
        int half = bits >>> 1;
        float fine = Math.fma(half & LOW_BITS, 0x1p-31f, 0x1p-33f);
        float u = Math.fma(half >>> 15, 0x1p-16f, fine);
        u = u > LARGEST_UNIFORM ? LARGEST_UNIFORM : u;
        return -VectorMath.log(-VectorMath.logOnePlus(-u));
    }

    /// From bits to the exponential number -log(1 - u).
    private static FloatVector exponential(IntVector bits) {
        IntVector half = bits.lanewise(VectorOperators.LSHR, 1);
        FloatVector fine = small(half.and(LOW_BITS)).fma(FINE, HALF_FINE);
        FloatVector u = small(half.lanewise(VectorOperators.LSHR, 15)).fma(COARSE, fine);
        VectorMask<Float> beyond = u.compare(VectorOperators.GT, LARGEST_UNIFORM);
        return VectorMath.logOnePlusInRange(u.blend(LARGEST_UNIFORM, beyond).neg()).neg();
    }

    /// Integers of at most 16 bits as floats: they become the fraction of 2^23 + x.
    private static FloatVector small(IntVector x) {
        return x.or(0x4b000000).reinterpretAsFloats().sub(0x1p23f);
    }

    /// Writes the noise of the lanes from `first` on, `count` or a few more, to `out`: the same
    /// bits as `noise(Philox.word(key, position, lane))`. `first` and the length of `out` are
    /// multiples of [Philox#BLOCK].
    static void fill(long key, int position, int first, int count, float[] out) {
        int end = Math.ceilDiv(count, Philox.BLOCK) * Philox.BLOCK;
        for (Stage stage : STAGES) {
            stage.run(key, position, first, out, end);
        }
    }

    /// A loop over a chunk of words. The stages are called from one place, which the compiler
    /// therefore cannot inline: all three in one method would be more than it inlines, and then
    /// vectors become objects.
    private interface Stage {
        void run(long key, int position, int first, float[] out, int end);
    }

    private static void words(long key, int position, int first, float[] out, int end) {
        for (int at = 0; at < end; at += Philox.BLOCK) {
            for (int group = 0; group < Philox.BLOCK / 2; group += Lanes.LENGTH) {
                counters(key, position, (first + at) / 4 + group / 2, out, at + group);
            }
        }
    }

    private static void exponentials(long key, int position, int first, float[] out, int end) {
        for (int at = 0; at < end; at += Lanes.LENGTH) {
            IntVector bits = FloatVector.fromArray(Lanes.SPECIES, out, at).reinterpretAsInts();
            exponential(bits).intoArray(out, at);
        }
    }

    private static void logarithms(long key, int position, int first, float[] out, int end) {
        for (int at = 0; at < end; at += Lanes.LENGTH) {
            FloatVector exponential = FloatVector.fromArray(Lanes.SPECIES, out, at);
            VectorMath.logInRange(exponential).neg().intoArray(out, at);
        }
    }

    /// The bits of the outputs of consecutive counters, one counter to a 64-bit lane: outputs 0 and
    /// 1 make LENGTH adjacent words at `at`, 2 and 3 the same of the block's second half.
    private static void counters(long key, int position, int firstCounter, float[] out, int at) {
        LongVector c0 = LANES.add(firstCounter);
        LongVector c1 = LongVector.broadcast(LONGS, position & UNSIGNED);
        LongVector c2 = LongVector.zero(LONGS);
        LongVector c3 = c2;
        int k0 = (int) key;
        int k1 = (int) (key >>> 32);
        for (int round = 0; round < Philox.ROUNDS; round++) {
            LongVector p0 = c0.and(LOW_HALF).mul(FACTOR_0);
            LongVector p1 = c2.and(LOW_HALF).mul(FACTOR_1);
            // The upper halves of c1 and c3, and with them those of c0 and c2, are left dirty:
            // whoever reads them masks.
            c0 = p1.lanewise(VectorOperators.LSHR, 32).lanewise(VectorOperators.XOR, c1);
            c0 = c0.lanewise(VectorOperators.XOR, k0 & UNSIGNED);
            c1 = p1;
            c2 = p0.lanewise(VectorOperators.LSHR, 32).lanewise(VectorOperators.XOR, c3);
            c2 = c2.lanewise(VectorOperators.XOR, k1 & UNSIGNED);
            c3 = p0;
            k0 += Philox.WEYL_0;
            k1 += Philox.WEYL_1;
        }
        LongVector low = c0.and(LOW_HALF).or(c1.lanewise(VectorOperators.LSHL, 32));
        LongVector high = c2.and(LOW_HALF).or(c3.lanewise(VectorOperators.LSHL, 32));
        low.reinterpretAsFloats().intoArray(out, at);
        high.reinterpretAsFloats().intoArray(out, at + Philox.BLOCK / 2);
    }
}
