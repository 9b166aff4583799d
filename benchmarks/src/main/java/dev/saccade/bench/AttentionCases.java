package dev.saccade.bench;

import dev.saccade.bench.peer.Work;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention;
import dev.saccade.kernels.attention.PrefixedAttention;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.IntConsumer;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/// Attention over sequences of one length, or packed ones of many. The arithmetic counted is that
/// of the scores a query sees: `4 * headDim` for each forward, 2.5 times that backward.
final class AttentionCases {
    private static final int SAMPLES = 6;
    private static final double BACKWARD = 2.5;

    private AttentionCases() {}

    /// Where the keys of sequences lie, if not one behind the other.
    private interface KeyRows {
        /// The row of a sequence's key.
        long row(int sequence, int key);

        /// The sequences that have the key, in each of which it has the same place.
        default IntStream sequences(int sequence, int key) {
            return IntStream.of(sequence);
        }
    }

    /// Prompts, each with answers behind it whose first keys are the prompt's.
    private record Groups(int samples, int prompt, int answer, PrefixedAttention.Prefixed sequences)
            implements KeyRows {
        static Groups of(Case work) {
            int samples = work.integer("samples");
            int prompt = work.integer("prompt");
            int answer = work.integer("answer");
            int count = work.integer("batch") / samples * (samples + 1);
            int[] start = new int[count];
            int[] length = new int[count];
            int[] prefixStart = new int[count];
            int[] prefixLength = new int[count];
            int next = 0;
            for (int s = 0; s < count; s++) {
                boolean isPrompt = s % (samples + 1) == 0;
                start[s] = next;
                length[s] = isPrompt ? prompt : answer;
                prefixStart[s] = isPrompt ? 0 : start[s - s % (samples + 1)];
                prefixLength[s] = isPrompt ? 0 : prompt;
                next += length[s];
            }
            return new Groups(
                    samples,
                    prompt,
                    answer,
                    new PrefixedAttention.Prefixed(
                            new Attention.Sequences(start, length, start, length),
                            prefixStart,
                            prefixLength));
        }

        /// The sequences as their queries see them: all ends of keys are where they are.
        Attention.Sequences joined() {
            Attention.Sequences own = sequences.own();
            int[] prefix = sequences.prefixLength();
            int[] start = new int[own.count()];
            int[] keys = new int[own.count()];
            Arrays.setAll(start, s -> own.keyStart()[s] - prefix[s]);
            Arrays.setAll(keys, s -> own.keyLength()[s] + prefix[s]);
            return new Attention.Sequences(own.queryStart(), own.queryLength(), start, keys);
        }

        @Override
        public long row(int sequence, int key) {
            int prefix = sequences.prefixLength()[sequence];
            return key < prefix
                    ? sequences.prefixStart()[sequence] + key
                    : sequences.own().keyStart()[sequence] + key - prefix;
        }

        @Override
        public IntStream sequences(int sequence, int key) {
            int first = sequence - sequence % (samples + 1);
            return key < prompt
                    ? IntStream.rangeClosed(first, first + samples)
                    : IntStream.of(sequence);
        }

        /// Every answer with a prompt of its own.
        Attention.Sequences whole() {
            int[] cumulative = new int[sequences.own().count() / (samples + 1) * samples + 1];
            Arrays.setAll(cumulative, s -> s * (prompt + answer));
            return Attention.Sequences.packed(cumulative);
        }
    }

    /// Where the keys of a decode step lie: in pages that follow no order, some of which sequences
    /// have in common.
    ///
    /// @param width pages of a sequence
    /// @param table the pages of each sequence
    /// @param pages of all sequences
    /// @param samples sequences that have pages in common
    /// @param shared how many they have in common
    private record Paging(int width, int[] table, int pages, int samples, int shared)
            implements KeyRows {
        static Paging of(int batch, int keys, int samples, int prompt) {
            int width = Math.ceilDiv(keys, Attention.PAGE);
            int shared = samples > 1 ? prompt / Attention.PAGE : 0;
            int pages = batch / samples * shared + batch * (width - shared);
            int step = Math.max(1, pages / 3);
            while (gcd(step, pages) != 1) {
                step++;
            }
            int[] table = new int[batch * width];
            int taken = 0;
            for (int sequence = 0; sequence < batch; sequence++) {
                int first = sequence / samples * samples;
                for (int i = 0; i < width; i++) {
                    table[sequence * width + i] =
                            i < shared && first < sequence
                                    ? table[first * width + i]
                                    : (int) ((long) step * taken++ % pages);
                }
            }
            return new Paging(width, table, pages, samples, shared);
        }

        private static int gcd(int a, int b) {
            return b == 0 ? a : gcd(b, a % b);
        }

        @Override
        public long row(int sequence, int key) {
            int page = table[sequence * width + key / Attention.PAGE];
            return (long) page * Attention.PAGE + key % Attention.PAGE;
        }

        /// Keys of all sequences, those in common once.
        long distinctKeys(int batch, int keys) {
            long common = (long) shared * Attention.PAGE;
            return batch * (long) keys - (batch - batch / samples) * common;
        }
    }

    /// The extents of a case, with its checks.
    ///
    /// @param keyRows null where sequences have their keys one behind the other
    private record Extents(
            Workbench bench,
            DType dtype,
            Attention.Shape shape,
            Attention.Sequences sequences,
            @Nullable KeyRows keyRows) {

        static Extents of(Case work, Workbench bench, boolean causal, int[] queries, int[] keys) {
            int headDim = work.integer("head_dim");
            Attention.Shape shape =
                    new Attention.Shape(
                            work.integer("heads"),
                            work.integer("kv_heads"),
                            headDim,
                            causal,
                            (float) (1 / Math.sqrt(headDim)));
            Attention.Sequences sequences =
                    new Attention.Sequences(starts(queries), queries, starts(keys), keys);
            return new Extents(bench, work.dtype(), shape, sequences, null);
        }

        static Extents self(Case work, Workbench bench) {
            if (work.integer("samples", 0) > 0) {
                Groups groups = Groups.of(work);
                Attention.Sequences joined = groups.joined();
                Extents like = of(work, bench, true, joined.queryLength(), joined.keyLength());
                return new Extents(bench, like.dtype, like.shape, joined, groups);
            }
            int[] lengths =
                    work.text("tokens", "").isEmpty()
                            ? equal(work, work.integer("length"))
                            : mixed(work);
            return of(work, bench, work.flag("causal"), lengths, lengths);
        }

        /// As many sequences as the case's batch, all of one length.
        static int[] equal(Case work, int length) {
            int[] lengths = new int[work.integer("batch")];
            Arrays.fill(lengths, length);
            return lengths;
        }

        /// Lengths from `shortest` to `longest`, all equally likely and the same in each run; the
        /// last one is what is left of `tokens`.
        private static int[] mixed(Case work) {
            int shortest = work.integer("shortest");
            int longest = work.integer("longest");
            SplittableRandom random = new SplittableRandom(1);
            IntStream.Builder lengths = IntStream.builder();
            int left = work.integer("tokens");
            while (left > 0) {
                int length = Math.min(left, random.nextInt(shortest, longest + 1));
                lengths.add(length);
                left -= length;
            }
            return lengths.build().toArray();
        }

        static int[] starts(int[] lengths) {
            int[] starts = new int[lengths.length];
            for (int s = 1; s < lengths.length; s++) {
                starts[s] = starts[s - 1] + lengths[s - 1];
            }
            return starts;
        }

        Extents paged(Paging paging) {
            return new Extents(bench, dtype, shape, sequences, paging);
        }

        @Nullable Groups groups() {
            return keyRows instanceof Groups groups ? groups : null;
        }

        /// The sequences that have a key, in each of which it has the same place.
        IntStream sequencesOf(int sequence, int key) {
            return keyRows == null ? IntStream.of(sequence) : keyRows.sequences(sequence, key);
        }

        int batch() {
            return sequences.count();
        }

        int queries(int sequence) {
            return sequences.queryLength()[sequence];
        }

        int keys(int sequence) {
            return sequences.keyLength()[sequence];
        }

        long rows() {
            return sequences.queryRows();
        }

        long queryElements() {
            return rows() * shape.heads() * shape.headDim();
        }

        long keyElements() {
            return (long) sequences.keyRows() * shape.kvHeads() * shape.headDim();
        }

        long statistics() {
            return rows() * shape.heads();
        }

        /// Bytes of so many tensors like q, as many like k, and the statistics.
        long bytes(int tensors) {
            return (long) tensors * dtype.bytes() * (queryElements() + keyElements())
                    + Float.BYTES * statistics();
        }

        /// Forward arithmetic.
        double flops() {
            double pairs = 0;
            for (int s = 0; s < batch(); s++) {
                double queries = queries(s);
                pairs += queries * (shape.causal() ? keys(s) - (queries - 1) / 2 : keys(s));
            }
            return 4.0 * shape.headDim() * shape.heads() * pairs;
        }

        /// What a peer is asked for; null where lengths differ, for which peers have no case.
        Work.@Nullable Attend attend() {
            if (Arrays.stream(sequences.queryLength()).distinct().count() != 1
                    || Arrays.stream(sequences.keyLength()).distinct().count() != 1) {
                return null;
            }
            return new Work.Attend(
                    batch(),
                    shape.heads(),
                    shape.kvHeads(),
                    shape.headDim(),
                    queries(0),
                    keys(0),
                    shape.causal(),
                    shape.scale());
        }

        /// The index in q and o of a query's head.
        long queryAt(int sequence, int query, int head) {
            long row = (long) sequences.queryStart()[sequence] + query;
            return (row * shape.heads() + head) * shape.headDim();
        }

        /// The index in k and v of a key's head.
        long keyAt(int sequence, int key, int kvHead) {
            long row =
                    keyRows == null
                            ? (long) sequences.keyStart()[sequence] + key
                            : keyRows.row(sequence, key);
            return (row * shape.kvHeads() + kvHead) * shape.headDim();
        }

        int seen(int sequence, int query) {
            int keys = keys(sequence);
            return shape.causal() ? keys - queries(sequence) + query + 1 : keys;
        }

        double score(Operand q, Operand k, int sequence, int query, int head, int key) {
            long queryAt = queryAt(sequence, query, head);
            long keyAt = keyAt(sequence, key, kvHead(head));
            double sum = 0;
            for (int d = 0; d < shape.headDim(); d++) {
                sum += q.value(queryAt + d) * k.value(keyAt + d);
            }
            return sum * shape.scale();
        }

        int kvHead(int head) {
            return head / (shape.heads() / shape.kvHeads());
        }

        /// bf16 rounds the probabilities before they meet v.
        double slack() {
            return dtype == DType.BF16 ? 0x1p-9 : 0x1p-18;
        }

        void compareForward(Operand q, Operand k, Operand v, Span o, Span lse) {
            for (int sample = 0; sample < SAMPLES; sample++) {
                int sequence = (int) bench.draw((long) batch());
                int queries = queries(sequence);
                int query = sample == 0 ? queries - 1 : (int) bench.draw((long) queries);
                int head = (int) bench.draw((long) shape.heads());
                double[] scores = new double[seen(sequence, query)];
                double largest = Double.NEGATIVE_INFINITY;
                for (int key = 0; key < scores.length; key++) {
                    scores[key] = score(q, k, sequence, query, head, key);
                    largest = Math.max(largest, scores[key]);
                }
                double sum = 0;
                for (int key = 0; key < scores.length; key++) {
                    scores[key] = Math.exp(scores[key] - largest);
                    sum += scores[key];
                }
                long at = queryAt(sequence, query, head);
                float[] got = bench.read(o, at, shape.headDim());
                for (int d = 0; d < shape.headDim(); d++) {
                    double exact = 0;
                    double magnitude = 0;
                    for (int key = 0; key < scores.length; key++) {
                        double term =
                                scores[key] / sum * v.value(keyAt(sequence, key, kvHead(head)) + d);
                        exact += term;
                        magnitude += Math.abs(term);
                    }
                    bench.require(
                            "o of query %d, head %d, element %d".formatted(query, head, d),
                            dtype,
                            got[d],
                            exact,
                            magnitude,
                            slack());
                }
                if (lse.length() > 1) {
                    double exact = largest + Math.log(sum);
                    bench.require(
                            "lse of query %d, head %d".formatted(query, head),
                            DType.F32,
                            bench.read(lse, at / shape.headDim()),
                            exact,
                            1 + Math.abs(exact),
                            0x1p-16);
                }
            }
        }
    }

    /// What a case measures.
    private static final class Calls {
        private final Attention.Shape shape;
        private final Attention.Sequences sequences;
        private final @Nullable Groups groups;
        private final Attention attention;
        private final PrefixedAttention prefixed;

        Calls(Extents extents) {
            this(extents, extents.sequences, extents.groups());
        }

        private Calls(Extents extents, Attention.Sequences sequences, @Nullable Groups groups) {
            this.shape = extents.shape;
            this.sequences = sequences;
            this.groups = groups;
            this.attention = Attention.on(extents.bench.device());
            this.prefixed = PrefixedAttention.on(extents.bench.device());
        }

        void forward(Span q, Span k, Span v, Span o, Span lse) {
            if (groups == null) {
                attention.forward(shape, sequences, q, k, v, o, lse);
            } else {
                prefixed.forward(shape, groups.sequences, q, k, v, o, lse);
            }
        }

        void backward(
                Span q, Span k, Span v, Span o, Span lse, Span dO, Span dq, Span dk, Span dv) {
            if (groups == null) {
                attention.backward(shape, sequences, q, k, v, o, lse, dO, dq, dk, dv);
            } else {
                prefixed.backward(shape, groups.sequences, q, k, v, o, lse, dO, dq, dk, dv);
            }
        }
    }

    /// The same by our own kernels on other sequences: what sharing prompts saves, and what packed
    /// lengths cost.
    ///
    /// @param backward whether the pass backward is measured, or the one forward
    private static List<PreparedCase.Rival> rivals(Case work, Extents extents, boolean backward) {
        Groups groups = extents.groups();
        if (groups != null) {
            return List.of(rival("whole", groups.whole(), extents, backward));
        }
        if (work.text("tokens", "").isEmpty()) {
            return List.of();
        }
        int[] lengths = extents.sequences.queryLength();
        int[] even = even(lengths, work.integer("longest"), extents.shape.causal());
        int[] starts = Extents.starts(even);
        Attention.Sequences sequences = new Attention.Sequences(starts, even, starts, even);
        return List.of(rival("even", sequences, extents, backward));
    }

    /// Sequences of the longest length with as many pairs of a query and a key that it sees as
    /// those of `lengths`; the last one is what is left.
    static int[] even(int[] lengths, int longest, boolean causal) {
        long left = IntStream.of(lengths).mapToLong(length -> pairs(length, causal)).sum();
        IntStream.Builder even = IntStream.builder();
        for (int length = longest; length > 0; ) {
            if (pairs(length, causal) <= left) {
                even.add(length);
                left -= pairs(length, causal);
                if (length < longest) {
                    break;
                }
            } else {
                length--;
            }
        }
        return even.build().toArray();
    }

    private static long pairs(long length, boolean causal) {
        return causal ? length * (length + 1) / 2 : length * length;
    }

    private static PreparedCase.Rival rival(
            String name, Attention.Sequences sequences, Extents extents, boolean backward) {
        Calls calls = new Calls(extents, sequences, null);
        Workbench bench = extents.bench;
        DType dtype = extents.dtype;
        long rows = sequences.queryRows();
        long query = rows * extents.shape.heads() * extents.shape.headDim();
        long key = rows * extents.shape.kvHeads() * extents.shape.headDim();
        Span q = bench.normal(dtype, query, 1).set(0);
        Span k = bench.normal(dtype, key, 1).set(0);
        Span v = bench.normal(dtype, key, 1).set(0);
        Span o = bench.empty(dtype, query, 1).set(0);
        Span lse = bench.empty(DType.F32, rows * extents.shape.heads(), 1).set(0);
        if (!backward) {
            return new PreparedCase.Rival(name, _ -> calls.forward(q, k, v, o, lse));
        }
        calls.forward(q, k, v, o, lse);
        Span dO = bench.normal(dtype, query, 1).set(0);
        Span dq = bench.empty(dtype, query, 1).set(0);
        Span dk = bench.empty(dtype, key, 1).set(0);
        Span dv = bench.empty(dtype, key, 1).set(0);
        return new PreparedCase.Rival(name, _ -> calls.backward(q, k, v, o, lse, dO, dq, dk, dv));
    }

    /// `op=attention dtype heads kv_heads head_dim batch length causal`, or `op=attention_packed`
    /// with `tokens shortest longest` in the place of `batch length`, whose rival has the longest
    /// sequences throughout, or `op=attention_shared` with `batch samples prompt answer`: as many
    /// answers as the batch, `samples` to a prompt that lies in memory once and is one more
    /// sequence, causal; a rival computes each answer with its prompt in full.
    static PreparedCase forward(Case work, Workbench bench) {
        Extents extents = Extents.self(work, bench);
        Calls calls = new Calls(extents);
        Work.Attend attend = extents.attend();
        DType dtype = extents.dtype;
        long bytes = extents.bytes(2);
        int sets = bench.sets(bytes);
        Operand q = bench.normal(dtype, extents.queryElements(), sets);
        Operand k = bench.normal(dtype, extents.keyElements(), sets);
        Operand v = bench.normal(dtype, extents.keyElements(), sets);
        Operand o = bench.empty(dtype, extents.queryElements(), sets);
        Operand lse = bench.empty(DType.F32, extents.statistics(), sets);
        Operand none = bench.empty(DType.F32, 1, 1);
        return new PreparedCase(
                extents.flops(),
                (double) bytes,
                sets,
                PreparedCase.Clock.DEVICE,
                set -> calls.forward(q.set(set), k.set(set), v.set(set), o.set(set), lse.set(set)),
                () -> {
                    bench.reset(o);
                    bench.reset(lse);
                },
                () -> extents.compareForward(q, k, v, o.set(0), lse.set(0)),
                dtype != DType.BF16 || attend == null
                        ? null
                        : new PreparedCase.ForPeers(
                                attend,
                                set ->
                                        new long[] {
                                            q.set(set).address(),
                                            k.set(set).address(),
                                            v.set(set).address(),
                                            o.set(set).address(),
                                            lse.set(set).address()
                                        },
                                // A peer keeps its statistics in another order.
                                () -> extents.compareForward(q, k, v, o.set(0), none.set(0))),
                rivals(work, extents, false));
    }

    /// `op=attention_decode dtype heads kv_heads head_dim batch keys [samples prompt]`: one new
    /// query for each sequence. Of the sequences `samples` at a time have the prompt's whole pages
    /// in common and read them together; a rival lets each sequence walk over them alone, which
    /// must give the same bits.
    static PreparedCase decode(Case work, Workbench bench) {
        Attention attention = Attention.on(bench.device());
        int samples = work.integer("samples", 1);
        int keys = work.integer("keys");
        int[] one = Extents.equal(work, 1);
        int batch = one.length;
        Paging paging = Paging.of(batch, keys, samples, samples == 1 ? 0 : work.integer("prompt"));
        Extents extents =
                Extents.of(work, bench, true, one, Extents.equal(work, keys)).paged(paging);
        DType dtype = extents.dtype;
        int keyWidth = extents.shape.kvHeads() * extents.shape.headDim();
        long bytes =
                2L
                                * dtype.bytes()
                                * (extents.queryElements()
                                        + paging.distinctKeys(batch, keys) * keyWidth)
                        + Float.BYTES * extents.statistics();
        int sets = bench.sets(bytes);
        long cacheElements = (long) paging.pages * Attention.PAGE * keyWidth;
        Operand q = bench.normal(dtype, extents.queryElements(), sets);
        Operand k = bench.normal(dtype, cacheElements, sets);
        Operand v = bench.normal(dtype, cacheElements, sets);
        Operand o = bench.empty(dtype, extents.queryElements(), sets);
        Operand lse = bench.empty(DType.F32, extents.statistics(), sets);
        Attention.Pages pages =
                new Attention.Pages(
                        batch,
                        1,
                        paging.width,
                        bench.integers(paging.table),
                        bench.integers(extents.sequences.keyLength()));
        Attention.Prefixes prefixes = prefixes(extents, paging);
        IntConsumer alone =
                set ->
                        attention.decode(
                                extents.shape,
                                pages,
                                null,
                                q.set(set),
                                k.set(set),
                                v.set(set),
                                o.set(set),
                                lse.set(set));
        IntConsumer together =
                set ->
                        attention.decode(
                                extents.shape,
                                pages,
                                prefixes,
                                q.set(set),
                                k.set(set),
                                v.set(set),
                                o.set(set),
                                lse.set(set));
        Runnable compare =
                () -> {
                    extents.compareForward(q, k, v, o.set(0), lse.set(0));
                    if (prefixes != null) {
                        requireSameBits(bench, o.set(0), () -> alone.accept(0));
                    }
                };
        return new PreparedCase(
                extents.flops(),
                (double) bytes,
                sets,
                PreparedCase.Clock.DEVICE,
                prefixes == null ? alone : together,
                () -> {
                    bench.reset(o);
                    bench.reset(lse);
                },
                compare,
                null,
                prefixes == null
                        ? List.of()
                        : List.of(new PreparedCase.Rival("each-alone", alone)));
    }

    private static Attention.@Nullable Prefixes prefixes(Extents extents, Paging paging) {
        if (paging.shared == 0) {
            return null;
        }
        Workbench bench = extents.bench;
        int groups = extents.batch() / paging.samples;
        int[] start = new int[groups + 1];
        Arrays.setAll(start, group -> group * paging.samples);
        int[] shared = new int[extents.batch()];
        Arrays.fill(shared, paging.shared);
        long state = Attention.stateElements(extents.shape, extents.batch());
        return new Attention.Prefixes(
                groups,
                paging.samples,
                bench.integers(start),
                bench.integers(shared),
                bench.empty(DType.F32, state, 1).set(0));
    }

    private static void requireSameBits(Workbench bench, Span result, Runnable again) {
        int count = Math.toIntExact(result.length());
        float[] expected = bench.read(result, 0, count);
        again.run();
        if (!Arrays.equals(expected, bench.read(result, 0, count))) {
            throw new IllegalStateException("wrong result: sharing shows in the bits");
        }
    }

    /// `op=attention_backward`, `op=attention_packed_backward` and `op=attention_shared_backward`,
    /// as [#forward].
    static PreparedCase backward(Case work, Workbench bench) {
        Extents extents = Extents.self(work, bench);
        Calls calls = new Calls(extents);
        DType dtype = extents.dtype;
        long bytes = extents.bytes(4);
        int sets = bench.sets(bytes);
        Operand q = bench.normal(dtype, extents.queryElements(), sets);
        Operand k = bench.normal(dtype, extents.keyElements(), sets);
        Operand v = bench.normal(dtype, extents.keyElements(), sets);
        Operand dO = bench.normal(dtype, extents.queryElements(), sets);
        Operand o = bench.empty(dtype, extents.queryElements(), sets);
        Operand lse = bench.empty(DType.F32, extents.statistics(), sets);
        Operand dq = bench.empty(dtype, extents.queryElements(), sets);
        Operand dk = bench.empty(dtype, extents.keyElements(), sets);
        Operand dv = bench.empty(dtype, extents.keyElements(), sets);
        for (int set = 0; set < sets; set++) {
            calls.forward(q.set(set), k.set(set), v.set(set), o.set(set), lse.set(set));
        }
        Gradients gradients = new Gradients(extents, q, k, v, dO, o, lse);
        return new PreparedCase(
                BACKWARD * extents.flops(),
                (double) bytes,
                sets,
                PreparedCase.Clock.DEVICE,
                set ->
                        calls.backward(
                                q.set(set),
                                k.set(set),
                                v.set(set),
                                o.set(set),
                                lse.set(set),
                                dO.set(set),
                                dq.set(set),
                                dk.set(set),
                                dv.set(set)),
                () -> {
                    bench.reset(dq);
                    bench.reset(dk);
                    bench.reset(dv);
                },
                () -> gradients.compare(dq.set(0), dk.set(0), dv.set(0)),
                null,
                rivals(work, extents, true));
    }

    /// Exact gradients of samples, from the kernel's own o and lse (the forward case checks those).
    private record Gradients(
            Extents extents, Operand q, Operand k, Operand v, Operand dO, Operand o, Operand lse) {

        void compare(Span dq, Span dk, Span dv) {
            Workbench bench = extents.bench;
            Attention.Shape shape = extents.shape;
            int sequence = (int) bench.draw((long) extents.batch());
            int queries = extents.queries(sequence);
            int kvHead = (int) bench.draw((long) shape.kvHeads());
            // An early key, which all queries see even when causal: its sums are the longest.
            int key = (int) bench.draw(Math.max(1, extents.keys(sequence) / 4));
            Totals keyGradient = new Totals(shape.headDim());
            Totals valueGradient = new Totals(shape.headDim());
            extents.sequencesOf(sequence, key)
                    .forEach(other -> add(keyGradient, valueGradient, kept(other), key, kvHead));
            long keyAt = extents.keyAt(sequence, key, kvHead);
            require("dk", dk, keyAt, keyGradient);
            require("dv", dv, keyAt, valueGradient);

            int query = (int) bench.draw((long) queries);
            int head = kvHead * (shape.heads() / shape.kvHeads());
            Row row = row(kept(sequence), query, head);
            Totals queryGradient = new Totals(shape.headDim());
            for (int other = 0; other < extents.seen(sequence, query); other++) {
                Slope slope = row.slope(this, other, row.probability(this, other));
                long at = extents.keyAt(sequence, other, kvHead);
                for (int d = 0; d < shape.headDim(); d++) {
                    queryGradient.add(d, slope, k.value(at + d));
                }
            }
            require("dq", dq, extents.queryAt(sequence, query, head), queryGradient);
        }

        /// Adds what a sequence's queries give to the gradients of a key.
        private void add(Totals keyGradient, Totals valueGradient, Kept kept, int key, int kvHead) {
            Attention.Shape shape = extents.shape;
            int group = shape.heads() / shape.kvHeads();
            for (int query = 0; query < extents.queries(kept.sequence); query++) {
                if (extents.seen(kept.sequence, query) <= key) {
                    continue;
                }
                for (int head = kvHead * group; head < (kvHead + 1) * group; head++) {
                    Row row = row(kept, query, head);
                    double probability = row.probability(this, key);
                    Slope slope = row.slope(this, key, probability);
                    Slope certain = new Slope(probability, probability);
                    long queryAt = extents.queryAt(kept.sequence, query, head);
                    for (int d = 0; d < shape.headDim(); d++) {
                        keyGradient.add(d, slope, q.value(queryAt + d));
                        valueGradient.add(d, certain, dO.value(queryAt + d));
                    }
                }
            }
        }

        private void require(String what, Span span, long at, Totals totals) {
            float[] got = extents.bench.read(span, at, totals.sums.length);
            for (int d = 0; d < got.length; d++) {
                extents.bench.require(
                        what + " element " + d,
                        extents.dtype,
                        got[d],
                        totals.sums[d],
                        totals.magnitudes[d],
                        2 * extents.slack()); // both factors of a term are rounded
            }
        }

        private Kept kept(int sequence) {
            int statistics = extents.queries(sequence) * extents.shape.heads();
            long at = extents.queryAt(sequence, 0, 0);
            int headDim = extents.shape.headDim();
            return new Kept(
                    sequence,
                    extents.bench.read(o.set(0), at, statistics * headDim),
                    extents.bench.read(lse.set(0), at / headDim, statistics));
        }

        private Row row(Kept kept, int query, int head) {
            int headDim = extents.shape.headDim();
            int row = query * extents.shape.heads() + head;
            long at = extents.queryAt(kept.sequence, query, head);
            double delta = 0;
            for (int d = 0; d < headDim; d++) {
                delta += kept.outputs[row * headDim + d] * dO.value(at + d);
            }
            return new Row(kept.sequence, query, head, kept.statistics[row], delta);
        }
    }

    /// What the forward pass kept of one sequence.
    private record Kept(int sequence, float[] outputs, float[] statistics) {}

    /// What backward needs to know of a query's head.
    private record Row(int sequence, int query, int head, double lse, double delta) {

        double probability(Gradients of, int key) {
            return Math.exp(of.extents.score(of.q, of.k, sequence, query, head, key) - lse);
        }

        /// The derivative by the unscaled score.
        Slope slope(Gradients of, int key, double probability) {
            long queryAt = of.extents.queryAt(sequence, query, head);
            long keyAt = of.extents.keyAt(sequence, key, of.extents.kvHead(head));
            double upstream = 0;
            for (int d = 0; d < of.extents.shape.headDim(); d++) {
                upstream += of.dO.value(queryAt + d) * of.v.value(keyAt + d);
            }
            double factor = probability * of.extents.shape.scale();
            return new Slope(
                    factor * (upstream - delta), factor * (Math.abs(upstream) + Math.abs(delta)));
        }
    }

    /// A factor, and the sum of the absolute values that it is a difference of.
    private record Slope(double value, double magnitude) {}

    /// Sums, and those of their terms' absolute values.
    private static final class Totals {
        private final double[] sums;
        private final double[] magnitudes;

        Totals(int count) {
            sums = new double[count];
            magnitudes = new double[count];
        }

        void add(int index, Slope slope, double factor) {
            sums[index] += slope.value * factor;
            magnitudes[index] += slope.magnitude * Math.abs(factor);
        }
    }
}
