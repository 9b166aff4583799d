package dev.saccade.model.chat;

import dev.saccade.engine.InputException;
import dev.saccade.model.Prompt;
import dev.saccade.model.VisionLanguageConfig;
import dev.saccade.model.image.ImageTiles;
import dev.saccade.model.image.Pixels;
import dev.saccade.model.image.RgbImage;
import dev.saccade.model.tokenizer.Tokenizer;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;

/// Turns conversations with pictures into what a model reads.
///
/// @param config the model's shape
/// @param tokenizer its tokenizer
/// @param template how conversations are written
/// @param maxTiles the most tiles a picture is cut into, without the thumbnail
public record ChatEncoder(
        VisionLanguageConfig config, Tokenizer tokenizer, ChatTemplate template, int maxTiles) {

    /// @throws InputException when the tokenizer has no token that ends a turn, or another one than
    ///   the model for a picture's place
    public ChatEncoder {
        if (tokenizer.id(ChatTemplate.TURN_END).isEmpty()) {
            throw new InputException(
                    Tokenizer.FILE_NAME,
                    "it has no token " + ChatTemplate.TURN_END,
                    "use the tokenizer of a chat model");
        }
        OptionalInt place = tokenizer.id(ChatTemplate.IMAGE_TOKEN);
        if (config.hasVision() && !place.equals(OptionalInt.of(config.imageTokenId()))) {
            throw new InputException(
                    Tokenizer.FILE_NAME,
                    "it has %s, but the model's pictures take the place of token %d"
                            .formatted(
                                    place.isPresent()
                                            ? ChatTemplate.IMAGE_TOKEN
                                                    + " as token "
                                                    + place.getAsInt()
                                            : "no token " + ChatTemplate.IMAGE_TOKEN,
                                    config.imageTokenId()),
                    "use the tokenizer that belongs to the checkpoint");
        }
    }

    /// What a model reads.
    ///
    /// @param text the conversation as it is written out
    /// @param prompt its tokens, with the pictures' tiles
    public record Encoded(String text, Prompt prompt) {}

    /// The token that ends a turn: where sampling stops.
    public int turnEnd() {
        return tokenizer.id(ChatTemplate.TURN_END).orElseThrow();
    }

    /// A picture cut into tiles.
    public Pixels tiles(RgbImage image) {
        return ImageTiles.prepare(image, config.vision().imageSize(), maxTiles, true);
    }

    /// A conversation up to the opening of the answer that is to be generated.
    ///
    /// @param pictures the tiles of each picture, in the order of `<image>` in the turns
    /// @throws InputException when the turns have another number of `<image>`, or write the token
    ///   of a picture's place themselves
    public Encoded encode(List<Message> messages, List<Pixels> pictures) {
        int[] visualTokens =
                pictures.stream()
                        .mapToInt(pixels -> pixels.tiles() * config.tokensPerTile())
                        .toArray();
        String text = template.render(messages, visualTokens, true);
        int[] tokens = tokenizer.encode(text);
        long imageTokens = Arrays.stream(tokens).filter(id -> id == config.imageTokenId()).count();
        long expected = Arrays.stream(visualTokens).asLongStream().sum();
        if (imageTokens != expected) {
            throw new InputException(
                    "the prompt",
                    "its text holds %d %s that belong to no picture"
                            .formatted(imageTokens - expected, ChatTemplate.IMAGE_TOKEN),
                    "write %s where a picture goes".formatted(ChatTemplate.IMAGE_PLACEHOLDER));
        }
        return new Encoded(
                text, new Prompt(tokens, pictures.isEmpty() ? null : Pixels.concat(pictures)));
    }
}
