package dev.saccade.model;

import dev.saccade.model.internal.JsonSection;
import java.util.List;
import tools.jackson.databind.node.ObjectNode;

/// The shape of the decoder, `text_config` in config.json.
///
/// @param vocabSize tokens of the embedding and the head
/// @param hiddenSize the width of a token's vector
/// @param intermediateSize the width inside a layer's gated MLP
/// @param numHiddenLayers how many layers
/// @param numAttentionHeads query heads of each layer
/// @param numKeyValueHeads key-value heads of each layer; divides numAttentionHeads
/// @param headDim elements of a head; even
/// @param rmsNormEps the norms' epsilon
/// @param ropeTheta the base of the rotary position embedding
/// @param maxPositionEmbeddings the longest sequence, in tokens
/// @param attentionBias whether the query, key and value projections have a bias: true in Qwen2
/// @param tieWordEmbeddings whether the head is the token embedding
/// @param ropeScaling what happens to the base of the rotary position embedding
public record LanguageConfig(
        int vocabSize,
        int hiddenSize,
        int intermediateSize,
        int numHiddenLayers,
        int numAttentionHeads,
        int numKeyValueHeads,
        int headDim,
        float rmsNormEps,
        double ropeTheta,
        int maxPositionEmbeddings,
        boolean attentionBias,
        boolean tieWordEmbeddings,
        RopeScaling ropeScaling) {

    /// A decoder whose rotary position embedding isn't scaled.
    ///
    /// @throws IllegalArgumentException when the numbers do not fit together
    public LanguageConfig(
            int vocabSize,
            int hiddenSize,
            int intermediateSize,
            int numHiddenLayers,
            int numAttentionHeads,
            int numKeyValueHeads,
            int headDim,
            float rmsNormEps,
            double ropeTheta,
            int maxPositionEmbeddings,
            boolean attentionBias,
            boolean tieWordEmbeddings) {
        this(
                vocabSize,
                hiddenSize,
                intermediateSize,
                numHiddenLayers,
                numAttentionHeads,
                numKeyValueHeads,
                headDim,
                rmsNormEps,
                ropeTheta,
                maxPositionEmbeddings,
                attentionBias,
                tieWordEmbeddings,
                new RopeScaling.None());
    }

    /// @throws IllegalArgumentException when the numbers do not fit together
    public LanguageConfig {
        Sizes.positive("vocab_size", vocabSize);
        Sizes.positive("hidden_size", hiddenSize);
        Sizes.positive("intermediate_size", intermediateSize);
        Sizes.layers("num_hidden_layers", numHiddenLayers);
        Sizes.positive("num_attention_heads", numAttentionHeads);
        Sizes.positive("num_key_value_heads", numKeyValueHeads);
        Sizes.positive("head_dim", headDim);
        Sizes.positive("max_position_embeddings", maxPositionEmbeddings);
        Sizes.divides(
                "num_key_value_heads", numKeyValueHeads, "num_attention_heads", numAttentionHeads);
        if (headDim % 2 != 0) {
            throw new IllegalArgumentException("head_dim %d is odd".formatted(headDim));
        }
        if (!(ropeTheta > 0)) {
            throw new IllegalArgumentException(
                    "rope_theta is %s, not positive".formatted(ropeTheta));
        }
    }

    /// The width of a token's queries: all heads side by side.
    public int queryWidth() {
        return numAttentionHeads * headDim;
    }

    /// The width of a token's keys, and of its values.
    public int keyValueWidth() {
        return numKeyValueHeads * headDim;
    }

    /// The base of the rotary position embedding that sequences of up to maxPositionEmbeddings
    /// tokens have: longer ones are not run.
    public double ropeBase() {
        return ropeScaling.base(ropeTheta, headDim, maxPositionEmbeddings, maxPositionEmbeddings);
    }

    /// The same decoder with another scaling of the rotary position embedding.
    public LanguageConfig withRopeScaling(RopeScaling scaling) {
        return new LanguageConfig(
                vocabSize,
                hiddenSize,
                intermediateSize,
                numHiddenLayers,
                numAttentionHeads,
                numKeyValueHeads,
                headDim,
                rmsNormEps,
                ropeTheta,
                maxPositionEmbeddings,
                attentionBias,
                tieWordEmbeddings,
                scaling);
    }

    /// The name of the class that runs this decoder alone in transformers.
    String architecture() {
        return attentionBias ? "Qwen2ForCausalLM" : "LlamaForCausalLM";
    }

    static LanguageConfig read(JsonSection json) {
        String type = json.text("model_type", "qwen2");
        boolean attentionBias =
                switch (type) {
                    case "qwen2" -> true; // Qwen2 has these biases without a key that says so
                    case "llama" -> json.truth("attention_bias", false);
                    case "internlm2", "internlm3" ->
                            throw json.unsupported(
                                    "model_type",
                                    type + " (the decoder of InternVL3-9B)",
                                    "qwen2 or llama: use another size of the family");
                    default -> throw json.unsupported("model_type", type, "qwen2 or llama");
                };
        if (type.equals("llama") && attentionBias) {
            throw json.unsupported(
                    "attention_bias", "true", "false: Llama's output projection has no bias here");
        }
        if (json.truth("mlp_bias", false)) {
            throw json.unsupported("mlp_bias", "true", "false");
        }
        String activation = json.text("hidden_act", "silu");
        if (!activation.equals("silu")) {
            throw json.unsupported("hidden_act", activation, "silu");
        }
        if (json.truth("use_sliding_window", false)) {
            throw json.unsupported("use_sliding_window", "true", "false");
        }
        int hiddenSize = json.integer("hidden_size");
        int heads = json.integer("num_attention_heads");
        if (heads < 1) {
            throw json.unsupported("num_attention_heads", Integer.toString(heads), "positive");
        }
        return new LanguageConfig(
                json.integer("vocab_size"),
                hiddenSize,
                json.integer("intermediate_size"),
                json.integer("num_hidden_layers"),
                heads,
                json.integer("num_key_value_heads", heads),
                json.integer("head_dim", hiddenSize / heads),
                (float) json.number("rms_norm_eps", 1e-6),
                ropeTheta(json),
                json.integer("max_position_embeddings"),
                attentionBias,
                json.truth("tie_word_embeddings", false),
                ropeScaling(json));
    }

    /// Older files keep the base beside the other keys and a scaling rule in `rope_scaling`, newer
    /// ones keep both in `rope_parameters`.
    private static final List<String> ROPE_KEYS = List.of("rope_scaling", "rope_parameters");

    /// What both families' files mean by no base at all.
    private static final double DEFAULT_THETA = 10000;

    private static double ropeTheta(JsonSection json) {
        for (String key : ROPE_KEYS) {
            if (json.has(key) && json.section(key).has("rope_theta")) {
                return json.section(key).number("rope_theta");
            }
        }
        return json.number("rope_theta", DEFAULT_THETA);
    }

    private static RopeScaling ropeScaling(JsonSection json) {
        RopeScaling scaling = new RopeScaling.None();
        for (String key : ROPE_KEYS) {
            if (json.has(key)) {
                JsonSection rope = json.section(key);
                String type = rope.text("rope_type", rope.text("type", "default"));
                switch (type) {
                    case "default" -> {}
                    case "dynamic" -> {
                        double factor = rope.number("factor");
                        scaling =
                                rope.truth("constant_base", false)
                                        ? new RopeScaling.ConstantBase(factor)
                                        : new RopeScaling.Dynamic(factor);
                    }
                    default -> throw rope.unsupported("rope_type", type, "default or dynamic");
                }
            }
        }
        return scaling;
    }

    void write(ObjectNode json) {
        json.putArray("architectures").add(architecture());
        json.put("model_type", attentionBias ? "qwen2" : "llama");
        json.put("vocab_size", vocabSize);
        json.put("hidden_size", hiddenSize);
        json.put("intermediate_size", intermediateSize);
        json.put("num_hidden_layers", numHiddenLayers);
        json.put("num_attention_heads", numAttentionHeads);
        json.put("num_key_value_heads", numKeyValueHeads);
        json.put("head_dim", headDim);
        json.put("hidden_act", "silu");
        json.put("rms_norm_eps", Sizes.exact(rmsNormEps));
        json.put("rope_theta", ropeTheta);
        json.put("max_position_embeddings", maxPositionEmbeddings);
        switch (ropeScaling) {
            case RopeScaling.None() -> {}
            case RopeScaling.Dynamic(double factor) -> writeDynamic(json, factor);
            case RopeScaling.ConstantBase(double factor) ->
                    writeDynamic(json, factor).put("constant_base", true);
        }
        if (!attentionBias) {
            json.put("attention_bias", false);
        }
        json.put("tie_word_embeddings", tieWordEmbeddings);
    }

    private static ObjectNode writeDynamic(ObjectNode json, double factor) {
        return json.putObject("rope_scaling")
                .put("type", "dynamic")
                .put("rope_type", "dynamic")
                .put("factor", factor);
    }
}
