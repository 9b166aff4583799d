package dev.saccade.kernels.activation;

/// The activations and their slopes by definition, in double precision.
final class ActivationDefinition {
    private ActivationDefinition() {}

    /// The error function: its series near 0, the continued fraction of erfc beyond.
    static double erf(double x) {
        double size = Math.abs(x);
        if (size < 2.5) {
            double term = x;
            double sum = x;
            for (int n = 1; n < 80; n++) {
                term *= -x * x / n;
                sum += term / (2 * n + 1);
            }
            return sum * 2 / Math.sqrt(Math.PI);
        }
        double fraction = 0;
        for (int n = 200; n > 0; n--) {
            fraction = n / 2.0 / (size + fraction);
        }
        double rest = StrictMath.exp(-x * x) / Math.sqrt(Math.PI) / (size + fraction);
        return Math.signum(x) * (1 - rest);
    }

    static double distribution(double z) {
        return 0.5 * (1 + erf(z / Math.sqrt(2)));
    }

    static double gelu(double z) {
        return z * distribution(z);
    }

    static double geluSlope(double z) {
        return distribution(z) + z * StrictMath.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
    }

    static double sigmoid(double x) {
        return 1 / (1 + StrictMath.exp(-x));
    }

    static double siluSlope(double x) {
        return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
    }
}
