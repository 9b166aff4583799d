// The clipped policy loss of each token, with the CPU's operations in the CPU's order: the same bits.
#include "elementary.cuh"
#include "numeric.cuh"

namespace {

constexpr int THREADS = 256;
constexpr float LOG_RATIO_LIMIT = 20.0f;

// `x`, at least `least` and at most `most`; NaN stays.
__device__ __forceinline__ float within(float x, float least, float most) {
  return x > most ? most : x < least ? least : x;
}

}  // namespace

extern "C" __global__ void __launch_bounds__(THREADS) clipped_surrogate(
    int tokens, float least, float most, float dual, const float* log_prob, const float* old_log_prob,
    const float* advantage, const float* weight, float* loss, float* d_log_prob, float* clipped) {
  const long long token = blockIdx.x * static_cast<long long>(THREADS) + threadIdx.x;
  if (token >= tokens) return;
  const float w = weight[token];
  float token_loss = 0.0f, gradient = 0.0f, mark = 0.0f;
  if (w != 0.0f) {
    const float minus_a = -advantage[token];
    const float log_ratio = __fsub_rn(log_prob[token], old_log_prob[token]);
    const float ratio = saccade::exp_of(within(log_ratio, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT));
    const float free = __fmul_rn(minus_a, ratio);
    const float bound = __fmul_rn(minus_a, within(ratio, least, most));
    const bool binds = bound > free;
    float worst = binds ? bound : free;
    if (fabsf(log_ratio) <= LOG_RATIO_LIMIT && !binds) gradient = free;
    mark = binds ? 1.0f : 0.0f;
    const float highest = __fmul_rn(minus_a, dual);
    if (minus_a > 0.0f && worst > highest) {
      worst = highest;
      gradient = 0.0f;
      mark = 2.0f;
    }
    if (isnan(free)) gradient = free;
    token_loss = __fmul_rn(w, worst);
    gradient = __fmul_rn(gradient, w);
  }
  loss[token] = token_loss;
  d_log_prob[token] = gradient;
  if (clipped != nullptr) clipped[token] = mark;
}
