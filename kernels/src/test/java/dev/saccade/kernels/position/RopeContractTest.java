package dev.saccade.kernels.position;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.embedding.Embedding;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Placed;
import dev.saccade.kernels.testing.Target;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
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

    /// Rows, heads of queries and of keys, a head's width: decode steps of one and of many
    /// sequences, a prefill, heads that no 16-byte access divides, more rows than one launch keeps
    /// in several blocks each.
    static Stream<Arguments> layers() {
        int[][] sizes = {
            {1, 1, 1, 2},
            {1, 14, 2, 64},
            {5, 40, 8, 128},
            {67, 4, 4, 80},
            {9, 3, 1, 36},
            {300, 6, 2, 32},
            {3, 7, 1, 10},
            {4300, 14, 2, 64}
        };
        return Arrays.stream(Target.values())
                .flatMap(target ->
                        Arrays.stream(sizes)
                                .map(size ->
                                        Arguments.of(target, size[0], size[1], size[2], size[3])));
    }

    /// What a layer leaves behind.
    private record Layer(float[] q, float[] k, float[] v, float[] keys, float[] values) {
        static Layer of(
                Target target,
                int shift,
                int heads,
                int kvHeads,
                int headDim,
                int[] positions,
                int[] places,
                Layer before,
                boolean fused) {
            DType dtype = target.dtype();
            int rows = positions.length;
            int cacheRows = before.keys.length / (kvHeads * headDim);
            try (Buffers buffers = target.open()) {
                Rope rope = Rope.on(buffers.device());
                Span table = Placed.poison(buffers, DType.F32, shift, TABLE_ROWS * headDim);
                rope.table(TABLE_ROWS, headDim, THETA, table);
                Span q = Placed.of(buffers, dtype, shift, before.q);
                Span k = Placed.of(buffers, dtype, shift, before.k);
                Span v = Placed.of(buffers, dtype, shift, before.v);
                Span keys = Placed.of(buffers, dtype, shift, before.keys);
                Span values = Placed.of(buffers, dtype, shift, before.values);
                Span at = buffers.of(positions);
                Span to = buffers.of(places);
                if (fused) {
                    rope.rotateIntoCache(
                            rows,
                            heads,
                            kvHeads,
                            headDim,
                            table,
                            at,
                            q,
                            k,
                            v,
                            new Rope.Cache(cacheRows, to, keys, values));
                    assertThat(buffers.floats(k)).isEqualTo(before.k);
                } else {
                    Embedding embedding = Embedding.on(buffers.device());
                    int width = kvHeads * headDim;
                    rope.rotate(rows, heads, headDim, table, at, q);
                    rope.rotate(rows, kvHeads, headDim, table, at, k);
                    embedding.scatter(rows, width, cacheRows, to, k, keys);
                    embedding.scatter(rows, width, cacheRows, to, v, values);
                }
                return new Layer(
                        buffers.floats(q),
                        before.k,
                        buffers.floats(v),
                        buffers.floats(keys),
                        buffers.floats(values));
            }
        }

        /// The rows from `from` on, before the cache that all of them see.
        Layer rows(int rows, int from, int count) {
            return new Layer(
                    part(q, rows, from, count),
                    part(k, rows, from, count),
                    part(v, rows, from, count),
                    keys,
                    values);
        }

        private static float[] part(float[] all, int rows, int from, int count) {
            int width = all.length / rows;
            return Arrays.copyOfRange(all, from * width, (from + count) * width);
        }

        void requireEqual(Layer other) {
            assertThat(q).isEqualTo(other.q);
            assertThat(v).isEqualTo(other.v);
            assertThat(keys).isEqualTo(other.keys);
            assertThat(values).isEqualTo(other.values);
        }
    }

    private static Layer random(Target target, int rows, int cacheRows, int width, int kvWidth) {
        DType dtype = target.dtype();
        return new Layer(
                Buffers.rounded(dtype, Buffers.normal(1, rows * width, 1)),
                Buffers.rounded(dtype, Buffers.normal(2, rows * kvWidth, 1)),
                Buffers.rounded(dtype, Buffers.normal(3, rows * kvWidth, 1)),
                Buffers.rounded(dtype, Buffers.normal(4, cacheRows * kvWidth, 1)),
                Buffers.rounded(dtype, Buffers.normal(5, cacheRows * kvWidth, 1)));
    }

    /// `count` different rows of `rows`, in no order.
    private static int[] places(int count, int rows) {
        List<Integer> all = new ArrayList<>(IntStream.range(0, rows).boxed().toList());
        Collections.shuffle(all, new Random(count));
        return all.subList(0, count).stream().mapToInt(Integer::intValue).toArray();
    }

    @ParameterizedTest
    @MethodSource("layers")
    void onePassLeavesWhatItsPartsLeave(
            Target target, int rows, int heads, int kvHeads, int headDim) {
        int[] positions = new SplittableRandom(rows).ints(rows, 0, TABLE_ROWS).toArray();
        int cacheRows = rows + 5;
        int[] places = places(rows, cacheRows);
        Layer before = random(target, rows, cacheRows, heads * headDim, kvHeads * headDim);
        Layer parts =
                Layer.of(target, 0, heads, kvHeads, headDim, positions, places, before, false);
        for (int shift : new int[] {0, 1}) {
            Layer.of(target, shift, heads, kvHeads, headDim, positions, places, before, true)
                    .requireEqual(parts);
        }
    }

    /// Whether a token comes with others or after them.
    @ParameterizedTest
    @EnumSource
    void aRowDoesNotDependOnItsBatch(Target target) {
        int rows = 12;
        int cacheRows = 20;
        int[] positions = new SplittableRandom(7).ints(rows, 0, TABLE_ROWS).toArray();
        int[] places = places(rows, cacheRows);
        Layer before = random(target, rows, cacheRows, 6 * 64, 2 * 64);
        Layer all = Layer.of(target, 0, 6, 2, 64, positions, places, before, true);
        Layer left = before;
        for (int row = 0; row < rows; row++) {
            Layer one =
                    Layer.of(
                            target,
                            row % 2,
                            6,
                            2,
                            64,
                            new int[] {positions[row]},
                            new int[] {places[row]},
                            left.rows(rows, row, 1),
                            true);
            assertThat(one.q).isEqualTo(Layer.part(all.q, rows, row, 1));
            left = new Layer(left.q, left.k, left.v, one.keys, one.values);
        }
        assertThat(left.keys).isEqualTo(all.keys);
        assertThat(left.values).isEqualTo(all.values);
    }

    @ParameterizedTest
    @EnumSource(names = {"CUDA_F32", "CUDA_BF16"})
    void aBadIndexIsReportedAndItsRowIsLeftOut(Target target) {
        for (int[] indices : new int[][] {{0, TABLE_ROWS, 1, 0}, {0, 1, 1, -1}, {0, -1, 1, 2}}) {
            int[] positions = {indices[0], indices[1]};
            int[] places = {indices[2], indices[3]};
            Layer before = random(target, 2, 2, 3 * 16, 16);
            try (Buffers buffers = target.open()) {
                DType dtype = target.dtype();
                Rope rope = Rope.on(buffers.device());
                Span table = buffers.poison(TABLE_ROWS * 16);
                rope.table(TABLE_ROWS, 16, THETA, table);
                Span q = buffers.of(dtype, before.q);
                Span keys = buffers.of(dtype, before.keys);
                rope.rotateIntoCache(
                        2,
                        3,
                        1,
                        16,
                        table,
                        buffers.of(positions),
                        q,
                        buffers.of(dtype, before.k),
                        buffers.of(dtype, before.v),
                        new Rope.Cache(
                                2, buffers.of(places), keys, buffers.of(dtype, before.values)));
                assertThatThrownBy(() -> buffers.device().synchronize())
                        .isInstanceOf(IndexOutOfBoundsException.class);
                // Position 0 turns nothing, so row 0 has its own values; nothing of row 1 arrives.
                assertThat(buffers.floats(q)).isEqualTo(before.q);
                assertThat(Layer.part(buffers.floats(keys), 2, 1, 1))
                        .isEqualTo(Layer.part(before.k, 2, 0, 1));
                assertThat(Layer.part(buffers.floats(keys), 2, 0, 1))
                        .isEqualTo(Layer.part(before.keys, 2, 0, 1));
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void wrongLayersAreRefused(Target target) {
        try (Buffers buffers = target.open()) {
            DType dtype = target.dtype();
            Rope rope = Rope.on(buffers.device());
            Span table = buffers.poison(4 * 2);
            rope.table(4, 2, THETA, table);
            Span two = buffers.of(dtype, 1f, 2f, 3f, 4f);
            Span at = buffers.of(0, 1);
            Rope.Cache cache = new Rope.Cache(2, at, buffers.poison(dtype, 4), two);
            assertThatThrownBy(
                            () -> rope.rotateIntoCache(2, 2, 1, 2, table, at, two, two, two, cache))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("q holds 4 elements, expected at least 8");
            assertThatThrownBy(() ->
                            rope.rotateIntoCache(
                                    2,
                                    1,
                                    1,
                                    2,
                                    table,
                                    at,
                                    two,
                                    two,
                                    two,
                                    new Rope.Cache(3, at, two, two)))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("cache.keys holds 4 elements, expected at least 6");
            assertThatThrownBy(
                            () -> rope.rotateIntoCache(2, 1, 1, 3, table, at, two, two, two, cache))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("rotary head dim 3 is not even");
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
