package dev.saccade.kernels.internal;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/// Elementary functions in fp32, each as a vector and as a float, with the same bits from both.
///
/// Every function is a fixed sequence of IEEE additions, multiplications, fused multiply-adds and
/// integer operations, so the interpreter, every compiler and every vector length agree. The
/// polynomials are minimax fits (Lawson's iteration over Chebyshev nodes, the coefficients rounded
/// to fp32), fitted for this class. Errors are in units in the last place of the exact result or
/// absolute, as measured by this class's test.
///
/// | function | reduction | largest error |
/// |---|---|---|
/// | exp | x = n ln 2 + r, \|r\| <= ln 2 / 2, degree 6 | 1 ulp |
/// | log | x = 2^e (1 + f), 1 + f in \[sqrt 1/2, sqrt 2), degree 10 | 1 ulp |
/// | logOnePlus | the same, with f kept where e = 0 | 3 ulp |
/// | normalDistribution | 1/2 + z P(z^2), degree 14, for \|z\| up to 5.4; then 0 or 1 | 1.2e-7 |
/// | geluDerivative | 1/2 + z Q(z^2), degree 18, for \|z\| up to 5.8; then 0 or 1 | 2.2e-7 |
public final class VectorMath {
    // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits of the sum; the other
    // way
    // round, it makes a float of a small integer.
    private static final float ROUND = 0x1.8p23f;
    private static final int ROUND_BITS = 0x4b400000;
    private static final float LOG2_E = 0x1.715476p0f;
    private static final float LN2 = 0x1.62e43p-1f;
    private static final float LN2_REST = -0x1.05c61p-29f;

    // The largest x whose exponential is finite.
    private static final float EXP_HIGH = 88.72283f;

    /// The smallest x whose exponential is a normal float; below it [#exp(float)] is 0.
    public static final float EXP_LOW = -87.33654f;

    // exp(r) = 1 + r + r^2 (E2 + E3 r + E4 r^2 + E5 r^3 + E6 r^4)
    private static final float E2 = 0.49999994f;
    private static final float E3 = 0.16666521f;
    private static final float E4 = 0.04166839f;
    private static final float E5 = 0.008368717f;
    private static final float E6 = 0.0013814599f;

    // log(1 + f) = f - f^2 / 2 + f^3 (L0 + L1 f + ... + L7 f^7)
    private static final float L0 = 0.3333333f;
    private static final float L1 = -0.2500082f;
    private static final float L2 = 0.20001227f;
    private static final float L3 = -0.16623357f;
    private static final float L4 = 0.14201759f;
    private static final float L5 = -0.13160183f;
    private static final float L6 = 0.12761576f;
    private static final float L7 = -0.07634494f;
    private static final int SQRT_HALF_BITS = 0x3f3504f3;
    // ln 2 in two parts; the first has 9 bits, so its product with an exponent is exact.
    private static final float LN2_HIGH = 0x1.63p-1f;
    private static final float LN2_LOW = -2.12194440e-4f;

    // Phi(z) = 1/2 + z (P0 + P1 u + ... + P14 u^14), u = z^2 P_SCALE - 1, |z| <= 5.4
    private static final float P_END = 29.16f;
    private static final float P_SCALE = 0.06858711f;
    private static final float P0 = 0.13092811f;
    private static final float P1 = -0.065328054f;
    private static final float P2 = 0.048499588f;
    private static final float P3 = -0.039206818f;
    private static final float P4 = 0.032116603f;
    private static final float P5 = -0.025746461f;
    private static final float P6 = 0.01964516f;
    private static final float P7 = -0.013963309f;
    private static final float P8 = 0.009651174f;
    private static final float P9 = -0.0067153596f;
    private static final float P10 = 0.0036589573f;
    private static final float P11 = -0.0011863902f;
    private static final float P12 = 0.0008749047f;
    private static final float P13 = -0.0010283765f;
    private static final float P14 = 0.0003928686f;

    // Phi(z) + z phi(z) = 1/2 + z (Q0 + Q1 u + ... + Q18 u^18), u = z^2 Q_SCALE - 1, |z| <= 5.8
    private static final float Q_END = 5.8f;
    private static final float Q_SQUARE_END = 33.64f;
    private static final float Q_SCALE = 0.059453033f;
    private static final float Q0 = 0.12199877f;
    private static final float Q1 = -0.061657544f;
    private static final float Q2 = 0.048637006f;
    private static final float Q3 = -0.046193272f;
    private static final float Q4 = 0.050130542f;
    private static final float Q5 = -0.057773393f;
    private static final float Q6 = 0.065414414f;
    private static final float Q7 = -0.06928155f;
    private static final float Q8 = 0.06798172f;
    private static final float Q9 = -0.061733864f;
    private static final float Q10 = 0.04916474f;
    private static final float Q11 = -0.033644926f;
    private static final float Q12 = 0.025260692f;
    private static final float Q13 = -0.021229865f;
    private static final float Q14 = 0.010449738f;
    private static final float Q15 = -0.00088394317f;
    private static final float Q16 = 0.0016981446f;
    private static final float Q17 = -0.0034404597f;
    private static final float Q18 = 0.0013099508f;

    // The constants as vectors. A broadcast in place would cost the compiler thirty times the
    // nodes,
    // and where too many functions meet in one loop it would stop inlining and box the vectors.
    private static final FloatVector VECTOR_LOG2_E = vector(LOG2_E);
    private static final FloatVector VECTOR_ROUND = vector(ROUND);
    private static final FloatVector VECTOR_E6 = vector(E6);
    private static final FloatVector VECTOR_E5 = vector(E5);
    private static final FloatVector VECTOR_E4 = vector(E4);
    private static final FloatVector VECTOR_E3 = vector(E3);
    private static final FloatVector VECTOR_E2 = vector(E2);
    private static final FloatVector VECTOR_L7 = vector(L7);
    private static final FloatVector VECTOR_L6 = vector(L6);
    private static final FloatVector VECTOR_L5 = vector(L5);
    private static final FloatVector VECTOR_L4 = vector(L4);
    private static final FloatVector VECTOR_L3 = vector(L3);
    private static final FloatVector VECTOR_L2 = vector(L2);
    private static final FloatVector VECTOR_L1 = vector(L1);
    private static final FloatVector VECTOR_L0 = vector(L0);
    private static final FloatVector VECTOR_LN2_HIGH = vector(LN2_HIGH);
    private static final FloatVector VECTOR_P14 = vector(P14);
    private static final FloatVector VECTOR_P13 = vector(P13);
    private static final FloatVector VECTOR_P12 = vector(P12);
    private static final FloatVector VECTOR_P11 = vector(P11);
    private static final FloatVector VECTOR_P10 = vector(P10);
    private static final FloatVector VECTOR_P9 = vector(P9);
    private static final FloatVector VECTOR_P8 = vector(P8);
    private static final FloatVector VECTOR_P7 = vector(P7);
    private static final FloatVector VECTOR_P6 = vector(P6);
    private static final FloatVector VECTOR_P5 = vector(P5);
    private static final FloatVector VECTOR_P4 = vector(P4);
    private static final FloatVector VECTOR_P3 = vector(P3);
    private static final FloatVector VECTOR_P2 = vector(P2);
    private static final FloatVector VECTOR_P1 = vector(P1);
    private static final FloatVector VECTOR_P0 = vector(P0);
    private static final FloatVector VECTOR_P_SCALE = vector(P_SCALE);
    private static final FloatVector VECTOR_Q18 = vector(Q18);
    private static final FloatVector VECTOR_Q17 = vector(Q17);
    private static final FloatVector VECTOR_Q16 = vector(Q16);
    private static final FloatVector VECTOR_Q15 = vector(Q15);
    private static final FloatVector VECTOR_Q14 = vector(Q14);
    private static final FloatVector VECTOR_Q13 = vector(Q13);
    private static final FloatVector VECTOR_Q12 = vector(Q12);
    private static final FloatVector VECTOR_Q11 = vector(Q11);
    private static final FloatVector VECTOR_Q10 = vector(Q10);
    private static final FloatVector VECTOR_Q9 = vector(Q9);
    private static final FloatVector VECTOR_Q8 = vector(Q8);
    private static final FloatVector VECTOR_Q7 = vector(Q7);
    private static final FloatVector VECTOR_Q6 = vector(Q6);
    private static final FloatVector VECTOR_Q5 = vector(Q5);
    private static final FloatVector VECTOR_Q4 = vector(Q4);
    private static final FloatVector VECTOR_Q3 = vector(Q3);
    private static final FloatVector VECTOR_Q2 = vector(Q2);
    private static final FloatVector VECTOR_Q1 = vector(Q1);
    private static final FloatVector VECTOR_Q0 = vector(Q0);
    private static final FloatVector VECTOR_Q_SCALE = vector(Q_SCALE);
    private static final FloatVector VECTOR_MINUS_1 = vector(-1f);
    private static final FloatVector VECTOR_HALF = vector(0.5f);
    private static final FloatVector VECTOR_MINUS_LN2 = vector(-LN2);
    private static final FloatVector VECTOR_MINUS_LN2_REST = vector(-LN2_REST);
    private static final FloatVector VECTOR_MINUS_HALF = vector(-0.5f);
    private static final FloatVector VECTOR_1 = vector(1f);

    private VectorMath() {}

    /// e^x. Overflow gives infinity; a result below the smallest normal float is 0; NaN stays.
    public static FloatVector exp(FloatVector x) {
        FloatVector inRange = expInRange(x);
        FloatVector infinityOrNan = x.add(Float.POSITIVE_INFINITY);
        return infinityOrNan
                .blend(inRange, x.compare(VectorOperators.LE, EXP_HIGH))
                .blend(0f, x.compare(VectorOperators.LT, EXP_LOW));
    }

    /// e^x, the same bits as [#exp(FloatVector)].
    public static float exp(float x) {
        if (x < EXP_LOW) {
            return 0f;
        }
        if (!(x <= EXP_HIGH)) {
            return x + Float.POSITIVE_INFINITY;
        }
        float t = Math.fma(x, LOG2_E, ROUND);
        float n = t - ROUND;
        float r = Math.fma(n, -LN2_REST, Math.fma(n, -LN2, x));
        float p = Math.fma(E6, r, E5);
        p = Math.fma(p, r, E4);
        p = Math.fma(p, r, E3);
        p = Math.fma(p, r, E2);
        p = Math.fma(p, r, 1f);
        p = Math.fma(p, r, 1f);
        return Float.intBitsToFloat(
                Float.floatToRawIntBits(p) + (Float.floatToRawIntBits(t) << 23));
    }

    /// e^x for x <= 0 (a softmax after its maximum is taken off), the same bits as
    /// [#exp(FloatVector)] there and one comparison cheaper. A NaN gives an undefined value.
    public static FloatVector expNotPositive(FloatVector x) {
        return expInRange(x).blend(0f, x.compare(VectorOperators.LT, EXP_LOW));
    }

    private static FloatVector expInRange(FloatVector x) {
        FloatVector t = x.fma(VECTOR_LOG2_E, VECTOR_ROUND);
        FloatVector n = t.sub(ROUND);
        FloatVector r = n.fma(VECTOR_MINUS_LN2_REST, n.fma(VECTOR_MINUS_LN2, x));
        FloatVector p = r.fma(VECTOR_E6, VECTOR_E5);
        p = p.fma(r, VECTOR_E4);
        p = p.fma(r, VECTOR_E3);
        p = p.fma(r, VECTOR_E2);
        p = p.fma(r, VECTOR_1);
        p = p.fma(r, VECTOR_1);
        // 2^n: ROUND's own bits leave at the top of the shift, n's become the exponent.
        IntVector exponent = t.reinterpretAsInts().lanewise(VectorOperators.LSHL, 23);
        return p.reinterpretAsInts().add(exponent).reinterpretAsFloats();
    }

    /// The natural logarithm of a positive normal float. 0 and subnormal numbers give -infinity,
    /// negative ones NaN; NaN stays.
    public static FloatVector log(FloatVector x) {
        VectorMask<Float> finite = x.compare(VectorOperators.LT, Float.POSITIVE_INFINITY);
        return x.blend(logInRange(x), finite)
                .blend(Float.NEGATIVE_INFINITY, x.compare(VectorOperators.LT, Float.MIN_NORMAL))
                .blend(Float.NaN, x.compare(VectorOperators.LT, 0f));
    }

    /// The natural logarithm of a positive, normal and finite float, the same bits as
    /// [#log(FloatVector)] there and cheaper. Anything else gives an undefined value.
    public static FloatVector logInRange(FloatVector x) {
        IntVector bits = x.reinterpretAsInts();
        IntVector e = bits.sub(SQRT_HALF_BITS).lanewise(VectorOperators.ASHR, 23);
        IntVector fraction = bits.sub(e.lanewise(VectorOperators.LSHL, 23));
        return logOfParts(fraction.reinterpretAsFloats().sub(1f), asFloats(e));
    }

    /// The natural logarithm, the same bits as [#log(FloatVector)].
    public static float log(float x) {
        if (!(x < Float.POSITIVE_INFINITY)) {
            return x;
        }
        if (x < Float.MIN_NORMAL) {
            return x < 0 ? Float.NaN : Float.NEGATIVE_INFINITY;
        }
        int bits = Float.floatToRawIntBits(x);
        int e = (bits - SQRT_HALF_BITS) >> 23;
        float f = Float.intBitsToFloat(bits - (e << 23)) - 1f;
        return logOfParts(f, e);
    }

    /// log(1 + f) for f > -1, accurate also where f is small. f = -1 gives -infinity, less NaN.
    public static FloatVector logOnePlus(FloatVector f) {
        FloatVector x = f.add(1f);
        return x.blend(logOnePlusInRange(f), x.compare(VectorOperators.LT, Float.POSITIVE_INFINITY))
                .blend(Float.NEGATIVE_INFINITY, x.compare(VectorOperators.LE, 0f))
                .blend(Float.NaN, x.compare(VectorOperators.LT, 0f));
    }

    /// log(1 + f) for finite f > -1, the same bits as [#logOnePlus(FloatVector)] there and cheaper.
    /// Anything else gives an undefined value.
    public static FloatVector logOnePlusInRange(FloatVector f) {
        IntVector bits = f.add(1f).reinterpretAsInts();
        IntVector e = bits.sub(SQRT_HALF_BITS).lanewise(VectorOperators.ASHR, 23);
        IntVector fraction = bits.sub(e.lanewise(VectorOperators.LSHL, 23));
        FloatVector exponent = asFloats(e);
        // Where no power of two was taken off, f itself is the exact argument; 1 + f has lost its
        // tail.
        FloatVector rest = fraction.reinterpretAsFloats().sub(1f);
        rest = rest.blend(f, exponent.compare(VectorOperators.EQ, 0f));
        return logOfParts(rest, exponent);
    }

    /// Small integers as floats.
    private static FloatVector asFloats(IntVector integers) {
        return integers.add(ROUND_BITS).reinterpretAsFloats().sub(ROUND);
    }

    /// log(1 + f), the same bits as [#logOnePlus(FloatVector)].
    public static float logOnePlus(float f) {
        float x = f + 1f;
        if (!(x < Float.POSITIVE_INFINITY)) {
            return x;
        }
        if (x <= 0f) {
            return x < 0f ? Float.NaN : Float.NEGATIVE_INFINITY;
        }
        int bits = Float.floatToRawIntBits(x);
        int e = (bits - SQRT_HALF_BITS) >> 23;
        return logOfParts(e == 0 ? f : Float.intBitsToFloat(bits - (e << 23)) - 1f, e);
    }

    /// exponent ln 2 + log(1 + f).
    private static FloatVector logOfParts(FloatVector f, FloatVector exponent) {
        FloatVector square = f.mul(f);
        FloatVector p = f.fma(VECTOR_L7, VECTOR_L6);
        p = p.fma(f, VECTOR_L5);
        p = p.fma(f, VECTOR_L4);
        p = p.fma(f, VECTOR_L3);
        p = p.fma(f, VECTOR_L2);
        p = p.fma(f, VECTOR_L1);
        p = p.fma(f, VECTOR_L0);
        FloatVector y = p.fma(square.mul(f), exponent.mul(LN2_LOW));
        y = square.fma(VECTOR_MINUS_HALF, y);
        return exponent.fma(VECTOR_LN2_HIGH, f.add(y));
    }

    private static float logOfParts(float f, float exponent) {
        float square = f * f;
        float p = Math.fma(L7, f, L6);
        p = Math.fma(p, f, L5);
        p = Math.fma(p, f, L4);
        p = Math.fma(p, f, L3);
        p = Math.fma(p, f, L2);
        p = Math.fma(p, f, L1);
        p = Math.fma(p, f, L0);
        float y = Math.fma(p, square * f, exponent * LN2_LOW);
        y = Math.fma(square, -0.5f, y);
        return Math.fma(exponent, LN2_HIGH, f + y);
    }

    /// The standard normal distribution Phi(z) = (1 + erf(z / sqrt 2)) / 2; its absolute error is
    /// at most 1.2e-7. NaN stays.
    public static FloatVector normalDistribution(FloatVector z) {
        FloatVector u = z.mul(z).min(P_END).fma(VECTOR_P_SCALE, VECTOR_MINUS_1);
        FloatVector p = u.fma(VECTOR_P14, VECTOR_P13);
        p = p.fma(u, VECTOR_P12);
        p = p.fma(u, VECTOR_P11);
        p = p.fma(u, VECTOR_P10);
        p = p.fma(u, VECTOR_P9);
        p = p.fma(u, VECTOR_P8);
        p = p.fma(u, VECTOR_P7);
        p = p.fma(u, VECTOR_P6);
        p = p.fma(u, VECTOR_P5);
        p = p.fma(u, VECTOR_P4);
        p = p.fma(u, VECTOR_P3);
        p = p.fma(u, VECTOR_P2);
        p = p.fma(u, VECTOR_P1);
        p = p.fma(u, VECTOR_P0);
        return z.fma(p, VECTOR_HALF).max(0f).min(1f);
    }

    /// The normal distribution, the same bits as [#normalDistribution(FloatVector)].
    public static float normalDistribution(float z) {
        float u = Math.fma(Math.min(z * z, P_END), P_SCALE, -1f);
        float p = Math.fma(P14, u, P13);
        p = Math.fma(p, u, P12);
        p = Math.fma(p, u, P11);
        p = Math.fma(p, u, P10);
        p = Math.fma(p, u, P9);
        p = Math.fma(p, u, P8);
        p = Math.fma(p, u, P7);
        p = Math.fma(p, u, P6);
        p = Math.fma(p, u, P5);
        p = Math.fma(p, u, P4);
        p = Math.fma(p, u, P3);
        p = Math.fma(p, u, P2);
        p = Math.fma(p, u, P1);
        p = Math.fma(p, u, P0);
        return Math.min(Math.max(Math.fma(z, p, 0.5f), 0f), 1f);
    }

    /// The logistic function 1 / (1 + e^-x).
    public static FloatVector sigmoid(FloatVector x) {
        return VECTOR_1.div(exp(x.neg()).add(1f));
    }

    /// The logistic function, the same bits as [#sigmoid(FloatVector)].
    public static float sigmoid(float x) {
        return 1f / (exp(-x) + 1f);
    }

    /// The sigmoid linear unit x / (1 + e^-x).
    public static FloatVector silu(FloatVector x) {
        return x.div(exp(x.neg()).add(1f));
    }

    /// The sigmoid linear unit, the same bits as [#silu(FloatVector)].
    public static float silu(float x) {
        return x / (exp(-x) + 1f);
    }

    /// The exact Gaussian error linear unit z Phi(z).
    public static FloatVector gelu(FloatVector z) {
        return z.mul(normalDistribution(z));
    }

    /// The Gaussian error linear unit, the same bits as [#gelu(FloatVector)].
    public static float gelu(float z) {
        return z * normalDistribution(z);
    }

    /// The derivative of [#gelu(FloatVector)]: Phi(z) + z phi(z), where Phi is the standard normal
    /// distribution and phi its density; its absolute error is at most 2.2e-7. NaN stays.
    public static FloatVector geluDerivative(FloatVector z) {
        FloatVector u = z.mul(z).min(Q_SQUARE_END).fma(VECTOR_Q_SCALE, VECTOR_MINUS_1);
        FloatVector p = u.fma(VECTOR_Q18, VECTOR_Q17);
        p = p.fma(u, VECTOR_Q16);
        p = p.fma(u, VECTOR_Q15);
        p = p.fma(u, VECTOR_Q14);
        p = p.fma(u, VECTOR_Q13);
        p = p.fma(u, VECTOR_Q12);
        p = p.fma(u, VECTOR_Q11);
        p = p.fma(u, VECTOR_Q10);
        p = p.fma(u, VECTOR_Q9);
        p = p.fma(u, VECTOR_Q8);
        p = p.fma(u, VECTOR_Q7);
        p = p.fma(u, VECTOR_Q6);
        p = p.fma(u, VECTOR_Q5);
        p = p.fma(u, VECTOR_Q4);
        p = p.fma(u, VECTOR_Q3);
        p = p.fma(u, VECTOR_Q2);
        p = p.fma(u, VECTOR_Q1);
        // Not z times the sum: that sum's own rounding would show where the slope is small.
        FloatVector slope = z.mul(u).fma(p, z.fma(VECTOR_Q0, VECTOR_HALF));
        return z.blend(0f, z.compare(VectorOperators.LT, 0f))
                .blend(1f, z.compare(VectorOperators.GT, 0f))
                .blend(slope, z.abs().compare(VectorOperators.LT, Q_END));
    }

    /// The derivative of [#gelu(float)], the same bits as [#geluDerivative(FloatVector)].
    public static float geluDerivative(float z) {
        float u = Math.fma(Math.min(z * z, Q_SQUARE_END), Q_SCALE, -1f);
        float p = Math.fma(Q18, u, Q17);
        p = Math.fma(p, u, Q16);
        p = Math.fma(p, u, Q15);
        p = Math.fma(p, u, Q14);
        p = Math.fma(p, u, Q13);
        p = Math.fma(p, u, Q12);
        p = Math.fma(p, u, Q11);
        p = Math.fma(p, u, Q10);
        p = Math.fma(p, u, Q9);
        p = Math.fma(p, u, Q8);
        p = Math.fma(p, u, Q7);
        p = Math.fma(p, u, Q6);
        p = Math.fma(p, u, Q5);
        p = Math.fma(p, u, Q4);
        p = Math.fma(p, u, Q3);
        p = Math.fma(p, u, Q2);
        p = Math.fma(p, u, Q1);
        float slope = Math.fma(z * u, p, Math.fma(z, Q0, 0.5f));
        return Math.abs(z) < Q_END ? slope : z > 0f ? 1f : z < 0f ? 0f : z;
    }

    private static FloatVector vector(float value) {
        return FloatVector.broadcast(Lanes.SPECIES, value);
    }
}
