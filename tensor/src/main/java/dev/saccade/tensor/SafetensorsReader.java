package dev.saccade.tensor;

import dev.saccade.engine.DeviceBuffer;
import dev.saccade.engine.InputException;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Kernels;
import dev.saccade.kernels.Span;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// A safetensors file, memory-mapped. Its header is checked whole before anything is read.
public final class SafetensorsReader implements AutoCloseable {
    /// A tensor in the file.
    ///
    /// @param dtype the format's name of the type: `F32`, `BF16`, ...
    /// @param shape its extents
    /// @param offset its first byte in the file
    /// @param bytes its size
    public record Entry(String dtype, Shape shape, long offset, long bytes) {}

    private static final Map<String, Integer> BYTES =
            Map.ofEntries(
                    Map.entry("F64", 8),
                    Map.entry("F32", 4),
                    Map.entry("F16", 2),
                    Map.entry("BF16", 2),
                    Map.entry("I64", 8),
                    Map.entry("U64", 8),
                    Map.entry("I32", 4),
                    Map.entry("U32", 4),
                    Map.entry("I16", 2),
                    Map.entry("U16", 2),
                    Map.entry("I8", 1),
                    Map.entry("U8", 1),
                    Map.entry("BOOL", 1),
                    Map.entry("F8_E4M3", 1),
                    Map.entry("F8_E5M2", 1));
    private static final ValueLayout.OfLong LENGTH =
            ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final long MOST_HEADER_BYTES = 100L << 20;

    private final Path file;
    private final Arena arena;
    private final MemorySegment memory;
    private final Map<String, Entry> entries;
    private final Map<String, String> metadata;

    private SafetensorsReader(Path file, Arena arena, MemorySegment memory) {
        this.file = file;
        this.arena = arena;
        this.memory = memory;
        this.metadata = new TreeMap<>();
        this.entries = parse();
    }

    /// Maps a file and checks its header.
    ///
    /// @throws InputException naming the file and what is wrong with it
    public static SafetensorsReader open(Path file) {
        Arena arena = Arena.ofShared();
        boolean kept = false;
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            MemorySegment memory =
                    channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
            SafetensorsReader reader = new SafetensorsReader(file, arena, memory);
            kept = true;
            return reader;
        } catch (NoSuchFileException e) {
            throw new InputException(
                    file.toString(), "there is no such file", "check the checkpoint's folder", e);
        } catch (IOException e) {
            throw new InputException(
                    file.toString(),
                    "can't be read (" + e.getMessage() + ")",
                    "check the file and its permissions",
                    e);
        } finally {
            if (!kept) {
                arena.close();
            }
        }
    }

    private InputException bad(String why) {
        return new InputException(file.toString(), why, "download or copy it again");
    }

    private Map<String, Entry> parse() {
        long size = memory.byteSize();
        if (size < 8) {
            throw bad("has " + size + " bytes, too few for a safetensors file");
        }
        long length = memory.get(LENGTH, 0);
        if (length < 2 || length > MOST_HEADER_BYTES) {
            throw bad("is no safetensors file (a header of " + length + " bytes)");
        }
        if (8 + length > size) {
            throw bad("ends at byte " + size + ", inside its header of " + length + " bytes");
        }
        byte[] json = memory.asSlice(8, length).toArray(ValueLayout.JAVA_BYTE);
        JsonNode header;
        try {
            header =
                    JsonMapper.builder()
                            .build()
                            .readTree(new String(json, StandardCharsets.UTF_8));
        } catch (JacksonException e) {
            throw bad("has a header that is not JSON (" + e.getOriginalMessage() + ")");
        }
        if (!header.isObject()) {
            throw bad("has a header that is not a JSON object");
        }
        Map<String, Entry> found = new LinkedHashMap<>();
        long end = 8 + length;
        for (Map.Entry<String, JsonNode> field : header.properties()) {
            if (field.getKey().equals("__metadata__")) {
                field.getValue()
                        .properties()
                        .forEach(entry -> metadata.put(entry.getKey(), entry.getValue().asString()));
            } else {
                Entry entry = entry(field.getKey(), field.getValue(), 8 + length);
                end = Math.max(end, entry.offset() + entry.bytes());
                found.put(field.getKey(), entry);
            }
        }
        if (end > size) {
            throw bad("ends at byte " + size + ", its header promises " + end);
        }
        return found;
    }

    private Entry entry(String name, JsonNode node, long start) {
        String dtype = node.path("dtype").asString("");
        Integer width = BYTES.get(dtype);
        if (width == null) {
            throw bad("tensor " + name + " has the unknown type '" + dtype + "'");
        }
        JsonNode dims = node.path("shape");
        JsonNode offsets = node.path("data_offsets");
        if (!dims.isArray() || !offsets.isArray() || offsets.size() != 2) {
            throw bad("tensor " + name + " has no shape or no data_offsets");
        }
        long[] extents = new long[dims.size()];
        for (int i = 0; i < extents.length; i++) {
            extents[i] = dims.get(i).asLong(-1);
            if (extents[i] < 0) {
                throw bad("tensor " + name + " has a negative extent");
            }
        }
        long from = offsets.get(0).asLong(-1);
        long to = offsets.get(1).asLong(-1);
        Shape shape = Shape.of(extents);
        long bytes;
        try {
            bytes = Math.multiplyExact(shape.elements(), (long) width);
        } catch (ArithmeticException e) {
            throw bad("tensor " + name + " is too large: " + shape);
        }
        if (from < 0 || to - from != bytes) {
            throw bad(
                    "tensor %s has %d bytes of data, its shape %s needs %d"
                            .formatted(name, to - from, shape, bytes));
        }
        return new Entry(dtype, shape, start + from, bytes);
    }

    /// The tensors by name, in the file's order.
    public Map<String, Entry> entries() {
        return entries;
    }

    /// The strings under `__metadata__`.
    public Map<String, String> metadata() {
        return metadata;
    }

    /// A tensor's bytes, little-endian; valid until [#close()].
    public MemorySegment bytes(String name) {
        Entry entry = find(name);
        return memory.asSlice(entry.offset(), entry.bytes());
    }

    private Entry find(String name) {
        @Nullable Entry entry = entries.get(name);
        if (entry == null) {
            throw new InputException(
                    file.toString(), "has no tensor " + name, "use a checkpoint of this model");
        }
        return entry;
    }

    /// Copies a tensor to the device, converting F16 and BF16 to F32 where the target is F32.
    public void read(String name, Tensor target) {
        Entry entry = find(name);
        if (!entry.shape().equals(target.shape())) {
            throw new InputException(
                    file.toString(),
                    "tensor %s is %s, expected %s".formatted(name, entry.shape(), target.shape()),
                    "use a checkpoint of this model");
        }
        MemorySegment data = bytes(name);
        Span to = target.span();
        long start = to.offset() * to.dtype().bytes();
        if (entry.dtype().equals(to.dtype().name())) {
            target.device().upload(data, to.buffer(), start);
            return;
        }
        boolean half = entry.dtype().equals("F16") || entry.dtype().equals("BF16");
        if (to.dtype() != DType.F32 || !half) {
            throw new InputException(
                    file.toString(),
                    "tensor %s is %s, which is not loaded".formatted(name, entry.dtype()),
                    "convert it to F32, F16 or BF16");
        }
        try (DeviceBuffer staged = target.device().allocate(entry.bytes())) {
            target.device().upload(data, staged, 0);
            Kernels.of(target.device())
                    .elementwise()
                    .cast(
                            target.shape().elements(),
                            Span.of(staged, DType.valueOf(entry.dtype())),
                            to);
        }
    }

    @Override
    public void close() {
        arena.close();
    }
}
