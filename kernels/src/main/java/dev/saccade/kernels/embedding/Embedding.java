package dev.saccade.kernels.embedding;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;

/// Moving rows by index: embedding look-up, taking rows, putting rows, and their gradients. Index
/// operands are I32; every index is checked against its range before anything is written.
public interface Embedding {

    /// `out[r] = table[indices[r]]` for r < rows; table [tableRows, width], out [rows, width].
    void gather(int rows, int width, int tableRows, Span indices, Span table, Span out);

    /// `target[indices[r]] += source[r]` for r = 0, 1, ... rows-1 in this order (indices may
    /// repeat): the gradient of [#gather]; target [targetRows, width].
    void scatterAdd(int rows, int width, int targetRows, Span indices, Span source, Span target);

    /// `target[indices[r]] = source[r]`; indices may not repeat.
    void scatter(int rows, int width, int targetRows, Span indices, Span source, Span target);

    /// The implementation for `device`.
    static Embedding on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostEmbedding(host);
            case CudaDevice cuda -> throw new UnsupportedOperationException("skeleton");
        };
    }
}
