// A linear layer of at most 64 rows on Hopper (sm_90a): what takes time is reading the weight once.
//
// The product is computed as its transpose, so that the weight fills the 64 rows of wgmma and x its few columns. A
// block is persistent and computes 64 columns of C after another; one warp keeps as many stages on their way as shared
// memory holds, a warpgroup multiplies. An element is the same chain over k as in hopper.cu.

#include "epilogue.cuh"
#include "hopper.cuh"
#include "hopper_ring.cuh"
#include "mma_sm80.cuh"

namespace saccade {
namespace {

constexpr int COLUMNS = 64;  // of C in a tile

// TOKENS: rows of C, rounded up. PAIR: two weights, the gated unit's.
template <int TOKENS_, int STAGES_, bool PAIR_> struct Few {
  static constexpr int TOKENS = TOKENS_, STAGES = STAGES_;
  static constexpr bool PAIR = PAIR_;
  static constexpr int WEIGHTS = PAIR ? 2 : 1;
  static constexpr int THREADS = 128 + 32;
  static constexpr int W_BYTES = WEIGHTS * COLUMNS * ROW_BYTES, X_BYTES = TOKENS * ROW_BYTES;
  static constexpr int STAGE_BYTES = W_BYTES + X_BYTES;
  static constexpr int PATCH_PITCH = WEIGHTS * COLUMNS + 4;  // floats
  static constexpr int BARRIERS = STAGES * STAGE_BYTES + TOKENS * PATCH_PITCH * 4;
  static_assert(BARRIERS + 2 * STAGES * 8 <= 232448, "a block's shared memory");
};

template <typename S>
__device__ __forceinline__ void product(
    const TensorMap& map_x, const TensorMap& map_w, const TensorMap& map_w_up, const Finish& f, int k, bool wide,
    bool vector) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t stages = shared_address(shared);
  if (stages % 1024 != 0) __trap();  // the swizzle counts from there
  const uint32_t full = stages + S::BARRIERS, empty = full + S::STAGES * 8;
  const int tiles = (f.n + COLUMNS - 1) / COLUMNS;
  if (threadIdx.x == 0) {
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
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      for (int k0 = 0; k0 < k; k0 += DEPTH) {
        const uint32_t w = stages + ring.stage * S::STAGE_BYTES, arrived = full + ring.stage * 8;
        barrier_wait(empty + ring.stage * 8, ring.parity ^ 1);
        barrier_expect(arrived, S::STAGE_BYTES);
        tma_load(w, map_w, arrived, k0, tile * COLUMNS);
        if constexpr (S::PAIR) tma_load(w + COLUMNS * ROW_BYTES, map_w_up, arrived, k0, tile * COLUMNS);
        tma_load(w + S::W_BYTES, map_x, arrived, k0, 0);
        ring.next();
      }
    }
    return;
  }

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float* patch = reinterpret_cast<float*>(shared + S::STAGES * S::STAGE_BYTES);
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    float acc[S::WEIGHTS][S::TOKENS / 2] = {};
#pragma unroll
    for (int i = 0; i < S::WEIGHTS; ++i) pin(acc[i]);
    int last = -1;
#pragma unroll 1
    for (int k0 = 0; k0 < k; k0 += DEPTH) {
      const uint32_t w = stages + ring.stage * S::STAGE_BYTES;
      const uint64_t from_x = matrix_descriptor(w + S::W_BYTES, 0);
      barrier_wait(full + ring.stage * 8, ring.parity);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < DEPTH / 16; ++step) {
#pragma unroll
        for (int i = 0; i < S::WEIGHTS; ++i) {
          wgmma<true, true>(acc[i], matrix_descriptor(w + i * COLUMNS * ROW_BYTES, 0) + step * DESCRIPTOR_STEP<true>,
                            from_x + step * DESCRIPTOR_STEP<true>);
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

    // Transposed into the patch: a row of it is a row of C.
    named_barrier(1, 128);
#pragma unroll
    for (int i = 0; i < S::WEIGHTS; ++i) {
#pragma unroll
      for (int e = 0; e < S::TOKENS / 2; ++e) {
        const int row = e / 4 * 8 + lane % 4 * 2 + e % 2;
        patch[row * S::PATCH_PITCH + i * COLUMNS + warp * 16 + lane / 4 + e / 2 % 2 * 8] = acc[i][e];
      }
    }
    named_barrier(1, 128);
    constexpr int ROWS = S::TOKENS / 4;  // a warp's
    const int row0 = warp * ROWS, column0 = tile * COLUMNS;
    const float* mine = patch + row0 * S::PATCH_PITCH;
    if constexpr (S::PAIR) {
      if (vector) {
        finish_pair<bf16, 8, ROWS, 2 * COLUMNS>(mine, S::PATCH_PITCH, f, row0, column0);
      } else {
        finish_pair<bf16, 1, ROWS, 2 * COLUMNS>(mine, S::PATCH_PITCH, f, row0, column0);
      }
    } else if (wide) {
      if (vector) {
        finish_patch<bf16, float, 4, ROWS, COLUMNS>(mine, S::PATCH_PITCH, f, row0, column0);
      } else {
        finish_patch<bf16, float, 1, ROWS, COLUMNS>(mine, S::PATCH_PITCH, f, row0, column0);
      }
    } else if (vector) {
      finish_patch<bf16, bf16, 8, ROWS, COLUMNS>(mine, S::PATCH_PITCH, f, row0, column0);
    } else {
      finish_patch<bf16, bf16, 1, ROWS, COLUMNS>(mine, S::PATCH_PITCH, f, row0, column0);
    }
  }
}

// HopperTile.java has the same numbers.
//                          tokens stages
using Few16 = Few<16, 20, false>;
using Few16Pair = Few<16, 11, true>;
using Few32 = Few<32, 16, false>;
using Few32Pair = Few<32, 9, true>;
using Few64 = Few<64, 12, false>;
using Few64Pair = Few<64, 7, true>;

}  // namespace
}  // namespace saccade

// wide: C, residual and kept are fp32. vector: they, n, bias and scale allow 16-byte accesses of C.
#define SACCADE_FEW_ROWS(NAME, TILE)                                                                                  \
  extern "C" __global__ void __launch_bounds__(saccade::TILE::THREADS, 1)                                             \
      NAME(const __grid_constant__ saccade::TensorMap a, const __grid_constant__ saccade::TensorMap b,                \
           const __grid_constant__ saccade::TensorMap b_up, void* c, const void* bias, const void* scale,             \
           const void* residual, void* kept, void* kept_up, int m, int n, int k, int kind, int wide, int vector) {    \
    saccade::product<saccade::TILE>(                                                                                  \
        a, b, b_up, {kind, c, bias, scale, residual, kept, kept_up, m, n}, k, wide != 0, vector != 0);                \
  }

SACCADE_FEW_ROWS(gemm_nt_few16, Few16)
SACCADE_FEW_ROWS(swi_glu_few16, Few16Pair)
SACCADE_FEW_ROWS(gemm_nt_few32, Few32)
SACCADE_FEW_ROWS(swi_glu_few32, Few32Pair)
SACCADE_FEW_ROWS(gemm_nt_few64, Few64)
SACCADE_FEW_ROWS(swi_glu_few64, Few64Pair)
