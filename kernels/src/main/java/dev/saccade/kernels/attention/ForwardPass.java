package dev.saccade.kernels.attention;

import static dev.saccade.kernels.attention.Attention.KEY_BLOCK;

import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.internal.Lanes;
import dev.saccade.kernels.internal.VectorMath;

import java.lang.foreign.MemorySegment;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/// The forward pass over chunks of queries of one sequence and key-value head.
///
/// A chunk's rows are the queries in order, and each query's heads of the group in order. Blocks of
/// keys are walked from left to right; each is transposed once for all rows of the chunk. A row
/// keeps its running maximum m, its 16 interleaved partial sums of the softmax denominator, and its
/// weighted sum of values. For a block with scores s (each one chain over headDim, times scale):
/// `m' = max(m, s)`, `p_j = exp(s_j - m')`, `a = exp(m - m')`, `l = l a + p`, and each element of
/// the output is one chain that starts at `o a` and adds `p_j v_j` over the visible keys in order.
/// At the end `o = o / l` and `lse = m + log l`. Nothing here depends on the chunk or on which rows
/// are computed together.
final class ForwardPass {
    /// Floats of queries that a chunk holds, so that they and the output stay in the cache.
    private static final int CHUNK_FLOATS = 8192;

    private static final int LENGTH = Lanes.LENGTH;
    private static final long VECTOR = 4L * LENGTH;

    private final int heads;
    private final int kvHeads;
    private final int group;
    private final int headDim;
    private final boolean causal;
    private final float scale;
    private final long q;
    private final long k;
    private final long v;
    private final long o;
    private final long lse;

    // Where the parts of a worker's scratch memory begin, in bytes.
    private final long keysAt;
    private final long queriesAt;
    private final long outputsAt;
    private final long scoresAt;
    private final long maximaAt;
    private final long sumsAt;
    private final long shuffleAt;
    private final long scratchBytes;

    ForwardPass(Attention.Shape shape, long q, long k, long v, long o, long lse) {
        this.heads = shape.heads();
        this.kvHeads = shape.kvHeads();
        this.group = heads / kvHeads;
        this.headDim = shape.headDim();
        this.causal = shape.causal();
        this.scale = shape.scale();
        this.q = q;
        this.k = k;
        this.v = v;
        this.o = o;
        this.lse = lse;
        long rows = (long) chunkQueries() * group;
        keysAt = 0;
        queriesAt = keysAt + 4L * Transpose.rows(headDim) * KEY_BLOCK;
        outputsAt = queriesAt + aligned(4 * rows * headDim);
        scoresAt = outputsAt + aligned(4 * rows * headDim);
        maximaAt = scoresAt + Tile.ROWS * Tile.SCORE_PITCH;
        sumsAt = maximaAt + aligned(4 * rows);
        shuffleAt = sumsAt + 4 * rows * Lanes.VIRTUAL;
        scratchBytes = shuffleAt + Transpose.SCRATCH_BYTES;
    }

    static long aligned(long bytes) {
        return (bytes + 63) & -64;
    }

    /// The most queries of a chunk.
    int chunkQueries() {
        return Math.clamp(CHUNK_FLOATS / ((long) headDim * group), 1, 128);
    }

    /// What a worker needs.
    long scratchBytes() {
        return scratchBytes;
    }

    /// Computes o and lse of `queries` queries from `firstQuery` on, for the heads that read one
    /// key-value head.
    void run(
            Attention.Sequences sequences,
            int sequence,
            int kvHead,
            int firstQuery,
            int queries,
            long scratch) {
        int keyLength = sequences.keyLength()[sequence];
        int rows = queries * group;
        // The absolute position of the chunk's first query.
        int position = keyLength - sequences.queryLength()[sequence] + firstQuery;
        long firstRow = (long) sequences.queryStart()[sequence] + firstQuery;
        long head = (long) kvHead * group;
        int seen = causal ? position + queries : keyLength;

        long pitch = 4L * kvHeads * headDim;
        long keyOffset = pitch * sequences.keyStart()[sequence] + 4L * headDim * kvHead;
        long bytes = 4L * headDim * group;
        for (int query = 0; query < queries; query++) {
            long from = q + 4L * headDim * (heads * (firstRow + query) + head);
            MemorySegment.copy(
                    HostMemory.SPACE,
                    from,
                    HostMemory.SPACE,
                    scratch + queriesAt + bytes * query,
                    bytes);
        }
        HostMemory.segment(scratch + outputsAt, 4L * rows * headDim).fill((byte) 0);
        HostMemory.segment(scratch + sumsAt, 4L * rows * Lanes.VIRTUAL).fill((byte) 0);
        for (int row = 0; row < rows; row++) {
            Lanes.set(scratch + maximaAt + 4L * row, Float.NEGATIVE_INFINITY);
        }
        for (int block = 0; block < seen; block += KEY_BLOCK) {
            int keys = Math.min(KEY_BLOCK, seen - block);
            Transpose.block(
                    keys,
                    headDim,
                    k + keyOffset + pitch * block,
                    pitch,
                    scratch + keysAt,
                    scratch + shuffleAt);
            // Rows before this one see nothing of the block.
            int first = causal ? Math.max(0, block - position) * group : 0;
            // How many of the block's keys row r sees, if causal: r / group + visible.
            int visible = causal ? position + 1 - block : KEY_BLOCK;
            tiles(first, rows, keys, visible, v + keyOffset + pitch * block, pitch, scratch);
        }
        finish(rows, firstRow, head, scratch);
    }

    /// One block of keys for the rows from `first` on.
    private void tiles(
            int first, int rows, int keys, int visible, long values, long pitch, long scratch) {
        long scores = scratch + scoresAt;
        long rowBytes = 4L * headDim;
        int row = first;
        for (; row + Tile.ROWS <= rows; row += Tile.ROWS) {
            long outputs = scratch + outputsAt + rowBytes * row;
            Tile.scores(
                    Tile.ROWS,
                    headDim,
                    scratch + queriesAt + rowBytes * row,
                    scratch + keysAt,
                    scores);
            int count0 = softmax(row, keys, visible, scores, scratch);
            int count1 = softmax(row + 1, keys, visible, scores + Tile.SCORE_PITCH, scratch);
            int count2 = softmax(row + 2, keys, visible, scores + 2 * Tile.SCORE_PITCH, scratch);
            int count3 = softmax(row + 3, keys, visible, scores + 3 * Tile.SCORE_PITCH, scratch);
            Tile.accumulate4(
                    count0,
                    count1,
                    count2,
                    count3,
                    headDim,
                    scores,
                    Tile.SCORE_PITCH,
                    4,
                    values,
                    pitch,
                    outputs,
                    rowBytes);
        }
        for (; row < rows; row++) {
            long outputs = scratch + outputsAt + rowBytes * row;
            Tile.scores(1, headDim, scratch + queriesAt + rowBytes * row, scratch + keysAt, scores);
            int count = softmax(row, keys, visible, scores, scratch);
            Tile.accumulate1(count, headDim, scores, 4, values, pitch, outputs);
        }
    }

    /// Turns a row's scores of one block into probabilities relative to the new maximum, and brings
    /// the row's sums and output to it.
    ///
    /// @return how many of the block's keys the row sees
    private int softmax(int row, int keys, int visible, long scores, long scratch) {
        int count = causal ? Math.min(keys, row / group + visible) : keys;
        float top = count < KEY_BLOCK ? maskedTop(scores, count) : top(scores);
        long maximum = scratch + maximaAt + 4L * row;
        float before = Lanes.get(maximum);
        float now = Math.max(before, top);
        float decay = 1f;
        if (now != before) {
            decay = VectorMath.exp(before - now);
            Lanes.set(maximum, now);
            if (before != Float.NEGATIVE_INFINITY) {
                Tile.scale(headDim, decay, scratch + outputsAt + 4L * headDim * row);
            }
        }
        exponentials(scores, now, decay, scratch + sumsAt + 4L * Lanes.VIRTUAL * row);
        return count;
    }

    /// Scales a row's scores and finds the largest.
    private float top(long scores) {
        float top = Float.NEGATIVE_INFINITY;
        for (int j = 0; j < KEY_BLOCK; j += 2 * LENGTH) {
            long at = scores + 4L * j;
            FloatVector s0 = Lanes.load(at).mul(scale);
            FloatVector s1 = Lanes.load(at + VECTOR).mul(scale);
            Lanes.store(s0, at);
            Lanes.store(s1, at + VECTOR);
            // A maximum has the same bits in any order.
            top = Math.max(top, s0.max(s1).reduceLanes(VectorOperators.MAX));
        }
        return top;
    }

    /// As [#top], with the scores from `count` on set to minus infinity.
    private float maskedTop(long scores, int count) {
        float top = Float.NEGATIVE_INFINITY;
        for (int j = 0; j < KEY_BLOCK; j += LENGTH) {
            long at = scores + 4L * j;
            FloatVector s = lowest().blend(Lanes.load(at).mul(scale), first(count - j));
            Lanes.store(s, at);
            top = Math.max(top, s.reduceLanes(VectorOperators.MAX));
        }
        return top;
    }

    /// Turns scaled scores s into p = exp(s - top), and adds them to the row's decayed sums.
    private static void exponentials(long scores, float top, float decay, long sums) {
        for (int j = 0; j < Lanes.VIRTUAL; j += LENGTH) {
            long at = scores + 4L * j;
            FloatVector p0 = VectorMath.exp(Lanes.load(at).sub(top));
            FloatVector p1 = VectorMath.exp(Lanes.load(at + 4L * Lanes.VIRTUAL).sub(top));
            Lanes.store(p0, at);
            Lanes.store(p1, at + 4L * Lanes.VIRTUAL);
            FloatVector sum = Lanes.load(sums + 4L * j).mul(decay).add(p0).add(p1);
            Lanes.store(sum, sums + 4L * j);
        }
    }

    private static FloatVector lowest() {
        return FloatVector.broadcast(Lanes.SPECIES, Float.NEGATIVE_INFINITY);
    }

    /// The mask of the first `count` lanes, none if it is negative.
    static VectorMask<Float> first(int count) {
        return Lanes.first(Math.max(0, count));
    }

    /// Divides the outputs by their sums and writes them with lse.
    private void finish(int rows, long firstRow, long head, long scratch) {
        float[] partial = new float[Lanes.VIRTUAL];
        for (int row = 0; row < rows; row++) {
            long sums = scratch + sumsAt + 4L * Lanes.VIRTUAL * row;
            for (int j = 0; j < Lanes.VIRTUAL; j += LENGTH) {
                Lanes.load(sums + 4L * j).intoArray(partial, j);
            }
            float sum = Lanes.tree(partial);
            long target = heads * (firstRow + row / group) + head + row % group;
            float maximum = Lanes.get(scratch + maximaAt + 4L * row);
            Lanes.set(lse + 4 * target, maximum + VectorMath.log(sum));
            divide(
                    headDim,
                    scratch + outputsAt + 4L * headDim * row,
                    sum == 0f ? 1f : sum, // no keys: the output is 0
                    o + 4L * headDim * target);
        }
    }

    /// y = x / divisor.
    private static void divide(int count, long x, float divisor, long y) {
        int i = 0;
        for (; i + LENGTH <= count; i += LENGTH) {
            Lanes.store(Lanes.load(x + 4L * i).div(divisor), y + 4L * i);
        }
        if (i < count) {
            VectorMask<Float> mask = Lanes.first(count - i);
            Lanes.store(Lanes.load(x + 4L * i, mask).div(divisor), y + 4L * i, mask);
        }
    }
}
