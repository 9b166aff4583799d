package dev.saccade.kernels.position;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Placed;
import dev.saccade.kernels.testing.Target;
import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// The rotation on every device: a product and a fused multiply-add for each element, so there is
/// only one right answer.
@Tag("device")
class RopeContractTest {
    private static final double THETA = 1_000_000;
    private static final int TABLE_ROWS = 300;

    static Stream<Arguments> sizes() {
        int[][] sizes = {
            {1, 1, 2}, {5, 3, 10}, {17, 4, 32}, {200, 6, 128}, {9, 2, 36}, {3, 40, 128}, {2, 14, 64}
        };
        return Arrays.stream(Target.values())
                .flatMap(target ->
                        Arrays.stream(sizes)
                                .map(size -> Arguments.of(target, size[0], size[1], size[2])));
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void rotatesByTheTable(Target target, int rows, int heads, int headDim) {
        DType dtype = target.dtype();
        int half = headDim / 2;
        int[] positions = new SplittableRandom(rows).ints(rows, 0, TABLE_ROWS).toArray();
        float[] x = Buffers.rounded(dtype, Buffers.normal(headDim, rows * heads * headDim, 1));
        for (boolean back : new boolean[] {false, true}) {
            float[] expected = new float[x.length];
            for (int at = 0; at < x.length; at += headDim) {
                int position = positions[at / headDim / heads];
                for (int i = 0; i < half; i++) {
                    double angle = position * StrictMath.pow(THETA, -2.0 * i / headDim);
                    float cos = (float) StrictMath.cos(angle);
                    float sin = (float) StrictMath.sin(back ? -angle : angle);
                    float a = x[at + i];
                    float b = x[at + half + i];
                    expected[at + i] = Buffers.rounded(dtype, Math.fma(a, cos, -(b * sin)));
                    expected[at + half + i] = Buffers.rounded(dtype, Math.fma(b, cos, a * sin));
                }
            }
            for (int shift : new int[] {0, 1}) {
                try (Buffers buffers = target.open()) {
                    Rope rope = Rope.on(buffers.device());
                    Span table = Placed.poison(buffers, DType.F32, shift, TABLE_ROWS * headDim);
                    rope.table(TABLE_ROWS, headDim, THETA, table);
                    Span values = Placed.of(buffers, dtype, shift, x);
                    Span at = buffers.of(positions);
                    if (back) {
                        rope.rotateBackward(rows, heads, headDim, table, at, values);
                    } else {
                        rope.rotate(rows, heads, headDim, table, at, values);
                    }
                    assertThat(buffers.floats(values)).isEqualTo(expected);
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void tableIsRoundedOnce(Target target) {
        int headDim = 20;
        try (Buffers buffers = target.open()) {
            Span table = Placed.poison(buffers, DType.F32, 1, TABLE_ROWS * headDim);
            Rope.on(buffers.device()).table(TABLE_ROWS, headDim, THETA, table);
            float[] values = Placed.floats(buffers, table);
            for (int position = 0; position < TABLE_ROWS; position++) {
                for (int i = 0; i < headDim / 2; i++) {
                    double angle = position * StrictMath.pow(THETA, -2.0 * i / headDim);
                    int at = position * headDim + i;
                    assertThat(values[at]).isEqualTo((float) StrictMath.cos(angle));
                    assertThat(values[at + headDim / 2]).isEqualTo((float) StrictMath.sin(angle));
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CUDA_F32", "CUDA_BF16"})
    void badPositionsAreReportedAndTheirRowsStay(Target target) {
        try (Buffers buffers = target.open()) {
            Rope rope = Rope.on(buffers.device());
            Span table = buffers.poison(4 * 2);
            rope.table(4, 2, THETA, table);
            Span x = buffers.of(target.dtype(), 1f, 0f, 1f, 0f, 1f, 0f);
            rope.rotate(3, 1, 2, table, buffers.of(0, 4, -1), x);
            assertThatThrownBy(() -> buffers.device().synchronize())
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThat(buffers.floats(x)).containsExactly(1f, 0f, 1f, 0f, 1f, 0f);
        }
    }

    @ParameterizedTest
    @EnumSource
    void wrongOperandsAreRefused(Target target) {
        try (Buffers buffers = target.open()) {
            Rope rope = Rope.on(buffers.device());
            Span table = buffers.poison(4);
            Span x = buffers.poison(target.dtype(), 4);
            Span positions = buffers.of(0, 0);
            assertThatThrownBy(() -> rope.rotate(2, 1, 3, table, positions, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("x holds 4 elements, expected at least 6");
            assertThatThrownBy(() -> rope.rotate(1, 1, 3, table, positions, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("rotary head dim 3 is not even");
            assertThatThrownBy(() -> rope.rotate(2, 1, 2, positions, positions, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("table is I32, expected F32");
        }
    }
}
