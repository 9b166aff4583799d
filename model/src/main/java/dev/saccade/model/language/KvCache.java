package dev.saccade.model.language;

import dev.saccade.engine.Device;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.model.LanguageConfig;
import java.util.ArrayList;
import java.util.List;

/// The keys (after the rotary embedding) and values that decoding attends to. Each layer has room
/// for `slots` sequences of `capacity` tokens; row `slot * capacity + position` belongs to the
/// token at `position` of the slot's sequence. Which slot a sequence uses and how long it is, the
/// caller says with each [LanguageModel#forward].
public final class KvCache implements AutoCloseable {
    private final Device device;
    private final DType dtype;
    private final int slots;
    private final int capacity;
    private final int width;
    private final List<DeviceBuffer> keys = new ArrayList<>();
    private final List<DeviceBuffer> values = new ArrayList<>();

    /// @param dtype of keys and values: the model's
    /// @param slots how many sequences it holds
    /// @param capacity the most tokens of a sequence
    public KvCache(Device device, LanguageConfig config, DType dtype, int slots, int capacity) {
        Math.multiplyExact(slots, capacity); // rows are numbered with ints
        this.device = device;
        this.dtype = dtype;
        this.slots = slots;
        this.capacity = capacity;
        this.width = config.keyValueWidth();
        long bytes = (long) slots * rowBytes() * capacity;
        try {
            for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
                keys.add(device.allocate(bytes));
                values.add(device.allocate(bytes));
            }
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    /// The memory of one token in all layers.
    public static long bytesPerToken(LanguageConfig config, DType dtype) {
        return 2L * config.numHiddenLayers() * config.keyValueWidth() * dtype.bytes();
    }

    /// The first row of a slot: the `keyStart` of its sequence.
    public int row(int slot) {
        return slot * capacity;
    }

    /// Rows of each layer's keys, and of its values.
    int rows() {
        return slots * capacity;
    }

    Span keys(int layer) {
        return Span.of(keys.get(layer), dtype);
    }

    Span values(int layer) {
        return Span.of(values.get(layer), dtype);
    }

    /// Copies the first `length` tokens of one slot to another, in every layer.
    public void copy(int fromSlot, int toSlot, int length) {
        if (length > capacity) {
            throw new IndexOutOfBoundsException(
                    "%d tokens of a slot of %d".formatted(length, capacity));
        }
        long from = row(fromSlot) * rowBytes();
        long to = row(toSlot) * rowBytes();
        long bytes = length * rowBytes();
        for (int layer = 0; layer < keys.size(); layer++) {
            device.copy(keys.get(layer), from, keys.get(layer), to, bytes);
            device.copy(values.get(layer), from, values.get(layer), to, bytes);
        }
    }

    private long rowBytes() {
        return (long) width * dtype.bytes();
    }

    @Override
    public void close() {
        keys.forEach(DeviceBuffer::close);
        values.forEach(DeviceBuffer::close);
    }
}
