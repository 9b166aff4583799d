package dev.saccade.kernels.attention;

import static dev.saccade.kernels.attention.Attention.KEY_BLOCK;

import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.internal.Lanes;
import dev.saccade.kernels.internal.VectorMath;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/// The forward pass over chunks of queries and one key-value head.
///
/// A chunk's rows are the queries in order, and each query's heads of the group in order. Blocks of
/// keys are walked from left to right; each is transposed once for all rows of the chunk. A row
/// keeps its running maximum m, its 16 interleaved partial sums of the softmax denominator, and its
/// weighted sum of values. For a block with scores s (each one chain over headDim, of scale * q
/// rounded and k): `m' = max(m, s)`, `p_j = exp(s_j - m')`, `a = exp(m - m')`, `l = l a + p`, and
/// each element of the output is one chain that starts at `o a` and adds `p_j v_j` over the visible
/// keys in order. At the end `o = o / l` and `lse = m + log l`. Nothing here depends on the chunk
/// or on which rows are computed together.
final class ForwardPass {
    /// Floats of queries that a chunk holds, so that they and the output stay in the cache.
    private static final int CHUNK_FLOATS = 8192;

    private static final int LENGTH = Lanes.LENGTH;
    private static final long VECTOR = 4L * LENGTH;

    // Used without a helper in between in what is hot: see Tile.
    private static final VectorSpecies<Float> SPECIES = Lanes.SPECIES;
    private static final MemorySegment SPACE = HostMemory.SPACE;
    private static final ByteOrder ORDER = ByteOrder.nativeOrder();

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
    private final long valuesAt;
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
        valuesAt = keysAt + 4L * Transpose.rows(headDim) * KEY_BLOCK;
        queriesAt = valuesAt + 4L * headDim * KEY_BLOCK;
        outputsAt = queriesAt + aligned(4 * rows * headDim);
        scoresAt = outputsAt + aligned(4 * rows * headDim);
        maximaAt = scoresAt + rows * Tile.SCORE_PITCH + aligned(4 * rows);
        sumsAt = maximaAt + aligned(4 * rows);
        shuffleAt = sumsAt + 4 * rows * Lanes.VIRTUAL;
        scratchBytes = shuffleAt + Transpose.SCRATCH_BYTES;
    }

    static long aligned(long bytes) {
        return (bytes + 63) & -64;
    }

    /// The most queries of a chunk.
    int chunkQueries() {
        return chunkQueries(headDim, group);
    }

    /// The most queries of a chunk: few enough that their rows stay in the cache, and enough to be
    /// worth transposing a block of keys.
    static int chunkQueries(int headDim, int group) {
        int rows = Math.clamp(CHUNK_FLOATS / headDim, 16, 128);
        return Math.max(1, rows / group);
    }

    /// What a worker needs.
    long scratchBytes() {
        return scratchBytes;
    }

    /// Where a block of keys lies.
    interface Blocks {
        /// The row of k and v that has a key with which a block begins; the block's others follow.
        long row(int key);
    }

    /// Queries of one sequence, or of several that see the same keys, and the keys that they walk
    /// over.
    ///
    /// @param firstRow the first query's row in q and o
    /// @param queries how many, at most [#chunkQueries()]
    /// @param position the absolute position of the first query; when causal, each sees the keys up
    ///   to its own position
    /// @param from the first key, with which a block begins
    /// @param to the end of the keys
    /// @param blocks where the keys lie
    record Walk(long firstRow, int queries, int position, int from, int to, Blocks blocks) {}

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
        // The absolute position of the chunk's first query.
        int position = keyLength - sequences.queryLength()[sequence] + firstQuery;
        long firstRow = (long) sequences.queryStart()[sequence] + firstQuery;
        long keyStart = sequences.keyStart()[sequence];
        int seen = causal ? position + queries : keyLength;
        run(
                new Walk(firstRow, queries, position, 0, seen, key -> keyStart + key),
                kvHead,
                0,
                0,
                scratch);
    }

    /// Walks over keys, for the heads that read one key-value head.
    ///
    /// @param begun the address of all rows' states, where the walk's rows go on from; 0 where they
    ///   begin
    /// @param unfinished the address of all rows' states, where what the walk's rows have summed up
    ///   goes; 0 where it goes to o and lse
    void run(Walk walk, int kvHead, long begun, long unfinished, long scratch) {
        int queries = walk.queries;
        int rows = queries * group;
        long head = (long) kvHead * group;
        long pitch = 4L * kvHeads * headDim;
        long bytes = 4L * headDim * group;
        for (int query = 0; query < queries; query++) {
            long from = q + 4L * headDim * (heads * (walk.firstRow + query) + head);
            scale(headDim * group, scale, from, scratch + queriesAt + bytes * query);
        }
        if (begun == 0) {
            HostMemory.segment(scratch + outputsAt, 4L * rows * headDim).fill((byte) 0);
            HostMemory.segment(scratch + sumsAt, 4L * rows * Lanes.VIRTUAL).fill((byte) 0);
            for (int row = 0; row < rows; row++) {
                Lanes.set(scratch + maximaAt + 4L * row, Float.NEGATIVE_INFINITY);
            }
        } else {
            for (int row = 0; row < rows; row++) {
                load(begun + stateBytes() * target(row, walk.firstRow, head), row, scratch);
            }
        }
        for (int key = walk.from; key < walk.to; key += KEY_BLOCK) {
            int keys = Math.min(KEY_BLOCK, walk.to - key);
            long offset = pitch * walk.blocks.row(key) + 4L * headDim * kvHead;
            Transpose.block(
                    keys, headDim, k + offset, pitch, scratch + keysAt, scratch + shuffleAt);
            // Rows before this one see nothing of the block.
            int first = causal ? Math.max(0, key - walk.position) * group : 0;
            // How many of the block's keys row r sees, if causal: r / group + visible.
            int visible = causal ? walk.position + 1 - key : KEY_BLOCK;
            block(first, rows, keys, visible, v + offset, pitch, scratch);
        }
        if (unfinished == 0) {
            finish(rows, walk.firstRow, head, scratch);
        } else {
            for (int row = 0; row < rows; row++) {
                store(unfinished + stateBytes() * target(row, walk.firstRow, head), row, scratch);
            }
        }
    }

    /// A row's place among all queries' heads.
    private long target(int row, long firstRow, long head) {
        return heads * (firstRow + row / group) + head + row % group;
    }

    private long stateBytes() {
        return 4L * (headDim + Attention.STATE_ROOM);
    }

    /// A state has a row's weighted sum of values, its maximum, and its partial sums.
    private void load(long state, int row, long scratch) {
        long rowBytes = 4L * headDim;
        MemorySegment.copy(SPACE, state, SPACE, scratch + outputsAt + rowBytes * row, rowBytes);
        Lanes.set(scratch + maximaAt + 4L * row, Lanes.get(state + rowBytes));
        long sums = 4L * Lanes.VIRTUAL;
        MemorySegment.copy(SPACE, state + rowBytes + 4, SPACE, scratch + sumsAt + sums * row, sums);
    }

    private void store(long state, int row, long scratch) {
        long rowBytes = 4L * headDim;
        MemorySegment.copy(SPACE, scratch + outputsAt + rowBytes * row, SPACE, state, rowBytes);
        Lanes.set(state + rowBytes, Lanes.get(scratch + maximaAt + 4L * row));
        long sums = 4L * Lanes.VIRTUAL;
        MemorySegment.copy(SPACE, scratch + sumsAt + sums * row, SPACE, state + rowBytes + 4, sums);
    }

    /// One block of keys for the rows from `first` on.
    private void block(
            int first, int rows, int keys, int visible, long values, long pitch, long scratch) {
        long scores = scratch + scoresAt;
        long rowBytes = 4L * headDim;
        Tile.scores(
                rows - first,
                headDim,
                scratch + queriesAt + rowBytes * first,
                scratch + keysAt,
                scores + Tile.SCORE_PITCH * first);
        // The decays of the rows' sums lie behind the scores: one loop takes all exponentials.
        long decays = scores + Tile.SCORE_PITCH * rows - 4L * first;
        for (int row = first; row < rows; row++) {
            int count = Math.min(keys, row / group + visible);
            long at = scores + Tile.SCORE_PITCH * row;
            if (count < KEY_BLOCK) {
                hide(count, at);
            }
            subtractMaximum(at, scratch + maximaAt + 4L * row, decays + 4L * row);
        }
        exponentials(scores + Tile.SCORE_PITCH * first, decays + 4L * rows);
        for (int row = first; row < rows; row++) {
            decayAndAdd(
                    Lanes.get(decays + 4L * row),
                    scores + Tile.SCORE_PITCH * row,
                    scratch + sumsAt + 4L * Lanes.VIRTUAL * row,
                    scratch + outputsAt + rowBytes * row);
        }
        boolean packed = Tile.worthPacking(rows - first, rowBytes, pitch);
        if (packed) {
            Tile.pack(keys, rowBytes, values, pitch, scratch + valuesAt);
        }
        Tile.accumulate(
                first,
                rows,
                keys,
                visible,
                group,
                headDim,
                scores,
                Tile.SCORE_PITCH,
                4,
                packed ? scratch + valuesAt : values,
                packed ? rowBytes : pitch,
                scratch + outputsAt,
                rowBytes);
    }

    /// Sets a row's scores from `count` on to minus infinity.
    private static void hide(int count, long scores) {
        FloatVector hidden = FloatVector.broadcast(SPECIES, Float.NEGATIVE_INFINITY);
        for (int j = 0; j < KEY_BLOCK; j += LENGTH) {
            VectorMask<Float> seen = Lanes.first(Math.max(0, count - j));
            Lanes.store(hidden.blend(Lanes.load(scores + 4L * j), seen), scores + 4L * j);
        }
    }

    /// Finds a row's new maximum with one block of scores, and takes it off the scores and off the
    /// old maximum, which goes to `decay`.
    private static void subtractMaximum(long scores, long maximum, long decay) {
        float before = Lanes.get(maximum);
        float now = before;
        for (long at = scores; at < scores + Tile.SCORE_PITCH; at += 2 * VECTOR) {
            FloatVector s0 = FloatVector.fromMemorySegment(SPECIES, SPACE, at, ORDER);
            FloatVector s1 = FloatVector.fromMemorySegment(SPECIES, SPACE, at + VECTOR, ORDER);
            // A maximum has the same bits in any order.
            now = Math.max(now, s0.max(s1).reduceLanes(VectorOperators.MAX));
        }
        for (long at = scores; at < scores + Tile.SCORE_PITCH; at += VECTOR) {
            FloatVector.fromMemorySegment(SPECIES, SPACE, at, ORDER)
                    .sub(now)
                    .intoMemorySegment(SPACE, at, ORDER);
        }
        Lanes.set(maximum, now);
        Lanes.set(decay, before - now);
    }

    /// `x = e^x` from `begin` to `end`, and on to the end of the last vector.
    private static void exponentials(long begin, long end) {
        for (long at = begin; at < end; at += VECTOR) {
            FloatVector x = FloatVector.fromMemorySegment(SPECIES, SPACE, at, ORDER);
            VectorMath.exp(x).intoMemorySegment(SPACE, at, ORDER);
        }
    }

    /// Brings a row's sums and output to the new maximum, and adds the block to the sums.
    private void decayAndAdd(float decay, long probabilities, long sums, long output) {
        for (long j = 0; j < 4 * Lanes.VIRTUAL; j += VECTOR) {
            long p0 = probabilities + j;
            long p1 = p0 + 4 * Lanes.VIRTUAL;
            FloatVector.fromMemorySegment(SPECIES, SPACE, sums + j, ORDER)
                    .mul(decay)
                    .add(FloatVector.fromMemorySegment(SPECIES, SPACE, p0, ORDER))
                    .add(FloatVector.fromMemorySegment(SPECIES, SPACE, p1, ORDER))
                    .intoMemorySegment(SPACE, sums + j, ORDER);
        }
        if (decay != 1f) {
            int n = 0;
            for (; n + LENGTH <= headDim; n += LENGTH) {
                long at = output + 4L * n;
                FloatVector.fromMemorySegment(SPECIES, SPACE, at, ORDER)
                        .mul(decay)
                        .intoMemorySegment(SPACE, at, ORDER);
            }
            for (; n < headDim; n++) {
                long at = output + 4L * n;
                Lanes.set(at, Lanes.get(at) * decay);
            }
        }
    }

    /// y = x * factor.
    static void scale(int count, float factor, long x, long y) {
        int i = 0;
        for (; i + LENGTH <= count; i += LENGTH) {
            Lanes.store(Lanes.load(x + 4L * i).mul(factor), y + 4L * i);
        }
        if (i < count) {
            VectorMask<Float> mask = Lanes.first(count - i);
            Lanes.store(Lanes.load(x + 4L * i, mask).mul(factor), y + 4L * i, mask);
        }
    }

    /// Divides the outputs by their sums and writes them with lse.
    private void finish(int rows, long firstRow, long head, long scratch) {
        for (int row = 0; row < rows; row++) {
            float sum = Tile.total(scratch + sumsAt + 4L * Lanes.VIRTUAL * row);
            long target = target(row, firstRow, head);
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
