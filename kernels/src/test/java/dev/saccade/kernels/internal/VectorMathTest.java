package dev.saccade.kernels.internal;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.SplittableRandom;
import java.util.function.DoubleUnaryOperator;
import java.util.function.UnaryOperator;
import jdk.incubator.vector.FloatVector;
import org.junit.jupiter.api.Test;

class VectorMathTest {
    /// One value in so many floats of a swept range; 1 sweeps all.
    private static final int STRIDE = Integer.getInteger("saccade.sweepStride", 997);

    private static final float[] SPECIAL = {
        0f,
        -0f,
        1f,
        -1f,
        Float.MIN_VALUE,
        -Float.MIN_VALUE,
        Float.MIN_NORMAL,
        Math.nextDown(Float.MIN_NORMAL),
        Float.MAX_VALUE,
        -Float.MAX_VALUE,
        Float.POSITIVE_INFINITY,
        Float.NEGATIVE_INFINITY,
        Float.NaN,
        88.72283f,
        88.72284f,
        -87.33654f,
        -87.33655f,
        -104f,
        4f,
        -4f,
        0.99999994f,
        1.0000001f
    };

    private interface Scalar {
        float apply(float x);
    }

    @Test
    void expIsWithinOneUlp() {
        double worst =
                sweep(-87.33654f, 88.72283f, VectorMath::exp, VectorMath::exp, StrictMath::exp);
        assertThat(worst).isLessThan(1.0);
    }

    @Test
    void expAtItsEnds() {
        assertThat(VectorMath.exp(Float.NEGATIVE_INFINITY)).isEqualTo(0f);
        assertThat(VectorMath.exp(-87.4f)).isEqualTo(0f);
        assertThat(VectorMath.exp(-87.33654f)).isGreaterThanOrEqualTo(Float.MIN_NORMAL);
        assertThat(VectorMath.exp(0f)).isEqualTo(1f);
        assertThat(VectorMath.exp(-0f)).isEqualTo(1f);
        assertThat(VectorMath.exp(88.72283f)).isLessThanOrEqualTo(Float.MAX_VALUE);
        assertThat(VectorMath.exp(88.72284f)).isEqualTo(Float.POSITIVE_INFINITY);
        assertThat(VectorMath.exp(Float.POSITIVE_INFINITY)).isEqualTo(Float.POSITIVE_INFINITY);
        assertThat(VectorMath.exp(Float.NaN)).isNaN();
    }

    @Test
    void expNotPositiveIsExp() {
        for (float x = 0f; x > -120f; x -= 0.0371f) {
            assertThat(VectorMath.expNotPositive(FloatVector.broadcast(Lanes.SPECIES, x)).lane(0))
                    .isEqualTo(VectorMath.exp(x));
        }
        FloatVector end = FloatVector.broadcast(Lanes.SPECIES, Float.NEGATIVE_INFINITY);
        assertThat(VectorMath.expNotPositive(end).lane(0)).isEqualTo(0f);
    }

    @Test
    void logIsWithinOneUlp() {
        double worst =
                sweep(
                        Float.MIN_NORMAL,
                        Float.MAX_VALUE,
                        VectorMath::log,
                        VectorMath::log,
                        StrictMath::log);
        assertThat(worst).isLessThan(1.0);
    }

    @Test
    void logOnePlusIsWithinThreeUlp() {
        double worst =
                sweep(
                        -0.9999999f,
                        1e30f,
                        VectorMath::logOnePlus,
                        VectorMath::logOnePlus,
                        StrictMath::log1p);
        assertThat(worst).isLessThan(3.0);
        assertThat(VectorMath.logOnePlus(-1f)).isEqualTo(Float.NEGATIVE_INFINITY);
        assertThat(VectorMath.logOnePlus(-2f)).isNaN();
        assertThat(VectorMath.logOnePlus(1e-30f)).isEqualTo(1e-30f);
    }

    @Test
    void logAtItsEnds() {
        assertThat(VectorMath.log(0f)).isEqualTo(Float.NEGATIVE_INFINITY);
        assertThat(VectorMath.log(Float.MIN_VALUE)).isEqualTo(Float.NEGATIVE_INFINITY);
        assertThat(VectorMath.log(1f)).isEqualTo(0f);
        assertThat(VectorMath.log(-1f)).isNaN();
        assertThat(VectorMath.log(Float.NaN)).isNaN();
        assertThat(VectorMath.log(Float.POSITIVE_INFINITY)).isEqualTo(Float.POSITIVE_INFINITY);
    }

    @Test
    void theNormalDistributionIsClose() {
        float[] in = new float[Lanes.LENGTH];
        int filled = 0;
        for (int i = -90_000; i <= 90_000; i++) {
            float z = i * 1.0001e-4f;
            double wanted = 0.5 * (1 + erf(z / StrictMath.sqrt(2)));
            close(VectorMath.normalDistribution(z), wanted, 1.2e-7);
            in[filled++] = z;
            if (filled == in.length) {
                FloatVector zs = FloatVector.fromArray(Lanes.SPECIES, in, 0);
                float[] out = VectorMath.normalDistribution(zs).toArray();
                for (int j = 0; j < in.length; j++) {
                    assertThat(out[j]).isEqualTo(VectorMath.normalDistribution(in[j]));
                }
                filled = 0;
            }
        }
        for (float z : new float[] {5.5f, 6f, 40f, Float.MAX_VALUE, Float.POSITIVE_INFINITY}) {
            assertThat(VectorMath.normalDistribution(z)).isEqualTo(1f);
            assertThat(VectorMath.normalDistribution(-z)).isZero();
        }
        assertThat(VectorMath.normalDistribution(0f)).isEqualTo(0.5f);
    }

    @Test
    void activationsAreCloseAndTheSameInBothForms() {
        SplittableRandom random = new SplittableRandom(20260);
        for (int i = 0; i < 200_000; i++) {
            float x = (float) random.nextDouble(-12, 12);
            double sigmoid = 1 / (1 + StrictMath.exp(-(double) x));
            double phi = StrictMath.exp(-0.5 * x * x) / StrictMath.sqrt(2 * StrictMath.PI);
            double distribution = 0.5 * (1 + erf(x / StrictMath.sqrt(2)));
            close(VectorMath.sigmoid(x), sigmoid, 1.5e-7);
            close(VectorMath.silu(x), x * sigmoid, 1.5e-7 * Math.max(1, Math.abs(x)));
            close(VectorMath.gelu(x), x * distribution, 1.5e-7 * Math.max(1, Math.abs(x)));
            close(VectorMath.geluDerivative(x), distribution + x * phi, 2.5e-7);
            if (i % 16 == 0) {
                same(x, VectorMath::sigmoid, VectorMath::sigmoid);
                same(x, VectorMath::silu, VectorMath::silu);
                same(x, VectorMath::gelu, VectorMath::gelu);
                same(x, VectorMath::geluDerivative, VectorMath::geluDerivative);
            }
        }
    }

    @Test
    void specialValuesAreTheSameInBothForms() {
        for (float x : SPECIAL) {
            same(x, VectorMath::exp, VectorMath::exp);
            same(x, VectorMath::log, VectorMath::log);
            same(x, VectorMath::logOnePlus, VectorMath::logOnePlus);
            same(x, VectorMath::normalDistribution, VectorMath::normalDistribution);
            same(x, VectorMath::sigmoid, VectorMath::sigmoid);
            same(x, VectorMath::silu, VectorMath::silu);
            same(x, VectorMath::gelu, VectorMath::gelu);
            same(x, VectorMath::geluDerivative, VectorMath::geluDerivative);
        }
    }

    @Test
    void anyBitsAreTheSameInBothForms() {
        SplittableRandom random = new SplittableRandom(7);
        for (int i = 0; i < 20_000; i++) {
            float x = Float.intBitsToFloat(random.nextInt());
            same(x, VectorMath::exp, VectorMath::exp);
            same(x, VectorMath::log, VectorMath::log);
            same(x, VectorMath::logOnePlus, VectorMath::logOnePlus);
            same(x, VectorMath::normalDistribution, VectorMath::normalDistribution);
            same(x, VectorMath::geluDerivative, VectorMath::geluDerivative);
        }
    }

    /// A digest of many results: the same number on every machine and in every execution mode.
    @Test
    void theBitsAreTheOnesOfEveryMachine() {
        long digest = 17;
        for (int i = -4000; i < 4000; i++) {
            float x = i * 0.02713f;
            digest = digest * 31 + Float.floatToIntBits(VectorMath.exp(x));
            digest = digest * 31 + Float.floatToIntBits(VectorMath.log(Math.abs(x)));
            digest = digest * 31 + Float.floatToIntBits(VectorMath.normalDistribution(x));
            digest = digest * 31 + Float.floatToIntBits(VectorMath.geluDerivative(x));
        }
        assertThat(digest).isEqualTo(821_321_110_974_364_300L);
    }

    /// The largest error in ulp between `from` and `to`; checks that both forms agree.
    private static double sweep(
            float from,
            float to,
            Scalar scalar,
            UnaryOperator<FloatVector> vector,
            DoubleUnaryOperator exact) {
        double worst = 0;
        float[] in = new float[Lanes.LENGTH];
        int filled = 0;
        for (float x = from; x <= to; x = next(x)) {
            double wanted = exact.applyAsDouble(x);
            float got = scalar.apply(x);
            double ulp = Math.ulp((float) wanted);
            worst = Math.max(worst, Math.abs(got - wanted) / ulp);
            in[filled++] = x;
            if (filled == in.length) {
                float[] out = vector.apply(FloatVector.fromArray(Lanes.SPECIES, in, 0)).toArray();
                for (int i = 0; i < in.length; i++) {
                    if (Float.floatToIntBits(out[i]) != Float.floatToIntBits(scalar.apply(in[i]))) {
                        throw new AssertionError("the forms differ at " + in[i]);
                    }
                }
                filled = 0;
            }
        }
        return worst;
    }

    private static float next(float x) {
        int bits = Float.floatToRawIntBits(x);
        if (bits < 0) {
            int magnitude = (bits & Integer.MAX_VALUE) - STRIDE;
            return magnitude <= 0x0080_0000
                    ? 0x1p-100f
                    : Float.intBitsToFloat(magnitude | Integer.MIN_VALUE);
        }
        return Float.intBitsToFloat(bits + STRIDE);
    }

    private static void same(float x, Scalar scalar, UnaryOperator<FloatVector> vector) {
        int wanted = Float.floatToIntBits(scalar.apply(x));
        FloatVector in = FloatVector.broadcast(Lanes.SPECIES, x);
        int got = Float.floatToIntBits(vector.apply(in).lane(Lanes.LENGTH - 1));
        if (got != wanted) {
            throw new AssertionError("the forms differ at " + x + ": " + Integer.toHexString(got));
        }
    }

    private static void close(float got, double wanted, double tolerance) {
        if (!(Math.abs(got - wanted) <= tolerance)) {
            throw new AssertionError(got + " instead of " + wanted);
        }
    }

    /// The error function in double: its Taylor series near 0, its continued fraction beyond.
    private static double erf(double x) {
        double size = Math.abs(x);
        double result;
        if (size < 2.5) {
            double term = size;
            double sum = size;
            for (int n = 1; n < 80; n++) {
                term *= -size * size / n;
                sum += term / (2 * n + 1);
            }
            result = 2 / StrictMath.sqrt(StrictMath.PI) * sum;
        } else {
            double fraction = 0;
            for (int n = 60; n > 0; n--) {
                fraction = n / 2.0 / (size + fraction);
            }
            result =
                    1
                            - StrictMath.exp(-size * size)
                                    / (StrictMath.sqrt(StrictMath.PI) * (size + fraction));
        }
        return Math.copySign(result, x);
    }
}
