package dev.saccade.kernels.internal;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/// Arrays on a device of their own, for tests: everything is freed at once by [#close()].
public final class HostArrays implements AutoCloseable {
    private final HostDevice device;
    private final List<DeviceBuffer> buffers = new ArrayList<>();

    public HostArrays(int workers) {
        device = HostDevice.open(workers);
    }

    public HostDevice device() {
        return device;
    }

    public Span of(float... values) {
        return upload(MemorySegment.ofArray(values), DType.F32);
    }

    public Span of(int... values) {
        return upload(MemorySegment.ofArray(values), DType.I32);
    }

    public Span of(long... values) {
        return upload(MemorySegment.ofArray(values), DType.I64);
    }

    public Span of(byte... values) {
        return upload(MemorySegment.ofArray(values), DType.U8);
    }

    /// Memory full of NaN (as ints: -1).
    public Span poison(int elements, DType dtype) {
        DeviceBuffer buffer = device.allocate((long) elements * dtype.bytes());
        buffers.add(buffer);
        device.fill(buffer, 0, buffer.bytes(), (byte) -1);
        return Span.of(buffer, dtype);
    }

    public float[] floats(Span span) {
        float[] values = new float[(int) span.length()];
        device.download(span.buffer(), span.offset() * 4, MemorySegment.ofArray(values));
        return values;
    }

    public int[] ints(Span span) {
        int[] values = new int[(int) span.length()];
        device.download(span.buffer(), span.offset() * 4, MemorySegment.ofArray(values));
        return values;
    }

    /// Uniform numbers in [from, to).
    public static float[] random(long seed, int count, double from, double to) {
        SplittableRandom random = new SplittableRandom(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextDouble(from, to);
        }
        return values;
    }

    private Span upload(MemorySegment source, DType dtype) {
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
