package dev.saccade.kernels.attention;

import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.Attention.Shape;
import org.jspecify.annotations.Nullable;

/// The kernels of the forward pass that `attention/hopper.cu` has, and which one a call uses: a
/// pure function of its extents. It decides how an output is computed, never what it is. The
/// numbers are those of that file.
enum HopperForward {
    /// One tile of keys after the other: its scores, its softmax, its values.
    SIMPLE("simple"),

    /// Warpgroups that start their products in turns: one's softmax meets the others' products.
    OVERLAPPED("overlapped");

    /// Queries of a warpgroup.
    private static final int GROUP_ROWS = 64;

    /// Threads of a warpgroup.
    private static final int GROUP_THREADS = 128;

    /// Warpgroups of a block that multiply.
    private static final int GROUPS = 3;

    private static final int BYTES = 2;

    private final String suffix;

    HopperForward(String suffix) {
        this.suffix = suffix;
    }

    /// Whether there are kernels of a head dimension.
    static boolean supports(int headDim) {
        return headDim == 64 || headDim == 128;
    }

    /// The kernel for a call, or null for the portable one: that takes the heads of a group
    /// together and so wastes less where sequences have few queries.
    static @Nullable HopperForward choose(Shape shape, Sequences sequences) {
        long rows = 0;
        long covered = 0;
        for (int length : sequences.queryLength()) {
            rows += length;
            covered += (long) Math.ceilDiv(length, GROUP_ROWS) * GROUP_ROWS;
        }
        boolean packs = shape.heads() > shape.kvHeads();
        return packs && 2 * rows < covered ? null : OVERLAPPED;
    }

    /// What the kernel's name ends in.
    String suffix() {
        return suffix;
    }

    /// The kernel's name.
    String kernel(int headDim) {
        return "forward_" + headDim + "_" + suffix;
    }

    /// Queries of an item.
    int rows() {
        return GROUP_ROWS * GROUPS;
    }

    /// Keys of a tile: as many as have registers for their scores.
    int keys(int headDim) {
        return headDim == 64 ? 128 : 96;
    }

    /// Threads of a block: one warpgroup loads.
    int threads() {
        return GROUP_THREADS * (GROUPS + 1);
    }

    /// Dynamic shared memory of a block: two items' queries, a ring of keys and one of values, what
    /// the two items are, barriers.
    int sharedBytes(int headDim) {
        int stages = headDim == 64 ? 4 : 2;
        int row = headDim * BYTES;
        return 2 * rows() * row
                + 2 * stages * keys(headDim) * row
                + 2 * 6 * Integer.BYTES
                + (4 + 4 * stages) * Long.BYTES;
    }
}
