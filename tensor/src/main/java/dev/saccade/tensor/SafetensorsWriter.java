package dev.saccade.tensor;

import java.io.IOException;
import java.io.OutputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;
import java.util.SequencedMap;
import java.util.TreeMap;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// Writes safetensors files: the same tensors give the same bytes.
public final class SafetensorsWriter {
    private static final int CHUNK_BYTES = 1 << 20;

    private SafetensorsWriter() {}

    /// Writes `tensors` in their order; the file appears whole or not at all.
    public static void write(
            Path file, Map<String, String> metadata, SequencedMap<String, Tensor> tensors) {
        JsonMapper mapper = JsonMapper.builder().build();
        ObjectNode header = mapper.createObjectNode();
        if (!metadata.isEmpty()) {
            ObjectNode node = header.putObject("__metadata__");
            new TreeMap<>(metadata).forEach(node::put);
        }
        long offset = 0;
        for (Map.Entry<String, Tensor> entry : tensors.entrySet()) {
            Tensor tensor = entry.getValue();
            ObjectNode node = header.putObject(entry.getKey());
            node.put("dtype", tensor.dtype().name());
            ArrayNode shape = node.putArray("shape");
            for (int i = 0; i < tensor.shape().rank(); i++) {
                shape.add(tensor.shape().dim(i));
            }
            long bytes = tensor.span().bytes();
            node.putArray("data_offsets").add(offset).add(offset + bytes);
            offset += bytes;
        }
        byte[] json = mapper.writeValueAsString(header).getBytes(StandardCharsets.UTF_8);
        int padded = (json.length + 7) / 8 * 8;
        AtomicFiles.write(
                file,
                (OutputStream out) -> {
                    byte[] length = new byte[8];
                    MemorySegment.ofArray(length)
                            .set(
                                    ValueLayout.JAVA_LONG_UNALIGNED.withOrder(
                                            java.nio.ByteOrder.LITTLE_ENDIAN),
                                    0,
                                    padded);
                    out.write(length);
                    out.write(json);
                    out.write(" ".repeat(padded - json.length).getBytes(StandardCharsets.UTF_8));
                    for (Tensor tensor : tensors.values()) {
                        writeData(out, tensor);
                    }
                });
    }

    private static void writeData(OutputStream out, Tensor tensor) throws IOException {
        long bytes = tensor.span().bytes();
        long start = tensor.span().offset() * tensor.dtype().bytes();
        byte[] chunk = new byte[(int) Math.min(CHUNK_BYTES, bytes)];
        for (long from = 0; from < bytes; from += chunk.length) {
            int count = (int) Math.min(chunk.length, bytes - from);
            tensor.device()
                    .download(
                            tensor.span().buffer(),
                            start + from,
                            MemorySegment.ofArray(chunk).asSlice(0, count));
            out.write(chunk, 0, count);
        }
    }
}
