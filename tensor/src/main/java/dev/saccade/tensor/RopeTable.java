package dev.saccade.tensor;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;

/// Cosines and sines of a rotary embedding, for the positions 0 to `positions` - 1.
public final class RopeTable implements AutoCloseable {
    private final DeviceBuffer buffer;
    private final int positions;
    private final int headDim;

    /// Computes the table, [positions, headDim] F32.
    ///
    /// @param theta the base of the wavelengths
    public RopeTable(Kernels kernels, int positions, int headDim, double theta) {
        this.positions = positions;
        this.headDim = headDim;
        this.buffer = kernels.device().allocate((long) Float.BYTES * positions * headDim);
        kernels.rope().table(positions, headDim, theta, span());
    }

    /// The table's memory.
    public Span span() {
        return Span.of(buffer, DType.F32);
    }

    /// How many positions it holds.
    public int positions() {
        return positions;
    }

    /// Elements per head.
    public int headDim() {
        return headDim;
    }

    @Override
    public void close() {
        buffer.close();
    }
}
