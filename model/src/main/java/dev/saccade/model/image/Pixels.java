package dev.saccade.model.image;

import java.util.List;

/// Normalised pixels, ready for the vision encoder.
///
/// @param values [tiles, 3, size, size], row-major; colours in the order red, green, blue
/// @param tiles how many tiles
@SuppressWarnings("ArrayRecordComponent") // read as it is, never compared
public record Pixels(float[] values, int tiles) {
    public Pixels {
        if (tiles < 1 || values.length % (3 * tiles) != 0) {
            throw new IllegalArgumentException(
                    "%d values for %d tiles".formatted(values.length, tiles));
        }
    }

    /// The width and height of a tile.
    public int size() {
        return (int) StrictMath.sqrt(values.length / (3.0 * tiles));
    }

    /// The tiles of several images, one after the other. They must have one size.
    public static Pixels concat(List<Pixels> images) {
        if (images.size() == 1) {
            return images.getFirst();
        }
        int tiles = 0;
        int length = 0;
        for (Pixels image : images) {
            if (image.size() != images.getFirst().size()) {
                throw new IllegalArgumentException(
                        "tiles of %d and %d pixels"
                                .formatted(images.getFirst().size(), image.size()));
            }
            tiles += image.tiles;
            length += image.values.length;
        }
        float[] values = new float[length];
        int offset = 0;
        for (Pixels image : images) {
            System.arraycopy(image.values, 0, values, offset, image.values.length);
            offset += image.values.length;
        }
        return new Pixels(values, tiles);
    }
}
