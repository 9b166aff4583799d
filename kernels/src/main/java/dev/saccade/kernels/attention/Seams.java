package dev.saccade.kernels.attention;

import dev.saccade.engine.Device;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.TensorMap;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Shape;
import dev.saccade.kernels.embedding.Embedding;
import org.jspecify.annotations.Nullable;

/// The keys and values around the ends of prefixes, side by side for a call: a kernel's tile of
/// keys begins at a multiple of its size, and one in which a prefix ends is fetched from here.
final class Seams implements AutoCloseable {
    private final int width;
    private final int rows;
    private final Span keys;
    private final Span values;
    private final @Nullable DeviceBuffer buffer;

    /// @param k begins, as v does, on 16 bytes
    Seams(Device device, Embedding embedding, Shape shape, PrefixedTiles tiles, Span k, Span v) {
        this.width = shape.kvHeads() * shape.headDim();
        int count = tiles.numbers().seams().length;
        if (count == 0) {
            // Nothing is fetched, but a kernel has the tensors.
            this.rows = 1;
            this.keys = k;
            this.values = v;
            this.buffer = null;
            return;
        }
        this.rows = count;
        long elements = (long) count * width;
        this.buffer = device.allocate(2 * elements * k.dtype().bytes());
        this.keys = new Span(buffer, 0, elements, k.dtype());
        this.values = new Span(buffer, elements, elements, k.dtype());
        gather(embedding, tiles, k, keys);
        gather(embedding, tiles, v, values);
    }

    private void gather(Embedding embedding, PrefixedTiles tiles, Span from, Span to) {
        int fromRows = Math.toIntExact(from.length() / width);
        embedding.gather(rows, width, fromRows, tiles.seams(), from, to);
    }

    /// Tiles of `boxRows` rows.
    void encode(TensorMap keyMap, TensorMap valueMap, int boxRows) {
        HopperAttention.encode(keyMap, keys, rows, width, boxRows);
        HopperAttention.encode(valueMap, values, rows, width, boxRows);
    }

    @Override
    public void close() {
        if (buffer != null) {
            buffer.close();
        }
    }
}
