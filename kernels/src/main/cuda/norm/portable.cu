// LayerNorm and RMSNorm over rows that follow each other; all of it is in norm_rows.cuh.
#include "norm_rows.cuh"

using namespace saccade;

// RMSNorm's kernels take LayerNorm's arguments and leave means and biases alone.
#define NORM(KIND, NAME, T, PACKS, BLOCK, THREADS, CENTRED)                                            \
  extern "C" __global__ void __launch_bounds__(THREADS) KIND##_##NAME(                                 \
      int rows, int width, float eps, const T* x, const T* weight, const T* bias, T* y, float* mean,   \
      float* rstd, int vector) {                                                                       \
    forward<T, PACKS, BLOCK, CENTRED>(rows, width, eps, x, weight, bias, y, mean, rstd, vector);       \
  }                                                                                                    \
  extern "C" __global__ void __launch_bounds__(THREADS) KIND##_backward_##NAME(                        \
      int rows, int width, const T* x, const T* weight, const float* mean, const float* rstd,          \
      const T* dy, T* dx, int vector) {                                                                \
    backward<T, PACKS, BLOCK, CENTRED>(rows, width, x, weight, mean, rstd, dy, dx, vector);            \
  }

#define SUMS(KIND, NAME, T, PACKS, STAGES, BLOCK, THREADS, CENTRED)                                    \
  extern "C" __global__ void __launch_bounds__(THREADS) KIND##_backward_sums_##NAME(                   \
      int rows, int width, int group, const T* x, const T* weight, const float* mean,                  \
      const float* rstd, const T* dy, T* dx, float* partial) {                                         \
    backward_sums<T, PACKS, STAGES, BLOCK, CENTRED>(                                                   \
        rows, width, group, x, weight, mean, rstd, dy, dx, partial);                                   \
  }

// The launcher knows the stages, too.
#define TYPE(KIND, NAME, T, CENTRED)                                                                   \
  NORM(KIND, lane_##NAME, T, 1, false, 32 * WARPS, CENTRED)                                            \
  NORM(KIND, warp_##NAME, T, 4, false, 32 * WARPS, CENTRED)                                            \
  NORM(KIND, block_##NAME, T, 4, true, ROW_THREADS, CENTRED)                                           \
  SUMS(KIND, lane_##NAME, T, 1, 4, false, 32 * WARPS, CENTRED)                                         \
  SUMS(KIND, warp_##NAME, T, 4, 3, false, 32 * WARPS, CENTRED)                                         \
  SUMS(KIND, block_##NAME, T, 4, 3, true, SUMS_THREADS, CENTRED)                                       \
  extern "C" __global__ void __launch_bounds__(COLUMN_THREADS) KIND##_columns_##NAME(                  \
      int rows, int width, int group, int chains, const T* x, const float* mean, const float* rstd,    \
      const T* dy, float* partial) {                                                                   \
    if (chains == 1) {                                                                                 \
      column_sums<T, CENTRED, 1>(rows, width, group, x, mean, rstd, dy, partial);                      \
    } else {                                                                                           \
      column_sums<T, CENTRED, WARPS>(rows, width, group, x, mean, rstd, dy, partial);                  \
    }                                                                                                  \
  }                                                                                                    \
  extern "C" __global__ void __launch_bounds__(COLUMN_PACK_THREADS, COLUMN_PACK_BLOCKS)                 \
      KIND##_column_packs_##NAME(                                                                      \
      int rows, int width, int group, const T* x, const float* mean, const float* rstd, const T* dy,   \
      float* partial) {                                                                                \
    column_pack_sums<T, CENTRED>(rows, width, group, x, mean, rstd, dy, partial);                      \
  }

// Narrow rows, with one pack a lane; a warp's rows; a block's rows.
#define KERNELS(KIND, CENTRED)                                                                         \
  TYPE(KIND, f32, float, CENTRED)                                                                      \
  TYPE(KIND, bf16, bf16, CENTRED)                                                                      \
  extern "C" __global__ void __launch_bounds__(MERGE_THREADS) KIND##_merge(                            \
      int groups, int width, const float* partial, float* d_weight, float* d_bias) {                   \
    merge<CENTRED ? 2 : 1>(groups, width, partial, d_weight, d_bias);                                  \
  }

// Two operands, by blockIdx.y.
#define BOTH(KIND, NAME, T, PACKS, BLOCK, THREADS)                                                     \
  extern "C" __global__ void __launch_bounds__(THREADS) KIND##_both_##NAME(                            \
      int rows, int width, float eps, const T* x0, const T* weight0, T* y0, float* rstd0, const T* x1, \
      const T* weight1, T* y1, float* rstd1, int vector) {                                             \
    const bool second = blockIdx.y != 0;                                                               \
    forward<T, PACKS, BLOCK, false>(                                                                   \
        rows, width, eps, second ? x1 : x0, second ? weight1 : weight0, (const T*)nullptr,             \
        second ? y1 : y0, nullptr, second ? rstd1 : rstd0, vector);                                    \
  }

#define BOTH_TYPE(KIND, NAME, T)                                                                       \
  BOTH(KIND, lane_##NAME, T, 1, false, 32 * WARPS)                                                     \
  BOTH(KIND, warp_##NAME, T, 4, false, 32 * WARPS)                                                     \
  BOTH(KIND, block_##NAME, T, 4, true, ROW_THREADS)

KERNELS(layer_norm, true)
KERNELS(rms_norm, false)

BOTH_TYPE(rms_norm, f32, float)
BOTH_TYPE(rms_norm, bf16, bf16)
