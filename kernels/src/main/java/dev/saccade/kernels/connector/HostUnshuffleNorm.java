package dev.saccade.kernels.connector;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.norm.Norm;
import org.jspecify.annotations.Nullable;

/// Unshuffle and norm on the CPU: one after the other, as the contract defines them. The unfolded
/// rows exist while an operation runs.
final class HostUnshuffleNorm implements UnshuffleNorm {
    private final HostDevice device;
    private final PixelUnshuffle unshuffle;
    private final Norm norm;

    HostUnshuffleNorm(HostDevice device) {
        this.device = device;
        unshuffle = PixelUnshuffle.on(device);
        norm = Norm.on(device);
    }

    @Override
    public void forward(
            int tiles,
            int grid,
            int width,
            float eps,
            Span x,
            Span weight,
            Span bias,
            Span y,
            @Nullable Span mean,
            @Nullable Span rstd) {
        int rows = UnshuffleNorm.rows(tiles, grid);
        try (DeviceBuffer memory = memory(rows, width)) {
            Span rowsOfX = Span.of(memory, DType.F32);
            unshuffle.forward(tiles, grid, width, x, rowsOfX);
            norm.layerNorm(rows, 4 * width, eps, rowsOfX, weight, bias, y, mean, rstd);
        }
    }

    @Override
    public void backward(
            int tiles,
            int grid,
            int width,
            Span x,
            Span weight,
            Span mean,
            Span rstd,
            Span dy,
            @Nullable Span dx,
            @Nullable Span dWeight,
            @Nullable Span dBias) {
        int rows = UnshuffleNorm.rows(tiles, grid);
        try (DeviceBuffer memory = memory(rows, width);
                DeviceBuffer gradients = memory(dx == null ? 0 : rows, width)) {
            Span rowsOfX = Span.of(memory, DType.F32);
            unshuffle.forward(tiles, grid, width, x, rowsOfX);
            Span rowsOfGradient = dx == null ? null : Span.of(gradients, DType.F32);
            norm.layerNormBackward(
                    rows,
                    4 * width,
                    rowsOfX,
                    weight,
                    mean,
                    rstd,
                    dy,
                    rowsOfGradient,
                    dWeight,
                    dBias);
            if (dx != null && rowsOfGradient != null) {
                unshuffle.backward(tiles, grid, width, rowsOfGradient, dx);
            }
        }
    }

    private DeviceBuffer memory(int rows, int width) {
        return device.allocate(16L * rows * width);
    }
}
