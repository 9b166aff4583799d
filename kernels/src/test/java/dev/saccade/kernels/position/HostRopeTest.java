package dev.saccade.kernels.position;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.saccade.kernels.Span;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Oracle;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The CPU's rotary embedding against its definition.
class HostRopeTest {
    private static final double THETA = 10_000;

    private static float[] turned(
            int heads,
            int headDim,
            int tableRows,
            int[] positions,
            float[] x,
            boolean back,
            int workers) {
        try (Buffers buffers = new Buffers(workers)) {
            Rope rope = Rope.on(buffers.device());
            Span table = buffers.poison(tableRows * headDim);
            rope.table(tableRows, headDim, THETA, table);
            Span values = buffers.of(x);
            Span rows = buffers.of(positions);
            if (back) {
                rope.rotateBackward(positions.length, heads, headDim, table, rows, values);
            } else {
                rope.rotate(positions.length, heads, headDim, table, rows, values);
            }
            return buffers.floats(values);
        }
    }

    @ParameterizedTest
    @CsvSource({"1, 1, 2", "5, 3, 10", "17, 4, 32", "200, 6, 128", "9, 2, 36", "3, 2, 34"})
    void rotatesByTheDefinition(int rows, int heads, int headDim) {
        int tableRows = 300;
        int[] positions = new SplittableRandom(rows).ints(rows, 0, tableRows).toArray();
        int half = headDim / 2;
        float[] x = Buffers.normal(headDim, rows * heads * headDim, 1);
        for (boolean back : new boolean[] {false, true}) {
            double[] exact = new double[x.length];
            float[] naive = new float[x.length];
            for (int at = 0; at < x.length; at += headDim) {
                int position = positions[at / headDim / heads];
                for (int i = 0; i < half; i++) {
                    double angle = position * Math.pow(THETA, -2.0 * i / headDim);
                    double cos = Math.cos(angle);
                    double sin = back ? -Math.sin(angle) : Math.sin(angle);
                    float a = x[at + i];
                    float b = x[at + half + i];
                    exact[at + i] = a * cos - b * sin;
                    exact[at + half + i] = b * cos + a * sin;
                    naive[at + i] = a * (float) cos - b * (float) sin;
                    naive[at + half + i] = b * (float) cos + a * (float) sin;
                }
            }
            float[] y = turned(heads, headDim, tableRows, positions, x, back, 2);
            Oracle.assertAccurate(back ? "backward" : "forward", exact, naive, y);
            assertThat(turned(heads, headDim, tableRows, positions, x, back, 1)).isEqualTo(y);
        }
    }

    /// A vector and its gradient keep their inner product when both are turned.
    @Test
    void backwardIsTheTransposedRotation() {
        int[] positions = {7, 0, 299};
        float[] x = Buffers.normal(1, 3 * 2 * 12, 1);
        float[] dy = Buffers.normal(2, x.length, 1);
        float[] y = turned(2, 12, 300, positions, x, false, 1);
        float[] dx = turned(2, 12, 300, positions, dy, true, 1);
        double forward = 0;
        double backward = 0;
        for (int i = 0; i < x.length; i++) {
            forward += (double) y[i] * dy[i];
            backward += (double) x[i] * dx[i];
        }
        assertThat(forward).isCloseTo(backward, within(1e-5));
    }

    @Test
    void aRowDoesNotDependOnItsBatch() {
        int width = 4 * 32;
        int[] positions = {5, 9, 5, 12};
        float[] x = Buffers.normal(3, 4 * width, 1);
        float[] all = turned(4, 32, 20, positions, x, false, 2);
        for (int row = 0; row < 4; row++) {
            float[] one = Arrays.copyOfRange(x, row * width, (row + 1) * width);
            assertThat(turned(4, 32, 20, new int[] {positions[row]}, one, false, 1))
                    .isEqualTo(Arrays.copyOfRange(all, row * width, (row + 1) * width));
        }
    }

    @Test
    void tableIsRoundedOnceFromDouble() {
        try (Buffers buffers = new Buffers(2)) {
            Span table = buffers.poison(5000 * 8);
            Rope.on(buffers.device()).table(5000, 8, 1e6, table);
            float[] values = buffers.floats(table);
            for (int position : new int[] {0, 1, 17, 4999}) {
                for (int i = 0; i < 4; i++) {
                    double angle = position * StrictMath.pow(1e6, -2.0 * i / 8);
                    assertThat(values[position * 8 + i]).isEqualTo((float) StrictMath.cos(angle));
                    assertThat(values[position * 8 + 4 + i])
                            .isEqualTo((float) StrictMath.sin(angle));
                }
            }
        }
    }

    /// Every index is checked before anything is written.
    @Test
    void badRowsOfACacheAreRefused() {
        try (Buffers buffers = new Buffers(1)) {
            Rope rope = Rope.on(buffers.device());
            Span table = buffers.poison(4 * 2);
            rope.table(4, 2, THETA, table);
            Span q = buffers.of(1f, 2f, 3f, 4f);
            Span keys = buffers.of(new float[6]);
            int[][] wrong = {{0, 4, 0, 1}, {1, 1, 0, 3}, {1, 1, -1, 0}, {1, 1, 2, 2}};
            String[] messages = {
                "positions[1] = 4 is not in [0, 4)",
                "cache.places[1] = 3 is not in [0, 3)",
                "cache.places[0] = -1 is not in [0, 3)",
                "cache.places[1] = 2 repeats an earlier one"
            };
            for (int i = 0; i < wrong.length; i++) {
                Span positions = buffers.of(wrong[i][0], wrong[i][1]);
                Rope.Cache cache =
                        new Rope.Cache(3, buffers.of(wrong[i][2], wrong[i][3]), keys, keys);
                assertThatThrownBy(() ->
                                rope.rotateIntoCache(2, 1, 1, 2, table, positions, q, q, q, cache))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessage(messages[i]);
            }
            assertThat(buffers.floats(q)).containsExactly(1f, 2f, 3f, 4f);
            assertThat(buffers.floats(keys)).containsOnly(0f);
        }
    }

    @Test
    void wrongOperandsAreRefused() {
        try (Buffers buffers = new Buffers(1)) {
            Rope rope = Rope.on(buffers.device());
            Span table = buffers.poison(4 * 8);
            Span x = buffers.of(new float[16]);
            assertThatThrownBy(() -> rope.rotate(2, 1, 8, table, buffers.of(0, 4), x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("positions[1] = 4 is not in [0, 4)");
            assertThat(buffers.floats(x)).containsOnly(0f);
            assertThatThrownBy(() -> rope.table(4, 7, THETA, table))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("rotary head dim 7 is not even");
        }
    }
}
