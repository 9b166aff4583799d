package dev.saccade.kernels.testing;

import dev.saccade.engine.Device;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/// Operands on a device for one test; [#close()] frees all.
public final class Buffers implements AutoCloseable {
    private final Device device;
    private final boolean owned;
    private final List<DeviceBuffer> buffers = new ArrayList<>();

    /// Operands on a new CPU device with `workers` workers, which is closed with them.
    public Buffers(int workers) {
        this(HostDevice.open(workers), true);
    }

    /// @param owned whether [#close()] closes the device, too
    Buffers(Device device, boolean owned) {
        this.device = device;
        this.owned = owned;
    }

    /// The device.
    public Device device() {
        return device;
    }

    /// A floating-point operand of these values, each rounded to nearest even.
    public Span of(DType dtype, float... values) {
        if (dtype == DType.F32) {
            return of(values);
        }
        short[] bits = new short[values.length];
        for (int i = 0; i < values.length; i++) {
            bits[i] =
                    dtype == DType.BF16
                            ? (short) (Float.floatToRawIntBits(rounded(dtype, values[i])) >>> 16)
                            : Float.floatToFloat16(values[i]);
        }
        return ofBits(dtype, bits);
    }

    /// A value rounded to nearest even in `dtype` (F32, BF16 or F16).
    public static float rounded(DType dtype, float value) {
        return switch (dtype) {
            case F32 -> value;
            case F16 -> Float.float16ToFloat(Float.floatToFloat16(value));
            case BF16 -> {
                int bits = Float.floatToRawIntBits(value);
                yield Float.isNaN(value)
                        ? value
                        : Float.intBitsToFloat((bits + 0x7fff + (bits >>> 16 & 1)) & 0xffff0000);
            }
            default -> throw new IllegalArgumentException(dtype.toString());
        };
    }

    /// All values rounded to nearest even in `dtype`.
    public static float[] rounded(DType dtype, float[] values) {
        float[] result = new float[values.length];
        for (int i = 0; i < values.length; i++) {
            result[i] = rounded(dtype, values[i]);
        }
        return result;
    }

    /// An F32 operand.
    public Span of(float... values) {
        return filled(DType.F32, MemorySegment.ofArray(values));
    }

    /// An I32 operand.
    public Span of(int... values) {
        return filled(DType.I32, MemorySegment.ofArray(values));
    }

    /// An I64 operand.
    public Span of(long... values) {
        return filled(DType.I64, MemorySegment.ofArray(values));
    }

    /// A U8 operand.
    public Span of(byte... values) {
        return filled(DType.U8, MemorySegment.ofArray(values));
    }

    /// A BF16 or F16 operand from its bits.
    public Span ofBits(DType dtype, short... bits) {
        return filled(dtype, MemorySegment.ofArray(bits));
    }

    /// An F32 operand full of NaN, to catch what a kernel does not write.
    public Span poison(int elements) {
        return poison(DType.F32, elements);
    }

    /// An operand with all bits set: NaN in every floating-point type, -1 in the integers.
    public Span poison(DType dtype, int elements) {
        DeviceBuffer buffer = device.allocate((long) elements * dtype.bytes());
        buffers.add(buffer);
        device.fill(buffer, 0, buffer.bytes(), (byte) -1);
        return Span.of(buffer, dtype);
    }

    /// The elements of a floating-point operand.
    public float[] floats(Span span) {
        if (span.dtype() != DType.F32) {
            short[] bits = bits(span);
            float[] values = new float[bits.length];
            for (int i = 0; i < bits.length; i++) {
                values[i] =
                        span.dtype() == DType.BF16
                                ? Float.intBitsToFloat(bits[i] << 16)
                                : Float.float16ToFloat(bits[i]);
            }
            return values;
        }
        float[] values = new float[Math.toIntExact(span.length())];
        device.download(span.buffer(), span.offset() * 4, MemorySegment.ofArray(values));
        return values;
    }

    /// The elements of an I32 operand.
    public int[] ints(Span span) {
        int[] values = new int[Math.toIntExact(span.length())];
        device.download(span.buffer(), span.offset() * 4, MemorySegment.ofArray(values));
        return values;
    }

    /// The bits of a BF16 or F16 operand.
    public short[] bits(Span span) {
        short[] values = new short[Math.toIntExact(span.length())];
        device.download(span.buffer(), span.offset() * 2, MemorySegment.ofArray(values));
        return values;
    }

    /// `count` normally distributed numbers times `deviation`.
    public static float[] normal(long seed, int count, double deviation) {
        SplittableRandom random = new SplittableRandom(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) (random.nextGaussian() * deviation);
        }
        return values;
    }

    private Span filled(DType dtype, MemorySegment source) {
        DeviceBuffer buffer = device.allocate(source.byteSize());
        buffers.add(buffer);
        device.upload(source, buffer, 0);
        return Span.of(buffer, dtype);
    }

    @Override
    public void close() {
        buffers.forEach(DeviceBuffer::close);
        if (owned) {
            device.close();
        }
    }
}
