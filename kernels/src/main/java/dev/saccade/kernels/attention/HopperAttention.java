package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.TensorMap;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.Attention.Shape;
import dev.saccade.kernels.attention.PrefixedAttention.Prefixed;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Attention in BF16 on Hopper: the forward pass, `attention/hopper.cu`, and the backward pass,
/// which is [HopperBackward]. The kernels give a query the bits of `attention/forward.cu`; an item
/// is some queries of one head, so heads of a group share keys only in the second-level cache.
final class HopperAttention {
    /// Elements across in shared memory: the span of the swizzle.
    private static final int PANEL = 64;

    private static final int BYTES = 2;

    /// Asks for one kernel of the forward pass wherever it can be used: `portable`, `simple` or
    /// `overlapped`; with `portable` the backward pass is the portable one, too. No kernel shows in
    /// the bits; this is to measure them.
    static final String PROPERTY = "saccade.attention";

    private final CudaDevice cuda;
    private final Choice choice;
    private final Map<String, Kernel> kernels = new HashMap<>();
    private final TensorMap queries;
    private final TensorMap keys;
    private final TensorMap values;
    private final TensorMap seamKeys;
    private final TensorMap seamValues;
    private final HopperBackward backward;
    private final OrderedBackward ordered;

    /// Chooses a call's kernel.
    interface Choice {
        /// The kernel; null for the portable one.
        @Nullable HopperForward kernel(Shape shape, Sequences sequences);
    }

    HopperAttention(CudaDevice cuda) {
        this(cuda, choice(System.getProperty(PROPERTY)));
    }

    /// @param choice of every call's kernel
    HopperAttention(CudaDevice cuda, Choice choice) {
        this.cuda = cuda;
        this.choice = choice;
        queries = rows(cuda);
        keys = rows(cuda);
        values = rows(cuda);
        seamKeys = rows(cuda);
        seamValues = rows(cuda);
        BackwardStatistics statistics = new BackwardStatistics(cuda);
        backward = new HopperBackward(cuda, statistics);
        ordered = new OrderedBackward(cuda, statistics);
    }

    /// @param asked the kernel that [#PROPERTY] names; null for what is best
    static Choice choice(@Nullable String asked) {
        if (asked == null) {
            return HopperForward::choose;
        }
        if (asked.equals("portable")) {
            return (_, _) -> null;
        }
        for (HopperForward kernel : HopperForward.values()) {
            if (asked.equals(kernel.suffix())) {
                return (_, _) -> kernel;
            }
        }
        throw new IllegalArgumentException(
                "-D%s=%s, expected portable, simple or overlapped".formatted(PROPERTY, asked));
    }

    /// A map of rows in bf16 that lie in shared memory as wgmma reads them.
    static TensorMap rows(CudaDevice cuda) {
        return cuda.tensorMap(TensorMap.Element.BFLOAT16, 2)
                .swizzle(TensorMap.Swizzle.B128)
                .promotion(TensorMap.Promotion.B256);
    }

    /// Whether a device has what these kernels need.
    static boolean runsOn(CudaDevice cuda) {
        return cuda.properties().computeMajor() == 9;
    }

    /// The kernel for a call, of which the backward pass comes here, too; null where both are the
    /// portable ones.
    @Nullable HopperForward choose(Shape shape, Sequences sequences) {
        return HopperForward.supports(shape.headDim()) ? choice.kernel(shape, sequences) : null;
    }

    /// The backward pass at head dimension 64.
    HopperBackward backward() {
        return backward;
    }

    /// The backward pass at head dimension 128.
    OrderedBackward ordered() {
        return ordered;
    }

    /// @param operands begin on 16 bytes
    /// @param tiles of `kernel.rows` queries each, not packed, cut from a sequence's end
    void launch(
            HopperForward kernel,
            Shape shape,
            Sequences sequences,
            ForwardOperands operands,
            TileList tiles,
            float scaleLog2) {
        if (tiles.count() == 0) {
            return;
        }
        encode(kernel, shape, sequences.queryRows(), sequences.keyRows(), operands);
        Kernel launch = maps(kernel.kernel(shape.headDim()));
        launch.pointer(operands.o().address())
                .pointer(operands.lse().address())
                .pointer(tiles.address());
        launch(launch, kernel, shape, tiles.count(), scaleLog2);
    }

    /// Of sequences whose keys are two ranges.
    ///
    /// @param operands begin on 16 bytes
    /// @param tiles of `kernel.rows` queries each
    void launch(
            Shape shape,
            Prefixed sequences,
            ForwardOperands operands,
            PrefixedTiles tiles,
            Seams seams,
            float scaleLog2) {
        if (tiles.numbers().queryTiles() == 0) {
            return;
        }
        HopperForward kernel = HopperForward.OVERLAPPED;
        encode(kernel, shape, sequences.own().queryRows(), sequences.keyRows(), operands);
        seams.encode(seamKeys, seamValues, kernel.keys(shape.headDim()));
        Kernel launch = maps("prefixed_forward_" + shape.headDim());
        launch.tensorMap(seamKeys)
                .tensorMap(seamValues)
                .pointer(operands.o().address())
                .pointer(operands.lse().address())
                .pointer(tiles.queries());
        launch(launch, kernel, shape, tiles.numbers().queryTiles(), scaleLog2);
    }

    private void encode(
            HopperForward kernel,
            Shape shape,
            int queryRows,
            int keyRows,
            ForwardOperands operands) {
        int queryWidth = shape.heads() * shape.headDim();
        int keyWidth = shape.kvHeads() * shape.headDim();
        int tile = kernel.keys(shape.headDim());
        encode(queries, operands.q(), queryRows, queryWidth, kernel.rows());
        encode(keys, operands.k(), Math.max(1, keyRows), keyWidth, tile);
        encode(values, operands.v(), Math.max(1, keyRows), keyWidth, tile);
    }

    private Kernel maps(String name) {
        return kernels.computeIfAbsent(
                        name, absent -> cuda.program("attention/hopper").kernel(absent))
                .begin()
                .tensorMap(queries)
                .tensorMap(keys)
                .tensorMap(values);
    }

    private void launch(
            Kernel launch, HopperForward kernel, Shape shape, int tiles, float scaleLog2) {
        int items = Math.multiplyExact(tiles, shape.heads());
        launch.int32(items)
                .int32(shape.heads())
                .int32(shape.kvHeads())
                .int32(shape.causal() ? 1 : 0)
                .float32(scaleLog2)
                .launch(
                        Math.min(items, cuda.properties().multiprocessors()),
                        1,
                        1,
                        kernel.threads(),
                        kernel.sharedBytes(shape.headDim()));
    }

    /// Tiles of `boxRows` rows and [#PANEL] elements.
    static void encode(TensorMap map, Span span, int rows, int width, int boxRows) {
        map.address(span.address())
                .dimension(0, width, PANEL)
                .dimension(1, rows, (long) width * BYTES, boxRows)
                .encode();
    }
}
