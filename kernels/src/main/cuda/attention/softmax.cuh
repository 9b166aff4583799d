// The arithmetic of the online softmax, written once for every way in which it is computed: these few lines decide the
// bits that prefill, decode and training share.
#pragma once

#include "ptx.cuh"

namespace saccade {

constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN_2 = 0.6931471805599453f;

// A row's running maximum moves from `before` to `after` (both of unscaled scores): `shift` is what to subtract from a
// score times scale * log2(e), `decay` the factor on all that was summed before; exactly 1 where nothing changed.
struct Rescale {
  float shift, decay;

  __device__ __forceinline__ Rescale(float before, float after, float scaleLog2) {
    // A row that has seen nothing but -inf keeps weights of 0 instead of -inf - -inf.
    shift = after == -INFINITY ? 0.f : __fmul_rn(after, scaleLog2);
    decay = power_of_two(__fsub_rn(__fmul_rn(before, scaleLog2), shift));
  }
};

// A key's weight; a masked score is -inf, its weight 0.
__device__ __forceinline__ float weight(float score, float scaleLog2, float shift) {
  return power_of_two(__fmaf_rn(score, scaleLog2, -shift));
}

// The factor that turns a weighted sum of values into their mean.
__device__ __forceinline__ float normalizer(float sum) { return sum == 0.f ? 0.f : __frcp_rn(sum); }

// The log-sum-exp of a row of maximum `top` and sum of weights `sum`; -inf for a row without keys.
__device__ __forceinline__ float log_sum_exp(float top, float sum, float scaleLog2) {
  return sum == 0.f ? -INFINITY : __fmaf_rn(__fmul_rn(top, scaleLog2), LN_2, logf(sum));
}

}  // namespace saccade
