package dev.saccade.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.model.image.Pixels;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class PackedBatchTest {
    private static final VisionLanguageConfig CONFIG = SmallModels.config(NormType.LAYER_NORM);
    private static final int IMAGE = SmallModels.IMAGE_TOKEN;

    @Test
    void sharedPromptsReferToTheSameVisualTokens() {
        Pixels tile = new Pixels(new float[3 * 8 * 8], 1);
        Prompt first = new Prompt(new int[] {1, IMAGE, IMAGE, IMAGE, IMAGE, 2}, tile);
        Prompt second = new Prompt(new int[] {IMAGE, IMAGE, IMAGE, IMAGE}, tile);
        TrainingBatch batch =
                TrainingBatch.pack(
                        CONFIG,
                        List.of(first, second, first),
                        List.of(new int[] {3, 4}, new int[] {6}, new int[] {8}));
        PackedBatch packed = batch.batch();
        assertThat(packed.cumulative()).containsExactly(0, 8, 13, 20);
        assertThat(packed.tokens())
                .containsExactly(
                        1, IMAGE, IMAGE, IMAGE, IMAGE, 2, 3, 4, IMAGE, IMAGE, IMAGE, IMAGE, 6, 1,
                        IMAGE, IMAGE, IMAGE, IMAGE, 2, 8);
        assertThat(packed.positions())
                .containsExactly(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6);
        assertThat(packed.imageRows()).containsExactly(1, 2, 3, 4, 8, 9, 10, 11, 14, 15, 16, 17);
        assertThat(packed.visualRows()).containsExactly(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
        assertThat(batch.predictionRows()).containsExactly(5, 6, 11, 18);
        assertThat(batch.targets()).containsExactly(3, 4, 6, 8);
        assertThat(batch.lengths()).containsExactly(2, 1, 1);
        assertThat(batch.pixels()).isNotNull().extracting(Pixels::tiles).isEqualTo(2);
    }

    @Test
    void imageTokensHaveToMatchTheTiles() {
        Prompt tooFew =
                new Prompt(new int[] {1, IMAGE, IMAGE}, new Pixels(new float[3 * 8 * 8], 1));
        assertThatThrownBy(() -> PackedBatch.pack(CONFIG, List.of(tooFew), List.of(new int[] {1})))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("a prompt has 2 image tokens, but its tiles make 4 visual tokens");
        Prompt text = new Prompt(new int[] {1}, null);
        assertThatThrownBy(
                        () -> PackedBatch.pack(CONFIG, List.of(text), List.of(new int[] {IMAGE})))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("an image token behind the prompt");
    }

    @Test
    void aBatchWithoutImagesHasNoPixels() {
        Prompt text = SmallModels.prompt(CONFIG, 4, 0, new Random(1));
        assertThat(TrainingBatch.pack(CONFIG, List.of(text), List.of(new int[] {1})).pixels())
                .isNull();
    }
}
