package dev.saccade.model;

import dev.saccade.engine.InputException;
import dev.saccade.model.connector.Connector;
import dev.saccade.model.internal.JsonSection;
import dev.saccade.model.language.LanguageModel;
import dev.saccade.model.vision.VisionTower;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// What a checkpoint's config.json says: the layout of its tensors, and the shapes of the parts it
/// has. Keys that do not change what the model computes are ignored; values that would change it in
/// a way that is not implemented are refused.
///
/// @param source the file's name, for messages
/// @param layout how the checkpoint names its tensors
/// @param architecture the class that its makers run it with; `unknown` where the file names none
/// @param dtype the type that the file says its weights have; `unknown` where it says none
/// @param vision the vision tower; null in a language model alone
/// @param text the decoder; null in a vision tower alone
/// @param imageTokenId the token that stands for a visual token, where there is a connector;
///   otherwise [VisionLanguageConfig#NO_IMAGE_TOKEN]
/// @param suppressTokens tokens that are never generated
public record CheckpointConfig(
        String source,
        CheckpointLayout layout,
        String architecture,
        String dtype,
        @Nullable VisionConfig vision,
        @Nullable LanguageConfig text,
        int imageTokenId,
        List<Integer> suppressTokens) {
    private static final long MOST_BYTES = 10_000_000;
    private static final String AGAIN = "use the config.json that came with the checkpoint";

    /// Makes the list unmodifiable.
    public CheckpointConfig {
        suppressTokens = List.copyOf(suppressTokens);
    }

    /// Reads a config.json. Where it does not name the image token, as those of the remote-code
    /// layout don't, the tokenizer's files beside it do.
    ///
    /// @throws InputException naming the file and the key when it can't be used
    public static CheckpointConfig read(Path configJson) {
        try {
            if (Files.size(configJson) > MOST_BYTES) {
                throw new InputException(
                        configJson.toString(), "is too large for a config.json", AGAIN);
            }
            return parse(
                    Files.readString(configJson, StandardCharsets.UTF_8),
                    configJson.toString(),
                    configJson.toAbsolutePath().getParent());
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
    /// @param folder where the tokenizer's files are; null when there are none
    /// @throws InputException naming the file and the key when it can't be used
    static CheckpointConfig parse(String json, String sourceName, @Nullable Path folder) {
        JsonNode tree;
        try {
            tree = JsonMapper.shared().readTree(json);
        } catch (JacksonException e) {
            throw new InputException(
                    sourceName,
                    "not JSON at line %d, column %d"
                            .formatted(e.getLocation().getLineNr(), e.getLocation().getColumnNr()),
                    AGAIN,
                    e);
        }
        JsonSection top = new JsonSection(sourceName, "", tree);
        Builder builder = new Builder(sourceName, top, firstText(tree.path("architectures")));
        try {
            String type = top.text("model_type", "");
            return switch (type) {
                case "internvl" -> builder.readNative();
                case "internvl_chat", "skywork_chat" -> builder.readRemoteCode(folder);
                case "qwen2", "llama" ->
                        builder.build(
                                CheckpointLayout.TEXT,
                                null,
                                LanguageConfig.read(top),
                                VisionLanguageConfig.NO_IMAGE_TOKEN);
                case "intern_vit_6b" ->
                        builder.build(
                                CheckpointLayout.VISION,
                                VisionConfig.readInternVit(top),
                                null,
                                VisionLanguageConfig.NO_IMAGE_TOKEN);
                case "internvl_vision" ->
                        builder.build(
                                CheckpointLayout.NATIVE,
                                VisionConfig.read(top),
                                null,
                                VisionLanguageConfig.NO_IMAGE_TOKEN);
                default ->
                        throw top.unsupported(
                                "model_type",
                                type.isEmpty() ? "not given" : "'" + type + "'",
                                "internvl, internvl_chat, skywork_chat, qwen2, llama,"
                                        + " intern_vit_6b or internvl_vision");
            };
        } catch (IllegalArgumentException e) {
            throw new InputException(
                    sourceName, String.valueOf(e.getMessage()), "correct the file", e);
        } catch (ArithmeticException e) {
            throw new InputException(
                    sourceName, "has sizes that no model has", "correct the file", e);
        }
    }

    private static String firstText(JsonNode list) {
        JsonNode first = list.path(0);
        return first.isString() ? first.stringValue() : "unknown";
    }

    /// What all layouts have in common.
    private record Builder(String source, JsonSection top, String architecture) {

        CheckpointConfig build(
                CheckpointLayout layout,
                @Nullable VisionConfig vision,
                @Nullable LanguageConfig text,
                int imageTokenId) {
            List<Integer> suppress = new ArrayList<>();
            for (int token : top.integers("suppress_tokens")) {
                suppress.add(token);
            }
            CheckpointConfig config =
                    new CheckpointConfig(
                            source,
                            layout,
                            architecture,
                            top.text("torch_dtype", top.text("dtype", "unknown")),
                            vision,
                            text,
                            imageTokenId,
                            suppress);
            if (text != null) {
                config.model();
            }
            config.parameters();
            return config;
        }

        CheckpointConfig readNative() {
            expect("vision_feature_layer", -1);
            expect("vision_feature_select_strategy", "default");
            expect("projector_hidden_act", "gelu");
            expectRatio();
            return build(
                    CheckpointLayout.NATIVE,
                    VisionConfig.read(top.section("vision_config")),
                    // tie_word_embeddings is read there too: newer libraries write a default
                    // at the top that the checkpoints do not follow.
                    LanguageConfig.read(top.section("text_config")),
                    top.integer("image_token_id"));
        }

        CheckpointConfig readRemoteCode(@Nullable Path folder) {
            expect("select_layer", -1);
            String version = top.text("ps_version", "v1"); // what its code means by none
            if (!version.equals("v2")) {
                throw top.unsupported("ps_version", version, "v2");
            }
            expect("use_backbone_lora", 0);
            expect("use_llm_lora", 0);
            expectRatio();
            if (top.truth("pad2square", false)) {
                throw top.unsupported("pad2square", "true", "false");
            }
            VisionConfig vision = VisionConfig.readInternVit(top.section("vision_config"));
            expect("force_image_size", vision.imageSize());
            LanguageConfig text = LanguageConfig.read(top.section("llm_config"));
            int imageToken =
                    top.has("image_token_id")
                            ? top.integer("image_token_id")
                            : ImageToken.find(source, folder, text);
            return build(CheckpointLayout.REMOTE_CODE, vision, text, imageToken);
        }

        private void expectRatio() {
            double ratio = top.number("downsample_ratio");
            if (ratio != 0.5) {
                throw new IllegalArgumentException(
                        "downsample_ratio is %s; only 0.5 is supported".formatted(ratio));
            }
        }

        private void expect(String key, int only) {
            int value = top.integer(key, only);
            if (value != only) {
                throw top.unsupported(key, Integer.toString(value), Integer.toString(only));
            }
        }

        private void expect(String key, String only) {
            String value = top.text(key, only);
            if (!value.equals(only)) {
                throw top.unsupported(key, value, only);
            }
        }
    }

    /// The shape of the model, which has a decoder.
    ///
    /// @throws InputException when the checkpoint is a vision tower alone
    public VisionLanguageConfig model() {
        if (text == null) {
            throw new InputException(
                    source,
                    "is that of a vision tower alone, which can't answer anything",
                    "make a model of it with a language model: ./saccade compose");
        }
        return new VisionLanguageConfig(vision, text, imageTokenId, 0.5, suppressTokens);
    }

    /// Every parameter that the checkpoint holds, in checkpoint order.
    public List<ParameterSpecification> parameters() {
        List<ParameterSpecification> all = new ArrayList<>();
        if (vision != null) {
            all.addAll(VisionTower.parameters(vision));
            if (text != null) {
                all.addAll(Connector.parameters(vision.hiddenSize(), text.hiddenSize()));
            }
        }
        if (text != null) {
            all.addAll(LanguageModel.parameters(text));
        }
        return all;
    }
}
