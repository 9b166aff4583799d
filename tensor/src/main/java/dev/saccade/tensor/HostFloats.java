package dev.saccade.tensor;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/// Host values on their way to a device, converted to the target's type on the way, a piece at a
/// time.
final class HostFloats {
    private static final int PIECE = 1 << 18;

    private static final ValueLayout.OfDouble F64 =
            ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat F32 =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfShort HALF =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private HostFloats() {}

    /// Where values come from.
    @FunctionalInterface
    interface Source {
        /// Element `index`.
        float at(long index);
    }

    /// The elements of a file's bytes.
    ///
    /// @param dtype F64, F32, F16 or BF16
    static Source of(MemorySegment bytes, String dtype) {
        return switch (dtype) {
            case "F64" -> index -> (float) bytes.get(F64, 8 * index);
            case "F32" -> index -> bytes.get(F32, 4 * index);
            case "F16" -> index -> Float.float16ToFloat(bytes.get(HALF, 2 * index));
            case "BF16" -> index -> Float.intBitsToFloat(bytes.get(HALF, 2 * index) << 16);
            default -> throw new IllegalArgumentException(dtype);
        };
    }

    /// Whether [#upload] can write elements of this type.
    static boolean writes(DType dtype) {
        return dtype == DType.F32 || dtype == DType.F16 || dtype == DType.BF16;
    }

    /// Fills `target` from `source`, each value rounded to nearest even.
    static void upload(Source source, Span target) {
        long elements = target.length();
        int piece = (int) Math.min(PIECE, elements);
        switch (target.dtype()) {
            case F32 -> {
                float[] values = new float[piece];
                for (long from = 0; from < elements; from += piece) {
                    int count = (int) Math.min(piece, elements - from);
                    for (int i = 0; i < count; i++) {
                        values[i] = source.at(from + i);
                    }
                    upload(MemorySegment.ofArray(values), target, from, count);
                }
            }
            case F16, BF16 -> {
                boolean brain = target.dtype() == DType.BF16;
                short[] values = new short[piece];
                for (long from = 0; from < elements; from += piece) {
                    int count = (int) Math.min(piece, elements - from);
                    for (int i = 0; i < count; i++) {
                        float value = source.at(from + i);
                        values[i] = brain ? toBrainFloat(value) : Float.floatToFloat16(value);
                    }
                    upload(MemorySegment.ofArray(values), target, from, count);
                }
            }
            default -> throw new IllegalArgumentException("values of type " + target.dtype());
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

    private static short toBrainFloat(float value) {
        int bits = Float.floatToRawIntBits(value);
        if (Float.isNaN(value)) {
            return (short) (bits >>> 16 | 0x40);
        }
        return (short) ((bits + 0x7fff + (bits >>> 16 & 1)) >>> 16);
    }
}
