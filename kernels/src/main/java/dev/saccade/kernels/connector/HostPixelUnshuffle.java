package dev.saccade.kernels.connector;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.lang.foreign.MemorySegment;

/// Pixel unshuffle on the CPU: copies only. The two patches beside each other in a row of the grid
/// lie beside each other in both tensors, so one copy moves both.
final class HostPixelUnshuffle implements PixelUnshuffle {
    /// Elements below which a dispatch costs more than it saves.
    private static final long SMALL = 1 << 16;

    private final HostDevice device;

    HostPixelUnshuffle(HostDevice device) {
        this.device = device;
    }

    @Override
    public void forward(int tiles, int grid, int width, Span x, Span y) {
        check(grid);
        long patches = (long) grid * grid;
        long from = x.require("x", DType.F32, tiles * (1 + patches) * width);
        long to = y.require("y", DType.F32, tiles * patches * width);
        overTiles(
                tiles,
                patches * width,
                (_, begin, end) -> {
                    for (int tile = begin; tile < end; tile++) {
                        long rows = from + 4L * width * ((1 + patches) * tile + 1);
                        move(grid, width, rows, to + 4L * width * patches * tile, true);
                    }
                });
    }

    @Override
    public void backward(int tiles, int grid, int width, Span dy, Span dx) {
        check(grid);
        long patches = (long) grid * grid;
        long from = dy.require("dy", DType.F32, tiles * patches * width);
        long to = dx.require("dx", DType.F32, tiles * (1 + patches) * width);
        overTiles(
                tiles,
                patches * width,
                (_, begin, end) -> {
                    for (int tile = begin; tile < end; tile++) {
                        long token = to + 4L * width * (1 + patches) * tile;
                        HostMemory.segment(token, 4L * width).fill((byte) 0);
                        long folded = from + 4L * width * patches * tile;
                        move(grid, width, token + 4L * width, folded, false);
                    }
                });
    }

    /// Copies one tile between its patches in row order and the folded order.
    private static void move(int grid, int width, long rows, long folded, boolean fold) {
        long bytes = 8L * width; // two patches
        int half = grid / 2;
        for (int r = 0; r < half; r++) {
            for (int k = 0; k < half; k++) {
                for (int dr = 0; dr < 2; dr++) {
                    long row = rows + 4L * width * ((2L * r + dr) * grid + 2L * k);
                    long fold4 = folded + 16L * width * ((long) r * half + k) + bytes * dr;
                    MemorySegment.copy(
                            HostMemory.SPACE,
                            fold ? row : fold4,
                            HostMemory.SPACE,
                            fold ? fold4 : row,
                            bytes);
                }
            }
        }
    }

    private void overTiles(int tiles, long elements, HostDevice.Part part) {
        if (tiles * elements <= SMALL) {
            part.run(0, 0, tiles);
        } else {
            device.run(tiles, part);
        }
    }

    private static void check(int grid) {
        if (grid % 2 != 0) {
            throw new IllegalArgumentException("a grid of side " + grid + " is not even");
        }
    }
}
