package dev.saccade.tensor;

import dev.saccade.engine.Device;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The memory of one step. What the forward pass allocates stays until [#close()]; what one node of
/// the backward pass allocates is freed when the node has run, unless a gradient holds it.
final class StepMemory implements AutoCloseable {
    private final Device device;
    private final List<DeviceBuffer> kept = new ArrayList<>();

    /// How many hold each buffer of the backward pass: gradients, and the node that is running.
    private final IdentityHashMap<DeviceBuffer, Integer> holds = new IdentityHashMap<>();

    private @Nullable List<DeviceBuffer> scope;
    private boolean closed;

    StepMemory(Device device) {
        this.device = device;
    }

    Span allocate(DType dtype, long elements) {
        if (closed) {
            throw new IllegalStateException("the tape is closed");
        }
        DeviceBuffer buffer = device.allocate(elements * dtype.bytes());
        if (scope == null) {
            kept.add(buffer);
        } else {
            scope.add(buffer);
            holds.put(buffer, 1);
        }
        return new Span(buffer, 0, elements, dtype);
    }

    /// Hands memory that was kept here over to another tape's; false where it is not kept here.
    boolean handOver(DeviceBuffer buffer, StepMemory successor) {
        int at = kept.lastIndexOf(buffer);
        if (at < 0) {
            return false;
        }
        kept.remove(at);
        successor.kept.add(buffer);
        return true;
    }

    /// Frees memory that was kept here.
    void free(DeviceBuffer buffer) {
        int at = kept.lastIndexOf(buffer);
        if (at < 0) {
            throw new IllegalArgumentException(buffer + " is not this tape's");
        }
        kept.remove(at);
        buffer.close();
    }

    /// Runs one node: its memory is held while it runs.
    void runNode(Runnable node) {
        if (scope != null) {
            throw new IllegalStateException("a backward pass may not start another one");
        }
        List<DeviceBuffer> own = new ArrayList<>();
        scope = own;
        try {
            node.run();
        } finally {
            scope = null;
            own.forEach(this::release);
        }
    }

    /// Adds a hold; memory that is not the backward pass's is not counted.
    void hold(DeviceBuffer buffer) {
        holds.computeIfPresent(buffer, (_, count) -> count + 1);
    }

    /// Takes a hold back and frees the buffer when it was the last.
    void release(DeviceBuffer buffer) {
        Integer count = holds.get(buffer);
        if (count == null) {
            return;
        }
        if (count == 1) {
            holds.remove(buffer);
            buffer.close();
        } else {
            holds.put(buffer, count - 1);
        }
    }

    /// Whether exactly one gradient, and nothing else, holds the buffer: then it may be written.
    boolean isExclusive(DeviceBuffer buffer) {
        Integer count = holds.get(buffer);
        return count != null && count == 1;
    }

    @Override
    public void close() {
        closed = true;
        holds.keySet().forEach(DeviceBuffer::close);
        holds.clear();
        // Last in, first out: the next step finds the same buffers in the same order.
        for (int i = kept.size() - 1; i >= 0; i--) {
            kept.get(i).close();
        }
        kept.clear();
    }
}
