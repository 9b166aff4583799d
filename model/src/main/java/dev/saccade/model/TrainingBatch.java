package dev.saccade.model;

import dev.saccade.model.image.Pixels;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Prompts with their completions, packed, and where the completions' tokens are predicted.
///
/// @param batch the packed sequences
/// @param pixels the tiles of the distinct prompts, each once; null without images
/// @param predictionRows for every completion token, sequence by sequence, the row whose hidden
///   state predicts it: the row before it
/// @param targets the completion tokens themselves
/// @param lengths each completion's tokens
public record TrainingBatch(
        PackedBatch batch,
        @Nullable Pixels pixels,
        int[] predictionRows,
        int[] targets,
        int[] lengths) {

    /// Packs prompts, each with its completion. Prompt objects that occur several times have their
    /// pixels in the batch once.
    public static TrainingBatch pack(
            VisionLanguageConfig config, List<Prompt> prompts, List<int[]> completions) {
        PackedBatch batch = PackedBatch.pack(config, prompts, completions);
        int[] lengths = completions.stream().mapToInt(c -> c.length).toArray();
        int total = 0;
        for (int length : lengths) {
            total += length;
        }
        int[] predictionRows = new int[total];
        int[] targets = new int[total];
        int next = 0;
        for (int s = 0; s < lengths.length; s++) {
            int first = batch.cumulative()[s] + prompts.get(s).tokens().length;
            for (int i = 0; i < lengths[s]; i++) {
                predictionRows[next] = first + i - 1;
                targets[next++] = completions.get(s)[i];
            }
        }
        return new TrainingBatch(
                batch,
                pixels(config, PackedBatch.distinct(prompts)),
                predictionRows,
                targets,
                lengths);
    }

    /// The tiles of prompts one behind the other; null when none has any.
    ///
    /// @throws IllegalArgumentException when a tile does not have the size that the vision tower
    ///   takes
    public static @Nullable Pixels pixels(VisionLanguageConfig config, List<Prompt> prompts) {
        List<Pixels> images = new ArrayList<>();
        for (Prompt prompt : prompts) {
            Pixels pixels = prompt.pixels();
            if (pixels != null) {
                VisionConfig vision = config.vision();
                long tileSize =
                        (long) vision.numChannels() * vision.imageSize() * vision.imageSize();
                if (pixels.values().length != pixels.tiles() * tileSize) {
                    throw new IllegalArgumentException(
                            "%d tiles of %d numbers each have %d"
                                    .formatted(pixels.tiles(), tileSize, pixels.values().length));
                }
                images.add(pixels);
            }
        }
        return images.isEmpty() ? null : Pixels.concat(images);
    }
}
