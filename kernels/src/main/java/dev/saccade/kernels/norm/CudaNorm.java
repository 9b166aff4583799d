package dev.saccade.kernels.norm;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.NormKernels;
import dev.saccade.kernels.internal.TypedKernel;
import org.jspecify.annotations.Nullable;

/// LayerNorm and RMSNorm on CUDA, over rows that follow each other. How they are launched is in
/// [NormKernels].
final class CudaNorm implements Norm {
    private final NormKernels layerNorm;
    private final NormKernels rmsNorm;
    private final NormKernels.Both rmsNormBoth;

    CudaNorm(CudaDevice device) {
        Program program = device.program("norm/portable");
        layerNorm = new NormKernels(device, program, "layer_norm", true);
        rmsNorm = new NormKernels(device, program, "rms_norm", false);
        rmsNormBoth = NormKernels.Both.of(program, "rms_norm_both");
    }

    @Override
    public void layerNorm(
            int rows,
            int width,
            float eps,
            Span x,
            Span weight,
            Span bias,
            Span y,
            @Nullable Span mean,
            @Nullable Span rstd) {
        forward(layerNorm, rows, width, eps, x, weight, bias, y, mean, rstd);
    }

    @Override
    public void rmsNorm(
            int rows, int width, float eps, Span x, Span weight, Span y, @Nullable Span rstd) {
        forward(rmsNorm, rows, width, eps, x, weight, null, y, null, rstd);
    }

    @Override
    public void rmsNormBoth(int rows, int width, float eps, Operands first, Operands second) {
        DType dtype = TypedKernel.requireActivation("x", first.x());
        NormKernels.Rows all = new NormKernels.Rows(dtype, rows, width, 0);
        rmsNormBoth.forward(all, eps, addresses(all, first), addresses(all, second));
    }

    private static NormKernels.Both.Addresses addresses(NormKernels.Rows rows, Operands operands) {
        long elements = (long) rows.rows() * rows.width();
        return new NormKernels.Both.Addresses(
                operands.x().require("x", rows.dtype(), elements),
                operands.weight().require("weight", rows.dtype(), rows.width()),
                operands.y().require("y", rows.dtype(), elements),
                floats("rstd", operands.rstd(), rows.rows()));
    }

    private static void forward(
            NormKernels kernels,
            int rows,
            int width,
            float eps,
            Span x,
            Span weight,
            @Nullable Span bias,
            Span y,
            @Nullable Span mean,
            @Nullable Span rstd) {
        DType dtype = TypedKernel.requireActivation("x", x);
        NormKernels.Rows all = new NormKernels.Rows(dtype, rows, width, 0);
        long elements = (long) rows * width;
        kernels.forward(
                all,
                eps,
                x.require("x", dtype, elements),
                weight.require("weight", dtype, width),
                bias == null ? 0 : bias.require("bias", dtype, width),
                y.require("y", dtype, elements),
                floats("mean", mean, rows),
                floats("rstd", rstd, rows));
    }

    @Override
    public void layerNormBackward(
            int rows,
            int width,
            Span x,
            Span weight,
            Span mean,
            Span rstd,
            Span dy,
            @Nullable Span dx,
            @Nullable Span dWeight,
            @Nullable Span dBias) {
        backward(layerNorm, rows, width, x, weight, mean, rstd, dy, dx, dWeight, dBias);
    }

    @Override
    public void rmsNormBackward(
            int rows,
            int width,
            Span x,
            Span weight,
            Span rstd,
            Span dy,
            @Nullable Span dx,
            @Nullable Span dWeight) {
        backward(rmsNorm, rows, width, x, weight, null, rstd, dy, dx, dWeight, null);
    }

    private static void backward(
            NormKernels kernels,
            int rows,
            int width,
            Span x,
            Span weight,
            @Nullable Span mean,
            Span rstd,
            Span dy,
            @Nullable Span dx,
            @Nullable Span dWeight,
            @Nullable Span dBias) {
        DType dtype = TypedKernel.requireActivation("x", x);
        NormKernels.Rows all = new NormKernels.Rows(dtype, rows, width, 0);
        long elements = (long) rows * width;
        kernels.backward(
                all,
                x.require("x", dtype, elements),
                weight.require("weight", dtype, width),
                floats("mean", mean, rows),
                rstd.require("rstd", DType.F32, rows),
                dy.require("dy", dtype, elements),
                dx == null ? 0 : dx.require("dx", dtype, elements),
                floats("dWeight", dWeight, width),
                floats("dBias", dBias, width));
    }

    /// The address of an F32 operand that may be absent.
    private static long floats(String operand, @Nullable Span span, int count) {
        return span == null ? 0 : span.require(operand, DType.F32, count);
    }
}
