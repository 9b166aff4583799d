package dev.saccade.kernels.patch;

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

/// The patch embedding on every device: copies round once, sums are one F32 chain in tile order, so
/// there is only one right answer.
@Tag("device")
class PatchContractTest {

    private static Stream<Arguments> cases(int[][] sizes) {
        return Arrays.stream(Target.values())
                .flatMap(target -> Arrays.stream(sizes).map(size -> Arguments.of(target, size)));
    }

    static Stream<Arguments> images() {
        return cases(
                new int[][] {
                    {1, 1, 2, 3, 1}, {2, 3, 28, 14, 7}, {3, 3, 32, 48, 16}, {2, 3, 224, 224, 14}
                });
    }

    @ParameterizedTest
    @MethodSource("images")
    void unfoldsInTheOrderOfAConvolutionWeight(Target target, int[] size) {
        int tiles = size[0];
        int channels = size[1];
        int height = size[2];
        int width = size[3];
        int patch = size[4];
        float[] pixels = Buffers.normal(1, tiles * channels * height * width, 1);
        for (int pad : new int[] {0, 1, 20}) {
            unfold(target, tiles, channels, height, width, patch, pixels, pad);
        }
    }

    private static void unfold(
            Target target,
            int tiles,
            int channels,
            int height,
            int width,
            int patch,
            float[] pixels,
            int pad) {
        int elements = channels * patch * patch;
        float[] expected = new float[pixels.length / elements * (elements + pad)];
        int at = 0;
        for (int tile = 0; tile < tiles; tile++) {
            for (int row = 0; row < height / patch; row++) {
                for (int column = 0; column < width / patch; column++) {
                    for (int channel = 0; channel < channels; channel++) {
                        for (int y = 0; y < patch; y++) {
                            for (int x = 0; x < patch; x++) {
                                int line = (tile * channels + channel) * height + row * patch + y;
                                expected[at++] =
                                        Buffers.rounded(
                                                target.dtype(),
                                                pixels[line * width + column * patch + x]);
                            }
                        }
                    }
                    at += pad;
                }
            }
        }
        try (Buffers buffers = target.open()) {
            Span patches = Placed.poison(buffers, target.dtype(), 1, expected.length);
            Span from = Placed.of(buffers, DType.F32, 1, pixels);
            Patch.on(buffers.device())
                    .unfold(tiles, channels, height, width, patch, elements + pad, from, patches);
            assertThat(Placed.floats(buffers, patches)).isEqualTo(expected);
        }
    }

    static Stream<Arguments> matrices() {
        return cases(
                new int[][] {
                    {1, 1, 1},
                    {1, 1, 9},
                    {3, 9, 1},
                    {5, 20, 33},
                    {5, 33, 20},
                    {70, 588, 592},
                    {70, 592, 588},
                    {300, 300, 301},
                    {3, 7, 0}
                });
    }

    @ParameterizedTest
    @MethodSource("matrices")
    void fitsRowsToAnotherWidth(Target target, int[] size) {
        int rows = size[0];
        int fromWidth = size[1];
        int toWidth = size[2];
        DType dtype = target.dtype();
        float[] values = Buffers.rounded(dtype, Buffers.normal(1, rows * fromWidth, 1));
        float[] expected = new float[rows * toWidth];
        for (int row = 0; row < rows; row++) {
            int width = Math.min(fromWidth, toWidth);
            System.arraycopy(values, row * fromWidth, expected, row * toWidth, width);
        }
        for (int shift : new int[] {0, 1}) {
            try (Buffers buffers = target.open()) {
                Span to = Placed.poison(buffers, dtype, shift, expected.length);
                Patch.on(buffers.device())
                        .fit(
                                rows,
                                fromWidth,
                                toWidth,
                                Placed.of(buffers, dtype, shift, values),
                                to);
                assertThat(Placed.floats(buffers, to)).isEqualTo(expected);
            }
        }
    }

    static Stream<Arguments> towers() {
        return cases(new int[][] {{1, 1, 1}, {3, 4, 7}, {2, 9, 40}, {5, 64, 304}, {13, 4, 2056}});
    }

    @ParameterizedTest
    @MethodSource("towers")
    void assemblesAndItsGradientAddsInTileOrder(Target target, int[] size) {
        int tiles = size[0];
        int patches = size[1];
        int width = size[2];
        int rows = 1 + patches;
        DType dtype = target.dtype();
        float[] embedded = Buffers.rounded(dtype, Buffers.normal(1, tiles * patches * width, 1));
        float[] cls = Buffers.rounded(dtype, Buffers.normal(2, width, 1));
        float[] position = Buffers.rounded(dtype, Buffers.normal(3, rows * width, 1));
        float[] dOut = Buffers.rounded(dtype, Buffers.normal(4, tiles * rows * width, 1));
        float[] out = new float[dOut.length];
        float[] dEmbedded = new float[embedded.length];
        float[] dCls = new float[width];
        float[] dPosition = new float[position.length];
        Arrays.fill(dCls, 0.5f);
        Arrays.fill(dPosition, 0.25f);
        for (int tile = 0; tile < tiles; tile++) {
            for (int row = 0; row < rows; row++) {
                for (int i = 0; i < width; i++) {
                    int at = (tile * rows + row) * width + i;
                    int patch = (tile * patches + row - 1) * width + i;
                    float token = row == 0 ? cls[i] : embedded[patch];
                    out[at] = Buffers.rounded(dtype, token + position[row * width + i]);
                    dPosition[row * width + i] += dOut[at];
                    if (row == 0) {
                        dCls[i] += dOut[at];
                    } else {
                        dEmbedded[patch] = dOut[at];
                    }
                }
            }
        }
        for (int shift : new int[] {0, 1}) {
            try (Buffers buffers = target.open()) {
                Patch patch = Patch.on(buffers.device());
                Span result = Placed.poison(buffers, dtype, shift, out.length);
                patch.assemble(
                        tiles,
                        patches,
                        width,
                        Placed.of(buffers, dtype, shift, embedded),
                        Placed.of(buffers, dtype, shift, cls),
                        Placed.of(buffers, dtype, shift, position),
                        result);
                assertThat(Placed.floats(buffers, result)).isEqualTo(out);
                Span upstream = Placed.of(buffers, dtype, shift, dOut);
                Span toEmbedded = Placed.poison(buffers, dtype, shift, embedded.length);
                float[] before = new float[width];
                Arrays.fill(before, 0.5f);
                Span toCls = Placed.of(buffers, DType.F32, shift, before);
                float[] positions = new float[position.length];
                Arrays.fill(positions, 0.25f);
                Span toPosition = Placed.of(buffers, DType.F32, shift, positions);
                patch.assembleBackward(
                        tiles, patches, width, upstream, toEmbedded, toCls, toPosition);
                assertThat(Placed.floats(buffers, toEmbedded)).isEqualTo(dEmbedded);
                assertThat(buffers.floats(toCls)).isEqualTo(dCls);
                assertThat(buffers.floats(toPosition)).isEqualTo(dPosition);
                // Each alone.
                Span clsAlone = buffers.of(before);
                patch.assembleBackward(tiles, patches, width, upstream, null, clsAlone, null);
                assertThat(buffers.floats(clsAlone)).isEqualTo(dCls);
                Span positionAlone = buffers.of(positions);
                patch.assembleBackward(tiles, patches, width, upstream, null, null, positionAlone);
                assertThat(buffers.floats(positionAlone)).isEqualTo(dPosition);
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void wrongOperandsAreRefused(Target target) {
        try (Buffers buffers = target.open()) {
            Patch patch = Patch.on(buffers.device());
            Span pixels = buffers.of(new float[16]);
            Span patches = buffers.poison(target.dtype(), 16);
            assertThatThrownBy(() -> patch.unfold(1, 1, 4, 4, 3, 9, pixels, patches))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("an image of 4 x 4 does not divide into patches of 3");
            assertThatThrownBy(() -> patch.unfold(2, 1, 4, 4, 2, 4, pixels, patches))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("pixels holds 16 elements, expected at least 32");
            assertThatThrownBy(() -> patch.unfold(1, 1, 4, 4, 2, 5, pixels, patches))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("patches holds 16 elements, expected at least 20");
            assertThatThrownBy(() -> patch.unfold(1, 1, 4, 4, 2, 3, pixels, patches))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("patches of 1 x 2 x 2 do not fit into rows of 3");
            assertThatThrownBy(() -> patch.fit(4, 4, 5, patches, patches))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("to holds 16 elements, expected at least 20");
        }
    }
}
