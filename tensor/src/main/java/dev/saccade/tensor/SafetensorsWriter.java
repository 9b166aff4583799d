package dev.saccade.tensor;

import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SequencedMap;
import java.util.TreeMap;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// Writes safetensors files. The same tensors and metadata give the same bytes: tensors lie in the
/// map's order, metadata is sorted, and the header is padded with spaces to a multiple of 8 bytes.
public final class SafetensorsWriter {
    private static final int ALIGNMENT = 8;

    private SafetensorsWriter() {}

    /// Writes a file, which appears whole or not at all.
    ///
    /// @param metadata strings to put under `__metadata__`
    /// @throws dev.saccade.engine.InputException as [AtomicFiles#write(Path, AtomicFiles.Content)]
    public static void write(
            Path file, Map<String, String> metadata, SequencedMap<String, Tensor> tensors) {
        SequencedMap<String, TensorContent> contents = new LinkedHashMap<>();
        tensors.forEach((name, tensor) -> contents.put(name, TensorContent.of(tensor)));
        AtomicFiles.write(file, content(metadata, contents));
    }

    /// What a file of these tensors holds, for [AtomicFiles].
    ///
    /// @param metadata strings to put under `__metadata__`
    public static AtomicFiles.Content content(
            Map<String, String> metadata, SequencedMap<String, TensorContent> tensors) {
        byte[] header = header(metadata, tensors);
        return (OutputStream out) -> {
            ByteBuffer length = ByteBuffer.allocate(Long.BYTES);
            out.write(length.order(ByteOrder.LITTLE_ENDIAN).putLong(header.length).array());
            out.write(header);
            for (TensorContent tensor : tensors.values()) {
                tensor.writeTo(out);
            }
        };
    }

    private static byte[] header(
            Map<String, String> metadata, SequencedMap<String, TensorContent> tensors) {
        JsonMapper mapper = JsonMapper.builder().build();
        ObjectNode header = mapper.createObjectNode();
        if (!metadata.isEmpty()) {
            ObjectNode node = header.putObject("__metadata__");
            new TreeMap<>(metadata).forEach(node::put);
        }
        long offset = 0;
        for (Map.Entry<String, TensorContent> entry : tensors.entrySet()) {
            if (header.has(entry.getKey())) {
                throw new IllegalArgumentException("a tensor named " + entry.getKey());
            }
            TensorContent tensor = entry.getValue();
            ObjectNode node = header.putObject(entry.getKey());
            node.put("dtype", tensor.dtype());
            ArrayNode shape = node.putArray("shape");
            for (long dim : tensor.shape().dims()) {
                shape.add(dim);
            }
            long end = offset + tensor.bytes();
            node.putArray("data_offsets").add(offset).add(end);
            offset = end;
        }
        byte[] json = mapper.writeValueAsString(header).getBytes(StandardCharsets.UTF_8);
        byte[] padded = Arrays.copyOf(json, (json.length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
        Arrays.fill(padded, json.length, padded.length, (byte) ' ');
        return padded;
    }
}
