package dev.saccade.model.image;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Objects;
import java.util.zip.CRC32;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Pictures and what Pillow makes of them, written by `src/test/python/make_images.py`.
final class ImageGoldenTest {

    static List<String> goldens() {
        return lines("goldens.csv");
    }

    @ParameterizedTest
    @MethodSource("goldens")
    void pixelsAreThoseOfPillow(String line) {
        String[] golden = line.split(",", -1);
        RgbImage image = ImageLoader.decode(bytes(golden[0]), golden[0]);
        assertThat(image.width()).isEqualTo(Integer.parseInt(golden[1]));
        assertThat(image.height()).isEqualTo(Integer.parseInt(golden[2]));
        assertThat(checksum(image.values())).isEqualTo(Long.parseLong(golden[3]));
    }

    static List<String> tiles() {
        return lines("tiles.csv");
    }

    @ParameterizedTest
    @MethodSource("tiles")
    void normalisedTilesAreThoseOfPillowAndNumPy(String line) {
        String[] golden = line.split(",", -1);
        RgbImage image =
                BicubicResizeTest.pattern(Integer.parseInt(golden[0]), Integer.parseInt(golden[1]));
        int size = Integer.parseInt(golden[2]);
        int most = Integer.parseInt(golden[3]);
        assertThat(ImageTiles.grid(image.width(), image.height(), size, most))
                .isEqualTo(
                        new ImageTiles.Grid(
                                Integer.parseInt(golden[5]), Integer.parseInt(golden[6])));
        Pixels pixels = ImageTiles.prepare(image, size, most, Boolean.parseBoolean(golden[4]));
        ByteBuffer bytes =
                ByteBuffer.allocate(pixels.values().length * Float.BYTES)
                        .order(ByteOrder.LITTLE_ENDIAN);
        bytes.asFloatBuffer().put(pixels.values());
        assertThat(checksum(bytes.array())).isEqualTo(Long.parseLong(golden[7]));
    }

    private static long checksum(byte[] bytes) {
        CRC32 checksum = new CRC32();
        checksum.update(bytes);
        return checksum.getValue();
    }

    private static List<String> lines(String name) {
        return new String(bytes(name), StandardCharsets.UTF_8)
                .lines()
                .filter(line -> !line.startsWith("#"))
                .toList();
    }

    private static byte[] bytes(String name) {
        try (InputStream file = ImageGoldenTest.class.getResourceAsStream("/images/" + name)) {
            return Objects.requireNonNull(file, name).readAllBytes();
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }
}
