package dev.saccade.tensor;

/// The operations' formulas in float64, straight from their definitions.
final class Float64 {
    private Float64() {}

    /// `x W^T + b`; b may have no elements.
    static double[] linear(double[] x, double[] weight, double[] bias, int rows) {
        int in = x.length / rows;
        int out = weight.length / in;
        double[] y = new double[rows * out];
        for (int r = 0; r < rows; r++) {
            for (int o = 0; o < out; o++) {
                double sum = bias.length == 0 ? 0 : bias[o];
                for (int i = 0; i < in; i++) {
                    sum += x[r * in + i] * weight[o * in + i];
                }
                y[r * out + o] = sum;
            }
        }
        return y;
    }

    static double[] gelu(double[] z) {
        double[] y = new double[z.length];
        for (int i = 0; i < z.length; i++) {
            y[i] = z[i] / 2 * (1 + erf(z[i] / Math.sqrt(2)));
        }
        return y;
    }

    /// `2/sqrt(pi) e^(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!`, whose terms have one sign.
    private static double erf(double x) {
        double term = x;
        double sum = 0;
        for (int n = 1; n < 300; n++) {
            sum += term;
            term *= 2 * x * x / (2 * n + 1);
        }
        return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
    }

    static double[] swiGlu(double[] gate, double[] up) {
        double[] y = new double[gate.length];
        for (int i = 0; i < y.length; i++) {
            y[i] = gate[i] / (1 + Math.exp(-gate[i])) * up[i];
        }
        return y;
    }

    static double[] layerNorm(double[] x, double[] weight, double[] bias, double eps) {
        int width = weight.length;
        double[] y = new double[x.length];
        for (int from = 0; from < x.length; from += width) {
            double mean = 0;
            for (int i = 0; i < width; i++) {
                mean += x[from + i] / width;
            }
            double variance = 0;
            for (int i = 0; i < width; i++) {
                variance += (x[from + i] - mean) * (x[from + i] - mean) / width;
            }
            for (int i = 0; i < width; i++) {
                y[from + i] =
                        (x[from + i] - mean) / Math.sqrt(variance + eps) * weight[i] + bias[i];
            }
        }
        return y;
    }

    static double[] rmsNorm(double[] x, double[] weight, double eps) {
        int width = weight.length;
        double[] y = new double[x.length];
        for (int from = 0; from < x.length; from += width) {
            double square = 0;
            for (int i = 0; i < width; i++) {
                square += x[from + i] * x[from + i] / width;
            }
            for (int i = 0; i < width; i++) {
                y[from + i] = x[from + i] / Math.sqrt(square + eps) * weight[i];
            }
        }
        return y;
    }

    static double[] rope(double[] x, int[] positions, int headDim, double theta) {
        double[] y = new double[x.length];
        int width = x.length / positions.length;
        int half = headDim / 2;
        for (int r = 0; r < positions.length; r++) {
            for (int head = 0; head < width; head += headDim) {
                for (int i = 0; i < half; i++) {
                    double angle = positions[r] * Math.pow(theta, -2.0 * i / headDim);
                    int at = r * width + head + i;
                    y[at] = x[at] * Math.cos(angle) - x[at + half] * Math.sin(angle);
                    y[at + half] = x[at + half] * Math.cos(angle) + x[at] * Math.sin(angle);
                }
            }
        }
        return y;
    }

    static double[] attention(
            double[] q,
            double[] k,
            double[] v,
            int[] cumulative,
            int heads,
            int kvHeads,
            int headDim,
            boolean causal,
            double scale) {
        double[] o = new double[q.length];
        for (int s = 0; s + 1 < cumulative.length; s++) {
            for (int h = 0; h < heads; h++) {
                int kv = h / (heads / kvHeads);
                for (int i = cumulative[s]; i < cumulative[s + 1]; i++) {
                    int end = causal ? i + 1 : cumulative[s + 1];
                    double[] p = new double[end - cumulative[s]];
                    double total = 0;
                    for (int j = 0; j < p.length; j++) {
                        double dot = 0;
                        for (int d = 0; d < headDim; d++) {
                            dot +=
                                    q[(i * heads + h) * headDim + d]
                                            * k[((cumulative[s] + j) * kvHeads + kv) * headDim + d];
                        }
                        p[j] = Math.exp(scale * dot);
                        total += p[j];
                    }
                    for (int j = 0; j < p.length; j++) {
                        for (int d = 0; d < headDim; d++) {
                            o[(i * heads + h) * headDim + d] +=
                                    p[j]
                                            / total
                                            * v[((cumulative[s] + j) * kvHeads + kv) * headDim + d];
                        }
                    }
                }
            }
        }
        return o;
    }

    /// Log-probabilities of the targets, then entropies, [2, rows].
    static double[] logProbs(
            double[] hidden, double[] head, int[] targets, double temperature, byte[] banned) {
        int rows = targets.length;
        double[] logits = linear(hidden, head, new double[0], rows);
        int vocab = logits.length / rows;
        double[] result = new double[2 * rows];
        for (int r = 0; r < rows; r++) {
            double total = 0;
            double weighted = 0;
            for (int w = 0; w < vocab; w++) {
                double z = logits[r * vocab + w] / temperature;
                if (banned.length == 0 || banned[w] == 0) {
                    total += Math.exp(z);
                    weighted += Math.exp(z) * z;
                }
            }
            result[r] = logits[r * vocab + targets[r]] / temperature - Math.log(total);
            result[rows + r] = Math.log(total) - weighted / total;
        }
        return result;
    }

    static double[] add(double[] a, double[] b) {
        double[] y = a.clone();
        for (int i = 0; i < y.length; i++) {
            y[i] += b[i];
        }
        return y;
    }

    static double[] takeRows(double[] x, int[] rows, int width) {
        double[] y = new double[rows.length * width];
        for (int r = 0; r < rows.length; r++) {
            System.arraycopy(x, rows[r] * width, y, r * width, width);
        }
        return y;
    }
}
