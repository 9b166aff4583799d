// What becomes of a row's sums, forward and backward: shared by entropy/portable.cu and head/hopper.cu.
#pragma once

#include "tree.cuh"

#include <cstdint>

namespace saccade {

// Where a forward pass writes; all but log_prob may be null.
struct Results {
  float* log_prob;
  float* entropy;
  float* lse;
  float* max_prob;
  int* argmax;
  float* mass;
  int* fault;
};

// One thread writes a row's results. x: the target's logit; -infinity where it is banned.
template <bool FULL>
__device__ __forceinline__ void finish_row(
    const Sums& sums, const Best& best, float x, int row, float inverse, const Results& to) {
  float log_prob = NONE, entropy = 0.0f, lse = NONE, max_prob = 0.0f, mass = 0.0f;
  const bool nan = isnan(sums.weighted);
  if (sums.max != NONE || nan) {
    const float log_sum = nan ? sums.weighted : log_in_range(sums.sum);
    lse = __fmaf_rn(sums.max, inverse, log_sum);
    log_prob = __fsub_rn(__fmul_rn(__fsub_rn(x, sums.max), inverse), log_sum);
    entropy = __fsub_rn(log_sum, __fdiv_rn(__fmul_rn(sums.weighted, inverse), sums.sum));
    max_prob = nan ? sums.weighted : __fdiv_rn(1.0f, sums.sum);
    if constexpr (FULL) mass = nan ? sums.weighted : __fdiv_rn(sums.inside, sums.sum);
  }
  to.log_prob[row] = log_prob;
  if (to.entropy != nullptr) to.entropy[row] = entropy;
  if (to.lse != nullptr) to.lse[row] = lse;
  if (to.max_prob != nullptr) to.max_prob[row] = max_prob;
  if constexpr (FULL) {
    if (to.mass != nullptr) to.mass[row] = mass;
    if (to.argmax != nullptr) to.argmax[row] = best.word;
  }
}

// A warp merges a row's parts, each of `blocks` blocks of words, and writes its results. `target_logit(target)` reads the
// target's logit. FULL: with a set's mass and the largest word, of which `words` has each part's.
template <bool FULL, typename Logit>
__device__ __forceinline__ void merge_row(
    int row, int vocab, int count, int blocks, float inverse, const int* targets, const uint8_t* banned,
    const float4* parts, const int* words, const Results& to, Logit target_logit) {
  const int lane = threadIdx.x % 32;
  const float4* own = parts + static_cast<long long>(row) * count;
  const Sums sums = merge_parts<FULL>(own, count, blocks, exponent_scale(inverse));
  Best best = none_best();
  if constexpr (FULL) {
    const int* own_words = words + static_cast<long long>(row) * count;
    for (int part = lane; part < count; part += 32) best = better(best, Best{own[part].x, own_words[part]});
    best = best_of_lanes<32>(best);
  }
  if (lane != 0) return;
  const int target = targets[row];
  if (uint32_t(target) >= uint32_t(vocab)) {
    report_fault(to.fault, 1, target, vocab, row);
    return;
  }
  const bool no = banned != nullptr && banned[target] != 0;
  finish_row<FULL>(sums, best, no ? NONE : target_logit(target), row, inverse, to);
}

// A row's factors in the backward pass: dz = -p (c + b log p), and a more at the target. lse is -infinity where the
// whole row's gradient is 0.
struct alignas(16) Factors {
  float lse;
  float minus_b;
  float minus_c;
  float a;
};

// reachable: whether the target has a probability at all. The upstream gradients are already divided by the temperature.
__device__ __forceinline__ Factors make_factors(bool reachable, float lse, float entropy, float d_log_prob, float d_entropy) {
  const float a = reachable ? d_log_prob : 0.0f;
  if (a == 0.0f && d_entropy == 0.0f) return {NONE, 0.0f, 0.0f, 0.0f};
  return {lse, -d_entropy, -__fmaf_rn(d_entropy, entropy, a), a};
}

// dLogits of a word whose logit is x.
__device__ __forceinline__ float gradient_of(const Factors& row, float x, float inverse) {
  const float log_p = __fsub_rn(__fmul_rn(x, inverse), row.lse);
  const float p = exp2_approximate(__fmul_rn(log_p, 0x1.715476p0f));
  // Below -128 p is 0, and -infinity times 0 must not arise.
  const float g = __fmul_rn(p, __fmaf_rn(fmaxf(log_p, -128.0f), row.minus_b, row.minus_c));
  return row.lse == NONE ? 0.0f : g;
}

}  // namespace saccade
