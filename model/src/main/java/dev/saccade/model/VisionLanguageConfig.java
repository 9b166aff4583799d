package dev.saccade.model;

import dev.saccade.engine.InputException;
import dev.saccade.model.connector.Connector;
import dev.saccade.model.language.LanguageModel;
import dev.saccade.model.vision.VisionTower;
import dev.saccade.tensor.ParameterGroup;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The shape of a model: a vision-language model, or a language model alone, which is one without a
/// tower.
///
/// @param tower the vision tower; null in a language model alone
/// @param text the decoder
/// @param imageTokenId the token (`<IMG_CONTEXT>`) whose embedding a visual token replaces;
///   [#NO_IMAGE_TOKEN] without a tower
/// @param downsampleRatio the pixel unshuffle's ratio; 0.5, four patches to a visual token
/// @param suppressTokens tokens that are never generated, besides the image token: `<img>`,
///   padding; they carry no probability in sampling and in training
public record VisionLanguageConfig(
        @Nullable VisionConfig tower,
        LanguageConfig text,
        int imageTokenId,
        double downsampleRatio,
        List<Integer> suppressTokens) {
    /// The image token of a model that reads no images: equal to no token.
    public static final int NO_IMAGE_TOKEN = -1;

    /// @throws IllegalArgumentException when the numbers do not fit together
    public VisionLanguageConfig {
        suppressTokens = List.copyOf(suppressTokens);
        if (downsampleRatio != 0.5) {
            throw new IllegalArgumentException(
                    "downsample_ratio is %s; only 0.5 is supported".formatted(downsampleRatio));
        }
        if (tower == null) {
            if (imageTokenId != NO_IMAGE_TOKEN) {
                throw new IllegalArgumentException("an image token without a vision tower");
            }
        } else {
            if (tower.grid() % 2 != 0) {
                throw new IllegalArgumentException(
                        "a tile has %d patches a side; the pixel unshuffle needs an even number"
                                .formatted(tower.grid()));
            }
            requireToken("image_token_id", imageTokenId, text.vocabSize());
        }
        for (int token : suppressTokens) {
            requireToken("suppress_tokens", token, text.vocabSize());
        }
    }

    /// The shape of a language model alone.
    ///
    /// @param suppressTokens tokens that are never generated
    public static VisionLanguageConfig textOnly(LanguageConfig text, List<Integer> suppressTokens) {
        return new VisionLanguageConfig(null, text, NO_IMAGE_TOKEN, 0.5, suppressTokens);
    }

    /// Whether the model reads images.
    public boolean hasVision() {
        return tower != null;
    }

    /// The vision tower's shape.
    ///
    /// @throws InputException when the model is a language model alone: it was given an image
    public VisionConfig vision() {
        if (tower == null) {
            throw new InputException(
                    "the model",
                    "it reads text only, it has no vision tower",
                    "leave the images out, or use a vision-language checkpoint");
        }
        return tower;
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

    /// Reads a config.json of any layout that [CheckpointConfig] knows.
    ///
    /// @throws InputException naming the file and the key when it can't be used
    public static VisionLanguageConfig read(Path configJson) {
        return CheckpointConfig.read(configJson).model();
    }

    /// Parses the text of a config.json.
    ///
    /// @param sourceName the file's name, for messages
    /// @throws InputException naming the file and the key when it can't be used
    public static VisionLanguageConfig parse(String json, String sourceName) {
        return CheckpointConfig.parse(json, sourceName, null).model();
    }

    /// The text of the config.json that [#read(Path)] reads back as this, in the layout that
    /// [#defaultLayout()] names, beside weights in float32.
    public String toJson() {
        return toJson(defaultLayout(), ComputeType.FLOAT32);
    }

    /// The text of the config.json of a layout that [#read(Path)] reads back as this.
    ///
    /// @param type of the weights beside it
    /// @throws IllegalArgumentException when the layout isn't for such a model
    public String toJson(CheckpointLayout layout, ComputeType type) {
        return ConfigText.of(this, layout, type.label());
    }

    /// The layout that a model is saved in where nothing else is asked for: Hugging Face's own.
    public CheckpointLayout defaultLayout() {
        return hasVision() ? CheckpointLayout.NATIVE : CheckpointLayout.TEXT;
    }

    /// Visual tokens of one tile.
    public int tokensPerTile() {
        return vision().patches() / 4;
    }

    /// Every parameter of the model, in checkpoint order, without allocating anything.
    public List<ParameterSpecification> parameters() {
        List<ParameterSpecification> all = new ArrayList<>();
        if (tower != null) {
            all.addAll(VisionTower.parameters(tower));
            all.addAll(Connector.parameters(tower.hiddenSize(), text.hiddenSize()));
        }
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
