package dev.saccade.kernels.attention;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.Attention.Shape;
import dev.saccade.kernels.attention.PrefixedAttention.Prefixed;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Oracle;
import dev.saccade.kernels.testing.Target;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Attention over two ranges of keys on each device: the bits of attention over the ranges side by
/// side, and gradients that sum over all sequences of a prefix.
@Tag("device")
class PrefixedAttentionContractTest {
    /// Sequences, and rows between them that belong to nobody.
    ///
    /// @param rows of all tensors
    record Layout(String name, Prefixed sequences, int rows) {
        /// A prompt of 75 tokens with three answers, one of 64 with two, a sequence without a
        /// prefix.
        private static final Layout GROUPS =
                packed("groups", new int[][] {{75, 13, 60, 33}, {64, 1, 40}, {21}});

        /// Prompts around what kernels take at once, one of them without an answer.
        private static final Layout LENGTHS =
                packed(
                        "lengths",
                        new int[][] {
                            {1, 5, 64},
                            {63, 1, 65, 70},
                            {64, 64, 1},
                            {65, 130},
                            {127, 1, 2, 128},
                            {128, 128, 5},
                            {129, 63, 127},
                            {200}
                        });

        /// The fifth group of LENGTHS, and its first sequence there.
        private static final Layout FIFTH = packed("fifth", new int[][] {{127, 1, 2, 128}});

        private static final int FIFTH_FIRST = 12;

        /// A prompt of many tiles.
        private static final Layout LONG = packed("long", new int[][] {{1025, 77, 16, 300, 1}});

        /// Queries in whole steps of a product: then their order is all that decides a sum.
        private static final Layout CHAIN = packed("chain", new int[][] {{528, 256, 80, 16, 640}});

        /// Prefixes that are a part of a prompt, several sequences' keys, or keys of nobody;
        /// sequences without queries or without keys of their own.
        private static final Layout RANGES =
                of(
                        "ranges",
                        new Prefixed(
                                new Sequences(
                                        new int[] {2, 152, 200, 250, 320, 0, 0, 380, 440, 500},
                                        new int[] {150, 40, 50, 60, 33, 0, 0, 5, 40, 1},
                                        new int[] {2, 152, 200, 250, 320, 360, 0, 400, 440, 500},
                                        new int[] {150, 40, 50, 60, 33, 20, 0, 0, 40, 9}),
                                new int[] {0, 2, 52, 2, 600, 2, 2, 2, 600, 0},
                                new int[] {0, 100, 70, 198, 70, 150, 150, 150, 69, 0}));

        static Layout of(String name, Prefixed sequences) {
            int rows = Math.max(sequences.own().queryRows(), sequences.keyRows()) + 3;
            return new Layout(name, sequences, rows);
        }

        @Override
        public String toString() {
            return name;
        }

        int count() {
            return sequences.own().count();
        }

        /// The row in k and v of each key of a sequence.
        int[] keyRows(int sequence) {
            int prefix = sequences.prefixLength()[sequence];
            int start = sequences.own().keyStart()[sequence];
            int[] rows = new int[prefix + sequences.own().keyLength()[sequence]];
            Arrays.setAll(
                    rows,
                    i -> i < prefix ? sequences.prefixStart()[sequence] + i : start + i - prefix);
            return rows;
        }

        int[] queryRows(int sequence) {
            int start = sequences.own().queryStart()[sequence];
            return IntStream.range(start, start + sequences.own().queryLength()[sequence])
                    .toArray();
        }

        Sequences alone(int sequence) {
            return new Sequences(
                    new int[] {0},
                    new int[] {sequences.own().queryLength()[sequence]},
                    new int[] {0},
                    new int[] {keyRows(sequence).length});
        }

        boolean[] isQuery() {
            boolean[] is = new boolean[rows];
            for (int s = 0; s < count(); s++) {
                for (int row : queryRows(s)) {
                    is[row] = true;
                }
            }
            return is;
        }

        boolean[] isKey() {
            boolean[] is = new boolean[rows];
            for (int s = 0; s < count(); s++) {
                for (int row : keyRows(s)) {
                    is[row] = true;
                }
            }
            return is;
        }

        /// @param groups of each the prompt's length, then its answers'
        private static Layout packed(String name, int[]... groups) {
            IntStream.Builder start = IntStream.builder();
            IntStream.Builder length = IntStream.builder();
            IntStream.Builder prefixStart = IntStream.builder();
            IntStream.Builder prefixLength = IntStream.builder();
            int next = 2;
            for (int[] group : groups) {
                int prompt = next;
                for (int i = 0; i < group.length; i++) {
                    start.add(next);
                    length.add(group[i]);
                    prefixStart.add(i == 0 ? 0 : prompt);
                    prefixLength.add(i == 0 ? 0 : group[0]);
                    next += group[i] + i % 3;
                }
            }
            int[] starts = start.build().toArray();
            int[] lengths = length.build().toArray();
            return of(
                    name,
                    new Prefixed(
                            new Sequences(starts, lengths, starts, lengths),
                            prefixStart.build().toArray(),
                            prefixLength.build().toArray()));
        }
    }

    /// Rows of `values` that has `all`.
    private static float[] rows(int all, float[] values, int[] rows) {
        int width = values.length / all;
        float[] taken = new float[rows.length * width];
        for (int i = 0; i < rows.length; i++) {
            System.arraycopy(values, rows[i] * width, taken, i * width, width);
        }
        return taken;
    }

    private record Inputs(float[] q, float[] k, float[] v, float[] dO) {
        static Inputs random(Target target, Shape shape, Layout layout) {
            int query = layout.rows * shape.heads() * shape.headDim();
            int key = layout.rows * shape.kvHeads() * shape.headDim();
            Inputs in =
                    new Inputs(
                            Buffers.rounded(target.dtype(), Buffers.normal(1, query, 1.5)),
                            Buffers.rounded(target.dtype(), Buffers.normal(2, key, 1.5)),
                            Buffers.rounded(target.dtype(), Buffers.normal(3, key, 1)),
                            Buffers.rounded(target.dtype(), Buffers.normal(4, query, 1)));
            fill(in.q, layout.isQuery(), Float.NaN);
            fill(in.dO, layout.isQuery(), Float.NaN);
            fill(in.k, layout.isKey(), Float.NaN);
            fill(in.v, layout.isKey(), Float.NaN);
            return in;
        }
    }

    /// Fills the rows that are not `used`.
    private static void fill(float[] values, boolean[] used, float value) {
        int width = values.length / used.length;
        for (int row = 0; row < used.length; row++) {
            if (!used[row]) {
                Arrays.fill(values, row * width, (row + 1) * width, value);
            }
        }
    }

    private record Results(float[] o, float[] lse, float[] dq, float[] dk, float[] dv) {
        static Results of(Target target, Shape shape, Layout layout, Inputs in) {
            return of(target, shape, layout, in, 0, PrefixedAttention::on);
        }

        /// @param offset elements before each operand
        static Results of(
                Target target,
                Shape shape,
                Layout layout,
                Inputs in,
                int offset,
                Function<Device, PrefixedAttention> made) {
            try (Buffers buffers = target.open()) {
                PrefixedAttention attention = made.apply(buffers.device());
                DType dtype = target.dtype();
                Span q = input(buffers, dtype, offset, in.q);
                Span k = input(buffers, dtype, offset, in.k);
                Span v = input(buffers, dtype, offset, in.v);
                Span o = output(buffers, dtype, offset, in.q.length);
                Span lse = buffers.poison(in.q.length / shape.headDim());
                Span dO = input(buffers, dtype, offset, in.dO);
                Span dq = output(buffers, dtype, offset, in.q.length);
                Span dk = output(buffers, dtype, offset, in.k.length);
                Span dv = output(buffers, dtype, offset, in.v.length);
                attention.forward(shape, layout.sequences, q, k, v, o, lse);
                attention.backward(shape, layout.sequences, q, k, v, o, lse, dO, dq, dk, dv);
                return new Results(
                        buffers.floats(o),
                        buffers.floats(lse),
                        buffers.floats(dq),
                        buffers.floats(dk),
                        buffers.floats(dv));
            }
        }

        private static Span input(Buffers buffers, DType dtype, int offset, float[] values) {
            float[] longer = new float[offset + values.length];
            System.arraycopy(values, 0, longer, offset, values.length);
            return buffers.of(dtype, longer).slice(offset, values.length);
        }

        private static Span output(Buffers buffers, DType dtype, int offset, int count) {
            return buffers.poison(dtype, offset + count).slice(offset, count);
        }
    }

    static Stream<Arguments> cases() {
        return Stream.of(Target.values())
                .flatMap(target ->
                        Stream.of(
                                Arguments.of(target, Layout.GROUPS, 10, 2, 128, true),
                                Arguments.of(target, Layout.GROUPS, 4, 4, 64, true),
                                Arguments.of(target, Layout.GROUPS, 7, 1, 33, true),
                                Arguments.of(target, Layout.GROUPS, 2, 1, 32, false),
                                Arguments.of(target, Layout.GROUPS, 2, 1, 60, true),
                                Arguments.of(target, Layout.LENGTHS, 2, 1, 64, true),
                                Arguments.of(target, Layout.LENGTHS, 1, 1, 128, true),
                                Arguments.of(target, Layout.LENGTHS, 1, 1, 128, false),
                                Arguments.of(target, Layout.LONG, 1, 1, 64, true),
                                Arguments.of(target, Layout.LONG, 2, 1, 128, true),
                                Arguments.of(target, Layout.RANGES, 2, 1, 64, true),
                                Arguments.of(target, Layout.RANGES, 2, 1, 128, true),
                                Arguments.of(target, Layout.RANGES, 2, 2, 64, false)));
    }

    private static Shape shape(int heads, int kvHeads, int headDim, boolean causal) {
        return new Shape(heads, kvHeads, headDim, causal, (float) Math.pow(headDim, -0.5));
    }

    @ParameterizedTest
    @MethodSource("cases")
    void aQueryHasTheBitsOfItsKeysSideBySide(
            Target target, Layout layout, int heads, int kvHeads, int headDim, boolean causal) {
        Shape shape = shape(heads, kvHeads, headDim, causal);
        Inputs in = Inputs.random(target, shape, layout);
        Results results = Results.of(target, shape, layout, in);
        int all = layout.rows;
        for (int s = 0; s < layout.count(); s++) {
            int[] queries = layout.queryRows(s);
            int[] keys = layout.keyRows(s);
            try (Buffers buffers = target.open()) {
                DType dtype = target.dtype();
                Attention attention = Attention.on(buffers.device());
                Sequences alone = layout.alone(s);
                Span q = buffers.of(dtype, rows(all, in.q, queries));
                Span k = buffers.of(dtype, rows(all, in.k, keys));
                Span v = buffers.of(dtype, rows(all, in.v, keys));
                Span dO = buffers.of(dtype, rows(all, in.dO, queries));
                Span o = buffers.poison(dtype, queries.length * heads * headDim);
                Span dq = buffers.poison(dtype, queries.length * heads * headDim);
                Span lse = buffers.poison(queries.length * heads);
                Span dk = buffers.poison(dtype, keys.length * kvHeads * headDim);
                Span dv = buffers.poison(dtype, keys.length * kvHeads * headDim);
                attention.forward(shape, alone, q, k, v, o, lse);
                attention.backward(shape, alone, q, k, v, o, lse, dO, dq, dk, dv);
                assertThat(rows(all, results.o, queries)).isEqualTo(buffers.floats(o));
                assertThat(rows(all, results.lse, queries)).isEqualTo(buffers.floats(lse));
                if (!addsUpByBlocks(target, headDim)) {
                    assertThat(rows(all, results.dq, queries)).isEqualTo(buffers.floats(dq));
                }
            }
        }
        boolean[] isQuery = layout.isQuery();
        for (int row = 0; row < all; row++) {
            assertThat(Float.isNaN(results.lse[row * heads])).isEqualTo(!isQuery[row]);
            assertThat(Float.isNaN(results.o[row * heads * headDim])).isEqualTo(!isQuery[row]);
            assertThat(Float.isNaN(results.dq[row * heads * headDim])).isEqualTo(!isQuery[row]);
        }
    }

    @ParameterizedTest
    @MethodSource("cases")
    void gradientsOfAPrefixSumOverItsSequences(
            Target target, Layout layout, int heads, int kvHeads, int headDim, boolean causal) {
        Shape shape = shape(heads, kvHeads, headDim, causal);
        Inputs in = Inputs.random(target, shape, layout);
        Results results = Results.of(target, shape, layout, in);
        Results again = Results.of(target, shape, layout, in);
        assertThat(again.dq).isEqualTo(results.dq);
        assertThat(again.dk).isEqualTo(results.dk);
        assertThat(again.dv).isEqualTo(results.dv);
        DType dtype = target.dtype();
        double[][] exact = new double[3][];
        double[][] naive = new double[3][];
        for (double[][] sums : new double[][][] {exact, naive}) {
            sums[0] = new double[in.q.length];
            sums[1] = new double[in.k.length];
            sums[2] = new double[in.v.length];
        }
        int all = layout.rows;
        for (int s = 0; s < layout.count(); s++) {
            int[] queries = layout.queryRows(s);
            int[] keys = layout.keyRows(s);
            double[] q = wide(rows(all, in.q, queries));
            double[] k = wide(rows(all, in.k, keys));
            double[] v = wide(rows(all, in.v, keys));
            double[] dO = wide(rows(all, in.dO, queries));
            Sequences alone = layout.alone(s);
            AttentionOracle.Backward slopes =
                    new AttentionOracle(shape, alone, false).backward(q, k, v, dO);
            add(all, exact[0], slopes.dq(), queries, null);
            add(all, exact[1], slopes.dk(), keys, null);
            add(all, exact[2], slopes.dv(), keys, null);
            slopes = AttentionOracle.naive(shape, alone, dtype).backward(q, k, v, dO);
            add(all, naive[0], slopes.dq(), queries, dtype);
            add(all, naive[1], slopes.dk(), keys, dtype);
            add(all, naive[2], slopes.dv(), keys, dtype);
        }
        fill(results.dq, layout.isQuery(), 0);
        Oracle.assertAccurate("dq", dtype, exact[0], Oracle.rounded(naive[0]), results.dq);
        Oracle.assertAccurate("dk", dtype, exact[1], Oracle.rounded(naive[1]), results.dk);
        Oracle.assertAccurate("dv", dtype, exact[2], Oracle.rounded(naive[2]), results.dv);
    }

    /// @param dtype to which each part is rounded before it is added; null for not at all
    private static void add(
            int all, double[] sums, double[] parts, int[] rows, @Nullable DType dtype) {
        int width = sums.length / all;
        for (int i = 0; i < parts.length; i++) {
            double part = dtype == null ? parts[i] : Buffers.rounded(dtype, (float) parts[i]);
            sums[rows[i / width] * width + i % width] += part;
        }
    }

    private static double[] wide(float[] values) {
        double[] result = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            result[i] = values[i];
        }
        return result;
    }

    static Stream<Arguments> hopperCases() {
        return cases().filter(arguments -> arguments.get()[0] == Target.CUDA_BF16);
    }

    /// Whether dq is added up of what the keys of each block come to, and a block ends where a
    /// range does ([OrderedBackward]).
    private static boolean addsUpByBlocks(Target target, int headDim) {
        return target == Target.CUDA_BF16
                && headDim > 120
                && HopperAttention.runsOn(Target.sharedCuda());
    }

    private static CudaDevice hopper() {
        CudaDevice cuda = Target.sharedCuda();
        assumeTrue(HopperAttention.runsOn(cuda), "not a Hopper GPU");
        return cuda;
    }

    /// Walking over both ranges where they lie and copying them side by side differ only in how
    /// often gradients of a prefix's keys are rounded, and in what dq is added up of; also where
    /// operands begin anywhere.
    @ParameterizedTest
    @MethodSource("hopperCases")
    void copiesGiveTheSameBitsButForPrefixes(
            Target target, Layout layout, int heads, int kvHeads, int headDim, boolean causal) {
        CudaDevice cuda = hopper();
        Shape shape = shape(heads, kvHeads, headDim, causal);
        Inputs in = Inputs.random(target, shape, layout);
        Results walked = Results.of(target, shape, layout, in);
        Results copied =
                Results.of(
                        target,
                        shape,
                        layout,
                        in,
                        0,
                        device -> new PrefixedAttention(device, new CudaAttention(cuda, null)));
        assertThat(walked.o).isEqualTo(copied.o);
        assertThat(walked.lse).isEqualTo(copied.lse);
        if (!addsUpByBlocks(target, headDim)) {
            assertThat(walked.dq).isEqualTo(copied.dq);
        }
        boolean[] own = new boolean[layout.rows];
        Arrays.fill(own, true);
        for (int s = 0; s < layout.count(); s++) {
            int start = layout.sequences.prefixStart()[s];
            Arrays.fill(own, start, start + layout.sequences.prefixLength()[s], false);
        }
        float[] dk = walked.dk.clone();
        float[] dv = walked.dv.clone();
        for (float[] slopes : new float[][] {dk, dv, copied.dk, copied.dv}) {
            fill(slopes, own, 0);
        }
        assertThat(dk).isEqualTo(copied.dk);
        assertThat(dv).isEqualTo(copied.dv);
        Results anywhere = Results.of(target, shape, layout, in, 3, PrefixedAttention::on);
        assertThat(anywhere.o).isEqualTo(walked.o);
        assertThat(anywhere.lse).isEqualTo(walked.lse);
        assertThat(anywhere.dq).isEqualTo(walked.dq);
        assertThat(anywhere.dk).isEqualTo(walked.dk);
        assertThat(anywhere.dv).isEqualTo(walked.dv);
    }

    /// The order of a prefix's sums: not causal, they are those of one sequence of a head for each
    /// key-value head, whose queries are all sequences' and heads' of the group.
    @ParameterizedTest
    @CsvSource({"10, 2, 128", "4, 4, 64", "7, 1, 64", "2, 2, 128"})
    void gradientsOfAPrefixAreOneChain(int heads, int kvHeads, int headDim) {
        hopper();
        Target target = Target.CUDA_BF16;
        Shape shape = shape(heads, kvHeads, headDim, false);
        Layout layout = Layout.CHAIN;
        Inputs in = Inputs.random(target, shape, layout);
        Results results = Results.of(target, shape, layout, in);
        Shape chain = new Shape(kvHeads, kvHeads, headDim, false, shape.scale());
        int[] keys = layout.keyRows(0);
        float[] q = chained(shape, layout, in.q, headDim);
        float[] o = chained(shape, layout, results.o, headDim);
        float[] dO = chained(shape, layout, in.dO, headDim);
        float[] lse = chained(shape, layout, results.lse, 1);
        int queries = lse.length / kvHeads;
        try (Buffers buffers = target.open()) {
            DType dtype = target.dtype();
            Span dq = buffers.poison(dtype, q.length);
            Span dk = buffers.poison(dtype, keys.length * kvHeads * headDim);
            Span dv = buffers.poison(dtype, keys.length * kvHeads * headDim);
            Attention.on(buffers.device())
                    .backward(
                            chain,
                            new Sequences(
                                    new int[] {0},
                                    new int[] {queries},
                                    new int[] {0},
                                    new int[] {keys.length}),
                            buffers.of(dtype, q),
                            buffers.of(dtype, rows(layout.rows, in.k, keys)),
                            buffers.of(dtype, rows(layout.rows, in.v, keys)),
                            buffers.of(dtype, o),
                            buffers.of(lse),
                            buffers.of(dtype, dO),
                            dq,
                            dk,
                            dv);
            assertThat(rows(layout.rows, results.dk, keys)).isEqualTo(buffers.floats(dk));
            assertThat(rows(layout.rows, results.dv, keys)).isEqualTo(buffers.floats(dv));
        }
    }

    /// Rows of sequences and heads of a group as one sequence of a head.
    ///
    /// @param width elements of a row and head
    private static float[] chained(Shape shape, Layout layout, float[] values, int width) {
        int group = shape.heads() / shape.kvHeads();
        List<int[]> order = shape.headDim() == 64 ? byHead(layout, group) : byTile(layout, group);
        float[] result = new float[order.size() * shape.kvHeads() * width];
        int next = 0;
        for (int[] at : order) {
            for (int kvHead = 0; kvHead < shape.kvHeads(); kvHead++) {
                int from = (at[0] * shape.heads() + kvHead * group + at[1]) * width;
                System.arraycopy(values, from, result, next, width);
                next += width;
            }
        }
        return result;
    }

    /// Each row, and the member of the group: a sequence's rows for each member in turn, as they
    /// are summed at head dimension 64.
    private static List<int[]> byHead(Layout layout, int group) {
        List<int[]> order = new ArrayList<>();
        for (int s = 0; s < layout.count(); s++) {
            for (int member = 0; member < group; member++) {
                for (int row : layout.queryRows(s)) {
                    order.add(new int[] {row, member});
                }
            }
        }
        return order;
    }

    /// The same in steps of 16 rows that are summed in tiles of 4, from the last to the first; the
    /// prompt, which is the first sequence, comes last.
    private static List<int[]> byTile(Layout layout, int group) {
        List<int[]> steps = new ArrayList<>();
        for (int i = 1; i <= layout.count(); i++) {
            int s = i % layout.count();
            int start = layout.sequences.own().queryStart()[s];
            int count = layout.sequences.own().queryLength()[s] / 16;
            for (int tile = (count - 1) / 4; tile >= 0; tile--) {
                for (int member = 0; member < group; member++) {
                    for (int step = 4 * tile; step < Math.min(4 * tile + 4, count); step++) {
                        steps.add(new int[] {start + 16 * step, member});
                    }
                }
            }
        }
        // Where the kernel comes by as many steps later.
        int[][] places = new int[steps.size()][];
        int next = 0;
        for (int tile = (steps.size() - 1) / 4; tile >= 0; tile--) {
            for (int step = 4 * tile; step < Math.min(4 * tile + 4, steps.size()); step++) {
                places[step] = steps.get(next++);
            }
        }
        List<int[]> order = new ArrayList<>();
        for (int[] step : places) {
            for (int row = 0; row < 16; row++) {
                order.add(new int[] {step[0] + row, step[1]});
            }
        }
        return order;
    }

    /// Other groups in the batch don't show in a group's bits.
    @ParameterizedTest
    @EnumSource
    void aGroupHasTheSameBitsAlone(Target target) {
        Shape shape = shape(4, 2, 64, true);
        Layout layout = Layout.LENGTHS;
        Inputs in = Inputs.random(target, shape, layout);
        Results together = Results.of(target, shape, layout, in);
        Layout one = Layout.FIFTH;
        int shift =
                layout.sequences.own().keyStart()[Layout.FIFTH_FIRST]
                        - one.sequences.own().keyStart()[0];
        Inputs alone =
                new Inputs(
                        shifted(layout, one, shift, in.q),
                        shifted(layout, one, shift, in.k),
                        shifted(layout, one, shift, in.v),
                        shifted(layout, one, shift, in.dO));
        Results results = Results.of(target, shape, one, alone);
        for (int s = 0; s < one.count(); s++) {
            int[] rows = one.queryRows(s);
            int[] same = layout.queryRows(Layout.FIFTH_FIRST + s);
            assertThat(rows(one.rows, results.o, rows))
                    .isEqualTo(rows(layout.rows, together.o, same));
            assertThat(rows(one.rows, results.dq, rows))
                    .isEqualTo(rows(layout.rows, together.dq, same));
            assertThat(rows(one.rows, results.dk, rows))
                    .isEqualTo(rows(layout.rows, together.dk, same));
            assertThat(rows(one.rows, results.dv, rows))
                    .isEqualTo(rows(layout.rows, together.dv, same));
        }
    }

    private static float[] shifted(Layout from, Layout to, int shift, float[] values) {
        return rows(from.rows, values, IntStream.range(shift, shift + to.rows).toArray());
    }

    @ParameterizedTest
    @EnumSource
    void wrongExtentsAreRefused(Target target) {
        Shape shape = new Shape(1, 1, 8, true, 1);
        int[] one = {1};
        int[] zero = {0};
        try (Buffers buffers = target.open()) {
            Span row = buffers.of(target.dtype(), new float[8]);
            Span lse = buffers.poison(1);
            PrefixedAttention attention = PrefixedAttention.on(buffers.device());
            Sequences own = new Sequences(zero, one, zero, one);
            assertThatThrownBy(() ->
                            attention.forward(
                                    shape,
                                    new Prefixed(own, new int[] {-1}, one),
                                    row,
                                    row,
                                    row,
                                    buffers.of(target.dtype(), new float[8]),
                                    lse))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("sequence 0 has a negative extent");
            assertThatThrownBy(() ->
                            attention.forward(
                                    shape,
                                    new Prefixed(own, new int[2], one),
                                    row,
                                    row,
                                    row,
                                    buffers.of(target.dtype(), new float[8]),
                                    lse))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("the arrays of the prefixes differ in length");
        }
    }
}
