package dev.saccade.kernels.norm;

import dev.saccade.kernels.internal.Lanes;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/// The sums over a row that the norms need, each in 16 interleaved partial sums.
///
/// Elements past the row's end are masked to 0, which leaves a partial sum's bits as they are.
final class RowSums {

    private RowSums() {}

    /// The sum of x.
    static float sum(int width, long x, float[] partial) {
        for (int group = 0; group < Lanes.VIRTUAL; group += Lanes.LENGTH) {
            FloatVector sum = zero();
            int i = group;
            for (; i + Lanes.LENGTH <= width; i += Lanes.VIRTUAL) {
                sum = sum.add(Lanes.load(x + 4L * i));
            }
            if (i < width) {
                sum = sum.add(Lanes.load(x + 4L * i, Lanes.first(width - i)));
            }
            sum.intoArray(partial, group);
        }
        return Lanes.tree(partial);
    }

    /// The sum of (x - mean)^2.
    static float squares(int width, long x, float mean, float[] partial) {
        for (int group = 0; group < Lanes.VIRTUAL; group += Lanes.LENGTH) {
            FloatVector sum = zero();
            int i = group;
            for (; i + Lanes.LENGTH <= width; i += Lanes.VIRTUAL) {
                FloatVector d = Lanes.load(x + 4L * i).sub(mean);
                sum = d.fma(d, sum);
            }
            if (i < width) {
                VectorMask<Float> mask = Lanes.first(width - i);
                FloatVector d = zero().blend(Lanes.load(x + 4L * i, mask).sub(mean), mask);
                sum = d.fma(d, sum);
            }
            sum.intoArray(partial, group);
        }
        return Lanes.tree(partial);
    }

    /// The sum of dy * weight.
    static float products(int width, long dy, long weight, float[] partial) {
        for (int group = 0; group < Lanes.VIRTUAL; group += Lanes.LENGTH) {
            FloatVector sum = zero();
            int i = group;
            for (; i + Lanes.LENGTH <= width; i += Lanes.VIRTUAL) {
                sum = Lanes.load(dy + 4L * i).fma(Lanes.load(weight + 4L * i), sum);
            }
            if (i < width) {
                VectorMask<Float> mask = Lanes.first(width - i);
                sum = Lanes.load(dy + 4L * i, mask).fma(Lanes.load(weight + 4L * i, mask), sum);
            }
            sum.intoArray(partial, group);
        }
        return Lanes.tree(partial);
    }

    /// The sum of dy * weight * (x - mean) * rstd.
    static float weighted(
            int width, long x, long weight, long dy, float mean, float rstd, float[] partial) {
        for (int group = 0; group < Lanes.VIRTUAL; group += Lanes.LENGTH) {
            FloatVector sum = zero();
            int i = group;
            for (; i + Lanes.LENGTH <= width; i += Lanes.VIRTUAL) {
                FloatVector normalised = Lanes.load(x + 4L * i).sub(mean).mul(rstd);
                FloatVector g = Lanes.load(dy + 4L * i).mul(Lanes.load(weight + 4L * i));
                sum = g.fma(normalised, sum);
            }
            if (i < width) {
                VectorMask<Float> mask = Lanes.first(width - i);
                FloatVector normalised = Lanes.load(x + 4L * i, mask).sub(mean).mul(rstd);
                FloatVector g =
                        Lanes.load(dy + 4L * i, mask).mul(Lanes.load(weight + 4L * i, mask));
                sum = sum.blend(g.fma(normalised, sum), mask);
            }
            sum.intoArray(partial, group);
        }
        return Lanes.tree(partial);
    }

    /// Made where it is used: a loop's sum that starts from a vector in a static field would be
    /// allocated anew in every turn.
    private static FloatVector zero() {
        return FloatVector.zero(Lanes.SPECIES);
    }
}
