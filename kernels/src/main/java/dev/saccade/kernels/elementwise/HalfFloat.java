package dev.saccade.kernels.elementwise;

import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.internal.Lanes;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/// Conversions between F32 and the 16-bit types, through F32, which holds both exactly: one
/// rounding, to nearest even.
public final class HalfFloat {
    /// As many 16-bit lanes as [Lanes#SPECIES] has floats.
    private static final VectorSpecies<Short> HALVES =
            VectorSpecies.of(
                    short.class, VectorShape.forBitSize(Lanes.SPECIES.vectorBitSize() / 2));

    private static final VectorSpecies<Integer> INTS =
            VectorSpecies.of(int.class, Lanes.SPECIES.vectorShape());

    private HalfFloat() {}

    /// Converts native memory of the host, with the bits of the CPU's cast.
    ///
    /// @param from F32, BF16 or F16, the type of `source`
    /// @param source as many elements as `target` has; aligned for its type
    /// @param to F32, BF16 or F16, the type of `target`
    /// @param target aligned for its type; it may not overlap `source`
    /// @throws IllegalArgumentException when the extents don't fit or a type is another one
    public static void convert(DType from, MemorySegment source, DType to, MemorySegment target) {
        check(from);
        check(to);
        long count = target.byteSize() / to.bytes();
        if (!source.isNative()
                || !target.isNative()
                || source.byteSize() != count * from.bytes()
                || target.byteSize() != count * to.bytes()) {
            throw new IllegalArgumentException(
                    "%s to %s: %s to %s".formatted(from, to, source, target));
        }
        cast(from, source.address(), to, target.address(), 0, count);
    }

    /// Refuses the types that a cast does not know.
    static void check(DType dtype) {
        switch (dtype) {
            case F32, BF16, F16 -> {}
            case I64, I32, U8 ->
                    throw new IllegalArgumentException(
                            "cast knows F32, BF16 and F16, not " + dtype);
        }
    }

    /// Converts the elements `begin` to `end`.
    static void cast(DType from, long x, DType to, long y, long begin, long end) {
        switch (to) {
            case F32 -> {
                long i = from == DType.BF16 ? widen(x, y, begin, end) : begin;
                for (; i < end; i++) {
                    Lanes.set(y + 4 * i, read(from, x, i));
                }
            }
            case BF16 -> {
                long i = from == DType.F32 ? narrow(x, y, begin, end) : begin;
                for (; i < end; i++) {
                    putShort(y + 2 * i, toBrainFloat(read(from, x, i)));
                }
            }
            case F16 -> {
                for (long i = begin; i < end; i++) {
                    putShort(y + 2 * i, Float.floatToFloat16(read(from, x, i)));
                }
            }
            case I64, I32, U8 -> throw new IllegalArgumentException("cast to " + to);
        }
    }

    /// BF16 to F32 by vectors; what remains at the end is left to the caller.
    ///
    /// @return the first element that was not converted
    private static long widen(long x, long y, long begin, long end) {
        long i = begin;
        for (; i + Lanes.LENGTH <= end; i += Lanes.LENGTH) {
            ShortVector.fromMemorySegment(
                            HALVES, HostMemory.SPACE, x + 2 * i, ByteOrder.nativeOrder())
                    .convertShape(VectorOperators.ZERO_EXTEND_S2I, INTS, 0)
                    .reinterpretAsInts()
                    .lanewise(VectorOperators.LSHL, 16)
                    .intoMemorySegment(HostMemory.SPACE, y + 4 * i, ByteOrder.nativeOrder());
        }
        return i;
    }

    /// F32 to BF16 as [#toBrainFloat(float)] does it, by vectors; what remains at the end is left
    /// to the caller.
    ///
    /// @return the first element that was not converted
    private static long narrow(long x, long y, long begin, long end) {
        long i = begin;
        for (; i + Lanes.LENGTH <= end; i += Lanes.LENGTH) {
            IntVector bits =
                    IntVector.fromMemorySegment(
                            INTS, HostMemory.SPACE, x + 4 * i, ByteOrder.nativeOrder());
            IntVector high = bits.lanewise(VectorOperators.LSHR, 16);
            VectorMask<Integer> nan = bits.and(0x7fffffff).compare(VectorOperators.GT, 0x7f800000);
            bits.add(0x7fff)
                    .add(high.and(1))
                    .lanewise(VectorOperators.LSHR, 16)
                    .blend(high.or(0x40), nan)
                    .convertShape(VectorOperators.I2S, HALVES, 0)
                    .intoMemorySegment(HostMemory.SPACE, y + 2 * i, ByteOrder.nativeOrder());
        }
        return i;
    }

    private static float read(DType dtype, long x, long i) {
        return switch (dtype) {
            case F32 -> Lanes.get(x + 4 * i);
            case BF16 -> Float.intBitsToFloat(getShort(x + 2 * i) << 16);
            case F16 -> Float.float16ToFloat(getShort(x + 2 * i));
            case I64, I32, U8 -> throw new IllegalArgumentException("cast from " + dtype);
        };
    }

    /// The upper half of the bits, rounded to nearest even; a NaN stays one and becomes quiet.
    public static short toBrainFloat(float value) {
        int bits = Float.floatToRawIntBits(value);
        if (Float.isNaN(value)) {
            return (short) ((bits >>> 16) | 0x40);
        }
        return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
    }

    private static short getShort(long address) {
        return HostMemory.SPACE.get(ValueLayout.JAVA_SHORT, address);
    }

    private static void putShort(long address, short value) {
        HostMemory.SPACE.set(ValueLayout.JAVA_SHORT, address, value);
    }
}
