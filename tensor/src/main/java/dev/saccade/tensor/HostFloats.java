package dev.saccade.tensor;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.elementwise.HalfFloat;
import java.lang.foreign.MemorySegment;

/// Values that the host computes, on their way to a device, and a device's on their way back;
/// converted to the other side's type, a piece at a time.
final class HostFloats {
    private static final int PIECE = 1 << 18;

    private HostFloats() {}

    /// Where values come from.
    @FunctionalInterface
    interface Source {
        /// Element `index`.
        float at(long index);
    }

    /// Widens 16-bit numbers, as many as `values` has.
    ///
    /// @param dtype F16 or BF16
    static void decode(short[] bits, DType dtype, float[] values) {
        switch (dtype) {
            case F16 -> {
                for (int i = 0; i < values.length; i++) {
                    values[i] = Float.float16ToFloat(bits[i]);
                }
            }
            case BF16 -> {
                for (int i = 0; i < values.length; i++) {
                    values[i] = Float.intBitsToFloat(bits[i] << 16);
                }
            }
            default -> throw new IllegalArgumentException("values of type " + dtype);
        }
    }

    /// Whether [#upload] can write elements of this type.
    static boolean writes(DType dtype) {
        return dtype == DType.F32 || dtype == DType.F16 || dtype == DType.BF16;
    }

    /// Fills `target` from `source`, each value rounded to nearest even.
    static void upload(Source source, Span target) {
        long elements = target.length();
        float[] values = new float[(int) Math.min(PIECE, elements)];
        short[] halves = new short[target.dtype() == DType.F32 ? 0 : values.length];
        for (long from = 0; from < elements; from += values.length) {
            int count = (int) Math.min(values.length, elements - from);
            for (int i = 0; i < count; i++) {
                values[i] = source.at(from + i);
            }
            switch (target.dtype()) {
                case F32 -> upload(MemorySegment.ofArray(values), target, from, count);
                case F16 -> {
                    for (int i = 0; i < count; i++) {
                        halves[i] = Float.floatToFloat16(values[i]);
                    }
                    upload(MemorySegment.ofArray(halves), target, from, count);
                }
                case BF16 -> {
                    for (int i = 0; i < count; i++) {
                        halves[i] = HalfFloat.toBrainFloat(values[i]);
                    }
                    upload(MemorySegment.ofArray(halves), target, from, count);
                }
                default -> throw new IllegalArgumentException("values of type " + target.dtype());
            }
        }
    }

    private static void upload(MemorySegment values, Span target, long from, int count) {
        int bytes = target.dtype().bytes();
        target.device()
                .upload(
                        values.asSlice(0, (long) count * bytes),
                        target.buffer(),
                        (target.offset() + from) * bytes);
    }
}
