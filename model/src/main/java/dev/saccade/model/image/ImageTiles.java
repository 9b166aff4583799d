package dev.saccade.model.image;

/// Cuts a picture into square tiles as InternVL does: the grid of at most `maxTiles` tiles whose
/// shape is nearest to the picture's is chosen, the picture is resized to fill it, cut row by row,
/// and a small copy of the whole picture comes last where there is more than one tile. Pixels are
/// normalised with ImageNet's mean and standard deviation.
public final class ImageTiles {
    private static final float[] MEAN = {0.485f, 0.456f, 0.406f};
    private static final float[] STANDARD_DEVIATION = {0.229f, 0.224f, 0.225f};

    /// [colour][value 0..255]
    private static final float[][] NORMALIZED = new float[3][256];

    static {
        for (int colour = 0; colour < 3; colour++) {
            for (int value = 0; value < 256; value++) {
                NORMALIZED[colour][value] =
                        (value / 255f - MEAN[colour]) / STANDARD_DEVIATION[colour];
            }
        }
    }

    private ImageTiles() {}

    /// How a picture is cut.
    ///
    /// @param columns tiles side by side
    /// @param rows tiles one above the other
    public record Grid(int columns, int rows) {
        /// How many tiles.
        public int tiles() {
            return columns * rows;
        }
    }

    /// The grid for a picture: of all with at most `maxTiles` tiles, from few tiles to many, the
    /// one whose ratio of width to height is nearest to the picture's; an equally near one with
    /// more tiles only if the picture has more than half the pixels of that grid.
    public static Grid grid(int width, int height, int tileSize, int maxTiles) {
        if (width < 1 || height < 1 || tileSize < 1 || maxTiles < 1) {
            throw new IllegalArgumentException(
                    "a picture of %dx%d in at most %d tiles of %d"
                            .formatted(width, height, maxTiles, tileSize));
        }
        double ratio = (double) width / height;
        double area = (double) width * height;
        Grid best = new Grid(1, 1);
        double nearest = Double.POSITIVE_INFINITY;
        for (int tiles = 1; tiles <= maxTiles; tiles++) {
            for (int columns = 1; columns <= tiles; columns++) {
                if (tiles % columns != 0) {
                    continue;
                }
                Grid grid = new Grid(columns, tiles / columns);
                double difference = Math.abs(ratio - (double) columns / grid.rows());
                if (difference < nearest
                        || (difference == nearest
                                && area > 0.5 * tileSize * tileSize * grid.tiles())) {
                    nearest = difference;
                    best = grid;
                }
            }
        }
        return best;
    }

    /// The tiles of a picture.
    ///
    /// @param tileSize the width and height of a tile, what the vision encoder takes
    /// @param maxTiles at most so many tiles, the thumbnail not counted
    /// @param thumbnail add the whole picture as the last tile where there is more than one
    public static Pixels prepare(RgbImage image, int tileSize, int maxTiles, boolean thumbnail) {
        Grid grid = grid(image.width(), image.height(), tileSize, maxTiles);
        boolean withThumbnail = thumbnail && grid.tiles() > 1;
        int tiles = grid.tiles() + (withThumbnail ? 1 : 0);
        float[] values = new float[Math.multiplyExact(tiles, 3 * tileSize * tileSize)];
        RgbImage filled =
                BicubicResize.resize(image, tileSize * grid.columns(), tileSize * grid.rows());
        int tile = 0;
        for (int row = 0; row < grid.rows(); row++) {
            for (int column = 0; column < grid.columns(); column++) {
                normalize(filled, column * tileSize, row * tileSize, tileSize, values, tile++);
            }
        }
        if (withThumbnail) {
            RgbImage small = BicubicResize.resize(image, tileSize, tileSize);
            normalize(small, 0, 0, tileSize, values, tile);
        }
        return new Pixels(values, tiles);
    }

    private static void normalize(
            RgbImage image, int left, int top, int size, float[] values, int tile) {
        byte[] in = image.values();
        for (int colour = 0; colour < 3; colour++) {
            int target = (tile * 3 + colour) * size * size;
            for (int y = 0; y < size; y++) {
                int source = 3 * ((top + y) * image.width() + left) + colour;
                for (int x = 0; x < size; x++) {
                    values[target++] = NORMALIZED[colour][in[source] & 0xff];
                    source += 3;
                }
            }
        }
    }
}
