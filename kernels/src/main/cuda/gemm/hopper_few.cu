// A linear layer of at most 64 rows on Hopper (sm_90a): what takes time is reading the weight once.
//
// x fills the 64 rows of wgmma; what is beyond its own is never stored. A tile is as many columns as make the multiprocessors come
// out even. A block is persistent: one warp keeps as many stages on their way as shared memory holds, a warpgroup multiplies. An
// element is the same chain over k as in hopper.cu.

#include "epilogue.cuh"
#include "hopper.cuh"
#include "hopper_ring.cuh"
#include "hopper_rows.cuh"
#include "mma_sm80.cuh"

namespace saccade {
namespace {

constexpr int STAGE_MEMORY = 216 * 1024;  // of a block

// TOKENS: rows of C, rounded up. COLUMNS: of C in a tile. DEPTHS: steps of DEPTH in a stage; narrow tiles have little else to hide
// the barriers behind. PAIR: two weights, the gated unit's.
template <int TOKENS_, int COLUMNS_, int DEPTHS_, bool PAIR_ = false> struct Few {
  static constexpr int COLUMNS = COLUMNS_, DEPTHS = DEPTHS_;
  static constexpr bool PAIR = PAIR_;
  static constexpr int WEIGHTS = PAIR ? 2 : 1;
  static constexpr int X_BYTES = TOKENS_ * ROW_BYTES, W_BYTES = COLUMNS * ROW_BYTES;
  static constexpr int DEPTH_BYTES = X_BYTES + WEIGHTS * W_BYTES, STAGE_BYTES = DEPTHS * DEPTH_BYTES;
  static constexpr int STAGES = STAGE_MEMORY / STAGE_BYTES;
  static constexpr int PATCH_COLUMNS = PAIR || COLUMNS % 32 != 0 ? 16 : 32;
  static constexpr int PATCH_PITCH = WEIGHTS * PATCH_COLUMNS + 4;  // floats
  static constexpr int PATCHES = STAGES * STAGE_BYTES, PATCH_BYTES = WARP_ROWS * PATCH_PITCH * 4;
  // wgmma reads 64 rows of x, in the last stage, too.
  static constexpr int READ = PATCHES - DEPTH_BYTES + 64 * ROW_BYTES, WRITTEN = PATCHES + 4 * PATCH_BYTES;
  static constexpr int BARRIERS = READ > WRITTEN ? READ : WRITTEN;
  static constexpr int SHARED_BYTES = BARRIERS + 2 * STAGES * 8;
  static_assert(SHARED_BYTES <= 232448, "a block's shared memory");
};

// Takes a warp's rows of a tile through the epilogue.
template <typename S>
__device__ __forceinline__ void finish(
    float* patch, const float (&acc)[S::WEIGHTS][S::COLUMNS / 2], const Finish& f, bool wide, bool vector, int row,
    int column) {
  constexpr int COLUMNS = S::PATCH_COLUMNS, BLOCKS = COLUMNS / BLOCK;
#pragma unroll 1
  for (int first = 0; first < S::COLUMNS / BLOCK; first += BLOCKS) {
    const int at = column + first * BLOCK;
    __syncwarp();
#pragma unroll 1
    for (int b = 0; b < BLOCKS; ++b) {
#pragma unroll
      for (int i = 0; i < S::WEIGHTS; ++i) {
        float z[8];
        select(z, acc, i, first + b);
        spread(patch, S::PATCH_PITCH, i * COLUMNS + b * BLOCK, z);
      }
    }
    __syncwarp();
    if constexpr (S::PAIR) {
      if (vector) {
        finish_pair<bf16, 8, WARP_ROWS, 2 * COLUMNS>(patch, S::PATCH_PITCH, f, row, at);
      } else {
        finish_pair<bf16, 1, WARP_ROWS, 2 * COLUMNS>(patch, S::PATCH_PITCH, f, row, at);
      }
    } else if (wide) {
      if (vector) {
        finish_patch<bf16, float, 4, WARP_ROWS, COLUMNS>(patch, S::PATCH_PITCH, f, row, at);
      } else {
        finish_patch<bf16, float, 1, WARP_ROWS, COLUMNS>(patch, S::PATCH_PITCH, f, row, at);
      }
    } else if (vector) {
      finish_patch<bf16, bf16, 8, WARP_ROWS, COLUMNS>(patch, S::PATCH_PITCH, f, row, at);
    } else {
      finish_patch<bf16, bf16, 1, WARP_ROWS, COLUMNS>(patch, S::PATCH_PITCH, f, row, at);
    }
  }
}

template <typename S>
__device__ __forceinline__ void product(
    const TensorMap& map_x, const TensorMap& map_w, const TensorMap& map_w_up, const Finish& f, int k, bool wide,
    bool vector) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t stages = shared_address(shared);
  if (stages % 1024 != 0) __trap();  // the swizzle counts from there
  const uint32_t full = stages + S::BARRIERS, empty = full + S::STAGES * 8;
  const int begin = blockIdx.x * S::COLUMNS, step = gridDim.x * S::COLUMNS;
  constexpr int DEEP = S::DEPTHS * DEPTH;  // k of a stage
  if (threadIdx.x == 0) {
    prefetch(map_x);
    prefetch(map_w);
    if constexpr (S::PAIR) prefetch(map_w_up);
    for (int s = 0; s < S::STAGES; ++s) {
      barrier_init(full + s * 8, 1);
      barrier_init(empty + s * 8, 1);
    }
    barrier_init_fence();
  }
  __syncthreads();

  Ring<S::STAGES> ring;
  if (threadIdx.x >= 128) {
    if (threadIdx.x != 128) return;
    for (int column = begin; column < f.n; column += step) {
      for (int k0 = 0; k0 < k; k0 += DEEP) {
        const uint32_t arrived = full + ring.stage * 8;
        barrier_wait(empty + ring.stage * 8, ring.parity ^ 1);
        barrier_expect(arrived, S::STAGE_BYTES);
#pragma unroll
        for (int d = 0; d < S::DEPTHS; ++d) {
          const uint32_t x = stages + ring.stage * S::STAGE_BYTES + d * S::DEPTH_BYTES, w = x + S::X_BYTES;
          const int at = k0 + d * DEPTH;
          tma_load(w, map_w, arrived, at, column);
          if constexpr (S::PAIR) tma_load(w + S::W_BYTES, map_w_up, arrived, at, column);
          tma_load(x, map_x, arrived, at, 0);
        }
        ring.next();
      }
    }
    return;
  }

  const int warp = threadIdx.x / 32;
  float* patch = reinterpret_cast<float*>(shared + S::PATCHES + warp * S::PATCH_BYTES);
  for (int column = begin; column < f.n; column += step) {
    float acc[S::WEIGHTS][S::COLUMNS / 2] = {};
#pragma unroll
    for (int i = 0; i < S::WEIGHTS; ++i) pin(acc[i]);
    int last = -1;
#pragma unroll 1
    for (int k0 = 0; k0 < k; k0 += DEEP) {
      barrier_wait(full + ring.stage * 8, ring.parity);
      wgmma_fence();
#pragma unroll
      for (int s = 0; s < DEEP / 16; ++s) {
        const uint32_t x = stages + ring.stage * S::STAGE_BYTES + s / (DEPTH / 16) * S::DEPTH_BYTES;
        const uint64_t offset = s % (DEPTH / 16) * DESCRIPTOR_STEP<true>;
#pragma unroll
        for (int i = 0; i < S::WEIGHTS; ++i) {
          const uint32_t w = x + S::X_BYTES + i * S::W_BYTES;
          wgmma<true, true>(acc[i], matrix_descriptor(x, 0) + offset, matrix_descriptor(w, 0) + offset);
        }
      }
      wgmma_commit();
      // The products of the stage before are done now: it may be filled again.
      wgmma_wait<1>();
      if (last >= 0 && threadIdx.x == 0) barrier_arrive(empty + last * 8);
      last = ring.stage;
      ring.next();
    }
    wgmma_wait<0>();
#pragma unroll
    for (int i = 0; i < S::WEIGHTS; ++i) pin(acc[i]);
    if (last >= 0 && threadIdx.x == 0) barrier_arrive(empty + last * 8);
    const int row = warp * WARP_ROWS;
    if (row < f.m) finish<S>(patch, acc, f, wide, vector, row, column);
  }
}

}  // namespace
}  // namespace saccade

// wide: C, residual and kept are fp32. vector: they, n, bias and scale allow 16-byte accesses of C.
#define SACCADE_FEW_ROWS(NAME, ...)                                                                                     \
  extern "C" __global__ void __launch_bounds__(160, 1)                                                                  \
      NAME(const __grid_constant__ saccade::TensorMap a, const __grid_constant__ saccade::TensorMap b,                  \
           const __grid_constant__ saccade::TensorMap b_up, void* c, const void* bias, const void* scale,               \
           const void* residual, void* kept, void* kept_up, int m, int n, int k, int kind, int wide, int vector) {      \
    saccade::product<saccade::Few<__VA_ARGS__>>(                                                                        \
        a, b, b_up, {kind, c, bias, scale, residual, kept, kept_up, m, n}, k, wide != 0, vector != 0);                  \
  }

// HopperTile.java has the same numbers: tokens, columns, depths, pair.
#define SACCADE_FEW_WIDTHS(TOKENS)                                \
  SACCADE_FEW_ROWS(gemm_nt_few##TOKENS##x16, TOKENS, 16, 2)       \
  SACCADE_FEW_ROWS(gemm_nt_few##TOKENS##x32, TOKENS, 32, 1)       \
  SACCADE_FEW_ROWS(gemm_nt_few##TOKENS##x64, TOKENS, 64, 2)       \
  SACCADE_FEW_ROWS(gemm_nt_few##TOKENS##x128, TOKENS, 128, 1)     \
  SACCADE_FEW_ROWS(gemm_nt_few##TOKENS##x224, TOKENS, 224, 1)     \
  SACCADE_FEW_ROWS(swi_glu_few##TOKENS##x16, TOKENS, 16, 2, true) \
  SACCADE_FEW_ROWS(swi_glu_few##TOKENS##x32, TOKENS, 32, 1, true) \
  SACCADE_FEW_ROWS(swi_glu_few##TOKENS##x64, TOKENS, 64, 1, true) \
  SACCADE_FEW_ROWS(swi_glu_few##TOKENS##x112, TOKENS, 112, 1, true)

SACCADE_FEW_WIDTHS(16)
SACCADE_FEW_WIDTHS(32)
SACCADE_FEW_WIDTHS(64)
