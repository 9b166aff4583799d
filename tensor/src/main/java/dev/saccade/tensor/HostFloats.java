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

    /// A piece of the values.
    @FunctionalInterface
    private interface Pieces {
        /// Writes the elements from `from` on into the beginning of `values`.
        void read(long from, float[] values, int count);
    }

    /// The elements of memory in a file's format.
    ///
    /// @param dtype F64, F32, F16 or BF16
    private static Pieces pieces(MemorySegment bytes, String dtype) {
        return switch (dtype) {
            case "F64" ->
                    (from, values, count) -> {
                        for (int i = 0; i < count; i++) {
                            values[i] = (float) bytes.get(F64, Double.BYTES * (from + i));
                        }
                    };
            case "F32" ->
                    (from, values, count) ->
                            MemorySegment.copy(bytes, F32, Float.BYTES * from, values, 0, count);
            case "F16" -> {
                short[] bits = new short[PIECE];
                yield (from, values, count) -> {
                    MemorySegment.copy(bytes, HALF, Short.BYTES * from, bits, 0, count);
                    for (int i = 0; i < count; i++) {
                        values[i] = Float.float16ToFloat(bits[i]);
                    }
                };
            }
            case "BF16" -> {
                short[] bits = new short[PIECE];
                yield (from, values, count) -> {
                    MemorySegment.copy(bytes, HALF, Short.BYTES * from, bits, 0, count);
                    for (int i = 0; i < count; i++) {
                        values[i] = Float.intBitsToFloat(bits[i] << 16);
                    }
                };
            }
            default -> throw new IllegalArgumentException(dtype);
        };
    }

    /// All elements of memory in a file's format.
    ///
    /// @param dtype F64, F32, F16 or BF16
    static void decode(MemorySegment bytes, String dtype, float[] values) {
        Pieces pieces = pieces(bytes, dtype);
        float[] piece = new float[Math.min(PIECE, values.length)];
        for (int from = 0; from < values.length; from += piece.length) {
            int count = Math.min(piece.length, values.length - from);
            pieces.read(from, piece, count);
            System.arraycopy(piece, 0, values, from, count);
        }
    }

    /// Whether [#upload] can write elements of this type.
    static boolean writes(DType dtype) {
        return dtype == DType.F32 || dtype == DType.F16 || dtype == DType.BF16;
    }

    /// Fills `target` from `source`, each value rounded to nearest even.
    static void upload(Source source, Span target) {
        upload(
                (from, values, count) -> {
                    for (int i = 0; i < count; i++) {
                        values[i] = source.at(from + i);
                    }
                },
                target);
    }

    /// Fills `target` with the elements of memory in a file's format, each value rounded to nearest
    /// even.
    ///
    /// @param dtype F64, F32, F16 or BF16
    static void convert(MemorySegment bytes, String dtype, Span target) {
        upload(pieces(bytes, dtype), target);
    }

    private static void upload(Pieces source, Span target) {
        long elements = target.length();
        float[] values = new float[(int) Math.min(PIECE, elements)];
        short[] halves = new short[target.dtype() == DType.F32 ? 0 : values.length];
        for (long from = 0; from < elements; from += values.length) {
            int count = (int) Math.min(values.length, elements - from);
            source.read(from, values, count);
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
                        halves[i] = toBrainFloat(values[i]);
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

    private static short toBrainFloat(float value) {
        int bits = Float.floatToRawIntBits(value);
        if (Float.isNaN(value)) {
            return (short) (bits >>> 16 | 0x40);
        }
        return (short) ((bits + 0x7fff + (bits >>> 16 & 1)) >>> 16);
    }
}
