// Random words and Gumbel noise, the same bits as on the CPU (Philox.java, Gumbel.java).
#pragma once

#include <cstdint>

#include "elementary.cuh"

namespace saccade {

// Philox4x32-10: the four words that the bijection of this key makes of the counter {c0, c1, 0, 0}.
__device__ __forceinline__ uint4 philox(uint32_t k0, uint32_t k1, uint32_t c0, uint32_t c1) {
  constexpr uint32_t MULTIPLIER_0 = 0xD2511F53u, MULTIPLIER_1 = 0xCD9E8D57u;
  constexpr uint32_t WEYL_0 = 0x9E3779B9u, WEYL_1 = 0xBB67AE85u;
  uint32_t c2 = 0, c3 = 0;
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const uint32_t high_0 = __umulhi(MULTIPLIER_0, c0), low_0 = MULTIPLIER_0 * c0;
    const uint32_t high_1 = __umulhi(MULTIPLIER_1, c2), low_1 = MULTIPLIER_1 * c2;
    c0 = high_1 ^ c1 ^ k0;
    c1 = low_1;
    c2 = high_0 ^ c3 ^ k1;
    c3 = low_0;
    k0 += WEYL_0;
    k1 += WEYL_1;
  }
  return make_uint4(c0, c1, c2, c3);
}

// An integer of at most 16 bits as a float: it becomes the fraction of 2^23 + x.
__device__ __forceinline__ float sixteen_bits_to_float(uint32_t x) {
  return __fsub_rn(__uint_as_float(x | 0x4b000000u), 0x1p23f);
}

// Standard Gumbel noise -log(-log(1 - u)); u is 31 of the bits as a float in (0, 1).
__device__ __forceinline__ float gumbel(uint32_t bits) {
  const uint32_t half = bits >> 1;
  const float fine = __fmaf_rn(sixteen_bits_to_float(half & 0x7fffu), 0x1p-31f, 0x1p-33f);
  const float u = fminf(__fmaf_rn(sixteen_bits_to_float(half >> 15), 0x1p-16f, fine), 0x1.fffffep-1f);
  return -log_in_range(-log_one_plus_in_range(-u));
}

}  // namespace saccade
