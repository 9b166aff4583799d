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

// e^x. Overflow gives infinity, what is below the smallest normal float is 0, NaN stays.
__device__ __forceinline__ float exp_of(float x) {
  return x <= EXP_HIGH ? exp_not_positive(x) : __fadd_rn(x, __uint_as_float(0x7f800000u));
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

// The error function. NaN stays. Both ranges are computed and one is chosen: neighbouring lanes and elements rarely agree on
// one, and without branches the compiler interleaves elements.
__device__ __forceinline__ float erf_of(float x) {
  const float t = __fmul_rn(x, x);
  float p = __fmaf_rn(7.853876e-05f, t, -0.00080101984f);
  p = __fmaf_rn(p, t, 0.005188328f);
  p = __fmaf_rn(p, t, -0.026853813f);
  p = __fmaf_rn(p, t, 0.112835854f);
  p = __fmaf_rn(p, t, -0.37612626f);
  p = __fmaf_rn(p, t, 0.12837917f);
  const float near = __fmaf_rn(x, p, x);

  const float size = fabsf(x);
  const float d = __fsub_rn(size > 4.0f ? 4.0f : size, 2.5f);
  float h = __fmaf_rn(1.1342006e-05f, d, 3.083485e-05f);
  h = __fmaf_rn(h, d, -0.00019435197f);
  h = __fmaf_rn(h, d, -2.2239794e-05f);
  h = __fmaf_rn(h, d, 0.002643443f);
  h = __fmaf_rn(h, d, -0.0064768344f);
  h = __fmaf_rn(h, d, -0.012256829f);
  h = __fmaf_rn(h, d, 0.09365207f);
  h = __fmaf_rn(h, d, -0.19006316f);
  h = __fmaf_rn(h, d, 0.14203185f);
  const float square = __fmul_rn(h, h);
  const float far = copysignf(__fmaf_rn(square, -square, 1.0f), x);
  return size < 1.0f ? near : far;
}

}  // namespace saccade
