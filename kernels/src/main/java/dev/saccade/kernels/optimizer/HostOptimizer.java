package dev.saccade.kernels.optimizer;

import dev.saccade.engine.HostDevice;
import dev.saccade.kernels.DType;
import dev.saccade.kernels.Span;
import dev.saccade.kernels.elementwise.Elementwise;
import dev.saccade.kernels.internal.Lanes;
import java.util.List;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;
import org.jspecify.annotations.Nullable;

/// The optimiser's arithmetic on the CPU, in parallel over blocks of 4096 elements.
///
/// AdamW's scalars (1 - beta, the bias corrections, lr times decay) are computed once in double and
/// rounded to fp32; the elements' arithmetic is fp32 with fused multiply-adds, and roots and
/// quotients are correctly rounded.
final class HostOptimizer implements Optimizer {
    private static final int BLOCK = 4096;

    /// Elements below which a call to the workers costs more than it saves.
    private static final int SMALL = 1 << 14;

    private static final VectorSpecies<Double> DOUBLES =
            VectorSpecies.of(double.class, Lanes.SPECIES.vectorShape());

    private final HostDevice device;
    private final Elementwise elementwise;

    HostOptimizer(HostDevice device) {
        this.device = device;
        this.elementwise = Elementwise.on(device);
    }

    @Override
    public void adamW(
            long count,
            AdamW options,
            Span weight,
            Span gradient,
            Span first,
            Span second,
            @Nullable Span rounded) {
        Scalars scalars = Scalars.of(options);
        long w = weight.require("weight", DType.F32, count);
        long g = gradient.require("gradient", DType.F32, count);
        long m = first.require("first", DType.F32, count);
        long v = second.require("second", DType.F32, count);
        requireRounded(rounded, count);
        overBlocks(
                count,
                (_, begin, end) -> {
                    long last = Math.min(count, (long) end * BLOCK);
                    update(scalars, (long) begin * BLOCK, last, w, g, m, v);
                });
        if (rounded != null) {
            elementwise.cast(count, weight, rounded);
        }
    }

    /// The address of the weights' rounded copy, 0 where there is none.
    static long requireRounded(@Nullable Span rounded, long count) {
        if (rounded == null) {
            return 0;
        }
        return rounded.require(
                "rounded", rounded.dtype() == DType.F16 ? DType.F16 : DType.BF16, count);
    }

    /// What one step multiplies its elements with.
    record Scalars(
            float scale,
            float minusDecay,
            float beta1,
            float restOfBeta1,
            float beta2,
            float restOfBeta2,
            float minusStepSize,
            float correction2,
            float eps) {

        static Scalars of(AdamW options) {
            if (options.step() < 1) {
                throw new IllegalArgumentException(
                        "AdamW's first step is 1, not " + options.step());
            }
            double beta1 = options.beta1();
            double beta2 = options.beta2();
            double correction1 = 1 / (1 - StrictMath.pow(beta1, (double) options.step()));
            double correction2 = 1 / (1 - StrictMath.pow(beta2, (double) options.step()));
            double learningRate = options.learningRate();
            return new Scalars(
                    options.gradientScale(),
                    (float) -(learningRate * options.weightDecay()),
                    options.beta1(),
                    (float) (1 - beta1),
                    options.beta2(),
                    (float) (1 - beta2),
                    (float) -(learningRate * correction1),
                    (float) correction2,
                    options.eps());
        }
    }

    private static void update(
            Scalars scalars, long begin, long end, long w, long g, long m, long v) {
        long at = begin;
        for (; at <= end - Lanes.LENGTH; at += Lanes.LENGTH) {
            long bytes = 4 * at;
            FloatVector gradient = Lanes.load(g + bytes).mul(scalars.scale);
            FloatVector first = first(scalars, Lanes.load(m + bytes), gradient);
            FloatVector second = second(scalars, Lanes.load(v + bytes), gradient);
            Lanes.store(first, m + bytes);
            Lanes.store(second, v + bytes);
            Lanes.store(weight(scalars, Lanes.load(w + bytes), first, second), w + bytes);
        }
        if (at < end) {
            long bytes = 4 * at;
            VectorMask<Float> rest = Lanes.first((int) (end - at));
            FloatVector gradient = Lanes.load(g + bytes, rest).mul(scalars.scale);
            FloatVector first = first(scalars, Lanes.load(m + bytes, rest), gradient);
            FloatVector second = second(scalars, Lanes.load(v + bytes, rest), gradient);
            Lanes.store(first, m + bytes, rest);
            Lanes.store(second, v + bytes, rest);
            FloatVector weight = weight(scalars, Lanes.load(w + bytes, rest), first, second);
            Lanes.store(weight, w + bytes, rest);
        }
    }

    private static FloatVector first(Scalars scalars, FloatVector m, FloatVector gradient) {
        return m.fma(vector(scalars.beta1), gradient.mul(scalars.restOfBeta1));
    }

    private static FloatVector second(Scalars scalars, FloatVector v, FloatVector gradient) {
        return v.fma(vector(scalars.beta2), gradient.mul(gradient).mul(scalars.restOfBeta2));
    }

    private static FloatVector weight(
            Scalars scalars, FloatVector w, FloatVector first, FloatVector second) {
        FloatVector decayed = w.fma(vector(scalars.minusDecay), w);
        FloatVector root = second.mul(scalars.correction2).sqrt().add(scalars.eps);
        return first.div(root).fma(vector(scalars.minusStepSize), decayed);
    }

    private static FloatVector vector(float value) {
        return FloatVector.broadcast(Lanes.SPECIES, value);
    }

    @Override
    public double sumOfSquares(List<Span> values) {
        double sum = 0;
        for (Span span : values) {
            sum += sumOfSquares(span.length(), span.require("values", DType.F32, 0));
        }
        return sum;
    }

    private double sumOfSquares(long count, long from) {
        double[] sums = new double[blocks(count)];
        overBlocks(
                count,
                (_, begin, end) -> {
                    double[] partial = new double[Lanes.VIRTUAL];
                    for (int block = begin; block < end; block++) {
                        long first = (long) block * BLOCK;
                        int elements = (int) Math.min(BLOCK, count - first);
                        sums[block] = blockSum(from + 4 * first, elements, partial);
                    }
                });
        double sum = 0;
        for (double part : sums) {
            sum += part;
        }
        return sum;
    }

    /// One block's sum: element i in partial sum i mod 16, then merged as [Lanes#tree(float[])]
    /// does. A square of an fp32 number is exact in double.
    private static double blockSum(long from, int elements, double[] partial) {
        for (int group = 0; group < Lanes.VIRTUAL; group += Lanes.LENGTH) {
            DoubleVector low = DoubleVector.zero(DOUBLES);
            DoubleVector high = low;
            int at = group;
            for (; at <= elements - Lanes.LENGTH; at += Lanes.VIRTUAL) {
                FloatVector x = Lanes.load(from + 4L * at);
                DoubleVector lowPart = half(x, 0);
                DoubleVector highPart = half(x, 1);
                low = lowPart.fma(lowPart, low);
                high = highPart.fma(highPart, high);
            }
            if (at < elements) {
                FloatVector x = Lanes.load(from + 4L * at, Lanes.first(elements - at));
                DoubleVector lowPart = half(x, 0);
                DoubleVector highPart = half(x, 1);
                low = lowPart.fma(lowPart, low);
                high = highPart.fma(highPart, high);
            }
            low.intoArray(partial, group);
            high.intoArray(partial, group + DOUBLES.length());
        }
        for (int half = Lanes.VIRTUAL / 2; half > 0; half /= 2) {
            for (int i = 0; i < half; i++) {
                partial[i] += partial[i + half];
            }
        }
        return partial[0];
    }

    private static DoubleVector half(FloatVector x, int part) {
        return (DoubleVector) x.convertShape(VectorOperators.F2D, DOUBLES, part);
    }

    private static int blocks(long count) {
        return Math.toIntExact(Math.ceilDiv(count, (long) BLOCK));
    }

    private void overBlocks(long count, HostDevice.Part part) {
        if (count < SMALL) {
            part.run(0, 0, blocks(count));
        } else {
            device.run(blocks(count), part);
        }
    }
}
