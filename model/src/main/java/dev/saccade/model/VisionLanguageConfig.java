package dev.saccade.model;

import dev.saccade.engine.InputException;
import dev.saccade.model.connector.Connector;
import dev.saccade.model.internal.JsonSection;
import dev.saccade.model.language.LanguageModel;
import dev.saccade.model.vision.VisionTower;
import dev.saccade.tensor.ParameterGroup;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.SerializationFeature;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// The shape of a vision-language model: Hugging Face's native `InternVLForConditionalGeneration`
/// config.json. Keys that do not change what the model computes are ignored when reading; values
/// that would change it in a way that is not implemented are refused.
///
/// @param vision the vision tower
/// @param text the decoder
/// @param imageTokenId the token (`<IMG_CONTEXT>`) whose embedding a visual token replaces
/// @param downsampleRatio the pixel unshuffle's ratio; 0.5, four patches to a visual token
/// @param suppressTokens tokens that are never generated, besides the image token: `<img>`,
///   padding; they carry no probability in sampling and in training
public record VisionLanguageConfig(
        VisionConfig vision,
        LanguageConfig text,
        int imageTokenId,
        double downsampleRatio,
        List<Integer> suppressTokens) {
    private static final JsonMapper JSON =
            JsonMapper.builder().enable(SerializationFeature.INDENT_OUTPUT).build();

    /// @throws IllegalArgumentException when the numbers do not fit together
    public VisionLanguageConfig {
        suppressTokens = List.copyOf(suppressTokens);
        if (downsampleRatio != 0.5) {
            throw new IllegalArgumentException(
                    "downsample_ratio is %s; only 0.5 is supported".formatted(downsampleRatio));
        }
        if (vision.grid() % 2 != 0) {
            throw new IllegalArgumentException(
                    "a tile has %d patches a side; the pixel unshuffle needs an even number"
                            .formatted(vision.grid()));
        }
        requireToken("image_token_id", imageTokenId, text.vocabSize());
        for (int token : suppressTokens) {
            requireToken("suppress_tokens", token, text.vocabSize());
        }
    }

    private static void requireToken(String key, int token, int vocabSize) {
        if (token < 0 || token >= vocabSize) {
            throw new IllegalArgumentException(
                    "%s: %d is not a token of a vocabulary of %d".formatted(key, token, vocabSize));
        }
    }

    /// The model of the quick start, about a million parameters: a picture of 56x56 is 4 visual
    /// tokens.
    public static VisionLanguageConfig tiny(int vocabSize, int imageTokenId) {
        return tiny(vocabSize, imageTokenId, List.of());
    }

    /// The model of the quick start with further tokens that are never generated.
    public static VisionLanguageConfig tiny(
            int vocabSize, int imageTokenId, List<Integer> suppressTokens) {
        VisionConfig vision =
                new VisionConfig(
                        128, 2, 4, 512, 56, 14, 3, NormType.LAYER_NORM, false, true, 1e-6f, 0.1f);
        LanguageConfig text =
                new LanguageConfig(vocabSize, 128, 256, 3, 4, 2, 32, 1e-6f, 1e4, 1024, true, false);
        return new VisionLanguageConfig(vision, text, imageTokenId, 0.5, suppressTokens);
    }

    /// Reads a config.json.
    ///
    /// @throws InputException naming the file and the key when it can't be used
    public static VisionLanguageConfig read(Path configJson) {
        try {
            return parse(
                    Files.readString(configJson, StandardCharsets.UTF_8), configJson.toString());
        } catch (NoSuchFileException e) {
            throw new InputException(
                    configJson.toString(),
                    "there is no such file",
                    "give the folder of a checkpoint",
                    e);
        } catch (IOException e) {
            throw new InputException(
                    configJson.toString(),
                    "can't be read (" + e.getMessage() + ")",
                    "check the file and its permissions",
                    e);
        }
    }

    /// Parses the text of a config.json.
    ///
    /// @param sourceName the file's name, for messages
    /// @throws InputException naming the file and the key when it can't be used
    public static VisionLanguageConfig parse(String json, String sourceName) {
        JsonNode tree;
        try {
            tree = JSON.readTree(json);
        } catch (JacksonException e) {
            throw new InputException(
                    sourceName,
                    "not JSON at line %d, column %d"
                            .formatted(e.getLocation().getLineNr(), e.getLocation().getColumnNr()),
                    "use the config.json of a Hugging Face-native InternVL checkpoint",
                    e);
        }
        JsonSection top = new JsonSection(sourceName, "", tree);
        if (top.has("llm_config")) {
            throw new InputException(
                    sourceName,
                    "llm_config belongs to the remote-code layout (InternVLChatModel)",
                    "use the Hugging Face-native checkpoint, whose name ends in -hf");
        }
        int layer = top.integer("vision_feature_layer", -1);
        if (layer != -1) {
            throw top.unsupported("vision_feature_layer", Integer.toString(layer), "-1");
        }
        String strategy = top.text("vision_feature_select_strategy", "default");
        if (!strategy.equals("default")) {
            throw top.unsupported("vision_feature_select_strategy", strategy, "default");
        }
        String activation = top.text("projector_hidden_act", "gelu");
        if (!activation.equals("gelu")) {
            throw top.unsupported("projector_hidden_act", activation, "gelu");
        }
        List<Integer> suppress = new ArrayList<>();
        for (int token : top.integers("suppress_tokens")) {
            suppress.add(token);
        }
        try {
            return new VisionLanguageConfig(
                    VisionConfig.read(top.section("vision_config")),
                    // tie_word_embeddings is read there too: newer libraries write a default
                    // at the top that the checkpoints do not follow.
                    LanguageConfig.read(top.section("text_config")),
                    top.integer("image_token_id"),
                    top.number("downsample_ratio"),
                    suppress);
        } catch (IllegalArgumentException e) {
            throw new InputException(
                    sourceName, String.valueOf(e.getMessage()), "correct the file", e);
        }
    }

    /// The text of the config.json that [#read(Path)] reads back as this.
    public String toJson() {
        ObjectNode json = JSON.createObjectNode();
        json.putArray("architectures").add("InternVLForConditionalGeneration");
        json.put("model_type", "internvl");
        json.put("image_token_id", imageTokenId);
        json.put("image_seq_length", tokensPerTile());
        json.put("downsample_ratio", downsampleRatio);
        json.put("projector_hidden_act", "gelu");
        json.put("vision_feature_layer", -1);
        json.put("vision_feature_select_strategy", "default");
        json.put("tie_word_embeddings", text.tieWordEmbeddings());
        json.put("torch_dtype", "float32");
        if (!suppressTokens.isEmpty()) {
            ArrayNode suppress = json.putArray("suppress_tokens");
            suppressTokens.forEach(suppress::add);
        }
        text.write(json.putObject("text_config"));
        vision.write(json.putObject("vision_config"));
        return JSON.writeValueAsString(json) + "\n";
    }

    /// Visual tokens of one tile.
    public int tokensPerTile() {
        return vision.patches() / 4;
    }

    /// Every parameter of the model, in checkpoint order, without allocating anything.
    public List<ParameterSpecification> parameters() {
        List<ParameterSpecification> all = new ArrayList<>();
        all.addAll(VisionTower.parameters(vision));
        all.addAll(Connector.parameters(vision.hiddenSize(), text.hiddenSize()));
        all.addAll(LanguageModel.parameters(text));
        return all;
    }

    /// How many numbers the model has.
    public long parameterCount() {
        return parameters().stream().mapToLong(p -> p.shape().elements()).sum();
    }

    /// How many numbers one part of the model has.
    public long parameterCount(ParameterGroup group) {
        return parameters().stream()
                .filter(p -> p.group() == group)
                .mapToLong(p -> p.shape().elements())
                .sum();
    }
}
