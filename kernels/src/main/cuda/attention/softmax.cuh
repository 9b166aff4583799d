// The arithmetic of the online softmax, written once for every way in which it is computed: these few lines decide the
// bits that prefill, decode and training share.
#pragma once

#include "ptx.cuh"

namespace saccade {

constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN_2 = 0.6931471805599453f;

// A row's weights are 2^(score scale log2(e) - shift), and what was summed so far is relative to the same shift. A block
// of keys moves the shift to its largest score only where a weight would be more than 2^ROOM: the sums then need a new
// scale a few times a row instead of at every new maximum, and a tile of many blocks can mostly be taken at once.
constexpr float ROOM = 8.f;

// The shift of a row that has seen no key: finite, so that a masked score stays below it and gets a weight of 0.
constexpr float UNSEEN = -0x1.fffffep127f;

// The power of two that is a key's weight; it grows with the score, as rounding keeps the order. A masked score is -inf.
__device__ __forceinline__ float exponent(float score, float scaleLog2, float shift) {
  return __fmaf_rn(score, scaleLog2, -shift);
}

__device__ __forceinline__ float weight(float score, float scaleLog2, float shift) {
  return power_of_two(exponent(score, scaleLog2, shift));
}

// Moves a row's shift where a block whose largest score is `most` asks for it. The factor on all that was summed before:
// exactly 1 where the shift stays.
__device__ __forceinline__ float move_shift(float& shift, float most, float scaleLog2) {
  const float before = shift;
  if (exponent(most, scaleLog2, shift) > ROOM) shift = __fmul_rn(most, scaleLog2);
  return power_of_two(__fsub_rn(before, shift));
}

// The factor that turns a weighted sum of values into their mean.
__device__ __forceinline__ float normalizer(float sum) { return sum == 0.f ? 0.f : __frcp_rn(sum); }

// The log-sum-exp of a row with this shift and sum of weights; -inf for a row without keys.
__device__ __forceinline__ float log_sum_exp(float shift, float sum) {
  return sum == 0.f ? -INFINITY : __fmaf_rn(shift, LN_2, logf(sum));
}

}  // namespace saccade
