package dev.saccade.kernels.connector;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.Span;
import dev.saccade.kernels.testing.Buffers;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The CPU's pixel unshuffle against its formula.
class HostPixelUnshuffleTest {

    @ParameterizedTest
    @CsvSource({"1, 2, 1", "2, 4, 3", "3, 6, 17", "4, 16, 96"})
    void movesByTheFormula(int tiles, int grid, int width) {
        int half = grid / 2;
        int patches = grid * grid;
        float[] x = Buffers.normal(1, tiles * (1 + patches) * width, 1);
        float[] y = new float[tiles * patches * width];
        float[] back = new float[x.length];
        for (int t = 0; t < tiles; t++) {
            for (int r = 0; r < half; r++) {
                for (int k = 0; k < half; k++) {
                    for (int corner = 0; corner < 4; corner++) {
                        for (int c = 0; c < width; c++) {
                            int patch = (2 * r + corner / 2) * grid + 2 * k + corner % 2;
                            int from = (t * (1 + patches) + 1 + patch) * width + c;
                            int folded = (t * half + r) * half + k;
                            y[folded * 4 * width + corner * width + c] = x[from];
                            back[from] = x[from];
                        }
                    }
                }
            }
        }
        for (int workers : new int[] {1, 2}) {
            try (Buffers buffers = new Buffers(workers)) {
                PixelUnshuffle unshuffle = PixelUnshuffle.on(buffers.device());
                Span folded = buffers.poison(y.length);
                unshuffle.forward(tiles, grid, width, buffers.of(x), folded);
                assertThat(buffers.floats(folded)).isEqualTo(y);
                Span dx = buffers.poison(x.length);
                unshuffle.backward(tiles, grid, width, folded, dx);
                assertThat(buffers.floats(dx)).isEqualTo(back);
            }
        }
    }

    @Test
    void anOddGridIsRefused() {
        try (Buffers buffers = new Buffers(1)) {
            Span x = buffers.poison(10);
            assertThatThrownBy(() -> PixelUnshuffle.on(buffers.device()).forward(1, 3, 1, x, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("a grid of side 3 is not even");
        }
    }
}
