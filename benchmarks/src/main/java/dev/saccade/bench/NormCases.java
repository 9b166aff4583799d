package dev.saccade.bench;

import dev.saccade.kernels.DType;
import dev.saccade.kernels.norm.Norm;
import org.jspecify.annotations.Nullable;

/// LayerNorm and RMSNorm: `dtype rows width`.
final class NormCases {
    private static final int SAMPLES = 4;
    private static final float EPS = 1e-6f;

    /// Lost by fp32 arithmetic.
    private static final double ARITHMETIC = 0x1p-18;

    private NormCases() {}

    /// The extents of a case and the statistics of its rows.
    private record Rows(Workbench bench, DType dtype, int rows, int width, Operand x) {

        static Rows of(Case work, Workbench bench, int sets) {
            int rows = work.integer("rows");
            int width = work.integer("width");
            return new Rows(
                    bench,
                    work.dtype(),
                    rows,
                    width,
                    bench.normal(work.dtype(), (long) rows * width, sets));
        }

        double mean(int row) {
            double sum = 0;
            for (int i = 0; i < width; i++) {
                sum += x.value((long) row * width + i);
            }
            return sum / width;
        }

        /// 1 / sqrt(mean of (x - center)^2 + eps).
        double rstd(int row, double center) {
            double sum = 0;
            for (int i = 0; i < width; i++) {
                double difference = x.value((long) row * width + i) - center;
                sum += difference * difference;
            }
            return 1 / Math.sqrt(sum / width + EPS);
        }
    }

    private static int sets(Case work, Workbench bench, int tensors) {
        return bench.sets(
                (long) tensors
                        * work.dtype().bytes()
                        * work.integer("rows")
                        * work.integer("width"));
    }

    private static double bytes(Rows rows, int tensors, int vectors, int statistics) {
        return (double) tensors * rows.dtype.bytes() * rows.rows * rows.width
                + (double) vectors * rows.dtype.bytes() * rows.width
                + 4.0 * statistics * rows.rows;
    }

    static PreparedCase rmsNorm(Case work, Workbench bench) {
        Norm norm = Norm.on(bench.device());
        int sets = sets(work, bench, 2);
        Rows rows = Rows.of(work, bench, sets);
        Operand weight = bench.normal(rows.dtype, rows.width, 1);
        Operand y = bench.empty(rows.dtype, (long) rows.rows * rows.width, sets);
        Operand rstd = bench.empty(DType.F32, rows.rows, 1);
        return PreparedCase.of(
                0,
                bytes(rows, 2, 1, 1),
                sets,
                set ->
                        norm.rmsNorm(
                                rows.rows,
                                rows.width,
                                EPS,
                                rows.x.set(set),
                                weight.set(0),
                                y.set(set),
                                rstd.set(0)),
                () -> bench.reset(y),
                () -> compareForward(rows, false, weight, null, y),
                null);
    }

    /// `op=rms_norm_both dtype rows width parts`: a vision layer's queries and keys in one pass, or
    /// with `parts=true` in two.
    static PreparedCase rmsNormBoth(Case work, Workbench bench) {
        Norm norm = Norm.on(bench.device());
        boolean parts = work.flag("parts");
        int sets = sets(work, bench, 4);
        Rows first = Rows.of(work, bench, sets);
        Rows second = Rows.of(work, bench, sets);
        long count = (long) first.rows * first.width;
        Operand weight = bench.normal(first.dtype, first.width, 1);
        Operand secondWeight = bench.normal(first.dtype, first.width, 1);
        Operand y = bench.empty(first.dtype, count, sets);
        Operand secondY = bench.empty(first.dtype, count, sets);
        return PreparedCase.of(
                0,
                bytes(first, 4, 2, 0),
                sets,
                set -> {
                    Norm.Operands one =
                            new Norm.Operands(first.x.set(set), weight.set(0), y.set(set), null);
                    Norm.Operands other =
                            new Norm.Operands(
                                    second.x.set(set), secondWeight.set(0), secondY.set(set), null);
                    if (parts) {
                        norm.rmsNorm(
                                first.rows, first.width, EPS, one.x(), one.weight(), one.y(), null);
                        norm.rmsNorm(
                                first.rows,
                                first.width,
                                EPS,
                                other.x(),
                                other.weight(),
                                other.y(),
                                null);
                    } else {
                        norm.rmsNormBoth(first.rows, first.width, EPS, one, other);
                    }
                },
                () -> {
                    bench.reset(y);
                    bench.reset(secondY);
                },
                () -> {
                    compareForward(first, false, weight, null, y);
                    compareForward(second, false, secondWeight, null, secondY);
                },
                null);
    }

    static PreparedCase layerNorm(Case work, Workbench bench) {
        Norm norm = Norm.on(bench.device());
        int sets = sets(work, bench, 2);
        Rows rows = Rows.of(work, bench, sets);
        Operand weight = bench.normal(rows.dtype, rows.width, 1);
        Operand bias = bench.normal(rows.dtype, rows.width, 1);
        Operand y = bench.empty(rows.dtype, (long) rows.rows * rows.width, sets);
        Operand mean = bench.empty(DType.F32, rows.rows, 1);
        Operand rstd = bench.empty(DType.F32, rows.rows, 1);
        return PreparedCase.of(
                0,
                bytes(rows, 2, 2, 2),
                sets,
                set ->
                        norm.layerNorm(
                                rows.rows,
                                rows.width,
                                EPS,
                                rows.x.set(set),
                                weight.set(0),
                                bias.set(0),
                                y.set(set),
                                mean.set(0),
                                rstd.set(0)),
                () -> bench.reset(y),
                () -> compareForward(rows, true, weight, bias, y),
                null);
    }

    private static void compareForward(
            Rows rows, boolean centered, Operand weight, @Nullable Operand bias, Operand y) {
        for (int sample = 0; sample < SAMPLES; sample++) {
            int row = sample == 0 ? rows.rows - 1 : (int) rows.bench.draw((long) rows.rows);
            double mean = centered ? rows.mean(row) : 0;
            double rstd = rows.rstd(row, mean);
            float[] got = rows.bench.read(y.set(0), (long) row * rows.width, rows.width);
            for (int i = 0; i < rows.width; i++) {
                double scaled =
                        (rows.x.value((long) row * rows.width + i) - mean) * rstd * weight.value(i);
                double shift = bias == null ? 0 : bias.value(i);
                rows.bench.require(
                        "y[%d, %d]".formatted(row, i),
                        rows.dtype,
                        got[i],
                        scaled + shift,
                        Math.abs(scaled) + Math.abs(shift) + Math.abs(mean * rstd),
                        ARITHMETIC);
            }
        }
    }

    static PreparedCase rmsNormBackward(Case work, Workbench bench) {
        Norm norm = Norm.on(bench.device());
        int sets = sets(work, bench, 3);
        Rows rows = Rows.of(work, bench, sets);
        Operand weight = bench.normal(rows.dtype, rows.width, 1);
        Operand dy = bench.normal(rows.dtype, (long) rows.rows * rows.width, sets);
        Operand y = bench.empty(rows.dtype, (long) rows.rows * rows.width, 1);
        Operand rstd = bench.empty(DType.F32, rows.rows, sets);
        Operand dx = bench.empty(rows.dtype, (long) rows.rows * rows.width, sets);
        Operand dWeight = bench.zeros(DType.F32, rows.width, 1);
        for (int set = 0; set < sets; set++) {
            norm.rmsNorm(
                    rows.rows,
                    rows.width,
                    EPS,
                    rows.x.set(set),
                    weight.set(0),
                    y.set(0),
                    rstd.set(set));
        }
        return PreparedCase.of(
                0,
                bytes(rows, 3, 1, 1) + 8.0 * rows.width,
                sets,
                set ->
                        norm.rmsNormBackward(
                                rows.rows,
                                rows.width,
                                rows.x.set(set),
                                weight.set(0),
                                rstd.set(set),
                                dy.set(set),
                                dx.set(set),
                                dWeight.set(0)),
                () -> {
                    bench.reset(dx);
                    bench.reset(dWeight);
                },
                () -> compareBackward(rows, weight, dy, null, rstd, dx, dWeight, null),
                null);
    }

    static PreparedCase layerNormBackward(Case work, Workbench bench) {
        Norm norm = Norm.on(bench.device());
        int sets = sets(work, bench, 3);
        Rows rows = Rows.of(work, bench, sets);
        Operand weight = bench.normal(rows.dtype, rows.width, 1);
        Operand bias = bench.normal(rows.dtype, rows.width, 1);
        Operand dy = bench.normal(rows.dtype, (long) rows.rows * rows.width, sets);
        Operand y = bench.empty(rows.dtype, (long) rows.rows * rows.width, 1);
        Operand mean = bench.empty(DType.F32, rows.rows, sets);
        Operand rstd = bench.empty(DType.F32, rows.rows, sets);
        Operand dx = bench.empty(rows.dtype, (long) rows.rows * rows.width, sets);
        Operand dWeight = bench.zeros(DType.F32, rows.width, 1);
        Operand dBias = bench.zeros(DType.F32, rows.width, 1);
        for (int set = 0; set < sets; set++) {
            norm.layerNorm(
                    rows.rows,
                    rows.width,
                    EPS,
                    rows.x.set(set),
                    weight.set(0),
                    bias.set(0),
                    y.set(0),
                    mean.set(set),
                    rstd.set(set));
        }
        return PreparedCase.of(
                0,
                bytes(rows, 3, 1, 2) + 16.0 * rows.width,
                sets,
                set ->
                        norm.layerNormBackward(
                                rows.rows,
                                rows.width,
                                rows.x.set(set),
                                weight.set(0),
                                mean.set(set),
                                rstd.set(set),
                                dy.set(set),
                                dx.set(set),
                                dWeight.set(0),
                                dBias.set(0)),
                () -> {
                    bench.reset(dx);
                    bench.reset(dWeight);
                    bench.reset(dBias);
                },
                () -> compareBackward(rows, weight, dy, mean, rstd, dx, dWeight, dBias),
                null);
    }

    private static void compareBackward(
            Rows rows,
            Operand weight,
            Operand dy,
            @Nullable Operand mean,
            Operand rstd,
            Operand dx,
            Operand dWeight,
            @Nullable Operand dBias) {
        int width = rows.width;
        // The statistics as the forward kernel left them; those of the sampled rows are checked.
        float[] rstds = rows.bench.read(rstd.set(0), 0, rows.rows);
        float[] means =
                mean == null ? new float[rows.rows] : rows.bench.read(mean.set(0), 0, rows.rows);
        for (int sample = 0; sample < SAMPLES; sample++) {
            int row = sample == 0 ? rows.rows - 1 : (int) rows.bench.draw((long) rows.rows);
            double center = mean == null ? 0 : rows.mean(row);
            double scale = rows.rstd(row, center);
            rows.bench.require(
                    "rstd[" + row + "]", DType.F32, rstds[row], scale, scale, ARITHMETIC);
            rows.bench.require(
                    "mean[" + row + "]", DType.F32, means[row], center, 1 / scale, ARITHMETIC);
            double gradients = 0;
            double products = 0;
            for (int i = 0; i < width; i++) {
                double g = dy.value((long) row * width + i) * weight.value(i);
                gradients += g;
                products += g * (rows.x.value((long) row * width + i) - center) * scale;
            }
            float[] got = rows.bench.read(dx.set(0), (long) row * width, width);
            for (int i = 0; i < width; i++) {
                double g = dy.value((long) row * width + i) * weight.value(i);
                double xHat = (rows.x.value((long) row * width + i) - center) * scale;
                double exact =
                        scale
                                * (g
                                        - (mean == null ? 0 : gradients / width)
                                        - xHat * products / width);
                rows.bench.require(
                        "dx[%d, %d]".formatted(row, i),
                        rows.dtype,
                        got[i],
                        exact,
                        scale * (Math.abs(g) + 1 + Math.abs(xHat)),
                        ARITHMETIC);
            }
        }
        int column = (int) rows.bench.draw((long) width);
        double weightSum = 0;
        double biasSum = 0;
        double weightMagnitude = 0;
        double biasMagnitude = 0;
        for (int row = 0; row < rows.rows; row++) {
            double xHat = (rows.x.value((long) row * width + column) - means[row]) * rstds[row];
            double g = dy.value((long) row * width + column);
            weightSum += g * xHat;
            biasSum += g;
            weightMagnitude += Math.abs(g * xHat);
            biasMagnitude += Math.abs(g);
        }
        rows.bench.require(
                "dWeight[" + column + "]",
                DType.F32,
                rows.bench.read(dWeight.set(0), column),
                weightSum,
                weightMagnitude,
                ARITHMETIC);
        if (dBias != null) {
            rows.bench.require(
                    "dBias[" + column + "]",
                    DType.F32,
                    rows.bench.read(dBias.set(0), column),
                    biasSum,
                    biasMagnitude,
                    ARITHMETIC);
        }
    }
}
