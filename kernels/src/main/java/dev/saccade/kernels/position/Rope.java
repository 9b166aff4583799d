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

    /// What a decoder layer does with its projections of new tokens before it attends to a cache,
    /// in one pass: rotates q [rows, heads*headDim] in place and k [rows, kvHeads*headDim], and
    /// puts the rotated k and v [rows, kvHeads*headDim] into the cache's rows.
    ///
    /// The bits are those of [#rotate] on q and on k, followed by
    /// [dev.saccade.kernels.embedding.Embedding#scatter] of k and of v. k and v stay as they are: a
    /// key is read once and written once, where the parts read and write it twice. For T of b bytes
    /// that is `2 b headDim (heads + 2 kvHeads)` bytes for each row instead of `2 b headDim (heads
    /// + 3 kvHeads)`, and one launch instead of four.
    ///
    /// All operands are of T but the table (F32) and the indices (I32). The caches overlap nothing
    /// else. A cache row that no index names stays as it is. Indices are checked as positions are:
    /// a row with a bad one leaves q and the cache as they are. Indices may not repeat (the CPU
    /// refuses, on CUDA any of the rows may be left).
    void rotateIntoCache(
            int rows,
            int heads,
            int kvHeads,
            int headDim,
            Span table,
            Span positions,
            Span q,
            Span k,
            Span v,
            Cache cache);

    /// A decoder layer's keys and values of all tokens so far.
    ///
    /// @param rows how many rows keys and values each have
    /// @param places I32, the row of each new token
    /// @param keys [rows, kvHeads*headDim]
    /// @param values [rows, kvHeads*headDim]
    record Cache(int rows, Span places, Span keys, Span values) {}

    /// The implementation for `device`.
    static Rope on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostRope(host);
            case CudaDevice cuda -> new CudaRope(cuda);
        };
    }
}
