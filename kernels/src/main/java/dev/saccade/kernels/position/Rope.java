package dev.saccade.kernels.position;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;

/// Rotary position embedding, half-split as in Qwen2: for i < headDim/2 with angle `t = position *
/// theta^(-2i/headDim)`, `y[i] = x[i] cos t - x[i+headDim/2] sin t`, `y[i+headDim/2] =
/// x[i+headDim/2] cos t + x[i] sin t`.
///
/// x is of T, F32 and on CUDA also BF16; an element is `fma(a, cos t, -+(b sin t))` in F32, rounded
/// once, the same bits on every device. The table is F32. A position beyond the table is refused by
/// the CPU with an IllegalArgumentException before anything is written; on CUDA its row stays as it
/// is, and the device's next download or synchronisation throws an IndexOutOfBoundsException.
public interface Rope {

    /// Fills a table [positions, headDim] fp32: row p holds cos t for i < headDim/2, then sin t.
    /// Computed on the host in double precision and rounded once: the same bits on every device.
    void table(int positions, int headDim, double theta, Span table);

    /// Rotates x [rows, heads*headDim] in place by the table's row `positions[r]`. `positions`
    /// [rows] is I32.
    void rotate(int rows, int heads, int headDim, Span table, Span positions, Span x);

    /// The transposed rotation, in place: the gradient.
    void rotateBackward(int rows, int heads, int headDim, Span table, Span positions, Span dx);

    /// The implementation for `device`.
    static Rope on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostRope(host);
            case CudaDevice cuda -> new CudaRope(cuda);
        };
    }
}
