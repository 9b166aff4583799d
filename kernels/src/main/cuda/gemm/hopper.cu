// The matrix product of bf16 operands with fp32 sums on Hopper (sm_90a).
//
// A block is persistent: it computes one tile of C after another. One thread of its first warpgroup keeps a
// ring of stages in shared memory filled by TMA; the other warpgroups multiply by wgmma, each 64 rows of the tile. Two
// blocks below each other form a cluster: each fetches half of the tile of B that both need and sends it to both.
//
// Every element is one chain in the accumulator's registers: k goes up from 0 in steps of 16, filled up with zeros
// to a multiple of 64. Tiles, stages, clusters and the order of tiles choose where and when an element is
// computed, never its bits.

#include "epilogue.cuh"
#include "hopper.cuh"
#include "hopper_ring.cuh"
#include "mma_sm80.cuh"

namespace saccade {
namespace {

constexpr int PATCH_COLUMNS = 64;
constexpr int PATCH_PITCH = PATCH_COLUMNS + 4;  // floats

// The tile chosen and what follows from it. PAIR: half of the columns are the gate's, half the other product's.
template <int COLUMNS_, int STAGES_, int CLUSTER_, bool PAIR_ = false> struct Shape {
  static constexpr int GROUPS = 2;  // warpgroups that multiply
  static constexpr int ROWS = 64 * GROUPS, COLUMNS = COLUMNS_;
  static constexpr int STAGES = STAGES_, CLUSTER = CLUSTER_;
  static constexpr bool PAIR = PAIR_;
  static constexpr int THREADS = 128 * (GROUPS + 1);
  static constexpr int C_COLUMNS = PAIR ? COLUMNS / 2 : COLUMNS;
  static constexpr int A_BYTES = ROWS * ROW_BYTES, B_BYTES = COLUMNS * ROW_BYTES;
  static constexpr int STAGE_BYTES = A_BYTES + B_BYTES;
  static constexpr int PATCH_FLOATS = 16 * PATCH_PITCH;  // a warp's
  static constexpr int BARRIERS = STAGES * STAGE_BYTES + GROUPS * 4 * PATCH_FLOATS * 4;
  static_assert(BARRIERS + 2 * STAGES * 8 <= 232448, "a block's shared memory");
};

// Tiles, or clusters of them, are numbered down groups of ROWS_OF_GROUP, then across: blocks that run together cover
// a near-square of C, so that the second-level cache gives most of what they read.
constexpr int ROWS_OF_GROUP = 8;

struct Order {
  int down, across;

  __device__ __forceinline__ int2 place(int tile) const {
    const int group = tile / (ROWS_OF_GROUP * across), in_group = tile % (ROWS_OF_GROUP * across);
    const int rows = min(ROWS_OF_GROUP, down - group * ROWS_OF_GROUP);
    return make_int2(group * ROWS_OF_GROUP + in_group % rows, in_group / rows);
  }
};

// Keeps the stages filled; one thread.
template <typename S, bool A_ALONG_K, bool B_ALONG_K>
__device__ __forceinline__ void produce(
    const TensorMap& map_a, const TensorMap& map_b, const TensorMap& map_b_up, uint32_t stages, uint32_t full,
    uint32_t empty, Order order, int k) {
  const uint32_t rank = S::CLUSTER == 1 ? 0 : cluster_rank();
  constexpr uint16_t ALL = (1 << S::CLUSTER) - 1;
  constexpr int SHARE = S::COLUMNS / S::CLUSTER;  // columns of B that this block fetches
  Ring<S::STAGES> ring;
  const int tiles = (order.down + S::CLUSTER - 1) / S::CLUSTER * order.across;
  const Order pairs{(order.down + S::CLUSTER - 1) / S::CLUSTER, order.across};
  for (int tile = blockIdx.x / S::CLUSTER; tile < tiles; tile += gridDim.x / S::CLUSTER) {
    const int2 place = pairs.place(tile);
    const int row = (place.x * S::CLUSTER + static_cast<int>(rank)) * S::ROWS;
    const int column = place.y * S::C_COLUMNS;
    for (int k0 = 0; k0 < k; k0 += DEPTH) {
      const uint32_t a = stages + ring.stage * S::STAGE_BYTES, b = a + S::A_BYTES;
      const uint32_t arrived = full + ring.stage * 8;
      barrier_wait_cluster(empty + ring.stage * 8, ring.parity ^ 1);
      barrier_expect(arrived, S::STAGE_BYTES);
      if constexpr (A_ALONG_K) {
        tma_load(a, map_a, arrived, k0, row);
      } else {
#pragma unroll
        for (int p = 0; p < S::ROWS / 64; ++p) tma_load(a + p * PANEL_BYTES, map_a, arrived, row + p * 64, k0);
      }
      auto fetch = [&](const TensorMap& map, int first, int from) {  // columns `first` on of the stage
        constexpr int AT_ONCE = B_ALONG_K ? (S::PAIR && SHARE == S::COLUMNS ? SHARE / 2 : SHARE) : 64;
        constexpr int COUNT = (S::PAIR && SHARE == S::COLUMNS ? SHARE / 2 : SHARE) / AT_ONCE;
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
          const uint32_t to = b + (first + i * AT_ONCE) * ROW_BYTES;
          const int at = from + i * AT_ONCE;
          const int x = B_ALONG_K ? k0 : at, y = B_ALONG_K ? at : k0;
          if constexpr (S::CLUSTER == 1) {
            tma_load(to, map, arrived, x, y);
          } else {
            tma_load_multicast(to, map, arrived, x, y, ALL);
          }
        }
      };
      if constexpr (!S::PAIR) {
        fetch(map_b, static_cast<int>(rank) * SHARE, column + static_cast<int>(rank) * SHARE);
      } else if constexpr (S::CLUSTER == 1) {
        fetch(map_b, 0, column);
        fetch(map_b_up, S::C_COLUMNS, column);
      } else {
        fetch(rank == 0 ? map_b : map_b_up, static_cast<int>(rank) * S::C_COLUMNS, column);
      }
      ring.next();
    }
  }
}

// Moves 64 columns of a warp's 16 rows of sums to its patch or from it.
template <bool FROM_PATCH, int FIRST, int LENGTH>
__device__ __forceinline__ void exchange(float* patch, float (&acc)[LENGTH], int at, int columns) {
  const int lane = threadIdx.x % 32;
  float* to = patch + lane / 4 * PATCH_PITCH + lane % 4 * 2 + at;
#pragma unroll
  for (int i = 0; i < PATCH_COLUMNS / 8; ++i) {
    if (i * 8 >= columns) break;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float2* pair = reinterpret_cast<float2*>(to + i * 8 + h * 8 * PATCH_PITCH);
      if constexpr (FROM_PATCH) {
        const float2 x = *pair;
        acc[FIRST + i * 4 + h * 2] = x.x;
        acc[FIRST + i * 4 + h * 2 + 1] = x.y;
      } else {
        *pair = make_float2(acc[FIRST + i * 4 + h * 2], acc[FIRST + i * 4 + h * 2 + 1]);
      }
    }
  }
}

// Patch p of a warp's sums, by a switch over constants: registers have no index.
template <typename S, bool FROM_PATCH, int P = 0, int LENGTH>
__device__ __forceinline__ void exchange_patch(float* patch, float (&acc)[LENGTH], int p) {
  constexpr int COLUMNS = S::PAIR ? PATCH_COLUMNS / 2 : PATCH_COLUMNS;
  if constexpr (P * COLUMNS < S::C_COLUMNS) {
    if (p == P) {
      exchange<FROM_PATCH, P * COLUMNS / 2>(patch, acc, 0, COLUMNS);
      if constexpr (S::PAIR) exchange<FROM_PATCH, LENGTH / 2 + P * COLUMNS / 2>(patch, acc, COLUMNS, COLUMNS);
    } else {
      exchange_patch<S, FROM_PATCH, P + 1>(patch, acc, p);
    }
  }
}

// Two sums rounded to a register of bf16, the first in the low half.
__device__ __forceinline__ uint32_t round_pair(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// Plain sums to bf16, 16-byte accesses: by stmatrix through the warp's part of shared memory, 64 columns at a time.
template <int LENGTH>
__device__ __forceinline__ void store_plain(float* patch, const float (&acc)[LENGTH], const Finish& f, int row0, int column0) {
  const int lane = threadIdx.x % 32;
  const uint32_t base = shared_address(patch);
  // stmatrix: lane l gives row l % 16 of the 16 x 16 block's left or right half; chunks of 16 bytes are permuted.
  const int row = lane % 16, half = lane / 16;
  bf16* c = static_cast<bf16*>(f.c);
#pragma unroll
  for (int p = 0; p < LENGTH / 32; ++p) {
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* s = acc + p * 32 + i * 8;
      stmatrix(base + row * 128 + ((i * 2 + half) ^ (row & 7)) * 16, round_pair(s[0], s[1]), round_pair(s[2], s[3]),
               round_pair(s[4], s[5]), round_pair(s[6], s[7]));
    }
    __syncwarp();
#pragma unroll
    for (int r = lane / 8; r < 16; r += 4) {
      const int chunk = lane % 8, column = column0 + p * 64 + chunk * 8;
      if (row0 + r < f.m && column < f.n) {
        const uint4 x = *reinterpret_cast<const uint4*>(
            reinterpret_cast<const unsigned char*>(patch) + r * 128 + (chunk ^ (r & 7)) * 16);
        *reinterpret_cast<uint4*>(c + static_cast<long long>(row0 + r) * f.n + column) = x;
      }
    }
  }
}

template <typename S, int LENGTH>
__device__ __forceinline__ void finish(
    float* patch, float (&acc)[LENGTH], const Finish& f, bool wide, bool vector, int row0, int column0) {
  if constexpr (!S::PAIR) {
    if (f.kind <= ACCUMULATE && f.bias == nullptr && !wide && vector) {
      store_plain(patch, acc, f, row0, column0);
      return;
    }
  }
  constexpr int COLUMNS = S::PAIR ? PATCH_COLUMNS / 2 : PATCH_COLUMNS;
#pragma unroll 1
  for (int p = 0; p < S::C_COLUMNS / COLUMNS; ++p) {
    const int column = column0 + p * COLUMNS;
    __syncwarp();
    exchange_patch<S, false>(patch, acc, p);
    __syncwarp();
    if constexpr (S::PAIR) {
      if (vector) {
        finish_pair<bf16, 8, 16, PATCH_COLUMNS>(patch, PATCH_PITCH, f, row0, column);
      } else {
        finish_pair<bf16, 1, 16, PATCH_COLUMNS>(patch, PATCH_PITCH, f, row0, column);
      }
    } else if (wide) {
      if (vector) {
        finish_patch<bf16, float, 4, 16, PATCH_COLUMNS, 2>(patch, PATCH_PITCH, f, row0, column);
      } else {
        finish_patch<bf16, float, 1, 16, PATCH_COLUMNS, 2>(patch, PATCH_PITCH, f, row0, column);
      }
    } else if (vector) {
      finish_patch<bf16, bf16, 8, 16, PATCH_COLUMNS, 2>(patch, PATCH_PITCH, f, row0, column);
    } else {
      finish_patch<bf16, bf16, 1, 16, PATCH_COLUMNS, 2>(patch, PATCH_PITCH, f, row0, column);
    }
  }
}

// The chain starts from C.
template <typename S, int P = 0, int LENGTH>
__device__ __forceinline__ void start_from_c(
    float* patch, float (&acc)[LENGTH], const Finish& f, bool wide, bool vector, int row0, int column0) {
  if constexpr (P * PATCH_COLUMNS < S::COLUMNS) {
    const int column = column0 + P * PATCH_COLUMNS;
    __syncwarp();
    if (wide) {
      if (vector) {
        load_patch<float, 4, 16, PATCH_COLUMNS>(patch, PATCH_PITCH, f, row0, column);
      } else {
        load_patch<float, 1, 16, PATCH_COLUMNS>(patch, PATCH_PITCH, f, row0, column);
      }
    } else if (vector) {
      load_patch<bf16, 8, 16, PATCH_COLUMNS>(patch, PATCH_PITCH, f, row0, column);
    } else {
      load_patch<bf16, 1, 16, PATCH_COLUMNS>(patch, PATCH_PITCH, f, row0, column);
    }
    __syncwarp();
    exchange<true, P * PATCH_COLUMNS / 2>(patch, acc, 0, PATCH_COLUMNS);
    start_from_c<S, P + 1>(patch, acc, f, wide, vector, row0, column0);
  }
}

template <typename S, bool A_ALONG_K, bool B_ALONG_K, bool FROM_C>
__device__ __forceinline__ void product(
    const TensorMap& map_a, const TensorMap& map_b, const TensorMap& map_b_up, const Finish& f, int k, bool wide,
    bool vector) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t stages = shared_address(shared);
  if (stages % 1024 != 0) __trap();  // the swizzle counts from there
  const uint32_t full = stages + S::BARRIERS, empty = full + S::STAGES * 8;
  const Order order{(f.m + S::ROWS - 1) / S::ROWS, (f.n + S::C_COLUMNS - 1) / S::C_COLUMNS};

  if (threadIdx.x == 0) {
    prefetch(map_a);
    prefetch(map_b);
    for (int s = 0; s < S::STAGES; ++s) {
      barrier_init(full + s * 8, 1);
      barrier_init(empty + s * 8, S::GROUPS * S::CLUSTER);
    }
    barrier_init_fence();
  }
  if constexpr (S::CLUSTER > 1) {
    cluster_sync();
  } else {
    __syncthreads();
  }

  const int group = threadIdx.x / 128;
  if (group == 0) {
    registers_down<40>();
    if (threadIdx.x == 0) {
      produce<S, A_ALONG_K, B_ALONG_K>(map_a, map_b, map_b_up, stages, full, empty, order, k);
    }
  } else {
    registers_up<232>();
    const int warp = threadIdx.x / 32 - 4;  // of those that multiply
    const int lane_of_group = threadIdx.x % 128;
    float* patch = reinterpret_cast<float*>(shared + S::STAGES * S::STAGE_BYTES) + warp * S::PATCH_FLOATS;
    const uint32_t rank = S::CLUSTER == 1 ? 0 : cluster_rank();
    auto release = [&](int stage) {
      if constexpr (S::CLUSTER == 1) {
        if (lane_of_group == 0) barrier_arrive(empty + stage * 8);
      } else {
        if (lane_of_group < S::CLUSTER) barrier_arrive(empty + stage * 8, lane_of_group);
      }
    };
    Ring<S::STAGES> ring;
    const int down = (order.down + S::CLUSTER - 1) / S::CLUSTER;
    const Order pairs{down, order.across};
    const int tiles = down * order.across;
    for (int tile = blockIdx.x / S::CLUSTER; tile < tiles; tile += gridDim.x / S::CLUSTER) {
      const int2 place = pairs.place(tile);
      const int row0 = (place.x * S::CLUSTER + static_cast<int>(rank)) * S::ROWS + warp * 16;
      const int column0 = place.y * S::C_COLUMNS;
      float acc[S::COLUMNS / 2] = {};
      if constexpr (FROM_C) start_from_c<S>(patch, acc, f, wide, vector, row0, column0);
      pin(acc);
      int last = -1;
#pragma unroll 1
      for (int k0 = 0; k0 < k; k0 += DEPTH) {
        const uint32_t a = stages + ring.stage * S::STAGE_BYTES + (group - 1) * PANEL_BYTES;
        const uint32_t b = stages + ring.stage * S::STAGE_BYTES + S::A_BYTES;
        const uint64_t from_a = matrix_descriptor(a, PANEL_BYTES), from_b = matrix_descriptor(b, PANEL_BYTES);
        barrier_wait(full + ring.stage * 8, ring.parity);
        wgmma_fence();
#pragma unroll
        for (int step = 0; step < DEPTH / 16; ++step) {
          wgmma<A_ALONG_K, B_ALONG_K>(acc, from_a + step * DESCRIPTOR_STEP<A_ALONG_K>,
                                      from_b + step * DESCRIPTOR_STEP<B_ALONG_K>);
        }
        wgmma_commit();
        // The products of the stage before are done now: it may be filled again.
        wgmma_wait<1>();
        if (last >= 0) release(last);
        last = ring.stage;
        ring.next();
      }
      wgmma_wait<0>();
      pin(acc);
      if (last >= 0) release(last);
      finish<S>(patch, acc, f, wide, vector, row0, column0);
    }
  }
  // No block leaves while another one may still send to it.
  if constexpr (S::CLUSTER > 1) cluster_sync();
}

// HopperTile.java has the same numbers.
//                            columns stages cluster pair
using Wide = Shape<256, 4, 2>;
using WidePair = Shape<256, 4, 2, true>;
using Square = Shape<128, 6, 2>;
using SquarePair = Shape<128, 6, 2, true>;
using Alone = Shape<128, 6, 1>;
using AlonePair = Shape<128, 6, 1, true>;

}  // namespace
}  // namespace saccade

// wide: C, residual and kept are fp32. vector: they, n, bias and scale allow 16-byte accesses of C.
#define SACCADE_HOPPER_GEMM(NAME, TILE, A_ALONG_K, B_ALONG_K, FROM_C)                                                       \
  extern "C" __global__ void __launch_bounds__(saccade::TILE::THREADS, 1)                                             \
      NAME(const __grid_constant__ saccade::TensorMap a, const __grid_constant__ saccade::TensorMap b,                \
           const __grid_constant__ saccade::TensorMap b_up, void* c, const void* bias, const void* scale,             \
           const void* residual, void* kept, void* kept_up, int m, int n, int k, int kind, int wide, int vector) {    \
    saccade::product<saccade::TILE, A_ALONG_K, B_ALONG_K, FROM_C>(                                                        \
        a, b, b_up, {kind, c, bias, scale, residual, kept, kept_up, m, n}, k, wide != 0, vector != 0);                \
  }

// NN, NT and TN, chains from 0 and from C, and the gated unit with one tile.
#define SACCADE_HOPPER_LAYOUTS(SUFFIX, TILE, PAIR)                    \
  SACCADE_HOPPER_GEMM(gemm_nn_##SUFFIX, TILE, true, false, false)     \
  SACCADE_HOPPER_GEMM(gemm_nt_##SUFFIX, TILE, true, true, false)      \
  SACCADE_HOPPER_GEMM(gemm_tn_##SUFFIX, TILE, false, false, false)    \
  SACCADE_HOPPER_GEMM(add_nn_##SUFFIX, TILE, true, false, true)       \
  SACCADE_HOPPER_GEMM(add_nt_##SUFFIX, TILE, true, true, true)        \
  SACCADE_HOPPER_GEMM(add_tn_##SUFFIX, TILE, false, false, true)      \
  SACCADE_HOPPER_GEMM(swi_glu_##SUFFIX, PAIR, true, true, false)

SACCADE_HOPPER_LAYOUTS(128x256_cluster, Wide, WidePair)
SACCADE_HOPPER_LAYOUTS(128x128_cluster, Square, SquarePair)
SACCADE_HOPPER_LAYOUTS(128x128, Alone, AlonePair)
