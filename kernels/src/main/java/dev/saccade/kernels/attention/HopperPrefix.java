package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Kernel;
import dev.saccade.engine.TensorMap;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Pages;
import dev.saccade.kernels.attention.Attention.Prefixes;
import dev.saccade.kernels.attention.Attention.Shape;
import java.util.HashMap;
import java.util.Map;

/// The walk over pages that sequences share, in BF16 on Hopper: `attention/hopper_prefix.cu`. It
/// leaves the states that `prefix` of `attention/decode.cu` leaves. The numbers are those of that
/// file.
final class HopperPrefix {
    /// Elements across in shared memory: the span of the swizzle.
    private static final int PANEL = 64;

    /// Packed rows of a block.
    private static final int ROWS = 64;

    /// A warpgroup that multiplies and a warp that loads.
    private static final int THREADS = 160;

    private static final int BYTES = 2;

    private final CudaDevice cuda;
    private final Map<Integer, Kernel> kernels = new HashMap<>();
    private final TensorMap keys;
    private final TensorMap values;

    HopperPrefix(CudaDevice cuda) {
        this.cuda = cuda;
        keys = pages();
        values = pages();
    }

    private TensorMap pages() {
        return cuda.tensorMap(TensorMap.Element.BFLOAT16, 2)
                .swizzle(TensorMap.Swizzle.B128)
                .promotion(TensorMap.Promotion.B256);
    }

    /// Whether [HopperAttention#PROPERTY] asks for portable kernels.
    static boolean isLeftOut() {
        return "portable".equals(System.getProperty(HopperAttention.PROPERTY));
    }

    /// Whether there is a kernel of a head dimension.
    static boolean supports(int headDim) {
        return headDim == 64 || headDim == 128;
    }

    /// @param q begins, as k and v do, on 16 bytes
    /// @param pageCount pages of the cache
    /// @param reciprocal with which a row is divided by the heads of a group
    void launch(
            Shape shape,
            Pages pages,
            Prefixes prefixes,
            Span q,
            Span k,
            Span v,
            int pageCount,
            int reciprocal,
            float scaleLog2) {
        int headDim = shape.headDim();
        int group = shape.heads() / shape.kvHeads();
        int rows = prefixes.largest() * pages.queries() * group;
        if (pageCount == 0) {
            return;
        }
        encode(keys, k, pageCount, shape.kvHeads() * headDim);
        encode(values, v, pageCount, shape.kvHeads() * headDim);
        kernels.computeIfAbsent(
                        headDim,
                        width -> cuda.program("attention/hopper_prefix").kernel("prefix_" + width))
                .begin()
                .tensorMap(keys)
                .tensorMap(values)
                .pointer(q.address())
                .pointer(prefixes.state().address())
                .pointer(pages.table().address())
                .pointer(prefixes.start().address())
                .pointer(prefixes.shared().address())
                .int32(pages.queries())
                .int32(pages.width())
                .int32(pageCount)
                .int32(shape.heads())
                .int32(shape.kvHeads())
                .int32(reciprocal)
                .float32(scaleLog2)
                .pointer(cuda.faultAddress())
                .launch(
                        Math.multiplyExact(prefixes.groups(), shape.kvHeads()),
                        Math.ceilDiv(rows, ROWS),
                        1,
                        THREADS,
                        sharedBytes(headDim));
    }

    /// Dynamic shared memory of a block: queries, a ring of keys and one of values, barriers.
    private static int sharedBytes(int headDim) {
        int stages = headDim == 64 ? 8 : 6;
        int tile = Attention.PAGE * headDim * BYTES;
        return tile + 2 * stages * tile + 4 * stages * Long.BYTES;
    }

    private static void encode(TensorMap map, Span span, int pageCount, int width) {
        map.address(span.address())
                .dimension(0, width, PANEL)
                .dimension(
                        1, (long) pageCount * Attention.PAGE, (long) width * BYTES, Attention.PAGE)
                .encode();
    }
}
