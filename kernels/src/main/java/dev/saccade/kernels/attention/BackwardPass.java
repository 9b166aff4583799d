package dev.saccade.kernels.attention;

import static dev.saccade.kernels.attention.Attention.KEY_BLOCK;

import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.internal.Lanes;
import dev.saccade.kernels.internal.VectorMath;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorSpecies;

/// The backward pass of one sequence and key-value head.
///
/// With the probabilities p = exp(scale * q.k - lse) computed again, and the constant of a row D =
/// dO.o: `dS = scale * p * (dO.v - D)`, `dq = dS k`, `dk = dS^T q`, `dv = p^T dO`. Queries are
/// taken in chunks in order, keys in blocks in order; an element of dq is one chain over the keys,
/// one of dk or dv is one chain over the queries in order and each query's heads of the group in
/// order.
final class BackwardPass {
    /// Keys whose gradients are summed over the same queries.
    private static final int STRIP = 4;

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
    private final long dO;
    private final long dq;
    private final long dk;
    private final long dv;

    // Where the parts of a worker's scratch memory begin, in bytes.
    private final long keysAt;
    private final long valuesAt;
    private final long packedAt;
    private final long queriesAt;
    private final long upstreamAt;
    private final long gradientAt;
    private final long probabilitiesAt;
    private final long slopesAt;
    private final long constantsAt;
    private final long lseAt;
    private final long shuffleAt;
    private final long scratchBytes;

    BackwardPass(
            Attention.Shape shape,
            long q,
            long k,
            long v,
            long o,
            long lse,
            long dO,
            long dq,
            long dk,
            long dv) {
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
        this.dO = dO;
        this.dq = dq;
        this.dk = dk;
        this.dv = dv;
        long rows = (long) chunkQueries() * group;
        long transposed = 4L * Transpose.rows(headDim) * KEY_BLOCK;
        long packed = ForwardPass.aligned(4 * rows * headDim);
        keysAt = 0;
        valuesAt = keysAt + transposed;
        packedAt = valuesAt + transposed;
        queriesAt = packedAt + 4L * headDim * KEY_BLOCK;
        upstreamAt = queriesAt + packed;
        gradientAt = upstreamAt + packed;
        probabilitiesAt = gradientAt + packed;
        slopesAt = probabilitiesAt + rows * Tile.SCORE_PITCH;
        constantsAt = slopesAt + rows * Tile.SCORE_PITCH;
        lseAt = constantsAt + ForwardPass.aligned(4 * rows);
        shuffleAt = lseAt + ForwardPass.aligned(4 * rows);
        scratchBytes = shuffleAt + Transpose.SCRATCH_BYTES;
    }

    private int chunkQueries() {
        return ForwardPass.chunkQueries(headDim, group);
    }

    /// What a worker needs.
    long scratchBytes() {
        return scratchBytes;
    }

    /// Writes dq of all queries of a sequence, for the heads that read one key-value head, and dk
    /// and dv of that head.
    void run(Attention.Sequences sequences, int sequence, int kvHead, long scratch) {
        int queryLength = sequences.queryLength()[sequence];
        int keyLength = sequences.keyLength()[sequence];
        long pitch = 4L * kvHeads * headDim;
        long keyOffset = pitch * sequences.keyStart()[sequence] + 4L * headDim * kvHead;
        for (int key = 0; key < keyLength; key++) {
            long at = keyOffset + pitch * key;
            Tile.clear(headDim, dk + at);
            Tile.clear(headDim, dv + at);
        }
        int chunk = chunkQueries();
        for (int query = 0; query < queryLength; query += chunk) {
            int queries = Math.min(chunk, queryLength - query);
            long firstRow = (long) sequences.queryStart()[sequence] + query;
            long target = heads * firstRow + (long) kvHead * group;
            pack(queries, target, scratch);
            int position = keyLength - queryLength + query;
            int seen = causal ? position + queries : keyLength;
            for (int key = 0; key < seen; key += KEY_BLOCK) {
                int keys = Math.min(KEY_BLOCK, seen - key);
                int visible = causal ? position + 1 - key : KEY_BLOCK;
                block(queries * group, keys, visible, keyOffset + pitch * key, pitch, scratch);
            }
            long bytes = 4L * headDim * group;
            for (int i = 0; i < queries; i++) {
                ForwardPass.scale(
                        headDim * group,
                        scale,
                        scratch + gradientAt + bytes * i,
                        dq + 4L * headDim * (target + (long) heads * i));
            }
        }
    }

    /// Copies a chunk's q and dO to scratch memory, one row a query and head, and computes D.
    ///
    /// @param target the first row's index in q, of the rows of all heads
    private void pack(int queries, long target, long scratch) {
        long bytes = 4L * headDim * group;
        for (int i = 0; i < queries; i++) {
            long row = target + (long) heads * i;
            long query = scratch + queriesAt + bytes * i;
            ForwardPass.scale(headDim * group, scale, q + 4L * headDim * row, query);
            copy(dO + 4L * headDim * row, scratch + upstreamAt + bytes * i, bytes);
            for (int member = 0; member < group; member++) {
                long at = 4L * headDim * (row + member);
                long slot = 4L * (i * (long) group + member);
                Lanes.set(
                        scratch + constantsAt + slot,
                        product(dO + at, o + at, scratch + shuffleAt));
                Lanes.set(scratch + lseAt + slot, Lanes.get(lse + 4 * (row + member)));
            }
        }
        HostMemory.segment(scratch + gradientAt, bytes * queries).fill((byte) 0);
    }

    /// The inner product of two rows, in 16 interleaved partial sums.
    private float product(long a, long b, long sums) {
        for (int part = 0; part < Lanes.VIRTUAL; part += LENGTH) {
            FloatVector sum = FloatVector.zero(Lanes.SPECIES);
            int i = part;
            for (; i + LENGTH <= headDim; i += Lanes.VIRTUAL) {
                sum = Lanes.load(a + 4L * i).fma(Lanes.load(b + 4L * i), sum);
            }
            if (i < headDim) {
                VectorMask<Float> mask = Lanes.first(headDim - i);
                sum = Lanes.load(a + 4L * i, mask).fma(Lanes.load(b + 4L * i, mask), sum);
            }
            Lanes.store(sum, sums + 4L * part);
        }
        return Tile.total(sums);
    }

    /// One block of keys for all rows of the chunk.
    ///
    /// @param visible how many of the block's keys row r sees, if causal, is r / group + visible
    /// @param offset of the block's first key in k, v, dk and dv, in bytes
    private void block(int rows, int keys, int visible, long offset, long pitch, long scratch) {
        long shuffle = scratch + shuffleAt;
        Transpose.block(keys, headDim, k + offset, pitch, scratch + keysAt, shuffle);
        Transpose.block(keys, headDim, v + offset, pitch, scratch + valuesAt, shuffle);
        int first = firstRow(0, visible);
        long rowBytes = 4L * headDim;
        long scores = scratch + probabilitiesAt;
        long slopes = scratch + slopesAt;
        Tile.scores(
                rows - first,
                headDim,
                scratch + queriesAt + rowBytes * first,
                scratch + keysAt,
                scores + Tile.SCORE_PITCH * first);
        Tile.scores(
                rows - first,
                headDim,
                scratch + upstreamAt + rowBytes * first,
                scratch + valuesAt,
                slopes + Tile.SCORE_PITCH * first);
        for (int row = first; row < rows; row++) {
            int count = Math.min(keys, row / group + visible);
            long at = Tile.SCORE_PITCH * row;
            float rowLse = Lanes.get(scratch + lseAt + 4L * row);
            float constant = Lanes.get(scratch + constantsAt + 4L * row);
            slopes(rowLse, constant, scores + at, slopes + at);
            if (count < KEY_BLOCK) {
                clearFrom(count, scores + at);
                clearFrom(count, slopes + at);
            }
        }
        // dq += dS k
        boolean packed = Tile.worthPacking(rows - first, rowBytes, pitch);
        if (packed) {
            Tile.pack(keys, rowBytes, k + offset, pitch, scratch + packedAt);
        }
        Tile.accumulate(
                first,
                rows,
                keys,
                visible,
                group,
                headDim,
                slopes,
                Tile.SCORE_PITCH,
                4,
                packed ? scratch + packedAt : k + offset,
                packed ? rowBytes : pitch,
                scratch + gradientAt,
                rowBytes);
        // dk += dS^T q and dv += p^T dO, for a few keys at a time over the rows that see the first
        // of them; the others have zeros there.
        for (int key = 0; key < keys; key += STRIP) {
            int from = firstRow(key, visible);
            if (from < rows) {
                int last = Math.min(keys, key + STRIP);
                long at = Tile.SCORE_PITCH * from;
                long in = rowBytes * from;
                sum(key, last, rows - from, slopes + at, scratch + queriesAt + in, dk + offset);
                sum(key, last, rows - from, scores + at, scratch + upstreamAt + in, dv + offset);
            }
        }
    }

    /// The first row of the chunk that sees key `key` of the block.
    private int firstRow(int key, int visible) {
        return causal ? Math.max(0, key + 1 - visible) * group : 0;
    }

    /// Turns a row's q.k into p and its dO.v into dS.
    private static void slopes(float rowLse, float constant, long scores, long slopes) {
        for (long j = 0; j < Tile.SCORE_PITCH; j += VECTOR) {
            FloatVector s =
                    FloatVector.fromMemorySegment(SPECIES, SPACE, scores + j, ORDER).sub(rowLse);
            FloatVector p = VectorMath.exp(s);
            p.intoMemorySegment(SPACE, scores + j, ORDER);
            FloatVector.fromMemorySegment(SPECIES, SPACE, slopes + j, ORDER)
                    .sub(constant)
                    .mul(p)
                    .intoMemorySegment(SPACE, slopes + j, ORDER);
        }
    }

    /// Sets a row's elements from `count` on to 0.
    private static void clearFrom(int count, long row) {
        for (int j = 0; j < KEY_BLOCK; j += LENGTH) {
            VectorMask<Float> seen = Lanes.first(Math.max(0, count - j));
            Lanes.store(Lanes.load(row + 4L * j, seen), row + 4L * j);
        }
    }

    /// Adds to the rows `first` to `last` of `sums` their sums over `count` queries.
    private void sum(int first, int last, int count, long factors, long rows, long sums) {
        Tile.accumulate(
                first,
                last,
                count,
                count,
                1,
                headDim,
                factors,
                4,
                Tile.SCORE_PITCH,
                rows,
                4L * headDim,
                sums,
                4L * kvHeads * headDim);
    }

    private static void copy(long from, long to, long bytes) {
        MemorySegment.copy(HostMemory.SPACE, from, HostMemory.SPACE, to, bytes);
    }
}
