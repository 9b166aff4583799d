package dev.saccade.kernels.connector;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.norm.Norm;
import dev.saccade.kernels.norm.NormDefinition;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Oracle;
import dev.saccade.kernels.testing.Placed;
import dev.saccade.kernels.testing.Target;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Unshuffle and norm in one pass, on every device: by definition, and beside its two parts.
@Tag("device")
class UnshuffleNormContractTest {
    private static final float EPS = 1e-5f;
    private static final float BEFORE = 0.25f;

    private record Sizes(int tiles, int grid, int width) {
        int rows() {
            return tiles * grid * grid / 4;
        }

        int wide() {
            return 4 * width;
        }

        int elements() {
            return tiles * (1 + grid * grid) * width;
        }

        /// Where element `i` of a row is in the tower's output.
        int place(int row, int i) {
            int half = grid / 2;
            int tile = row / (half * half);
            int y = row / half % half * 2 + i / width / 2;
            int x = row % half * 2 + i / width % 2;
            return (tile * (1 + grid * grid) + 1 + y * grid + x) * width + i % width;
        }

        float[] fold(float[] x) {
            float[] folded = new float[rows() * wide()];
            for (int i = 0; i < folded.length; i++) {
                folded[i] = x[place(i / wide(), i % wide())];
            }
            return folded;
        }

        double[] unfold(double[] folded) {
            double[] x = new double[elements()];
            for (int i = 0; i < folded.length; i++) {
                x[place(i / wide(), i % wide())] = folded[i];
            }
            return x;
        }
    }

    private record Inputs(float[] x, float[] weight, float[] bias, float[] dy) {
        static Inputs of(DType dtype, Sizes sizes) {
            float[] x = Buffers.normal(sizes.elements(), sizes.elements(), 2);
            for (int i = 0; i < x.length; i++) {
                x[i] += 0.5f;
            }
            int wide = sizes.wide();
            return new Inputs(
                    Buffers.rounded(dtype, x),
                    Buffers.rounded(dtype, Buffers.normal(1, wide, 1)),
                    Buffers.rounded(dtype, Buffers.normal(2, wide, 1)),
                    Buffers.rounded(dtype, Buffers.normal(3, sizes.rows() * wide, 1)));
        }
    }

    private record Results(
            float[] y, float[] mean, float[] rstd, float[] dx, float[] dWeight, float[] dBias) {}

    private static float[] before(int count) {
        float[] before = new float[count];
        Arrays.fill(before, BEFORE);
        return before;
    }

    /// @param shift elements of each operand's memory in front of it
    private static Results fused(Target target, Sizes sizes, Inputs inputs, int shift) {
        DType dtype = target.dtype();
        int rows = sizes.rows();
        int wide = sizes.wide();
        int tiles = sizes.tiles;
        int grid = sizes.grid;
        int width = sizes.width;
        try (Buffers buffers = target.open()) {
            UnshuffleNorm norm = UnshuffleNorm.on(buffers.device());
            Span x = Placed.of(buffers, dtype, shift, inputs.x);
            Span weight = Placed.of(buffers, dtype, shift, inputs.weight);
            Span bias = Placed.of(buffers, dtype, shift, inputs.bias);
            Span dy = Placed.of(buffers, dtype, shift, inputs.dy);
            Span y = Placed.poison(buffers, dtype, shift, rows * wide);
            Span mean = Placed.poison(buffers, DType.F32, shift, rows);
            Span rstd = Placed.poison(buffers, DType.F32, shift, rows);
            Span dx = Placed.poison(buffers, dtype, shift, sizes.elements());
            Span dWeight = buffers.of(before(wide));
            Span dBias = buffers.of(before(wide));
            norm.forward(tiles, grid, width, EPS, x, weight, bias, y, mean, rstd);
            norm.backward(tiles, grid, width, x, weight, mean, rstd, dy, dx, dWeight, dBias);
            return new Results(
                    Placed.floats(buffers, y),
                    Placed.floats(buffers, mean),
                    Placed.floats(buffers, rstd),
                    Placed.floats(buffers, dx),
                    buffers.floats(dWeight),
                    buffers.floats(dBias));
        }
    }

    /// The same by the two operations.
    private static Results apart(Target target, Sizes sizes, Inputs inputs) {
        DType dtype = target.dtype();
        int rows = sizes.rows();
        int wide = sizes.wide();
        int tiles = sizes.tiles;
        int grid = sizes.grid;
        int width = sizes.width;
        try (Buffers buffers = target.open()) {
            PixelUnshuffle unshuffle = PixelUnshuffle.on(buffers.device());
            Norm norm = Norm.on(buffers.device());
            Span weight = buffers.of(dtype, inputs.weight);
            Span bias = buffers.of(dtype, inputs.bias);
            Span dy = buffers.of(dtype, inputs.dy);
            Span folded = buffers.poison(dtype, rows * wide);
            Span y = buffers.poison(dtype, rows * wide);
            Span mean = buffers.poison(rows);
            Span rstd = buffers.poison(rows);
            Span dFolded = buffers.poison(dtype, rows * wide);
            Span dx = buffers.poison(dtype, sizes.elements());
            Span dWeight = buffers.of(before(wide));
            Span dBias = buffers.of(before(wide));
            unshuffle.forward(tiles, grid, width, buffers.of(dtype, inputs.x), folded);
            norm.layerNorm(rows, wide, EPS, folded, weight, bias, y, mean, rstd);
            norm.layerNormBackward(
                    rows, wide, folded, weight, mean, rstd, dy, dFolded, dWeight, dBias);
            unshuffle.backward(tiles, grid, width, dFolded, dx);
            return new Results(
                    buffers.floats(y),
                    buffers.floats(mean),
                    buffers.floats(rstd),
                    buffers.floats(dx),
                    buffers.floats(dWeight),
                    buffers.floats(dBias));
        }
    }

    private static void assertSameBits(Results actual, Results expected) {
        assertThat(actual.y).isEqualTo(expected.y);
        assertThat(actual.mean).isEqualTo(expected.mean);
        assertThat(actual.rstd).isEqualTo(expected.rstd);
        assertThat(actual.dx).isEqualTo(expected.dx);
        assertThat(actual.dWeight).isEqualTo(expected.dWeight);
        assertThat(actual.dBias).isEqualTo(expected.dBias);
    }

    /// Rows of a lane's packs, a warp's and a block's, whole and broken packs, one group of rows
    /// and several; 3200 is InternViT-6B's width.
    static Stream<Arguments> sizes() {
        int[][] sizes = {
            {1, 2, 1},
            {3, 4, 7},
            {2, 6, 6},
            {40, 8, 8},
            {5, 8, 40},
            {2, 32, 96},
            {2, 6, 65},
            {5, 16, 264},
            {9, 4, 1024},
            {12, 8, 2114},
            {2, 20, 2112},
            {3, 2, 3200},
            {1, 2, 3201}
        };
        return Arrays.stream(Target.values())
                .flatMap(target ->
                        Arrays.stream(sizes)
                                .map(size -> Arguments.of(target, size[0], size[1], size[2])));
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void isAccurateAndHasTheBitsOfItsParts(Target target, int tiles, int grid, int width) {
        DType dtype = target.dtype();
        Sizes sizes = new Sizes(tiles, grid, width);
        Inputs inputs = Inputs.of(dtype, sizes);
        Results results = fused(target, sizes, inputs, 0);

        NormDefinition exact = definition(false, sizes, inputs);
        NormDefinition naive = definition(true, sizes, inputs);
        Oracle.assertAccurate("y", dtype, exact.y, Oracle.rounded(naive.y), results.y);
        Oracle.assertAccurate("mean", exact.mean, Oracle.rounded(naive.mean), results.mean);
        Oracle.assertAccurate("rstd", exact.rstd, Oracle.rounded(naive.rstd), results.rstd);
        Oracle.assertAccurate(
                "dx",
                dtype,
                sizes.unfold(exact.dx),
                Oracle.rounded(sizes.unfold(naive.dx)),
                results.dx);
        Oracle.assertAccurate(
                "dWeight", exact.dWeight, Oracle.rounded(naive.dWeight), results.dWeight);
        Oracle.assertAccurate("dBias", exact.dBias, Oracle.rounded(naive.dBias), results.dBias);

        assertSameBits(results, apart(target, sizes, inputs));
        assertSameBits(fused(target, sizes, inputs, 0), results);
        assertSameBits(fused(target, sizes, inputs, 1), results);
    }

    private static NormDefinition definition(boolean rounding, Sizes sizes, Inputs inputs) {
        return new NormDefinition(
                true,
                rounding,
                EPS,
                sizes.wide(),
                sizes.fold(inputs.x),
                inputs.weight,
                inputs.bias,
                inputs.dy,
                BEFORE);
    }

    /// A tile's bits are the same alone and behind others.
    @ParameterizedTest
    @EnumSource
    void aTileDependsOnItselfAlone(Target target) {
        Sizes all = new Sizes(3, 4, 264);
        Inputs inputs = Inputs.of(target.dtype(), all);
        Results whole = fused(target, all, inputs, 0);
        Sizes one = new Sizes(1, 4, 264);
        int elements = one.elements();
        int rows = one.rows() * one.wide();
        Inputs last =
                new Inputs(
                        Arrays.copyOfRange(inputs.x, 2 * elements, 3 * elements),
                        inputs.weight,
                        inputs.bias,
                        Arrays.copyOfRange(inputs.dy, 2 * rows, 3 * rows));
        Results alone = fused(target, one, last, 0);
        assertThat(alone.y).isEqualTo(Arrays.copyOfRange(whole.y, 2 * rows, 3 * rows));
        assertThat(alone.dx).isEqualTo(Arrays.copyOfRange(whole.dx, 2 * elements, 3 * elements));
    }

    /// Each result alone has the bits that it has beside the others: on CUDA other kernels make it.
    @ParameterizedTest
    @MethodSource("sizes")
    void resultsMayBeAlone(Target target, int tiles, int grid, int width) {
        DType dtype = target.dtype();
        Sizes sizes = new Sizes(tiles, grid, width);
        Inputs inputs = Inputs.of(dtype, sizes);
        Results all = fused(target, sizes, inputs, 0);
        int wide = sizes.wide();
        try (Buffers buffers = target.open()) {
            UnshuffleNorm norm = UnshuffleNorm.on(buffers.device());
            Span x = buffers.of(dtype, inputs.x);
            Span weight = buffers.of(dtype, inputs.weight);
            Span bias = buffers.of(dtype, inputs.bias);
            Span dy = buffers.of(dtype, inputs.dy);
            Span mean = buffers.of(all.mean);
            Span rstd = buffers.of(all.rstd);
            Span y = buffers.poison(dtype, sizes.rows() * wide);
            norm.forward(tiles, grid, width, EPS, x, weight, bias, y, null, null);
            assertThat(buffers.floats(y)).isEqualTo(all.y);
            Span dWeight = buffers.of(before(wide));
            Span dBias = buffers.of(before(wide));
            norm.backward(tiles, grid, width, x, weight, mean, rstd, dy, null, dWeight, dBias);
            assertThat(buffers.floats(dWeight)).isEqualTo(all.dWeight);
            assertThat(buffers.floats(dBias)).isEqualTo(all.dBias);
            Span dx = buffers.poison(dtype, sizes.elements());
            norm.backward(tiles, grid, width, x, weight, mean, rstd, dy, dx, null, null);
            assertThat(buffers.floats(dx)).isEqualTo(all.dx);
            Span weightAlone = buffers.of(before(wide));
            norm.backward(tiles, grid, width, x, weight, mean, rstd, dy, null, weightAlone, null);
            assertThat(buffers.floats(weightAlone)).isEqualTo(all.dWeight);
        }
    }

    @ParameterizedTest
    @EnumSource
    void noTilesAreNothing(Target target) {
        try (Buffers buffers = target.open()) {
            UnshuffleNorm norm = UnshuffleNorm.on(buffers.device());
            DType dtype = target.dtype();
            Span none = buffers.of(dtype, 1f).slice(1, 0);
            Span vector = buffers.of(dtype, 1f, 2f, 3f, 4f);
            Span statistics = buffers.of(1f).slice(1, 0);
            Span sums = buffers.of(1f, 2f, 3f, 4f);
            norm.forward(0, 2, 1, EPS, none, vector, vector, none, statistics, statistics);
            norm.backward(0, 2, 1, none, vector, statistics, statistics, none, none, sums, sums);
            assertThat(buffers.floats(sums)).containsExactly(1f, 2f, 3f, 4f);
        }
    }

    @ParameterizedTest
    @EnumSource
    void wrongOperandsAreRefused(Target target) {
        try (Buffers buffers = target.open()) {
            UnshuffleNorm norm = UnshuffleNorm.on(buffers.device());
            Span x = buffers.poison(target.dtype(), 4);
            for (int grid : new int[] {0, 3}) {
                assertThatThrownBy(() -> norm.forward(1, grid, 1, EPS, x, x, x, x, null, null))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessage("a grid of side " + grid + ", expected an even number above 0");
            }
            assertThatThrownBy(() -> norm.forward(1, 2, 1, EPS, x, x, x, x, null, null))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("x holds 4 elements, expected at least 5");
        }
    }
}
