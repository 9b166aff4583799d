package dev.saccade.kernels.embedding;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.Span;
import dev.saccade.kernels.testing.Buffers;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The CPU's row moves: copies are exact, sums run in row order.
class HostEmbeddingTest {

    @ParameterizedTest
    @CsvSource({"1, 1, 1", "7, 5, 3", "100, 33, 11", "3000, 67, 40", "500, 200, 9"})
    void gathersAndAddsInRowOrder(int rows, int width, int tableRows) {
        int[] indices = new SplittableRandom(rows).ints(rows, 0, tableRows).toArray();
        float[] table = Buffers.normal(1, tableRows * width, 1);
        float[] source = Buffers.normal(2, rows * width, 1);
        float[] gathered = new float[rows * width];
        float[] added = table.clone();
        for (int row = 0; row < rows; row++) {
            for (int i = 0; i < width; i++) {
                gathered[row * width + i] = table[indices[row] * width + i];
                added[indices[row] * width + i] += source[row * width + i];
            }
        }
        for (int workers : new int[] {1, 2}) {
            try (Buffers buffers = new Buffers(workers)) {
                Embedding embedding = Embedding.on(buffers.device());
                Span index = buffers.of(indices);
                Span target = buffers.of(table);
                Span out = buffers.poison(rows * width);
                embedding.gather(rows, width, tableRows, index, target, out);
                assertThat(buffers.floats(out)).isEqualTo(gathered);
                embedding.scatterAdd(rows, width, tableRows, index, buffers.of(source), target);
                assertThat(buffers.floats(target)).isEqualTo(added);
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"3, 5, 7", "400, 201, 900"})
    void scattersRows(int rows, int width, int targetRows) {
        int[] indices = new int[rows];
        for (int row = 0; row < rows; row++) {
            indices[row] = targetRows - 1 - 2 * row;
        }
        float[] source = Buffers.normal(3, rows * width, 1);
        float[] expected = Buffers.normal(4, targetRows * width, 1);
        try (Buffers buffers = new Buffers(2)) {
            Span target = buffers.of(expected);
            Embedding.on(buffers.device())
                    .scatter(
                            rows,
                            width,
                            targetRows,
                            buffers.of(indices),
                            buffers.of(source),
                            target);
            for (int row = 0; row < rows; row++) {
                System.arraycopy(source, row * width, expected, indices[row] * width, width);
            }
            assertThat(buffers.floats(target)).isEqualTo(expected);
        }
    }

    @Test
    void badIndicesAreRefusedBeforeAnythingIsWritten() {
        try (Buffers buffers = new Buffers(1)) {
            Embedding embedding = Embedding.on(buffers.device());
            Span rows = buffers.of(new float[6]);
            Span table = buffers.of(new float[8]);
            Span out = buffers.poison(6);
            assertThatThrownBy(() -> embedding.gather(3, 2, 4, buffers.of(0, 1, 4), table, out))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("indices[2] = 4 is not in [0, 4)");
            assertThat(buffers.floats(out)).containsOnly(Float.NaN);
            Span ones = buffers.of(1f, 1f, 1f, 1f, 1f, 1f);
            assertThatThrownBy(
                            () -> embedding.scatterAdd(3, 2, 4, buffers.of(0, 1, -1), ones, table))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("indices[2] = -1 is not in [0, 4)");
            assertThatThrownBy(() -> embedding.scatter(3, 2, 4, buffers.of(0, 1, 0), ones, table))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("indices[2] = 0 repeats an earlier one");
            assertThat(buffers.floats(table)).containsOnly(0f);
            assertThat(buffers.floats(rows)).containsOnly(0f);
        }
    }
}
