package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.tensor.Shape;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

final class CheckpointLayoutTest {

    @ParameterizedTest
    @CsvSource({
        "vision_tower.embeddings.cls_token, vision_model.embeddings.class_embedding",
        "vision_tower.embeddings.position_embeddings, vision_model.embeddings.position_embedding",
        "vision_tower.embeddings.patch_embeddings.projection.weight,"
                + " vision_model.embeddings.patch_embedding.weight",
        "vision_tower.encoder.layer.44.attention.q_proj.weight,"
                + " vision_model.encoder.layers.44.attn.qkv.weight",
        "vision_tower.encoder.layer.0.attention.v_proj.bias,"
                + " vision_model.encoder.layers.0.attn.qkv.bias",
        "vision_tower.encoder.layer.0.attention.q_norm.weight,"
                + " vision_model.encoder.layers.0.attn.q_norm.weight",
        "vision_tower.encoder.layer.0.attention.projection_layer.bias,"
                + " vision_model.encoder.layers.0.attn.proj.bias",
        "vision_tower.encoder.layer.0.layernorm_before.weight,"
                + " vision_model.encoder.layers.0.norm1.weight",
        "vision_tower.encoder.layer.0.layernorm_after.bias,"
                + " vision_model.encoder.layers.0.norm2.bias",
        "vision_tower.encoder.layer.0.lambda_1, vision_model.encoder.layers.0.ls1",
        "vision_tower.encoder.layer.0.lambda_2, vision_model.encoder.layers.0.ls2",
        "vision_tower.encoder.layer.0.mlp.fc1.weight, vision_model.encoder.layers.0.mlp.fc1.weight",
        "multi_modal_projector.layer_norm.weight, mlp1.0.weight",
        "multi_modal_projector.linear_1.bias, mlp1.1.bias",
        "multi_modal_projector.linear_2.weight, mlp1.3.weight",
        "language_model.embed_tokens.weight, language_model.model.embed_tokens.weight",
        "language_model.layers.7.self_attn.q_proj.weight,"
                + " language_model.model.layers.7.self_attn.q_proj.weight",
        "language_model.norm.weight, language_model.model.norm.weight",
    })
    void remoteCodeNames(String parameter, String stored) {
        assertThat(CheckpointLayout.REMOTE_CODE.storedName("model." + parameter)).isEqualTo(stored);
    }

    @Test
    void theHeadHasItsPlaceInEachLayout() {
        String head = "lm_head.weight";
        assertThat(CheckpointLayout.NATIVE.storedName(head)).isEqualTo(head);
        assertThat(CheckpointLayout.TEXT.storedName(head)).isEqualTo(head);
        for (CheckpointLayout layout :
                List.of(CheckpointLayout.NATIVE_EARLY, CheckpointLayout.REMOTE_CODE)) {
            assertThat(layout.storedName(head)).isEqualTo("language_model.lm_head.weight");
        }
    }

    @ParameterizedTest
    @CsvSource({
        "model.vision_tower.x, model.vision_tower.x",
        "vision_tower.x, model.vision_tower.x",
        "multi_modal_projector.x, model.multi_modal_projector.x",
        "model.language_model.layers.0.x, model.language_model.layers.0.x",
        "language_model.model.layers.0.x, model.language_model.layers.0.x",
        "language_model.layers.0.x, model.language_model.layers.0.x",
        "model.language_model.model.layers.0.x, model.language_model.layers.0.x",
        "lm_head.weight, lm_head.weight",
        "language_model.lm_head.weight, lm_head.weight",
        "encoder.layer.0.x, model.vision_tower.encoder.layer.0.x",
        "other.x, other.x",
    })
    void everyNativeSpellingIsOne(String stored, String canonical) {
        assertThat(CheckpointLayout.NATIVE.canonicalName(stored)).isEqualTo(canonical);
    }

    @ParameterizedTest
    @EnumSource
    void everyParameterHasOnePlaceInEachLayout(NormType variant) {
        List<ParameterSpecification> parameters = SmallModels.config(variant).parameters();
        for (CheckpointLayout layout : CheckpointLayout.values()) {
            Set<String> placed = new HashSet<>();
            long elements = 0;
            for (CheckpointLayout.Stored stored : layout.tensors(parameters)) {
                stored.parts().forEach(part -> assertThat(placed.add(part.name())).isTrue());
                elements += stored.shape().elements();
                if (layout != CheckpointLayout.NATIVE_EARLY) {
                    assertThat(layout.canonicalName(stored.name())).isEqualTo(stored.name());
                }
            }
            assertThat(placed).hasSameSizeAs(parameters);
            assertThat(elements).isEqualTo(SmallModels.config(variant).parameterCount());
        }
    }

    @Test
    void queriesKeysAndValuesAreStackedInThisOrder() {
        CheckpointLayout.Stored fused =
                CheckpointLayout.REMOTE_CODE
                        .tensors(SmallModels.config(NormType.LAYER_NORM).parameters())
                        .stream()
                        .filter(t ->
                                t.name().equals("vision_model.encoder.layers.1.attn.qkv.weight"))
                        .findFirst()
                        .orElseThrow();
        assertThat(fused.shape()).isEqualTo(Shape.of(45, 15));
        assertThat(fused.parts().stream().map(ParameterSpecification::name))
                .containsExactly(
                        "model.vision_tower.encoder.layer.1.attention.q_proj.weight",
                        "model.vision_tower.encoder.layer.1.attention.k_proj.weight",
                        "model.vision_tower.encoder.layer.1.attention.v_proj.weight");
    }

    @Test
    void whatNoModelReadsIsPassedOver() {
        for (String stray :
                List.of(
                        "action_embed",
                        "track_embed_dense.weight",
                        "sam.layers.0.weight",
                        "model.layers.3.self_attn.rotary_emb.inv_freq")) {
            assertThat(CheckpointLayout.isStray(stray)).as(stray).isTrue();
        }
        for (String other : List.of("sample.weight", "vision_model.sam", "mlp1.0.weight")) {
            assertThat(CheckpointLayout.isStray(other)).as(other).isFalse();
        }
    }
}
