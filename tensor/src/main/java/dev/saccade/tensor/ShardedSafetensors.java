package dev.saccade.tensor;

import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import tools.jackson.databind.SerializationFeature;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/// The weight files of a checkpoint folder, as Hugging Face lays them out: one `model.safetensors`,
/// or, where that would be larger than a limit, shards `model-00001-of-00003.safetensors` with
/// `model.safetensors.index.json` that says which tensor is where.
public final class ShardedSafetensors {
    /// The name of weights in one file.
    public static final String SINGLE = "model.safetensors";

    /// The name of the file that says which shard holds a tensor.
    public static final String INDEX = "model.safetensors.index.json";

    /// The largest shard where nothing else is asked for.
    public static final long DEFAULT_SHARD_BYTES = 5_000_000_000L;

    private ShardedSafetensors() {}

    /// The files for these tensors, for [AtomicFiles#writeAll]; the index is the last.
    ///
    /// Tensors keep their order. A shard takes tensors as long as their bytes stay within the
    /// limit; a tensor that is larger has a shard of its own.
    ///
    /// @param metadata strings to put under `__metadata__` of each file
    /// @param shardBytes the most bytes of tensors in a file; at least 1
    public static SequencedMap<Path, AtomicFiles.Content> files(
            Path folder,
            Map<String, String> metadata,
            SequencedMap<String, TensorContent> tensors,
            long shardBytes) {
        if (shardBytes < 1) {
            throw new IllegalArgumentException("shards of " + shardBytes + " bytes");
        }
        List<SequencedMap<String, TensorContent>> shards = new ArrayList<>();
        long total = 0;
        long inShard = 0;
        for (Map.Entry<String, TensorContent> entry : tensors.entrySet()) {
            long bytes = entry.getValue().bytes();
            if (shards.isEmpty() || (inShard > 0 && bytes > shardBytes - inShard)) {
                shards.add(new LinkedHashMap<>());
                inShard = 0;
            }
            shards.getLast().put(entry.getKey(), entry.getValue());
            inShard += bytes;
            total += bytes;
        }
        SequencedMap<Path, AtomicFiles.Content> files = new LinkedHashMap<>();
        if (shards.size() <= 1) {
            files.put(folder.resolve(SINGLE), SafetensorsWriter.content(metadata, tensors));
            return files;
        }
        JsonMapper mapper = JsonMapper.builder().enable(SerializationFeature.INDENT_OUTPUT).build();
        ObjectNode index = mapper.createObjectNode();
        index.putObject("metadata").put("total_size", total);
        ObjectNode weightMap = index.putObject("weight_map");
        for (int i = 0; i < shards.size(); i++) {
            String name = "model-%05d-of-%05d.safetensors".formatted(i + 1, shards.size());
            files.put(folder.resolve(name), SafetensorsWriter.content(metadata, shards.get(i)));
            shards.get(i).keySet().forEach(tensor -> weightMap.put(tensor, name));
        }
        byte[] json = (mapper.writeValueAsString(index) + "\n").getBytes(StandardCharsets.UTF_8);
        files.put(folder.resolve(INDEX), (OutputStream out) -> out.write(json));
        return files;
    }
}
