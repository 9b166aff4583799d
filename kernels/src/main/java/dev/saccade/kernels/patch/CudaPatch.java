package dev.saccade.kernels.patch;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Grids;
import dev.saccade.kernels.internal.TypedKernel;
import org.jspecify.annotations.Nullable;

/// The patch embedding's copies and sums on CUDA.
final class CudaPatch implements Patch {
    private static final int THREADS = 256;

    private final TypedKernel unfold;
    private final TypedKernel fit;
    private final TypedKernel assemble;
    private final TypedKernel assembleSingle;
    private final TypedKernel assembleBackward;
    private final TypedKernel assembleBackwardSingle;

    CudaPatch(CudaDevice device) {
        Program program = device.program("patch/portable");
        unfold = TypedKernel.of(program, "unfold");
        fit = TypedKernel.of(program, "fit");
        assemble = TypedKernel.of(program, "assemble");
        assembleSingle = TypedKernel.of(program, "assemble_single");
        assembleBackward = TypedKernel.of(program, "assemble_backward");
        assembleBackwardSingle = TypedKernel.of(program, "assemble_backward_single");
    }

    @Override
    public void unfold(
            int tiles,
            int channels,
            int height,
            int width,
            int patch,
            int pitch,
            Span pixels,
            Span patches) {
        Patch.requireImage(channels, height, width, patch, pitch);
        DType dtype = TypedKernel.requireActivation("patches", patches);
        int rows = Math.toIntExact((long) tiles * (height / patch) * (width / patch));
        long from = pixels.require("pixels", DType.F32, (long) tiles * channels * height * width);
        long to = patches.require("patches", dtype, (long) rows * pitch);
        unfold.of(dtype)
                .begin()
                .int32(channels)
                .int32(height)
                .int32(width)
                .int32(patch)
                .int32(pitch)
                .pointer(from)
                .pointer(to)
                .launch(rows, THREADS);
    }

    @Override
    public void fit(int rows, int fromWidth, int toWidth, Span from, Span to) {
        DType dtype = TypedKernel.requireActivation("to", to);
        long source = from.require("from", dtype, (long) rows * fromWidth);
        long target = to.require("to", dtype, (long) rows * toWidth);
        if (rows == 0 || toWidth == 0) {
            return;
        }
        fit.of(dtype)
                .begin()
                .int32(fromWidth)
                .int32(toWidth)
                .pointer(source)
                .pointer(target)
                .launch(rows, THREADS);
    }

    @Override
    public void assemble(
            int tiles, int patches, int width, Span embedded, Span cls, Span position, Span out) {
        DType dtype = TypedKernel.requireActivation("embedded", embedded);
        long rows = 1L + patches;
        long fromEmbedded = embedded.require("embedded", dtype, (long) tiles * patches * width);
        long fromCls = cls.require("cls", dtype, width);
        long fromPosition = position.require("position", dtype, rows * width);
        long to = out.require("out", dtype, tiles * rows * width);
        boolean packed = packed(fromEmbedded | fromCls | fromPosition | to, dtype, width);
        (packed ? assemble : assembleSingle)
                .of(dtype)
                .begin()
                .int32(patches)
                .int32(width)
                .pointer(fromEmbedded)
                .pointer(fromCls)
                .pointer(fromPosition)
                .pointer(to)
                .launch(Math.toIntExact(tiles * rows), strips(packed, dtype, width), 1, THREADS, 0);
    }

    @Override
    public void assembleBackward(
            int tiles,
            int patches,
            int width,
            Span dOut,
            @Nullable Span dEmbedded,
            @Nullable Span dCls,
            @Nullable Span dPosition) {
        DType dtype = TypedKernel.requireActivation("dOut", dOut);
        long rows = 1L + patches;
        long from = dOut.require("dOut", dtype, tiles * rows * width);
        long toEmbedded =
                dEmbedded == null
                        ? 0
                        : dEmbedded.require("dEmbedded", dtype, (long) tiles * patches * width);
        long toCls = dCls == null ? 0 : dCls.require("dCls", DType.F32, width);
        long toPosition =
                dPosition == null ? 0 : dPosition.require("dPosition", DType.F32, rows * width);
        boolean packed = packed(from | toEmbedded, dtype, width);
        (packed ? assembleBackward : assembleBackwardSingle)
                .of(dtype)
                .begin()
                .int32(tiles)
                .int32(patches)
                .int32(width)
                .pointer(from)
                .pointer(toEmbedded)
                .pointer(toCls)
                .pointer(toPosition)
                .launch(Math.toIntExact(rows), strips(packed, dtype, width), 1, THREADS, 0);
    }

    private static boolean packed(long addresses, DType dtype, int width) {
        return Grids.packed(addresses | (long) width * dtype.bytes());
    }

    /// Blocks that share a row.
    private static int strips(boolean packed, DType dtype, int width) {
        return Grids.blocks(width, packed ? THREADS * 16 / dtype.bytes() : THREADS);
    }
}
