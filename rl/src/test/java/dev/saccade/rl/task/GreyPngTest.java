package dev.saccade.rl.task;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.model.image.ImageLoader;
import dev.saccade.model.image.RgbImage;
import java.util.Random;
import org.junit.jupiter.api.Test;

final class GreyPngTest {
    @Test
    void whatIsWrittenIsRead() {
        for (int[] size : new int[][] {{56, 56}, {1, 1}, {13, 7}, {300, 260}}) {
            byte[] pixels = new byte[size[0] * size[1]];
            new Random(5).nextBytes(pixels);
            RgbImage image =
                    ImageLoader.decode(GreyPng.encode(size[0], size[1], pixels), "picture");
            assertThat(image.width()).isEqualTo(size[0]);
            assertThat(image.height()).isEqualTo(size[1]);
            for (int i = 0; i < pixels.length; i++) {
                int grey = pixels[i] & 0xff;
                assertThat(image.rgb(i % size[0], i / size[0])).isEqualTo(grey * 0x010101);
            }
        }
    }
}
