// The CPU's elementary functions (VectorMath.java), operation by operation: the same bits on both
// devices. Every operation is an intrinsic that rounds once, so that the compiler contracts nothing.
#pragma once

#include <cstdint>

namespace saccade {

// The smallest x whose exponential is a normal float; below it exp(x) is 0.
constexpr float EXP_LOW = -87.33654f;
// The largest x whose exponential is finite.
constexpr float EXP_HIGH = 88.72283f;

// Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits of the sum; the other way
// round, it makes a float of a small integer.
constexpr float ROUND = 0x1.8p23f;
constexpr int ROUND_BITS = 0x4b400000;
constexpr int SQRT_HALF_BITS = 0x3f3504f3;

// e^x for EXP_LOW <= x <= EXP_HIGH. NaN gives an undefined value.
__device__ __forceinline__ float exp_in_range(float x) {
  const float t = __fmaf_rn(x, 0x1.715476p0f, ROUND);
  const float n = __fsub_rn(t, ROUND);
  const float r = __fmaf_rn(n, 0x1.05c61p-29f, __fmaf_rn(n, -0x1.62e43p-1f, x));
  float p = __fmaf_rn(0.0013814599f, r, 0.008368717f);
  p = __fmaf_rn(p, r, 0.04166839f);
  p = __fmaf_rn(p, r, 0.16666521f);
  p = __fmaf_rn(p, r, 0.49999994f);
  p = __fmaf_rn(p, r, 1.0f);
  p = __fmaf_rn(p, r, 1.0f);
  // 2^n: ROUND's own bits leave at the top of the shift, n's become the exponent.
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(t) << 23));
}

// e^x for x <= 0; what is below the smallest normal float is 0. NaN gives an undefined value.
__device__ __forceinline__ float exp_not_positive(float x) {
  return x < EXP_LOW ? 0.0f : exp_in_range(x);
}

// e^x. Overflow gives infinity, what is below the smallest normal float is 0, NaN stays. All cases are computed and one is chosen:
// without branches the compiler interleaves elements.
__device__ __forceinline__ float exp_of(float x) {
  const float inside = exp_in_range(x);
  const float finite = x < EXP_LOW ? 0.0f : inside;
  return x <= EXP_HIGH ? finite : __fadd_rn(x, __uint_as_float(0x7f800000u));
}

// A small integer as a float.
__device__ __forceinline__ float small_int_to_float(int x) {
  return __fsub_rn(__int_as_float(x + ROUND_BITS), ROUND);
}

// exponent ln 2 + log(1 + f).
__device__ __forceinline__ float log_of_parts(float f, float exponent) {
  const float square = __fmul_rn(f, f);
  float p = __fmaf_rn(-0.07634494f, f, 0.12761576f);
  p = __fmaf_rn(p, f, -0.13160183f);
  p = __fmaf_rn(p, f, 0.14201759f);
  p = __fmaf_rn(p, f, -0.16623357f);
  p = __fmaf_rn(p, f, 0.20001227f);
  p = __fmaf_rn(p, f, -0.2500082f);
  p = __fmaf_rn(p, f, 0.3333333f);
  float y = __fmaf_rn(p, __fmul_rn(square, f), __fmul_rn(exponent, -2.12194440e-4f));
  y = __fmaf_rn(square, -0.5f, y);
  return __fmaf_rn(exponent, 0x1.63p-1f, __fadd_rn(f, y));
}

// The natural logarithm of a positive, normal and finite float.
__device__ __forceinline__ float log_in_range(float x) {
  const int bits = __float_as_int(x);
  const int e = (bits - SQRT_HALF_BITS) >> 23;
  const float fraction = __uint_as_float(uint32_t(bits) - (uint32_t(e) << 23));
  return log_of_parts(__fsub_rn(fraction, 1.0f), small_int_to_float(e));
}

// log(1 + f) for finite f > -1, accurate also where f is small.
__device__ __forceinline__ float log_one_plus_in_range(float f) {
  const int bits = __float_as_int(__fadd_rn(f, 1.0f));
  const int e = (bits - SQRT_HALF_BITS) >> 23;
  const float fraction = __uint_as_float(uint32_t(bits) - (uint32_t(e) << 23));
  // Where no power of two was taken off, f itself is the exact argument; 1 + f has lost its tail.
  return log_of_parts(e == 0 ? f : __fsub_rn(fraction, 1.0f), small_int_to_float(e));
}

// The standard normal distribution Phi(z) = (1 + erf(z / sqrt 2)) / 2 = 1/2 + z P(z^2): one polynomial, in u, -1 to 1 for |z| up to
// 5.4, beyond which it ends at 0 or 1. NaN gives some number from 0 to 1.
__device__ __forceinline__ float normal_distribution(float z) {
  const float u = __fmaf_rn(fminf(__fmul_rn(z, z), 29.16f), 0.06858711f, -1.0f);
  float p = __fmaf_rn(0.0003928686f, u, -0.0010283765f);
  p = __fmaf_rn(p, u, 0.0008749047f);
  p = __fmaf_rn(p, u, -0.0011863902f);
  p = __fmaf_rn(p, u, 0.0036589573f);
  p = __fmaf_rn(p, u, -0.0067153596f);
  p = __fmaf_rn(p, u, 0.009651174f);
  p = __fmaf_rn(p, u, -0.013963309f);
  p = __fmaf_rn(p, u, 0.01964516f);
  p = __fmaf_rn(p, u, -0.025746461f);
  p = __fmaf_rn(p, u, 0.032116603f);
  p = __fmaf_rn(p, u, -0.039206818f);
  p = __fmaf_rn(p, u, 0.048499588f);
  p = __fmaf_rn(p, u, -0.065328054f);
  p = __fmaf_rn(p, u, 0.13092811f);
  return __saturatef(__fmaf_rn(z, p, 0.5f));
}

// The derivative of z Phi(z), Phi(z) + z phi(z) = 1/2 + z Q(z^2), in the same way for |z| < 5.8; beyond it is 0 or 1. NaN stays.
__device__ __forceinline__ float gelu_slope(float z) {
  const float u = __fmaf_rn(fminf(__fmul_rn(z, z), 33.64f), 0.059453033f, -1.0f);
  float p = __fmaf_rn(0.0013099508f, u, -0.0034404597f);
  p = __fmaf_rn(p, u, 0.0016981446f);
  p = __fmaf_rn(p, u, -0.00088394317f);
  p = __fmaf_rn(p, u, 0.010449738f);
  p = __fmaf_rn(p, u, -0.021229865f);
  p = __fmaf_rn(p, u, 0.025260692f);
  p = __fmaf_rn(p, u, -0.033644926f);
  p = __fmaf_rn(p, u, 0.04916474f);
  p = __fmaf_rn(p, u, -0.061733864f);
  p = __fmaf_rn(p, u, 0.06798172f);
  p = __fmaf_rn(p, u, -0.06928155f);
  p = __fmaf_rn(p, u, 0.065414414f);
  p = __fmaf_rn(p, u, -0.057773393f);
  p = __fmaf_rn(p, u, 0.050130542f);
  p = __fmaf_rn(p, u, -0.046193272f);
  p = __fmaf_rn(p, u, 0.048637006f);
  p = __fmaf_rn(p, u, -0.061657544f);
  // Not z times the sum: that sum's own rounding would show where the slope is small.
  const float slope = __fmaf_rn(__fmul_rn(z, u), p, __fmaf_rn(z, 0.12199877f, 0.5f));
  return fabsf(z) < 5.8f ? slope : z > 0.0f ? 1.0f : z < 0.0f ? 0.0f : z;
}

}  // namespace saccade
