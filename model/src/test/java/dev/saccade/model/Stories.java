package dev.saccade.model;

import dev.saccade.kernels.Kernels;
import dev.saccade.tensor.SafetensorsWriter;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// Converts a checkpoint in the format of llama2.c (version 0: seven numbers, then the weights in
/// fp32) to a Hugging Face folder.
///
/// There the rotary embedding turns neighbouring elements of a head, here elements half a head
/// apart: the rows of the query and key projections are reordered, even ones first.
final class Stories {
    private final FloatBuffer weights;
    private final Map<String, float[]> tensors = new HashMap<>();
    final LanguageConfig config;

    private Stories(ByteBuffer file) {
        int dim = file.getInt();
        int hidden = file.getInt();
        int layers = file.getInt();
        int heads = file.getInt();
        int kvHeads = file.getInt();
        int vocabulary = file.getInt();
        int length = file.getInt();
        int headDim = dim / heads;
        this.weights = file.slice().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
        // A positive vocabulary says that the head is the embedding.
        this.config =
                new LanguageConfig(
                        Math.abs(vocabulary),
                        dim,
                        hidden,
                        layers,
                        heads,
                        kvHeads,
                        headDim,
                        1e-5f,
                        1e4,
                        length,
                        false,
                        vocabulary > 0);
        int kv = kvHeads * headDim;
        take("model.embed_tokens.weight", config.vocabSize() * dim);
        takeLayers("input_layernorm.weight", dim);
        takeLayers("self_attn.q_proj.weight", dim * dim);
        takeLayers("self_attn.k_proj.weight", kv * dim);
        takeLayers("self_attn.v_proj.weight", kv * dim);
        takeLayers("self_attn.o_proj.weight", dim * dim);
        takeLayers("post_attention_layernorm.weight", dim);
        takeLayers("mlp.gate_proj.weight", hidden * dim);
        takeLayers("mlp.down_proj.weight", dim * hidden);
        takeLayers("mlp.up_proj.weight", hidden * dim);
        take("model.norm.weight", dim);
        weights.position(weights.position() + length * headDim); // cosines and sines
        if (!config.tieWordEmbeddings()) {
            take("lm_head.weight", config.vocabSize() * dim);
        }
        if (weights.hasRemaining()) {
            throw new IllegalArgumentException(weights.remaining() + " floats are left");
        }
        for (int layer = 0; layer < layers; layer++) {
            for (String name : List.of("q_proj", "k_proj")) {
                tensors.computeIfPresent(
                        "model.layers.%d.self_attn.%s.weight".formatted(layer, name),
                        (_, rows) -> halvesApart(rows, headDim, dim));
            }
        }
    }

    static Stories read(Path file) throws IOException {
        return new Stories(
                ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN));
    }

    private void take(String name, int elements) {
        float[] values = new float[elements];
        weights.get(values);
        tensors.put(name, values);
    }

    private void takeLayers(String name, int elements) {
        for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
            take("model.layers." + layer + "." + name, elements);
        }
    }

    private static float[] halvesApart(float[] rows, int headDim, int width) {
        float[] reordered = new float[rows.length];
        for (int row = 0; row < rows.length / width; row++) {
            int inHead = row % headDim;
            int from = row - inHead + (inHead % (headDim / 2)) * 2 + inHead / (headDim / 2);
            System.arraycopy(rows, from * width, reordered, row * width, width);
        }
        return reordered;
    }

    /// Writes config.json and model.safetensors.
    void save(Path folder, Kernels kernels) throws IOException {
        VisionLanguageConfig model = VisionLanguageConfig.textOnly(config, List.of());
        SequencedMap<String, Tensor> stored = new LinkedHashMap<>();
        try (Tape tape = Tape.inference(kernels)) {
            for (CheckpointLayout.Stored tensor :
                    CheckpointLayout.TEXT.tensors(model.parameters())) {
                float[] values = tensors.get(tensor.name());
                if (values == null) {
                    throw new IllegalArgumentException("no " + tensor.name());
                }
                stored.put(tensor.name(), tape.upload(values, tensor.shape().dims()));
            }
            SafetensorsWriter.write(folder.resolve("model.safetensors"), Map.of(), stored);
        }
        Files.writeString(folder.resolve("config.json"), model.toJson());
    }
}
