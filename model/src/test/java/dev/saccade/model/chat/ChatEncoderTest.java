package dev.saccade.model.chat;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import dev.saccade.model.VisionLanguageConfig;
import dev.saccade.model.image.RgbImage;
import dev.saccade.model.tokenizer.TinyVocabulary;
import dev.saccade.model.tokenizer.Tokenizer;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

final class ChatEncoderTest {
    private static final Tokenizer TOKENIZER = TinyVocabulary.tokenizer(List.of());
    private static final int PLACE = TOKENIZER.id(ChatTemplate.IMAGE_TOKEN).orElseThrow();

    @Test
    void aPictureTakesItsTokens() {
        ChatEncoder encoder = encoder(PLACE);
        RgbImage picture = new RgbImage(2, 2, new byte[12]);
        ChatEncoder.Encoded encoded =
                encoder.encode(
                        List.of(new Message("user", "Sum?<image>")),
                        List.of(encoder.tiles(picture)));
        assertThat(Arrays.stream(encoded.prompt().tokens()).filter(id -> id == PLACE).count())
                .isEqualTo(4);
    }

    @Test
    void aTokenizerOfAnotherModelIsRefused() {
        assertThatThrownBy(() -> encoder(PLACE + 1))
                .isInstanceOf(InputException.class)
                .hasMessage(
                        "tokenizer.json: it has <IMG_CONTEXT> as token %d, but the model's pictures take the place of token %d; use the tokenizer that belongs to the checkpoint"
                                .formatted(PLACE, PLACE + 1));
    }

    private static ChatEncoder encoder(int imageToken) {
        return new ChatEncoder(
                VisionLanguageConfig.tiny(300, imageToken), TOKENIZER, ChatTemplate.TINY, 1);
    }
}
