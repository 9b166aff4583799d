package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Shape;
import dev.saccade.kernels.attention.PrefixedAttention.Prefixed;
import dev.saccade.kernels.embedding.Embedding;
import java.util.ArrayDeque;
import java.util.Deque;

/// Attention over keys in two ranges, in BF16 on Hopper: what the kernels named `prefixed` need,
/// and their launches. Operands begin on 16 bytes, and the head dimension is one that
/// [HopperForward] supports.
final class HopperRanges {
    /// Lists that are kept: a step uses the same in every layer.
    private static final int LISTS = 4;

    private final CudaDevice device;
    private final HopperAttention hopper;
    private final Embedding embedding;
    private final Deque<PrefixedTiles> lists = new ArrayDeque<>();

    HopperRanges(CudaDevice device, HopperAttention hopper) {
        this.device = device;
        this.hopper = hopper;
        this.embedding = Embedding.on(device);
    }

    void forward(
            Shape shape,
            Prefixed sequences,
            Span q,
            Span k,
            Span v,
            Span o,
            Span lse,
            float scaleLog2) {
        PrefixedTiles tiles =
                tiles(shape, sequences, HopperForward.OVERLAPPED.rows(shape.headDim()));
        try (Seams seams = new Seams(device, embedding, shape, tiles, k, v)) {
            hopper.launch(shape, sequences, q, k, v, o, lse, tiles, seams, scaleLog2);
        }
    }

    void backward(
            Shape shape,
            Prefixed sequences,
            Span q,
            Span k,
            Span v,
            Span o,
            Span lse,
            Span dO,
            Span dq,
            Span dk,
            Span dv,
            float scaleLog2) {
        if (OrderedBackward.supports(shape.headDim())) {
            OrderedBackward ordered = hopper.ordered();
            clear(shape, ordered.blocks(shape, sequences).numbers().keyRows(), dk, dv);
            ordered.launch(shape, sequences, q, k, v, o, lse, dO, dq, dk, dv, scaleLog2);
            return;
        }
        PrefixedTiles tiles = tiles(shape, sequences, HopperBackward.ROWS);
        clear(shape, tiles.numbers().rows(), dk, dv);
        try (Seams seams = new Seams(device, embedding, shape, tiles, k, v)) {
            hopper.backward()
                    .launch(
                            shape, sequences, q, k, v, o, lse, dO, dq, dk, dv, tiles, seams,
                            scaleLog2);
        }
    }

    /// Rows that are no keys get gradients of 0.
    ///
    /// @param rows how many are keys
    private void clear(Shape shape, int rows, Span... gradients) {
        long written = (long) rows * shape.kvHeads() * shape.headDim();
        for (Span gradient : gradients) {
            if (gradient.length() > written) {
                int bytes = gradient.dtype().bytes();
                device.fill(
                        gradient.buffer(), gradient.offset() * bytes, gradient.bytes(), (byte) 0);
            }
        }
    }

    private PrefixedTiles tiles(Shape shape, Prefixed sequences, int tile) {
        PrefixedTiles.Key key = new PrefixedTiles.Key(sequences, tile, shape.causal());
        for (PrefixedTiles tiles : lists) {
            if (tiles.key().equals(key)) {
                return tiles;
            }
        }
        if (lists.size() == LISTS) {
            // What is queued still reads it; memory is given away again in the stream's order.
            lists.removeLast().buffer().close();
        }
        PrefixedTiles tiles = PrefixedTiles.upload(device, key);
        lists.addFirst(tiles);
        return tiles;
    }
}
