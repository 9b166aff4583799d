package dev.saccade.kernels.testing;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/// A CPU device for one test with the operands made on it; [#close()] frees all.
public final class Buffers implements AutoCloseable {
    private final HostDevice device;
    private final List<DeviceBuffer> buffers = new ArrayList<>();

    /// A new device with `workers` workers.
    public Buffers(int workers) {
        device = HostDevice.open(workers);
    }

    /// The device.
    public HostDevice device() {
        return device;
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

    /// The elements of an F32 operand.
    public float[] floats(Span span) {
        float[] values = new float[Math.toIntExact(span.length())];
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
        device.close();
    }
}
