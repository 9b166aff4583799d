// The matrix product of bf16 operands with fp32 sums on Hopper (sm_90a). hopper_product.cuh has the main loop.
//
// What an epilogue reads (residual, bias, scale) is fetched by TMA, and the bf16 that it writes leaves by TMA from shared memory;
// fp32 is stored from registers. Where the warpgroups take turns, all of it happens while the other's products run.

#include "epilogue.cuh"
#include "hopper.cuh"
#include "hopper_product.cuh"
#include "hopper_rows.cuh"
#include "mma_sm80.cuh"

namespace saccade {
namespace {

// A kernel's shared memory. Results leave in passes of BOX_COLUMNS columns; a warp has BOXES boxes, as many as the ring leaves
// room for. Bias and scale of a tile's columns are kept for each warpgroup. TURNS: the warpgroups take turns with whole tiles;
// otherwise each has half of every tile's rows.
template <int COLUMNS_, int STAGES_, int CLUSTER_, int BOX_COLUMNS_, int BOXES_, bool TURNS_, bool PAIR_ = false>
struct Tile : Shape<COLUMNS_, STAGES_, CLUSTER_, PAIR_, TURNS_> {
  using Base = Shape<COLUMNS_, STAGES_, CLUSTER_, PAIR_, TURNS_>;
  static constexpr bool TURNS = TURNS_;
  static constexpr int BOX_COLUMNS = BOX_COLUMNS_, BOXES = BOXES_, BOX_BYTES = Box<BOX_COLUMNS>::BYTES;
  // The most sums leave registers for plain stores alone.
  static constexpr bool PLAIN = Base::HALVES * Base::SUMS >= 192;
  static constexpr int PASSES_OF_HALF = Base::C_COLUMNS / BOX_COLUMNS, PASSES = Base::HALVES * PASSES_OF_HALF;
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

// A warp's part of a tile: 16 rows of each half.
struct Place {
  int row, column;
  __device__ __forceinline__ int row_of(int half) const { return row + half * 64; }
};

// What a warp's epilogue needs of a tile besides its sums.
template <typename T> struct Inbox {
  uint32_t shared;  // the block's
  uint32_t box_parities = 0, vector_parity = 0;

  __device__ __forceinline__ explicit Inbox(uint32_t shared) : shared(shared) {}

  // The warp's number, of those that multiply.
  __device__ __forceinline__ static uint32_t warp() { return threadIdx.x / 32 - 4; }

  __device__ __forceinline__ uint32_t boxes() const { return shared + T::RING_BYTES + warp() * T::OUT_BYTES; }
  __device__ __forceinline__ uint32_t bias() const { return shared + T::VECTORS + warp() / 4 * (2 * T::VECTOR_BYTES); }
  __device__ __forceinline__ uint32_t scale() const { return bias() + T::VECTOR_BYTES; }
  __device__ __forceinline__ uint32_t vector_barrier() const { return shared + T::VECTOR_BARRIERS + warp() / 4 * 8; }
  __device__ __forceinline__ uint32_t box_barrier(int box) const {
    return shared + T::BOX_BARRIERS + (warp() * T::BOXES + box) * 8;
  }

  // By one thread of the warp.
  __device__ __forceinline__ void init() const {
    for (int i = 0; i < T::BOXES; ++i) barrier_init(box_barrier(i), 1);
    if (warp() % 4 == 0) barrier_init(vector_barrier(), 1);
    barrier_init_fence();
  }

  // Asks for pass p of the residual, when all that was sent has left its box; one lane.
  __device__ __forceinline__ void ask(const TensorMap& residual, int p, const Place& place) const {
    const int b = p % T::BOXES;
    stores_wait_read<0>();
    barrier_expect(box_barrier(b), T::BOX_BYTES);
    tma_load(boxes() + b * T::BOX_BYTES, residual, box_barrier(b),
             place.column + p % T::PASSES_OF_HALF * T::BOX_COLUMNS, place.row_of(p / T::PASSES_OF_HALF));
  }

  // Asks for the tile's bias and scale, and its first passes of the residual if nothing else needs the boxes first.
  __device__ __forceinline__ void fetch(const TensorMap& residual, const Finish& f, const Place& place) const {
    if (f.bias != nullptr || f.scale != nullptr) {
      // The warpgroup is done with those of the tile before.
      named_barrier(1 + static_cast<int>(threadIdx.x) / 128, 128);
      if (threadIdx.x % 128 == 0) {
        const uint32_t bytes = min(T::C_COLUMNS, f.n - place.column) * 2;
        barrier_expect(vector_barrier(), ((f.bias != nullptr) + (f.scale != nullptr)) * bytes);
        if (f.bias != nullptr) {
          bulk_load(bias(), static_cast<const bf16*>(f.bias) + place.column, bytes, vector_barrier());
        }
        if (f.scale != nullptr) {
          bulk_load(scale(), static_cast<const bf16*>(f.scale) + place.column, bytes, vector_barrier());
        }
      }
    }
    if (f.residual != nullptr && f.kept == nullptr) {
      __syncwarp();
      if (threadIdx.x % 32 == 0) {
#pragma unroll 1
        for (int p = 0; p < min(T::BOXES, T::PASSES); ++p) ask(residual, p, place);
      }
    }
  }

  __device__ __forceinline__ void wait_vectors(const Finish& f) {
    if (f.bias == nullptr && f.scale == nullptr) return;
    barrier_wait(vector_barrier(), vector_parity);
    vector_parity ^= 1;
  }

  // The box with pass p of the residual.
  __device__ __forceinline__ uint32_t wait_residual(int p) {
    const int b = p % T::BOXES;
    barrier_wait(box_barrier(b), box_parities >> b & 1);
    box_parities ^= 1u << b;
    return boxes() + b * T::BOX_BYTES;
  }

  // What belongs to a column, for each of a thread's elements of a block.
  __device__ static __forceinline__ void of_columns(uint32_t vector, int block, float (&z)[8]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      uint32_t packed;
      asm volatile("ld.shared.b32 %0, [%1];\n"
                   : "=r"(packed)
                   : "r"(vector + (block * BLOCK + i * 8 + threadIdx.x % 4 * 2) * 2)
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

// The epilogues of epilogue.cuh, step by step the same arithmetic, from registers.
template <typename T>
__device__ __forceinline__ void finish_rows(
    Outbox<T::BOX_COLUMNS, T::BOXES>& out, Inbox<T>& in, const Arrays& arrays, const float (&acc)[T::HALVES][T::SUMS],
    const Finish& f, const Place& place) {
  using Out = Box<T::BOX_COLUMNS>;
  constexpr int BLOCKS = T::BOX_COLUMNS / BLOCK;
  in.wait_vectors(f);
#pragma unroll 1
  for (int p = 0; p < T::PASSES; ++p) {
    const int half = p / T::PASSES_OF_HALF, first = p % T::PASSES_OF_HALF * BLOCKS;
    const int row = place.row_of(half), column = place.column + first * BLOCK;
    auto sums = [&](float (&z)[8], int block) {
      select(z, acc, half, block);
      if (f.bias != nullptr) {
        float bias[8];
        in.of_columns(in.bias(), block, bias);
#pragma unroll
        for (int i = 0; i < 8; ++i) z[i] = __fadd_rn(z[i], bias[i]);
      }
    };
    if (f.kept != nullptr) {
      // The box that then takes the residual, if there is one: boxes that went round on their own would meet it.
      const uint32_t box = f.residual == nullptr ? out.take() : out.take(p % T::BOXES);
#pragma unroll 1
      for (int b = 0; b < BLOCKS; ++b) {
        float z[8];
        sums(z, first + b);
        Out::put(box, b, z);
      }
      out.send(arrays.kept, box, column, row);
    }
    if (f.residual == nullptr) {
      const uint32_t box = out.take();
#pragma unroll 1
      for (int b = 0; b < BLOCKS; ++b) {
        float z[8];
        sums(z, first + b);
        if (f.kind == GELU) {
#pragma unroll
          for (int i = 0; i < 8; ++i) z[i] = gelu(z[i]);
        }
        Out::put(box, b, z);
      }
      out.send(arrays.c, box, column, row);
      continue;
    }
    // The box that held the residual takes what becomes of it.
    if (f.kept != nullptr && threadIdx.x % 32 == 0) in.ask(arrays.residual, p, place);
    const uint32_t box = in.wait_residual(p);
#pragma unroll 1
    for (int b = 0; b < BLOCKS; ++b) {
      float z[8], base[8];
      sums(z, first + b);
      Out::get(box, b, base);
      if (f.kind == GELU_BACKWARD) {
#pragma unroll
        for (int i = 0; i < 8; ++i) z[i] = __fmul_rn(z[i], gelu_derivative(base[i]));
      } else if (f.scale == nullptr) {
#pragma unroll
        for (int i = 0; i < 8; ++i) z[i] = __fadd_rn(base[i], z[i]);
      } else {
        float scale[8];
        in.of_columns(in.scale(), first + b, scale);
#pragma unroll
        for (int i = 0; i < 8; ++i) z[i] = __fmaf_rn(scale[i], z[i], base[i]);
      }
      __syncwarp();
      Out::put(box, b, z);
    }
    out.send(arrays.c, box, column, row);
    if (f.kept == nullptr && p + T::BOXES < T::PASSES && threadIdx.x % 32 == 0) {
      in.ask(arrays.residual, p + T::BOXES, place);
    }
  }
}

// Plain stores, with or without a bias, all in one row of instructions: a search for registers costs more than a block's stores.
template <typename T, bool BIAS>
__device__ __forceinline__ void finish_plain(
    Outbox<T::BOX_COLUMNS, T::BOXES>& out, Inbox<T>& in, const Arrays& arrays, const float (&acc)[T::HALVES][T::SUMS],
    const Finish& f, const Place& place) {
  constexpr int BLOCKS = T::BOX_COLUMNS / BLOCK;
  if constexpr (BIAS) in.wait_vectors(f);
#pragma unroll
  for (int p = 0; p < T::PASSES; ++p) {
    const int half = p / T::PASSES_OF_HALF, first = p % T::PASSES_OF_HALF * BLOCKS;
    const uint32_t box = out.take();
#pragma unroll
    for (int b = 0; b < BLOCKS; ++b) {
      float z[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) z[i] = acc[half][(first + b) * 8 + i];
      if constexpr (BIAS) {
        float bias[8];
        in.of_columns(in.bias(), first + b, bias);
#pragma unroll
        for (int i = 0; i < 8; ++i) z[i] = __fadd_rn(z[i], bias[i]);
      }
      Box<T::BOX_COLUMNS>::put(box, b, z);
    }
    out.send(arrays.c, box, place.column + first * BLOCK, place.row_of(half));
  }
}

// The gated unit: what is kept of the other product and of the gate's, then what becomes of both; in one row, too.
template <typename T>
__device__ __forceinline__ void finish_gated(
    Outbox<T::BOX_COLUMNS, T::BOXES>& out, const Arrays& arrays, const float (&acc)[T::HALVES][T::SUMS], const Finish& f,
    const Place& place) {
  constexpr int BLOCKS = T::BOX_COLUMNS / BLOCK, GATES = T::C_COLUMNS / BLOCK;
#pragma unroll
  for (int p = 0; p < T::PASSES; ++p) {
    const int half = p / T::PASSES_OF_HALF, first = p % T::PASSES_OF_HALF * BLOCKS;
    const int row = place.row_of(half), column = place.column + first * BLOCK;
    auto fill = [&](uint32_t box, int from) {
#pragma unroll
      for (int b = 0; b < BLOCKS; ++b) {
        float z[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) z[i] = acc[half][(from + b) * 8 + i];
        Box<T::BOX_COLUMNS>::put(box, b, z);
      }
    };
    if (f.kept_up != nullptr) {
      const uint32_t box = out.take();
      fill(box, first + GATES);
      out.send(arrays.kept_up, box, column, row);
    }
    if (f.kept != nullptr) {
      const uint32_t box = out.take();
      fill(box, first);
      out.send(arrays.kept, box, column, row);
    }
    const uint32_t box = out.take();
#pragma unroll
    for (int b = 0; b < BLOCKS; ++b) {
      float z[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        z[i] = __fmul_rn(silu(acc[half][(first + b) * 8 + i]), acc[half][(first + b + GATES) * 8 + i]);
      }
      Box<T::BOX_COLUMNS>::put(box, b, z);
    }
    out.send(arrays.c, box, column, row);
  }
}

// Sums that stay fp32: a pair at a time, 32 bytes of a row by four lanes. n is even.
template <typename T>
__device__ __forceinline__ void finish_wide(const float (&acc)[T::HALVES][T::SUMS], const Finish& f, const Place& place) {
  const int lane = threadIdx.x % 32, column = place.column + lane % 4 * 2;
#pragma unroll
  for (int h = 0; h < T::HALVES * 2; ++h) {
    asm volatile("" ::: "memory");  // one row's addresses at a time: registers are few
    const int row = place.row_of(h / 2) + lane / 4 + h % 2 * 8;
    if (row < f.m) {
      float* const line = static_cast<float*>(f.c) + static_cast<long long>(row) * f.n + column;
#pragma unroll
      for (int i = 0; i < T::SUMS / 4; ++i) {
        if (column + i * 8 < f.n) {
          const float* z = acc[h / 2] + i * 4 + h % 2 * 2;
          *reinterpret_cast<float2*>(line + i * 8) = make_float2(z[0], z[1]);
        }
      }
    }
  }
}

// The slow way, for rows of any alignment: element by element from a patch.
template <typename T>
__device__ __forceinline__ void finish_any(
    float* patch, const float (&acc)[T::HALVES][T::SUMS], const Finish& f, bool wide, const Place& place) {
  constexpr int COLUMNS = T::PATCH_COLUMNS, BLOCKS = COLUMNS / BLOCK;
#pragma unroll 1
  for (int half = 0; half < T::HALVES; ++half) {
    const int row = place.row_of(half);
#pragma unroll 1
    for (int first = 0; first < T::C_COLUMNS / BLOCK; first += BLOCKS) {
      const int column = place.column + first * BLOCK;
      __syncwarp();
#pragma unroll 1
      for (int b = 0; b < BLOCKS; ++b) {
        float z[8];
        select(z, acc, half, first + b);
        spread(patch, T::PATCH_PITCH, b * BLOCK, z);
        if constexpr (T::PAIR) {
          select(z, acc, half, first + b + T::C_COLUMNS / BLOCK);
          spread(patch, T::PATCH_PITCH, COLUMNS + b * BLOCK, z);
        }
      }
      __syncwarp();
      if constexpr (T::PAIR) {
        finish_pair<bf16, 1, WARP_ROWS, 2 * COLUMNS>(patch, T::PATCH_PITCH, f, row, column);
      } else if (wide) {
        finish_patch<bf16, float, 1, WARP_ROWS, COLUMNS, 1>(patch, T::PATCH_PITCH, f, row, column);
      } else {
        finish_patch<bf16, bf16, 1, WARP_ROWS, COLUMNS, 1>(patch, T::PATCH_PITCH, f, row, column);
      }
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
    asm volatile("" ::: "memory");  // one row's addresses at a time: registers are few
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
  Inbox<T> in(memory);
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
    Outbox<T::BOX_COLUMNS, T::BOXES> out(in.boxes());
    auto multiply = [&] {
      if constexpr (T::TURNS) {
        return TurnMultiplier<S, A_ALONG_K, B_ALONG_K>(stages, warp / 4, k);
      } else {
        return Multiplier<S, A_ALONG_K, B_ALONG_K>(stages, warp / 4);
      }
    }();
    while (tiles.next()) {
      if constexpr (T::TURNS) {
        if (!multiply.takes()) continue;
      }
      const Place place{tiles.row + (T::TURNS ? 0 : warp / 4 * 64) + warp % 4 * WARP_ROWS, tiles.column};
      float acc[S::HALVES][S::SUMS] = {};
      if constexpr (FROM_C) {
#pragma unroll
        for (int h = 0; h < S::HALVES; ++h) start_from_c(acc[h], f, place.row_of(h), place.column);
      }
      if constexpr (!T::PAIR && (!T::PLAIN || (A_ALONG_K && B_ALONG_K && !FROM_C))) {
        if (T::PLAIN || fast) in.fetch(arrays.residual, f, place);
      }
      if constexpr (T::TURNS) {
        multiply(acc, tiles.last);
      } else {
        multiply(acc[0], k);
      }
      if constexpr (T::PAIR) {
        if (fast) {
          finish_gated<T>(out, arrays, acc, f, place);
          continue;
        }
      } else {
        if (T::PLAIN || fast) {
          if (FROM_C || wide) {
            finish_wide<T>(acc, f, place);
            continue;
          }
          if (f.bias == nullptr ? T::PLAIN || f.kind == STORE : false) {
            finish_plain<T, false>(out, in, arrays, acc, f, place);
            continue;
          }
          if constexpr (A_ALONG_K && B_ALONG_K) {
            if (T::PLAIN || f.kind == STORE) {
              finish_plain<T, true>(out, in, arrays, acc, f, place);
              continue;
            }
          }
        }
        if constexpr (!T::PLAIN) {
          if (fast) {
            finish_rows<T>(out, in, arrays, acc, f, place);
            continue;
          }
        }
      }
      if constexpr (!T::PLAIN) {
        finish_any<T>(reinterpret_cast<float*>(shared + (in.boxes() - memory)), acc, f, wide, place);
      }
    }
    // Shared memory stays until it has been read.
    if (threadIdx.x % 32 == 0) stores_wait_read<0>();
  }
  if constexpr (S::CLUSTER > 1) join<S>();
}

// HopperTile.java has the same numbers.
//                           columns stages cluster box boxes turns pair
using Columns256 = Tile<256, 4, 2, 64, 2, false>;
using Columns224 = Tile<224, 4, 2, 112, 1, false>;
using Columns192 = Tile<192, 5, 2, 32, 3, true>;
using Columns192Pair = Tile<192, 5, 2, 32, 3, true, true>;
using Columns160 = Tile<160, 5, 2, 32, 3, true>;
using Columns160Pair = Tile<160, 5, 2, 80, 2, true, true>;
using Columns128 = Tile<128, 6, 2, 32, 4, true>;
using Columns128Pair = Tile<128, 6, 2, 32, 3, true, true>;
using Columns112 = Tile<112, 6, 2, 112, 1, true>;
using Alone192 = Tile<192, 5, 1, 32, 3, true>;
using Alone128 = Tile<128, 6, 1, 32, 4, false>;
using Alone128Pair = Tile<128, 6, 1, 32, 3, true, true>;

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

// NN, NT and TN, chains from 0 and from C.
#define SACCADE_HOPPER_LAYOUTS(SUFFIX, TILE)                      \
  SACCADE_HOPPER_GEMM(gemm_nn_##SUFFIX, TILE, true, false, false) \
  SACCADE_HOPPER_GEMM(gemm_nt_##SUFFIX, TILE, true, true, false)  \
  SACCADE_HOPPER_GEMM(gemm_tn_##SUFFIX, TILE, false, false, false) \
  SACCADE_HOPPER_GEMM(add_nn_##SUFFIX, TILE, true, false, true)   \
  SACCADE_HOPPER_GEMM(add_nt_##SUFFIX, TILE, true, true, true)    \
  SACCADE_HOPPER_GEMM(add_tn_##SUFFIX, TILE, false, false, true)

SACCADE_HOPPER_LAYOUTS(128x256_cluster, Columns256)
SACCADE_HOPPER_GEMM(gemm_nt_128x224_cluster, Columns224, true, true, false)
SACCADE_HOPPER_LAYOUTS(128x192_cluster, Columns192)
SACCADE_HOPPER_GEMM(gemm_nt_128x160_cluster, Columns160, true, true, false)
SACCADE_HOPPER_GEMM(swi_glu_128x192_cluster, Columns192Pair, true, true, false)
SACCADE_HOPPER_GEMM(swi_glu_128x160_cluster, Columns160Pair, true, true, false)
SACCADE_HOPPER_LAYOUTS(128x128_cluster, Columns128)
SACCADE_HOPPER_GEMM(swi_glu_128x128_cluster, Columns128Pair, true, true, false)
SACCADE_HOPPER_GEMM(gemm_nt_128x112_cluster, Columns112, true, true, false)
SACCADE_HOPPER_GEMM(gemm_nt_128x192, Alone192, true, true, false)
SACCADE_HOPPER_LAYOUTS(128x128, Alone128)
SACCADE_HOPPER_GEMM(swi_glu_128x128, Alone128Pair, true, true, false)
