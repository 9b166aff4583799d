package dev.saccade.kernels.elementwise;

import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.internal.Lanes;
import java.lang.foreign.ValueLayout;

/// Conversions between F32 and the 16-bit types, through F32, which holds both exactly: one
/// rounding, to nearest even.
final class HalfFloat {
    private HalfFloat() {}

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
                for (long i = begin; i < end; i++) {
                    Lanes.set(y + 4 * i, read(from, x, i));
                }
            }
            case BF16 -> {
                for (long i = begin; i < end; i++) {
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

    private static float read(DType dtype, long x, long i) {
        return switch (dtype) {
            case F32 -> Lanes.get(x + 4 * i);
            case BF16 -> Float.intBitsToFloat(getShort(x + 2 * i) << 16);
            case F16 -> Float.float16ToFloat(getShort(x + 2 * i));
            case I64, I32, U8 -> throw new IllegalArgumentException("cast from " + dtype);
        };
    }

    /// The upper half of the bits, rounded to nearest even; a NaN stays one and becomes quiet.
    static short toBrainFloat(float value) {
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
