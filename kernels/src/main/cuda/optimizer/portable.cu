// AdamW's step and sums of squares, with the CPU's operations in the CPU's order: the same bits.
#include <cuda_fp16.h>

#include "numeric.cuh"

template <> __device__ __forceinline__ __half saccade::from_float<__half>(float x) {
  return __float2half_rn(x);
}

namespace {

using namespace saccade;

constexpr int THREADS = 256;

// The type of a rounded copy that isn't there.
struct None {};

// What one step multiplies its elements with.
struct Scalars {
  float scale;
  float minus_decay;
  float beta1;
  float rest_of_beta1;
  float beta2;
  float rest_of_beta2;
  float minus_step_size;
  float correction2;
  float eps;
};

__device__ __forceinline__ void step(const Scalars& s, float& w, float g, float& m, float& v) {
  g = __fmul_rn(g, s.scale);
  m = __fmaf_rn(m, s.beta1, __fmul_rn(g, s.rest_of_beta1));
  v = __fmaf_rn(v, s.beta2, __fmul_rn(__fmul_rn(g, g), s.rest_of_beta2));
  const float decayed = __fmaf_rn(w, s.minus_decay, w);
  const float root = __fadd_rn(__fsqrt_rn(__fmul_rn(v, s.correction2)), s.eps);
  w = __fmaf_rn(__fdiv_rn(m, root), s.minus_step_size, decayed);
}

// The elements up to `fours` * 4 by four, with 16-byte accesses, the others one by one.
template <typename R>
__device__ __forceinline__ void adamw(
    long long count, long long fours, const Scalars& scalars, float* weight, const float* gradient,
    float* first, float* second, R* rounded) {
  const long long thread = blockIdx.x * static_cast<long long>(THREADS) + threadIdx.x;
  if (thread < fours) {
    const long long at = 4 * thread;
    Pack<float> w = load_pack(weight + at);
    const Pack<float> g = load_pack(gradient + at);
    Pack<float> m = load_pack(first + at);
    Pack<float> v = load_pack(second + at);
#pragma unroll
    for (int i = 0; i < 4; i++) step(scalars, w.element[i], g.element[i], m.element[i], v.element[i]);
    store_pack(weight + at, w);
    store_pack(first + at, m);
    store_pack(second + at, v);
    if constexpr (sizeof(R) == 2) {
      struct alignas(8) Four {
        R element[4];
      };
      Four four;
#pragma unroll
      for (int i = 0; i < 4; i++) four.element[i] = from_float<R>(w.element[i]);
      *reinterpret_cast<Four*>(rounded + at) = four;
    }
    return;
  }
  const long long at = 4 * fours + (thread - fours);
  if (at < count) {
    float w = weight[at], m = first[at], v = second[at];
    step(scalars, w, gradient[at], m, v);
    weight[at] = w;
    first[at] = m;
    second[at] = v;
    if constexpr (sizeof(R) == 2) rounded[at] = from_float<R>(w);
  }
}

}  // namespace

#define ADAMW(name, R)                                                                               \
  extern "C" __global__ void __launch_bounds__(THREADS) name(                                        \
      long long count, long long fours, float scale, float minus_decay, float beta1,                 \
      float rest_of_beta1, float beta2, float rest_of_beta2, float minus_step_size,                  \
      float correction2, float eps, float* weight, const float* gradient, float* first,              \
      float* second, R* rounded) {                                                                   \
    const Scalars scalars{scale,         minus_decay,     beta1,       rest_of_beta1, beta2,         \
                          rest_of_beta2, minus_step_size, correction2, eps};                         \
    adamw(count, fours, scalars, weight, gradient, first, second, rounded);                          \
  }

ADAMW(adamw_f32, None)
ADAMW(adamw_bf16, bf16)
ADAMW(adamw_f16, __half)

// Sums of squares of blocks of 4096 elements, one block to 16 lanes: lane i adds the elements of number
// i mod 16 in order, and a tree adds the lanes, 8 apart, then 4, 2, 1. A square of an fp32 number is
// exact in double.
extern "C" __global__ void __launch_bounds__(THREADS) squares_of_blocks(
    long long count, const float* values, double* sums) {
  constexpr int LANES = 16, BLOCK = 4096, AT_ONCE = 16;
  const long long block = blockIdx.x * static_cast<long long>(THREADS / LANES) + threadIdx.x / LANES;
  const int lane = threadIdx.x % LANES;
  const long long begin = block * BLOCK;
  const int elements = int(min(static_cast<long long>(BLOCK), count - begin));  // none or less: no block
  double sum = 0;
  for (int at = lane; at < elements; at += AT_ONCE * LANES) {
    float x[AT_ONCE];
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      x[i] = at + i * LANES < elements ? values[begin + at + i * LANES] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) sum = __fma_rn(double(x[i]), double(x[i]), sum);
  }
#pragma unroll
  for (int lanes = LANES / 2; lanes > 0; lanes /= 2) {
    sum = __dadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, lanes));
  }
  if (lane == 0 && elements > 0) sums[block] = sum;
}

// Adds each span's blocks in order: span blockIdx.x has those from begins[blockIdx.x] up to the next
// span's. One warp, which loads 32 sums at a time and adds them one after the other.
extern "C" __global__ void __launch_bounds__(32) squares_of_spans(
    const long long* begins, const double* blocks, double* spans) {
  const long long end = begins[blockIdx.x + 1];
  const int lane = threadIdx.x;
  double sum = 0;
  long long at = begins[blockIdx.x];
  double next = at + lane < end ? blocks[at + lane] : 0;
  for (; at < end; at += 32) {
    const double now = next;
    next = at + 32 + lane < end ? blocks[at + 32 + lane] : 0;
#pragma unroll
    for (int i = 0; i < 32; i++) sum = __dadd_rn(sum, __shfl_sync(0xffffffffu, now, i));
  }
  if (lane == 0) spans[blockIdx.x] = sum;
}
