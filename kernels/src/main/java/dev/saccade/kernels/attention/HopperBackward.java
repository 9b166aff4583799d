package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.TensorMap;
import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.Attention.Shape;
import dev.saccade.kernels.attention.PrefixedAttention.Prefixed;
import java.util.HashMap;
import java.util.Map;

/// The backward pass in BF16 on Hopper at head dimension 64: `attention/hopper_backward.cu`, whose
/// numbers these are. Its kernels give every gradient the bits of `attention/backward.cu`. See
/// [OrderedBackward] for head dimension 128.
final class HopperBackward {
    /// Rows of an item that stay with a block: keys and values, or queries and dO.
    static final int ROWS = 128;

    /// Rows that stream past them together.
    static final int TILE = 64;

    private static final int WIDTH = 64;
    private static final int STAGES = 6;
    private static final int THREADS = 3 * 128;
    private static final int BYTES = 2;

    /// Numbers that a block keeps of each of two items.
    private static final int JOB_INTS = 13;

    private final CudaDevice cuda;
    private final Map<String, Kernel> kernels = new HashMap<>();
    private final TensorMap staying0;
    private final TensorMap staying1;
    private final TensorMap tile0;
    private final TensorMap tile1;
    private final BackwardStatistics statistics;
    private final TensorMap seam0;
    private final TensorMap seam1;

    HopperBackward(CudaDevice cuda, BackwardStatistics statistics) {
        this.cuda = cuda;
        this.statistics = statistics;
        staying0 = HopperAttention.rows(cuda);
        staying1 = HopperAttention.rows(cuda);
        tile0 = HopperAttention.rows(cuda);
        tile1 = HopperAttention.rows(cuda);
        seam0 = HopperAttention.rows(cuda);
        seam1 = HopperAttention.rows(cuda);
    }

    /// Dynamic shared memory of a block: what stays for two items, the ring of tiles, statistics,
    /// what the two items are, barriers.
    static int sharedBytes() {
        int row = WIDTH * BYTES;
        int statistic = BackwardStatistics.LINES * Float.BYTES;
        return 2 * 2 * ROWS * row
                + STAGES * 2 * TILE * row
                + Math.max(STAGES * TILE, 2 * ROWS) * statistic
                + 2 * JOB_INTS * Integer.BYTES
                + (4 + 2 * STAGES) * Long.BYTES;
    }

    /// @param operands begin on 16 bytes
    /// @param keys tiles of [#ROWS] keys each
    /// @param queries tiles of [#ROWS] queries each, not packed
    void launch(
            Shape shape,
            Sequences sequences,
            BackwardOperands operands,
            TileList keys,
            TileList queries,
            float scaleLog2) {
        Rows rows = new Rows(shape, sequences.queryRows(), sequences.keyRows());
        try (BackwardStatistics.Lines lines = statistics.sumUp(shape, rows.queries, operands)) {
            keysStay(rows, operands);
            Kernel launch = maps("keys_backward_64", lines, TILE);
            launch.pointer(operands.dk().address())
                    .pointer(operands.dv().address())
                    .pointer(keys.address());
            launch(launch, shape, keys.count(), shape.kvHeads(), scaleLog2);
            queriesStay(rows, operands);
            launch = maps("queries_backward_64", lines, ROWS);
            launch.pointer(operands.dq().address()).pointer(queries.address());
            launch(launch, shape, queries.count(), shape.heads(), scaleLog2);
        }
    }

    /// Of sequences whose keys are two ranges.
    ///
    /// @param operands begin on 16 bytes
    /// @param tiles of [#ROWS] queries or keys each
    void launch(
            Shape shape,
            Prefixed sequences,
            BackwardOperands operands,
            PrefixedTiles tiles,
            Seams seams,
            float scaleLog2) {
        Rows rows = new Rows(shape, sequences.own().queryRows(), sequences.keyRows());
        try (BackwardStatistics.Lines lines = statistics.sumUp(shape, rows.queries, operands)) {
            keysStay(rows, operands);
            Kernel launch = maps("prefixed_keys_backward_64", lines, TILE);
            launch.pointer(operands.dk().address())
                    .pointer(operands.dv().address())
                    .pointer(tiles.keys())
                    .pointer(tiles.walks());
            launch(launch, shape, tiles.numbers().keyTiles(), shape.kvHeads(), scaleLog2);
            queriesStay(rows, operands);
            seams.encode(seam0, seam1, TILE);
            launch = maps("prefixed_queries_backward_64", lines, ROWS);
            launch.tensorMap(seam0)
                    .tensorMap(seam1)
                    .pointer(operands.dq().address())
                    .pointer(tiles.queries());
            launch(launch, shape, tiles.numbers().queryTiles(), shape.heads(), scaleLog2);
        }
    }

    /// The extents of tensors.
    private record Rows(Shape shape, int queries, int keys) {
        int mappedQueries() {
            return Math.max(1, queries);
        }

        int mappedKeys() {
            return Math.max(1, keys);
        }

        int queryWidth() {
            return shape.heads() * shape.headDim();
        }

        int keyWidth() {
            return shape.kvHeads() * shape.headDim();
        }
    }

    private void keysStay(Rows rows, BackwardOperands operands) {
        HopperAttention.encode(staying0, operands.k(), rows.mappedKeys(), rows.keyWidth(), ROWS);
        HopperAttention.encode(staying1, operands.v(), rows.mappedKeys(), rows.keyWidth(), ROWS);
        HopperAttention.encode(tile0, operands.q(), rows.mappedQueries(), rows.queryWidth(), TILE);
        HopperAttention.encode(tile1, operands.dO(), rows.mappedQueries(), rows.queryWidth(), TILE);
    }

    private void queriesStay(Rows rows, BackwardOperands operands) {
        HopperAttention.encode(
                staying0, operands.q(), rows.mappedQueries(), rows.queryWidth(), ROWS);
        HopperAttention.encode(
                staying1, operands.dO(), rows.mappedQueries(), rows.queryWidth(), ROWS);
        HopperAttention.encode(tile0, operands.k(), rows.mappedKeys(), rows.keyWidth(), TILE);
        HopperAttention.encode(tile1, operands.v(), rows.mappedKeys(), rows.keyWidth(), TILE);
    }

    private Kernel maps(String name, BackwardStatistics.Lines lines, int boxPlaces) {
        return kernels.computeIfAbsent(
                        name, absent -> cuda.program("attention/hopper_backward").kernel(absent))
                .begin()
                .tensorMap(staying0)
                .tensorMap(staying1)
                .tensorMap(tile0)
                .tensorMap(tile1)
                .tensorMap(lines.encode(boxPlaces));
    }

    /// @param heads of each tile
    private void launch(Kernel kernel, Shape shape, int tiles, int heads, float scaleLog2) {
        int items = Math.multiplyExact(tiles, heads);
        kernel.int32(items)
                .int32(shape.heads())
                .int32(shape.kvHeads())
                .int32(shape.causal() ? 1 : 0)
                .float32(shape.scale())
                .float32(scaleLog2)
                .launch(
                        Math.min(items, cuda.properties().multiprocessors()),
                        1,
                        1,
                        THREADS,
                        sharedBytes());
    }
}
