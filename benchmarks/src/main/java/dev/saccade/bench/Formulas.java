package dev.saccade.bench;

/// The functions of the kernels' contracts, in double precision.
final class Formulas {
    private Formulas() {}

    /// The error function, by its series: good to 1e-9 for |x| < 5.
    static double erf(double x) {
        if (Math.abs(x) > 5) {
            return Math.signum(x);
        }
        double term = x;
        double sum = x;
        for (int n = 1; n < 200; n++) {
            term *= -x * x / n;
            sum += term / (2 * n + 1);
        }
        return 2 / Math.sqrt(Math.PI) * sum;
    }

    static double gelu(double z) {
        return z / 2 * (1 + erf(z / Math.sqrt(2)));
    }

    static double geluSlope(double z) {
        double density = Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
        return (1 + erf(z / Math.sqrt(2))) / 2 + z * density;
    }

    static double silu(double z) {
        return z / (1 + Math.exp(-z));
    }

    static double siluSlope(double z) {
        double sigmoid = 1 / (1 + Math.exp(-z));
        return sigmoid * (1 + z * (1 - sigmoid));
    }
}
