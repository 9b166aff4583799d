package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.Program;
import dev.saccade.engine.TensorMap;
import dev.saccade.kernels.attention.Attention.Shape;
import org.jspecify.annotations.Nullable;

/// The backward pass in BF16 on Hopper at head dimension 128, of sequences whose keys are one range
/// or two: `attention/hopper_backward_ordered.cu`, whose numbers these are. dq is added up in fp32
/// in memory: 4 bytes for every element of it, in tiles of 64 queries, are allocated for a call.
final class OrderedBackward {
    private static final int WIDTH = 128;
    private static final int KEYS = KeyBlocks.KEYS;
    private static final int TILE = KeyBlocks.TILE;
    private static final int BYTES = 2;
    private static final int STAGES = 3;

    /// Warpgroups that multiply, each half of the columns of a tile's dq.
    private static final int GROUPS = 2;

    private static final int THREADS = 128 * (GROUPS + 1);
    private static final int TILE_THREADS = 256;

    /// Lists that are kept.
    private static final int LISTS = 4;

    private final CudaDevice cuda;
    private final BackwardStatistics statistics;
    private final TensorMap keys;
    private final TensorMap values;
    private final TensorMap queries;
    private final TensorMap upstream;
    private final RecentLists<KeyBlocks.Key, KeyBlocks> lists;
    private @Nullable Program program;

    OrderedBackward(CudaDevice cuda, BackwardStatistics statistics) {
        this.cuda = cuda;
        this.statistics = statistics;
        keys = HopperAttention.rows(cuda);
        values = HopperAttention.rows(cuda);
        queries = HopperAttention.rows(cuda);
        upstream = HopperAttention.rows(cuda);
        lists =
                new RecentLists<>(
                        LISTS,
                        key -> KeyBlocks.upload(cuda, key),
                        blocks -> blocks.buffer().close());
    }

    static boolean supports(int headDim) {
        return headDim == WIDTH;
    }

    /// Dynamic shared memory of a block: keys and values, a ring of tiles, slopes of two tiles, a
    /// tile's dq, statistics, what the tiles and the item are, barriers.
    static int sharedBytes() {
        int row = WIDTH * BYTES;
        return 2 * KEYS * row
                + STAGES * 2 * TILE * row
                + 2 * KEYS * TILE * BYTES
                + TILE * WIDTH * Float.BYTES
                + STAGES * BackwardStatistics.LINES * TILE * Float.BYTES
                + STAGES * 32
                + 32
                + GROUPS * 2 * Integer.BYTES
                + (2 + 2 * GROUPS + 2 * STAGES) * Long.BYTES;
    }

    /// @param operands begin on 16 bytes
    void launch(
            Shape shape,
            PrefixedAttention.Prefixed sequences,
            BackwardOperands operands,
            float scaleLog2) {
        KeyBlocks blocks = blocks(shape, sequences);
        KeyBlocks.Numbers numbers = blocks.numbers();
        int count = sequences.own().queryRows();
        int queryRows = Math.max(1, count);
        int keyRows = Math.max(1, sequences.keyRows());
        long tiles = Math.multiplyExact((long) numbers.tileCount(), shape.heads());
        long parts = Math.multiplyExact(tiles, TILE * WIDTH);
        if (tiles * GROUPS >= Integer.MAX_VALUE) {
            throw new IllegalArgumentException(
                    "attention of %d queries with %d heads is too long for one call"
                            .formatted(count, shape.heads()));
        }
        long turns = tiles * GROUPS + 1; // the last is how many items have been taken
        try (DeviceBuffer sums = cuda.allocate(Math.max(1, parts) * Float.BYTES);
                DeviceBuffer order = cuda.allocate(turns * Integer.BYTES);
                BackwardStatistics.Lines lines = statistics.sumUp(shape, count, operands)) {
            if (numbers.itemCount() > 0) {
                cuda.fill(order, 0, turns * Integer.BYTES, (byte) 0);
                HopperAttention.encode(keys, operands.k(), keyRows, shape.kvHeads() * WIDTH, KEYS);
                HopperAttention.encode(
                        values, operands.v(), keyRows, shape.kvHeads() * WIDTH, KEYS);
                HopperAttention.encode(
                        queries, operands.q(), queryRows, shape.heads() * WIDTH, TILE);
                HopperAttention.encode(
                        upstream, operands.dO(), queryRows, shape.heads() * WIDTH, TILE);
                kernel("backward_128")
                        .tensorMap(keys)
                        .tensorMap(values)
                        .tensorMap(queries)
                        .tensorMap(upstream)
                        .tensorMap(lines.encode(TILE))
                        .pointer(operands.dk().address())
                        .pointer(operands.dv().address())
                        .pointer(sums.address())
                        .pointer(order.address())
                        .pointer(order.address() + (turns - 1) * Integer.BYTES)
                        .pointer(blocks.items())
                        .int32(numbers.itemCount())
                        .pointer(blocks.ranges())
                        .int32(shape.heads())
                        .int32(shape.kvHeads())
                        .float32(shape.scale())
                        .float32(scaleLog2)
                        .launch(
                                Math.min(numbers.itemCount(), cuda.properties().multiprocessors()),
                                1,
                                1,
                                THREADS,
                                sharedBytes());
            }
            if (tiles > 0) {
                kernel("round_queries_128")
                        .pointer(sums.address())
                        .pointer(operands.dq().address())
                        .pointer(blocks.tiles())
                        .int32(shape.heads())
                        .float32(shape.scale())
                        .launch(Math.toIntExact(tiles), TILE_THREADS);
            }
        }
    }

    /// The lists of a call, made if they are not among those of the last ones.
    KeyBlocks blocks(Shape shape, PrefixedAttention.Prefixed sequences) {
        return lists.get(
                new KeyBlocks.Key(
                        sequences,
                        shape.heads(),
                        shape.kvHeads(),
                        shape.causal(),
                        cuda.properties().multiprocessors()));
    }

    private Kernel kernel(String name) {
        Program loaded = program;
        if (loaded == null) {
            loaded = cuda.program("attention/hopper_backward_ordered");
            program = loaded;
        }
        return loaded.kernel(name).begin();
    }
}
