package dev.saccade.model;

import dev.saccade.model.internal.JsonSection;
import tools.jackson.databind.node.ObjectNode;

/// The shape of the vision tower, `vision_config` in config.json.
///
/// @param hiddenSize the width of a patch's vector
/// @param numHiddenLayers how many layers
/// @param numAttentionHeads heads of each layer; divides hiddenSize
/// @param intermediateSize the width inside a layer's MLP
/// @param imageSize the side of a tile in pixels
/// @param patchSize the side of a patch in pixels; divides imageSize
/// @param numChannels colour channels of a pixel
/// @param normType the norm of the layers
/// @param useQkNorm whether queries and keys pass an RMSNorm over their full width
/// @param attentionBias whether the query, key and value projections have a bias
/// @param layerNormEps the norms' epsilon
/// @param layerScaleInitValue what a new model's layer scales start at
public record VisionConfig(
        int hiddenSize,
        int numHiddenLayers,
        int numAttentionHeads,
        int intermediateSize,
        int imageSize,
        int patchSize,
        int numChannels,
        NormType normType,
        boolean useQkNorm,
        boolean attentionBias,
        float layerNormEps,
        float layerScaleInitValue) {

    /// @throws IllegalArgumentException when the numbers do not fit together
    public VisionConfig {
        Sizes.positive("hidden_size", hiddenSize);
        Sizes.layers("num_hidden_layers", numHiddenLayers);
        Sizes.positive("num_attention_heads", numAttentionHeads);
        Sizes.positive("intermediate_size", intermediateSize);
        Sizes.positive("image_size", imageSize);
        Sizes.positive("patch_size", patchSize);
        Sizes.positive("num_channels", numChannels);
        Sizes.divides("num_attention_heads", numAttentionHeads, "hidden_size", hiddenSize);
        Sizes.divides("patch_size", patchSize, "image_size", imageSize);
    }

    /// Elements of an attention head.
    public int headDim() {
        return hiddenSize / numAttentionHeads;
    }

    /// Patches along a side of a tile.
    public int grid() {
        return imageSize / patchSize;
    }

    /// Patches of a tile.
    public int patches() {
        return grid() * grid();
    }

    /// Reads the section of a native config.json.
    static VisionConfig read(JsonSection json) {
        if (!json.truth("use_mean_pooling", true)) {
            throw json.unsupported("use_mean_pooling", "false", "true: no final norm");
        }
        if (!json.truth("use_absolute_position_embeddings", true)) {
            throw json.unsupported("use_absolute_position_embeddings", "false", "true");
        }
        return read(
                json,
                normType(json, NormType.LAYER_NORM.label()),
                json.truth("use_qk_norm", false),
                json.truth("attention_bias", false),
                json.number("layer_scale_init_value", 0.1));
    }

    /// Reads the section of a config.json of the remote-code layout, or InternViT's own.
    static VisionConfig readInternVit(JsonSection json) {
        // The published files name numbers of experts too, which nothing reads without this.
        if (json.truth("use_moe", false)) {
            throw json.unsupported("use_moe", "true", "false");
        }
        return read(
                json,
                normType(json, NormType.RMS_NORM.label()),
                json.truth("qk_normalization"),
                json.truth("qkv_bias"),
                json.number("initializer_factor", 0.1));
    }

    private static VisionConfig read(
            JsonSection json,
            NormType normType,
            boolean useQkNorm,
            boolean attentionBias,
            double layerScale) {
        String activation = json.text("hidden_act", "gelu");
        if (!activation.equals("gelu")) {
            throw json.unsupported("hidden_act", activation, "gelu");
        }
        return new VisionConfig(
                json.integer("hidden_size"),
                json.integer("num_hidden_layers"),
                json.integer("num_attention_heads"),
                json.integer("intermediate_size"),
                json.squareSize("image_size"),
                json.squareSize("patch_size"),
                json.integer("num_channels", 3),
                normType,
                useQkNorm,
                attentionBias,
                (float) json.number("layer_norm_eps", 1e-6),
                (float) layerScale);
    }

    private static NormType normType(JsonSection json, String fallback) {
        String norm = json.text("norm_type", fallback);
        return switch (norm) {
            case "layer_norm" -> NormType.LAYER_NORM;
            case "rms_norm" -> NormType.RMS_NORM;
            default -> throw json.unsupported("norm_type", norm, "layer_norm or rms_norm");
        };
    }

    /// Writes InternViT's own section, that of the remote-code layout.
    void writeInternVit(ObjectNode json) {
        json.putArray("architectures").add("InternVisionModel");
        json.put("model_type", "intern_vit_6b");
        json.put("hidden_size", hiddenSize);
        json.put("num_hidden_layers", numHiddenLayers);
        json.put("num_attention_heads", numAttentionHeads);
        json.put("intermediate_size", intermediateSize);
        json.put("image_size", imageSize);
        json.put("patch_size", patchSize);
        json.put("num_channels", numChannels);
        json.put("hidden_act", "gelu");
        json.put("norm_type", normType.label());
        json.put("qk_normalization", useQkNorm);
        json.put("qkv_bias", attentionBias);
        json.put("layer_norm_eps", Sizes.exact(layerNormEps));
        json.put("initializer_factor", Sizes.exact(layerScaleInitValue));
        json.put("attention_dropout", 0.0);
        json.put("drop_path_rate", 0.0);
        json.put("dropout", 0.0);
        json.put("initializer_range", 0.02);
    }

    /// Writes the section of a native config.json.
    void write(ObjectNode json) {
        json.put("model_type", "internvl_vision");
        json.put("hidden_size", hiddenSize);
        json.put("num_hidden_layers", numHiddenLayers);
        json.put("num_attention_heads", numAttentionHeads);
        json.put("intermediate_size", intermediateSize);
        json.putArray("image_size").add(imageSize).add(imageSize);
        json.putArray("patch_size").add(patchSize).add(patchSize);
        json.put("num_channels", numChannels);
        json.put("hidden_act", "gelu");
        json.put("norm_type", normType.label());
        json.put("use_qk_norm", useQkNorm);
        json.put("attention_bias", attentionBias);
        json.put("layer_norm_eps", Sizes.exact(layerNormEps));
        json.put("layer_scale_init_value", Sizes.exact(layerScaleInitValue));
        json.put("use_mean_pooling", true);
        json.put("use_absolute_position_embeddings", true);
    }
}
