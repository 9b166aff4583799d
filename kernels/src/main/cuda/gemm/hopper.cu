// The matrix product of bf16 operands with fp32 sums on Hopper (sm_90a). hopper_product.cuh has the main loop.
//
// What an epilogue reads (residual, bias, scale) is fetched by TMA while the tile's products run, and what it writes leaves by
// TMA from shared memory while the next tile's do: between two tiles there is only the arithmetic.

#include "epilogue.cuh"
#include "hopper.cuh"
#include "hopper_product.cuh"
#include "hopper_rows.cuh"
#include "mma_sm80.cuh"

namespace saccade {
namespace {

// A kernel's shared memory. Results leave in passes of BOX_COLUMNS columns; a warp has BOXES boxes, as many as the ring leaves
// room for. Bias and scale of a tile's columns are kept for each warpgroup.
template <int COLUMNS_, int STAGES_, int CLUSTER_, int BOX_COLUMNS_, int BOXES_, bool PAIR_ = false>
struct Tile : Shape<COLUMNS_, STAGES_, CLUSTER_, PAIR_> {
  using Base = Shape<COLUMNS_, STAGES_, CLUSTER_, PAIR_>;
  static constexpr int BOX_COLUMNS = BOX_COLUMNS_, BOXES = BOXES_;
  static constexpr int PASSES = Base::C_COLUMNS / BOX_COLUMNS, BOX_BYTES = Box<BOX_COLUMNS>::BYTES;
  static_assert(Base::C_COLUMNS % BOX_COLUMNS == 0);
  // The slow epilogue's patch of fp32 lies where the boxes do.
  static constexpr int PATCH_COLUMNS = Base::PAIR || Base::C_COLUMNS % 32 != 0 ? 16 : 32;
  static constexpr int PATCH_PITCH = (Base::PAIR ? 2 : 1) * PATCH_COLUMNS + 4;  // floats
  static constexpr int PATCH_BYTES = WARP_ROWS * PATCH_PITCH * 4, ALL_BOXES = BOXES * BOX_BYTES;
  static constexpr int OUT_BYTES = ((PATCH_BYTES > ALL_BOXES ? PATCH_BYTES : ALL_BOXES) + 1023) / 1024 * 1024;
  static constexpr int VECTOR_BYTES = Base::PAIR ? 0 : Base::C_COLUMNS * 2;
  static constexpr int VECTORS = Base::RING_BYTES + Base::WARPS * OUT_BYTES;
  static constexpr int RING_BARRIERS = VECTORS + Base::GROUPS * 2 * VECTOR_BYTES;
  static constexpr int VECTOR_BARRIERS = RING_BARRIERS + Stages<Base>::BARRIER_BYTES;
  static constexpr int BOX_BARRIERS = VECTOR_BARRIERS + Base::GROUPS * 8;
  static constexpr int SHARED_BYTES = BOX_BARRIERS + Base::WARPS * BOXES * 8;
  static_assert(SHARED_BYTES <= MOST_SHARED_BYTES);
};

// Where C and what belongs to it lie, for TMA.
struct Arrays {
  const TensorMap &c, &residual, &kept, &kept_up;
};

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

// What a warp's epilogue needs of a tile besides its sums, on its way during the products.
template <typename T> struct Inbox {
  uint32_t boxes, vectors, box_barriers, vector_barrier;
  uint32_t box_parities = 0, vector_parity = 0;

  // warp: of those that multiply.
  __device__ __forceinline__ Inbox(uint32_t shared, int warp)
      : boxes(shared + T::RING_BYTES + warp * T::OUT_BYTES),
        vectors(shared + T::VECTORS + warp / 4 * 2 * T::VECTOR_BYTES),
        box_barriers(shared + T::BOX_BARRIERS + warp * T::BOXES * 8),
        vector_barrier(shared + T::VECTOR_BARRIERS + warp / 4 * 8) {}

  // By one thread of the warp.
  __device__ __forceinline__ void init() const {
    for (int i = 0; i < T::BOXES; ++i) barrier_init(box_barriers + i * 8, 1);
    if (threadIdx.x / 32 % 4 == 0) barrier_init(vector_barrier, 1);
    barrier_init_fence();
  }

  __device__ __forceinline__ uint32_t bias() const { return vectors; }
  __device__ __forceinline__ uint32_t scale() const { return vectors + T::VECTOR_BYTES; }

  // Asks for pass p of the residual, when all that was sent has left its box; one lane.
  __device__ __forceinline__ void ask(const TensorMap& residual, int p, int row0, int column0) const {
    const int b = p % T::BOXES;
    stores_wait_read<0>();
    barrier_expect(box_barriers + b * 8, T::BOX_BYTES);
    tma_load(boxes + b * T::BOX_BYTES, residual, box_barriers + b * 8, column0 + p * T::BOX_COLUMNS, row0);
  }

  // Asks for the tile's bias and scale, and its first passes of the residual.
  __device__ __forceinline__ void fetch(const TensorMap& residual, const Finish& f, int row0, int column0) const {
    if (f.bias != nullptr || f.scale != nullptr) {
      // The warpgroup is done with those of the tile before.
      named_barrier(1 + static_cast<int>(threadIdx.x) / 128, 128);
      if (threadIdx.x % 128 == 0) {
        const uint32_t bytes = min(T::C_COLUMNS, f.n - column0) * 2;
        barrier_expect(vector_barrier, ((f.bias != nullptr) + (f.scale != nullptr)) * bytes);
        if (f.bias != nullptr) bulk_load(bias(), static_cast<const bf16*>(f.bias) + column0, bytes, vector_barrier);
        if (f.scale != nullptr) bulk_load(scale(), static_cast<const bf16*>(f.scale) + column0, bytes, vector_barrier);
      }
    }
    if (f.residual != nullptr) {
      __syncwarp();
      if (threadIdx.x % 32 == 0) {
#pragma unroll
        for (int p = 0; p < (T::BOXES < T::PASSES ? T::BOXES : T::PASSES); ++p) ask(residual, p, row0, column0);
      }
    }
  }

  __device__ __forceinline__ void wait_vectors(const Finish& f) {
    if (f.bias == nullptr && f.scale == nullptr) return;
    barrier_wait(vector_barrier, vector_parity);
    vector_parity ^= 1;
  }

  // The box with pass p of the residual.
  __device__ __forceinline__ uint32_t wait_residual(int p) {
    const int b = p % T::BOXES;
    barrier_wait(box_barriers + b * 8, box_parities >> b & 1);
    box_parities ^= 1u << b;
    return boxes + b * T::BOX_BYTES;
  }

  // What belongs to a column, for each of a thread's elements of pass p.
  template <int LENGTH> __device__ static __forceinline__ void of_columns(uint32_t vector, int p, float (&z)[LENGTH]) {
#pragma unroll
    for (int i = 0; i < LENGTH / 4; ++i) {
      uint32_t packed;
      asm volatile("ld.shared.b32 %0, [%1];\n" : "=r"(packed) : "r"(vector + (p * LENGTH * 2 + i * 8 + threadIdx.x % 4 * 2) * 2)
                   : "memory");
      const float2 pair = widen_pair(packed);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        z[i * 4 + h * 2] = pair.x;
        z[i * 4 + h * 2 + 1] = pair.y;
      }
    }
  }
};

// The epilogues of epilogue.cuh, step by step the same arithmetic, on sums that stay in registers.
template <typename T>
__device__ __forceinline__ void finish_rows(
    Outbox<T::BOX_COLUMNS, T::BOXES>& out, Inbox<T>& in, const Arrays& arrays, const float (&acc)[T::SUMS],
    const Finish& f, int row0, int column0) {
  using Out = Box<T::BOX_COLUMNS>;
  constexpr int LENGTH = T::BOX_COLUMNS / 2;
  in.wait_vectors(f);
#pragma unroll 1
  for (int p = 0; p < T::PASSES; ++p) {
    const int column = column0 + p * T::BOX_COLUMNS;
    float z[LENGTH];
    select<0, LENGTH, T::SUMS>(z, acc, p);
    if (f.bias != nullptr) {
      float bias[LENGTH];
      in.of_columns(in.bias(), p, bias);
#pragma unroll
      for (int i = 0; i < LENGTH; ++i) z[i] = __fadd_rn(z[i], bias[i]);
    }
    if (f.residual != nullptr) {
      // The box that held the residual takes what becomes of it.
      const uint32_t box = in.wait_residual(p);
      float base[LENGTH];
      Out::template get<0>(box, base);
      __syncwarp();
      if (f.kind == GELU_BACKWARD) {
#pragma unroll
        for (int i = 0; i < LENGTH; ++i) z[i] = __fmul_rn(z[i], gelu_derivative(base[i]));
      } else {
        if (f.kept != nullptr) {
          Out::template put<0>(box, z);
          out.send(arrays.kept, box, column, row0);
          out.drain();
        }
        if (f.scale == nullptr) {
#pragma unroll
          for (int i = 0; i < LENGTH; ++i) z[i] = __fadd_rn(base[i], z[i]);
        } else {
          float scale[LENGTH];
          in.of_columns(in.scale(), p, scale);
#pragma unroll
          for (int i = 0; i < LENGTH; ++i) z[i] = __fmaf_rn(scale[i], z[i], base[i]);
        }
      }
      Out::template put<0>(box, z);
      out.send(arrays.c, box, column, row0);
      if (p + T::BOXES < T::PASSES && threadIdx.x % 32 == 0) in.ask(arrays.residual, p + T::BOXES, row0, column0);
    } else {
      if (f.kind == GELU) {
        if (f.kept != nullptr) {
          const uint32_t box = out.take();
          Out::template put<0>(box, z);
          out.send(arrays.kept, box, column, row0);
        }
#pragma unroll
        for (int i = 0; i < LENGTH; ++i) z[i] = gelu(z[i]);
      }
      const uint32_t box = out.take();
      Out::template put<0>(box, z);
      out.send(arrays.c, box, column, row0);
    }
  }
}

// The gated unit, 32 columns at a time.
template <typename T>
__device__ __forceinline__ void finish_gated(
    Outbox<T::BOX_COLUMNS, T::BOXES>& out, const Arrays& arrays, const float (&acc)[T::SUMS], const Finish& f, int row0,
    int column0) {
  using Out = Box<T::BOX_COLUMNS>;
  static_assert(T::BOX_COLUMNS == 64);
  constexpr int LENGTH = 16, GATES = T::SUMS / 2;
#pragma unroll 1
  for (int p = 0; p < T::PASSES; ++p) {
    const int column = column0 + p * T::BOX_COLUMNS;
    float left[LENGTH], right[LENGTH];
    if (f.kept_up != nullptr) {
      select<GATES, LENGTH, T::SUMS>(left, acc, 2 * p);
      select<GATES, LENGTH, T::SUMS>(right, acc, 2 * p + 1);
      const uint32_t box = out.take();
      Out::template put<0>(box, left);
      Out::template put<2>(box, right);
      out.send(arrays.kept_up, box, column, row0);
    }
    select<0, LENGTH, GATES>(left, acc, 2 * p);
    select<0, LENGTH, GATES>(right, acc, 2 * p + 1);
    if (f.kept != nullptr) {
      const uint32_t box = out.take();
      Out::template put<0>(box, left);
      Out::template put<2>(box, right);
      out.send(arrays.kept, box, column, row0);
    }
    float up[LENGTH];
    select<GATES, LENGTH, T::SUMS>(up, acc, 2 * p);
#pragma unroll
    for (int i = 0; i < LENGTH; ++i) left[i] = __fmul_rn(silu(left[i]), up[i]);
    select<GATES, LENGTH, T::SUMS>(up, acc, 2 * p + 1);
#pragma unroll
    for (int i = 0; i < LENGTH; ++i) right[i] = __fmul_rn(silu(right[i]), up[i]);
    const uint32_t box = out.take();
    Out::template put<0>(box, left);
    Out::template put<2>(box, right);
    out.send(arrays.c, box, column, row0);
  }
}

// Sums that stay fp32.
template <typename T>
__device__ __forceinline__ void finish_wide(
    Outbox<T::BOX_COLUMNS, T::BOXES>& out, const Arrays& arrays, const float (&acc)[T::SUMS], int row0, int column0) {
  constexpr int COLUMNS = T::BOX_COLUMNS / 2, LENGTH = COLUMNS / 2;
#pragma unroll 1
  for (int p = 0; p < T::C_COLUMNS / COLUMNS; ++p) {
    float z[LENGTH];
    select<0, LENGTH, T::SUMS>(z, acc, p);
    const uint32_t box = out.take();
    Box<T::BOX_COLUMNS>::put_wide(box, z);
    out.send(arrays.c, box, column0 + p * COLUMNS, row0);
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
template <typename T>
__device__ __forceinline__ void finish_any(
    float* patch, const float (&acc)[T::SUMS], const Finish& f, bool wide, int row0, int column0) {
  constexpr int COLUMNS = T::PATCH_COLUMNS, GATE_END = T::PAIR ? T::SUMS / 2 : T::SUMS;
#pragma unroll 1
  for (int p = 0; p < T::C_COLUMNS / COLUMNS; ++p) {
    const int column = column0 + p * COLUMNS;
    float z[COLUMNS / 2];
    select<0, COLUMNS / 2, GATE_END>(z, acc, p);
    __syncwarp();
    spread(patch, T::PATCH_PITCH, z);
    if constexpr (T::PAIR) {
      select<GATE_END, COLUMNS / 2, T::SUMS>(z, acc, p);
      spread(patch + COLUMNS, T::PATCH_PITCH, z);
    }
    __syncwarp();
    if constexpr (T::PAIR) {
      finish_pair<bf16, 1, WARP_ROWS, 2 * COLUMNS>(patch, T::PATCH_PITCH, f, row0, column);
    } else if (wide) {
      finish_patch<bf16, float, 1, WARP_ROWS, COLUMNS, 1>(patch, T::PATCH_PITCH, f, row0, column);
    } else {
      finish_patch<bf16, bf16, 1, WARP_ROWS, COLUMNS, 1>(patch, T::PATCH_PITCH, f, row0, column);
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

template <typename T, bool A_ALONG_K, bool B_ALONG_K, bool FROM_C>
__device__ __forceinline__ void product(
    const TensorMap& map_a, const TensorMap& map_b, const TensorMap& map_b_up, const Arrays& arrays, const Finish& f, int k,
    bool wide, bool vector) {
  using S = typename T::Base;
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t memory = shared_address(shared);
  const Stages<S> stages(memory, memory + T::RING_BARRIERS);
  if (threadIdx.x == 0) {
    prefetch(map_a);
    prefetch(map_b);
    stages.init();
  }
  const int warp = static_cast<int>(threadIdx.x) / 32 - 4;  // of those that multiply
  Inbox<T> in(memory, max(warp, 0));
  if (warp >= 0 && threadIdx.x % 32 == 0) in.init();
  join<S>();

  NearSquares<S> tiles(f.m, f.n);
  if (warp < 0) {
    registers_down<40>();
    if (threadIdx.x == 0) produce<S, A_ALONG_K, B_ALONG_K>(map_a, map_b, map_b_up, stages, tiles, k);
  } else {
    registers_up<232>();
    // An epilogue that TMA serves: fp32 only as it is.
    const bool fast = vector && (!wide || (f.kind <= ACCUMULATE && f.bias == nullptr));
    Outbox<T::BOX_COLUMNS, T::BOXES> out(in.boxes);
    Multiplier<S, A_ALONG_K, B_ALONG_K> multiply(stages, warp / 4);
    while (tiles.next()) {
      const int row0 = tiles.row + warp * WARP_ROWS;
      float acc[S::SUMS] = {};
      if constexpr (FROM_C) start_from_c(acc, f, row0, tiles.column);
      if constexpr (!T::PAIR) {
        if (fast) in.fetch(arrays.residual, f, row0, tiles.column);
      }
      multiply(acc, k);
      if (!fast) {
        finish_any<T>(reinterpret_cast<float*>(shared + (in.boxes - memory)), acc, f, wide, row0, tiles.column);
      } else if constexpr (T::PAIR) {
        finish_gated<T>(out, arrays, acc, f, row0, tiles.column);
      } else if (wide) {
        finish_wide<T>(out, arrays, acc, row0, tiles.column);
      } else {
        finish_rows<T>(out, in, arrays, acc, f, row0, tiles.column);
      }
    }
    out.drain();
  }
  if constexpr (S::CLUSTER > 1) join<S>();
}

// HopperTile.java has the same numbers.
//                           columns stages cluster box boxes pair
using Columns256 = Tile<256, 4, 2, 64, 2>;
using Columns256Pair = Tile<256, 4, 2, 64, 2, true>;
using Columns224 = Tile<224, 4, 2, 32, 4>;
using Columns192 = Tile<192, 4, 2, 64, 3>;
using Columns128 = Tile<128, 6, 2, 64, 2>;
using Columns128Pair = Tile<128, 6, 2, 64, 1, true>;
using Columns112 = Tile<112, 6, 2, 16, 7>;
using Alone128 = Tile<128, 6, 1, 64, 2>;
using Alone128Pair = Tile<128, 6, 1, 64, 1, true>;

}  // namespace
}  // namespace saccade

// wide: C, residual and kept are fp32. vector: they, n, bias and scale allow 16-byte accesses of C; only then the maps of what
// belongs to C are used, and only of what is not null.
#define SACCADE_HOPPER_GEMM(NAME, TILE, A_ALONG_K, B_ALONG_K, FROM_C)                                                    \
  extern "C" __global__ void __launch_bounds__(saccade::TILE::THREADS, 1)                                                \
      NAME(const __grid_constant__ saccade::TensorMap a, const __grid_constant__ saccade::TensorMap b,                   \
           const __grid_constant__ saccade::TensorMap b_up, const __grid_constant__ saccade::TensorMap map_c,            \
           const __grid_constant__ saccade::TensorMap map_residual, const __grid_constant__ saccade::TensorMap map_kept, \
           const __grid_constant__ saccade::TensorMap map_kept_up, void* c, const void* bias, const void* scale,         \
           const void* residual, void* kept, void* kept_up, int m, int n, int k, int kind, int wide, int vector) {       \
    saccade::product<saccade::TILE, A_ALONG_K, B_ALONG_K, FROM_C>(                                                       \
        a, b, b_up, {map_c, map_residual, map_kept, map_kept_up},                                                        \
        {kind, c, bias, scale, residual, kept, kept_up, m, n}, k, wide != 0, vector != 0);                               \
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

SACCADE_HOPPER_LAYOUTS(128x256_cluster, Columns256, Columns256Pair)
SACCADE_HOPPER_GEMM(gemm_nt_128x224_cluster, Columns224, true, true, false)
SACCADE_HOPPER_GEMM(gemm_nt_128x192_cluster, Columns192, true, true, false)
SACCADE_HOPPER_LAYOUTS(128x128_cluster, Columns128, Columns128Pair)
SACCADE_HOPPER_GEMM(gemm_nt_128x112_cluster, Columns112, true, true, false)
SACCADE_HOPPER_LAYOUTS(128x128, Alone128, Alone128Pair)
