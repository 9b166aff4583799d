package dev.saccade.model.image;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Base64;
import java.util.zip.CRC32;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

final class ImageLoaderTest {

    /// Small files written by Pillow 12.3.0, with the CRC-32 of the bytes that its `convert("RGB")`
    /// gives: grey, grey with alpha, palette, one bit, GIF.
    @ParameterizedTest
    @CsvSource({
        "1150567850,"
                + "iVBORw0KGgoAAAANSUhEUgAAAAkAAAAGCAAAAAA0rOsZAAAAR0lEQVR4nAE8AMP/ASswMDATmuMw2AGRHpYe"
                + "/R4tHvIEs+sLD0eh6OsLBBk/JQiSJSYaJQGmqfM/5z8051wBduBZEAGM0VsNg/EV3TM3t9YAAAAASUVORK5C"
                + "YII=",
        "1150567850,"
                + "iVBORw0KGgoAAAANSUhEUgAAAAkAAAAGCAQAAAC7znxOAAAAbUlEQVR4nAXBIQoCQQAAwFm4IByiYNKwbS0i"
                + "bLBf9A2i7/AVFg0Gm0Uw+xKbUTCccE2zrDNhVrIsGzl5yR7CvkRH0U80F31UN53awNLZW6dWjTWSnoNkaiIJ"
                + "l3L11Wg1FlobYVueVoaCnbu1vj/TWhnZikj0wwAAAABJRU5ErkJggg==",
        "2900992181,"
                + "iVBORw0KGgoAAAANSUhEUgAAAAkAAAAGCAMAAAAmGUT3AAAAolBMVEWo9d2i79ei6zS18S2l6S3A9Sqm4yCk"
                + "4R7k0CGb2ReY0w6YzQKQxfp8u/p/ya6Due94s+5stf5mm9Bco+pglco5lvNVjcVPicNMjc5QhbpCfbg5fcH+"
                + "M2jkPJTwJVrkJWYya6QyZ5wwdbowZZrpIVnaGVjLGQLUDUbMAzrMATYkaa4nYZsoXZIaXaAgVYoWV5gQTYoM"
                + "RX4COXAANWogEGUgDmE53iS0AAAARElEQVR4nGMwVhbhYZXTk9RhEOLXUFEQ52JmY9A0MpRiV5XX1WJQFBPg"
                + "1JcW5mNk4FY3kFASZOAwYZDR5mVhUjOVFQUArIIFmOZYJnUAAAAASUVORK5CYII=",
        "2531139870,"
                + "iVBORw0KGgoAAAANSUhEUgAAAAkAAAAGAQAAAAA5vIloAAAAGklEQVR4nGOwZGA8vpNBgoHFX5JhKgPTEwYA"
                + "ITsDugDHV9AAAAAASUVORK5CYII=",
        "2900992181,"
                + "R0lGODdhCQAGAIUAAKj13aLv16LrNLXxLaXpLcD1KqbjIKThHuTQIZvZF5jTDpjNApDF+ny7+n/JroO573iz"
                + "7my1/mab0Fyj6mCVyjmW81WNxU+Jw0yNzlCFukJ9uDl9wf4zaOQ8lPAlWuQlZjJrpDJnnDB1ujBlmukhWdoZ"
                + "WMsZAtQNRswDOswBNiRpridhmyhdkhpdoCBVihZXmBBNigxFfgI5cAA1aiAQZSAOYQAAAAAAAAAAAAAAAAAA"
                + "AAAAAAAAAAAAAAAAAAAAACwAAAAACQAGAAAIPwBnjKDAoIAHFxlYSHiAggSICwoGGEghI4aGAyU+tFARwgKE"
                + "BC82THAQYMEJGBhERACAgAaHFQ0ICDBRo0OFgAA7",
    })
    void samplesAreThoseOfTheFile(long crc, String base64) {
        RgbImage image = ImageLoader.decode(Base64.getDecoder().decode(base64), "test");
        assertThat(image.width()).isEqualTo(9);
        assertThat(image.height()).isEqualTo(6);
        CRC32 checksum = new CRC32();
        checksum.update(image.values());
        assertThat(checksum.getValue()).isEqualTo(crc);
    }

    @ParameterizedTest
    @ValueSource(strings = {"png", "bmp"})
    void coloursComeBack(String format) {
        RgbImage image = ImageLoader.decode(write(picture(BufferedImage.TYPE_INT_RGB), format), "");
        for (int y = 0; y < 40; y++) {
            for (int x = 0; x < 50; x++) {
                assertThat(image.rgb(x, y)).isEqualTo(colour(x, y));
            }
        }
    }

    @Test
    void transparencyIsLeftOut() {
        BufferedImage picture = picture(BufferedImage.TYPE_INT_ARGB);
        picture.setRGB(3, 4, 0x01123456);
        assertThat(ImageLoader.decode(write(picture, "png"), "").rgb(3, 4)).isEqualTo(0x123456);
    }

    @Test
    void sixteenBitsBecomeEight() {
        BufferedImage picture = new BufferedImage(2, 1, BufferedImage.TYPE_USHORT_GRAY);
        picture.getRaster().setPixel(0, 0, new int[] {0x12ff});
        picture.getRaster().setPixel(1, 0, new int[] {0xfedc});
        RgbImage image = ImageLoader.decode(write(picture, "png"), "");
        assertThat(image.rgb(0, 0)).isEqualTo(0x121212);
        assertThat(image.rgb(1, 0)).isEqualTo(0xfefefe);
    }

    @Test
    void jpegIsNear() {
        BufferedImage picture = new BufferedImage(50, 40, BufferedImage.TYPE_INT_RGB);
        for (int y = 0; y < 40; y++) {
            for (int x = 0; x < 50; x++) {
                picture.setRGB(x, y, 0x4060a0);
            }
        }
        int rgb = ImageLoader.decode(write(picture, "jpg"), "").rgb(25, 20);
        assertThat(Math.abs((rgb >> 16) - 0x40)).isLessThan(4);
        assertThat(Math.abs((rgb >> 8 & 0xff) - 0x60)).isLessThan(4);
        assertThat(Math.abs((rgb & 0xff) - 0xa0)).isLessThan(4);
    }

    @ParameterizedTest
    @ValueSource(strings = {"png", "jpg", "gif", "bmp"})
    void aFileCutOffAnywhereIsRefused(String format) {
        byte[] whole = write(picture(BufferedImage.TYPE_INT_RGB), format);
        // Formats end with a marker that carries no pixels; a file that lacks only that is whole.
        int longest = whole.length * 9 / 10;
        for (int length = 0; length < longest; length += Math.max(1, longest / 60)) {
            byte[] cut = Arrays.copyOf(whole, length);
            assertThatThrownBy(() -> ImageLoader.decode(cut, "cut." + format))
                    .as("%s, %d of %d bytes", format, length, whole.length)
                    .isInstanceOf(InputException.class)
                    .hasMessageStartingWith("cut." + format + ": ")
                    .hasMessageContaining("; ");
        }
    }

    @Test
    void aSizeBeyondTheLimitIsRefusedBeforeDecoding() {
        assertThatThrownBy(() -> ImageLoader.decode(pngOfSize(20_000, 20_000), "huge.png"))
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith("huge.png: has 20000x20000 pixels, more than 100 million");
        assertThatThrownBy(() -> ImageLoader.decode(pngOfSize(0, 5), "empty.png"))
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith("empty.png: ");
    }

    @Test
    void aFileThatIsNoPictureIsNamed(@TempDir Path folder) throws IOException {
        Path missing = folder.resolve("missing.png");
        assertThatThrownBy(() -> ImageLoader.read(missing))
                .isInstanceOf(InputException.class)
                .hasMessage(missing + ": does not exist; check the path");
        Path text = Files.writeString(folder.resolve("text.png"), "hello");
        assertThatThrownBy(() -> ImageLoader.read(text))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("text.png: is not a picture of a known format; use PNG");
        Path empty = Files.write(folder.resolve("empty.png"), new byte[0]);
        assertThatThrownBy(() -> ImageLoader.read(empty, "rows.jsonl: line 3: image empty.png"))
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith("rows.jsonl: line 3: image empty.png: is empty; ");
        assertThatThrownBy(() -> ImageLoader.read(folder))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("can't be read");
    }

    private static byte[] pngOfSize(int width, int height) {
        byte[] png = write(picture(BufferedImage.TYPE_INT_RGB), "png");
        for (int i = 0; i < 4; i++) {
            png[16 + i] = (byte) (width >> (24 - 8 * i));
            png[20 + i] = (byte) (height >> (24 - 8 * i));
        }
        CRC32 checksum = new CRC32();
        checksum.update(png, 12, 17);
        for (int i = 0; i < 4; i++) {
            png[29 + i] = (byte) (checksum.getValue() >> (24 - 8 * i));
        }
        return png;
    }

    private static int colour(int x, int y) {
        return (x * 5 & 0xff) << 16 | (y * 6 & 0xff) << 8 | (x * y & 0xff);
    }

    private static BufferedImage picture(int type) {
        BufferedImage picture = new BufferedImage(50, 40, type);
        for (int y = 0; y < 40; y++) {
            for (int x = 0; x < 50; x++) {
                picture.setRGB(x, y, 0xff000000 | colour(x, y));
            }
        }
        return picture;
    }

    private static byte[] write(BufferedImage picture, String format) {
        try {
            ByteArrayOutputStream file = new ByteArrayOutputStream();
            assertThat(ImageIO.write(picture, format, file)).isTrue();
            return file.toByteArray();
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }
}
