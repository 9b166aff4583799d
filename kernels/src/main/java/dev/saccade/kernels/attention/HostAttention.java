package dev.saccade.kernels.attention;

import static dev.saccade.kernels.internal.Lanes.LENGTH;
import static dev.saccade.kernels.internal.Lanes.SPECIES;
import static dev.saccade.kernels.internal.Lanes.VIRTUAL;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Lanes;
import dev.saccade.kernels.internal.VectorMath;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/// Attention on the CPU. A worker takes a sequence and a key-value head: it lays the keys out by
/// dimension, so that a block's scores are chains over the head's dimensions with keys in the lanes,
/// and then takes the queries one by one. A query meets the same blocks in the same order whoever
/// else is there.
final class HostAttention implements Attention {
    private static final int FLOAT = Float.BYTES;
    private static final int BLOCK_BYTES = KEY_BLOCK * FLOAT;

    private final HostDevice device;

    HostAttention(HostDevice device) {
        this.device = device;
    }

    @Override
    public void forward(
            Shape shape, Sequences sequences, Span q, Span k, Span v, Span o, Span lse) {
        int queryRows = sequences.queryRows();
        int keyRows = sequences.keyRows();
        long queryWidth = (long) shape.heads() * shape.headDim();
        long keyWidth = (long) shape.kvHeads() * shape.headDim();
        long qs = q.require("q", DType.F32, queryRows * queryWidth);
        long ks = k.require("k", DType.F32, keyRows * keyWidth);
        long vs = v.require("v", DType.F32, keyRows * keyWidth);
        long os = o.require("o", DType.F32, queryRows * queryWidth);
        long lses = lse.require("lse", DType.F32, (long) queryRows * shape.heads());
        int headDim = shape.headDim();
        int group = shape.heads() / shape.kvHeads();
        device.run(
                sequences.count() * shape.kvHeads(),
                (worker, begin, end) -> {
                    for (int part = begin; part < end; part++) {
                        int s = part / shape.kvHeads();
                        int kvHead = part % shape.kvHeads();
                        int queries = sequences.queryLength()[s];
                        int keys = sequences.keyLength()[s];
                        if (queries == 0) {
                            continue;
                        }
                        long head = (long) kvHead * headDim * FLOAT;
                        long keyStart = sequences.keyStart()[s] * keyWidth * FLOAT + head;
                        int blocks = (keys + KEY_BLOCK - 1) / KEY_BLOCK;
                        long blockBytes = (long) headDim * BLOCK_BYTES;
                        long scratch = device.scratch(worker, BLOCK_BYTES + blocks * blockBytes);
                        long byDimension = scratch + BLOCK_BYTES;
                        transpose(ks + keyStart, keyWidth * FLOAT, keys, headDim, byDimension);
                        float[] partial = new float[VIRTUAL];
                        for (int g = 0; g < group; g++) {
                            int h = kvHead * group + g;
                            for (int i = 0; i < queries; i++) {
                                long row = (long) sequences.queryStart()[s] + i;
                                int seen = shape.causal() ? keys - queries + i + 1 : keys;
                                long at = (row * queryWidth + (long) h * headDim) * FLOAT;
                                float sum =
                                        query(
                                                qs + at,
                                                byDimension,
                                                vs + keyStart,
                                                keyWidth * FLOAT,
                                                headDim,
                                                seen,
                                                shape.scale(),
                                                os + at,
                                                scratch,
                                                partial);
                                Lanes.set(lses + (row * shape.heads() + h) * FLOAT, sum);
                            }
                        }
                    }
                });
    }

    /// Lays rows out as blocks of [headDim][KEY_BLOCK], zeros beyond the last row.
    private static void transpose(long rows, long pitch, int count, int headDim, long to) {
        int padded = (count + KEY_BLOCK - 1) / KEY_BLOCK * KEY_BLOCK;
        for (int j = 0; j < padded; j++) {
            long out =
                    to
                            + (long) (j / KEY_BLOCK) * headDim * BLOCK_BYTES
                            + (long) (j % KEY_BLOCK) * FLOAT;
            long in = rows + j * pitch;
            if (j < count) {
                for (int d = 0; d < headDim; d++) {
                    Lanes.set(out + (long) d * BLOCK_BYTES, Lanes.get(in + (long) d * FLOAT));
                }
            } else {
                for (int d = 0; d < headDim; d++) {
                    Lanes.set(out + (long) d * BLOCK_BYTES, 0);
                }
            }
        }
    }

    /// `out[j] = sum over d of x[d] * block[d][j]`, a chain over d for each of the block's keys.
    private static void dots(long x, long block, int headDim, long out) {
        for (int j = 0; j < KEY_BLOCK; j += 2 * LENGTH) {
            FloatVector first = FloatVector.zero(SPECIES);
            FloatVector second = FloatVector.zero(SPECIES);
            long line = block + (long) j * FLOAT;
            for (int d = 0; d < headDim; d++) {
                FloatVector value =
                        FloatVector.broadcast(SPECIES, Lanes.get(x + (long) d * FLOAT));
                first = value.fma(Lanes.load(line), first);
                second = value.fma(Lanes.load(line + LENGTH * FLOAT), second);
                line += BLOCK_BYTES;
            }
            Lanes.store(first, out + (long) j * FLOAT);
            Lanes.store(second, out + (long) (j + LENGTH) * FLOAT);
        }
    }

    private static float query(
            long q,
            long keys,
            long values,
            long pitch,
            int headDim,
            int seen,
            float scale,
            long o,
            long scores,
            float[] partial) {
        float largest = Float.NEGATIVE_INFINITY;
        float denominator = 0;
        for (int from = 0; from < seen; from += KEY_BLOCK) {
            int count = Math.min(KEY_BLOCK, seen - from);
            long block = keys + (long) (from / KEY_BLOCK) * headDim * BLOCK_BYTES;
            dots(q, block, headDim, scores);
            float before = largest;
            for (int j = 0; j < KEY_BLOCK; j += LENGTH) {
                VectorMask<Float> mask = Lanes.first(count - j);
                FloatVector s =
                        FloatVector.broadcast(SPECIES, Float.NEGATIVE_INFINITY)
                                .blend(Lanes.load(scores + (long) j * FLOAT).mul(scale), mask);
                Lanes.store(s, scores + (long) j * FLOAT);
                largest = Math.max(largest, s.reduceLanes(VectorOperators.MAX));
            }
            for (int j = 0; j < KEY_BLOCK; j += LENGTH) {
                FloatVector p =
                        VectorMath.exp(Lanes.load(scores + (long) j * FLOAT).sub(largest));
                Lanes.store(p, scores + (long) j * FLOAT);
            }
            for (int j = 0; j < VIRTUAL; j++) {
                partial[j] =
                        Lanes.get(scores + (long) j * FLOAT)
                                + Lanes.get(scores + (long) (j + VIRTUAL) * FLOAT);
            }
            float sum = Lanes.tree(partial);
            float correction = from == 0 ? 0 : VectorMath.exp(before - largest);
            denominator = Math.fma(denominator, correction, sum);
            for (int d = 0; d < headDim; d += LENGTH) {
                VectorMask<Float> mask = Lanes.first(headDim - d);
                long offset = (long) d * FLOAT;
                FloatVector total =
                        from == 0
                                ? FloatVector.zero(SPECIES)
                                : Lanes.load(o + offset, mask).mul(correction);
                long row = values + from * pitch + offset;
                for (int j = 0; j < count; j++) {
                    FloatVector p =
                            FloatVector.broadcast(
                                    SPECIES, Lanes.get(scores + (long) j * FLOAT));
                    total = p.fma(Lanes.load(row, mask), total);
                    row += pitch;
                }
                Lanes.store(total, o + offset, mask);
            }
        }
        float inverse = 1 / denominator;
        for (int d = 0; d < headDim; d += LENGTH) {
            VectorMask<Float> mask = Lanes.first(headDim - d);
            long offset = (long) d * FLOAT;
            Lanes.store(Lanes.load(o + offset, mask).mul(inverse), o + offset, mask);
        }
        return largest + VectorMath.log(denominator);
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
        int queryRows = sequences.queryRows();
        int keyRows = sequences.keyRows();
        int headDim = shape.headDim();
        long queryWidth = (long) shape.heads() * headDim;
        long keyWidth = (long) shape.kvHeads() * headDim;
        long qs = q.require("q", DType.F32, queryRows * queryWidth);
        long ks = k.require("k", DType.F32, keyRows * keyWidth);
        long vs = v.require("v", DType.F32, keyRows * keyWidth);
        long os = o.require("o", DType.F32, queryRows * queryWidth);
        long lses = lse.require("lse", DType.F32, (long) queryRows * shape.heads());
        long dOs = dO.require("dO", DType.F32, queryRows * queryWidth);
        long dqs = dq.require("dq", DType.F32, queryRows * queryWidth);
        long dks = dk.require("dk", DType.F32, keyRows * keyWidth);
        long dvs = dv.require("dv", DType.F32, keyRows * keyWidth);
        int group = shape.heads() / shape.kvHeads();
        device.run(
                sequences.count() * shape.kvHeads(),
                (worker, begin, end) -> {
                    for (int part = begin; part < end; part++) {
                        int s = part / shape.kvHeads();
                        int kvHead = part % shape.kvHeads();
                        int queries = sequences.queryLength()[s];
                        int keys = sequences.keyLength()[s];
                        long pitch = keyWidth * FLOAT;
                        long start =
                                sequences.keyStart()[s] * pitch + (long) kvHead * headDim * FLOAT;
                        for (int j = 0; j < keys; j++) {
                            HostMemory.segment(dks + start + j * pitch, (long) headDim * FLOAT)
                                    .fill((byte) 0);
                            HostMemory.segment(dvs + start + j * pitch, (long) headDim * FLOAT)
                                    .fill((byte) 0);
                        }
                        int blocks = (keys + KEY_BLOCK - 1) / KEY_BLOCK;
                        long layout = (long) blocks * headDim * BLOCK_BYTES;
                        long scratch = device.scratch(worker, 2 * BLOCK_BYTES + 2 * layout);
                        long keysByDimension = scratch + 2 * BLOCK_BYTES;
                        long valuesByDimension = keysByDimension + layout;
                        transpose(ks + start, pitch, keys, headDim, keysByDimension);
                        transpose(vs + start, pitch, keys, headDim, valuesByDimension);
                        float[] partial = new float[VIRTUAL];
                        for (int g = 0; g < group; g++) {
                            int h = kvHead * group + g;
                            for (int i = 0; i < queries; i++) {
                                long row = (long) sequences.queryStart()[s] + i;
                                int seen = shape.causal() ? keys - queries + i + 1 : keys;
                                long at = (row * queryWidth + (long) h * headDim) * FLOAT;
                                float sum = Lanes.get(lses + (row * shape.heads() + h) * FLOAT);
                                float mean = rowDot(dOs + at, os + at, headDim, partial);
                                queryBackward(
                                        new Row(qs + at, dOs + at, dqs + at, sum, mean, seen),
                                        ks + start,
                                        dks + start,
                                        dvs + start,
                                        pitch,
                                        headDim,
                                        shape.scale(),
                                        keysByDimension,
                                        valuesByDimension,
                                        scratch);
                            }
                        }
                    }
                });
    }

    /// What the backward pass needs of a query row.
    private record Row(long q, long dO, long dq, float lse, float mean, int seen) {}

    private static float rowDot(long a, long b, int width, float[] partial) {
        for (int lane = 0; lane < VIRTUAL; lane += LENGTH) {
            FloatVector total = FloatVector.zero(SPECIES);
            for (int i = lane; i < width; i += VIRTUAL) {
                VectorMask<Float> mask = Lanes.first(width - i);
                long offset = (long) i * FLOAT;
                total = Lanes.load(a + offset, mask).fma(Lanes.load(b + offset, mask), total);
            }
            total.intoArray(partial, lane);
        }
        return Lanes.tree(partial);
    }

    private static void queryBackward(
            Row row,
            long keys,
            long dKeys,
            long dValues,
            long pitch,
            int headDim,
            float scale,
            long keysByDimension,
            long valuesByDimension,
            long scratch) {
        long probabilities = scratch;
        long slopes = scratch + BLOCK_BYTES;
        for (int from = 0; from < row.seen(); from += KEY_BLOCK) {
            int count = Math.min(KEY_BLOCK, row.seen() - from);
            long block = (long) (from / KEY_BLOCK) * headDim * BLOCK_BYTES;
            dots(row.q(), keysByDimension + block, headDim, probabilities);
            dots(row.dO(), valuesByDimension + block, headDim, slopes);
            for (int j = 0; j < KEY_BLOCK; j += LENGTH) {
                long offset = (long) j * FLOAT;
                FloatVector p =
                        VectorMath.exp(
                                Lanes.load(probabilities + offset).mul(scale).sub(row.lse()));
                FloatVector ds =
                        p.mul(Lanes.load(slopes + offset).sub(row.mean())).mul(scale);
                Lanes.store(p, probabilities + offset);
                Lanes.store(ds, slopes + offset);
            }
            for (int d = 0; d < headDim; d += LENGTH) {
                VectorMask<Float> mask = Lanes.first(headDim - d);
                long offset = (long) d * FLOAT;
                FloatVector query = Lanes.load(row.q() + offset, mask);
                FloatVector upstream = Lanes.load(row.dO() + offset, mask);
                FloatVector total =
                        from == 0
                                ? FloatVector.zero(SPECIES)
                                : Lanes.load(row.dq() + offset, mask);
                long at = from * pitch + offset;
                for (int j = 0; j < count; j++) {
                    FloatVector ds =
                            FloatVector.broadcast(
                                    SPECIES, Lanes.get(slopes + (long) j * FLOAT));
                    FloatVector p =
                            FloatVector.broadcast(
                                    SPECIES, Lanes.get(probabilities + (long) j * FLOAT));
                    total = ds.fma(Lanes.load(keys + at, mask), total);
                    Lanes.store(
                            ds.fma(query, Lanes.load(dKeys + at, mask)), dKeys + at, mask);
                    Lanes.store(
                            p.fma(upstream, Lanes.load(dValues + at, mask)), dValues + at, mask);
                    at += pitch;
                }
                Lanes.store(total, row.dq() + offset, mask);
            }
        }
    }
}
