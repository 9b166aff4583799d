// A word's score in a draw, as a number: shared by sampling/portable.cu and the head's kernels.
#pragma once

#include "philox.cuh"

#include <cstdint>

namespace saccade {

// A score and its word as one number, whose maximum has no order to keep: the largest score, the lowest id among equals.
// 0 is no word.
using Entry = unsigned long long;

constexpr int NO_WORD = 2;  // the fault of a row without an allowed word

// z as a number of the same order; -0 is 0.
__device__ __forceinline__ uint32_t ordered(float z) {
  const uint32_t bits = __float_as_uint(__fadd_rn(z, 0.0f));
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// For a score that is a number above -infinity.
__device__ __forceinline__ Entry make_entry(float score, int word) {
  return static_cast<Entry>(ordered(score)) << 32 | ~static_cast<uint32_t>(word);
}

__device__ __forceinline__ int word_of(Entry entry) { return static_cast<int>(~static_cast<uint32_t>(entry)); }

}  // namespace saccade
