package dev.saccade.kernels.embedding;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;

/// Moving rows by index: embedding look-up, taking rows, putting rows, and their gradients. Rows
/// are of one type T, F32 and on CUDA also BF16; index operands are I32.
///
/// Every index is checked. The CPU checks all before anything is written, and throws an
/// IllegalArgumentException. On CUDA the kernel does: a row whose index is out of range is left
/// out, the others are done, and the device's next download or synchronisation throws an
/// IndexOutOfBoundsException.
public interface Embedding {

    /// `out[r] = table[indices[r]]` for r < rows; table [tableRows, width], out [rows, width].
    void gather(int rows, int width, int tableRows, Span indices, Span table, Span out);

    /// `target[indices[r]] += source[r]` for r = 0, 1, ... rows-1 in this order (indices may
    /// repeat): the gradient of [#gather]; target [targetRows, width] is of T or F32. A target row
    /// is one chain in F32 from its old value, rounded once.
    void scatterAdd(int rows, int width, int targetRows, Span indices, Span source, Span target);

    /// `target[indices[r]] = source[r]`; indices may not repeat (the CPU refuses, on CUDA any of
    /// the sources may be left).
    void scatter(int rows, int width, int targetRows, Span indices, Span source, Span target);

    /// The implementation for `device`.
    static Embedding on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostEmbedding(host);
            case CudaDevice cuda -> new CudaEmbedding(cuda);
        };
    }
}
