package dev.saccade.kernels.embedding;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Lanes;
import java.lang.foreign.MemorySegment;
import java.util.BitSet;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/// Rows by index on the CPU. Copies are cut by rows; the sum of [#scatterAdd], where several rows
/// may meet in one target, is cut by columns, so that each worker adds in row order.
final class HostEmbedding implements Embedding {
    /// Elements below which a dispatch costs more than it saves.
    private static final long SMALL = 1 << 16;

    /// Columns of a sum that one part handles.
    private static final int STRIP = 64;

    private final HostDevice device;

    HostEmbedding(HostDevice device) {
        this.device = device;
    }

    @Override
    public void gather(int rows, int width, int tableRows, Span indices, Span table, Span out) {
        long index = checked(rows, tableRows, indices);
        long from = table.require("table", DType.F32, (long) tableRows * width);
        long to = out.require("out", DType.F32, (long) rows * width);
        long bytes = 4L * width;
        over(
                rows,
                (long) rows * width,
                (_, begin, end) -> {
                    for (int row = begin; row < end; row++) {
                        long source = from + bytes * Lanes.getInt(index + 4L * row);
                        copy(source, to + bytes * row, bytes);
                    }
                });
    }

    @Override
    public void scatterAdd(
            int rows, int width, int targetRows, Span indices, Span source, Span target) {
        long index = checked(rows, targetRows, indices);
        long from = source.require("source", DType.F32, (long) rows * width);
        long to = target.require("target", DType.F32, (long) targetRows * width);
        over(
                (width + STRIP - 1) / STRIP,
                (long) rows * width,
                (_, begin, end) -> {
                    int first = begin * STRIP;
                    int count = Math.min(width, end * STRIP) - first;
                    for (int row = 0; row < rows; row++) {
                        long targetRow = Lanes.getInt(index + 4L * row);
                        add(
                                count,
                                from + 4 * ((long) width * row + first),
                                to + 4 * (width * targetRow + first));
                    }
                });
    }

    @Override
    public void scatter(
            int rows, int width, int targetRows, Span indices, Span source, Span target) {
        long index = checked(rows, targetRows, indices);
        long from = source.require("source", DType.F32, (long) rows * width);
        long to = target.require("target", DType.F32, (long) targetRows * width);
        BitSet seen = new BitSet(targetRows);
        for (int row = 0; row < rows; row++) {
            int targetRow = Lanes.getInt(index + 4L * row);
            if (seen.get(targetRow)) {
                throw new IllegalArgumentException(
                        "indices[%d] = %d repeats an earlier one".formatted(row, targetRow));
            }
            seen.set(targetRow);
        }
        long bytes = 4L * width;
        over(
                rows,
                (long) rows * width,
                (_, begin, end) -> {
                    for (int row = begin; row < end; row++) {
                        long targetRow = to + bytes * Lanes.getInt(index + 4L * row);
                        copy(from + bytes * row, targetRow, bytes);
                    }
                });
    }

    private static long checked(int rows, int range, Span indices) {
        long index = indices.require("indices", DType.I32, rows);
        for (int row = 0; row < rows; row++) {
            int value = Lanes.getInt(index + 4L * row);
            if (value < 0 || value >= range) {
                throw new IllegalArgumentException(
                        "indices[%d] = %d is not in [0, %d)".formatted(row, value, range));
            }
        }
        return index;
    }

    private static void copy(long from, long to, long bytes) {
        MemorySegment.copy(HostMemory.SPACE, from, HostMemory.SPACE, to, bytes);
    }

    private static void add(int count, long x, long y) {
        int i = 0;
        for (; i + Lanes.LENGTH <= count; i += Lanes.LENGTH) {
            Lanes.store(Lanes.load(y + 4L * i).add(Lanes.load(x + 4L * i)), y + 4L * i);
        }
        if (i < count) {
            VectorMask<Float> mask = Lanes.first(count - i);
            FloatVector sum = Lanes.load(y + 4L * i, mask).add(Lanes.load(x + 4L * i, mask));
            Lanes.store(sum, y + 4L * i, mask);
        }
    }

    private void over(int parts, long elements, HostDevice.Part part) {
        if (elements <= SMALL) {
            part.run(0, 0, parts);
        } else {
            device.run(parts, part);
        }
    }
}
