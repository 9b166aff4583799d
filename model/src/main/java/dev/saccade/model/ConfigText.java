package dev.saccade.model;

import tools.jackson.databind.SerializationFeature;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// Writes a config.json: the keys that each layout's own classes read, and nothing that varies.
final class ConfigText {
    private static final JsonMapper JSON =
            JsonMapper.builder().enable(SerializationFeature.INDENT_OUTPUT).build();

    private ConfigText() {}

    /// @param dtype of the weights: `float32`, `bfloat16`, `float16`
    static String of(VisionLanguageConfig config, CheckpointLayout layout, String dtype) {
        ObjectNode json = JSON.createObjectNode();
        boolean fits =
                switch (layout) {
                    case NATIVE, NATIVE_EARLY, REMOTE_CODE -> config.hasVision();
                    case TEXT -> !config.hasVision();
                    case VISION -> false;
                };
        if (!fits) {
            throw new IllegalArgumentException(
                    "a model %s a vision tower in the layout %s"
                            .formatted(config.hasVision() ? "with" : "without", layout.label()));
        }
        switch (layout) {
            case NATIVE, NATIVE_EARLY -> writeNative(config, json);
            case REMOTE_CODE -> writeRemoteCode(config, json);
            case TEXT, VISION -> config.text().write(json);
        }
        json.put("torch_dtype", dtype);
        if (!config.suppressTokens().isEmpty()) {
            ArrayNode suppress = json.putArray("suppress_tokens");
            config.suppressTokens().forEach(suppress::add);
        }
        return JSON.writeValueAsString(json) + "\n";
    }

    private static void writeNative(VisionLanguageConfig config, ObjectNode json) {
        json.putArray("architectures").add("InternVLForConditionalGeneration");
        json.put("model_type", "internvl");
        json.put("image_token_id", config.imageTokenId());
        json.put("image_seq_length", config.tokensPerTile());
        json.put("downsample_ratio", config.downsampleRatio());
        json.put("projector_hidden_act", "gelu");
        json.put("vision_feature_layer", -1);
        json.put("vision_feature_select_strategy", "default");
        json.put("tie_word_embeddings", config.text().tieWordEmbeddings());
        config.text().write(json.putObject("text_config"));
        config.vision().write(json.putObject("vision_config"));
    }

    private static void writeRemoteCode(VisionLanguageConfig config, ObjectNode json) {
        json.putArray("architectures").add("InternVLChatModel");
        json.put("model_type", "internvl_chat");
        ObjectNode classes = json.putObject("auto_map");
        classes.put("AutoConfig", "configuration_internvl_chat.InternVLChatConfig");
        classes.put("AutoModel", "modeling_internvl_chat.InternVLChatModel");
        classes.put("AutoModelForCausalLM", "modeling_internvl_chat.InternVLChatModel");
        // The code itself asks the tokenizer; here the file can be read without one.
        json.put("image_token_id", config.imageTokenId());
        json.put("downsample_ratio", config.downsampleRatio());
        json.put("force_image_size", config.vision().imageSize());
        json.put("dynamic_image_size", true);
        json.put("use_thumbnail", true);
        json.put("min_dynamic_patch", 1);
        json.put("max_dynamic_patch", 12);
        json.put("pad2square", false);
        json.put("ps_version", "v2");
        json.put("select_layer", -1);
        json.put("template", "internvl2_5");
        json.put("use_backbone_lora", 0);
        json.put("use_llm_lora", 0);
        json.put("tie_word_embeddings", config.text().tieWordEmbeddings());
        config.text().write(json.putObject("llm_config"));
        config.vision().writeInternVit(json.putObject("vision_config"));
    }
}
