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
/// to fp32), fitted for this class. Errors are in units in the last place of the exact result, as
/// measured by this class's test.
///
/// | function | reduction | largest error |
/// |---|---|---|
/// | exp | x = n ln 2 + r, \|r\| <= ln 2 / 2, degree 6 | 1 ulp |
/// | log | x = 2^e (1 + f), 1 + f in \[sqrt 1/2, sqrt 2), degree 10 | 1 ulp |
/// | logOnePlus | the same, with f kept where e = 0 | 3 ulp |
/// | erf | \|x\| < 1: x (1 + P(x^2)); else 1 - H(\|x\|)^4 | 2 ulp |
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

    // erf(x) = x + x (S0 + S1 x^2 + ... + S6 x^12) for |x| < 1
    private static final float S0 = 0.12837917f;
    private static final float S1 = -0.37612626f;
    private static final float S2 = 0.112835854f;
    private static final float S3 = -0.026853813f;
    private static final float S4 = 0.005188328f;
    private static final float S5 = -0.00080101984f;
    private static final float S6 = 7.853876e-05f;

    // erfc(x)^(1/4) = H0 + H1 (x - 2.5) + ... + H9 (x - 2.5)^9 for 1 <= x <= 4
    private static final float H0 = 0.14203185f;
    private static final float H1 = -0.19006316f;
    private static final float H2 = 0.09365207f;
    private static final float H3 = -0.012256829f;
    private static final float H4 = -0.0064768344f;
    private static final float H5 = 0.002643443f;
    private static final float H6 = -2.2239794e-05f;
    private static final float H7 = -0.00019435197f;
    private static final float H8 = 3.083485e-05f;
    private static final float H9 = 1.1342006e-05f;
    private static final float ERF_MIDDLE = 2.5f;
    private static final float ERF_END = 4f;

    private static final float SQRT_HALF = 0.70710677f;
    private static final float INVERSE_SQRT_2PI = 0.3989423f;

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
    private static final FloatVector VECTOR_S6 = vector(S6);
    private static final FloatVector VECTOR_S5 = vector(S5);
    private static final FloatVector VECTOR_S4 = vector(S4);
    private static final FloatVector VECTOR_S3 = vector(S3);
    private static final FloatVector VECTOR_S2 = vector(S2);
    private static final FloatVector VECTOR_S1 = vector(S1);
    private static final FloatVector VECTOR_S0 = vector(S0);
    private static final FloatVector VECTOR_H9 = vector(H9);
    private static final FloatVector VECTOR_H8 = vector(H8);
    private static final FloatVector VECTOR_H7 = vector(H7);
    private static final FloatVector VECTOR_H6 = vector(H6);
    private static final FloatVector VECTOR_H5 = vector(H5);
    private static final FloatVector VECTOR_H4 = vector(H4);
    private static final FloatVector VECTOR_H3 = vector(H3);
    private static final FloatVector VECTOR_H2 = vector(H2);
    private static final FloatVector VECTOR_H1 = vector(H1);
    private static final FloatVector VECTOR_H0 = vector(H0);
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

    /// The error function; its absolute error is at most 1.2e-7. NaN stays.
    public static FloatVector erf(FloatVector x) {
        FloatVector t = x.mul(x);
        FloatVector p = t.fma(VECTOR_S6, VECTOR_S5);
        p = p.fma(t, VECTOR_S4);
        p = p.fma(t, VECTOR_S3);
        p = p.fma(t, VECTOR_S2);
        p = p.fma(t, VECTOR_S1);
        p = p.fma(t, VECTOR_S0);
        FloatVector small = x.fma(p, x);

        IntVector bits = x.reinterpretAsInts();
        FloatVector size = bits.and(Integer.MAX_VALUE).reinterpretAsFloats();
        size = size.blend(ERF_END, size.compare(VectorOperators.GT, ERF_END));
        FloatVector d = size.sub(ERF_MIDDLE);
        FloatVector h = d.fma(VECTOR_H9, VECTOR_H8);
        h = h.fma(d, VECTOR_H7);
        h = h.fma(d, VECTOR_H6);
        h = h.fma(d, VECTOR_H5);
        h = h.fma(d, VECTOR_H4);
        h = h.fma(d, VECTOR_H3);
        h = h.fma(d, VECTOR_H2);
        h = h.fma(d, VECTOR_H1);
        h = h.fma(d, VECTOR_H0);
        FloatVector square = h.mul(h);
        FloatVector large = square.fma(square.neg(), VECTOR_1);
        IntVector sign = bits.and(Integer.MIN_VALUE);
        large = large.reinterpretAsInts().or(sign).reinterpretAsFloats();
        return large.blend(small, size.compare(VectorOperators.LT, 1f));
    }

    /// The error function, the same bits as [#erf(FloatVector)].
    public static float erf(float x) {
        float size = Math.abs(x);
        if (size < 1f) {
            float t = x * x;
            float p = Math.fma(S6, t, S5);
            p = Math.fma(p, t, S4);
            p = Math.fma(p, t, S3);
            p = Math.fma(p, t, S2);
            p = Math.fma(p, t, S1);
            p = Math.fma(p, t, S0);
            return Math.fma(x, p, x);
        }
        float d = (size > ERF_END ? ERF_END : size) - ERF_MIDDLE;
        float h = Math.fma(H9, d, H8);
        h = Math.fma(h, d, H7);
        h = Math.fma(h, d, H6);
        h = Math.fma(h, d, H5);
        h = Math.fma(h, d, H4);
        h = Math.fma(h, d, H3);
        h = Math.fma(h, d, H2);
        h = Math.fma(h, d, H1);
        h = Math.fma(h, d, H0);
        float square = h * h;
        return Math.copySign(Math.fma(square, -square, 1f), x);
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

    /// The exact Gaussian error linear unit z/2 (1 + erf(z / sqrt 2)).
    public static FloatVector gelu(FloatVector z) {
        return z.mul(0.5f).mul(erf(z.mul(SQRT_HALF)).add(1f));
    }

    /// The Gaussian error linear unit, the same bits as [#gelu(FloatVector)].
    public static float gelu(float z) {
        return z * 0.5f * (erf(z * SQRT_HALF) + 1f);
    }

    /// The derivative of [#gelu(FloatVector)]: Phi(z) + z phi(z), where Phi is the standard normal
    /// distribution and phi its density.
    public static FloatVector geluDerivative(FloatVector z) {
        FloatVector distribution = erf(z.mul(SQRT_HALF)).add(1f).mul(0.5f);
        FloatVector density = exp(z.mul(z).mul(-0.5f)).mul(INVERSE_SQRT_2PI);
        return z.fma(density, distribution);
    }

    /// The derivative of [#gelu(float)], the same bits as [#geluDerivative(FloatVector)].
    public static float geluDerivative(float z) {
        float distribution = (erf(z * SQRT_HALF) + 1f) * 0.5f;
        float density = exp(z * z * -0.5f) * INVERSE_SQRT_2PI;
        return Math.fma(z, density, distribution);
    }

    private static FloatVector vector(float value) {
        return FloatVector.broadcast(Lanes.SPECIES, value);
    }
}
