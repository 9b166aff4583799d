package dev.saccade.kernels.attention;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/// Attention on the CPU.
///
/// The forward pass is cut into chunks of queries of one sequence and key-value head, the backward
/// pass into sequences and key-value heads, since a key's gradient sums over all its queries. The
/// workers take these items one after another; each writes outputs of its own, so who takes what
/// never shows.
final class HostAttention implements Attention {
    /// Multiply-adds below which a dispatch costs more than it saves.
    private static final long SMALL = 1 << 17;

    /// One item of work with the scratch memory of the worker that does it.
    private interface Item {
        void run(int item, long scratch);
    }

    private final HostDevice device;

    HostAttention(HostDevice device) {
        this.device = device;
    }

    @Override
    public void forward(
            Shape shape, Sequences sequences, Span q, Span k, Span v, Span o, Span lse) {
        check(shape, sequences);
        long queryElements = (long) sequences.queryRows() * shape.heads() * shape.headDim();
        long keyElements = (long) sequences.keyRows() * shape.kvHeads() * shape.headDim();
        ForwardPass pass =
                new ForwardPass(
                        shape,
                        q.require("q", DType.F32, queryElements),
                        k.require("k", DType.F32, keyElements),
                        v.require("v", DType.F32, keyElements),
                        o.require("o", DType.F32, queryElements),
                        lse.require(
                                "lse", DType.F32, (long) sequences.queryRows() * shape.heads()));
        int kvHeads = shape.kvHeads();
        int chunk = pass.chunkQueries();
        int[] firstItem = new int[sequences.count() + 1];
        for (int s = 0; s < sequences.count(); s++) {
            int chunks = Math.ceilDiv(sequences.queryLength()[s], chunk);
            firstItem[s + 1] = Math.addExact(firstItem[s], Math.multiplyExact(chunks, kvHeads));
        }
        int[] sequenceOf = owners(firstItem);
        overItems(
                sequenceOf.length,
                work(shape, sequences),
                pass.scratchBytes(),
                (item, scratch) -> {
                    int s = sequenceOf[item];
                    int within = item - firstItem[s];
                    int firstQuery = within / kvHeads * chunk;
                    int queries = Math.min(chunk, sequences.queryLength()[s] - firstQuery);
                    pass.run(sequences, s, within % kvHeads, firstQuery, queries, scratch);
                });
    }

    @Override
    public void decode(
            Shape shape,
            Pages pages,
            @Nullable Prefixes prefixes,
            Span q,
            Span k,
            Span v,
            Span o,
            Span lse) {
        int tokens = pages.tokens();
        long elements = (long) tokens * shape.heads() * shape.headDim();
        long statistics = (long) tokens * shape.heads();
        Shape causal =
                new Shape(shape.heads(), shape.kvHeads(), shape.headDim(), true, shape.scale());
        ForwardPass pass =
                new ForwardPass(
                        causal,
                        q.require("q", DType.F32, elements),
                        k.require("k", DType.F32, 0),
                        v.require("v", DType.F32, k.length()),
                        o.require("o", DType.F32, elements),
                        lse.require("lse", DType.F32, statistics));
        long rows = k.length() / ((long) shape.kvHeads() * shape.headDim());
        PageWalks walks = new PageWalks(pages, prefixes, rows / PAGE, pass.chunkQueries());
        int kvHeads = shape.kvHeads();
        long work = 2 * walks.keys() * pages.queries() * shape.heads() * shape.headDim();
        long state = 0;
        List<ForwardPass.Walk> shared = walks.shared();
        if (prefixes != null && !shared.isEmpty()) {
            long needed = Attention.stateElements(shape, tokens);
            long address = prefixes.state().require("state", DType.F32, needed);
            state = address;
            overItems(
                    Math.multiplyExact(shared.size(), kvHeads),
                    work,
                    pass.scratchBytes(),
                    (item, scratch) ->
                            pass.run(
                                    shared.get(item / kvHeads),
                                    item % kvHeads,
                                    0,
                                    address,
                                    scratch));
        }
        List<ForwardPass.Walk> own = walks.own();
        long states = state;
        overItems(
                Math.multiplyExact(own.size(), kvHeads),
                work,
                pass.scratchBytes(),
                (item, scratch) -> {
                    ForwardPass.Walk walk = own.get(item / kvHeads);
                    long begun = walk.from() > 0 ? states : 0;
                    pass.run(walk, item % kvHeads, begun, 0, scratch);
                });
    }

    @Override
    public void backward(
            Shape shape,
            Sequences sequences,
            Span q,
            Span k,
            Span v,
            Span o,
            Span lse,
            Span dO,
            Span dq,
            Span dk,
            Span dv) {
        check(shape, sequences);
        long queryElements = (long) sequences.queryRows() * shape.heads() * shape.headDim();
        long keyElements = (long) sequences.keyRows() * shape.kvHeads() * shape.headDim();
        BackwardPass pass =
                new BackwardPass(
                        shape,
                        q.require("q", DType.F32, queryElements),
                        k.require("k", DType.F32, keyElements),
                        v.require("v", DType.F32, keyElements),
                        o.require("o", DType.F32, queryElements),
                        lse.require("lse", DType.F32, (long) sequences.queryRows() * shape.heads()),
                        dO.require("dO", DType.F32, queryElements),
                        dq.require("dq", DType.F32, queryElements),
                        dk.require("dk", DType.F32, keyElements),
                        dv.require("dv", DType.F32, keyElements));
        int kvHeads = shape.kvHeads();
        overItems(
                Math.multiplyExact(sequences.count(), kvHeads),
                work(shape, sequences),
                pass.scratchBytes(),
                (item, scratch) -> pass.run(sequences, item / kvHeads, item % kvHeads, scratch));
    }

    /// For each item the sequence that it belongs to.
    private static int[] owners(int[] firstItem) {
        int count = firstItem.length - 1;
        int[] owner = new int[firstItem[count]];
        for (int s = 0; s < count; s++) {
            for (int item = firstItem[s]; item < firstItem[s + 1]; item++) {
                owner[item] = s;
            }
        }
        return owner;
    }

    private static long work(Shape shape, Sequences sequences) {
        long pairs = 0;
        for (int s = 0; s < sequences.count(); s++) {
            pairs += (long) sequences.queryLength()[s] * sequences.keyLength()[s];
        }
        return 2 * pairs * shape.heads() * shape.headDim();
    }

    private void overItems(int items, long work, long scratchBytes, Item body) {
        // The last items first: a causal sequence's last queries have the most keys, and what is
        // taken last should be short.
        AtomicInteger left = new AtomicInteger(items);
        HostDevice.Part part =
                (worker, _, _) -> {
                    long scratch = device.scratch(worker, scratchBytes);
                    for (int item = left.decrementAndGet();
                            item >= 0;
                            item = left.decrementAndGet()) {
                        body.run(item, scratch);
                    }
                };
        if (work <= SMALL || items < 2) {
            part.run(0, 0, 1);
        } else {
            device.run(device.workers(), part);
        }
    }

    static void check(Shape shape, Sequences sequences) {
        int count = sequences.count();
        if (sequences.queryLength().length != count
                || sequences.keyStart().length != count
                || sequences.keyLength().length != count) {
            throw new IllegalArgumentException("the arrays of the sequences differ in length");
        }
        for (int s = 0; s < count; s++) {
            int queries = sequences.queryLength()[s];
            int keys = sequences.keyLength()[s];
            if (sequences.queryStart()[s] < 0
                    || sequences.keyStart()[s] < 0
                    || queries < 0
                    || keys < 0) {
                throw new IllegalArgumentException("sequence " + s + " has a negative extent");
            }
            if (shape.causal() && keys < queries) {
                throw new IllegalArgumentException(
                        "causal sequence %d has %d queries but %d keys"
                                .formatted(s, queries, keys));
            }
        }
    }
}
