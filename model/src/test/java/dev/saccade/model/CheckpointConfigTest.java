package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

final class CheckpointConfigTest {
    /// The keys that matter of the 38B's file, and some that don't.
    private static final String REMOTE =
            """
            {
              "architectures": ["SkyworkR1VChatModel"],
              "model_type": "skywork_chat",
              "downsample_ratio": 0.5,
              "dynamic_image_size": true,
              "force_image_size": 448,
              "freeze_vision": false,
              "llm_config": {
                "architectures": ["Qwen2ForCausalLM"],
                "attn_implementation": "flash_attention_2",
                "hidden_act": "silu",
                "hidden_size": 5120,
                "intermediate_size": 27648,
                "max_position_embeddings": 32768,
                "max_window_layers": 70,
                "model_type": "qwen2",
                "num_attention_heads": 40,
                "num_hidden_layers": 64,
                "num_key_value_heads": 8,
                "rms_norm_eps": 1e-06,
                "rope_scaling": {"factor": 2.0, "rope_type": "dynamic", "type": "dynamic"},
                "rope_theta": 1000000.0,
                "sliding_window": null,
                "tie_word_embeddings": false,
                "use_sliding_window": false,
                "vocab_size": 151674
              },
              "max_dynamic_patch": 12,
              "pad2square": false,
              "ps_version": "v2",
              "select_layer": -1,
              "template": "internvl2_5",
              "torch_dtype": "bfloat16",
              "use_backbone_lora": 0,
              "use_llm_lora": 0,
              "vision_config": {
                "architectures": ["InternVisionModel"],
                "drop_path_rate": 0.4,
                "hidden_act": "gelu",
                "hidden_size": 3200,
                "image_size": 448,
                "initializer_factor": 0.1,
                "intermediate_size": 12800,
                "layer_norm_eps": 1e-06,
                "model_type": "intern_vit_6b",
                "norm_type": "rms_norm",
                "num_attention_heads": 25,
                "num_channels": 3,
                "num_experts": 8,
                "num_hidden_layers": 45,
                "patch_size": 14,
                "qk_normalization": true,
                "qkv_bias": false,
                "use_moe": false
              }
            }
            """;

    @TempDir private Path folder;

    private static CheckpointConfig parse(String json) {
        return CheckpointConfig.parse(json, "x/config.json", null);
    }

    @Test
    void theRemoteCodeFileOfTheLargeModelIsRead() {
        CheckpointConfig config = parse(REMOTE);
        assertThat(config.layout()).isEqualTo(CheckpointLayout.REMOTE_CODE);
        assertThat(config.architecture()).isEqualTo("SkyworkR1VChatModel");
        assertThat(config.dtype()).isEqualTo("bfloat16");
        assertThat(config.imageTokenId()).isEqualTo(151667);
        assertThat(Math.round(config.model().parameterCount() / 1e6)).isEqualTo(38_388);
        VisionConfig vision = config.model().vision();
        assertThat(vision.normType()).isEqualTo(NormType.RMS_NORM);
        assertThat(vision.useQkNorm()).isTrue();
        assertThat(vision.attentionBias()).isFalse();
        assertThat(config.model().text().ropeScaling()).isEqualTo(new RopeScaling.Dynamic(2));
        assertThat(config.model().text().ropeBase()).isEqualTo(1e6);
    }

    @Test
    void theConstantBaseIsChosenInTheFile() {
        CheckpointConfig config =
                parse(
                        REMOTE.replace(
                                "{\"factor\": 2.0", "{\"constant_base\": true, \"factor\": 2.0"));
        assertThat(Math.round(config.model().text().ropeBase())).isEqualTo(3_052_774);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "added_tokens.json|{\"<img>\": 6, \"<IMG_CONTEXT>\": 7}",
                "tokenizer_config.json|{\"added_tokens_decoder\": {\"6\": {\"content\": \"<img>\"},"
                        + " \"7\": {\"content\": \"<IMG_CONTEXT>\"}}}",
                "tokenizer.json|{\"added_tokens\": [{\"id\": 7, \"content\": \"<IMG_CONTEXT>\"}]}",
            })
    void theImageTokenIsTheTokenizers(String file) throws IOException {
        String[] parts = file.split("\\|", 2);
        Path config =
                Files.writeString(folder.resolve("config.json"), REMOTE.replace("151674", "99"));
        assertThatThrownBy(() -> CheckpointConfig.read(config))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("no tokenizer file beside it has <IMG_CONTEXT>");
        Files.writeString(folder.resolve(parts[0]), parts[1]);
        assertThat(CheckpointConfig.read(config).imageTokenId()).isEqualTo(7);
        Files.writeString(folder.resolve(parts[0]), "{");
        assertThatThrownBy(() -> CheckpointConfig.read(config))
                .isInstanceOf(InputException.class)
                .hasMessageContaining(parts[0] + ": can't be read as JSON");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "\"select_layer\": -1|\"select_layer\": -4|select_layer is -4",
                "\"ps_version\": \"v2\"|\"ps_version\": \"v1\"|ps_version is v1",
                "\"ps_version\": \"v2\",|\"x\": 1,|ps_version is v1",
                "\"use_llm_lora\": 0|\"use_llm_lora\": 128|use_llm_lora is 128",
                "\"pad2square\": false|\"pad2square\": true|pad2square is true",
                "\"force_image_size\": 448|\"force_image_size\": 224|force_image_size is 224",
                "\"use_moe\": false|\"use_moe\": true|vision_config.use_moe is true",
                "\"model_type\": \"qwen2\"|\"model_type\": \"internlm2\"|llm_config.model_type is"
                        + " internlm2 (the decoder of InternVL3-9B)",
                "\"qkv_bias\": false|\"x\": false|vision_config.qkv_bias is missing",
                "\"factor\": 2.0|\"factor\": 0.0|rope_scaling.factor is 0.0",
                "\"num_hidden_layers\": 64|\"num_hidden_layers\": 2000000000|num_hidden_layers is"
                        + " 2000000000, more than 10000",
                "\"intermediate_size\": 27648|\"intermediate_size\": 0|intermediate_size is 0",
                "\"model_type\": \"skywork_chat\"|\"x\": 1|model_type is not given",
            })
    void whatCannotBeUsedIsNamedInOneLine(String from, String to, String message) {
        String json = REMOTE.replace(from, to);
        assertThat(json).isNotEqualTo(REMOTE);
        assertThatThrownBy(() -> parse(json))
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith("x/config.json: ")
                .hasMessageContaining(message)
                .message()
                .doesNotContain("\n");
    }

    @ParameterizedTest
    @EnumSource
    void everyLayoutsFileReadsBack(NormType variant) {
        VisionLanguageConfig config = SmallModels.config(variant);
        for (CheckpointLayout layout :
                List.of(
                        CheckpointLayout.NATIVE,
                        CheckpointLayout.NATIVE_EARLY,
                        CheckpointLayout.REMOTE_CODE)) {
            CheckpointConfig read = parse(config.toJson(layout, ComputeType.BFLOAT16));
            assertThat(read.model()).isEqualTo(config);
            assertThat(read.dtype()).isEqualTo("bfloat16");
        }
        VisionLanguageConfig text = VisionLanguageConfig.textOnly(config.text(), List.of(7));
        CheckpointConfig read = parse(text.toJson());
        assertThat(read.layout()).isEqualTo(CheckpointLayout.TEXT);
        assertThat(read.model()).isEqualTo(text);
        assertThatThrownBy(() -> text.toJson(CheckpointLayout.NATIVE, ComputeType.FLOAT32))
                .isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void aModelOfTextAloneSaysSoWhenGivenAnImage() {
        VisionLanguageConfig text =
                VisionLanguageConfig.textOnly(
                        SmallModels.config(NormType.LAYER_NORM).text(), List.of());
        assertThat(text.hasVision()).isFalse();
        assertThatThrownBy(text::vision)
                .isInstanceOf(InputException.class)
                .hasMessageContaining("it reads text only");
    }

    /// A published tower by itself has the section of the remote-code file as its whole file.
    @Test
    void aTowerAloneIsNoModel() {
        int start = REMOTE.indexOf('{', REMOTE.indexOf("\"vision_config\""));
        CheckpointConfig tower = parse(REMOTE.substring(start, REMOTE.lastIndexOf('}')));
        assertThat(tower.layout()).isEqualTo(CheckpointLayout.VISION);
        assertThat(tower.vision()).isEqualTo(parse(REMOTE).vision());
        assertThat(tower.parameters().stream().mapToLong(p -> p.shape().elements()).sum())
                .isEqualTo(5_536_496_000L);
        assertThatThrownBy(tower::model)
                .isInstanceOf(InputException.class)
                .hasMessageContaining("./saccade compose");
    }
}
