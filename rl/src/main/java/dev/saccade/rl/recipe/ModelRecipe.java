package dev.saccade.rl.recipe;

import dev.saccade.engine.Device;
import dev.saccade.engine.InputException;
import dev.saccade.model.ComputeType;
import dev.saccade.model.LanguageConfig;
import dev.saccade.model.NormType;
import dev.saccade.model.VisionConfig;
import dev.saccade.model.VisionLanguageConfig;
import dev.saccade.model.chat.ChatTemplate;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// The model a run starts from: a checkpoint, or a new one of given sizes (the quick start's by
/// default).
///
/// @param path a folder with config.json, model.safetensors and tokenizer.json; null = a new model
/// @param type of parameters and activations; null = the device's default
/// @param chatTemplate how conversations are written: `tiny` or `r1v3`
/// @param vision the new model's vision tower
/// @param text the new model's decoder; its vocabulary is the tokenizer's
public record ModelRecipe(
        @Nullable String path,
        @Nullable ComputeType type,
        String chatTemplate,
        VisionConfig vision,
        LanguageConfig text) {
    static final String[] KEYS = {"path", "dtype", "chat_template", "vision_config", "text_config"};

    private static final Map<String, Optional<ComputeType>> TYPES =
            Map.of(
                    RecipeSection.AUTO,
                    Optional.empty(),
                    ComputeType.FLOAT32.label(),
                    Optional.of(ComputeType.FLOAT32),
                    ComputeType.BFLOAT16.label(),
                    Optional.of(ComputeType.BFLOAT16));

    private static final Map<String, ChatTemplate> TEMPLATES = ChatTemplate.named();

    private static final String[] VISION_KEYS = {
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "image_size",
        "patch_size",
        "norm_type",
        "use_qk_norm",
        "layer_scale_init_value"
    };

    private static final String[] TEXT_KEYS = {
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "rope_theta",
        "max_position_embeddings"
    };

    private static final int MOST = 1 << 20;

    static ModelRecipe bind(RecipeSection model) {
        VisionLanguageConfig tiny = VisionLanguageConfig.tiny(1, 0);
        String path = model.optionalText("path");
        if (path != null && (model.has("vision_config") || model.has("text_config"))) {
            throw model.wrong(
                    "path",
                    "given together with sizes for a new model",
                    "keep the path, or the sizes");
        }
        String template = model.optionalText("chat_template");
        if (template == null) {
            if (path != null) {
                throw model.wrong(
                        "path",
                        "given without 'model.chat_template'",
                        "add chat_template: r1v3, or tiny for a checkpoint of the quick start");
            }
            template = "tiny";
        }
        model.choice("chat_template", ChatTemplate.TINY, TEMPLATES);
        ComputeType type = model.choice("dtype", Optional.<ComputeType>empty(), TYPES).orElse(null);
        RecipeSection vision = model.section("vision_config", VISION_KEYS);
        RecipeSection text = model.section("text_config", TEXT_KEYS);
        String place = vision.place();
        try {
            VisionConfig visionConfig = vision(vision, tiny.vision());
            place = text.place();
            LanguageConfig textConfig = text(text, tiny.text());
            return new ModelRecipe(path, type, template, visionConfig, textConfig);
        } catch (IllegalArgumentException e) {
            throw new InputException(place, String.valueOf(e.getMessage()), "correct the sizes", e);
        }
    }

    private static VisionConfig vision(RecipeSection section, VisionConfig tiny) {
        return new VisionConfig(
                section.integer("hidden_size", tiny.hiddenSize(), 1, MOST),
                section.integer("num_hidden_layers", tiny.numHiddenLayers(), 1, 1000),
                section.integer("num_attention_heads", tiny.numAttentionHeads(), 1, MOST),
                section.integer("intermediate_size", tiny.intermediateSize(), 1, MOST),
                section.integer("image_size", tiny.imageSize(), 1, MOST),
                section.integer("patch_size", tiny.patchSize(), 1, MOST),
                tiny.numChannels(),
                section.choice(
                        "norm_type",
                        tiny.normType(),
                        Map.of(
                                NormType.LAYER_NORM.label(),
                                NormType.LAYER_NORM,
                                NormType.RMS_NORM.label(),
                                NormType.RMS_NORM)),
                section.flag("use_qk_norm", tiny.useQkNorm()),
                tiny.attentionBias(),
                tiny.layerNormEps(),
                (float)
                        section.number(
                                "layer_scale_init_value",
                                exact(tiny.layerScaleInitValue()),
                                0,
                                10));
    }

    private static LanguageConfig text(RecipeSection section, LanguageConfig tiny) {
        return new LanguageConfig(
                tiny.vocabSize(),
                section.integer("hidden_size", tiny.hiddenSize(), 1, MOST),
                section.integer("intermediate_size", tiny.intermediateSize(), 1, MOST),
                section.integer("num_hidden_layers", tiny.numHiddenLayers(), 1, 1000),
                section.integer("num_attention_heads", tiny.numAttentionHeads(), 1, MOST),
                section.integer("num_key_value_heads", tiny.numKeyValueHeads(), 1, MOST),
                section.integer("head_dim", tiny.headDim(), 2, MOST),
                tiny.rmsNormEps(),
                section.number("rope_theta", tiny.ropeTheta(), 1, 1e12),
                section.integer(
                        "max_position_embeddings", tiny.maxPositionEmbeddings(), 1, 1 << 24),
                tiny.attentionBias(),
                tiny.tieWordEmbeddings());
    }

    private static double exact(float value) {
        return Double.parseDouble(Float.toString(value));
    }

    Map<String, Object> toTree() {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("dtype", type == null ? RecipeSection.AUTO : type.label());
        tree.put("chat_template", chatTemplate);
        if (path != null) {
            tree.put("path", path);
            return tree;
        }
        Map<String, Object> visionTree = new LinkedHashMap<>();
        visionTree.put("hidden_size", vision.hiddenSize());
        visionTree.put("num_hidden_layers", vision.numHiddenLayers());
        visionTree.put("num_attention_heads", vision.numAttentionHeads());
        visionTree.put("intermediate_size", vision.intermediateSize());
        visionTree.put("image_size", vision.imageSize());
        visionTree.put("patch_size", vision.patchSize());
        visionTree.put("norm_type", vision.normType().label());
        visionTree.put("use_qk_norm", vision.useQkNorm());
        visionTree.put("layer_scale_init_value", exact(vision.layerScaleInitValue()));
        tree.put("vision_config", visionTree);
        Map<String, Object> textTree = new LinkedHashMap<>();
        textTree.put("hidden_size", text.hiddenSize());
        textTree.put("intermediate_size", text.intermediateSize());
        textTree.put("num_hidden_layers", text.numHiddenLayers());
        textTree.put("num_attention_heads", text.numAttentionHeads());
        textTree.put("num_key_value_heads", text.numKeyValueHeads());
        textTree.put("head_dim", text.headDim());
        textTree.put("rope_theta", text.ropeTheta());
        textTree.put("max_position_embeddings", text.maxPositionEmbeddings());
        tree.put("text_config", textTree);
        return tree;
    }

    /// With an absolute path, so that a run can be resumed from anywhere.
    ModelRecipe resolved(@Nullable Path base) {
        if (path == null) {
            return this;
        }
        Path start = base == null ? Path.of("") : base;
        Path absolute = start.resolve(path).toAbsolutePath().normalize();
        return new ModelRecipe(absolute.toString(), type, chatTemplate, vision, text);
    }

    /// The type to compute in on a device.
    public ComputeType typeOn(Device device) {
        return type == null ? ComputeType.defaultFor(device) : type;
    }

    ModelRecipe with(ComputeType resolved) {
        return new ModelRecipe(path, resolved, chatTemplate, vision, text);
    }

    /// How conversations are written.
    public ChatTemplate template() {
        return Objects.requireNonNull(TEMPLATES.get(chatTemplate));
    }

    /// The new model's configuration for a vocabulary.
    ///
    /// @param imageTokenId the token whose embedding a visual token replaces
    /// @param suppressTokens tokens that are never generated
    public VisionLanguageConfig config(
            int vocabSize, int imageTokenId, List<Integer> suppressTokens) {
        LanguageConfig sized =
                new LanguageConfig(
                        vocabSize,
                        text.hiddenSize(),
                        text.intermediateSize(),
                        text.numHiddenLayers(),
                        text.numAttentionHeads(),
                        text.numKeyValueHeads(),
                        text.headDim(),
                        text.rmsNormEps(),
                        text.ropeTheta(),
                        text.maxPositionEmbeddings(),
                        text.attentionBias(),
                        text.tieWordEmbeddings());
        return new VisionLanguageConfig(vision, sized, imageTokenId, 0.5, suppressTokens);
    }
}
