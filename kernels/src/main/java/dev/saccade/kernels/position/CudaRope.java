package dev.saccade.kernels.position;

import dev.saccade.engine.CudaDevice;
import dev.saccade.engine.Program;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Grids;
import dev.saccade.kernels.internal.TypedKernel;
import java.lang.foreign.MemorySegment;
import java.util.stream.IntStream;

/// Rotary position embedding on CUDA. The table is made on the host, so its bits are the CPU's.
final class CudaRope implements Rope {
    private static final int THREADS = 256;

    /// Up to so many threads, a row's are several blocks', each of which does less: a decode step's
    /// rows are too few to fill a GPU. Half of what an H100 holds.
    private static final int FEW_THREADS = 132 * 1024;

    private final CudaDevice device;
    private final TypedKernel rotate;
    private final TypedKernel rotateSingle;
    private final TypedKernel intoCache;
    private final TypedKernel intoCacheSingle;

    CudaRope(CudaDevice device) {
        this.device = device;
        Program program = device.program("position/portable");
        rotate = TypedKernel.of(program, "rotate");
        rotateSingle = TypedKernel.of(program, "rotate_single");
        intoCache = TypedKernel.of(program, "rotate_into_cache");
        intoCacheSingle = TypedKernel.of(program, "rotate_into_cache_single");
    }

    @Override
    public void table(int positions, int headDim, double theta, Span table) {
        Angles angles = new Angles(headDim, theta);
        long elements = (long) positions * headDim;
        table.require("table", DType.F32, elements);
        float[] values = new float[Math.toIntExact(elements)];
        int half = headDim / 2;
        IntStream.range(0, positions)
                .parallel()
                .forEach(position -> {
                    int row = position * headDim;
                    for (int i = 0; i < half; i++) {
                        values[row + i] = angles.cosine(position, i);
                        values[row + half + i] = angles.sine(position, i);
                    }
                });
        device.upload(MemorySegment.ofArray(values), table.buffer(), 4 * table.offset());
    }

    @Override
    public void rotate(int rows, int heads, int headDim, Span table, Span positions, Span x) {
        turn(rows, heads, headDim, table, positions, "x", x, 1f);
    }

    @Override
    public void rotateBackward(
            int rows, int heads, int headDim, Span table, Span positions, Span dx) {
        turn(rows, heads, headDim, table, positions, "dx", dx, -1f);
    }

    @Override
    public void rotateIntoCache(
            int rows,
            int heads,
            int kvHeads,
            int headDim,
            Span table,
            Span positions,
            Span q,
            Span k,
            Span v,
            Cache cache) {
        DType dtype = TypedKernel.requireActivation("q", q);
        checkEven(headDim);
        long width = (long) kvHeads * headDim;
        long queries = q.require("q", dtype, (long) rows * heads * headDim);
        long keys = k.require("k", dtype, rows * width);
        long values = v.require("v", dtype, rows * width);
        long toKeys = cache.keys().require("cache.keys", dtype, cache.rows() * width);
        long toValues = cache.values().require("cache.values", dtype, cache.rows() * width);
        long angles = table.require("table", DType.F32, headDim);
        long position = positions.require("positions", DType.I32, rows);
        long place = cache.places().require("cache.places", DType.I32, rows);
        int half = headDim / 2;
        boolean packed =
                Grids.packed(
                        queries
                                | keys
                                | values
                                | toKeys
                                | toValues
                                | angles
                                | (long) half * dtype.bytes());
        int groups = (heads + 2 * kvHeads) * (half / (packed ? 16 / dtype.bytes() : 1));
        int lanes = Grids.lanes(groups, THREADS);
        int parts = (long) rows * lanes > FEW_THREADS ? 1 : Grids.blocks(groups, lanes);
        (packed ? intoCache : intoCacheSingle)
                .of(dtype)
                .begin()
                .int32(rows)
                .int32(heads)
                .int32(kvHeads)
                .int32(headDim)
                .int32(lanes)
                .pointer(angles)
                .int32(Math.toIntExact(table.length() / headDim))
                .pointer(position)
                .int32(cache.rows())
                .pointer(place)
                .pointer(queries)
                .pointer(keys)
                .pointer(values)
                .pointer(toKeys)
                .pointer(toValues)
                .pointer(device.faultAddress())
                .launch(Grids.blocks(rows, THREADS / lanes), parts, 1, THREADS, 0);
    }

    private static void checkEven(int headDim) {
        if (headDim < 2 || headDim % 2 != 0) {
            throw new IllegalArgumentException("rotary head dim " + headDim + " is not even");
        }
    }

    /// Turns by the table's angle times `direction`, which is 1 or -1.
    private void turn(
            int rows,
            int heads,
            int headDim,
            Span table,
            Span positions,
            String operand,
            Span x,
            float direction) {
        DType dtype = TypedKernel.requireActivation(operand, x);
        long at = x.require(operand, dtype, (long) rows * heads * headDim);
        checkEven(headDim);
        long angles = table.require("table", DType.F32, headDim);
        long position = positions.require("positions", DType.I32, rows);
        boolean packed = Grids.packed(at | (long) headDim / 2 * dtype.bytes());
        int groups = heads * (headDim / 2) / (packed ? 16 / dtype.bytes() : 1);
        int lanes = Grids.lanes(groups, THREADS);
        (packed ? rotate : rotateSingle)
                .of(dtype)
                .begin()
                .int32(rows)
                .int32(heads)
                .int32(headDim)
                .int32(lanes)
                .float32(direction)
                .pointer(angles)
                .int32(Math.toIntExact(table.length() / headDim))
                .pointer(position)
                .pointer(at)
                .pointer(device.faultAddress())
                .launch(Grids.blocks(rows, THREADS / lanes), THREADS);
    }
}
