package dev.saccade.kernels.elementwise;

import dev.saccade.engine.HostDevice;
import dev.saccade.engine.HostMemory;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Lanes;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import org.jspecify.annotations.Nullable;

/// Pointwise arithmetic and sums on the CPU. Pointwise loops are cut into chunks for the workers;
/// sums over rows are cut into strips of columns, so that a column is one chain, row 0 first.
final class HostElementwise implements Elementwise {
    /// Elements of a pointwise loop that one part handles; fewer are not worth a dispatch.
    private static final long CHUNK = 1 << 16;

    /// Columns of a sum over rows that one part handles: four vectors.
    private static final int STRIP = 4 * Lanes.LENGTH;

    /// Elements of a block of [#dot], which is summed by itself; part of the contract.
    private static final int DOT_BLOCK = 4096;

    /// Interleaved partial sums of a block of [#dot].
    private static final int DOT_PARTIALS = 8;

    /// A pointwise loop over the elements from `begin` to `end`.
    private interface Range {
        void run(long begin, long end);
    }

    private final HostDevice device;

    HostElementwise(HostDevice device) {
        this.device = device;
    }

    @Override
    public void add(long count, Span a, Span b, Span y) {
        long fromA = a.require("a", DType.F32, count);
        long fromB = b.require("b", DType.F32, count);
        long to = y.require("y", DType.F32, count);
        inChunks(count, (begin, end) -> addRange(fromA, fromB, to, begin, end));
    }

    @Override
    public void accumulate(long count, Span x, Span y) {
        long from = x.require("x", DType.F32, count);
        long to = y.require("y", DType.F32, count);
        inChunks(count, (begin, end) -> addRange(to, from, to, begin, end));
    }

    private static void addRange(long a, long b, long y, long begin, long end) {
        long i = begin;
        for (; i + Lanes.LENGTH <= end; i += Lanes.LENGTH) {
            Lanes.store(Lanes.load(a + 4 * i).add(Lanes.load(b + 4 * i)), y + 4 * i);
        }
        if (i < end) {
            VectorMask<Float> mask = Lanes.first((int) (end - i));
            FloatVector sum = Lanes.load(a + 4 * i, mask).add(Lanes.load(b + 4 * i, mask));
            Lanes.store(sum, y + 4 * i, mask);
        }
    }

    @Override
    public void scale(long count, float factor, Span x, Span y) {
        long from = x.require("x", DType.F32, count);
        long to = y.require("y", DType.F32, count);
        inChunks(count, (begin, end) -> scaleRange(factor, from, to, begin, end));
    }

    private static void scaleRange(float factor, long x, long y, long begin, long end) {
        long i = begin;
        for (; i + Lanes.LENGTH <= end; i += Lanes.LENGTH) {
            Lanes.store(Lanes.load(x + 4 * i).mul(factor), y + 4 * i);
        }
        if (i < end) {
            VectorMask<Float> mask = Lanes.first((int) (end - i));
            Lanes.store(Lanes.load(x + 4 * i, mask).mul(factor), y + 4 * i, mask);
        }
    }

    @Override
    public void multiply(long count, Span a, Span b, Span y) {
        long fromA = a.require("a", DType.F32, count);
        long fromB = b.require("b", DType.F32, count);
        long to = y.require("y", DType.F32, count);
        inChunks(count, (begin, end) -> multiplyRange(fromA, fromB, to, begin, end));
    }

    private static void multiplyRange(long a, long b, long y, long begin, long end) {
        long i = begin;
        for (; i + Lanes.LENGTH <= end; i += Lanes.LENGTH) {
            Lanes.store(Lanes.load(a + 4 * i).mul(Lanes.load(b + 4 * i)), y + 4 * i);
        }
        if (i < end) {
            VectorMask<Float> mask = Lanes.first((int) (end - i));
            FloatVector product = Lanes.load(a + 4 * i, mask).mul(Lanes.load(b + 4 * i, mask));
            Lanes.store(product, y + 4 * i, mask);
        }
    }

    @Override
    public void fill(long count, float value, Span y) {
        long to = y.require("y", DType.F32, count);
        inChunks(count, (begin, end) -> fillRange(value, to, begin, end));
    }

    private static void fillRange(float value, long y, long begin, long end) {
        FloatVector values = FloatVector.broadcast(Lanes.SPECIES, value);
        long i = begin;
        for (; i + Lanes.LENGTH <= end; i += Lanes.LENGTH) {
            Lanes.store(values, y + 4 * i);
        }
        if (i < end) {
            Lanes.store(values, y + 4 * i, Lanes.first((int) (end - i)));
        }
    }

    @Override
    public void cast(long count, Span x, Span y) {
        long from = x.require("x", x.dtype(), count);
        long to = y.require("y", y.dtype(), count);
        HalfFloat.check(x.dtype());
        HalfFloat.check(y.dtype());
        if (x.dtype() == y.dtype()) {
            long bytes = count * x.dtype().bytes();
            HostMemory.segment(to, bytes).copyFrom(HostMemory.segment(from, bytes));
            return;
        }
        inChunks(count, (begin, end) -> HalfFloat.cast(x.dtype(), from, y.dtype(), to, begin, end));
    }

    @Override
    public void sumRows(int rows, int width, Span x, Span sum) {
        long from = x.require("x", DType.F32, (long) rows * width);
        long to = sum.require("sum", DType.F32, width);
        inStrips(rows, width, (begin, end) -> sumColumns(rows, width, from, to, begin, end));
    }

    private static void sumColumns(int rows, int width, long x, long sum, long begin, long end) {
        int length = Lanes.LENGTH;
        long pitch = 4L * width;
        long column = begin;
        for (; column + STRIP <= end; column += STRIP) {
            long at = x + 4 * column;
            long to = sum + 4 * column;
            FloatVector s0 = Lanes.load(to);
            FloatVector s1 = Lanes.load(to + 4L * length);
            FloatVector s2 = Lanes.load(to + 8L * length);
            FloatVector s3 = Lanes.load(to + 12L * length);
            for (int row = 0; row < rows; row++) {
                s0 = s0.add(Lanes.load(at));
                s1 = s1.add(Lanes.load(at + 4L * length));
                s2 = s2.add(Lanes.load(at + 8L * length));
                s3 = s3.add(Lanes.load(at + 12L * length));
                at += pitch;
            }
            Lanes.store(s0, to);
            Lanes.store(s1, to + 4L * length);
            Lanes.store(s2, to + 8L * length);
            Lanes.store(s3, to + 12L * length);
        }
        for (; column < end; column += length) {
            VectorMask<Float> mask = Lanes.first((int) Math.min(length, end - column));
            long at = x + 4 * column;
            FloatVector s = Lanes.load(sum + 4 * column, mask);
            for (int row = 0; row < rows; row++) {
                s = s.add(Lanes.load(at, mask));
                at += pitch;
            }
            Lanes.store(s, sum + 4 * column, mask);
        }
    }

    @Override
    public void layerScaleBackward(
            int rows,
            int width,
            Span scale,
            @Nullable Span branch,
            Span dy,
            @Nullable Span dBranch,
            @Nullable Span dScale) {
        long elements = (long) rows * width;
        long factor = scale.require("scale", DType.F32, width);
        long upstream = dy.require("dy", DType.F32, elements);
        long toBranch = dBranch == null ? 0 : dBranch.require("dBranch", DType.F32, elements);
        if (dScale != null) {
            if (branch == null) {
                throw new IllegalArgumentException("dScale needs branch");
            }
            long from = branch.require("branch", DType.F32, elements);
            long to = dScale.require("dScale", DType.F32, width);
            inStrips(
                    rows,
                    width,
                    (begin, end) -> sumProductColumns(rows, width, upstream, from, to, begin, end));
        }
        if (dBranch != null) {
            HostDevice.Part part =
                    (_, begin, end) -> scaleRows(width, upstream, factor, toBranch, begin, end);
            if (elements <= CHUNK) {
                part.run(0, 0, rows);
            } else {
                device.run(rows, part);
            }
        }
    }

    private static void sumProductColumns(
            int rows, int width, long a, long b, long sum, long begin, long end) {
        long pitch = 4L * width;
        for (long column = begin; column < end; column += Lanes.LENGTH) {
            VectorMask<Float> mask = Lanes.first((int) Math.min(Lanes.LENGTH, end - column));
            long offset = 4 * column;
            FloatVector s = Lanes.load(sum + 4 * column, mask);
            for (int row = 0; row < rows; row++) {
                s = Lanes.load(a + offset, mask).fma(Lanes.load(b + offset, mask), s);
                offset += pitch;
            }
            Lanes.store(s, sum + 4 * column, mask);
        }
    }

    private static void scaleRows(
            int width, long x, long factor, long y, int beginRow, int endRow) {
        for (int row = beginRow; row < endRow; row++) {
            long offset = 4L * width * row;
            multiplyRange(x + offset, factor, y + offset, 0, width);
        }
    }

    @Override
    public double dot(long count, Span x, @Nullable Span w) {
        long from = x.require("x", DType.F32, count);
        long weight = w == null ? 0 : w.require("w", DType.F32, count);
        int blocks = Math.toIntExact((count + DOT_BLOCK - 1) / DOT_BLOCK);
        double[] sums = new double[blocks];
        HostDevice.Part part =
                (_, begin, end) -> {
                    double[] partial = new double[DOT_PARTIALS];
                    for (int block = begin; block < end; block++) {
                        long first = (long) block * DOT_BLOCK;
                        int length = (int) Math.min(DOT_BLOCK, count - first);
                        long weights = weight == 0 ? 0 : weight + 4 * first;
                        sums[block] = dotBlock(length, from + 4 * first, weights, partial);
                    }
                };
        if (count <= CHUNK) {
            part.run(0, 0, blocks);
        } else {
            device.run(blocks, part);
        }
        double sum = 0;
        for (double block : sums) {
            sum += block;
        }
        return sum;
    }

    /// Element i of the block goes to partial sum i mod 8; the eight are added in order.
    private static double dotBlock(int length, long x, long w, double[] partial) {
        double s0 = 0;
        double s1 = 0;
        double s2 = 0;
        double s3 = 0;
        double s4 = 0;
        double s5 = 0;
        double s6 = 0;
        double s7 = 0;
        int i = 0;
        for (; i + DOT_PARTIALS <= length; i += DOT_PARTIALS) {
            s0 += product(x, w, i);
            s1 += product(x, w, i + 1);
            s2 += product(x, w, i + 2);
            s3 += product(x, w, i + 3);
            s4 += product(x, w, i + 4);
            s5 += product(x, w, i + 5);
            s6 += product(x, w, i + 6);
            s7 += product(x, w, i + 7);
        }
        partial[0] = s0;
        partial[1] = s1;
        partial[2] = s2;
        partial[3] = s3;
        partial[4] = s4;
        partial[5] = s5;
        partial[6] = s6;
        partial[7] = s7;
        for (int rest = 0; i < length; i++, rest++) {
            partial[rest] += product(x, w, i);
        }
        double sum = 0;
        for (double value : partial) {
            sum += value;
        }
        return sum;
    }

    /// The product of two floats, which a double holds exactly; `w` 0 means no weights.
    private static double product(long x, long w, int i) {
        double value = Lanes.get(x + 4L * i);
        return w == 0 ? value : value * Lanes.get(w + 4L * i);
    }

    private void inChunks(long count, Range range) {
        if (count <= CHUNK) {
            range.run(0, count);
        } else {
            device.run(
                    Math.toIntExact((count + CHUNK - 1) / CHUNK),
                    (_, begin, end) -> range.run(begin * CHUNK, Math.min(count, end * CHUNK)));
        }
    }

    private void inStrips(int rows, int width, Range range) {
        if ((long) rows * width <= CHUNK) {
            range.run(0, width);
        } else {
            device.run(
                    (width + STRIP - 1) / STRIP,
                    (_, begin, end) ->
                            range.run((long) begin * STRIP, Math.min(width, (long) end * STRIP)));
        }
    }
}
