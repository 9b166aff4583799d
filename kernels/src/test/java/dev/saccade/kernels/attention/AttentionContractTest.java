package dev.saccade.kernels.attention;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Device;
import dev.saccade.engine.Replay;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.Attention.Shape;
import dev.saccade.kernels.testing.Buffers;
import dev.saccade.kernels.testing.Oracle;
import dev.saccade.kernels.testing.Target;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
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
import org.junit.jupiter.params.provider.ValueSource;

/// The contract of attention on each device: accuracy against the definition in double precision,
/// and the same bits however queries are cut into calls and batches.
@Tag("device")
class AttentionContractTest {
    private static final int[] LENGTHS = {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 200};

    /// What a call leaves behind.
    private record Outputs(float[] o, float[] lse) {}

    /// What a backward call leaves behind.
    private record Gradients(float[] dq, float[] dk, float[] dv) {}

    /// Inputs, rounded to the type in which they are used.
    private record Inputs(
            Target target,
            Shape shape,
            Sequences sequences,
            float[] q,
            float[] k,
            float[] v,
            float[] dO) {

        static Inputs random(Target target, Shape shape, Sequences sequences, long seed) {
            int query = sequences.queryRows() * shape.heads() * shape.headDim();
            int key = sequences.keyRows() * shape.kvHeads() * shape.headDim();
            return new Inputs(
                    target,
                    shape,
                    sequences,
                    Buffers.rounded(target.dtype(), Buffers.normal(seed, query, 1.5)),
                    Buffers.rounded(target.dtype(), Buffers.normal(seed + 1, key, 1.5)),
                    Buffers.rounded(target.dtype(), Buffers.normal(seed + 2, key, 1)),
                    Buffers.rounded(target.dtype(), Buffers.normal(seed + 3, query, 1)));
        }

        int queryWidth() {
            return shape.heads() * shape.headDim();
        }

        int keyWidth() {
            return shape.kvHeads() * shape.headDim();
        }
    }

    /// The operands of one case on its device, each `shift` elements into its buffer.
    private static final class Operands implements AutoCloseable {
        private final Inputs in;
        private final int shift;
        private final Buffers buffers;
        private final Attention attention;
        private final Span q;
        private final Span k;
        private final Span v;
        private final Span o;
        private final Span lse;

        Operands(Inputs in, int shift) {
            this(in, shift, Attention::on);
        }

        Operands(Inputs in, int shift, Function<Device, Attention> on) {
            this.in = in;
            this.shift = shift;
            this.buffers = in.target.open();
            this.attention = on.apply(buffers.device());
            this.q = input(in.q);
            this.k = input(in.k);
            this.v = input(in.v);
            this.o = output(in.target.dtype(), in.q.length);
            this.lse = output(DType.F32, in.q.length / in.shape.headDim());
        }

        Span input(float[] values) {
            float[] shifted = new float[values.length + shift];
            System.arraycopy(values, 0, shifted, shift, values.length);
            return buffers.of(in.target.dtype(), shifted).slice(shift, values.length);
        }

        Span output(DType dtype, int elements) {
            return buffers.poison(dtype, elements + shift).slice(shift, elements);
        }

        Outputs forward() {
            attention.forward(in.shape, in.sequences, q, k, v, o, lse);
            return new Outputs(buffers.floats(o), buffers.floats(lse));
        }

        /// After [#forward].
        Gradients backward() {
            Span dq = output(in.target.dtype(), in.q.length);
            Span dk = output(in.target.dtype(), in.k.length);
            Span dv = output(in.target.dtype(), in.v.length);
            return backward(input(in.dO), dq, dk, dv);
        }

        Gradients backward(Span dO, Span dq, Span dk, Span dv) {
            attention.backward(in.shape, in.sequences, q, k, v, o, lse, dO, dq, dk, dv);
            return new Gradients(buffers.floats(dq), buffers.floats(dk), buffers.floats(dv));
        }

        @Override
        public void close() {
            buffers.close();
        }
    }

    private static Shape shape(int heads, int kvHeads, int headDim, boolean causal) {
        return new Shape(heads, kvHeads, headDim, causal, (float) Math.pow(headDim, -0.5));
    }

    private static Sequences packed(int... lengths) {
        int[] cumulative = new int[lengths.length + 1];
        for (int s = 0; s < lengths.length; s++) {
            cumulative[s + 1] = cumulative[s] + lengths[s];
        }
        return Sequences.packed(cumulative);
    }

    private static Outputs forward(Inputs in) {
        try (Operands operands = new Operands(in, 0)) {
            return operands.forward();
        }
    }

    private static double[] exact(float[] values) {
        double[] result = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            result[i] = values[i];
        }
        return result;
    }

    /// Where a query has no keys, its lse counts as 0 on both sides: see [#finite].
    private static void assertAccurate(Inputs in, Outputs outputs, Gradients gradients) {
        DType dtype = in.target.dtype();
        AttentionOracle exactly = new AttentionOracle(in.shape, in.sequences, false);
        AttentionOracle naively = AttentionOracle.naive(in.shape, in.sequences, dtype);
        double[] q = exact(in.q);
        double[] k = exact(in.k);
        double[] v = exact(in.v);
        double[] dO = exact(in.dO);
        AttentionOracle.Forward exact = exactly.forward(q, k, v);
        AttentionOracle.Forward naive = naively.forward(q, k, v);
        assertAccurate("o", dtype, exact.o(), naive.o(), outputs.o);
        assertAccurate("lse", DType.F32, finite(exact.lse()), finite(naive.lse()), outputs.lse);
        AttentionOracle.Backward exactSlopes = exactly.backward(q, k, v, dO);
        AttentionOracle.Backward naiveSlopes = naively.backward(q, k, v, dO);
        assertAccurate("dq", dtype, exactSlopes.dq(), naiveSlopes.dq(), gradients.dq);
        assertAccurate("dk", dtype, exactSlopes.dk(), naiveSlopes.dk(), gradients.dk);
        assertAccurate("dv", dtype, exactSlopes.dv(), naiveSlopes.dv(), gradients.dv);
    }

    private static void assertAccurate(
            String what, DType dtype, double[] exact, double[] naive, float[] actual) {
        Oracle.assertAccurate(what, dtype, exact, Oracle.rounded(naive), actual);
    }

    private static Stream<Arguments> over(Arguments... cases) {
        return Stream.of(Target.values())
                .flatMap(target ->
                        Stream.of(cases)
                                .map(one -> {
                                    Object[] rest = one.get();
                                    Object[] all = new Object[rest.length + 1];
                                    all[0] = target;
                                    System.arraycopy(rest, 0, all, 1, rest.length);
                                    return Arguments.of(all);
                                }));
    }

    static Stream<Arguments> shapes() {
        return over(
                Arguments.of(2, 2, 128, true),
                Arguments.of(2, 1, 128, false),
                Arguments.of(7, 1, 64, true),
                Arguments.of(2, 2, 64, false),
                Arguments.of(4, 2, 80, true),
                Arguments.of(2, 1, 33, false),
                Arguments.of(2, 1, 32, true),
                Arguments.of(3, 3, 8, true),
                Arguments.of(17, 1, 8, false));
    }

    @ParameterizedTest
    @MethodSource("shapes")
    void resultsAndGradientsAreAccurate(
            Target target, int heads, int kvHeads, int headDim, boolean causal) {
        Inputs in =
                Inputs.random(
                        target, shape(heads, kvHeads, headDim, causal), packed(LENGTHS), headDim);
        try (Operands operands = new Operands(in, 0)) {
            assertAccurate(in, operands.forward(), operands.backward());
        }
    }

    static Stream<Arguments> masks() {
        return over(Arguments.of(true), Arguments.of(false));
    }

    /// Sequences in any order with rows between them that belong to nobody, with more keys than
    /// queries, without queries, and (where that can be) without keys.
    @ParameterizedTest
    @MethodSource("masks")
    void onlyCoveredRowsAreReadAndWritten(Target target, boolean causal) {
        Shape shape = shape(6, 2, 64, causal);
        Sequences sequences =
                new Sequences(
                        new int[] {45, 1, 8, 90},
                        new int[] {37, 5, 0, causal ? 0 : 2},
                        new int[] {102, 3, 90, 300},
                        new int[] {140, 80, 10, causal ? 2 : 0});
        Inputs in = Inputs.random(target, shape, sequences, 61);
        boolean[] query = covered(sequences.queryStart(), sequences.queryLength(), in.q.length);
        boolean[] key = covered(sequences.keyStart(), sequences.keyLength(), in.k.length);
        spoil(in.q, query);
        spoil(in.dO, query);
        spoil(in.k, key);
        spoil(in.v, key);
        try (Operands operands = new Operands(in, 0)) {
            Outputs outputs = operands.forward();
            Gradients gradients = operands.backward();
            if (!causal) {
                int row = 90 * 6;
                for (int i = row; i < row + 12; i++) {
                    assertThat(outputs.lse[i]).isEqualTo(Float.NEGATIVE_INFINITY);
                    outputs.lse[i] = 0;
                }
            }
            for (float[] values : new float[][] {outputs.o, outputs.lse, gradients.dq}) {
                assertOnlyCoveredAreWritten(values, query);
            }
            assertOnlyCoveredAreWritten(gradients.dk, key);
            assertOnlyCoveredAreWritten(gradients.dv, key);
            assertAccurate(in, outputs, gradients);
        }
    }

    private static double[] finite(double[] values) {
        return Arrays.stream(values).map(x -> Double.isInfinite(x) ? 0 : x).toArray();
    }

    /// Which rows belong to a sequence; the number of rows is the largest end.
    private static boolean[] covered(int[] start, int[] length, int elements) {
        int rows = 0;
        for (int s = 0; s < start.length; s++) {
            rows = Math.max(rows, start[s] + length[s]);
        }
        assertThat(elements % rows).isZero();
        boolean[] covered = new boolean[rows];
        for (int s = 0; s < start.length; s++) {
            Arrays.fill(covered, start[s], start[s] + length[s], true);
        }
        return covered;
    }

    private static void spoil(float[] values, boolean[] covered) {
        int width = values.length / covered.length;
        for (int row = 0; row < covered.length; row++) {
            if (!covered[row]) {
                Arrays.fill(values, row * width, (row + 1) * width, Float.NaN);
            }
        }
    }

    /// Rows of nobody are still poisoned; they then become 0, as in the oracle.
    private static void assertOnlyCoveredAreWritten(float[] values, boolean[] covered) {
        int width = values.length / covered.length;
        for (int i = 0; i < values.length; i++) {
            assertThat(Float.isNaN(values[i])).as("element %d", i).isEqualTo(!covered[i / width]);
            if (!covered[i / width]) {
                values[i] = 0;
            }
        }
    }

    static Stream<Arguments> groups() {
        return over(
                Arguments.of(2, 2, 128),
                Arguments.of(7, 1, 128),
                Arguments.of(6, 1, 64),
                Arguments.of(2, 1, 33),
                Arguments.of(20, 1, 16));
    }

    @ParameterizedTest
    @MethodSource("groups")
    void decodingGivesTheBitsOfTheWholeSequence(
            Target target, int heads, int kvHeads, int headDim) {
        int length = 197;
        Shape shape = shape(heads, kvHeads, headDim, true);
        Inputs in = Inputs.random(target, shape, packed(length), 21);
        Outputs whole = forward(in);
        int[] start = new int[length];
        int[] lengths = new int[length];
        Arrays.setAll(lengths, i -> i + 1);
        Outputs all = decode(in, start, lengths, 1, in.q, null);
        assertThat(all.o).isEqualTo(whole.o);
        assertThat(all.lse).isEqualTo(whole.lse);
        int query = 70;
        int width = in.queryWidth();
        float[] q = Arrays.copyOfRange(in.q, query * width, (query + 1) * width);
        Outputs one = decode(in, new int[1], new int[] {query + 1}, 1, q, null);
        assertThat(one.o)
                .isEqualTo(Arrays.copyOfRange(whole.o, query * width, query * width + width));
        assertThat(one.lse)
                .isEqualTo(Arrays.copyOfRange(whole.lse, query * heads, query * heads + heads));
    }

    /// Several new queries of each sequence, of which the first may be the sequence's first one.
    @ParameterizedTest
    @MethodSource("groups")
    void aFewQueriesGiveTheBitsOfTheWholeSequence(
            Target target, int heads, int kvHeads, int headDim) {
        int length = 197;
        Shape shape = shape(heads, kvHeads, headDim, true);
        Inputs in = Inputs.random(target, shape, packed(length), 23);
        Outputs whole = forward(in);
        int width = in.queryWidth();
        for (int queries : new int[] {2, 3, 17}) {
            int[] ends = {queries, 31 + queries, 63, 64, 65, 127, 129, 64 + queries, 197};
            float[] q = new float[ends.length * queries * width];
            float[] o = new float[q.length];
            float[] lse = new float[ends.length * queries * heads];
            for (int s = 0; s < ends.length; s++) {
                int from = ends[s] - queries;
                int at = s * queries;
                System.arraycopy(in.q, from * width, q, at * width, queries * width);
                System.arraycopy(whole.o, from * width, o, at * width, queries * width);
                System.arraycopy(whole.lse, from * heads, lse, at * heads, queries * heads);
            }
            Outputs some = decode(in, new int[ends.length], ends, queries, q, null);
            assertThat(some.o).isEqualTo(o);
            assertThat(some.lse).isEqualTo(lse);
        }
    }

    /// Groups of sequences of a decode step: see [Attention.Prefixes].
    private record Groups(int[] start, int[] shared) {
        int largest() {
            int largest = 0;
            for (int g = 0; g + 1 < start.length; g++) {
                largest = Math.max(largest, start[g + 1] - start[g]);
            }
            return largest;
        }

        /// The first sequence of a sequence's group.
        int first(int sequence) {
            int first = 0;
            for (int begin : start) {
                first = begin <= sequence ? begin : first;
            }
            return first;
        }
    }

    /// A cache that has the keys and values of some sequences in pages in no order; NaN is what no
    /// sequence has.
    private record Cache(float[] k, float[] v, int[] table, int width) {
        static Cache of(Inputs in, int[] keyStart, int[] keyLength, @Nullable Groups groups) {
            int page = Attention.PAGE;
            int count = keyStart.length;
            int width = 1 + Arrays.stream(keyLength).max().orElseThrow() / page;
            int pages = 3;
            for (int length : keyLength) {
                pages += Math.ceilDiv(length, page);
            }
            int step = 7;
            while (pages % step == 0) {
                step += 4;
            }
            float[] k = new float[pages * page * in.keyWidth()];
            float[] v = new float[k.length];
            Arrays.fill(k, Float.NaN);
            Arrays.fill(v, Float.NaN);
            int[] table = new int[count * width];
            Arrays.fill(table, Integer.MIN_VALUE);
            int taken = 0;
            for (int s = 0; s < count; s++) {
                int first = groups == null ? s : groups.first(s);
                int common = groups == null || first == s ? 0 : groups.shared[s];
                for (int i = 0; i * page < keyLength[s]; i++) {
                    if (i < common) {
                        table[s * width + i] = table[first * width + i];
                        continue;
                    }
                    int at = (int) ((5 + (long) step * taken++) % pages);
                    table[s * width + i] = at;
                    int elements = Math.min(page, keyLength[s] - i * page) * in.keyWidth();
                    int from = (keyStart[s] + i * page) * in.keyWidth();
                    System.arraycopy(in.k, from, k, at * page * in.keyWidth(), elements);
                    System.arraycopy(in.v, from, v, at * page * in.keyWidth(), elements);
                }
            }
            return new Cache(k, v, table, width);
        }
    }

    private static Outputs decode(
            Inputs in,
            int[] keyStart,
            int[] keyLength,
            int queries,
            float[] q,
            @Nullable Groups groups) {
        return decode(in, keyStart, keyLength, queries, q, groups, Attention::on);
    }

    private static Outputs decode(
            Inputs in,
            int[] keyStart,
            int[] keyLength,
            int queries,
            float[] q,
            @Nullable Groups groups,
            Function<Device, Attention> on) {
        Cache cache = Cache.of(in, keyStart, keyLength, groups);
        int count = keyStart.length;
        try (Buffers buffers = in.target.open()) {
            DType dtype = in.target.dtype();
            Span o = buffers.poison(dtype, q.length);
            Span lse = buffers.poison(q.length / in.shape.headDim());
            Attention.Pages pages =
                    new Attention.Pages(
                            count,
                            queries,
                            cache.width,
                            buffers.of(cache.table),
                            buffers.of(keyLength));
            Attention.Prefixes prefixes = null;
            if (groups != null) {
                long state = Attention.stateElements(in.shape, count * queries);
                prefixes =
                        new Attention.Prefixes(
                                groups.start.length - 1,
                                groups.largest(),
                                buffers.of(groups.start),
                                buffers.of(groups.shared),
                                buffers.poison(Math.toIntExact(state)));
            }
            on.apply(buffers.device())
                    .decode(
                            in.shape,
                            pages,
                            prefixes,
                            buffers.of(dtype, q),
                            buffers.of(dtype, cache.k),
                            buffers.of(dtype, cache.v),
                            o,
                            lse);
            return new Outputs(buffers.floats(o), buffers.floats(lse));
        }
    }

    static Stream<Arguments> sharing() {
        return over(
                Arguments.of(2, 2, 128, 1),
                Arguments.of(10, 2, 128, 1),
                Arguments.of(14, 2, 64, 1),
                Arguments.of(7, 1, 128, 2),
                Arguments.of(2, 1, 33, 1),
                Arguments.of(6, 2, 24, 3),
                Arguments.of(20, 1, 16, 1));
    }

    /// Sequences of groups: the prompts of the group's first 130, 64 and 200 keys, and so on, and
    /// what each has of its own. The prompt ends within a page, at the end of one, or before that
    /// of the first.
    private static Inputs grouped(
            Target target, Shape shape, int queries, Groups groups, int[] length, float rise) {
        int count = length.length;
        int[] queryStart = new int[count];
        int[] queryLength = new int[count];
        int[] keyStart = new int[count];
        Arrays.fill(queryLength, queries);
        for (int s = 1; s < count; s++) {
            queryStart[s] = s * queries;
            keyStart[s] = keyStart[s - 1] + length[s - 1];
        }
        Sequences sequences = new Sequences(queryStart, queryLength, keyStart, length);
        Inputs in = Inputs.random(target, shape, sequences, 121);
        for (int s = 0; s < count; s++) {
            int shared = groups.shared[s] * Attention.PAGE * in.keyWidth();
            int from = keyStart[groups.first(s)] * in.keyWidth();
            int to = keyStart[s] * in.keyWidth();
            System.arraycopy(in.k, from, in.k, to, shared);
            System.arraycopy(in.v, from, in.v, to, shared);
            if (rise > 0) {
                for (int i = 0; i < length[s] * in.keyWidth(); i++) {
                    int key = i / in.keyWidth();
                    float steep = key * 37 % 101 == 0 ? 2f : 0f;
                    boolean copied = i < shared && groups.first(s) < s;
                    if (!copied) {
                        in.k[to + i] =
                                Buffers.rounded(
                                        target.dtype(), 0.3f * in.k[to + i] + rise * key + steep);
                    }
                }
                System.arraycopy(in.k, from, in.k, to, shared);
            }
        }
        if (rise > 0) {
            for (int i = 0; i < in.q.length; i++) {
                in.q[i] = Math.abs(in.q[i]);
            }
        }
        return in;
    }

    private static final Groups GROUPS =
            new Groups(
                    new int[] {0, 3, 4, 4, 13, 15, 17},
                    new int[] {2, 2, 2, 1, 5, 5, 5, 5, 5, 5, 5, 5, 5, 0, 0, 3, 3});

    private static final int[] GROUPED_LENGTHS = {
        131, 200, 140, 70, 333, 400, 331, 350, 323, 324, 384, 385, 360, 90, 17, 195, 256
    };

    @ParameterizedTest
    @MethodSource("sharing")
    void sharedPagesDoNotShow(Target target, int heads, int kvHeads, int headDim, int queries) {
        Shape shape = shape(heads, kvHeads, headDim, true);
        for (float rise : new float[] {0, 0.01f, 0.05f}) {
            Inputs in = grouped(target, shape, queries, GROUPS, GROUPED_LENGTHS, rise);
            Outputs whole = forward(in);
            int[] start = in.sequences.keyStart();
            Outputs plain = decode(in, start, GROUPED_LENGTHS, queries, in.q, null);
            assertSameBits("plain lse", in.shape.heads(), 1, whole.lse, plain.lse);
            assertSameBits("plain o", in.shape.heads(), headDim, whole.o, plain.o);
            Outputs shared = decode(in, start, GROUPED_LENGTHS, queries, in.q, GROUPS);
            assertSameBits("lse", in.shape.heads(), 1, whole.lse, shared.lse);
            assertSameBits("o", in.shape.heads(), headDim, whole.o, shared.o);
        }
    }

    /// More rows than a block has, and more pages than its ring holds.
    @ParameterizedTest
    @EnumSource
    void manySequencesShareAPrompt(Target target) {
        int count = 25;
        int[] shared = new int[count];
        int[] length = new int[count];
        Arrays.fill(shared, 13);
        Arrays.setAll(length, s -> 13 * Attention.PAGE + 1 + 7 * s);
        Groups groups = new Groups(new int[] {0, count}, shared);
        for (int headDim : new int[] {64, 128}) {
            Shape shape = shape(6, 1, headDim, true);
            Inputs in = grouped(target, shape, 1, groups, length, 0);
            Outputs whole = forward(in);
            Outputs outputs = decode(in, in.sequences.keyStart(), length, 1, in.q, groups);
            assertSameBits("lse", in.shape.heads(), 1, whole.lse, outputs.lse);
            assertSameBits("o", in.shape.heads(), headDim, whole.o, outputs.o);
        }
    }

    /// Whether the walk over shared pages by wgmma leaves what the portable one leaves.
    @ParameterizedTest
    @ValueSource(ints = {64, 128})
    void hopperAndPortableWalksOverSharedPagesAgree(int headDim) {
        CudaDevice cuda = Target.sharedCuda();
        assumeTrue(HopperAttention.runsOn(cuda), "not a Hopper GPU");
        Shape shape = shape(10, 2, headDim, true);
        for (float rise : new float[] {0, 0.002f, 0.01f, 0.05f}) {
            Inputs in = grouped(Target.CUDA_BF16, shape, 1, GROUPS, GROUPED_LENGTHS, rise);
            int[] start = in.sequences.keyStart();
            Outputs portable =
                    decode(
                            in,
                            start,
                            GROUPED_LENGTHS,
                            1,
                            in.q,
                            GROUPS,
                            _ -> new CudaAttention(cuda, null));
            for (int run = 0; run < 2; run++) {
                Outputs hopper = decode(in, start, GROUPED_LENGTHS, 1, in.q, GROUPS);
                assertSameBits("lse", in.shape.heads(), 1, portable.lse, hopper.lse);
                assertSameBits("o", in.shape.heads(), headDim, portable.o, hopper.o);
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void aPageThatIsNotThereIsReported(Target target) {
        Shape shape = shape(2, 1, 64, true);
        Inputs in = Inputs.random(target, shape, packed(100), 27);
        for (int wrong : new int[] {-1, 2, Integer.MAX_VALUE}) {
            try (Operands operands = new Operands(in, 0)) {
                Buffers buffers = operands.buffers;
                Span cache = buffers.of(target.dtype(), new float[2 * Attention.PAGE * 64]);
                Attention.Pages pages =
                        new Attention.Pages(
                                1,
                                1,
                                2,
                                buffers.of(new int[] {1, wrong}),
                                buffers.of(new int[] {100}));
                assertThatThrownBy(
                                () -> {
                                    operands.attention.decode(
                                            shape,
                                            pages,
                                            null,
                                            operands.q,
                                            cache,
                                            cache,
                                            operands.o,
                                            operands.lse);
                                    buffers.device().synchronize();
                                })
                        .isInstanceOf(IndexOutOfBoundsException.class);
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void aRecordedDecodeFollowsThePositions(Target target) {
        Shape shape = shape(4, 2, 64, true);
        Inputs in = Inputs.random(target, shape, packed(150), 25);
        int[] starts = {0, 0, 20};
        int[] lengths = {70, 65, 130};
        Groups groups = new Groups(new int[] {0, 2, 3}, new int[] {1, 1, 0});
        float[] q = Arrays.copyOf(in.q, 3 * in.queryWidth());
        Outputs expected = decode(in, starts, lengths, 1, q, groups);
        Cache cache = Cache.of(in, starts, lengths, groups);
        int[] before = {65, 65, 1};
        try (Buffers buffers = target.open()) {
            Attention attention = Attention.on(buffers.device());
            DType dtype = target.dtype();
            Span queries = buffers.of(dtype, q);
            Span k = buffers.of(dtype, cache.k);
            Span v = buffers.of(dtype, cache.v);
            Span o = buffers.poison(dtype, q.length);
            Span lse = buffers.poison(3 * 4);
            Span length = buffers.of(before);
            Attention.Pages pages =
                    new Attention.Pages(3, 1, cache.width, buffers.of(cache.table), length);
            int state = Math.toIntExact(Attention.stateElements(shape, 3));
            Attention.Prefixes prefixes =
                    new Attention.Prefixes(
                            2,
                            2,
                            buffers.of(groups.start),
                            buffers.of(groups.shared),
                            buffers.poison(state));
            try (Replay replay =
                    buffers.device()
                            .record(() ->
                                    attention.decode(
                                            shape, pages, prefixes, queries, k, v, o, lse))) {
                replay.run();
                buffers.device().upload(MemorySegment.ofArray(lengths), length.buffer(), 0);
                replay.run();
                assertThat(buffers.floats(o)).isEqualTo(expected.o);
                assertThat(buffers.floats(lse)).isEqualTo(expected.lse);
            }
        }
    }

    static Stream<Arguments> chunks() {
        return over(
                Arguments.of(1),
                Arguments.of(7),
                Arguments.of(32),
                Arguments.of(33),
                Arguments.of(64),
                Arguments.of(100));
    }

    @ParameterizedTest
    @MethodSource("chunks")
    void chunkedPrefillGivesTheBitsOfTheWholeSequence(Target target, int chunk) {
        int length = 197;
        int heads = 6;
        Shape shape = shape(heads, 2, 64, true);
        Inputs in = Inputs.random(target, shape, packed(length), 31);
        Outputs whole = forward(in);
        int width = in.queryWidth();
        for (int from = 0; from < length; from += chunk) {
            int to = Math.min(length, from + chunk);
            Sequences part =
                    new Sequences(
                            new int[] {0}, new int[] {to - from}, new int[] {0}, new int[] {to});
            float[] q = Arrays.copyOfRange(in.q, from * width, to * width);
            Outputs outputs = forward(new Inputs(target, shape, part, q, in.k, in.v, q));
            assertThat(outputs.o).isEqualTo(Arrays.copyOfRange(whole.o, from * width, to * width));
            assertThat(outputs.lse)
                    .isEqualTo(Arrays.copyOfRange(whole.lse, from * heads, to * heads));
        }
    }

    static Stream<Arguments> masksAndHeadDims() {
        return over(
                Arguments.of(true, 32),
                Arguments.of(false, 32),
                Arguments.of(true, 64),
                Arguments.of(false, 64),
                Arguments.of(true, 128),
                Arguments.of(false, 128));
    }

    @ParameterizedTest
    @MethodSource("masksAndHeadDims")
    void aSequenceDoesNotDependOnItsBatch(Target target, boolean causal, int headDim) {
        Shape shape = shape(7, 1, headDim, causal);
        Inputs batch = Inputs.random(target, shape, packed(70, 1, 33, 129, 90, 200), 41);
        Outputs outputs;
        Gradients gradients;
        try (Operands operands = new Operands(batch, 0)) {
            outputs = operands.forward();
            gradients = operands.backward();
        }
        int query = batch.queryWidth();
        int key = batch.keyWidth();
        for (int s = 0; s < batch.sequences.count(); s++) {
            int from = batch.sequences.queryStart()[s];
            int to = from + batch.sequences.queryLength()[s];
            Inputs alone =
                    new Inputs(
                            target,
                            shape,
                            packed(to - from),
                            Arrays.copyOfRange(batch.q, from * query, to * query),
                            Arrays.copyOfRange(batch.k, from * key, to * key),
                            Arrays.copyOfRange(batch.v, from * key, to * key),
                            Arrays.copyOfRange(batch.dO, from * query, to * query));
            try (Operands operands = new Operands(alone, 0)) {
                Outputs one = operands.forward();
                Gradients slopes = operands.backward();
                assertThat(one.o)
                        .isEqualTo(Arrays.copyOfRange(outputs.o, from * query, to * query));
                assertThat(one.lse).isEqualTo(Arrays.copyOfRange(outputs.lse, from * 7, to * 7));
                assertThat(slopes.dq)
                        .isEqualTo(Arrays.copyOfRange(gradients.dq, from * query, to * query));
                assertThat(slopes.dk)
                        .isEqualTo(Arrays.copyOfRange(gradients.dk, from * key, to * key));
                assertThat(slopes.dv)
                        .isEqualTo(Arrays.copyOfRange(gradients.dv, from * key, to * key));
            }
        }
    }

    /// Neither a second run nor where the operands begin shows in the bits.
    @ParameterizedTest
    @MethodSource("masks")
    void repeatedAndUnalignedCallsGiveTheSameBits(Target target, boolean causal) {
        Inputs in = Inputs.random(target, shape(14, 2, 128, causal), packed(150, 3, 77), 51);
        try (Operands operands = new Operands(in, 0);
                Operands unaligned = new Operands(in, 1)) {
            Outputs outputs = operands.forward();
            Gradients gradients = operands.backward();
            for (Operands again : new Operands[] {operands, unaligned}) {
                Outputs repeated = again.forward();
                assertThat(repeated.o).isEqualTo(outputs.o);
                assertThat(repeated.lse).isEqualTo(outputs.lse);
                Gradients slopes = again.backward();
                assertThat(slopes.dq).isEqualTo(gradients.dq);
                assertThat(slopes.dk).isEqualTo(gradients.dk);
                assertThat(slopes.dv).isEqualTo(gradients.dv);
            }
        }
    }

    /// Every kind of kernels on Hopper, with extents.
    static Stream<Arguments> hopperKernels() {
        return Stream.of(HopperForward.values())
                .flatMap(kernel ->
                        Stream.of(
                                Arguments.of(kernel, 2, 2, 128, true),
                                Arguments.of(kernel, 10, 2, 128, true),
                                Arguments.of(kernel, 3, 3, 128, false),
                                Arguments.of(kernel, 7, 1, 64, true),
                                Arguments.of(kernel, 4, 2, 64, false)));
    }

    /// Whether Hopper's kernel, by wgmma and many blocks of keys at once, and the portable one, by
    /// mma.sync and block by block, give a query the same bits: what decode and prefill share.
    @ParameterizedTest
    @MethodSource("hopperKernels")
    void hopperAndPortableKernelsAgreeInTheirBits(
            HopperForward kernel, int heads, int kvHeads, int headDim, boolean causal) {
        Shape shape = shape(heads, kvHeads, headDim, causal);
        Sequences sequences =
                packed(1, 2, 63, 64, 65, 0, 127, 128, 129, 191, 192, 193, 256, 257, 600, 1025);
        assertHopperAgrees(kernel, Inputs.random(Target.CUDA_BF16, shape, sequences, 81 + headDim));
    }

    /// Last tiles of any number of keys, of which Hopper's kernels multiply 32, 64 or all, behind
    /// no whole tile, one and some.
    @ParameterizedTest
    @MethodSource("hopperKernels")
    void hopperAndPortableKernelsAgreeOnLastTilesOfAnyLength(
            HopperForward kernel, int heads, int kvHeads, int headDim, boolean causal) {
        int tile = kernel.keys(headDim);
        int[] rests = {1, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 95, 96, 97, 127, 128};
        int[] lengths =
                IntStream.of(rests)
                        .filter(rest -> rest <= tile)
                        .flatMap(rest -> IntStream.of(rest, tile + rest))
                        .toArray();
        lengths = Arrays.copyOf(lengths, lengths.length + 5);
        System.arraycopy(new int[] {961, 993, 1025, 1057, 1088}, 0, lengths, lengths.length - 5, 5);
        assertHopperAgrees(
                kernel,
                Inputs.random(
                        Target.CUDA_BF16,
                        shape(heads, kvHeads, headDim, causal),
                        packed(lengths),
                        161 + headDim));
    }

    /// Scores that are all far below 0 or come from there, so that shifts are negative.
    @ParameterizedTest
    @MethodSource("hopperKernels")
    void hopperAndPortableKernelsAgreeWhereScoresAreNegative(
            HopperForward kernel, int heads, int kvHeads, int headDim, boolean causal) {
        Shape shape = shape(heads, kvHeads, headDim, causal);
        for (float low : new float[] {0.5f, 2f, 8f}) {
            Inputs in =
                    Inputs.random(
                            Target.CUDA_BF16,
                            shape,
                            packed(600, 333, 64, 161, 184, 1025),
                            171 + headDim);
            for (int i = 0; i < in.q.length; i++) {
                in.q[i] = Buffers.rounded(DType.BF16, Math.abs(in.q[i]));
            }
            for (int i = 0; i < in.k.length; i++) {
                float rise = 0.01f * (i / in.keyWidth() % 300);
                in.k[i] = Buffers.rounded(DType.BF16, 0.3f * in.k[i] + rise - low);
            }
            assertHopperAgrees(kernel, in);
        }
    }

    /// Scores that rise along the keys, and of a few keys at random places steeply: shifts then
    /// move between any two blocks of a tile, in some rows or in all.
    @ParameterizedTest
    @MethodSource("hopperKernels")
    void hopperAndPortableKernelsAgreeWhereScoresRise(
            HopperForward kernel, int heads, int kvHeads, int headDim, boolean causal) {
        Shape shape = shape(heads, kvHeads, headDim, causal);
        for (float rise : new float[] {0.002f, 0.01f, 0.05f}) {
            Inputs in =
                    Inputs.random(
                            Target.CUDA_BF16,
                            shape,
                            packed(600, 333, 64, 160, 161, 184, 1025),
                            91 + headDim);
            for (int i = 0; i < in.q.length; i++) {
                in.q[i] = Buffers.rounded(DType.BF16, Math.abs(in.q[i]));
            }
            for (int i = 0; i < in.k.length; i++) {
                int key = i / in.keyWidth();
                float steep = key * 37 % 101 == 0 ? 2f : 0f;
                in.k[i] = Buffers.rounded(DType.BF16, 0.3f * in.k[i] + rise * key + steep);
            }
            assertHopperAgrees(kernel, in);
        }
    }

    /// As [#onlyCoveredRowsAreReadAndWritten]; also a sequence that ends within a tile before keys
    /// that are not finite, and chunks whose keys begin long before their queries.
    @ParameterizedTest
    @MethodSource("hopperKernels")
    void hopperLeavesWhatBelongsToNobody(
            HopperForward kernel, int heads, int kvHeads, int headDim, boolean causal) {
        Shape shape = shape(heads, kvHeads, headDim, causal);
        Sequences sequences =
                new Sequences(
                        new int[] {45, 1, 8, 90, 200, 400},
                        new int[] {37, 5, 0, causal ? 0 : 2, 130, 1},
                        new int[] {102, 3, 90, 300, 310, 5},
                        new int[] {140, 80, 10, causal ? 2 : 0, 517, 70});
        Inputs in = Inputs.random(Target.CUDA_BF16, shape, sequences, 101 + headDim);
        boolean[] query = covered(sequences.queryStart(), sequences.queryLength(), in.q.length);
        boolean[] key = covered(sequences.keyStart(), sequences.keyLength(), in.k.length);
        spoil(in.q, query);
        spoil(in.k, key);
        spoil(in.v, key);
        assertHopperAgrees(kernel, in);
    }

    /// More items than multiprocessors, several times, so that rings and rounds wrap.
    @ParameterizedTest
    @EnumSource
    void hopperBlocksTakeManyItems(HopperForward kernel) {
        int[] lengths = new int[12];
        Arrays.setAll(lengths, s -> 100 + 53 * s);
        for (int headDim : new int[] {64, 128}) {
            for (boolean causal : new boolean[] {true, false}) {
                Shape shape = shape(40, 8, headDim, causal);
                assertHopperAgrees(
                        kernel, Inputs.random(Target.CUDA_BF16, shape, packed(lengths), 111));
            }
        }
    }

    private static void assertHopperAgrees(HopperForward kernel, Inputs in) {
        CudaDevice cuda = Target.sharedCuda();
        try (Operands portable = new Operands(in, 0, _ -> new CudaAttention(cuda, null));
                Operands forced = new Operands(in, 0, _ -> hopper(cuda, kernel))) {
            Outputs expected = portable.forward();
            int heads = in.shape.heads();
            for (int run = 0; run < 2; run++) {
                Outputs actual = forced.forward();
                assertSameBits("lse", heads, 1, expected.lse, actual.lse);
                assertSameBits("o", heads, in.shape.headDim(), expected.o, actual.o);
            }
        }
    }

    private static CudaAttention hopper(CudaDevice cuda, HopperForward kernel) {
        assumeTrue(HopperAttention.runsOn(cuda), "not a Hopper GPU");
        return new CudaAttention(cuda, new HopperAttention(cuda, (shape, sequences) -> kernel));
    }

    /// @param width elements of a row and head
    private static void assertSameBits(
            String what, int heads, int width, float[] expected, float[] actual) {
        int at = Arrays.mismatch(expected, actual);
        if (at >= 0) {
            assertThat(actual[at])
                    .as(
                            "%s[%d] of row %d, head %d",
                            what, at % width, at / width / heads, at / width % heads)
                    .isEqualTo(expected[at]);
        }
    }

    /// Whether gradients have the same bits by wgmma, from tiles of 64 rows that TMA cuts out of
    /// what lies there, as by mma.sync: they have one order, and what belongs to others adds
    /// nothing.
    @ParameterizedTest
    @MethodSource("hopperKernels")
    void hopperAndPortableGradientsAgreeInTheirBits(
            HopperForward kernel, int heads, int kvHeads, int headDim, boolean causal) {
        Shape shape = shape(heads, kvHeads, headDim, causal);
        Sequences sequences =
                packed(1, 2, 63, 64, 65, 0, 127, 128, 129, 191, 192, 193, 256, 257, 600, 1025);
        assertHopperGradientsAgree(
                kernel, Inputs.random(Target.CUDA_BF16, shape, sequences, 121 + headDim));
    }

    /// As [#hopperLeavesWhatBelongsToNobody].
    @ParameterizedTest
    @MethodSource("hopperKernels")
    void hopperGradientsLeaveWhatBelongsToNobody(
            HopperForward kernel, int heads, int kvHeads, int headDim, boolean causal) {
        Shape shape = shape(heads, kvHeads, headDim, causal);
        Sequences sequences =
                new Sequences(
                        new int[] {45, 1, 8, 90, 200, 400},
                        new int[] {37, 5, 0, causal ? 0 : 2, 130, 1},
                        new int[] {102, 3, 90, 300, 310, 830},
                        new int[] {140, 80, 10, causal ? 2 : 0, 517, 70});
        Inputs in = Inputs.random(Target.CUDA_BF16, shape, sequences, 131 + headDim);
        boolean[] query = covered(sequences.queryStart(), sequences.queryLength(), in.q.length);
        boolean[] key = covered(sequences.keyStart(), sequences.keyLength(), in.k.length);
        spoil(in.q, query);
        spoil(in.dO, query);
        spoil(in.k, key);
        spoil(in.v, key);
        Gradients gradients = assertHopperGradientsAgree(kernel, in);
        assertOnlyCoveredAreWritten(gradients.dq, query);
        assertOnlyCoveredAreWritten(gradients.dk, key);
        assertOnlyCoveredAreWritten(gradients.dv, key);
    }

    /// More items than multiprocessors, several times, so that rings and rounds wrap.
    @ParameterizedTest
    @MethodSource("hopperKernels")
    void hopperBackwardBlocksTakeManyItems(
            HopperForward kernel, int heads, int kvHeads, int headDim, boolean causal) {
        int[] lengths = new int[200];
        Arrays.setAll(lengths, s -> 1 + 37 * s % 140);
        Shape shape = shape(heads, kvHeads, headDim, causal);
        assertHopperGradientsAgree(
                kernel, Inputs.random(Target.CUDA_BF16, shape, packed(lengths), 141 + headDim));
    }

    private static Gradients assertHopperGradientsAgree(HopperForward kernel, Inputs in) {
        CudaDevice cuda = Target.sharedCuda();
        try (Operands portable = new Operands(in, 0, _ -> new CudaAttention(cuda, null));
                Operands forced = new Operands(in, 0, _ -> hopper(cuda, kernel))) {
            portable.forward();
            forced.forward();
            Gradients expected = portable.backward();
            int headDim = in.shape.headDim();
            int kvHeads = in.shape.kvHeads();
            Gradients actual = forced.backward();
            assertSameBits("dv", kvHeads, headDim, expected.dv, actual.dv);
            assertSameBits("dk", kvHeads, headDim, expected.dk, actual.dk);
            assertSameBits("dq", in.shape.heads(), headDim, expected.dq, actual.dq);
            return actual;
        }
    }

    /// A race would show now and then.
    @ParameterizedTest
    @CsvSource({"64, true", "64, false", "128, true", "128, false"})
    void aThousandBackwardPassesGiveTheSameBits(int headDim, boolean causal) {
        Target target = Target.CUDA_BF16;
        Shape shape = shape(4, 2, headDim, causal);
        Inputs in = Inputs.random(target, shape, packed(129, 65, 300, 1, 450), 151);
        try (Operands operands = new Operands(in, 0)) {
            operands.forward();
            Span dO = operands.input(in.dO);
            Span dq = operands.output(target.dtype(), in.q.length);
            Span dk = operands.output(target.dtype(), in.k.length);
            Span dv = operands.output(target.dtype(), in.v.length);
            Gradients first = operands.backward(dO, dq, dk, dv);
            for (int run = 1; run < 1000; run++) {
                Gradients again = operands.backward(dO, dq, dk, dv);
                assertThat(Arrays.equals(first.dq, again.dq)).as("dq of run %d", run).isTrue();
                assertThat(Arrays.equals(first.dk, again.dk)).as("dk of run %d", run).isTrue();
                assertThat(Arrays.equals(first.dv, again.dv)).as("dv of run %d", run).isTrue();
            }
        }
    }

    /// A key that can't be seen may hold a score of any size, and large scores don't overflow.
    @ParameterizedTest
    @EnumSource
    void largeScoresDoNotOverflow(Target target) {
        Shape shape = new Shape(2, 1, 16, true, 1f);
        Inputs in = Inputs.random(target, shape, packed(200), 71);
        for (int i = 0; i < in.k.length; i++) {
            in.k[i] *= 1024;
        }
        try (Operands operands = new Operands(in, 0)) {
            Outputs outputs = operands.forward();
            Gradients gradients = operands.backward();
            for (float[] values :
                    new float[][] {
                        outputs.o, outputs.lse, gradients.dq, gradients.dk, gradients.dv
                    }) {
                for (float value : values) {
                    assertThat(value).isFinite();
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void wrongExtentsAreRefused(Target target) {
        Sequences fewKeys =
                new Sequences(new int[] {0}, new int[] {2}, new int[] {0}, new int[] {1});
        Shape shape = shape(1, 1, 8, true);
        Inputs in =
                new Inputs(
                        target,
                        shape,
                        fewKeys,
                        new float[16],
                        new float[16],
                        new float[16],
                        new float[16]);
        assertRefused(in, "causal sequence 0 has 2 queries but 1 keys");
        Inputs small =
                new Inputs(
                        target,
                        shape,
                        packed(3),
                        new float[16],
                        new float[24],
                        new float[24],
                        new float[16]);
        assertRefused(small, "q holds 16 elements, expected at least 24");
    }

    private static void assertRefused(Inputs in, String message) {
        try (Operands operands = new Operands(in, 0)) {
            assertThatThrownBy(operands::forward)
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage(message);
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"CUDA_F32", "CUDA_BF16"})
    void whatCudaHasNoKernelForIsRefusedByName(Target target) {
        int most = target.dtype() == DType.BF16 ? 128 : 256;
        Inputs wide = Inputs.random(target, shape(1, 1, most + 1, true), packed(3), 1);
        assertRefused(
                wide,
                "attention of head dim %d in %s: CUDA has up to %d"
                        .formatted(most + 1, target.dtype(), most));
        Inputs flat = Inputs.random(target, new Shape(1, 1, 8, true, 0f), packed(3), 1);
        assertRefused(flat, "attention of scale 0.0, expected a positive one");
    }
}
