package dev.saccade.kernels.attention;

import dev.saccade.engine.Device;
import dev.saccade.engine.DeviceBuffer;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.attention.Attention.Sequences;
import dev.saccade.kernels.attention.Attention.Shape;
import dev.saccade.kernels.embedding.Embedding;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Attention of sequences whose keys are two ranges: first a prefix, which others may have, too,
/// and which lies in memory once, then keys of their own. So a prompt is computed once in training,
/// however many answers to it there are: the prompt is a sequence without a prefix, and each answer
/// one whose prefix is the prompt's keys.
///
/// Forward, a query has the bits of [Attention#forward] over the prefix and the own keys side by
/// side; backward, so has its gradient. The gradient of a prefix's key is a chain in fp32 over the
/// sequences that have the key, first the one whose own key it is, then in their order, rounded to
/// the operands' type at the end. On Hopper in BF16, with heads of 57 to 64 or of 121 to 128
/// elements, the chain goes on over the products with a sequence's queries, in the order in which
/// [Attention#backward] has them; elsewhere each sequence's part is rounded to the operands' type
/// before it is added.
///
/// There, on Hopper, kernels fetch both ranges from where they lie, and a tile of a prefix's keys
/// stays with a block while the queries of all its sequences go past it. A device with many
/// multiprocessors wants several groups, or many key-value heads: there is a block for each 128
/// keys of a prefix and key-value head. Elsewhere the keys and values of a sequence with a prefix
/// are copied side by side for the call. A prefix may be any rows of k and v: one sequence's own
/// keys, the first of them, or several sequences'.
///
/// With heads of 121 to 128 elements there, the sequence whose own key it is comes last in a key's
/// chain, and a query's gradient is added up of what the keys of each block of 128 come to, and a
/// block ends where the prefix does: other bits than side by side, unless the prefix's length is a
/// multiple of 128. So that they don't depend on other sequences, a call in which a prefix or own
/// keys end within those of another sequence has them copied on its way back.
public final class PrefixedAttention {
    /// Lists of rows that are kept.
    private static final int LISTS = 4;

    /// Where sequences lie.
    ///
    /// @param own their queries and own keys. When causal, a query sees the whole prefix and the
    ///   own keys up to its own position: queries are the last ones of all keys side by side
    /// @param prefixStart each one's first row of its prefix in k and v
    /// @param prefixLength how many keys that has; 0 for none
    public record Prefixed(Sequences own, int[] prefixStart, int[] prefixLength) {

        /// Rows of k, v that the call covers: the largest end of a range of keys.
        public int keyRows() {
            int rows = own.keyRows();
            for (int s = 0; s < prefixStart.length; s++) {
                rows = Math.max(rows, prefixStart[s] + prefixLength[s]);
            }
            return rows;
        }

        /// Whether any sequence has a prefix.
        boolean isPrefixed() {
            return Arrays.stream(prefixLength).anyMatch(length -> length > 0);
        }

        /// The sequences as their queries see them: all keys of each as one range, which lies
        /// nowhere.
        Sequences joined() {
            int[] keys = own.keyLength().clone();
            Arrays.setAll(keys, s -> Math.addExact(prefixLength[s], keys[s]));
            return new Sequences(own.queryStart(), own.queryLength(), own.keyStart(), keys);
        }

        private void check() {
            int count = own.count();
            if (prefixStart.length != count || prefixLength.length != count) {
                throw new IllegalArgumentException("the arrays of the prefixes differ in length");
            }
            for (int s = 0; s < count; s++) {
                if (prefixLength[s] < 0
                        || prefixStart[s] < 0
                        || own.keyStart()[s] < 0
                        || own.keyLength()[s] < 0) {
                    throw new IllegalArgumentException("sequence " + s + " has a negative extent");
                }
            }
        }
    }

    /// Sequences without a prefix as they are; the others with their keys side by side.
    ///
    /// @param rows I32, where each row of those keys comes from
    /// @param count how many rows
    private record Sides(Sequences plain, Sequences joined, DeviceBuffer rows, int count) {
        Span indices() {
            return Span.of(rows, DType.I32);
        }
    }

    private final Device device;
    private final Attention attention;
    private final Embedding embedding;
    private final RecentLists<Prefixed, Sides> kept =
            new RecentLists<>(LISTS, this::split, sides -> sides.rows.close());

    /// @param attention that of the device
    PrefixedAttention(Device device, Attention attention) {
        this.device = device;
        this.attention = attention;
        this.embedding = Embedding.on(device);
    }

    /// The implementation for `device`.
    public static PrefixedAttention on(Device device) {
        return new PrefixedAttention(device, Attention.on(device));
    }

    /// Forward. q and o are [queryRows, heads*headDim], k and v [keyRows, kvHeads*headDim] with the
    /// rows of all ranges, lse [queryRows, heads] F32.
    public void forward(Shape shape, Prefixed sequences, Span q, Span k, Span v, Span o, Span lse) {
        CudaAttention kernels = kernels(shape, sequences, q);
        if (kernels != null) {
            kernels.forward(shape, sequences, q, k, v, o, lse);
            return;
        }
        Sides sides = kept.get(sequences);
        if (sides.plain.count() > 0) {
            attention.forward(shape, sides.plain, q, k, v, o, lse);
        }
        if (sides.joined.count() > 0) {
            try (Joined keys = new Joined(shape, sides, k);
                    Joined values = new Joined(shape, sides, v)) {
                keys.gather(k);
                values.gather(v);
                attention.forward(shape, sides.joined, q, keys.span, values.span, o, lse);
            }
        }
    }

    /// Backward from dO, with o and lse as the forward pass left them. dq is written for the rows
    /// of the sequences. All rows of dk and dv are written: those of no sequence become 0. The own
    /// keys of different sequences may not overlap.
    public void backward(
            Shape shape,
            Prefixed sequences,
            Span q,
            Span k,
            Span v,
            Span o,
            Span lse,
            Span dO,
            Span dq,
            Span dk,
            Span dv) {
        CudaAttention kernels = kernels(shape, sequences, q);
        if (kernels != null && kernels.walksRangesBack(shape, q.dtype(), sequences)) {
            kernels.backward(shape, sequences, q, k, v, o, lse, dO, dq, dk, dv);
            return;
        }
        Sides sides = kept.get(sequences);
        clear(dk);
        clear(dv);
        if (sides.plain.count() > 0) {
            attention.backward(shape, sides.plain, q, k, v, o, lse, dO, dq, dk, dv);
        }
        if (sides.joined.count() > 0) {
            try (Joined keys = new Joined(shape, sides, k);
                    Joined values = new Joined(shape, sides, v);
                    Joined keySlopes = new Joined(shape, sides, k);
                    Joined valueSlopes = new Joined(shape, sides, v)) {
                keys.gather(k);
                values.gather(v);
                attention.backward(
                        shape,
                        sides.joined,
                        q,
                        keys.span,
                        values.span,
                        o,
                        lse,
                        dO,
                        dq,
                        keySlopes.span,
                        valueSlopes.span);
                keySlopes.add(dk);
                valueSlopes.add(dv);
            }
        }
    }

    /// What walks over both ranges where they lie; null where keys are copied side by side.
    private @Nullable CudaAttention kernels(Shape shape, Prefixed sequences, Span q) {
        sequences.check();
        return attention instanceof CudaAttention cuda
                        && sequences.isPrefixed()
                        && cuda.walksRanges(shape, q.dtype())
                ? cuda
                : null;
    }

    private void clear(Span span) {
        int bytes = span.dtype().bytes();
        device.fill(span.buffer(), span.offset() * bytes, span.bytes(), (byte) 0);
    }

    /// Rows of k or v, or of their gradients, side by side.
    private final class Joined implements AutoCloseable {
        private final Sides sides;
        private final int width;
        private final DeviceBuffer buffer;
        private final Span span;

        Joined(Shape shape, Sides sides, Span like) {
            this.sides = sides;
            this.width = shape.kvHeads() * shape.headDim();
            long elements = (long) sides.count * width;
            this.buffer = device.allocate(Math.max(1, elements * like.dtype().bytes()));
            this.span = new Span(buffer, 0, elements, like.dtype());
        }

        void gather(Span from) {
            embedding.gather(sides.count, width, rows(from), sides.indices(), from, span);
        }

        void add(Span to) {
            embedding.scatterAdd(sides.count, width, rows(to), sides.indices(), span, to);
        }

        private int rows(Span of) {
            return Math.toIntExact(of.length() / width);
        }

        @Override
        public void close() {
            buffer.close();
        }
    }

    private Sides split(Prefixed sequences) {
        Sequences own = sequences.own;
        int count = own.count();
        List<Integer> plain = new ArrayList<>();
        List<Integer> joined = new ArrayList<>();
        int total = 0;
        for (int s = 0; s < count; s++) {
            int prefix = sequences.prefixLength[s];
            int keys = own.keyLength()[s];
            (prefix == 0 ? plain : joined).add(s);
            total = prefix == 0 ? total : Math.addExact(total, Math.addExact(prefix, keys));
        }
        int[] rows = new int[total];
        int[] keyStart = new int[joined.size()];
        int[] keyLength = new int[joined.size()];
        int next = 0;
        for (int i = 0; i < joined.size(); i++) {
            int s = joined.get(i);
            keyStart[i] = next;
            for (int key = 0; key < sequences.prefixLength[s]; key++) {
                rows[next++] = sequences.prefixStart[s] + key;
            }
            for (int key = 0; key < own.keyLength()[s]; key++) {
                rows[next++] = own.keyStart()[s] + key;
            }
            keyLength[i] = next - keyStart[i];
        }
        DeviceBuffer buffer = RecentLists.upload(device, rows);
        return new Sides(
                new Sequences(
                        pick(own.queryStart(), plain),
                        pick(own.queryLength(), plain),
                        pick(own.keyStart(), plain),
                        pick(own.keyLength(), plain)),
                new Sequences(
                        pick(own.queryStart(), joined),
                        pick(own.queryLength(), joined),
                        keyStart,
                        keyLength),
                buffer,
                total);
    }

    private static int[] pick(int[] values, List<Integer> places) {
        return places.stream().mapToInt(place -> values[place]).toArray();
    }
}
