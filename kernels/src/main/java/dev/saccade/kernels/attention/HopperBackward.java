package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.TensorMap;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.Attention.Shape;
import java.util.HashMap;
import java.util.Map;

/// The backward pass in BF16 on Hopper: `attention/hopper_backward.cu`, whose numbers these are.
/// Its kernels give every gradient the bits of `attention/backward.cu`.
final class HopperBackward {
    /// Rows of an item that stay with a block: keys and values, or queries and dO.
    static final int ROWS = 128;

    /// Rows that stream past them together.
    private static final int TILE = 64;

    private static final int THREADS = 3 * 128;
    private static final int STATISTICS_THREADS = 256;

    /// Lines of statistics for each head: lse log2(e) and dO.o.
    private static final int STATISTICS = 2;

    /// Copies of them, in each of which rows lie one place further.
    private static final int COPIES = 4;

    private static final int BYTES = 2;

    /// What a line of a tensor map begins at a multiple of.
    private static final int PITCH = 16 / Float.BYTES;

    private final CudaDevice cuda;
    private final Map<String, Kernel> kernels = new HashMap<>();
    private final TensorMap staying0;
    private final TensorMap staying1;
    private final TensorMap tile0;
    private final TensorMap tile1;
    private final TensorMap statistics;

    HopperBackward(CudaDevice cuda) {
        this.cuda = cuda;
        staying0 = HopperAttention.rows(cuda);
        staying1 = HopperAttention.rows(cuda);
        tile0 = HopperAttention.rows(cuda);
        tile1 = HopperAttention.rows(cuda);
        statistics = cuda.tensorMap(TensorMap.Element.FLOAT32, 2);
    }

    /// Dynamic shared memory of a block: what stays for two items, the ring of tiles, statistics,
    /// what the two items are, barriers.
    static int sharedBytes(int headDim) {
        int stages = headDim == 64 ? 6 : 3;
        int row = headDim * BYTES;
        int statistic = STATISTICS * Float.BYTES;
        return 2 * 2 * ROWS * row
                + stages * 2 * TILE * row
                + Math.max(stages * TILE, 2 * ROWS) * statistic
                + 2 * 6 * Integer.BYTES
                + (4 + 2 * stages) * Long.BYTES;
    }

    /// The kernel of dk and dv; at head dimension 128 there is one.
    static String keysKernel(HopperForward kernel, int headDim) {
        return "keys_backward_" + headDim + (headDim == 64 ? "_" + kernel.suffix() : "");
    }

    /// The kernel of dq.
    static String queriesKernel(HopperForward kernel, int headDim) {
        return "queries_backward_" + headDim + "_" + kernel.suffix();
    }

    /// @param kernel which way of overlapping is taken, named as the forward pass's
    /// @param q begins, as all operands do, on 16 bytes
    /// @param keys tiles of [#ROWS] keys each
    /// @param queries tiles of [#ROWS] queries each, not packed
    void launch(
            HopperForward kernel,
            Shape shape,
            Sequences sequences,
            Span q,
            Span k,
            Span v,
            Span o,
            Span lse,
            Span dO,
            Span dq,
            Span dk,
            Span dv,
            TileList keys,
            TileList queries,
            float scaleLog2) {
        int headDim = shape.headDim();
        int queryRows = sequences.queryRows();
        int keyRows = Math.max(1, sequences.keyRows());
        int mappedRows = Math.max(1, queryRows);
        int queryWidth = shape.heads() * headDim;
        int keyWidth = shape.kvHeads() * headDim;
        int places = mappedRows + COPIES - 1;
        int pitch = Math.ceilDiv(places, PITCH) * PITCH;
        int lines = COPIES * STATISTICS * shape.heads();
        try (DeviceBuffer buffer = cuda.allocate((long) lines * pitch * Float.BYTES)) {
            kernel("statistics_" + headDim)
                    .begin()
                    .pointer(o.address())
                    .pointer(dO.address())
                    .pointer(lse.address())
                    .pointer(buffer.address())
                    .int32(queryRows)
                    .int32(shape.heads())
                    .int32(pitch)
                    .launch(
                            Math.multiplyExact(Math.ceilDiv(queryRows, TILE), shape.heads()),
                            STATISTICS_THREADS);
            statistics.address(buffer.address());
            HopperAttention.encode(staying0, k, keyRows, keyWidth, ROWS);
            HopperAttention.encode(staying1, v, keyRows, keyWidth, ROWS);
            HopperAttention.encode(tile0, q, mappedRows, queryWidth, TILE);
            HopperAttention.encode(tile1, dO, mappedRows, queryWidth, TILE);
            encodeStatistics(places, lines, pitch, TILE);
            Kernel launch = maps(keysKernel(kernel, headDim));
            launch.pointer(dk.address()).pointer(dv.address());
            launch(launch, shape, keys, shape.kvHeads(), scaleLog2);
            HopperAttention.encode(staying0, q, mappedRows, queryWidth, ROWS);
            HopperAttention.encode(staying1, dO, mappedRows, queryWidth, ROWS);
            HopperAttention.encode(tile0, k, keyRows, keyWidth, TILE);
            HopperAttention.encode(tile1, v, keyRows, keyWidth, TILE);
            encodeStatistics(places, lines, pitch, ROWS);
            launch = maps(queriesKernel(kernel, headDim));
            launch.pointer(dq.address());
            launch(launch, shape, queries, shape.heads(), scaleLog2);
        }
    }

    private void encodeStatistics(int places, int lines, int pitch, int boxPlaces) {
        statistics
                .dimension(0, places, boxPlaces)
                .dimension(1, lines, (long) pitch * Float.BYTES, STATISTICS)
                .encode();
    }

    private Kernel maps(String name) {
        return kernel(name)
                .begin()
                .tensorMap(staying0)
                .tensorMap(staying1)
                .tensorMap(tile0)
                .tensorMap(tile1)
                .tensorMap(statistics);
    }

    /// @param heads of each tile
    private void launch(Kernel kernel, Shape shape, TileList tiles, int heads, float scaleLog2) {
        int items = Math.multiplyExact(tiles.count(), heads);
        kernel.pointer(tiles.address())
                .int32(items)
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
                        sharedBytes(shape.headDim()));
    }

    private Kernel kernel(String name) {
        return kernels.computeIfAbsent(
                name, absent -> cuda.program("attention/hopper_backward").kernel(absent));
    }
}
