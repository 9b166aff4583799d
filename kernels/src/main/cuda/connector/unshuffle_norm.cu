// Pixel unshuffle and LayerNorm in one pass: LayerNorm's kernels (norm_rows.cuh) on rows that are read, and whose
// gradients are written, where the vision tower has them. The unfolded rows exist nowhere but in registers.
#include "norm_rows.cuh"

using namespace saccade;

namespace {

// Row R * (grid / 2) + K of a tile is 2 x 2 patches: those beside each other lie beside each other in memory, so
// the row is two runs of width / 2 elements, grid tokens apart. Each tile begins with its class token.
struct Folded {
  int grid;

  __device__ __forceinline__ long long begin(int row, int width) const {
    const int half = grid / 2, line = row / half;
    const int tile = line / half, r = line - tile * half, k = row - line * half;
    return ((long long)tile * (1 + grid * grid) + 1 + 2 * (r * grid + k)) * (width / 4);
  }

  __device__ __forceinline__ int place(int i, int width) const {
    return i < width / 2 ? i : i + (grid - 2) * (width / 4);
  }

  // The class token's row, by those who store the tile's first row.
  template <typename T>
  __device__ __forceinline__ void clear(T* x, int row, int width, int thread, int threads, bool vector) const {
    if (row % (grid / 2 * (grid / 2)) != 0) return;
    const int token = width / 4;
    T* const to = x + begin(row, width) - token;
    if (vector) {
      for (int i = thread * Pack<T>::SIZE; i < token; i += threads * Pack<T>::SIZE) {
        *reinterpret_cast<uint4*>(to + i) = make_uint4(0, 0, 0, 0);
      }
    } else {
      for (int i = thread; i < token; i += threads) to[i] = from_float<T>(0.0f);
    }
  }
};

}  // namespace

#define NORM(NAME, T, PACKS, BLOCK, THREADS)                                                           \
  extern "C" __global__ void __launch_bounds__(THREADS) unshuffle_norm_##NAME(                         \
      int rows, int width, int grid, float eps, const T* x, const T* weight, const T* bias, T* y,      \
      float* mean, float* rstd, int vector) {                                                          \
    forward<T, PACKS, BLOCK, true>(                                                                    \
        rows, width, eps, x, weight, bias, y, mean, rstd, vector, Folded{grid});                       \
  }                                                                                                    \
  extern "C" __global__ void __launch_bounds__(THREADS) unshuffle_norm_backward_##NAME(                \
      int rows, int width, int grid, const T* x, const T* weight, const float* mean,                   \
      const float* rstd, const T* dy, T* dx, int vector) {                                             \
    backward<T, PACKS, BLOCK, true>(                                                                   \
        rows, width, x, weight, mean, rstd, dy, dx, vector, Folded{grid});                             \
  }

#define SUMS(NAME, T, PACKS, STAGES, BLOCK, THREADS)                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS) unshuffle_norm_backward_sums_##NAME(           \
      int rows, int width, int grid, int group, const T* x, const T* weight, const float* mean,        \
      const float* rstd, const T* dy, T* dx, float* partial) {                                         \
    backward_sums<T, PACKS, STAGES, BLOCK, true>(                                                      \
        rows, width, group, x, weight, mean, rstd, dy, dx, partial, Folded{grid});                     \
  }

// As norm/portable.cu has them.
#define KERNELS(NAME, T)                                                                               \
  NORM(lane_##NAME, T, 1, false, 32 * WARPS)                                                           \
  NORM(warp_##NAME, T, 4, false, 32 * WARPS)                                                           \
  NORM(block_##NAME, T, 4, true, ROW_THREADS)                                                          \
  SUMS(lane_##NAME, T, 1, 4, false, 32 * WARPS)                                                        \
  SUMS(warp_##NAME, T, 4, 3, false, 32 * WARPS)                                                        \
  SUMS(block_##NAME, T, 4, 3, true, SUMS_THREADS)                                                      \
  extern "C" __global__ void __launch_bounds__(COLUMN_THREADS) unshuffle_norm_columns_##NAME(          \
      int rows, int width, int grid, int group, int chains, const T* x, const float* mean,             \
      const float* rstd, const T* dy, float* partial) {                                                \
    if (chains == 1) {                                                                                 \
      column_sums<T, true, 1>(rows, width, group, x, mean, rstd, dy, partial, Folded{grid});           \
    } else {                                                                                           \
      column_sums<T, true, WARPS>(rows, width, group, x, mean, rstd, dy, partial, Folded{grid});       \
    }                                                                                                  \
  }                                                                                                    \
  extern "C" __global__ void __launch_bounds__(COLUMN_PACK_THREADS, COLUMN_PACK_BLOCKS)                 \
      unshuffle_norm_column_packs_##NAME(                                                               \
      int rows, int width, int grid, int group, const T* x, const float* mean, const float* rstd,      \
      const T* dy, float* partial) {                                                                   \
    column_pack_sums<T, true>(rows, width, group, x, mean, rstd, dy, partial, Folded{grid});           \
  }

KERNELS(f32, float)
KERNELS(bf16, bf16)

extern "C" __global__ void __launch_bounds__(MERGE_THREADS) unshuffle_norm_merge(
    int groups, int width, const float* partial, float* d_weight, float* d_bias) {
  merge<2>(groups, width, partial, d_weight, d_bias);
}
