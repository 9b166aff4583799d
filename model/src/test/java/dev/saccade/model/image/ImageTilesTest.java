package dev.saccade.model.image;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class ImageTilesTest {

    @ParameterizedTest
    @CsvSource({
        // width, height, max tiles, columns, rows
        "448, 448, 12, 1, 1",
        "800, 400, 12, 2, 1", // 2:1 exactly; 4x2 would need more than 4 * 448^2 pixels
        "1920, 960, 12, 4, 2", // it has them
        "400, 800, 12, 1, 2",
        "1000, 750, 12, 4, 3", // 4:3
        "640, 427, 12, 3, 2", // nearest to 1.499
        "1000, 10, 12, 12, 1", // nothing wider than twelve to one
        "10, 1000, 12, 1, 12",
        "1000, 10, 6, 6, 1",
        "5000, 5000, 12, 3, 3", // more than half of 9 * 448^2
        "600, 600, 12, 1, 1", // 2x2 needs more than 2 * 448^2 = 401408 pixels, this has 360000
        "634, 634, 12, 2, 2", // 401956
        "633, 633, 12, 1, 1", // 400689
        "1000, 750, 1, 1, 1",
    })
    void theGridNearestInShapeIsTaken(int width, int height, int maxTiles, int columns, int rows) {
        assertThat(ImageTiles.grid(width, height, 448, maxTiles))
                .isEqualTo(new ImageTiles.Grid(columns, rows));
    }

    @Test
    void aLargePictureInAGridsShapeGetsAGridOfThatShape() {
        for (int columns = 1; columns <= 12; columns++) {
            for (int rows = 1; columns * rows <= 12; rows++) {
                ImageTiles.Grid grid = ImageTiles.grid(columns * 4480, rows * 4480, 448, 12);
                assertThat(grid.columns() * rows).isEqualTo(grid.rows() * columns);
                assertThat(grid.tiles()).isBetween(columns * rows, 12);
            }
        }
    }

    @Test
    void tilesAreCutRowByRowAndTheThumbnailComesLast() {
        // 2x2 tiles of 2x2 pixels, each tile of one grey.
        byte[] values = new byte[3 * 16];
        for (int y = 0; y < 4; y++) {
            for (int x = 0; x < 4; x++) {
                for (int c = 0; c < 3; c++) {
                    values[3 * (4 * y + x) + c] = (byte) (50 * (1 + x / 2 + 2 * (y / 2)));
                }
            }
        }
        RgbImage image = new RgbImage(4, 4, values);
        Pixels pixels = ImageTiles.prepare(image, 2, 12, true);
        assertThat(pixels.tiles()).isEqualTo(5);
        assertThat(pixels.size()).isEqualTo(2);
        assertThat(pixels.values()).hasSize(5 * 3 * 4);
        for (int tile = 0; tile < 4; tile++) {
            for (int i = 0; i < 4; i++) {
                assertThat(pixels.values()[tile * 12 + i])
                        .isEqualTo((50 * (tile + 1) / 255f - 0.485f) / 0.229f);
                assertThat(pixels.values()[tile * 12 + 8 + i])
                        .isEqualTo((50 * (tile + 1) / 255f - 0.406f) / 0.225f);
            }
        }
        float[] thumbnail =
                ImageTiles.prepare(BicubicResize.resize(image, 2, 2), 2, 1, true).values();
        assertThat(Arrays.copyOfRange(pixels.values(), 48, 60)).isEqualTo(thumbnail);
        assertThat(ImageTiles.prepare(image, 2, 12, false).tiles()).isEqualTo(4);
        assertThat(ImageTiles.prepare(image, 2, 1, true).tiles()).isEqualTo(1);
    }

    @Test
    void valuesAreNormalizedByColour() {
        Pixels pixels =
                ImageTiles.prepare(
                        new RgbImage(1, 1, new byte[] {0, (byte) 255, (byte) 128}), 1, 1, true);
        assertThat(pixels.values()[0]).isCloseTo(-2.117904f, within(1e-6f));
        assertThat(pixels.values()[1]).isCloseTo(2.428571f, within(1e-6f));
        assertThat(pixels.values()[2]).isCloseTo(0.426492f, within(1e-6f));
    }

    @Test
    void severalPicturesFollowEachOther() {
        Pixels one = new Pixels(new float[] {1, 2, 3}, 1);
        Pixels two = new Pixels(new float[] {4, 5, 6, 7, 8, 9}, 2);
        Pixels both = Pixels.concat(List.of(one, two));
        assertThat(both.tiles()).isEqualTo(3);
        assertThat(both.values()).containsExactly(1, 2, 3, 4, 5, 6, 7, 8, 9);
        Pixels larger = new Pixels(new float[12], 1);
        assertThatIllegalArgumentException().isThrownBy(() -> Pixels.concat(List.of(one, larger)));
    }
}
