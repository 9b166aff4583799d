package dev.saccade.kernels.internal;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;

/// Launches of one norm's kernels (norm_rows.cuh), wherever its rows lie. Width and type choose how
/// many threads share a row, nothing else does. The gradients of weight and bias are partial sums
/// over groups of rows, whose size follows from the number of rows, the width and the type, merged
/// in a fixed order; where they fit in registers and shared memory, the kernel that computes dx
/// makes them, so that x and dy are read once, else one of its own does, with the same bits.
public final class NormKernels {
    /// Packs of 16 bytes of a row that one thread keeps in registers, at most.
    private static final int PACKS = 4;

    private static final int WARP = 32;

    /// Warps of a block whose warps have a row each, and the chains of a group's sums there.
    private static final int WARPS = 4;

    private static final int WARPS_THREADS = WARPS * WARP;

    /// The most threads that can share a row.
    private static final int MOST_THREADS = 1024;

    /// Rows of a partial sum, at least.
    private static final int SMALLEST_GROUP = 8;

    /// Partial sums of a column, at most: three for each multiprocessor of an H100, where three
    /// blocks have enough on the way. A constant, so that no device sums in an order of its own.
    private static final int MOST_GROUPS = 3 * 132;

    /// As many for rows of at most a pack for each lane, of which each block loads little.
    private static final int MOST_NARROW_GROUPS = 8 * 132;

    /// As many for rows of more than this number of threads. One block fills a multiprocessor
    /// there, and the partial sums themselves are many bytes.
    private static final int MOST_WIDE_GROUPS = 132;

    private static final int WIDE_THREADS = 256;

    /// Rows of which a thread has its packs in shared memory or on the way there.
    private static final int STAGES = 3;

    private static final int NARROW_STAGES = 4;

    /// The most threads of a row's block that has the partial sums in registers, too.
    private static final int SUMS_THREADS = 512;

    /// Shared memory of that kernel beside the stages.
    private static final int SUMS_SCRATCH_BYTES = 512;

    /// Threads of a block of the kernels of sums alone: a column each, or a pack of columns.
    private static final int COLUMN_THREADS = 256;

    private static final int COLUMN_PACK_THREADS = 128;

    /// Threads of a block of the merge, which has a warp's width of columns.
    private static final int MERGE_THREADS = 1024;

    private final CudaDevice device;
    private final int sums;
    private final RowKernels forward;
    private final RowKernels backward;
    private final RowKernels backwardSums;
    private final TypedKernel columns;
    private final TypedKernel columnPacks;
    private final Kernel merge;

    /// The kernels of a program whose names begin with `name`.
    ///
    /// @param centred whether the mean is taken off, and a bias added
    public NormKernels(CudaDevice device, Program program, String name, boolean centred) {
        this.device = device;
        this.sums = centred ? 2 : 1;
        forward = RowKernels.of(program, name);
        backward = RowKernels.of(program, name + "_backward");
        backwardSums = RowKernels.of(program, name + "_backward_sums");
        columns = TypedKernel.of(program, name + "_columns");
        columnPacks = TypedKernel.of(program, name + "_column_packs");
        merge = program.kernel(name + "_merge");
    }

    /// A kernel over rows by how wide they are: one pack of 16 bytes a lane, a warp, a block.
    record RowKernels(TypedKernel lane, TypedKernel warp, TypedKernel block) {
        static RowKernels of(Program program, String name) {
            return new RowKernels(
                    TypedKernel.of(program, name + "_lane"),
                    TypedKernel.of(program, name + "_warp"),
                    TypedKernel.of(program, name + "_block"));
        }

        Kernel begin(Rows rows) {
            int packs = rows.packs();
            TypedKernel kernel = packs <= WARP ? lane : packs <= WARP * PACKS ? warp : block;
            return rows.begin(kernel);
        }
    }

    /// The rows of a norm.
    ///
    /// @param grid 0 where rows of x follow each other; otherwise they are 2 x 2 patches of tiles
    ///   with `grid` patches along a side
    public record Rows(DType dtype, int rows, int width, int grid) {
        /// @throws IllegalArgumentException for extents that the kernels can't have
        public Rows {
            int widest = MOST_THREADS * PACKS * 16 / dtype.bytes();
            if (rows < 0 || width < 1 || width > widest) {
                throw new IllegalArgumentException(
                        "a norm over %d rows of %d, expected a width of 1 to %d"
                                .formatted(rows, width, widest));
            }
        }

        private Kernel begin(TypedKernel kernel) {
            Kernel begun = kernel.of(dtype).begin().int32(rows).int32(width);
            return grid == 0 ? begun : begun.int32(grid);
        }

        /// Whether 16-byte accesses reach everything; `addresses` are combined by or.
        private boolean packed(long addresses) {
            return Grids.packed(addresses | (long) (grid == 0 ? width : width / 4) * dtype.bytes());
        }

        /// 16-byte packs that hold a row.
        private int packs() {
            return Grids.blocks((long) width * dtype.bytes(), 16);
        }

        /// Threads of a block of the kernels over rows.
        private int threads() {
            return warps() ? WARPS_THREADS : Grids.blocks(packs(), WARP * PACKS) * WARP;
        }

        /// Whether a row is a warp's, not a block's.
        private boolean warps() {
            return packs() <= WARP * PACKS;
        }

        /// Whether a row has at most one pack for each lane of a warp.
        private boolean narrow() {
            return packs() <= WARP;
        }

        /// The chains of a partial sum.
        private int chains() {
            return warps() ? WARPS : 1;
        }

        /// Rows of a partial sum: the same number for each of its chains.
        private int group() {
            int most =
                    narrow()
                            ? MOST_NARROW_GROUPS
                            : threads() > WIDE_THREADS ? MOST_WIDE_GROUPS : MOST_GROUPS;
            int each = Math.max(SMALLEST_GROUP, Grids.blocks(rows, most));
            return Grids.blocks(each, chains()) * chains();
        }

        /// Dynamic shared memory of the kernel that makes dx and the partial sums: x and dy by
        /// stages.
        private int ringBytes() {
            return (narrow() ? NARROW_STAGES : STAGES * PACKS) * 2 * 16 * threads();
        }

        private void launch(Kernel kernel) {
            launch(kernel, 1);
        }

        private void launch(Kernel kernel, int operands) {
            int blocks = warps() ? Grids.blocks(rows, WARPS) : rows;
            kernel.launch(blocks, operands, 1, threads(), 0);
        }
    }

    /// The forward pass of two operands of the same shape in one launch.
    public record Both(RowKernels kernels) {

        /// The kernels of a program whose names begin with `name`.
        public static Both of(Program program, String name) {
            return new Both(RowKernels.of(program, name));
        }

        /// An operand's memory; an absent `rstd` is 0.
        public record Addresses(long x, long weight, long y, long rstd) {
            private long bits() {
                return x | weight | y;
            }
        }

        /// Both, of the bits that each has alone.
        public void forward(Rows rows, float eps, Addresses first, Addresses second) {
            rows.launch(
                    kernels.begin(rows)
                            .float32(eps)
                            .pointer(first.x)
                            .pointer(first.weight)
                            .pointer(first.y)
                            .pointer(first.rstd)
                            .pointer(second.x)
                            .pointer(second.weight)
                            .pointer(second.y)
                            .pointer(second.rstd)
                            .int32(rows.packed(first.bits() | second.bits()) ? 1 : 0),
                    2);
        }
    }

    /// The forward pass; an absent operand's address is 0.
    public void forward(
            Rows rows, float eps, long x, long weight, long bias, long y, long mean, long rstd) {
        rows.launch(
                forward.begin(rows)
                        .float32(eps)
                        .pointer(x)
                        .pointer(weight)
                        .pointer(bias)
                        .pointer(y)
                        .pointer(mean)
                        .pointer(rstd)
                        .int32(rows.packed(x | weight | bias | y) ? 1 : 0));
    }

    /// The backward pass; an absent operand's address is 0.
    public void backward(
            Rows rows,
            long x,
            long weight,
            long mean,
            long rstd,
            long dy,
            long dx,
            long dWeight,
            long dBias) {
        boolean packed = rows.packed(x | weight | dy | dx);
        boolean summed = rows.rows() > 0 && (dWeight != 0 || dBias != 0);
        boolean together =
                summed
                        && dx != 0
                        && packed
                        && rows.threads() <= SUMS_THREADS
                        && rows.ringBytes() + SUMS_SCRATCH_BYTES
                                <= device.properties().sharedBytesPerBlock();
        if (summed) {
            int width = rows.width();
            int group = rows.group();
            int groups = Grids.blocks(rows.rows(), group);
            try (DeviceBuffer partial = device.allocate(4L * groups * width * sums)) {
                if (together) {
                    backwardSums
                            .begin(rows)
                            .int32(group)
                            .pointer(x)
                            .pointer(weight)
                            .pointer(mean)
                            .pointer(rstd)
                            .pointer(dy)
                            .pointer(dx)
                            .pointer(partial.address())
                            .launch(groups, 1, 1, rows.threads(), rows.ringBytes());
                } else {
                    sums(rows, packed, x, mean, rstd, dy, partial.address());
                }
                merge.begin()
                        .int32(groups)
                        .int32(width)
                        .pointer(partial.address())
                        .pointer(dWeight)
                        .pointer(dBias)
                        .launch(Grids.blocks(width, WARP), sums, 1, MERGE_THREADS, 0);
            }
        }
        // After the sums: dx may be dy.
        if (dx != 0 && !together) {
            rows.launch(
                    backward.begin(rows)
                            .pointer(x)
                            .pointer(weight)
                            .pointer(mean)
                            .pointer(rstd)
                            .pointer(dy)
                            .pointer(dx)
                            .int32(packed ? 1 : 0));
        }
    }

    /// The partial sums alone.
    private void sums(
            Rows rows, boolean packed, long x, long mean, long rstd, long dy, long partial) {
        int group = rows.group();
        boolean packs = packed && rows.chains() == 1;
        Kernel kernel = rows.begin(packs ? columnPacks : columns).int32(group);
        if (!packs) {
            kernel.int32(rows.chains());
        }
        int threads = packs ? COLUMN_PACK_THREADS : COLUMN_THREADS;
        kernel.pointer(x)
                .pointer(mean)
                .pointer(rstd)
                .pointer(dy)
                .pointer(partial)
                .launch(
                        Grids.blocks(rows.rows(), group),
                        Grids.blocks(packs ? rows.packs() : rows.width(), threads),
                        1,
                        threads,
                        0);
    }
}
