package dev.saccade.kernels.norm;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Grids;
import dev.saccade.kernels.internal.TypedKernel;
import org.jspecify.annotations.Nullable;

/// LayerNorm and RMSNorm on CUDA. Width and type choose how many threads share a row, nothing else
/// does. The gradients of weight and bias are partial sums over groups of rows, whose size follows
/// from the number of rows and the width, merged in a fixed order; where they fit in registers, the
/// kernel that computes dx makes them, so that x and dy are read once, else one of its own does,
/// with the same bits.
final class CudaNorm implements Norm {
    /// Packs of 16 bytes of a row that one thread keeps in registers, at most.
    private static final int PACKS = 4;

    private static final int WARP = 32;

    /// Warps of a block whose warps have a row each, and the chains of a group's sums there.
    private static final int WARPS = 4;

    private static final int WARPS_THREADS = WARPS * WARP;

    /// The most threads that can share a row.
    private static final int MOST_THREADS = 512;

    /// Rows of a partial sum, at least.
    private static final int SMALLEST_GROUP = 8;

    /// Partial sums of a column, at most: three for each multiprocessor of an H100, where three
    /// blocks have enough on the way. A constant, so that no device sums in an order of its own.
    private static final int MOST_GROUPS = 3 * 132;

    /// As many for rows of at most a pack for each lane, of which each block loads little.
    private static final int MOST_NARROW_GROUPS = 8 * 132;

    /// Rows of which a thread has its packs in shared memory or on the way there
    /// (norm/portable.cu).
    private static final int STAGES = 3;

    private static final int NARROW_STAGES = 4;

    /// The most threads of a row's block that has the partial sums in registers, too.
    private static final int SUMS_THREADS = 256;

    /// Threads of a block of the kernel of sums alone.
    private static final int COLUMN_THREADS = 256;

    /// Threads of a block of the merge, which has a warp's width of columns.
    private static final int MERGE_THREADS = 1024;

    private final CudaDevice device;
    private final Kind layerNorm;
    private final Kind rmsNorm;

    CudaNorm(CudaDevice device) {
        this.device = device;
        Program program = device.program("norm/portable");
        layerNorm = Kind.of(program, "layer_norm", 2);
        rmsNorm = Kind.of(program, "rms_norm", 1);
    }

    /// The kernels of one norm, all with the same arguments.
    ///
    /// @param backward dx alone
    /// @param backwardSums dx and the partial sums, of packed rows
    /// @param columns the partial sums alone
    /// @param sums sums over rows: of the weight and, where there is one, of the bias
    private record Kind(
            Rows forward,
            Rows backward,
            Rows backwardSums,
            TypedKernel columns,
            Kernel merge,
            int sums) {
        static Kind of(Program program, String name, int sums) {
            return new Kind(
                    Rows.of(program, name),
                    Rows.of(program, name + "_backward"),
                    Rows.of(program, name + "_backward_sums"),
                    TypedKernel.of(program, name + "_columns"),
                    program.kernel(name + "_merge"),
                    sums);
        }
    }

    /// A kernel over rows by how wide they are: one pack of 16 bytes a lane, a warp, a block.
    private record Rows(TypedKernel lane, TypedKernel warp, TypedKernel block) {
        static Rows of(Program program, String name) {
            return new Rows(
                    TypedKernel.of(program, name + "_lane"),
                    TypedKernel.of(program, name + "_warp"),
                    TypedKernel.of(program, name + "_block"));
        }

        Kernel of(DType dtype, int width) {
            int packs = packs(dtype, width);
            TypedKernel kernel = packs <= WARP ? lane : packs <= WARP * PACKS ? warp : block;
            return kernel.of(dtype);
        }
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

    private static void forward(
            Kind kind,
            int rows,
            int width,
            float eps,
            Span x,
            Span weight,
            @Nullable Span bias,
            Span y,
            @Nullable Span mean,
            @Nullable Span rstd) {
        DType dtype = requireRows(rows, width, x);
        long elements = (long) rows * width;
        long from = x.require("x", dtype, elements);
        long factor = weight.require("weight", dtype, width);
        long offset = bias == null ? 0 : bias.require("bias", dtype, width);
        long to = y.require("y", dtype, elements);
        Kernel kernel =
                kind.forward()
                        .of(dtype, width)
                        .begin()
                        .int32(rows)
                        .int32(width)
                        .float32(eps)
                        .pointer(from)
                        .pointer(factor)
                        .pointer(offset)
                        .pointer(to)
                        .pointer(statistics("mean", mean, rows))
                        .pointer(statistics("rstd", rstd, rows))
                        .int32(packed(from | factor | offset | to, dtype, width) ? 1 : 0);
        launchRows(kernel, rows, dtype, width);
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

    private void backward(
            Kind kind,
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
        DType dtype = requireRows(rows, width, x);
        long elements = (long) rows * width;
        long from = x.require("x", dtype, elements);
        long factor = weight.require("weight", dtype, width);
        long means = statistics("mean", mean, rows);
        long rstds = rstd.require("rstd", DType.F32, rows);
        long upstream = dy.require("dy", dtype, elements);
        long to = dx == null ? 0 : dx.require("dx", dtype, elements);
        long toWeight = dWeight == null ? 0 : dWeight.require("dWeight", DType.F32, width);
        long toBias = dBias == null ? 0 : dBias.require("dBias", DType.F32, width);
        boolean packed = packed(from | factor | upstream | to, dtype, width);
        boolean sums = rows > 0 && (toWeight != 0 || toBias != 0);
        boolean together = sums && to != 0 && packed && threads(dtype, width) <= SUMS_THREADS;
        if (sums) {
            int chains = packs(dtype, width) <= WARP * PACKS ? WARPS : 1;
            int group = group(rows, dtype, width, chains);
            int groups = Grids.blocks(rows, group);
            try (DeviceBuffer partial = device.allocate(4L * groups * width * kind.sums())) {
                if (together) {
                    int threads = threads(dtype, width);
                    kind.backwardSums()
                            .of(dtype, width)
                            .begin()
                            .int32(rows)
                            .int32(width)
                            .int32(group)
                            .pointer(from)
                            .pointer(factor)
                            .pointer(means)
                            .pointer(rstds)
                            .pointer(upstream)
                            .pointer(to)
                            .pointer(partial.address())
                            .launch(groups, 1, 1, threads, ringBytes(dtype, width));
                } else {
                    kind.columns()
                            .of(dtype)
                            .begin()
                            .int32(rows)
                            .int32(width)
                            .int32(group)
                            .int32(chains)
                            .pointer(from)
                            .pointer(means)
                            .pointer(rstds)
                            .pointer(upstream)
                            .pointer(partial.address())
                            .launch(
                                    groups,
                                    Grids.blocks(width, COLUMN_THREADS),
                                    1,
                                    COLUMN_THREADS,
                                    0);
                }
                kind.merge()
                        .begin()
                        .int32(groups)
                        .int32(width)
                        .pointer(partial.address())
                        .pointer(toWeight)
                        .pointer(toBias)
                        .launch(Grids.blocks(width, WARP), kind.sums(), 1, MERGE_THREADS, 0);
            }
        }
        // After the sums: dx may be dy.
        if (to != 0 && !together) {
            Kernel kernel =
                    kind.backward()
                            .of(dtype, width)
                            .begin()
                            .int32(rows)
                            .int32(width)
                            .pointer(from)
                            .pointer(factor)
                            .pointer(means)
                            .pointer(rstds)
                            .pointer(upstream)
                            .pointer(to)
                            .int32(packed ? 1 : 0);
            launchRows(kernel, rows, dtype, width);
        }
    }

    private static long statistics(String operand, @Nullable Span span, int rows) {
        return span == null ? 0 : span.require(operand, DType.F32, rows);
    }

    private static boolean packed(long addresses, DType dtype, int width) {
        return Grids.packed(addresses | (long) width * dtype.bytes());
    }

    /// 16-byte packs that hold a row.
    private static int packs(DType dtype, int width) {
        return Grids.blocks((long) width * dtype.bytes(), 16);
    }

    /// Threads of a block of the kernels over rows.
    private static int threads(DType dtype, int width) {
        int packs = packs(dtype, width);
        return packs <= WARP * PACKS ? WARPS_THREADS : Grids.blocks(packs, WARP * PACKS) * WARP;
    }

    /// Whether a row has at most one pack for each lane of a warp.
    private static boolean narrow(DType dtype, int width) {
        return packs(dtype, width) <= WARP;
    }

    /// Rows of a partial sum: the same number for each of its chains.
    private static int group(int rows, DType dtype, int width, int chains) {
        int most = narrow(dtype, width) ? MOST_NARROW_GROUPS : MOST_GROUPS;
        int each = Math.max(SMALLEST_GROUP, Grids.blocks(rows, most));
        return Grids.blocks(each, chains) * chains;
    }

    /// Dynamic shared memory of the kernel that makes dx and the partial sums: x and dy by stages.
    private static int ringBytes(DType dtype, int width) {
        int packs = narrow(dtype, width) ? NARROW_STAGES : STAGES * PACKS;
        return packs * 2 * 16 * threads(dtype, width);
    }

    /// Launches a kernel over rows.
    private static void launchRows(Kernel kernel, int rows, DType dtype, int width) {
        boolean warps = packs(dtype, width) <= WARP * PACKS;
        kernel.launch(
                warps ? Grids.blocks(rows, WARPS_THREADS / WARP) : rows, threads(dtype, width));
    }

    private static DType requireRows(int rows, int width, Span x) {
        DType dtype = TypedKernel.requireActivation("x", x);
        int widest = MOST_THREADS * PACKS * 16 / dtype.bytes();
        if (rows < 0 || width < 1 || width > widest) {
            throw new IllegalArgumentException(
                    "a norm over %d rows of %d, expected a width of 1 to %d"
                            .formatted(rows, width, widest));
        }
        return dtype;
    }
}
