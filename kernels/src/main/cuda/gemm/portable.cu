// The matrix product of bf16 operands with fp32 sums, on any GPU from sm_80.
//
// A block computes one tile of C; a warp computes a patch of it with mma.sync.m16n8k16. Each element is
// one chain in the accumulator's registers: k goes up from 0 in steps of 16, the last step is filled up
// with zeros, and no step after it is taken. Every kernel here does exactly that, so tiles, stages and grids
// choose only where and when an element is computed, never its bits.
//
// Tiles of A and B come through a ring of stages in shared memory by cp.async. 16-byte chunks of a row are
// permuted (Tile::offset) so that both the copies and ldmatrix find all banks free. A matrix whose
// k-direction is not contiguous is kept as it lies in memory and transposed by ldmatrix.
//
// Template parameters are what changes the inner loop: tile, layouts, one product or two, and whether rows
// begin on 16 bytes. Epilogues, the result's type and its alignment are switches at run time, outside of
// that loop: they cost nothing and keep the number of kernels down.

#include "epilogue.cuh"
#include "mma_sm80.cuh"

#include <type_traits>

namespace saccade {
namespace {

constexpr int STEP = 16;         // k of one mma
constexpr int GROUP_ROWS = 16;   // tiles below each other that run at about the same time and share B in L2

struct Operands {
  const bf16* a;
  const bf16* b;
  const bf16* b_up;  // swiGlu's second weight
  int m, n, k;
  // Bytes that can be copied at once, 2 to 16: addresses and row pitches of A and B are multiples of them.
  int granule_a, granule_b;
};

// ROWS rows of COLUMNS contiguous bf16 in shared memory.
template <int ROWS_, int COLUMNS_> struct Tile {
  static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_;
  static constexpr int CHUNKS = COLUMNS / 8;

  // The byte offset of a 16-byte chunk. Any eight rows that follow each other have a given chunk in eight
  // different places modulo 128 bytes.
  static __device__ __forceinline__ int offset(int row, int chunk) {
    const int permutation = CHUNKS >= 8 ? row & 7 : (row / (8 / CHUNKS)) & (CHUNKS - 1);
    return (row * CHUNKS + (chunk ^ permutation)) * 16;
  }
};

// Copies up to 8 elements in pieces of `granule` bytes; elements from `valid` on become 0.
__device__ __forceinline__ void copy_pieces(uint32_t to, const bf16* from, int valid, int granule) {
  if (granule >= 8) {
#pragma unroll
    for (int i = 0; i < 8; i += 4) cp_async<8>(to + i * 2, from + i, valid > i ? 8 : 0);
  } else if (granule == 4) {
#pragma unroll
    for (int i = 0; i < 8; i += 2) cp_async<4>(to + i * 2, from + i, valid > i ? 4 : 0);
  } else {
    const auto* bits = reinterpret_cast<const unsigned short*>(from);
    uint32_t pair[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t low = valid > 2 * i ? bits[2 * i] : 0;
      const uint32_t high = valid > 2 * i + 1 ? bits[2 * i + 1] : 0;
      pair[i] = low | high << 16;
    }
    store_shared(to, pair);
  }
}

// The tile chosen and what follows from it. WARP_ROWS x WARP_COLUMNS is a warp's patch; with PAIR, half of
// its columns are the gate's and half are the other product's.
template <int ROWS_, int COLUMNS_, int DEPTH_, int WARP_ROWS_, int WARP_COLUMNS_, int STAGES_, int BLOCKS_>
struct Shape {
  static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, DEPTH = DEPTH_;
  static constexpr int WARP_ROWS = WARP_ROWS_, WARP_COLUMNS = WARP_COLUMNS_;
  static constexpr int STAGES = STAGES_;
  static constexpr int BLOCKS = BLOCKS_;  // that the registers should leave room for on a multiprocessor
  static constexpr int WARPS_ACROSS = COLUMNS / WARP_COLUMNS;
  static constexpr int THREADS = ROWS / WARP_ROWS * WARPS_ACROSS * 32;
  static constexpr int STEPS = DEPTH / STEP;
  static constexpr int STAGE_BYTES = (ROWS + COLUMNS) * DEPTH * 2;
  static constexpr int SHARED_BYTES = STAGES * STAGE_BYTES;
  // Sums go to the epilogue by way of the stages' memory, in patches of 32 rows, or 16 where there is not the
  // room. The pitch lets the four rows that half a warp writes at once fall into different banks.
  static constexpr int PATCH_PITCH = WARP_COLUMNS + 8;
  static constexpr bool ROOM = WARP_ROWS >= 32 && THREADS * PATCH_PITCH * 4 <= SHARED_BYTES;
  static constexpr int PATCH_ROWS = ROOM ? 32 : 16;
  static constexpr int PATCHES = WARP_ROWS / PATCH_ROWS;
  static constexpr int PATCH_FLOATS = PATCH_ROWS * PATCH_PITCH;
  static_assert(STEPS >= 2 && STAGES >= 2);
  static_assert(THREADS / 32 * PATCH_FLOATS * 4 <= SHARED_BYTES);
};

// One operand: `lines` rows of A or columns of B, of k elements each. ALONG_K says whether a line is
// contiguous. LINES of them make a tile, DEPTH of k deep. With HALF > 0 a tile's lines come in turn from two
// matrices, HALF from each.
//
// An object is a thread's place in the next tile to be copied: its first chunk, from which the others are
// STRIDE rows apart. One pointer is carried on; the rest is worked out as it goes, to save registers.
template <bool ALONG_K, int LINES, int DEPTH, int THREADS, bool ALIGNED, int HALF = 0> struct Operand {
  using Memory = std::conditional_t<ALONG_K, Tile<LINES, DEPTH>, Tile<DEPTH, LINES>>;
  static constexpr int BYTES = Memory::ROWS * Memory::CHUNKS * 16;
  static constexpr int STRIDE = THREADS / Memory::CHUNKS;
  static constexpr int COPIES = (Memory::ROWS + STRIDE - 1) / STRIDE;
  // Of two matrices, a thread reads one, or both in turn.
  static constexpr bool IN_TURN = HALF > 0 && STRIDE == HALF;
  // How many lines (rows of k) lie between the chunks of one matrix.
  static constexpr int FURTHER = HALF > 0 && !IN_TURN ? STRIDE / 2 : STRIDE;
  static_assert(THREADS % Memory::CHUNKS == 0 && STRIDE % 8 == 0, "the permutation repeats after 8 rows");
  static_assert(HALF == 0 || (ALONG_K && (STRIDE == HALF || STRIDE == 2 * HALF)));

  const bf16* from;
  long long other;      // the second matrix's distance from the first, in elements
  long long pitch;
  int row, chunk;
  int lines_left, k_left;  // from the first chunk on
  int granule;

  __device__ __forceinline__ Operand(
      const bf16* base, const bf16* second, int lines, int k, int line0, int granule)
      : other(second - base), pitch(ALONG_K ? k : lines), row(threadIdx.x / Memory::CHUNKS),
        chunk(threadIdx.x % Memory::CHUNKS), granule(granule) {
    int line = line0 + (ALONG_K ? row : chunk * 8);
    if constexpr (HALF > 0) line = line0 + row / (2 * HALF) * HALF + row % HALF;
    const int k0 = ALONG_K ? chunk * 8 : row;
    lines_left = lines - line;
    k_left = k - k0;
    from = base + (ALONG_K ? line * pitch + k0 : k0 * pitch + line);
    if constexpr (HALF > 0 && !IN_TURN) {
      if (row / HALF % 2 != 0) from += other;
    }
  }

  // Copies the next tile.
  __device__ __forceinline__ void copy(uint32_t to) {
    to += Memory::offset(row, chunk);
    const bf16* next = from;
#pragma unroll
    for (int i = 0; i < COPIES; ++i) {
      if (Memory::ROWS % STRIDE != 0 && row + i * STRIDE >= Memory::ROWS) break;
      const int further = (IN_TURN ? i / 2 : i) * FURTHER;
      const int valid = ALONG_K ? (lines_left > further ? k_left : 0) : (k_left > further ? lines_left : 0);
      const bf16* source = IN_TURN && i % 2 == 1 ? next + other : next;
      if constexpr (ALIGNED) {
        cp_async<16>(to, source, valid > 0 ? 16 : 0);
      } else {
        copy_pieces(to, source, valid, granule);
      }
      to += STRIDE * Memory::CHUNKS * 16;
      if (!IN_TURN || i % 2 == 1) next += FURTHER * pitch;
    }
    from += ALONG_K ? DEPTH : DEPTH * pitch;
    k_left -= DEPTH;
  }

  // The registers of 16 lines from `line` on (a multiple of 16) and 16 k from step `step` on, as four
  // matrices of 8 lines x 8 k. LINES_FIRST: the second matrix has the next lines, the third the next k;
  // that is A's order. Otherwise the other way round: B's two halves of k for 8 columns, then 8 more.
  template <bool LINES_FIRST>
  static __device__ __forceinline__ void fragment(uint32_t (&to)[4], uint32_t tile, int line, int step) {
    const int lane = threadIdx.x % 32;
    const int low = lane & 7, second = lane >> 3 & 1, third = lane >> 4;
    const int lines8 = LINES_FIRST ? second : third, k8 = LINES_FIRST ? third : second;
    if constexpr (ALONG_K) {
      ldmatrix(to, tile + Memory::offset(line + lines8 * 8 + low, step * 2 + k8));
    } else {
      ldmatrix_transposed(to, tile + Memory::offset(step * 16 + k8 * 8 + low, line / 8 + lines8));
    }
  }
};

// The patches of a warp in turn: fills acc from shared memory or the other way round.
template <typename S, bool FILL, int TILES_DOWN, int TILES_ACROSS>
__device__ __forceinline__ void exchange(float* patch, float (&acc)[TILES_DOWN][TILES_ACROSS][4], int which) {
  constexpr int DOWN = S::PATCH_ROWS / 16;
  const int lane = threadIdx.x % 32;
  float* mine = patch + lane / 4 * S::PATCH_PITCH + lane % 4 * 2;
#pragma unroll
  for (int p = 0; p < S::PATCHES; ++p) {
    if (p != which) continue;
#pragma unroll
    for (int i = 0; i < DOWN; ++i) {
#pragma unroll
      for (int j = 0; j < TILES_ACROSS; ++j) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float* s = &acc[p * DOWN + i][j][half * 2];
          auto* pair = reinterpret_cast<float2*>(mine + (i * 16 + half * 8) * S::PATCH_PITCH + j * 8);
          if constexpr (FILL) {
            const float2 x = *pair;
            s[0] = x.x;
            s[1] = x.y;
          } else {
            *pair = make_float2(s[0], s[1]);
          }
        }
      }
    }
  }
}

template <typename S, bool A_ALONG_K, bool B_ALONG_K, bool PAIR, bool ALIGNED>
__device__ __forceinline__ void product(const Operands& o, const Finish& f, bool wide, bool vector) {
  using A = Operand<A_ALONG_K, S::ROWS, S::DEPTH, S::THREADS, ALIGNED>;
  using B = Operand<B_ALONG_K, S::COLUMNS, S::DEPTH, S::THREADS, ALIGNED, PAIR ? S::WARP_COLUMNS / 2 : 0>;
  constexpr int C_COLUMNS = PAIR ? S::COLUMNS / 2 : S::COLUMNS;
  constexpr int WARP_C_COLUMNS = PAIR ? S::WARP_COLUMNS / 2 : S::WARP_COLUMNS;
  constexpr int DOWN = S::WARP_ROWS / 16, ACROSS = S::WARP_COLUMNS / 8;
  static_assert(A::BYTES + B::BYTES == S::STAGE_BYTES);
  extern __shared__ __align__(128) unsigned char shared[];

  // Tiles are numbered down groups of GROUP_ROWS rows of tiles, then across: blocks that run together
  // cover a near-square of C, so the second-level cache gives most of what they read.
  const int tiles_down = (o.m + S::ROWS - 1) / S::ROWS;
  const int tiles_across = (o.n + C_COLUMNS - 1) / C_COLUMNS;
  const int group = blockIdx.x / (GROUP_ROWS * tiles_across), in_group = blockIdx.x % (GROUP_ROWS * tiles_across);
  const int rows_of_group = min(GROUP_ROWS, tiles_down - group * GROUP_ROWS);
  const int row0 = (group * GROUP_ROWS + in_group % rows_of_group) * S::ROWS;
  const int column0 = in_group / rows_of_group * C_COLUMNS;

  const int warp = threadIdx.x / 32;
  const int warp_row = warp / S::WARPS_ACROSS * S::WARP_ROWS;
  const int warp_column = warp % S::WARPS_ACROSS * S::WARP_COLUMNS;
  const int patch_row = row0 + warp_row;
  const int patch_column = column0 + warp % S::WARPS_ACROSS * WARP_C_COLUMNS;
  float* patch = reinterpret_cast<float*>(shared) + warp * S::PATCH_FLOATS;

  float acc[DOWN][ACROSS][4] = {};
  if constexpr (!PAIR) {
    if (f.kind == ACCUMULATE) {
#pragma unroll 1
      for (int p = 0; p < S::PATCHES; ++p) {
        const int row = patch_row + p * S::PATCH_ROWS;
        if (wide) {
          if (vector) {
            load_patch<float, 4, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
          } else {
            load_patch<float, 1, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
          }
        } else if (vector) {
          load_patch<bf16, 8, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
        } else {
          load_patch<bf16, 1, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
        }
        __syncwarp();
        exchange<S, true>(patch, acc, p);
        __syncwarp();
      }
      __syncthreads();  // before the stages take the memory
    }
  }

  const uint32_t stages = shared_address(shared);
  const int steps = (o.k + STEP - 1) / STEP;
  const int tiles = (o.k + S::DEPTH - 1) / S::DEPTH;
  A rows(o.a, o.a, o.m, o.k, row0, o.granule_a);
  B columns(o.b, PAIR ? o.b_up : o.b, o.n, o.k, column0, o.granule_b);
  auto copy = [&](int tile, int stage) {
    if (tile < tiles) {
      const uint32_t to = stages + stage * S::STAGE_BYTES;
      rows.copy(to);
      columns.copy(to + A::BYTES);
    }
    cp_async_commit();
  };
  // Fragments of this step and the next.
  uint32_t a[2][DOWN][4], b[2][ACROSS / 2][4];
  auto load = [&](int into, int stage, int step) {
    const uint32_t from = stages + stage * S::STAGE_BYTES;
#pragma unroll
    for (int i = 0; i < DOWN; ++i) A::template fragment<true>(a[into][i], from, warp_row + i * 16, step);
#pragma unroll
    for (int j = 0; j < ACROSS / 2; ++j) {
      B::template fragment<false>(b[into][j], from + A::BYTES, warp_column + j * 16, step);
    }
  };

#pragma unroll
  for (int stage = 0; stage < S::STAGES - 1; ++stage) copy(stage, stage);
  cp_async_wait<S::STAGES - 2>();
  __syncthreads();
  load(0, 0, 0);
  int stage = 0, free_stage = S::STAGES - 1;
#pragma unroll 1
  for (int tile = 0; tile < tiles; ++tile) {
#pragma unroll
    for (int step = 0; step < S::STEPS; ++step) {
      if (step == S::STEPS - 1) {
        // The next tile has arrived, and every warp has read this one to its end: its stage may be filled again.
        cp_async_wait<S::STAGES - 2>();
        __syncthreads();
        stage = stage + 1 == S::STAGES ? 0 : stage + 1;
      }
      load((step + 1) % 2, stage, (step + 1) % S::STEPS);
      if (step == 0) {
        copy(tile + S::STAGES - 1, free_stage);
        free_stage = free_stage + 1 == S::STAGES ? 0 : free_stage + 1;
      }
      if (step == 0 || tile * S::STEPS + step < steps) {
#pragma unroll
        for (int i = 0; i < DOWN; ++i) {
#pragma unroll
          for (int j = 0; j < ACROSS; ++j) {
            // To and fro, so that the next product always shares an operand with the last.
            const int to = i % 2 == 0 ? j : ACROSS - 1 - j;
            mma_bf16(acc[i][to], a[step % 2][i], b[step % 2][to / 2][to % 2 * 2], b[step % 2][to / 2][to % 2 * 2 + 1]);
          }
        }
      }
    }
  }
  cp_async_wait<0>();
  __syncthreads();

#pragma unroll 1
  for (int p = 0; p < S::PATCHES; ++p) {
    exchange<S, false>(patch, acc, p);
    __syncwarp();
    const int row = patch_row + p * S::PATCH_ROWS;
    if constexpr (PAIR) {
      if (vector) {
        finish_pair<bf16, 8, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
      } else {
        finish_pair<bf16, 1, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
      }
    } else if (wide) {
      if (vector) {
        finish_patch<bf16, float, 4, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
      } else {
        finish_patch<bf16, float, 1, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
      }
    } else if (vector) {
      finish_patch<bf16, bf16, 8, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
    } else {
      finish_patch<bf16, bf16, 1, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
    }
    __syncwarp();
  }
}

// CudaTile.java has the same numbers.
//                        rows columns depth warp's patch stages blocks
using Tile128x256 = Shape<128, 256, 32, 64, 64, 4, 1>;
using Tile128x128 = Shape<128, 128, 32, 64, 64, 4, 2>;
using Tile64x64 = Shape<64, 64, 64, 32, 32, 3, 4>;
// Copies in small pieces take registers, so here a warp's patch is half as large.
using Tile128x128Any = Shape<128, 128, 32, 32, 64, 4, 1>;
// Few rows: the weights stream through, and what counts is how many bytes are under way.
using Tile64x32 = Shape<64, 32, 64, 16, 32, 5, 3>;
using Tile16x128 = Shape<16, 128, 64, 16, 32, 5, 2>;
using Tile16x32 = Shape<16, 32, 64, 16, 16, 8, 4>;

}  // namespace
}  // namespace saccade

// The grid's z is the product of a batch; its operands lie so many elements behind those of the one before.
// wide: C, residual and kept are fp32. vector: they, n, bias and scale allow 16-byte accesses of C.
#define SACCADE_GEMM(NAME, TILE, A_ALONG_K, B_ALONG_K, PAIR, ALIGNED)                                              \
  extern "C" __global__ void __launch_bounds__(saccade::TILE::THREADS, saccade::TILE::BLOCKS)                      \
      NAME(const saccade::bf16* a, const saccade::bf16* b, const saccade::bf16* b_up, void* c, const void* bias,   \
           const void* scale, const void* residual, void* kept, void* kept_up, long long stride_a,                 \
           long long stride_b, long long stride_c, int m, int n, int k, int kind, int wide, int vector,            \
           int granule_a, int granule_b) {                                                                         \
    const long long which = blockIdx.z;                                                                            \
    saccade::product<saccade::TILE, A_ALONG_K, B_ALONG_K, PAIR, ALIGNED>(                                          \
        {a + which * stride_a, b + which * stride_b, b_up, m, n, k, granule_a, granule_b},                         \
        {kind, static_cast<char*>(c) + which * stride_c * (wide != 0 ? 4 : 2), bias, scale, residual, kept,        \
         kept_up, m, n},                                                                                           \
        wide != 0, vector != 0);                                                                                   \
  }

// NN, NT, TN and the gated unit with one tile; rows of any alignment have kernels of their own.
#define SACCADE_GEMM_LAYOUTS(SUFFIX, TILE, ALIGNED)                          \
  SACCADE_GEMM(gemm_nn_##SUFFIX, TILE, true, false, false, ALIGNED)          \
  SACCADE_GEMM(gemm_nt_##SUFFIX, TILE, true, true, false, ALIGNED)           \
  SACCADE_GEMM(gemm_tn_##SUFFIX, TILE, false, false, false, ALIGNED)         \
  SACCADE_GEMM(swi_glu_##SUFFIX, TILE, true, true, true, ALIGNED)

// A linear layer of few rows.
#define SACCADE_GEMM_FEW_ROWS(SUFFIX, TILE)                                  \
  SACCADE_GEMM(gemm_nt_##SUFFIX, TILE, true, true, false, true)              \
  SACCADE_GEMM(swi_glu_##SUFFIX, TILE, true, true, true, true)

SACCADE_GEMM_LAYOUTS(128x256_bf16, Tile128x256, true)
SACCADE_GEMM_LAYOUTS(128x128_bf16, Tile128x128, true)
SACCADE_GEMM_LAYOUTS(64x64_bf16, Tile64x64, true)
SACCADE_GEMM_LAYOUTS(128x128_any_bf16, Tile128x128Any, false)
SACCADE_GEMM_LAYOUTS(64x64_any_bf16, Tile64x64, false)
SACCADE_GEMM_FEW_ROWS(64x32_bf16, Tile64x32)
SACCADE_GEMM_FEW_ROWS(16x128_bf16, Tile16x128)
SACCADE_GEMM_FEW_ROWS(16x32_bf16, Tile16x32)
