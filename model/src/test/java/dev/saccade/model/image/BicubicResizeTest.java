package dev.saccade.model.image;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.zip.CRC32;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class BicubicResizeTest {

    /// Halving four pixels: every output takes all four, the first at distances 1/4, 1/4, 3/4 and
    /// 5/4 of the widened filter, whose weights there are 111/128, 111/128, 29/128 and -9/128.
    @Test
    void halvingIsTheWeightedMeanByHand() {
        double sum = 111 + 111 + 29 - 9;
        long first = Math.round((0 * 111 + 100 * 111 + 200 * 29 - 50 * 9) / sum);
        long second = Math.round((0 * -9 + 100 * 29 + 200 * 111 + 50 * 111) / sum);
        assertThat(first).isEqualTo(68);
        assertThat(second).isEqualTo(127);
        assertThat(reds(BicubicResize.resize(grey(4, 1, 0, 100, 200, 50), 2, 1)))
                .containsExactly((int) first, (int) second);
    }

    /// Doubling: the output between pixels is at 1/4 of their distance. The first takes pixels 0, 1
    /// and 2 at distances 1/4, 3/4 and 7/4 (what lies outside is left out and the rest scaled up).
    @Test
    void doublingOvershootsAndIsClipped() {
        assertThat(reds(BicubicResize.resize(grey(4, 1, 0, 100, 200, 50), 8, 1)))
                .containsExactly(0, 17, 71, 131, 193, 174, 81, 37);
    }

    @Test
    void theDirectionsAreAlike() {
        RgbImage row = grey(4, 1, 9, 250, 3, 77);
        RgbImage column = grey(1, 4, 9, 250, 3, 77);
        for (int size : new int[] {1, 3, 4, 7, 19}) {
            assertThat(reds(BicubicResize.resize(column, 1, size)))
                    .isEqualTo(reds(BicubicResize.resize(row, size, 1)));
        }
    }

    @Test
    void aPlainPictureStaysPlain() {
        byte[] values = new byte[3 * 11 * 5];
        for (int i = 0; i < values.length; i++) {
            values[i] = (byte) new int[] {255, 128, 1}[i % 3];
        }
        RgbImage plain = new RgbImage(11, 5, values);
        for (int[] size : new int[][] {{1, 1}, {3, 2}, {11, 6}, {50, 40}}) {
            RgbImage resized = BicubicResize.resize(plain, size[0], size[1]);
            assertThat(resized.width()).isEqualTo(size[0]);
            assertThat(resized.height()).isEqualTo(size[1]);
            for (int y = 0; y < size[1]; y++) {
                for (int x = 0; x < size[0]; x++) {
                    assertThat(resized.rgb(x, y)).isEqualTo(0xff8001);
                }
            }
        }
    }

    @Test
    void theSameSizeIsTheSamePicture() {
        RgbImage picture = pattern(13, 7);
        assertThat(BicubicResize.resize(picture, 13, 7).values()).isEqualTo(picture.values());
    }

    /// CRC-32 of the bytes that Pillow 12.3.0 gives for `Image.resize(size, Image.BICUBIC)` of the
    /// same pattern.
    @ParameterizedTest
    @CsvSource({
        "13, 7, 28, 14, 1298920191",
        "13, 7, 5, 3, 1720191953",
        "13, 7, 13, 20, 2777052096",
        "13, 7, 4, 7, 3264273194",
        "640, 427, 448, 448, 4082444170",
        "100, 300, 1344, 448, 1367371258",
        "1, 1, 5, 4, 2267702672",
        "57, 1000, 56, 56, 3186224997",
    })
    void bytesAreThoseOfPillow(int width, int height, int toWidth, int toHeight, long crc) {
        RgbImage resized = BicubicResize.resize(pattern(width, height), toWidth, toHeight);
        CRC32 checksum = new CRC32();
        checksum.update(resized.values());
        assertThat(checksum.getValue()).isEqualTo(crc);
    }

    static RgbImage pattern(int width, int height) {
        byte[] values = new byte[3 * width * height];
        int i = 0;
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                for (int c = 0; c < 3; c++) {
                    values[i++] =
                            (byte)
                                    (x * 37
                                            + y * 91
                                            + c * 53
                                            + (x * y * (c + 3)) % 101
                                            + ((x ^ y) & 7) * 11);
                }
            }
        }
        return new RgbImage(width, height, values);
    }

    private static RgbImage grey(int width, int height, int... pixels) {
        byte[] values = new byte[3 * pixels.length];
        for (int i = 0; i < values.length; i++) {
            values[i] = (byte) pixels[i / 3];
        }
        return new RgbImage(width, height, values);
    }

    private static int[] reds(RgbImage image) {
        int[] reds = new int[image.width() * image.height()];
        Arrays.setAll(reds, i -> image.values()[3 * i] & 0xff);
        return reds;
    }
}
