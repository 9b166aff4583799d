package dev.saccade.kernels.embedding;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Grids;
import dev.saccade.kernels.internal.TypedKernel;

/// Rows by index on CUDA. For the sum of [#scatterAdd] each target's rows are first counted and
/// remembered, all on the device; the target's first comer then adds them in order
/// (embedding/portable.cu).
final class CudaEmbedding implements Embedding {
    private static final int THREADS = 256;

    /// Rows that are remembered for each target (embedding/portable.cu).
    private static final int SLOTS = 16;

    /// Threads of a block of the summing kernel, at most.
    private static final int ADD_THREADS = 128;

    private static final int WARP = 32;

    private final CudaDevice device;
    private final Moves gather;
    private final Moves scatter;
    private final Kernel count;
    private final TypedKernel add;
    private final TypedKernel addSingle;
    private final Kernel addWide;
    private final Kernel addWideSingle;

    CudaEmbedding(CudaDevice device) {
        this.device = device;
        Program program = device.program("embedding/portable");
        gather = Moves.of(program, "gather");
        scatter = Moves.of(program, "scatter");
        count = program.kernel("count");
        add = TypedKernel.of(program, "add");
        addSingle = TypedKernel.of(program, "add_single");
        addWide = program.kernel("add_wide_bf16");
        addWideSingle = program.kernel("add_single_wide_bf16");
    }

    /// A copy of rows by the bytes of one access.
    private record Moves(Kernel by16, Kernel by4, Kernel by2) {
        static Moves of(Program program, String name) {
            return new Moves(
                    program.kernel(name + "_16"),
                    program.kernel(name + "_4"),
                    program.kernel(name + "_2"));
        }

        void launch(
                CudaDevice device,
                int rows,
                long rowBytes,
                int range,
                long indices,
                long from,
                long to) {
            long bits = from | to | rowBytes;
            int unit = Grids.packed(bits) ? 16 : (bits & 3) == 0 ? 4 : 2;
            int units = Math.toIntExact(rowBytes / unit);
            int lanes = Grids.lanes(units, THREADS);
            (unit == 16 ? by16 : unit == 4 ? by4 : by2)
                    .begin()
                    .int32(rows)
                    .int32(units)
                    .int32(lanes)
                    .int32(range)
                    .pointer(indices)
                    .pointer(from)
                    .pointer(to)
                    .pointer(device.faultAddress())
                    .launch(Grids.blocks(rows, THREADS / lanes), THREADS);
        }
    }

    @Override
    public void gather(int rows, int width, int tableRows, Span indices, Span table, Span out) {
        DType dtype = TypedKernel.requireActivation("table", table);
        long index = indices.require("indices", DType.I32, rows);
        long from = table.require("table", dtype, (long) tableRows * width);
        long to = out.require("out", dtype, (long) rows * width);
        gather.launch(device, rows, (long) width * dtype.bytes(), tableRows, index, from, to);
    }

    @Override
    public void scatter(
            int rows, int width, int targetRows, Span indices, Span source, Span target) {
        DType dtype = TypedKernel.requireActivation("source", source);
        long index = indices.require("indices", DType.I32, rows);
        long from = source.require("source", dtype, (long) rows * width);
        long to = target.require("target", dtype, (long) targetRows * width);
        scatter.launch(device, rows, (long) width * dtype.bytes(), targetRows, index, from, to);
    }

    @Override
    public void scatterAdd(
            int rows, int width, int targetRows, Span indices, Span source, Span target) {
        DType dtype = TypedKernel.requireActivation("source", source);
        boolean wide = dtype == DType.BF16 && target.dtype() == DType.F32;
        DType sum = wide ? DType.F32 : dtype;
        long index = indices.require("indices", DType.I32, rows);
        long from = source.require("source", dtype, (long) rows * width);
        long to = target.require("target", sum, (long) targetRows * width);
        if (rows == 0) {
            return;
        }
        long fault = device.faultAddress();
        // Counts, which begin as 0; slots; ranks.
        long counted = 4L * targetRows;
        try (DeviceBuffer buffer = device.allocate(counted * (1 + SLOTS) + 4L * rows)) {
            device.fill(buffer, 0, counted, (byte) 0);
            long counts = buffer.address();
            long slots = counts + counted;
            long ranks = slots + counted * SLOTS;
            count.begin()
                    .int32(rows)
                    .int32(targetRows)
                    .pointer(index)
                    .pointer(counts)
                    .pointer(ranks)
                    .pointer(slots)
                    .pointer(fault)
                    .launch(Grids.blocks(rows, THREADS), THREADS);
            boolean packed = Grids.packed(from | to | (long) width * dtype.bytes());
            Kernel kernel =
                    wide ? packed ? addWide : addWideSingle : (packed ? add : addSingle).of(dtype);
            int columns = packed ? 16 / dtype.bytes() : 1;
            int strips = width / columns;
            int threads = Math.min(ADD_THREADS, Grids.blocks(strips, WARP) * WARP);
            kernel.begin()
                    .int32(rows)
                    .int32(width)
                    .pointer(index)
                    .pointer(counts)
                    .pointer(ranks)
                    .pointer(slots)
                    .pointer(from)
                    .pointer(to)
                    .launch(rows, Grids.blocks(strips, threads), 1, threads, 0);
        }
    }
}
