package dev.saccade.kernels.connector;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.Span;

/// Pixel unshuffle (InternVL's `ps_version` v2): drops the class token and folds 2x2 neighbouring
/// patches into the channels. For a grid of side g (even), x is [tiles, 1+g*g, width] and y [tiles,
/// (g/2)*(g/2), 4*width] with `y[t][R*(g/2)+K][(dr*2+dc)*width + c] = x[t][1 + (2R+dr)*g +
/// 2K+dc][c]`. Elements are of one type T, F32 and on CUDA also BF16.
public interface PixelUnshuffle {

    /// Forward.
    void forward(int tiles, int grid, int width, Span x, Span y);

    /// Backward: dx is written; the class token's row gets 0.
    void backward(int tiles, int grid, int width, Span dy, Span dx);

    /// The implementation for `device`.
    static PixelUnshuffle on(Device device) {
        return switch (device) {
            case HostDevice host -> new HostPixelUnshuffle(host);
            case CudaDevice cuda -> new CudaPixelUnshuffle(cuda);
        };
    }
}
