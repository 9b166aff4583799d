package dev.saccade.tensor;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;

/// Cosines and sines of a rotary embedding, for positions 0 to `positions` - 1.
public final class RopeTable implements AutoCloseable {
    private final DeviceBuffer buffer;
    private final int positions;

    /// Computes the table, [positions, headDim] fp32.
    public RopeTable(Kernels kernels, int positions, int headDim, double theta) {
        this.positions = positions;
        this.buffer = kernels.device().allocate(4L * positions * headDim);
        kernels.rope().table(positions, headDim, theta, span());
    }

    /// The table.
    public Span span() {
        return Span.of(buffer, DType.F32);
    }

    /// How many positions it holds.
    public int positions() {
        return positions;
    }

    @Override
    public void close() {
        buffer.close();
    }
}
