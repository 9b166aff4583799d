// Pointwise arithmetic, casts, and sums.
#include <cuda_fp16.h>

#include "column_sums.cuh"
#include "numeric.cuh"
#include "pointwise.cuh"

using namespace saccade;

namespace {

using f16 = __half;

// Elements of a block of a dot product, which is summed by itself; part of the contract.
constexpr int DOT_BLOCK = 4096;

__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ float wide(bf16 x) { return to_float(x); }
__device__ __forceinline__ float wide(f16 x) { return __half2float(x); }

// The nearest value of type T, ties to even; NaN stays NaN.
template <typename T> __device__ __forceinline__ T narrow(float x) { return from_float<T>(x); }
template <> __device__ __forceinline__ f16 narrow<f16>(float x) { return __float2half_rn(x); }

template <typename T> __device__ __forceinline__ void fill(long long count, float value, T* y, bool packed) {
  constexpr int N = Pack<T>::SIZE;
  constexpr int EACH = POINTWISE_THREADS * POINTWISE_UNROLL * N;
  const T element = from_float<T>(value);
  const long long begin = (long long)blockIdx.x * EACH;
  if (packed && begin + EACH <= count) {
    Pack<T> pack;
#pragma unroll
    for (int j = 0; j < N; j++) pack.element[j] = element;
#pragma unroll
    for (int u = 0; u < POINTWISE_UNROLL; u++) {
      store_pack(y + begin + (u * POINTWISE_THREADS + int(threadIdx.x)) * N, pack);
    }
  } else {
    const long long end = min(begin + EACH, count);
    for (long long i = begin + threadIdx.x; i < end; i += POINTWISE_THREADS) y[i] = element;
  }
}

// y[r, n] = x[r, n] * scale[n], N elements of a row by each thread.
template <typename T, int N>
__device__ __forceinline__ void scale_rows(int rows, int width, const T* scale, const T* x, T* y) {
  const int column = (int(blockIdx.y) * 32 + int(threadIdx.x) % 32) * N;
  if (column >= width) return;
  const Elements<T, N> factor = load_elements<N>(scale + column);
  const int begin = int(blockIdx.x) * COLUMN_ROWS + int(threadIdx.x) / 32;
  const int end = min(rows, (int(blockIdx.x) + 1) * COLUMN_ROWS);
  constexpr int UNROLL = 4;
  for (int first = begin; first < end; first += UNROLL * COLUMN_LANES) {
    Elements<T, N> value[UNROLL];
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {
      const int row = first + u * COLUMN_LANES;
      if (row < end) value[u] = load_elements<N>(x + (long long)row * width + column);
    }
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {
      const int row = first + u * COLUMN_LANES;
      if (row < end) {
#pragma unroll
        for (int j = 0; j < N; j++) {
          value[u].element[j] = from_float<T>(
              __fmul_rn(to_float(value[u].element[j]), to_float(factor.element[j])));
        }
        store_elements<N>(y + (long long)row * width + column, value[u]);
      }
    }
  }
}

template <typename T, int N>
__device__ __forceinline__ void sum_rows(int rows, int width, const T* x, float* partial) {
  column_partials<1, N>(rows, width, partial, [=](int row, int column, float(&sum)[1][N]) {
    const Elements<T, N> value = load_elements<N>(x + (long long)row * width + column);
#pragma unroll
    for (int j = 0; j < N; j++) sum[0][j] = __fadd_rn(sum[0][j], to_float(value.element[j]));
  });
}

template <typename T, int N>
__device__ __forceinline__ void sum_products(int rows, int width, const T* a, const T* b, float* partial) {
  column_partials<1, N>(rows, width, partial, [=](int row, int column, float(&sum)[1][N]) {
    const long long at = (long long)row * width + column;
    const Elements<T, N> first = load_elements<N>(a + at), second = load_elements<N>(b + at);
#pragma unroll
    for (int j = 0; j < N; j++) {
      sum[0][j] = __fmaf_rn(to_float(first.element[j]), to_float(second.element[j]), sum[0][j]);
    }
  });
}

// The sum of one block; a product of two floats is exact in double.
template <typename T>
__device__ __forceinline__ void dot(long long count, const T* x, const float* w, double* sums) {
  __shared__ double scratch[32];
  const long long begin = (long long)blockIdx.x * DOT_BLOCK;
  const int end = int(min((long long)DOT_BLOCK, count - begin));
  double sum = 0;
  for (int i = threadIdx.x; i < end; i += POINTWISE_THREADS) {
    const double value = to_float(x[begin + i]);
    sum = w == nullptr ? __dadd_rn(sum, value) : __fma_rn(value, double(w[begin + i]), sum);
  }
  sum = block_sum<POINTWISE_THREADS>(sum, scratch);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

}  // namespace

#define POINTWISE extern "C" __global__ void __launch_bounds__(POINTWISE_THREADS)
#define COLUMNS extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)

#define ACCUMULATE(NAME, X, Y)                                                       \
  POINTWISE accumulate_##NAME(long long count, const X* x, Y* y, int packed) {       \
    map(count, y, x, y, packed, [](Y a, X b) {                                       \
      return from_float<Y>(__fadd_rn(to_float(a), to_float(b)));                     \
    });                                                                              \
  }

#define COLUMN_KERNELS(NAME, T, N)                                                                \
  COLUMNS scale_rows_##NAME(int rows, int width, const T* scale, const T* x, T* y) {              \
    scale_rows<T, N>(rows, width, scale, x, y);                                                   \
  }                                                                                               \
  COLUMNS sum_rows_##NAME(int rows, int width, const T* x, float* partial) {                      \
    sum_rows<T, N>(rows, width, x, partial);                                                      \
  }                                                                                               \
  COLUMNS sum_products_##NAME(int rows, int width, const T* a, const T* b, float* partial) {      \
    sum_products<T, N>(rows, width, a, b, partial);                                               \
  }

#define KERNELS(NAME, T, N)                                                                       \
  POINTWISE add_##NAME(long long count, const T* a, const T* b, T* y, int packed) {               \
    map(count, a, b, y, packed, [](T first, T second) {                                           \
      return from_float<T>(__fadd_rn(to_float(first), to_float(second)));                         \
    });                                                                                           \
  }                                                                                               \
  POINTWISE multiply_##NAME(long long count, const T* a, const T* b, T* y, int packed) {          \
    map(count, a, b, y, packed, [](T first, T second) {                                           \
      return from_float<T>(__fmul_rn(to_float(first), to_float(second)));                         \
    });                                                                                           \
  }                                                                                               \
  POINTWISE scale_##NAME(long long count, float factor, const T* x, T* y, int packed) {           \
    map(count, x, y, packed, [=](T value) {                                                       \
      return from_float<T>(__fmul_rn(factor, to_float(value)));                                   \
    });                                                                                           \
  }                                                                                               \
  POINTWISE fill_##NAME(long long count, float value, T* y, int packed) {                         \
    fill(count, value, y, packed);                                                                \
  }                                                                                               \
  POINTWISE dot_##NAME(long long count, const T* x, const float* w, double* sums) {               \
    dot(count, x, w, sums);                                                                       \
  }                                                                                               \
  ACCUMULATE(NAME, T, T)                                                                          \
  COLUMN_KERNELS(NAME, T, N)                                                                      \
  COLUMN_KERNELS(single_##NAME, T, 1)

KERNELS(f32, float, 4)
KERNELS(bf16, bf16, 8)
ACCUMULATE(bf16_to_f32, bf16, float)

#define CAST(FROM, TO)                                                                                \
  POINTWISE cast_##FROM##_to_##TO(long long count, const FROM* x, TO* y, int packed) {                \
    map(count, x, y, packed, [](FROM value) { return narrow<TO>(wide(value)); });                     \
  }

using f32 = float;
CAST(f32, bf16)
CAST(f32, f16)
CAST(bf16, f32)
CAST(bf16, f16)
CAST(f16, f32)
CAST(f16, bf16)

COLUMNS merge_rows(int row_blocks, int width, const float* partial, float* sum) {
  column_merge<1>(row_blocks, width, partial, sum, nullptr);
}
