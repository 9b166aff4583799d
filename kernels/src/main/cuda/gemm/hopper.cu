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

constexpr int PATCH_COLUMNS = 32;

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
  static constexpr int PATCH_PITCH = (PAIR ? 2 : 1) * PATCH_COLUMNS + 4;  // floats
  static constexpr int PATCH_FLOATS = 16 * PATCH_PITCH;  // a warp's; Rows takes it for bf16 too
  static_assert(PATCH_FLOATS * 4 >= 16 * 128);
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

// Copies LENGTH registers from FIRST + p * LENGTH on, by a switch over constants: registers have no index.
template <int FIRST, int LENGTH, int END, int ALL>
__device__ __forceinline__ void select(float (&to)[LENGTH], const float (&acc)[ALL], int p) {
  if constexpr (FIRST < END) {
    if (p == 0) {
#pragma unroll
      for (int i = 0; i < LENGTH; ++i) to[i] = acc[FIRST + i];
    } else {
      select<FIRST + LENGTH, LENGTH, END>(to, acc, p - 1);
    }
  }
}

// Two sums rounded to a register of bf16, the first in the low half.
__device__ __forceinline__ uint32_t round_pair(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

__device__ __forceinline__ float2 widen_pair(uint32_t packed) {
  return make_float2(__uint_as_float(packed << 16), __uint_as_float(packed & 0xffff0000u));
}

// 16 rows of COLUMNS bf16 of a warp on their way between registers, as wgmma holds them, and an array
// [m, n]: through shared memory, where 16-byte chunks of a row are permuted, so that both sides are fast.
template <int COLUMNS> struct Rows {
  static constexpr int CHUNKS = COLUMNS / 8, LENGTH = COLUMNS / 2;
  uint32_t memory;  // 16 rows of 128 bytes
  int m, n, row0, column0;

  __device__ __forceinline__ uint32_t place(int row, int chunk) const {
    return memory + row * 128 + (chunk ^ (row & 7)) * 16;
  }

  // Calls `move(place, index)` for every chunk within the array, neighbouring lanes along a row.
  template <typename Move> __device__ __forceinline__ void each(Move move) const {
    const int lane = threadIdx.x % 32, chunk = lane % CHUNKS, column = column0 + chunk * 8;
#pragma unroll
    for (int r = lane / CHUNKS; r < 16; r += 32 / CHUNKS) {
      if (row0 + r < m && column < n) move(place(r, chunk), static_cast<long long>(row0 + r) * n + column);
    }
  }

  // stmatrix and ldmatrix: lane l names row l % 16 of the left or right half of a block of 16 columns.
  __device__ __forceinline__ uint32_t matrix(int block) const {
    const int lane = threadIdx.x % 32;
    return place(lane % 16, block * 2 + lane / 16);
  }

  __device__ __forceinline__ void store(void* to, const float (&z)[LENGTH]) const {
    __syncwarp();
#pragma unroll
    for (int i = 0; i < COLUMNS / 16; ++i) {
      const float* s = z + i * 8;
      stmatrix(matrix(i), round_pair(s[0], s[1]), round_pair(s[2], s[3]), round_pair(s[4], s[5]), round_pair(s[6], s[7]));
    }
    __syncwarp();
    each([&](uint32_t from, long long at) {
      uint4 x;
      asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];\n" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(from)
                   : "memory");
      *reinterpret_cast<uint4*>(static_cast<bf16*>(to) + at) = x;
    });
  }

  __device__ __forceinline__ void load(const void* from, float (&z)[LENGTH]) const {
    __syncwarp();
    each([&](uint32_t to, long long at) {
      const uint4 x = *reinterpret_cast<const uint4*>(static_cast<const bf16*>(from) + at);
      const uint32_t words[4] = {x.x, x.y, x.z, x.w};
      store_shared(to, words);
    });
    __syncwarp();
#pragma unroll
    for (int i = 0; i < COLUMNS / 16; ++i) {
      uint32_t packed[4];
      ldmatrix(packed, matrix(i));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float2 pair = widen_pair(packed[j]);
        z[i * 8 + j * 2] = pair.x;
        z[i * 8 + j * 2 + 1] = pair.y;
      }
    }
  }

  // What belongs to a column, for each of a thread's elements.
  __device__ __forceinline__ void of_columns(const void* from, float (&z)[LENGTH]) const {
    const uint32_t* pairs = reinterpret_cast<const uint32_t*>(static_cast<const bf16*>(from) + column0) + threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < COLUMNS / 8; ++i) {
      const float2 pair = column0 + i * 8 < n ? widen_pair(pairs[i * 4]) : make_float2(0, 0);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        z[i * 4 + h * 2] = pair.x;
        z[i * 4 + h * 2 + 1] = pair.y;
      }
    }
  }
};

// The epilogues of epilogue.cuh, step by step the same arithmetic, on sums that stay in registers.
template <int COLUMNS>
__device__ __forceinline__ void finish_rows(const Rows<COLUMNS>& rows, float (&z)[COLUMNS / 2], const Finish& f) {
  constexpr int LENGTH = COLUMNS / 2;
  if (f.bias != nullptr) {
    float bias[LENGTH];
    rows.of_columns(f.bias, bias);
#pragma unroll
    for (int i = 0; i < LENGTH; ++i) z[i] = __fadd_rn(z[i], bias[i]);
  }
  if (f.kind == GELU || f.kind == RESIDUAL) {
    if (f.kept != nullptr) rows.store(f.kept, z);
    if (f.kind == GELU) {
#pragma unroll
      for (int i = 0; i < LENGTH; ++i) z[i] = gelu(z[i]);
    } else {
      float base[LENGTH];
      rows.load(f.residual, base);
      if (f.scale == nullptr) {
#pragma unroll
        for (int i = 0; i < LENGTH; ++i) z[i] = __fadd_rn(base[i], z[i]);
      } else {
        float scale[LENGTH];
        rows.of_columns(f.scale, scale);
#pragma unroll
        for (int i = 0; i < LENGTH; ++i) z[i] = __fmaf_rn(scale[i], z[i], base[i]);
      }
    }
  }
  rows.store(f.c, z);
}

template <int COLUMNS>
__device__ __forceinline__ void finish_rows(
    const Rows<COLUMNS>& rows, float (&gate)[COLUMNS / 2], const float (&up)[COLUMNS / 2], const Finish& f) {
  if (f.kept != nullptr) rows.store(f.kept, gate);
  if (f.kept_up != nullptr) rows.store(f.kept_up, up);
#pragma unroll
  for (int i = 0; i < COLUMNS / 2; ++i) gate[i] = __fmul_rn(silu(gate[i]), up[i]);
  rows.store(f.c, gate);
}

// Calls `move(element, index)` for each pair of a thread's sums that lies within C [m, n]; n is even.
template <int LENGTH, typename Move>
__device__ __forceinline__ void each_pair(const Finish& f, int row0, int column0, Move move) {
  const int lane = threadIdx.x % 32, row = row0 + lane / 4, column = column0 + lane % 4 * 2;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (row + h * 8 < f.m) {
      const long long at = static_cast<long long>(row + h * 8) * f.n + column;
#pragma unroll
      for (int i = 0; i < LENGTH / 4; ++i) {
        if (column + i * 8 < f.n) move(i * 4 + h * 2, at + i * 8);
      }
    }
  }
}

// Sums to a patch of fp32 with `pitch` floats a row.
template <int LENGTH> __device__ __forceinline__ void spread(float* patch, int pitch, const float (&z)[LENGTH]) {
  const int lane = threadIdx.x % 32;
  float* to = patch + lane / 4 * pitch + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < LENGTH; ++i) to[i / 4 * 8 + i / 2 % 2 * 8 * pitch + i % 2] = z[i];
}

// The slow way, for rows of any alignment: element by element from a patch.
template <typename S, int LENGTH>
__device__ __forceinline__ void finish_any(
    float* patch, const float (&acc)[LENGTH], const Finish& f, bool wide, int row0, int column0) {
  constexpr int GATE_END = S::PAIR ? LENGTH / 2 : LENGTH;
#pragma unroll 1
  for (int p = 0; p < S::C_COLUMNS / PATCH_COLUMNS; ++p) {
    const int column = column0 + p * PATCH_COLUMNS;
    float z[PATCH_COLUMNS / 2];
    select<0, PATCH_COLUMNS / 2, GATE_END>(z, acc, p);
    __syncwarp();
    spread(patch, S::PATCH_PITCH, z);
    if constexpr (S::PAIR) {
      select<GATE_END, PATCH_COLUMNS / 2, LENGTH>(z, acc, p);
      spread(patch + PATCH_COLUMNS, S::PATCH_PITCH, z);
    }
    __syncwarp();
    if constexpr (S::PAIR) {
      finish_pair<bf16, 1, 16, 2 * PATCH_COLUMNS>(patch, S::PATCH_PITCH, f, row0, column);
    } else if (wide) {
      finish_patch<bf16, float, 1, 16, PATCH_COLUMNS, 1>(patch, S::PATCH_PITCH, f, row0, column);
    } else {
      finish_patch<bf16, bf16, 1, 16, PATCH_COLUMNS, 1>(patch, S::PATCH_PITCH, f, row0, column);
    }
  }
}

template <typename S, int LENGTH>
__device__ __forceinline__ void finish(
    float* patch, const float (&acc)[LENGTH], const Finish& f, bool wide, bool vector, int row0, int column0) {
  if (!vector) {
    finish_any<S>(patch, acc, f, wide, row0, column0);
    return;
  }
  if constexpr (!S::PAIR) {
    if (wide) {
      if (f.kind <= ACCUMULATE && f.bias == nullptr) {
        each_pair<LENGTH>(f, row0, column0, [&](int i, long long at) {
          *reinterpret_cast<float2*>(static_cast<float*>(f.c) + at) = make_float2(acc[i], acc[i + 1]);
        });
      } else {
        finish_any<S>(patch, acc, f, wide, row0, column0);
      }
      return;
    }
  }
  constexpr int COLUMNS = S::PAIR || S::C_COLUMNS % 64 != 0 ? 32 : 64;
  constexpr int GATE_END = S::PAIR ? LENGTH / 2 : LENGTH;
#pragma unroll 1
  for (int p = 0; p < S::C_COLUMNS / COLUMNS; ++p) {
    const Rows<COLUMNS> rows{shared_address(patch), f.m, f.n, row0, column0 + p * COLUMNS};
    float z[COLUMNS / 2];
    select<0, COLUMNS / 2, GATE_END>(z, acc, p);
    if constexpr (S::PAIR) {
      float up[COLUMNS / 2];
      select<GATE_END, COLUMNS / 2, LENGTH>(up, acc, p);
      finish_rows(rows, z, up, f);
    } else {
      finish_rows(rows, z, f);
    }
  }
}

// The chain starts from C, which is fp32 with rows on 16 bytes. Sums outside of C start from some element of it and go
// nowhere: with loads that depend on no condition the compiler keeps the products asynchronous.
template <int LENGTH>
__device__ __forceinline__ void start_from_c(float (&acc)[LENGTH], const Finish& f, int row0, int column0) {
  const int lane = threadIdx.x % 32, row = row0 + lane / 4, column = column0 + lane % 4 * 2;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float* line = static_cast<const float*>(f.c) + static_cast<long long>(min(row + h * 8, f.m - 1)) * f.n;
#pragma unroll
    for (int i = 0; i < LENGTH / 4; ++i) {
      const float2 pair = *reinterpret_cast<const float2*>(line + min(column + i * 8, f.n - 2));
      acc[i * 4 + h * 2] = pair.x;
      acc[i * 4 + h * 2 + 1] = pair.y;
    }
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
      if constexpr (FROM_C) start_from_c(acc, f, row0, column0);
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
using Columns224 = Shape<224, 4, 2>;
using Columns192 = Shape<192, 5, 2>;
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
SACCADE_HOPPER_GEMM(gemm_nt_128x224_cluster, Columns224, true, true, false)
SACCADE_HOPPER_GEMM(gemm_nt_128x192_cluster, Columns192, true, true, false)
SACCADE_HOPPER_LAYOUTS(128x128_cluster, Square, SquarePair)
SACCADE_HOPPER_LAYOUTS(128x128, Alone, AlonePair)
