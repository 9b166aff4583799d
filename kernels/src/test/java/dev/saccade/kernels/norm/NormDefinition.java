package dev.saccade.kernels.norm;

import java.util.Arrays;

/// What the norms are by definition, in double precision or with every operation rounded to fp32.
public final class NormDefinition {
    public final double[] y;
    public final double[] rstd;
    public final double[] mean;
    public final double[] dx;
    public final double[] dWeight;
    public final double[] dBias;
    private final boolean rounding;

    /// @param rounding whether every operation is rounded to fp32
    /// @param before what dWeight and dBias are added to
    public NormDefinition(
            boolean centred,
            boolean rounding,
            float eps,
            int width,
            float[] x,
            float[] weight,
            float[] bias,
            float[] dy,
            float before) {
        this.rounding = rounding;
        int rows = x.length / width;
        y = new double[x.length];
        dx = new double[x.length];
        rstd = new double[rows];
        mean = new double[rows];
        dWeight = new double[width];
        dBias = new double[width];
        Arrays.fill(dWeight, before);
        Arrays.fill(dBias, before);
        for (int row = 0; row < rows; row++) {
            int at = row * width;
            double sum = 0;
            for (int i = 0; i < width; i++) {
                sum = at(sum + x[at + i]);
            }
            mean[row] = centred ? at(sum / width) : 0;
            double squares = 0;
            for (int i = 0; i < width; i++) {
                double d = at(x[at + i] - mean[row]);
                squares = at(squares + at(d * d));
            }
            rstd[row] = at(1 / at(Math.sqrt(at(at(squares / width) + eps))));
            double shift = 0;
            double slope = 0;
            for (int i = 0; i < width; i++) {
                double n = at(at(x[at + i] - mean[row]) * rstd[row]);
                double g = at((double) dy[at + i] * weight[i]);
                y[at + i] = at(at(n * weight[i]) + (centred ? bias[i] : 0));
                dWeight[i] = at(dWeight[i] + at(dy[at + i] * n));
                dBias[i] = at(dBias[i] + dy[at + i]);
                shift = at(shift + g);
                slope = at(slope + at(g * n));
            }
            shift = centred ? at(shift / width) : 0;
            slope = at(slope / width);
            for (int i = 0; i < width; i++) {
                double n = at(at(x[at + i] - mean[row]) * rstd[row]);
                double g = at((double) dy[at + i] * weight[i]);
                dx[at + i] = at(at(at(g - shift) - at(n * slope)) * rstd[row]);
            }
        }
    }

    private double at(double value) {
        return rounding ? (float) value : value;
    }
}
