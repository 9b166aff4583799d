package dev.saccade.kernels.norm;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.internal.Lanes;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import org.jspecify.annotations.Nullable;

/// LayerNorm and RMSNorm on the CPU. A worker takes whole rows; the gradients of weight and bias,
/// which are sums over rows, are cut by columns instead, so that a column is one chain in row
/// order. RMSNorm is LayerNorm with the mean left at 0 and no bias, and shares its loops.
final class HostNorm implements Norm {
    /// Elements below which a dispatch costs more than it saves.
    private static final long SMALL = 1 << 14;

    /// Columns of a sum over rows that one part handles.
    private static final int STRIP = 64;

    private final HostDevice device;

    HostNorm(HostDevice device) {
        this.device = device;
    }

    @Override
    public void layerNorm(
            int rows,
            int width,
            float eps,
            Span x,
            Span weight,
            Span bias,
            Span y,
            @Nullable Span mean,
            @Nullable Span rstd) {
        long elements = elements(rows, width);
        long from = x.require("x", DType.F32, elements);
        long factor = weight.require("weight", DType.F32, width);
        long offset = bias.require("bias", DType.F32, width);
        long to = y.require("y", DType.F32, elements);
        long toMean = mean == null ? 0 : mean.require("mean", DType.F32, rows);
        long toRstd = rstd == null ? 0 : rstd.require("rstd", DType.F32, rows);
        over(
                rows,
                elements,
                (_, begin, end) -> {
                    float[] partial = new float[Lanes.VIRTUAL];
                    for (int row = begin; row < end; row++) {
                        long shift = 4L * width * row;
                        float rowMean = RowSums.sum(width, from + shift, partial) / width;
                        float squares = RowSums.squares(width, from + shift, rowMean, partial);
                        float rowRstd = reciprocalRoot(squares / width, eps);
                        normalise(
                                width, from + shift, rowMean, rowRstd, factor, offset, to + shift);
                        put(toMean, row, rowMean);
                        put(toRstd, row, rowRstd);
                    }
                });
    }

    @Override
    public void rmsNorm(
            int rows, int width, float eps, Span x, Span weight, Span y, @Nullable Span rstd) {
        long elements = elements(rows, width);
        long from = x.require("x", DType.F32, elements);
        long factor = weight.require("weight", DType.F32, width);
        long to = y.require("y", DType.F32, elements);
        long toRstd = rstd == null ? 0 : rstd.require("rstd", DType.F32, rows);
        over(
                rows,
                elements,
                (_, begin, end) -> {
                    float[] partial = new float[Lanes.VIRTUAL];
                    for (int row = begin; row < end; row++) {
                        long shift = 4L * width * row;
                        float squares = RowSums.squares(width, from + shift, 0f, partial);
                        float rowRstd = reciprocalRoot(squares / width, eps);
                        normalise(width, from + shift, 0f, rowRstd, factor, 0, to + shift);
                        put(toRstd, row, rowRstd);
                    }
                });
    }

    @Override
    public void rmsNormBoth(int rows, int width, float eps, Operands first, Operands second) {
        // Both are checked before either is written.
        requireOperands(rows, width, first);
        requireOperands(rows, width, second);
        rmsNorm(rows, width, eps, first.x(), first.weight(), first.y(), first.rstd());
        rmsNorm(rows, width, eps, second.x(), second.weight(), second.y(), second.rstd());
    }

    private static void requireOperands(int rows, int width, Operands operands) {
        operands.x().require("x", DType.F32, elements(rows, width));
        operands.weight().require("weight", DType.F32, width);
        operands.y().require("y", DType.F32, elements(rows, width));
        if (operands.rstd() != null) {
            operands.rstd().require("rstd", DType.F32, rows);
        }
    }

    /// 1 / sqrt(value + eps), in double and rounded once.
    private static float reciprocalRoot(float value, float eps) {
        return (float) (1.0 / Math.sqrt((double) value + eps));
    }

    private static void put(long statistics, int row, float value) {
        if (statistics != 0) {
            Lanes.set(statistics + 4L * row, value);
        }
    }

    /// y = (x - mean) * rstd * weight (+ bias, where there is one).
    private static void normalise(
            int width, long x, float mean, float rstd, long weight, long bias, long y) {
        int i = 0;
        if (bias == 0) {
            for (; i + Lanes.LENGTH <= width; i += Lanes.LENGTH) {
                FloatVector normalised = Lanes.load(x + 4L * i).sub(mean).mul(rstd);
                Lanes.store(normalised.mul(Lanes.load(weight + 4L * i)), y + 4L * i);
            }
        } else {
            for (; i + Lanes.LENGTH <= width; i += Lanes.LENGTH) {
                FloatVector normalised = Lanes.load(x + 4L * i).sub(mean).mul(rstd);
                FloatVector factor = Lanes.load(weight + 4L * i);
                Lanes.store(normalised.fma(factor, Lanes.load(bias + 4L * i)), y + 4L * i);
            }
        }
        if (i < width) {
            VectorMask<Float> mask = Lanes.first(width - i);
            FloatVector normalised = Lanes.load(x + 4L * i, mask).sub(mean).mul(rstd);
            FloatVector factor = Lanes.load(weight + 4L * i, mask);
            FloatVector result =
                    bias == 0
                            ? normalised.mul(factor)
                            : normalised.fma(factor, Lanes.load(bias + 4L * i, mask));
            Lanes.store(result, y + 4L * i, mask);
        }
    }

    @Override
    public void layerNormBackward(
            int rows,
            int width,
            Span x,
            Span weight,
            Span mean,
            Span rstd,
            Span dy,
            @Nullable Span dx,
            @Nullable Span dWeight,
            @Nullable Span dBias) {
        long means = mean.require("mean", DType.F32, rows);
        backward(rows, width, x, weight, means, rstd, dy, dx, dWeight, dBias);
    }

    @Override
    public void rmsNormBackward(
            int rows,
            int width,
            Span x,
            Span weight,
            Span rstd,
            Span dy,
            @Nullable Span dx,
            @Nullable Span dWeight) {
        backward(rows, width, x, weight, 0, rstd, dy, dx, dWeight, null);
    }

    /// Both gradients; `means` is 0 for RMSNorm.
    private void backward(
            int rows,
            int width,
            Span x,
            Span weight,
            long means,
            Span rstd,
            Span dy,
            @Nullable Span dx,
            @Nullable Span dWeight,
            @Nullable Span dBias) {
        long elements = elements(rows, width);
        long from = x.require("x", DType.F32, elements);
        long factor = weight.require("weight", DType.F32, width);
        long rstds = rstd.require("rstd", DType.F32, rows);
        long upstream = dy.require("dy", DType.F32, elements);
        long to = dx == null ? 0 : dx.require("dx", DType.F32, elements);
        long toWeight = dWeight == null ? 0 : dWeight.require("dWeight", DType.F32, width);
        long toBias = dBias == null ? 0 : dBias.require("dBias", DType.F32, width);
        if (toWeight != 0 || toBias != 0) {
            over(
                    (width + STRIP - 1) / STRIP,
                    elements,
                    (_, begin, end) -> {
                        int last = Math.min(width, end * STRIP);
                        for (int i = begin * STRIP; i < last; i += Lanes.LENGTH) {
                            VectorMask<Float> mask = Lanes.first(last - i);
                            if (toWeight != 0) {
                                weightColumns(
                                        rows, width, from, means, rstds, upstream, toWeight, i,
                                        mask);
                            }
                            if (toBias != 0) {
                                biasColumns(rows, width, upstream, toBias, i, mask);
                            }
                        }
                    });
        }
        if (to != 0) {
            over(
                    rows,
                    elements,
                    (_, begin, end) -> {
                        float[] partial = new float[Lanes.VIRTUAL];
                        for (int row = begin; row < end; row++) {
                            long shift = 4L * width * row;
                            inputRow(
                                    width,
                                    from + shift,
                                    factor,
                                    means == 0 ? 0f : Lanes.get(means + 4L * row),
                                    Lanes.get(rstds + 4L * row),
                                    upstream + shift,
                                    means != 0,
                                    to + shift,
                                    partial);
                        }
                    });
        }
    }

    /// dWeight += dy * (x - mean) * rstd over all rows, for the columns of one vector.
    private static void weightColumns(
            int rows,
            int width,
            long x,
            long means,
            long rstds,
            long dy,
            long dWeight,
            int column,
            VectorMask<Float> mask) {
        long offset = 4L * column;
        FloatVector sum = Lanes.load(dWeight + offset, mask);
        for (int row = 0; row < rows; row++) {
            FloatVector centred = Lanes.load(x + offset, mask);
            if (means != 0) {
                centred = centred.sub(Lanes.get(means + 4L * row));
            }
            FloatVector normalised = centred.mul(Lanes.get(rstds + 4L * row));
            sum = Lanes.load(dy + offset, mask).fma(normalised, sum);
            offset += 4L * width;
        }
        Lanes.store(sum, dWeight + 4L * column, mask);
    }

    /// dBias += dy over all rows, for the columns of one vector.
    private static void biasColumns(
            int rows, int width, long dy, long dBias, int column, VectorMask<Float> mask) {
        long offset = 4L * column;
        FloatVector sum = Lanes.load(dBias + offset, mask);
        for (int row = 0; row < rows; row++) {
            sum = sum.add(Lanes.load(dy + offset, mask));
            offset += 4L * width;
        }
        Lanes.store(sum, dBias + 4L * column, mask);
    }

    /// With n = (x - mean) * rstd and g = dy * weight: dx = rstd * (g - mean(g) - n * mean(g * n)),
    /// without the term mean(g) where the norm takes no mean off.
    private static void inputRow(
            int width,
            long x,
            long weight,
            float mean,
            float rstd,
            long dy,
            boolean centred,
            long dx,
            float[] partial) {
        float slope = RowSums.weighted(width, x, weight, dy, mean, rstd, partial) / width;
        float shift = centred ? RowSums.products(width, dy, weight, partial) / width : 0f;
        FloatVector minusSlope = FloatVector.broadcast(Lanes.SPECIES, -slope);
        for (int i = 0; i < width; i += Lanes.LENGTH) {
            if (i + Lanes.LENGTH <= width) {
                FloatVector n = Lanes.load(x + 4L * i).sub(mean).mul(rstd);
                FloatVector g = Lanes.load(dy + 4L * i).mul(Lanes.load(weight + 4L * i));
                Lanes.store(n.fma(minusSlope, g.sub(shift)).mul(rstd), dx + 4L * i);
            } else {
                VectorMask<Float> mask = Lanes.first(width - i);
                FloatVector n = Lanes.load(x + 4L * i, mask).sub(mean).mul(rstd);
                FloatVector g =
                        Lanes.load(dy + 4L * i, mask).mul(Lanes.load(weight + 4L * i, mask));
                Lanes.store(n.fma(minusSlope, g.sub(shift)).mul(rstd), dx + 4L * i, mask);
            }
        }
    }

    private static long elements(int rows, int width) {
        if (rows < 0 || width < 1) {
            throw new IllegalArgumentException("a norm over %d rows of %d".formatted(rows, width));
        }
        return (long) rows * width;
    }

    private void over(int parts, long elements, HostDevice.Part part) {
        if (elements <= SMALL) {
            part.run(0, 0, parts);
        } else {
            device.run(parts, part);
        }
    }
}
