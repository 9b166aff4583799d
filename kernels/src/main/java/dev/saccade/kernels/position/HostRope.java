package dev.saccade.kernels.position;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Lanes;
import java.lang.foreign.MemorySegment;
import java.util.BitSet;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/// Rotary position embedding on the CPU: each output is one product and one fused multiply-add.
final class HostRope implements Rope {
    /// Elements below which a dispatch costs more than it saves.
    private static final long SMALL = 1 << 15;

    /// Table entries below which one worker fills the table; an entry costs two functions.
    private static final long SMALL_TABLE = 1 << 9;

    private final HostDevice device;

    HostRope(HostDevice device) {
        this.device = device;
    }

    @Override
    public void table(int positions, int headDim, double theta, Span table) {
        Angles angles = new Angles(headDim, theta);
        long to = table.require("table", DType.F32, (long) positions * headDim);
        int half = headDim / 2;
        over(
                positions,
                (long) positions * headDim > SMALL_TABLE,
                (_, begin, end) -> {
                    for (int position = begin; position < end; position++) {
                        long row = to + 4L * headDim * position;
                        for (int i = 0; i < half; i++) {
                            Lanes.set(row + 4L * i, angles.cosine(position, i));
                            Lanes.set(row + 4L * (half + i), angles.sine(position, i));
                        }
                    }
                });
    }

    @Override
    public void rotate(int rows, int heads, int headDim, Span table, Span positions, Span x) {
        turn(
                rows,
                heads,
                headDim,
                table,
                positions,
                x.require("x", DType.F32, count(rows, heads, headDim)),
                1f);
    }

    @Override
    public void rotateBackward(
            int rows, int heads, int headDim, Span table, Span positions, Span dx) {
        turn(
                rows,
                heads,
                headDim,
                table,
                positions,
                dx.require("dx", DType.F32, count(rows, heads, headDim)),
                -1f);
    }

    /// Turns by the table's angle times `direction`, which is 1 or -1.
    private void turn(
            int rows, int heads, int headDim, Span table, Span positions, long x, float direction) {
        checkEven(headDim);
        int tableRows = Math.toIntExact(table.length() / headDim);
        long angles = table.require("table", DType.F32, headDim);
        long position = checked("positions", positions, rows, tableRows);
        over(
                rows,
                count(rows, heads, headDim) > SMALL,
                (_, begin, end) -> {
                    for (int row = begin; row < end; row++) {
                        long angle = angles + 4L * headDim * Lanes.getInt(position + 4L * row);
                        long at = x + 4L * headDim * heads * row;
                        turnRow(heads, headDim, angle, direction, at);
                    }
                });
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
        checkEven(headDim);
        int tableRows = Math.toIntExact(table.length() / headDim);
        long angles = table.require("table", DType.F32, headDim);
        long width = (long) kvHeads * headDim;
        long queries = q.require("q", DType.F32, count(rows, heads, headDim));
        long keys = k.require("k", DType.F32, rows * width);
        long values = v.require("v", DType.F32, rows * width);
        long toKeys = cache.keys().require("cache.keys", DType.F32, cache.rows() * width);
        long toValues = cache.values().require("cache.values", DType.F32, cache.rows() * width);
        long position = checked("positions", positions, rows, tableRows);
        long place = checked("cache.places", cache.places(), rows, cache.rows());
        BitSet seen = new BitSet(cache.rows());
        for (int row = 0; row < rows; row++) {
            int at = Lanes.getInt(place + 4L * row);
            if (seen.get(at)) {
                throw new IllegalArgumentException(
                        "cache.places[%d] = %d repeats an earlier one".formatted(row, at));
            }
            seen.set(at);
        }
        over(
                rows,
                count(rows, heads + 2 * kvHeads, headDim) > SMALL,
                (_, begin, end) -> {
                    for (int row = begin; row < end; row++) {
                        long angle = angles + 4L * headDim * Lanes.getInt(position + 4L * row);
                        long from = 4 * width * row;
                        long to = 4 * width * Lanes.getInt(place + 4L * row);
                        turnRow(heads, headDim, angle, 1f, queries + 4L * headDim * heads * row);
                        copy(keys + from, toKeys + to, 4 * width);
                        turnRow(kvHeads, headDim, angle, 1f, toKeys + to);
                        copy(values + from, toValues + to, 4 * width);
                    }
                });
    }

    private static void copy(long from, long to, long bytes) {
        MemorySegment.copy(HostMemory.SPACE, from, HostMemory.SPACE, to, bytes);
    }

    private static void turnRow(int heads, int headDim, long angle, float direction, long x) {
        int half = headDim / 2;
        for (int i = 0; i < half; i += Lanes.LENGTH) {
            long first = x + 4L * i;
            if (i + Lanes.LENGTH <= half) {
                FloatVector cos = Lanes.load(angle + 4L * i);
                FloatVector sin = Lanes.load(angle + 4L * (half + i)).mul(direction);
                for (int head = 0; head < heads; head++) {
                    long low = first + 4L * headDim * head;
                    long high = low + 4L * half;
                    FloatVector a = Lanes.load(low);
                    FloatVector b = Lanes.load(high);
                    Lanes.store(a.fma(cos, b.mul(sin).neg()), low);
                    Lanes.store(b.fma(cos, a.mul(sin)), high);
                }
            } else {
                VectorMask<Float> mask = Lanes.first(half - i);
                FloatVector cos = Lanes.load(angle + 4L * i, mask);
                FloatVector sin = Lanes.load(angle + 4L * (half + i), mask).mul(direction);
                for (int head = 0; head < heads; head++) {
                    long low = first + 4L * headDim * head;
                    long high = low + 4L * half;
                    FloatVector a = Lanes.load(low, mask);
                    FloatVector b = Lanes.load(high, mask);
                    Lanes.store(a.fma(cos, b.mul(sin).neg()), low, mask);
                    Lanes.store(b.fma(cos, a.mul(sin)), high, mask);
                }
            }
        }
    }

    /// The address of indices that are all in range.
    private static long checked(String operand, Span indices, int rows, int range) {
        long index = indices.require(operand, DType.I32, rows);
        for (int row = 0; row < rows; row++) {
            int value = Lanes.getInt(index + 4L * row);
            if (value < 0 || value >= range) {
                throw new IllegalArgumentException(
                        "%s[%d] = %d is not in [0, %d)".formatted(operand, row, value, range));
            }
        }
        return index;
    }

    private static long count(int rows, int heads, int headDim) {
        return (long) rows * heads * headDim;
    }

    private static void checkEven(int headDim) {
        if (headDim < 2 || headDim % 2 != 0) {
            throw new IllegalArgumentException("rotary head dim " + headDim + " is not even");
        }
    }

    private void over(int parts, boolean parallel, HostDevice.Part part) {
        if (parallel) {
            device.run(parts, part);
        } else {
            part.run(0, 0, parts);
        }
    }
}
