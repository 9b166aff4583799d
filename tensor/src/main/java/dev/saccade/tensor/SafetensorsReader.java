package dev.saccade.tensor;

import dev.saccade.engine.InputException;
import dev.saccade.engine.UploadSource;
import dev.saccade.kernels.DType;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SequencedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.core.StreamReadFeature;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// A safetensors file, memory-mapped for its header and for whoever copies it, and read into
/// devices by several threads. The whole header is checked before anything is read: its length, its
/// JSON, and that the tensors fill the file to the last byte without gap or overlap.
///
/// Source: the format's description in the repository huggingface/safetensors.
public final class SafetensorsReader implements AutoCloseable {

    /// A tensor in the file.
    ///
    /// @param dtype the format's name of the type: `F32`, `BF16`, ...
    /// @param shape its extents
    /// @param offset its first byte, from the start of the file
    /// @param bytes its size
    public record Entry(String dtype, Shape shape, long offset, long bytes) {}

    private static final String METADATA = "__metadata__";
    private static final String AGAIN = "download or copy it again";
    private static final String OTHER_FILE = "use a checkpoint of this model";
    private static final int LENGTH_BYTES = 8;

    /// The format's own limit.
    private static final long MOST_HEADER_BYTES = 100_000_000;

    private static final ValueLayout.OfLong LENGTH =
            ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final JsonMapper JSON =
            JsonMapper.builder()
                    .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
                    .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
                    .build();

    private final Path file;
    private final FileChannel channel;
    private final Arena arena;
    private final MemorySegment memory;
    private final SequencedMap<String, Entry> entries = new LinkedHashMap<>();
    private final Map<String, String> metadata = new TreeMap<>();

    private SafetensorsReader(Path file, FileChannel channel, Arena arena, MemorySegment memory) {
        this.file = file;
        this.channel = channel;
        this.arena = arena;
        this.memory = memory;
    }

    /// Maps a file and checks its header.
    ///
    /// @throws InputException naming the file and what is wrong with it
    @SuppressWarnings("MustBeClosedChecker") // the reader closes the arena
    public static SafetensorsReader open(Path file) {
        if (Files.isDirectory(file)) {
            throw new InputException(
                    file.toString(), "is a folder", "give the safetensors file in it");
        }
        Arena arena = Arena.ofShared();
        FileChannel channel = null;
        boolean kept = false;
        try {
            channel = FileChannel.open(file, StandardOpenOption.READ);
            MemorySegment memory =
                    channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
            SafetensorsReader reader = new SafetensorsReader(file, channel, arena, memory);
            reader.readHeader();
            kept = true;
            return reader;
        } catch (NoSuchFileException e) {
            throw new InputException(file.toString(), "there is no such file", "check the path", e);
        } catch (AccessDeniedException e) {
            throw new InputException(
                    file.toString(), "may not be read", "change its permissions", e);
        } catch (IOException e) {
            throw unreadable(file, e);
        } finally {
            if (!kept) {
                arena.close();
                closeQuietly(channel);
            }
        }
    }

    private static InputException unreadable(Path file, IOException e) {
        return new InputException(
                file.toString(), "can't be read (" + e.getMessage() + ")", AGAIN, e);
    }

    /// A file that was only read loses nothing when its closing fails.
    private static void closeQuietly(@Nullable FileChannel channel) {
        if (channel != null) {
            try {
                channel.close();
            } catch (IOException _) {
                // nothing to do
            }
        }
    }

    private InputException bad(String why) {
        return new InputException(file.toString(), why, AGAIN);
    }

    private void readHeader() {
        long size = memory.byteSize();
        if (size < LENGTH_BYTES) {
            throw bad("is no safetensors file, it has " + size + " bytes");
        }
        long length = memory.get(LENGTH, 0);
        if (length < 2 || length > MOST_HEADER_BYTES) {
            throw bad(
                    "is no safetensors file, its header would have "
                            + Long.toUnsignedString(length)
                            + " bytes");
        }
        long start = LENGTH_BYTES + length;
        if (start > size) {
            throw bad(
                    "ends at byte %d, inside its header, which goes to byte %d"
                            .formatted(size, start));
        }
        if (memory.get(ValueLayout.JAVA_BYTE, LENGTH_BYTES) != '{') {
            throw bad("has a header that isn't a JSON object");
        }
        List<Map.Entry<String, Entry>> found = new ArrayList<>();
        for (Map.Entry<String, JsonNode> field : json(length).properties()) {
            if (field.getKey().equals(METADATA)) {
                readMetadata(field.getValue());
            } else {
                found.add(
                        Map.entry(field.getKey(), entry(field.getKey(), field.getValue(), start)));
            }
        }
        // Empty tensors come before the one that begins at the same byte.
        found.sort(
                Comparator.comparingLong(
                                (Map.Entry<String, Entry> named) -> named.getValue().offset())
                        .thenComparingLong(named -> named.getValue().bytes()));
        long end = start;
        for (Map.Entry<String, Entry> named : found) {
            Entry entry = named.getValue();
            if (entry.offset() != end) {
                throw bad(
                        "the data of tensor %s begins at byte %d of the file, expected %d"
                                .formatted(shown(named.getKey()), entry.offset(), end));
            }
            end += entry.bytes();
            entries.put(named.getKey(), entry);
        }
        if (end > size) {
            throw bad("ends at byte " + size + ", its header promises " + end);
        }
        if (end < size) {
            throw bad("goes on to byte " + size + ", its header promises " + end);
        }
    }

    private JsonNode json(long length) {
        byte[] bytes = memory.asSlice(LENGTH_BYTES, length).toArray(ValueLayout.JAVA_BYTE);
        JsonNode header;
        try {
            header =
                    JSON.readTree(
                            StandardCharsets.UTF_8
                                    .newDecoder()
                                    .decode(ByteBuffer.wrap(bytes))
                                    .toString());
        } catch (CharacterCodingException e) {
            throw new InputException(file.toString(), "has a header that isn't UTF-8", AGAIN, e);
        } catch (JacksonException e) {
            String message = e.getOriginalMessage().lines().findFirst().orElse("");
            throw new InputException(
                    file.toString(), "has a header that isn't JSON (" + message + ")", AGAIN, e);
        }
        return header;
    }

    private void readMetadata(JsonNode node) {
        if (!node.isObject()) {
            throw bad(METADATA + " isn't a JSON object");
        }
        for (Map.Entry<String, JsonNode> field : node.properties()) {
            if (!field.getValue().isString()) {
                throw bad(METADATA + "." + shown(field.getKey()) + " isn't a string");
            }
            metadata.put(field.getKey(), field.getValue().stringValue());
        }
    }

    private Entry entry(String name, JsonNode node, long start) {
        JsonNode named = node.path("dtype");
        String dtype = named.isString() ? named.stringValue() : named.toString();
        StoredType type = StoredType.named(dtype);
        if (type == null) {
            throw new InputException(
                    file.toString(),
                    "tensor " + shown(name) + " has the unknown type '" + shown(dtype) + "'",
                    "convert the checkpoint to F32, F16 or BF16");
        }
        long[] dims = integers(name, node, "shape");
        long[] offsets = integers(name, node, "data_offsets");
        if (offsets.length != 2) {
            throw bad(
                    "tensor "
                            + shown(name)
                            + " has "
                            + offsets.length
                            + " data_offsets, expected 2");
        }
        Shape shape;
        long bytes;
        try {
            shape = Shape.of(dims);
            bytes = type.bytes(shape);
            Math.addExact(start, offsets[1]);
        } catch (ArithmeticException e) {
            throw new InputException(
                    file.toString(), "tensor " + shown(name) + " has an impossible size", AGAIN, e);
        }
        if (bytes < 0) {
            throw bad(
                    "tensor %s, %s %s, does not fill its last byte"
                            .formatted(shown(name), dtype, shown(shape.toString())));
        }
        if (offsets[1] - offsets[0] != bytes) {
            throw bad(
                    "tensor %s has %d bytes of data, %s %s needs %d"
                            .formatted(
                                    shown(name),
                                    offsets[1] - offsets[0],
                                    dtype,
                                    shown(shape.toString()),
                                    bytes));
        }
        return new Entry(dtype, shape, start + offsets[0], bytes);
    }

    private long[] integers(String name, JsonNode node, String key) {
        JsonNode array = node.path(key);
        if (!array.isArray()) {
            throw bad("tensor " + shown(name) + " has no " + key);
        }
        long[] values = new long[array.size()];
        for (int i = 0; i < values.length; i++) {
            JsonNode element = array.get(i);
            if (!element.isIntegralNumber()
                    || !element.canConvertToLong()
                    || element.longValue() < 0) {
                throw bad(
                        "tensor %s has %s in its %s"
                                .formatted(shown(name), shown(element.toString()), key));
            }
            values[i] = element.longValue();
        }
        return values;
    }

    /// Text of the file for a message: not the whole of a long one.
    private static String shown(String text) {
        return text.length() <= 120 ? text : text.substring(0, 117) + "...";
    }

    /// The file that is read.
    public Path file() {
        return file;
    }

    /// The tensors by name, in the order of their data.
    public Map<String, Entry> entries() {
        return Collections.unmodifiableMap(entries);
    }

    /// The strings under `__metadata__`; empty when there are none.
    public Map<String, String> metadata() {
        return Collections.unmodifiableMap(metadata);
    }

    /// A tensor's bytes in the mapped file, little-endian, read-only; valid until [#close()].
    ///
    /// @throws InputException when the file has no such tensor
    public MemorySegment bytes(String name) {
        Entry entry = find(name);
        return memory.asSlice(entry.offset(), entry.bytes());
    }

    private Entry find(String name) {
        Entry entry = entries.get(name);
        if (entry == null) {
            throw new InputException(file.toString(), "has no tensor " + name, OTHER_FILE);
        }
        return entry;
    }

    /// A tensor for another file, its bytes as they are.
    ///
    /// @throws InputException when the file has no such tensor
    public TensorContent content(String name) {
        return new MappedContent(find(name), bytes(name));
    }

    /// Rows of a tensor for another file.
    ///
    /// @param fromRow the first entry of dimension 0
    /// @throws InputException when the file has no such tensor
    /// @throws IndexOutOfBoundsException when it has not so many rows
    public TensorContent content(String name, long fromRow, long rows) {
        Entry entry = find(name);
        Shape shape = entry.shape().withFirst(rows);
        return new MappedContent(
                new Entry(entry.dtype(), shape, entry.offset(), rowsOf(entry, rows)),
                rows(name, fromRow, rows));
    }

    private static long rowsOf(Entry entry, long rows) {
        long all = entry.shape().dim(0);
        return all == 0 ? 0 : entry.bytes() / all * rows;
    }

    private MemorySegment rows(String name, long fromRow, long rows) {
        Entry entry = find(name);
        return bytes(name).asSlice(rowsOf(entry, fromRow), rowsOf(entry, rows));
    }

    /// The bytes as they lie in the mapped file.
    private record MappedContent(Entry entry, MemorySegment memory) implements TensorContent {
        private static final int CHUNK_BYTES = 8 << 20;

        @Override
        public String dtype() {
            return entry.dtype();
        }

        @Override
        public Shape shape() {
            return entry.shape();
        }

        @Override
        public long bytes() {
            return entry.bytes();
        }

        @Override
        public void writeTo(OutputStream out) throws IOException {
            byte[] chunk = new byte[(int) Math.min(CHUNK_BYTES, bytes())];
            for (long from = 0; from < bytes(); from += chunk.length) {
                int count = (int) Math.min(chunk.length, bytes() - from);
                MemorySegment.copy(memory, ValueLayout.JAVA_BYTE, from, chunk, 0, count);
                out.write(chunk, 0, count);
            }
        }
    }

    /// Copies a tensor to the device. F64, F32, F16 and BF16 are converted into each other where
    /// the target's type is another one, rounded to nearest even.
    ///
    /// @throws InputException when the file has no such tensor, or its shape or type doesn't fit
    public void read(String name, Tensor target) {
        require(name, target);
        upload(find(name).dtype(), find(name).offset(), target);
    }

    /// Copies rows of a tensor to the device, from `fromRow` on as many as `target` has, converted
    /// as [#read(String, Tensor)] does.
    ///
    /// @throws InputException when the file has no such tensor or its type doesn't fit
    /// @throws IndexOutOfBoundsException when it has not so many rows
    public void readRows(String name, long fromRow, Tensor target) {
        requireType(name, target);
        Entry entry = find(name);
        Objects.checkFromIndexSize(fromRow, target.shape().dim(0), entry.shape().dim(0));
        upload(entry.dtype(), entry.offset() + rowsOf(entry, fromRow), target);
    }

    /// Reads the file where the device wants its bytes. The mapping isn't used for that: a page
    /// fault for each 4 KB takes longer than the copy.
    private void upload(String dtype, long start, Tensor target) {
        UploadSource bytes = (offset, part) -> readFully(start + offset, part);
        DType type = target.dtype();
        target.device()
                .upload(
                        dtype.equals(type.name()) ? bytes : new StoredElements(bytes, dtype, type),
                        target.span().bytes(),
                        target.span().buffer(),
                        target.span().offset() * type.bytes());
    }

    private void readFully(long position, MemorySegment part) {
        ByteBuffer buffer = part.asByteBuffer();
        try {
            while (buffer.hasRemaining()) {
                if (channel.read(buffer, position + buffer.position()) < 0) {
                    throw bad("ends before byte " + (position + part.byteSize()));
                }
            }
        } catch (IOException e) {
            throw unreadable(file, e);
        }
    }

    /// Checks that [#read] can fill `target`.
    void require(String name, Tensor target) {
        Entry entry = find(name);
        if (!entry.shape().equals(target.shape())) {
            throw new InputException(
                    file.toString(),
                    "tensor %s is %s, expected %s".formatted(name, entry.shape(), target.shape()),
                    OTHER_FILE);
        }
        requireType(name, target);
    }

    private void requireType(String name, Tensor target) {
        String dtype = find(name).dtype();
        DType type = target.dtype();
        boolean converts = HostFloats.writes(type) && isFloat(dtype);
        if (!dtype.equals(type.name()) && !converts) {
            throw new InputException(
                    file.toString(),
                    "tensor %s is %s, which can't be read as %s".formatted(name, dtype, type),
                    "convert the checkpoint to " + type);
        }
    }

    /// Whether elements of this type can be read into a tensor of floating-point numbers: F64, F32,
    /// F16 and BF16 can.
    ///
    /// @param dtype the format's name of the type
    public static boolean isFloat(String dtype) {
        StoredType type = StoredType.named(dtype);
        return type != null && type.isReadAsFloats();
    }

    /// Unmaps the file; segments from [#bytes(String)] are invalid from then on.
    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            arena.close();
            closeQuietly(channel);
        }
    }
}
