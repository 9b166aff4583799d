// Row-wise work around attention: what the backward pass needs of each row, and rows of another width.
#include "softmax.cuh"
#include "statistics.cuh"

namespace saccade {

constexpr int THREADS = 256;

// For each query and head {lse * log2(e), dO.o}: a warp a row in fp32,
__device__ __forceinline__ void statistics(const float* o, const float* dO, const float* lse, float2* result, int rows,
                                           int headDim) {
  const int row = blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  const float* a = o + static_cast<long long>(row) * headDim;
  const float* b = dO + static_cast<long long>(row) * headDim;
  float sum = 0;
  for (int d = threadIdx.x % 32; d < headDim; d += 32) sum = __fmaf_rn(a[d], b[d], sum);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) result[row] = make_float2(__fmul_rn(lse[row], LOG2_E), sum);
}

// and half a warp in bf16, where headDim is a multiple of 8 and at most 128.
__device__ __forceinline__ void statistics(const bf16* o, const bf16* dO, const float* lse, float2* result, int rows,
                                           int headDim) {
  constexpr int LANES = 16;
  const int row = blockIdx.x * (THREADS / LANES) + threadIdx.x / LANES, lane = threadIdx.x % LANES;
  const long long at = static_cast<long long>(row) * headDim + 8 * lane;
  const bool holds = row < rows && 8 * lane < headDim;
  const float sum = row_sum<LANES>(holds ? row_product(load_pack(o + at), load_pack(dO + at)) : 0.f);
  if (row < rows && lane == 0) result[row] = make_float2(__fmul_rn(lse[row], LOG2_E), sum);
}

}  // namespace saccade

extern "C" __global__ void __launch_bounds__(saccade::THREADS) statistics_f32(const float* o, const float* dO,
                                                                              const float* lse, float2* result,
                                                                              int rows, int headDim) {
  saccade::statistics(o, dO, lse, result, rows, headDim);
}

extern "C" __global__ void __launch_bounds__(saccade::THREADS)
    statistics_bf16(const saccade::bf16* o, const saccade::bf16* dO, const float* lse, float2* result, int rows,
                    int headDim) {
  saccade::statistics(o, dO, lse, result, rows, headDim);
}

// Copies rows of `width` elements to rows of `newWidth`, cut or filled up with 0.
extern "C" __global__ void __launch_bounds__(saccade::THREADS)
    resize_bf16(const saccade::bf16* from, saccade::bf16* to, long long rows, int width, int newWidth) {
  const long long i = static_cast<long long>(blockIdx.x) * saccade::THREADS + threadIdx.x;
  if (i >= rows * newWidth) return;
  const long long row = i / newWidth;
  const int column = static_cast<int>(i - row * newWidth);
  to[i] = column < width ? from[row * width + column] : saccade::from_float<saccade::bf16>(0.f);
}
