package dev.saccade.model.image;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.engine.InputException;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Objects;
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
                + "ITsDugHDV9AAAAAASUVORK5CYII=",
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

    /// As Pillow has it: grey of 16 bits keeps its value up to 255.
    @Test
    void greyOfSixteenBitsIsCutOff() {
        BufferedImage picture = new BufferedImage(2, 1, BufferedImage.TYPE_USHORT_GRAY);
        picture.getRaster().setPixel(0, 0, new int[] {0x12});
        picture.getRaster().setPixel(1, 0, new int[] {0x0102});
        RgbImage image = ImageLoader.decode(write(picture, "png"), "");
        assertThat(image.rgb(0, 0)).isEqualTo(0x121212);
        assertThat(image.rgb(1, 0)).isEqualTo(0xffffff);
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
    void aFileThatCannotHoldItsPictureIsRefusedBeforeDecoding() {
        for (String format : List.of("png", "jpg", "gif", "bmp", "webp")) {
            assertThatThrownBy(() -> ImageLoader.decode(ofSize(format, 9000, 9000), "huge"))
                    .as(format)
                    .isInstanceOf(InputException.class)
                    .hasMessageStartingWith("huge: is damaged or cut off (")
                    .hasMessageEndingWith("; fetch or make the file again");
            assertThatThrownBy(() -> ImageLoader.decode(ofSize(format, 0, 5), "empty"))
                    .as(format)
                    .isInstanceOf(InputException.class)
                    .hasMessageStartingWith("empty: ");
        }
    }

    @Test
    void aDamagedLossyWebPIsRefused() {
        byte[] whole = golden("lossy-parts.webp");
        int frame = 20;
        ByteBuffer header = ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN);
        int firstPart = (header.getInt(frame) & 0xff_ffff) >> 5;
        int parts = frame + 10 + firstPart;

        byte[] cut = Arrays.copyOf(whole, whole.length - 60);
        ByteBuffer.wrap(cut)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putInt(4, cut.length - 8)
                .putInt(16, cut.length - frame);
        refusesLossy(cut, "the frame ends in row ");
        refusesLossy(changed(whole, parts, 0xff_ffff), "a part of the coefficients is missing");
        refusesLossy(
                changed(whole, frame, header.getInt(frame) | 0xff_ffe0),
                "a first part beyond the frame's end");
        refusesLossy(
                changed(whole, frame, header.getInt(frame) & ~0x10),
                "a frame of an unknown kind or not to be shown");
        refusesLossy(
                changed(whole, frame + 6, 9000 << 16 | 9000), "bytes can't hold 9000x9000 pixels");
    }

    private static byte[] changed(byte[] file, int at, int value) {
        byte[] result = file.clone();
        ByteBuffer bytes = ByteBuffer.wrap(result).order(ByteOrder.LITTLE_ENDIAN);
        bytes.putInt(at, value);
        return result;
    }

    private static void refusesLossy(byte[] file, String why) {
        assertThatThrownBy(() -> ImageLoader.decode(file, "lossy.webp"))
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith("lossy.webp: is damaged or cut off (")
                .hasMessageContaining(why)
                .hasMessageEndingWith("; fetch or make the file again");
    }

    @Test
    void aSizeBeyondTheLimitIsRefusedBeforeDecoding() {
        byte[] png = write(picture(BufferedImage.TYPE_INT_RGB), "png");
        assertThat(ImageLoader.decode(png, "", 2000).width()).isEqualTo(50);
        assertThatThrownBy(() -> ImageLoader.decode(png, "large.png", 1999))
                .isInstanceOf(InputException.class)
                .hasMessage(
                        "large.png: has 50x40 pixels, more than 1999; scale it down, or allow more"
                                + " with SACCADE_JVM=-Dsaccade.maxPixels=2000");
        byte[] plain = plainPng(20_000, 5_001);
        assertThatThrownBy(() -> ImageLoader.decode(plain, "bomb.png"))
                .isInstanceOf(InputException.class)
                .hasMessageStartingWith("bomb.png: has 20000x5001 pixels, more than 100 million; ");
        byte[] narrow = plainPng(1, 200_000);
        assertThatThrownBy(() -> ImageLoader.decode(narrow, "narrow.png"))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("more than can be cut into tiles");
    }

    @Test
    void aJpegOfCountlessScansIsRefused() {
        byte[] whole = golden("progressive.jpg");
        int scan = 0;
        while (whole[scan] != (byte) 0xff || whole[scan + 1] != (byte) 0xda) {
            scan++;
        }
        ByteArrayOutputStream many = new ByteArrayOutputStream();
        many.write(whole, 0, whole.length - 2);
        for (int i = 0; i < 200; i++) {
            many.write(whole, scan, 20);
        }
        many.write(whole, whole.length - 2, 2);
        assertThatThrownBy(() -> ImageLoader.decode(many.toByteArray(), "scans.jpg"))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("scans, more than 100");
    }

    /// Each would overflow the stack of a reader that calls itself.
    @Test
    void aMegabyteOfMarkersOrNestedFramesIsRefused() {
        byte[] jpegBytes = new byte[1 << 20];
        ByteBuffer jpeg = ByteBuffer.wrap(jpegBytes);
        while (jpeg.hasRemaining()) {
            jpeg.putShort((short) (jpeg.position() == 0 ? 0xffd8 : 0xff00));
        }
        jpeg.put(2, (byte) 0xff).put(3, (byte) 0xff);
        byte[] webpBytes = new byte[1 << 20];
        ByteBuffer webp = ByteBuffer.wrap(webpBytes).order(ByteOrder.LITTLE_ENDIAN);
        webp.put("RIFF".getBytes(StandardCharsets.US_ASCII)).putInt(webp.capacity() - 8);
        webp.put("WEBP".getBytes(StandardCharsets.US_ASCII));
        while (webp.remaining() >= 24) {
            webp.put("ANMF".getBytes(StandardCharsets.US_ASCII)).putInt(webp.remaining() - 4);
            webp.position(webp.position() + 16);
        }
        for (byte[] file : List.of(jpegBytes, webpBytes)) {
            assertThatThrownBy(() -> ImageLoader.decode(file, "deep"))
                    .isInstanceOf(InputException.class)
                    .hasMessageStartingWith("deep: is damaged or cut off (");
        }
    }

    @Test
    void aFlippedBitInAPngIsFound() {
        byte[] png = write(picture(BufferedImage.TYPE_INT_RGB), "png");
        png[png.length / 2] ^= 4;
        assertThatThrownBy(() -> ImageLoader.decode(png, "flipped.png"))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("a chunk's checksum is not that of its bytes");
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

    /// A small file whose header says another size.
    private static byte[] ofSize(String format, int width, int height) {
        byte[] file =
                format.equals("webp")
                        ? golden("animated.webp")
                        : write(picture(BufferedImage.TYPE_INT_RGB), format);
        ByteBuffer header = ByteBuffer.wrap(file);
        switch (format) {
            case "png" -> {
                header.putInt(16, width).putInt(20, height);
                CRC32 checksum = new CRC32();
                checksum.update(file, 12, 17);
                header.putInt(29, (int) checksum.getValue());
            }
            case "jpg" -> {
                int frame = 2;
                while (file[frame + 1] != (byte) 0xc0) {
                    frame += 2 + header.getShort(frame + 2);
                }
                header.putShort(frame + 5, (short) height).putShort(frame + 7, (short) width);
            }
            case "gif" -> {
                int frame = 13 + (3 << ((file[10] & 7) + 1));
                while (file[frame] != 0x2c) {
                    frame++;
                }
                header.order(ByteOrder.LITTLE_ENDIAN)
                        .putShort(frame + 5, (short) width)
                        .putShort(frame + 7, (short) height);
            }
            case "bmp" ->
                    header.order(ByteOrder.LITTLE_ENDIAN).putInt(18, width).putInt(22, height);
            case "webp" -> // the canvas: the frame does not fit, or there is nothing around it
                    header.order(ByteOrder.LITTLE_ENDIAN).putInt(24, 4).putInt(20, 2);
            default -> throw new IllegalArgumentException(format);
        }
        return file;
    }

    /// A PNG of one colour as it compresses best.
    private static byte[] plainPng(int width, int height) {
        return write(new BufferedImage(width, height, BufferedImage.TYPE_BYTE_BINARY), "png");
    }

    private static byte[] golden(String name) {
        try (InputStream file = ImageLoaderTest.class.getResourceAsStream("/images/" + name)) {
            return Objects.requireNonNull(file, name).readAllBytes();
        } catch (IOException e) {
            throw new AssertionError(e);
        }
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
