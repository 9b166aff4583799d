package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.TensorMap;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.Attention.Shape;
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

    /// Asks for one kind of kernels wherever they can be used, forward and backward: `portable`,
    /// `simple` or `overlapped`. No kernel shows in the bits; this is to measure them.
    static final String PROPERTY = "saccade.attention";

    private final CudaDevice cuda;
    private final Choice choice;
    private final boolean asked;
    private final Map<String, Kernel> kernels = new HashMap<>();
    private final TensorMap queries;
    private final TensorMap keys;
    private final TensorMap values;
    private final HopperBackward backward;

    /// Chooses a call's kernel.
    interface Choice {
        /// The kernel; null for the portable one.
        @Nullable HopperForward kernel(Shape shape, Sequences sequences);
    }

    HopperAttention(CudaDevice cuda) {
        this(cuda, choice(System.getProperty(PROPERTY)), System.getProperty(PROPERTY) != null);
    }

    /// @param choice of every call's kernel, forward and backward
    HopperAttention(CudaDevice cuda, Choice choice) {
        this(cuda, choice, true);
    }

    private HopperAttention(CudaDevice cuda, Choice choice, boolean asked) {
        this.cuda = cuda;
        this.choice = choice;
        this.asked = asked;
        queries = rows(cuda);
        keys = rows(cuda);
        values = rows(cuda);
        backward = new HopperBackward(cuda);
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

    /// The kernel for a forward pass; null for the portable one.
    @Nullable HopperForward choose(Shape shape, Sequences sequences) {
        return HopperForward.supports(shape.headDim()) ? choice.kernel(shape, sequences) : null;
    }

    /// The kernels for a backward pass; null for the portable ones. Backward, starting the next
    /// tile's scores ahead takes registers that cost more than it hides.
    @Nullable HopperForward chooseBackward(Shape shape, Sequences sequences) {
        HopperForward kernel = choose(shape, sequences);
        return kernel == null || asked ? kernel : HopperForward.SIMPLE;
    }

    HopperBackward backward() {
        return backward;
    }

    /// @param q begins, as k, v and o do, on 16 bytes
    /// @param tiles of `kernel.rows` queries each, not packed, cut from a sequence's end
    void launch(
            HopperForward kernel,
            Shape shape,
            Sequences sequences,
            Span q,
            Span k,
            Span v,
            Span o,
            Span lse,
            TileList tiles,
            float scaleLog2) {
        if (tiles.count() == 0) {
            return;
        }
        int headDim = shape.headDim();
        int items = Math.multiplyExact(tiles.count(), shape.heads());
        int queryWidth = shape.heads() * headDim;
        int keyWidth = shape.kvHeads() * headDim;
        int keyRows = Math.max(1, sequences.keyRows());
        encode(queries, q, sequences.queryRows(), queryWidth, kernel.rows(headDim));
        encode(keys, k, keyRows, keyWidth, kernel.keys());
        encode(values, v, keyRows, keyWidth, kernel.keys());
        kernels.computeIfAbsent(
                        kernel.kernel(headDim),
                        name -> cuda.program("attention/hopper").kernel(name))
                .begin()
                .tensorMap(queries)
                .tensorMap(keys)
                .tensorMap(values)
                .pointer(o.address())
                .pointer(lse.address())
                .pointer(tiles.address())
                .int32(items)
                .int32(shape.heads())
                .int32(shape.kvHeads())
                .int32(shape.causal() ? 1 : 0)
                .float32(scaleLog2)
                .launch(
                        Math.min(items, cuda.properties().multiprocessors()),
                        1,
                        1,
                        kernel.threads(headDim),
                        kernel.sharedBytes(headDim));
    }

    /// Tiles of `boxRows` rows and [#PANEL] elements.
    static void encode(TensorMap map, Span span, int rows, int width, int boxRows) {
        map.address(span.address())
                .dimension(0, width, PANEL)
                .dimension(1, rows, (long) width * BYTES, boxRows)
                .encode();
    }
}
