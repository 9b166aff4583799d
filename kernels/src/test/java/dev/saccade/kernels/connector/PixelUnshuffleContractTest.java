package dev.saccade.kernels.connector;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Placed;
import dev.saccade.kernels.testing.Target;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Pixel unshuffle on every device, by its formula.
@Tag("device")
class PixelUnshuffleContractTest {

    static Stream<Arguments> sizes() {
        int[][] sizes = {{1, 2, 1}, {3, 4, 7}, {2, 6, 6}, {5, 8, 40}, {2, 32, 96}, {1, 2, 5000}};
        return Arrays.stream(Target.values())
                .flatMap(target ->
                        Arrays.stream(sizes)
                                .map(size -> Arguments.of(target, size[0], size[1], size[2])));
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void foldsAndUnfolds(Target target, int tiles, int grid, int width) {
        DType dtype = target.dtype();
        int tokens = 1 + grid * grid;
        int half = grid / 2;
        float[] x = Buffers.rounded(dtype, Buffers.normal(1, tiles * tokens * width, 1));
        float[] y = new float[tiles * grid * grid * width];
        float[] back = x.clone();
        for (int t = 0; t < tiles; t++) {
            Arrays.fill(back, t * tokens * width, (t * tokens + 1) * width, 0f);
            for (int row = 0; row < grid; row++) {
                for (int column = 0; column < grid; column++) {
                    int from = t * tokens + 1 + row * grid + column;
                    int folded = (t * half + row / 2) * half + column / 2;
                    int part = row % 2 * 2 + column % 2;
                    System.arraycopy(x, from * width, y, (folded * 4 + part) * width, width);
                }
            }
        }
        for (int shift : new int[] {0, 1, 2}) {
            try (Buffers buffers = target.open()) {
                PixelUnshuffle unshuffle = PixelUnshuffle.on(buffers.device());
                Span to = Placed.poison(buffers, dtype, shift, y.length);
                unshuffle.forward(tiles, grid, width, Placed.of(buffers, dtype, shift, x), to);
                assertThat(Placed.floats(buffers, to)).isEqualTo(y);
                Span dx = Placed.poison(buffers, dtype, shift, x.length);
                unshuffle.backward(tiles, grid, width, to, dx);
                assertThat(Placed.floats(buffers, dx)).isEqualTo(back);
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void wrongOperandsAreRefused(Target target) {
        try (Buffers buffers = target.open()) {
            PixelUnshuffle unshuffle = PixelUnshuffle.on(buffers.device());
            Span x = buffers.poison(target.dtype(), 4);
            assertThatThrownBy(() -> unshuffle.forward(1, 3, 1, x, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("a grid of side 3 is not even");
            assertThatThrownBy(() -> unshuffle.forward(1, 2, 1, x, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("x holds 4 elements, expected at least 5");
        }
    }
}
