package dev.saccade.kernels.connector;

import dev.saccade.engine.CudaDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.NormKernels;
import dev.saccade.kernels.internal.TypedKernel;
import org.jspecify.annotations.Nullable;

/// Unshuffle and norm on CUDA: LayerNorm's kernels on rows that lie in two runs.
final class CudaUnshuffleNorm implements UnshuffleNorm {
    private final NormKernels kernels;

    CudaUnshuffleNorm(CudaDevice device) {
        kernels =
                new NormKernels(
                        device, device.program("connector/unshuffle_norm"), "unshuffle_norm", true);
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
        DType dtype = TypedKernel.requireActivation("x", x);
        int rows = UnshuffleNorm.rows(tiles, grid);
        int wide = Math.multiplyExact(4, width);
        kernels.forward(
                new NormKernels.Rows(dtype, rows, wide, grid),
                eps,
                x.require("x", dtype, tokens(tiles, grid) * width),
                weight.require("weight", dtype, wide),
                bias.require("bias", dtype, wide),
                y.require("y", dtype, (long) rows * wide),
                floats("mean", mean, rows),
                floats("rstd", rstd, rows));
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
        DType dtype = TypedKernel.requireActivation("x", x);
        int rows = UnshuffleNorm.rows(tiles, grid);
        int wide = Math.multiplyExact(4, width);
        long elements = tokens(tiles, grid) * width;
        kernels.backward(
                new NormKernels.Rows(dtype, rows, wide, grid),
                x.require("x", dtype, elements),
                weight.require("weight", dtype, wide),
                mean.require("mean", DType.F32, rows),
                rstd.require("rstd", DType.F32, rows),
                dy.require("dy", dtype, (long) rows * wide),
                dx == null ? 0 : dx.require("dx", dtype, elements),
                floats("dWeight", dWeight, wide),
                floats("dBias", dBias, wide));
    }

    /// Rows of x, class tokens included.
    private static long tokens(int tiles, int grid) {
        return tiles * (1L + (long) grid * grid);
    }

    /// The address of an F32 operand that may be absent.
    private static long floats(String operand, @Nullable Span span, int count) {
        return span == null ? 0 : span.require(operand, DType.F32, count);
    }
}
