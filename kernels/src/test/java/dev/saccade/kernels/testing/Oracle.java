package dev.saccade.kernels.testing;

import static org.assertj.core.api.Assertions.assertThat;

import dev.saccade.kernels.DType;

/// The accuracy that the design asks of every kernel.
public final class Oracle {
    /// Half a unit in the last place of 1 in fp32.
    private static final double ROUNDING = 0x1p-24;

    private Oracle() {}

    /// Checks that the largest error of `actual` against the exact result is at most twice that of
    /// a naive fp32 computation, to which the rounding of the largest exact element is added: among
    /// a few elements the naive one may be lucky.
    public static void assertAccurate(String what, double[] exact, float[] naive, float[] actual) {
        assertAccurate(what, DType.F32, exact, naive, actual);
    }

    /// As [#assertAccurate(String, double[], float[], float[])] for a result of type `dtype`: the
    /// naive computation is in fp32, and the rounding is the type's.
    public static void assertAccurate(
            String what, DType dtype, double[] exact, float[] naive, float[] actual) {
        assertThat(actual.length).as(what).isEqualTo(exact.length);
        double unit = dtype == DType.F32 ? ROUNDING : dtype == DType.BF16 ? 0x1p-9 : 0x1p-12;
        double rounding = 0;
        for (double value : exact) {
            rounding = Math.max(rounding, Math.abs(value) * unit);
        }
        double allowed = 2 * (error(exact, naive) + rounding);
        for (int i = 0; i < exact.length; i++) {
            assertThat(Math.abs(actual[i] - exact[i]))
                    .as("%s[%d]: got %s, exact %s", what, i, actual[i], exact[i])
                    .isLessThanOrEqualTo(allowed);
        }
    }

    /// The largest absolute error; infinite where an element is not a number.
    public static double error(double[] exact, float[] values) {
        double largest = 0;
        for (int i = 0; i < exact.length; i++) {
            double error = Math.abs(values[i] - exact[i]);
            largest = Math.max(largest, Double.isNaN(error) ? Double.POSITIVE_INFINITY : error);
        }
        return largest;
    }

    /// Rounds every element to fp32.
    public static float[] rounded(double[] values) {
        float[] result = new float[values.length];
        for (int i = 0; i < values.length; i++) {
            result[i] = (float) values[i];
        }
        return result;
    }
}
