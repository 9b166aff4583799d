package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import dev.saccade.tensor.ParameterGroup;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class VisionLanguageConfigTest {
    private static final VisionConfig VIT_300M =
            new VisionConfig(
                    1024, 24, 16, 4096, 448, 14, 3, NormType.LAYER_NORM, false, true, 1e-6f, 0.1f);
    private static final VisionConfig VIT_6B =
            new VisionConfig(
                    3200, 45, 25, 12800, 448, 14, 3, NormType.RMS_NORM, true, false, 1e-6f, 0.1f);

    /// A file as real ones are, with keys that do not matter here.
    private static final String REAL =
            """
            {
              "architectures": ["InternVLForConditionalGeneration"],
              "downsample_ratio": 0.5,
              "image_seq_length": 256,
              "image_token_id": 151667,
              "model_type": "internvl",
              "projector_hidden_act": "gelu",
              "tie_word_embeddings": true,
              "torch_dtype": "bfloat16",
              "transformers_version": "4.52.0.dev0",
              "vision_feature_layer": -1,
              "vision_feature_select_strategy": "default",
              "text_config": {
                "attention_dropout": 0.0,
                "hidden_act": "silu",
                "hidden_size": 896,
                "intermediate_size": 4864,
                "max_position_embeddings": 32768,
                "max_window_layers": 21,
                "model_type": "qwen2",
                "num_attention_heads": 14,
                "num_hidden_layers": 24,
                "num_key_value_heads": 2,
                "rms_norm_eps": 1e-06,
                "rope_scaling": {"factor": 2.0, "rope_type": "dynamic", "type": "dynamic"},
                "rope_theta": 1000000.0,
                "sliding_window": null,
                "use_sliding_window": false,
                "vocab_size": 151674
              },
              "vision_config": {
                "attention_bias": true,
                "hidden_act": "gelu",
                "hidden_size": 1024,
                "image_size": [448, 448],
                "intermediate_size": 4096,
                "layer_norm_eps": 1e-06,
                "layer_scale_init_value": 0.1,
                "model_type": "internvl_vision",
                "norm_type": "layer_norm",
                "num_attention_heads": 16,
                "num_channels": 3,
                "num_hidden_layers": 24,
                "patch_size": [14, 14],
                "use_absolute_position_embeddings": true,
                "use_mean_pooling": true,
                "use_qk_norm": false
              }
            }
            """;

    private static VisionLanguageConfig internVl3(
            VisionConfig vision, int hidden, int layers, int heads, int kv, int dim, int ffn) {
        LanguageConfig text =
                new LanguageConfig(
                        151674, hidden, ffn, layers, heads, kv, dim, 1e-6f, 1e6, 32768, true,
                        false);
        return new VisionLanguageConfig(vision, text, 151667, 0.5, List.of());
    }

    @Test
    void theVisionTowersHaveTheirPublishedSizes() {
        assertThat(
                        internVl3(VIT_300M, 896, 24, 14, 2, 64, 4864)
                                .parameterCount(ParameterGroup.VISION))
                .isEqualTo(304_012_288L);
        assertThat(
                        internVl3(VIT_6B, 5120, 64, 40, 8, 128, 27648)
                                .parameterCount(ParameterGroup.VISION))
                .isEqualTo(5_536_496_000L);
    }

    @ParameterizedTest
    @CsvSource({
        "896, 24, 14, 2, 64, 4864, 0.938",
        "1536, 28, 12, 2, 128, 8960, 2.089",
        "3584, 28, 28, 4, 128, 18944, 7.944",
        "5120, 48, 40, 8, 128, 13824, 15.117",
        "5120, 64, 40, 8, 128, 27648, 38.388",
        "8192, 80, 64, 8, 128, 29568, 78.408",
    })
    void theModelsHaveTheirPublishedSizes(
            int hidden, int layers, int heads, int kv, int dim, int ffn, double billions) {
        VisionConfig vision = layers >= 64 ? VIT_6B : VIT_300M;
        VisionLanguageConfig config = internVl3(vision, hidden, layers, heads, kv, dim, ffn);
        assertThat(Math.round(config.parameterCount() / 1e6)).isEqualTo(Math.round(billions * 1e3));
        assertThat(config.tokensPerTile()).isEqualTo(256);
    }

    @Test
    void theConnectorOfTheLargeModelHasItsPublishedSize() {
        VisionLanguageConfig config = internVl3(VIT_6B, 5120, 64, 40, 8, 128, 27648);
        assertThat(Math.round(config.parameterCount(ParameterGroup.CONNECTOR) / 1e4))
                .isEqualTo(9179);
    }

    @Test
    void aRealFileIsRead() {
        VisionLanguageConfig config = VisionLanguageConfig.parse(REAL, "config.json");
        VisionLanguageConfig plain = internVl3(VIT_300M, 896, 24, 14, 2, 64, 4864);
        assertThat(config)
                .isEqualTo(
                        new VisionLanguageConfig(
                                VIT_300M,
                                plain.text().withRopeScaling(new RopeScaling.Dynamic(2)),
                                151667,
                                0.5,
                                List.of()));
    }

    @ParameterizedTest
    @EnumSource
    void whatIsWrittenReadsBack(NormType variant) {
        VisionLanguageConfig config = SmallModels.config(variant);
        assertThat(VisionLanguageConfig.parse(config.toJson(), "config.json")).isEqualTo(config);
        VisionLanguageConfig tiny = VisionLanguageConfig.tiny(136, 7, List.of(3, 4));
        assertThat(VisionLanguageConfig.parse(tiny.toJson(), "config.json")).isEqualTo(tiny);
    }

    @Test
    void theTinyModelIsTheOneOfTheQuickStart() {
        VisionLanguageConfig tiny = VisionLanguageConfig.tiny(136, 7);
        assertThat(tiny.tokensPerTile()).isEqualTo(4);
        assertThat(tiny.vision().patches()).isEqualTo(16);
        assertThat(tiny.parameterCount()).isBetween(1_000_000L, 1_100_000L);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "\"vocab_size\": 151674|\"other\": 1|text_config.vocab_size is missing",
                "\"image_token_id\": 151667,||image_token_id is missing",
                "\"hidden_size\": 896|\"hidden_size\": \"big\"|text_config.hidden_size is \"big\"",
                "\"norm_type\": \"layer_norm\"|\"norm_type\": \"batch\"|vision_config.norm_type is"
                        + " batch",
                "\"use_mean_pooling\": true|\"use_mean_pooling\":"
                        + " false|vision_config.use_mean_pooling is false",
                "\"rope_type\": \"dynamic\"|\"rope_type\":"
                        + " \"yarn\"|text_config.rope_scaling.rope_type is yarn",
                "\"num_key_value_heads\": 2|\"num_key_value_heads\": 3|num_attention_heads 14 is"
                        + " not a multiple of num_key_value_heads 3",
                "\"downsample_ratio\": 0.5|\"downsample_ratio\": 0.25|downsample_ratio is 0.25",
                "\"image_token_id\": 151667|\"image_token_id\": 151674|image_token_id: 151674 is"
                        + " not",
                "\"image_size\": [448, 448]|\"image_size\": [448, 224]|vision_config.image_size is"
                        + " [448,224]",
                "\"model_type\": \"internvl\"|\"model_type\": \"internvl|not JSON at line 6",
                "\"text_config\"|\"llm_config\"|text_config is missing",
                "\"model_type\": \"internvl\"|\"model_type\": \"gpt2\"|model_type is 'gpt2'",
            })
    void whatCannotBeUsedIsNamedInOneLine(String from, String to, String message) {
        String json = REAL.replace(from, to == null ? "" : to);
        assertThat(json).isNotEqualTo(REAL);
        assertThatThrownBy(() -> VisionLanguageConfig.parse(json, "x/config.json"))
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith("x/config.json: ")
                .hasMessageContaining(message)
                .message()
                .doesNotContain("\n");
    }

    @Test
    void aMissingFileIsNamed(@TempDir Path folder) {
        assertThatThrownBy(() -> VisionLanguageConfig.read(folder.resolve("config.json")))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("config.json: there is no such file");
    }

    @Test
    void weightDecayIsForMatricesOnly() {
        assertThat(SmallModels.config(NormType.LAYER_NORM).parameters())
                .allSatisfy(p -> {
                    boolean embedding =
                            p.name().contains("embed_tokens")
                                    || p.name().contains("cls_token")
                                    || p.name().contains("position_embeddings");
                    assertThat(p.decays())
                            .as(p.name())
                            .isEqualTo(p.shape().rank() > 1 && !embedding);
                });
    }
}
