package dev.saccade.bench;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/// Operands of a JMH suite on a CPU device of their own; closed together.
final class HostOperands implements AutoCloseable {
    private final HostDevice device;
    private final List<DeviceBuffer> buffers = new ArrayList<>();

    /// @param workers threads; 0 is one a processor
    HostOperands(int workers) {
        device = workers == 0 ? HostDevice.open() : HostDevice.open(workers);
    }

    HostDevice device() {
        return device;
    }

    /// An F32 operand.
    Span of(float[] values) {
        Span span = empty(DType.F32, values.length);
        device.upload(MemorySegment.ofArray(values), span.buffer(), 0);
        return span;
    }

    /// An I32 operand.
    Span of(int[] values) {
        Span span = empty(DType.I32, values.length);
        device.upload(MemorySegment.ofArray(values), span.buffer(), 0);
        return span;
    }

    /// An F32 operand for a result.
    Span empty(int elements) {
        return empty(DType.F32, elements);
    }

    private Span empty(DType dtype, int elements) {
        DeviceBuffer buffer = device.allocate((long) elements * dtype.bytes());
        buffers.add(buffer);
        return Span.of(buffer, dtype);
    }

    /// The elements of an F32 operand.
    float[] floats(Span span) {
        float[] values = new float[Math.toIntExact(span.length())];
        device.download(span.buffer(), 0, MemorySegment.ofArray(values));
        return values;
    }

    @Override
    public void close() {
        buffers.forEach(DeviceBuffer::close);
        device.close();
    }
}
