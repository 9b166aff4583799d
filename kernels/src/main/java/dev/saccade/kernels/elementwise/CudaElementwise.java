package dev.saccade.kernels.elementwise;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Grids;
import dev.saccade.kernels.internal.Pointwise;
import dev.saccade.kernels.internal.TypedKernel;
import java.lang.foreign.MemorySegment;
import java.util.EnumMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Pointwise arithmetic and sums on CUDA. Sums over rows are partial sums over blocks of 128 rows,
/// merged in order.
final class CudaElementwise implements Elementwise {
    /// Elements of a block of [#dot], which is summed by itself; part of the contract.
    private static final int DOT_BLOCK = 4096;

    private final CudaDevice device;
    private final TypedKernel add;
    private final TypedKernel multiply;
    private final TypedKernel scale;
    private final TypedKernel fill;
    private final TypedKernel accumulate;
    private final Kernel accumulateWide;
    private final TypedKernel dot;
    private final Columns scaleRows;
    private final Columns sumRows;
    private final Columns sumProducts;
    private final Kernel mergeRows;
    private final Map<DType, Map<DType, Kernel>> casts = new EnumMap<>(DType.class);

    CudaElementwise(CudaDevice device) {
        this.device = device;
        Program program = device.program("elementwise/portable");
        add = TypedKernel.of(program, "add");
        multiply = TypedKernel.of(program, "multiply");
        scale = TypedKernel.of(program, "scale");
        fill = TypedKernel.of(program, "fill");
        accumulate = TypedKernel.of(program, "accumulate");
        accumulateWide = program.kernel("accumulate_bf16_to_f32");
        dot = TypedKernel.of(program, "dot");
        scaleRows = Columns.of(program, "scale_rows");
        sumRows = Columns.of(program, "sum_rows");
        sumProducts = Columns.of(program, "sum_products");
        mergeRows = program.kernel("merge_rows");
        cast(program, "f32", DType.F32, "bf16", DType.BF16);
        cast(program, "f32", DType.F32, "f16", DType.F16);
        cast(program, "bf16", DType.BF16, "f16", DType.F16);
    }

    /// Looks up the casts between two types.
    private void cast(Program program, String a, DType first, String b, DType second) {
        casts.computeIfAbsent(first, _ -> new EnumMap<>(DType.class))
                .put(second, program.kernel("cast_" + a + "_to_" + b));
        casts.computeIfAbsent(second, _ -> new EnumMap<>(DType.class))
                .put(first, program.kernel("cast_" + b + "_to_" + a));
    }

    /// A kernel over blocks of rows and strips of columns.
    ///
    /// @param packed by 16-byte accesses
    /// @param single by single elements
    private record Columns(TypedKernel packed, TypedKernel single) {
        /// Rows of a block, columns or packs of a strip, and threads of a block (column_sums.cuh).
        private static final int ROWS = 128;

        private static final int STRIP = 32;
        private static final int THREADS = 256;

        static Columns of(Program program, String name) {
            return new Columns(
                    TypedKernel.of(program, name), TypedKernel.of(program, name + "_single"));
        }

        /// Begins a launch; `addresses` are those of the operands, combined by or.
        Kernel begin(DType dtype, int rows, int width, long addresses) {
            return (isPacked(dtype, width, addresses) ? packed : single)
                    .of(dtype)
                    .begin()
                    .int32(rows)
                    .int32(width);
        }

        static void launch(Kernel kernel, DType dtype, int rows, int width, long addresses) {
            int columns = isPacked(dtype, width, addresses) ? STRIP * 16 / dtype.bytes() : STRIP;
            kernel.launch(rowBlocks(rows), Grids.blocks(width, columns), 1, THREADS, 0);
        }

        static int rowBlocks(int rows) {
            return Grids.blocks(rows, ROWS);
        }

        private static boolean isPacked(DType dtype, int width, long addresses) {
            return Grids.packed(addresses | (long) width * dtype.bytes());
        }
    }

    @Override
    public void add(long count, Span a, Span b, Span y) {
        combine(add, count, a, b, y);
    }

    @Override
    public void multiply(long count, Span a, Span b, Span y) {
        combine(multiply, count, a, b, y);
    }

    private static void combine(TypedKernel kernel, long count, Span a, Span b, Span y) {
        DType dtype = TypedKernel.requireActivation("a", a);
        long fromA = a.require("a", dtype, count);
        long fromB = b.require("b", dtype, count);
        long to = y.require("y", dtype, count);
        kernel.of(dtype)
                .begin()
                .int64(count)
                .pointer(fromA)
                .pointer(fromB)
                .pointer(to)
                .int32(Grids.packed(fromA | fromB | to) ? 1 : 0)
                .launch(Pointwise.blocks(count, dtype.bytes()), Pointwise.THREADS);
    }

    @Override
    public void accumulate(long count, Span x, Span y) {
        DType dtype = TypedKernel.requireActivation("x", x);
        boolean wide = dtype == DType.BF16 && y.dtype() == DType.F32;
        long from = x.require("x", dtype, count);
        long to = y.require("y", wide ? DType.F32 : dtype, count);
        (wide ? accumulateWide : accumulate.of(dtype))
                .begin()
                .int64(count)
                .pointer(from)
                .pointer(to)
                .int32(Grids.packed(from | to) ? 1 : 0)
                .launch(Pointwise.blocks(count, y.dtype().bytes()), Pointwise.THREADS);
    }

    @Override
    public void scale(long count, float factor, Span x, Span y) {
        DType dtype = TypedKernel.requireActivation("x", x);
        long from = x.require("x", dtype, count);
        long to = y.require("y", dtype, count);
        scale.of(dtype)
                .begin()
                .int64(count)
                .float32(factor)
                .pointer(from)
                .pointer(to)
                .int32(Grids.packed(from | to) ? 1 : 0)
                .launch(Pointwise.blocks(count, dtype.bytes()), Pointwise.THREADS);
    }

    @Override
    public void fill(long count, float value, Span y) {
        DType dtype = TypedKernel.requireActivation("y", y);
        long to = y.require("y", dtype, count);
        fill.of(dtype)
                .begin()
                .int64(count)
                .float32(value)
                .pointer(to)
                .int32(Grids.packed(to) ? 1 : 0)
                .launch(Pointwise.blocks(count, dtype.bytes()), Pointwise.THREADS);
    }

    @Override
    public void cast(long count, Span x, Span y) {
        HalfFloat.check(x.dtype());
        HalfFloat.check(y.dtype());
        long from = x.require("x", x.dtype(), count);
        long to = y.require("y", y.dtype(), count);
        Map<DType, Kernel> targets = casts.get(x.dtype());
        Kernel kernel = targets == null ? null : targets.get(y.dtype());
        if (kernel != null) {
            kernel.begin()
                    .int64(count)
                    .pointer(from)
                    .pointer(to)
                    .int32(Grids.packed(from | to) ? 1 : 0)
                    .launch(
                            Pointwise.blocks(count, Math.max(x.dtype().bytes(), y.dtype().bytes())),
                            Pointwise.THREADS);
        } else if (from != to) {
            int bytes = x.dtype().bytes();
            device.copy(
                    x.buffer(), x.offset() * bytes, y.buffer(), y.offset() * bytes, count * bytes);
        }
    }

    @Override
    public void sumRows(int rows, int width, Span x, Span sum) {
        DType dtype = TypedKernel.requireActivation("x", x);
        long from = x.require("x", dtype, (long) rows * width);
        long to = sum.require("sum", DType.F32, width);
        try (DeviceBuffer partial = partials(rows, width)) {
            Kernel kernel =
                    sumRows.begin(dtype, rows, width, from)
                            .pointer(from)
                            .pointer(partial.address());
            Columns.launch(kernel, dtype, rows, width, from);
            merge(rows, width, partial, to);
        }
    }

    @Override
    public void layerScaleBackward(
            int rows,
            int width,
            Span scale,
            @Nullable Span branch,
            Span dy,
            @Nullable Span dBranch,
            @Nullable Span dScale) {
        DType dtype = TypedKernel.requireActivation("dy", dy);
        long elements = (long) rows * width;
        long factor = scale.require("scale", dtype, width);
        long upstream = dy.require("dy", dtype, elements);
        long toBranch = dBranch == null ? 0 : dBranch.require("dBranch", dtype, elements);
        // The sums first: dBranch may be dy.
        if (dScale != null) {
            if (branch == null) {
                throw new IllegalArgumentException("dScale needs branch");
            }
            long from = branch.require("branch", dtype, elements);
            long to = dScale.require("dScale", DType.F32, width);
            try (DeviceBuffer partial = partials(rows, width)) {
                long addresses = upstream | from;
                Kernel kernel =
                        sumProducts
                                .begin(dtype, rows, width, addresses)
                                .pointer(upstream)
                                .pointer(from)
                                .pointer(partial.address());
                Columns.launch(kernel, dtype, rows, width, addresses);
                merge(rows, width, partial, to);
            }
        }
        if (dBranch != null) {
            long addresses = factor | upstream | toBranch;
            Kernel kernel =
                    scaleRows
                            .begin(dtype, rows, width, addresses)
                            .pointer(factor)
                            .pointer(upstream)
                            .pointer(toBranch);
            Columns.launch(kernel, dtype, rows, width, addresses);
        }
    }

    /// Partial sums; one block's worth where there are no rows.
    private DeviceBuffer partials(int rows, int width) {
        return device.allocate(4L * Math.max(1, Columns.rowBlocks(rows)) * width);
    }

    private void merge(int rows, int width, DeviceBuffer partial, long sum) {
        mergeRows
                .begin()
                .int32(Columns.rowBlocks(rows))
                .int32(width)
                .pointer(partial.address())
                .pointer(sum)
                .launch(Grids.blocks(width, Columns.STRIP), Columns.THREADS);
    }

    @Override
    public double dot(long count, Span x, @Nullable Span w) {
        DType dtype = TypedKernel.requireActivation("x", x);
        long from = x.require("x", dtype, count);
        long weight = w == null ? 0 : w.require("w", DType.F32, count);
        if (count == 0) {
            return 0;
        }
        double[] sums = new double[Grids.blocks(count, DOT_BLOCK)];
        try (DeviceBuffer buffer = device.allocate(8L * sums.length)) {
            dot.of(dtype)
                    .begin()
                    .int64(count)
                    .pointer(from)
                    .pointer(weight)
                    .pointer(buffer.address())
                    .launch(sums.length, Pointwise.THREADS);
            device.download(buffer, 0, MemorySegment.ofArray(sums));
        }
        double sum = 0;
        for (double block : sums) {
            sum += block;
        }
        return sum;
    }
}
