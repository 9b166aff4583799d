package dev.saccade.kernels.internal;

/// Launches of the kernels over elements (pointwise.cuh).
public final class Pointwise {
    /// Threads of a block.
    public static final int THREADS = 256;

    /// 16-byte accesses of a thread.
    private static final int UNROLL = 2;

    private Pointwise() {}

    /// Blocks for `count` elements, the widest of whose types has `bytes` bytes.
    public static int blocks(long count, int bytes) {
        return Grids.blocks(count, THREADS * UNROLL * 16 / bytes);
    }
}
