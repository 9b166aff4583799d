package dev.saccade.kernels.embedding;

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

/// Rows by index on every device: copies are exact, a sum is one F32 chain in row order, so there
/// is only one right answer.
@Tag("device")
class EmbeddingContractTest {

    static Stream<Arguments> sizes() {
        int[][] sizes = {
            {1, 1, 1},
            {7, 5, 3},
            {100, 33, 11},
            {33, 64, 1},
            {3000, 64, 40},
            {400, 72, 30},
            {6000, 1032, 3},
            {500, 200, 9},
            {40, 1024, 5000},
            {300, 264, 2},
            {9, 2050, 4},
            {140_000, 2, 3}
        };
        return Arrays.stream(Target.values())
                .flatMap(target ->
                        Arrays.stream(sizes)
                                .map(size -> Arguments.of(target, size[0], size[1], size[2])));
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void gathersAndAddsInRowOrder(Target target, int rows, int width, int tableRows) {
        DType dtype = target.dtype();
        int[] indices = new SplittableRandom(rows).ints(rows, 0, tableRows).toArray();
        float[] table = Buffers.rounded(dtype, Buffers.normal(1, tableRows * width, 1));
        float[] source = Buffers.rounded(dtype, Buffers.normal(2, rows * width, 1));
        float[] gathered = new float[rows * width];
        float[] added = table.clone();
        for (int row = 0; row < rows; row++) {
            for (int i = 0; i < width; i++) {
                gathered[row * width + i] = table[indices[row] * width + i];
                added[indices[row] * width + i] += source[row * width + i];
            }
        }
        for (int shift : new int[] {0, 1, 2}) {
            try (Buffers buffers = target.open()) {
                Embedding embedding = Embedding.on(buffers.device());
                Span index = buffers.of(indices);
                Span from = Placed.of(buffers, dtype, shift, table);
                Span out = Placed.poison(buffers, dtype, shift, rows * width);
                embedding.gather(rows, width, tableRows, index, from, out);
                assertThat(Placed.floats(buffers, out)).isEqualTo(gathered);
                Span terms = Placed.of(buffers, dtype, shift, source);
                embedding.scatterAdd(rows, width, tableRows, index, terms, from);
                assertThat(buffers.floats(from)).isEqualTo(Buffers.rounded(dtype, added));
                if (dtype == DType.BF16) {
                    Span wide = Placed.of(buffers, DType.F32, shift, table);
                    embedding.scatterAdd(rows, width, tableRows, index, terms, wide);
                    assertThat(buffers.floats(wide)).isEqualTo(added);
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void scattersRows(Target target, int rows, int width, int spread) {
        DType dtype = target.dtype();
        int targetRows = rows + spread;
        int[] indices = new int[rows];
        for (int row = 0; row < rows; row++) {
            indices[row] = targetRows - 1 - row;
        }
        float[] source = Buffers.rounded(dtype, Buffers.normal(3, rows * width, 1));
        float[] before = Buffers.rounded(dtype, Buffers.normal(4, targetRows * width, 1));
        float[] expected = before.clone();
        for (int row = 0; row < rows; row++) {
            System.arraycopy(source, row * width, expected, indices[row] * width, width);
        }
        for (int shift : new int[] {0, 1}) {
            try (Buffers buffers = target.open()) {
                Span to = Placed.of(buffers, dtype, shift, before);
                Span from = Placed.of(buffers, dtype, shift, source);
                Embedding.on(buffers.device())
                        .scatter(rows, width, targetRows, buffers.of(indices), from, to);
                assertThat(buffers.floats(to)).isEqualTo(expected);
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void noRowsAreNothing(Target target) {
        try (Buffers buffers = target.open()) {
            Embedding embedding = Embedding.on(buffers.device());
            Span table = buffers.of(target.dtype(), 1f, 2f);
            Span none = buffers.of(5).slice(0, 0);
            embedding.gather(0, 2, 1, none, table, table);
            embedding.scatterAdd(0, 2, 1, none, table, table);
            embedding.scatter(0, 2, 1, none, table, table);
            assertThat(buffers.floats(table)).containsExactly(1f, 2f);
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CUDA_F32", "CUDA_BF16"})
    void badIndicesAreReportedAndTheirRowsLeftOut(Target target) {
        DType dtype = target.dtype();
        float[] ones = {1f, 1f, 1f, 1f, 1f, 1f};
        try (Buffers buffers = target.open()) {
            Embedding embedding = Embedding.on(buffers.device());
            Span table = buffers.of(dtype, 0f, 1f, 2f, 3f, 4f, 5f, 6f, 7f);
            Span out = buffers.poison(dtype, 6);
            embedding.gather(3, 2, 4, buffers.of(0, 4, 3), table, out);
            assertThatThrownBy(() -> buffers.device().synchronize())
                    .isInstanceOf(IndexOutOfBoundsException.class)
                    .hasMessageContaining("4");
            assertThat(buffers.floats(out)).containsExactly(0f, 1f, Float.NaN, Float.NaN, 6f, 7f);

            Span sums = buffers.of(dtype, new float[8]);
            Span terms = buffers.of(dtype, ones);
            embedding.scatterAdd(3, 2, 4, buffers.of(0, -1, 0), terms, sums);
            assertThatThrownBy(() -> buffers.floats(sums))
                    .isInstanceOf(IndexOutOfBoundsException.class)
                    .hasMessageContaining("-1");
            assertThat(buffers.floats(sums)).containsExactly(2f, 2f, 0f, 0f, 0f, 0f, 0f, 0f);

            Span put = buffers.of(dtype, new float[8]);
            embedding.scatter(3, 2, 4, buffers.of(1, 3, 77), terms, put);
            assertThatThrownBy(() -> buffers.device().synchronize())
                    .isInstanceOf(IndexOutOfBoundsException.class)
                    .hasMessageContaining("77");
            assertThat(buffers.floats(put)).containsExactly(0f, 0f, 1f, 1f, 0f, 0f, 1f, 1f);
        }
    }

    @ParameterizedTest
    @EnumSource
    void wrongOperandsAreRefused(Target target) {
        try (Buffers buffers = target.open()) {
            Embedding embedding = Embedding.on(buffers.device());
            Span x = buffers.poison(target.dtype(), 3);
            Span index = buffers.of(0);
            assertThatThrownBy(() -> embedding.gather(1, 2, 4, index, x, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("table holds 3 elements, expected at least 8");
            assertThatThrownBy(() -> embedding.scatterAdd(1, 2, 1, x, x, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("indices is %s, expected I32".formatted(target.dtype()));
        }
    }
}
