package dev.saccade.kernels.embedding;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Grids;
import dev.saccade.kernels.internal.TypedKernel;

/// Rows by index on CUDA. The sum of [#scatterAdd] first gathers each target's rows in an ordered
/// list, all on the device (embedding/portable.cu).
final class CudaEmbedding implements Embedding {
    private static final int THREADS = 256;

    /// Lists that a block of the ordering kernel handles.
    private static final int LISTS = 8;

    /// Threads of a block of the summing kernel, at most.
    private static final int ADD_THREADS = 128;

    private static final int WARP = 32;

    private final CudaDevice device;
    private final Moves gather;
    private final Moves scatter;
    private final Kernel count;
    private final Kernel place;
    private final Kernel fill;
    private final Kernel order;
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
        place = program.kernel("place");
        fill = program.kernel("fill");
        order = program.kernel("order");
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
        int blocks = Grids.blocks(rows, THREADS);
        // Totals and counts, which begin as 0, padded so that the lists are aligned; 16 bytes for
        // each list; starts; ranks, members, ordered members.
        long zeros = (8 + 4L * targetRows + 15) & -16L;
        try (DeviceBuffer buffer =
                device.allocate(zeros + 16L * rows + 4L * targetRows + 12L * rows)) {
            device.fill(buffer, 0, zeros, (byte) 0);
            long totals = buffer.address();
            long counts = totals + 8;
            long lists = totals + zeros;
            long starts = lists + 16L * rows;
            long ranks = starts + 4L * targetRows;
            long members = ranks + 4L * rows;
            long ordered = members + 4L * rows;
            count.begin()
                    .int32(rows)
                    .int32(targetRows)
                    .pointer(index)
                    .pointer(counts)
                    .pointer(ranks)
                    .pointer(fault)
                    .launch(blocks, THREADS);
            place.begin()
                    .int32(rows)
                    .pointer(index)
                    .pointer(counts)
                    .pointer(ranks)
                    .pointer(totals)
                    .pointer(lists)
                    .pointer(starts)
                    .launch(blocks, THREADS);
            fill.begin()
                    .int32(rows)
                    .pointer(index)
                    .pointer(ranks)
                    .pointer(starts)
                    .pointer(members)
                    .launch(blocks, THREADS);
            order.begin()
                    .int32(rows)
                    .pointer(totals)
                    .pointer(lists)
                    .pointer(members)
                    .pointer(ordered)
                    .launch(Grids.blocks(rows, LISTS), THREADS);
            boolean packed = Grids.packed(from | to | (long) width * dtype.bytes());
            Kernel kernel =
                    wide ? packed ? addWide : addWideSingle : (packed ? add : addSingle).of(dtype);
            int columns = !packed ? 1 : dtype == DType.F32 ? 2 : 4;
            int strips = width / columns;
            int threads = Math.min(ADD_THREADS, Grids.blocks(strips, WARP) * WARP);
            kernel.begin()
                    .int32(width)
                    .pointer(totals)
                    .pointer(lists)
                    .pointer(ordered)
                    .pointer(from)
                    .pointer(to)
                    .launch(rows, Grids.blocks(strips, threads), 1, threads, 0);
        }
    }
}
