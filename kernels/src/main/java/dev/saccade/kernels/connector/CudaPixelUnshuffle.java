package dev.saccade.kernels.connector;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Grids;
import dev.saccade.kernels.internal.TypedKernel;

/// Pixel unshuffle on CUDA: copies only.
final class CudaPixelUnshuffle implements PixelUnshuffle {
    private static final int THREADS = 256;

    private final Moves forward;
    private final Moves backward;

    CudaPixelUnshuffle(CudaDevice device) {
        Program program = device.program("connector/portable");
        forward = Moves.of(program, "forward");
        backward = Moves.of(program, "backward");
    }

    /// A kernel by the bytes of one access.
    private record Moves(Kernel by16, Kernel by4, Kernel by2) {
        static Moves of(Program program, String name) {
            return new Moves(
                    program.kernel(name + "_16"),
                    program.kernel(name + "_4"),
                    program.kernel(name + "_2"));
        }

        void launch(int tiles, int grid, long rowBytes, long from, long to) {
            long bits = from | to | rowBytes;
            int unit = Grids.packed(bits) ? 16 : (bits & 3) == 0 ? 4 : 2;
            int units = Math.toIntExact(rowBytes / unit);
            int lanes = Grids.lanes(units, THREADS);
            (unit == 16 ? by16 : unit == 4 ? by4 : by2)
                    .begin()
                    .int32(tiles)
                    .int32(grid)
                    .int32(units)
                    .int32(lanes)
                    .pointer(from)
                    .pointer(to)
                    .launch(
                            Grids.blocks(tiles * (1L + (long) grid * grid), THREADS / lanes),
                            THREADS);
        }
    }

    @Override
    public void forward(int tiles, int grid, int width, Span x, Span y) {
        check(grid);
        DType dtype = TypedKernel.requireActivation("x", x);
        long patches = (long) grid * grid;
        long from = x.require("x", dtype, tiles * (1 + patches) * width);
        long to = y.require("y", dtype, tiles * patches * width);
        forward.launch(tiles, grid, (long) width * dtype.bytes(), from, to);
    }

    @Override
    public void backward(int tiles, int grid, int width, Span dy, Span dx) {
        check(grid);
        DType dtype = TypedKernel.requireActivation("dy", dy);
        long patches = (long) grid * grid;
        long from = dy.require("dy", dtype, tiles * patches * width);
        long to = dx.require("dx", dtype, tiles * (1 + patches) * width);
        backward.launch(tiles, grid, (long) width * dtype.bytes(), from, to);
    }

    private static void check(int grid) {
        if (grid % 2 != 0) {
            throw new IllegalArgumentException("a grid of side " + grid + " is not even");
        }
    }
}
