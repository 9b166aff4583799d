package dev.saccade.model.vision;

import static dev.saccade.model.ParameterSpecification.embedding;
import static dev.saccade.model.ParameterSpecification.vector;
import static dev.saccade.model.ParameterSpecification.weight;

import dev.saccade.kernels.attention.Attention;
import dev.saccade.model.ParameterSpecification;
import dev.saccade.model.VisionConfig;
import dev.saccade.model.internal.LayerStack;
import dev.saccade.tensor.Parameter;
import dev.saccade.tensor.ParameterGroup;
import dev.saccade.tensor.Tape;
import dev.saccade.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;

/// InternViT: patches with a class token and learned positions, then pre-norm layers `h += lambda_1
/// * attention(norm(h))`, `h += lambda_2 * mlp(norm(h))` with full bidirectional attention inside a
///   tile, and no final norm. Source: InternVL (2312.14238) and its released configurations, whose
///   two variants are the 300M (LayerNorm, biases on queries, keys and values) and the 6B (RMSNorm,
///   RMSNorm of queries and keys over their full width, no such biases).
public final class VisionTower {
    private static final String PREFIX = "model.vision_tower.";

    private final VisionConfig config;
    private final Attention.Shape attention;
    private final Parameter patchWeight;
    private final Parameter patchBias;
    private final Parameter classToken;
    private final Parameter positions;
    private final List<VisionLayer> layers = new ArrayList<>();

    /// @param parameters finds a parameter by its checkpoint name
    public VisionTower(VisionConfig config, Function<String, Parameter> parameters) {
        this.config = config;
        this.attention =
                new Attention.Shape(
                        config.numAttentionHeads(),
                        config.numAttentionHeads(),
                        config.headDim(),
                        false,
                        (float) (1 / Math.sqrt(config.headDim())));
        String embeddings = PREFIX + "embeddings.";
        this.patchWeight = parameters.apply(embeddings + "patch_embeddings.projection.weight");
        this.patchBias = parameters.apply(embeddings + "patch_embeddings.projection.bias");
        this.classToken = parameters.apply(embeddings + "cls_token");
        this.positions = parameters.apply(embeddings + "position_embeddings");
        for (int i = 0; i < config.numHiddenLayers(); i++) {
            layers.add(new VisionLayer(config, layerPrefix(i), parameters));
        }
    }

    /// The tower's parameters in checkpoint order.
    public static List<ParameterSpecification> parameters(VisionConfig config) {
        ParameterGroup group = ParameterGroup.VISION;
        long width = config.hiddenSize();
        long patch = config.patchSize();
        String embeddings = PREFIX + "embeddings.";
        List<ParameterSpecification> all = new ArrayList<>();
        all.add(embedding(embeddings + "cls_token", group, 0.02, 1, 1, width));
        all.add(
                embedding(
                        embeddings + "position_embeddings",
                        group,
                        0.02,
                        1,
                        1 + config.patches(),
                        width));
        String projection = embeddings + "patch_embeddings.projection.";
        all.add(weight(projection + "weight", group, width, config.numChannels(), patch, patch));
        all.add(vector(projection + "bias", group, 0, width));
        for (int i = 0; i < config.numHiddenLayers(); i++) {
            VisionLayer.addParameters(config, layerPrefix(i), all);
        }
        return all;
    }

    private static String layerPrefix(int layer) {
        return PREFIX + "encoder.layer." + layer + ".";
    }

    /// The last layer's output.
    ///
    /// @param pixels normalised pixels [tiles, channels, imageSize, imageSize]
    /// @param record whether operations are recorded on `tape`; false frees each layer's memory
    ///   with the layer
    /// @return [tiles, 1 + patches, hiddenSize], the class token first
    public Tensor forward(Tape tape, Tensor pixels, boolean record) {
        int tiles = Math.toIntExact(pixels.shape().dim(0));
        int tokens = 1 + config.patches();
        int[] cumulative = new int[tiles + 1];
        for (int tile = 0; tile <= tiles; tile++) {
            cumulative[tile] = tile * tokens;
        }
        Attention.Sequences sequences = Attention.Sequences.packed(cumulative);
        Tensor embedded =
                tape.patchEmbedding(pixels, patchWeight, patchBias, classToken, positions);
        return LayerStack.run(
                tape,
                embedded,
                layers.size(),
                record,
                (section, index, x) -> layers.get(index).forward(section, x, attention, sequences));
    }
}
