package dev.saccade.kernels.patch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.Span;
import dev.saccade.kernels.testing.Buffers;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The CPU's patch embedding: copies are exact, sums run in tile order.
class HostPatchTest {

    @ParameterizedTest
    @CsvSource({"1, 1, 2, 3, 1", "2, 3, 28, 14, 7", "3, 3, 32, 48, 16", "2, 3, 224, 224, 14"})
    void unfoldsInTheOrderOfAConvolutionWeight(
            int tiles, int channels, int height, int width, int patch) {
        float[] pixels = Buffers.normal(1, tiles * channels * height * width, 1);
        float[] expected = new float[pixels.length];
        int at = 0;
        for (int tile = 0; tile < tiles; tile++) {
            for (int row = 0; row < height / patch; row++) {
                for (int column = 0; column < width / patch; column++) {
                    for (int channel = 0; channel < channels; channel++) {
                        for (int y = 0; y < patch; y++) {
                            for (int x = 0; x < patch; x++) {
                                int line = (tile * channels + channel) * height + row * patch + y;
                                expected[at++] = pixels[line * width + column * patch + x];
                            }
                        }
                    }
                }
            }
        }
        for (int workers : new int[] {1, 2}) {
            try (Buffers buffers = new Buffers(workers)) {
                Span patches = buffers.poison(pixels.length);
                Patch.on(buffers.device())
                        .unfold(
                                tiles,
                                channels,
                                height,
                                width,
                                patch,
                                channels * patch * patch,
                                buffers.of(pixels),
                                patches);
                assertThat(buffers.floats(patches)).isEqualTo(expected);
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"1, 1, 1", "3, 4, 7", "2, 9, 33", "5, 64, 300"})
    void assemblesAndItsGradientAddsInTileOrder(int tiles, int patches, int width) {
        int rows = 1 + patches;
        float[] embedded = Buffers.normal(1, tiles * patches * width, 1);
        float[] cls = Buffers.normal(2, width, 1);
        float[] position = Buffers.normal(3, rows * width, 1);
        float[] dOut = Buffers.normal(4, tiles * rows * width, 1);
        float[] out = new float[dOut.length];
        float[] dEmbedded = new float[embedded.length];
        float[] dCls = cls.clone();
        float[] dPosition = position.clone();
        for (int tile = 0; tile < tiles; tile++) {
            for (int row = 0; row < rows; row++) {
                for (int i = 0; i < width; i++) {
                    int at = (tile * rows + row) * width + i;
                    int from = (tile * patches + row - 1) * width + i;
                    out[at] = (row == 0 ? cls[i] : embedded[from]) + position[row * width + i];
                    dPosition[row * width + i] += dOut[at];
                    if (row == 0) {
                        dCls[i] += dOut[at];
                    } else {
                        dEmbedded[from] = dOut[at];
                    }
                }
            }
        }
        for (int workers : new int[] {1, 2}) {
            try (Buffers buffers = new Buffers(workers)) {
                Patch patch = Patch.on(buffers.device());
                Span positions = buffers.of(position);
                Span token = buffers.of(cls);
                Span result = buffers.poison(out.length);
                patch.assemble(
                        tiles, patches, width, buffers.of(embedded), token, positions, result);
                assertThat(buffers.floats(result)).isEqualTo(out);
                Span gradient = buffers.poison(embedded.length);
                Span upstream = buffers.of(dOut);
                patch.assembleBackward(tiles, patches, width, upstream, gradient, token, positions);
                assertThat(buffers.floats(gradient)).isEqualTo(dEmbedded);
                assertThat(buffers.floats(token)).isEqualTo(dCls);
                assertThat(buffers.floats(positions)).isEqualTo(dPosition);
                patch.assembleBackward(tiles, patches, width, upstream, null, null, null);
                assertThat(buffers.floats(token)).isEqualTo(dCls);
            }
        }
    }

    @Test
    void imagesThatDoNotDivideAreRefused() {
        try (Buffers buffers = new Buffers(1)) {
            Span pixels = buffers.poison(30);
            assertThatThrownBy(() ->
                            Patch.on(buffers.device()).unfold(1, 1, 5, 6, 2, 4, pixels, pixels))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("an image of 5 x 6 does not divide into patches of 2");
        }
    }
}
