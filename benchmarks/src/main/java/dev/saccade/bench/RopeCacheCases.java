package dev.saccade.bench;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.embedding.Embedding;
import dev.saccade.kernels.position.Rope;
import java.util.stream.IntStream;

/// New tokens' queries and keys rotated, and keys and values put into a cache.
final class RopeCacheCases {
    private static final int SAMPLES = 32;
    private static final int POSITIONS = 4096;
    private static final double THETA = 1e6;

    private RopeCacheCases() {}

    /// `op=rope_cache dtype rows heads kv_heads head_dim parts`: in one pass, or with `parts=true`
    /// in the four that it replaces. Bytes are those of one pass.
    static PreparedCase append(Case work, Workbench bench) {
        Rope rope = Rope.on(bench.device());
        Embedding embedding = Embedding.on(bench.device());
        int rows = work.integer("rows");
        int heads = work.integer("heads");
        int kvHeads = work.integer("kv_heads");
        int headDim = work.integer("head_dim");
        boolean parts = work.flag("parts");
        DType dtype = work.dtype();
        int kvWidth = kvHeads * headDim;
        long count = (long) rows * heads * headDim;
        long kvCount = (long) rows * kvWidth;
        double bytes =
                2.0 * dtype.bytes() * (count + 2 * kvCount)
                        + 8.0 * rows
                        + 4.0 * Math.min(rows, POSITIONS) * headDim;
        int sets = bench.sets((long) bytes);
        Operand q = bench.normal(dtype, count, sets);
        Operand k = bench.normal(dtype, kvCount, sets);
        Operand v = bench.normal(dtype, kvCount, sets);
        Operand keys = bench.empty(dtype, kvCount, sets);
        Operand values = bench.empty(dtype, kvCount, sets);
        int[] positions = bench.draw(rows, POSITIONS);
        // A prime number of rows apart, so that rows follow each other nowhere.
        int[] places = places(rows);
        Span positionSpan = bench.integers(positions);
        Span placeSpan = bench.integers(places);
        Operand table = bench.empty(DType.F32, (long) POSITIONS * headDim, 1);
        rope.table(POSITIONS, headDim, THETA, table.set(0));
        return PreparedCase.of(
                0,
                bytes,
                sets,
                set -> {
                    Span angles = table.set(0);
                    if (parts) {
                        rope.rotate(rows, heads, headDim, angles, positionSpan, q.set(set));
                        rope.rotate(rows, kvHeads, headDim, angles, positionSpan, k.set(set));
                        embedding.scatter(
                                rows, kvWidth, rows, placeSpan, k.set(set), keys.set(set));
                        embedding.scatter(
                                rows, kvWidth, rows, placeSpan, v.set(set), values.set(set));
                    } else {
                        rope.rotateIntoCache(
                                rows,
                                heads,
                                kvHeads,
                                headDim,
                                angles,
                                positionSpan,
                                q.set(set),
                                k.set(set),
                                v.set(set),
                                new Rope.Cache(rows, placeSpan, keys.set(set), values.set(set)));
                    }
                },
                () -> {
                    bench.reset(q);
                    bench.reset(k);
                    bench.reset(keys);
                    bench.reset(values);
                },
                () -> {
                    for (int sample = 0; sample < SAMPLES; sample++) {
                        int row = (int) bench.draw((long) rows);
                        int i = (int) bench.draw((long) headDim / 2);
                        double angle = positions[row] * Math.pow(THETA, -2.0 * i / headDim);
                        int head = (int) bench.draw((long) heads);
                        int kvHead = (int) bench.draw((long) kvHeads);
                        long query = ((long) row * heads + head) * headDim + i;
                        long key = ((long) row * kvHeads + kvHead) * headDim + i;
                        long cached = ((long) places[row] * kvHeads + kvHead) * headDim + i;
                        requireTurned(bench, q, query, q.set(0), query, headDim, angle);
                        requireTurned(bench, k, key, keys.set(0), cached, headDim, angle);
                        bench.require(
                                "values[" + cached + "]",
                                dtype,
                                bench.read(values.set(0), cached),
                                v.value(key),
                                0,
                                0);
                    }
                },
                null);
    }

    /// Requires the pair at `to` to be that of `x` at `from`, turned.
    private static void requireTurned(
            Workbench bench,
            Operand x,
            long from,
            Span result,
            long to,
            int headDim,
            double angle) {
        int half = headDim / 2;
        double a = x.value(from);
        double b = x.value(from + half);
        double[] turned = {
            a * Math.cos(angle) - b * Math.sin(angle), b * Math.cos(angle) + a * Math.sin(angle)
        };
        for (int part = 0; part < 2; part++) {
            long at = to + (long) part * half;
            bench.require(
                    "[" + at + "]",
                    result.dtype(),
                    bench.read(result, at),
                    turned[part],
                    Math.abs(a) + Math.abs(b),
                    0x1p-20);
        }
    }

    /// Each row once, in an order that jumps.
    private static int[] places(int rows) {
        int jump = rows % 97 == 0 ? 1 : 97;
        return IntStream.range(0, rows).map(row -> (int) ((long) row * jump % rows)).toArray();
    }
}
