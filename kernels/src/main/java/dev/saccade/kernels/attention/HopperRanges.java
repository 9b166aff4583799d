package dev.saccade.kernels.attention;

import dev.saccade.engine.CudaDevice;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Shape;
import dev.saccade.kernels.attention.PrefixedAttention.Prefixed;
import dev.saccade.kernels.embedding.Embedding;

/// Attention over keys in two ranges, in BF16 on Hopper: what the kernels named `prefixed` need,
/// and their launches. Operands begin on 16 bytes, and the head dimension is one that
/// [HopperForward] supports.
final class HopperRanges {
    /// Lists that are kept.
    private static final int LISTS = 4;

    private final CudaDevice device;
    private final HopperAttention hopper;
    private final Embedding embedding;
    private final RecentLists<PrefixedTiles.Key, PrefixedTiles> lists;

    HopperRanges(CudaDevice device, HopperAttention hopper) {
        this.device = device;
        this.hopper = hopper;
        this.embedding = Embedding.on(device);
        this.lists =
                new RecentLists<>(
                        LISTS,
                        key -> PrefixedTiles.upload(device, key),
                        tiles -> tiles.buffer().close());
    }

    void forward(Shape shape, Prefixed sequences, ForwardOperands operands, float scaleLog2) {
        HopperForward kernel = HopperForward.OVERLAPPED;
        PrefixedTiles tiles = tiles(shape, sequences, kernel.rows(), kernel.keys(shape.headDim()));
        try (Seams seams = seams(shape, tiles, operands)) {
            hopper.launch(shape, sequences, operands, tiles, seams, scaleLog2);
        }
    }

    void backward(Shape shape, Prefixed sequences, BackwardOperands operands, float scaleLog2) {
        if (OrderedBackward.supports(shape.headDim())) {
            OrderedBackward ordered = hopper.ordered();
            clear(shape, ordered.blocks(shape, sequences).numbers().keyRows(), operands);
            ordered.launch(shape, sequences, operands, scaleLog2);
            return;
        }
        PrefixedTiles tiles = tiles(shape, sequences, HopperBackward.ROWS, HopperBackward.TILE);
        clear(shape, tiles.numbers().rows(), operands);
        try (Seams seams = seams(shape, tiles, operands.forward())) {
            hopper.backward().launch(shape, sequences, operands, tiles, seams, scaleLog2);
        }
    }

    private Seams seams(Shape shape, PrefixedTiles tiles, ForwardOperands operands) {
        return new Seams(device, embedding, shape, tiles, operands.k(), operands.v());
    }

    /// Rows that are no keys get gradients of 0.
    ///
    /// @param rows how many are keys
    private void clear(Shape shape, int rows, BackwardOperands operands) {
        long written = (long) rows * shape.kvHeads() * shape.headDim();
        for (Span gradient : new Span[] {operands.dk(), operands.dv()}) {
            if (gradient.length() > written) {
                int bytes = gradient.dtype().bytes();
                device.fill(
                        gradient.buffer(), gradient.offset() * bytes, gradient.bytes(), (byte) 0);
            }
        }
    }

    private PrefixedTiles tiles(Shape shape, Prefixed sequences, int tile, int seam) {
        return lists.get(new PrefixedTiles.Key(sequences, tile, seam, shape.causal()));
    }
}
