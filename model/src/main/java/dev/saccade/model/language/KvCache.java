package dev.saccade.model.language;

import dev.saccade.engine.Device;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.model.LanguageConfig;
import java.util.ArrayList;
import java.util.List;

/// The keys (after the rotary embedding) and values that decoding attends to, in pages of
/// [Attention#PAGE] tokens: row `PAGE * page + i` of each layer's keys and values belongs to token
/// i of a page. Which pages a sequence has, and which of them it shares with others, the caller
/// says with each [LanguageModel#forward] and [LanguageModel#decode].
public final class KvCache implements AutoCloseable {
    private final Device device;
    private final DType dtype;
    private final int pages;
    private final int width;
    private final List<DeviceBuffer> keys = new ArrayList<>();
    private final List<DeviceBuffer> values = new ArrayList<>();

    /// @param dtype of keys and values: the model's
    /// @param pages how many it holds
    public KvCache(Device device, LanguageConfig config, DType dtype, int pages) {
        Math.multiplyExact(pages, Attention.PAGE); // rows are numbered with ints
        this.device = device;
        this.dtype = dtype;
        this.pages = pages;
        this.width = config.keyValueWidth();
        long bytes = rows() * rowBytes();
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

    /// How many pages hold so many tokens.
    public static int pagesOf(int tokens) {
        return Math.ceilDiv(tokens, Attention.PAGE);
    }

    /// The memory of one page in all layers.
    public static long bytesPerPage(LanguageConfig config, DType dtype) {
        return Attention.PAGE * bytesPerToken(config, dtype);
    }

    /// The memory of one token in all layers.
    public static long bytesPerToken(LanguageConfig config, DType dtype) {
        return 2L * config.numHiddenLayers() * config.keyValueWidth() * dtype.bytes();
    }

    /// The first row of a page. A sequence whose pages follow each other has its keys from there
    /// on.
    public static int row(int page) {
        return page * Attention.PAGE;
    }

    /// Rows of each layer's keys, and of its values.
    int rows() {
        return pages * Attention.PAGE;
    }

    Span keys(int layer) {
        return Span.of(keys.get(layer), dtype);
    }

    Span values(int layer) {
        return Span.of(values.get(layer), dtype);
    }

    /// Copies the first `length` tokens of one page to another, in every layer.
    public void copy(int fromPage, int toPage, int length) {
        if (length > Attention.PAGE) {
            throw new IndexOutOfBoundsException(
                    "%d tokens of a page of %d".formatted(length, Attention.PAGE));
        }
        long from = row(fromPage) * rowBytes();
        long to = row(toPage) * rowBytes();
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
