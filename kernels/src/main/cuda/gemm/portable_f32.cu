// The matrix product of fp32 operands in true fp32, on any GPU from sm_80.
//
// Each element is the chain s = fma(a[m,k], b[k,n], s) for k = 0 ... K-1, no step more or less: the CPU's
// chain, hence the CPU's bits. A block computes one tile of C, a thread DOWN x ACROSS elements of it in
// registers. The next tiles of A and B are fetched into registers while the present ones, in shared memory,
// are used; there, both are [k][line], so that a step of k reads neighbours.

#include "epilogue.cuh"

#include <type_traits>

namespace saccade {
namespace {

constexpr int GROUP_ROWS = 16;  // tiles below each other that run at about the same time and share B in L2

struct Operands {
  const float* a;
  const float* b;
  const float* b_up;  // swiGlu's second weight
  int m, n, k;
  // 16 where addresses and row pitches of A and B are multiples of 16 bytes.
  int granule_a, granule_b;
};

// A warp is 4 x 8 threads. A thread's elements lie in groups of 4 x 4 (fewer rows where DOWN is less), the
// groups of a warp side by side, so a warp reads whole lines of shared memory.
template <int ROWS_, int COLUMNS_, int DEPTH_, int DOWN_, int ACROSS_, int BLOCKS_> struct Shape {
  static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, DEPTH = DEPTH_, DOWN = DOWN_, ACROSS = ACROSS_;
  static constexpr int BLOCKS = BLOCKS_;  // that the registers should leave room for on a multiprocessor
  static constexpr int GROUP_DOWN = DOWN < 4 ? DOWN : 4, GROUP_ACROSS = 4;
  static constexpr int WARP_ROWS = 4 * DOWN, WARP_COLUMNS = 8 * ACROSS;
  static constexpr int WARPS_ACROSS = COLUMNS / WARP_COLUMNS;
  static constexpr int THREADS = ROWS / WARP_ROWS * WARPS_ACROSS * 32;
  static constexpr int BUFFER_FLOATS = (ROWS + COLUMNS) * DEPTH;
  // Sums go to the epilogue by way of the same memory, in patches of one group's rows.
  static constexpr int PATCH_ROWS = 4 * GROUP_DOWN;
  static constexpr int PATCHES = DOWN / GROUP_DOWN;
  static constexpr int PATCH_PITCH = WARP_COLUMNS + 8;
  static constexpr int PATCH_FLOATS = PATCH_ROWS * PATCH_PITCH;
  static constexpr int ALL_PATCHES = THREADS / 32 * PATCH_FLOATS;
  static constexpr int SHARED_FLOATS = 2 * BUFFER_FLOATS > ALL_PATCHES ? 2 * BUFFER_FLOATS : ALL_PATCHES;
  static_assert(ACROSS % 4 == 0 && DOWN % GROUP_DOWN == 0);
};

// One operand: `lines` rows of A or columns of B, of k elements each. ALONG_K says whether a line is
// contiguous. LINES of them make a tile, DEPTH of k deep. With HALF > 0 a tile's lines come in turn from two
// matrices, HALF from each. An object is a thread's place in the next tile and what it fetched of it.
template <bool ALONG_K, int LINES, int DEPTH, int THREADS, int HALF = 0> struct Operand {
  static constexpr int CHUNKS = (ALONG_K ? DEPTH : LINES) / 4;  // of 4 elements, of a row of memory
  static constexpr int STRIDE = THREADS / CHUNKS;
  static constexpr int COPIES = (ALONG_K ? LINES : DEPTH) / STRIDE;
  static_assert(THREADS % CHUNKS == 0 && COPIES * STRIDE == (ALONG_K ? LINES : DEPTH));
  // Of two matrices, a thread reads one, or both in turn.
  static constexpr bool IN_TURN = HALF > 0 && STRIDE == HALF;
  // How many lines (rows of k) lie between the chunks of one matrix.
  static constexpr int FURTHER = HALF > 0 && !IN_TURN ? STRIDE / 2 : STRIDE;
  static_assert(HALF == 0 || (ALONG_K && (COPIES == 1 || STRIDE == HALF || STRIDE == 2 * HALF)));

  const float* from;
  long long other;  // the second matrix's distance from the first, in elements
  long long pitch;
  int row, chunk;
  int lines_left, k_left;  // from the first chunk on
  bool aligned;
  float4 fetched[COPIES];

  __device__ __forceinline__ Operand(
      const float* base, const float* second, int lines, int k, int line0, int granule)
      : other(second - base), pitch(ALONG_K ? k : lines), row(threadIdx.x / CHUNKS), chunk(threadIdx.x % CHUNKS),
        aligned(granule >= 16) {
    int line = line0 + (ALONG_K ? row : chunk * 4);
    if constexpr (HALF > 0) line = line0 + row / (2 * HALF) * HALF + row % HALF;
    const int k0 = ALONG_K ? chunk * 4 : row;
    lines_left = lines - line;
    k_left = k - k0;
    from = base + (ALONG_K ? line * pitch + k0 : k0 * pitch + line);
    if constexpr (HALF > 0 && !IN_TURN) {
      if (row / HALF % 2 != 0) from += other;
    }
  }

  // Where the element of a line at step k lies in a tile. Lines are permuted by k, in groups of 8, so that
  // threads that store elements of different k find different banks.
  static __device__ __forceinline__ int offset(int k, int line) {
    constexpr int PERMUTED = (LINES < 32 ? LINES : 32) / 8;
    return k * LINES + (line ^ (k / 4 % PERMUTED * 8));
  }

  // Fetches the next tile.
  __device__ __forceinline__ void fetch() {
    const float* next = from;
#pragma unroll
    for (int i = 0; i < COPIES; ++i) {
      const int further = (IN_TURN ? i / 2 : i) * FURTHER;
      const int valid = ALONG_K ? (lines_left > further ? k_left : 0) : (k_left > further ? lines_left : 0);
      const float* source = IN_TURN && i % 2 == 1 ? next + other : next;
      float4 x = make_float4(0.f, 0.f, 0.f, 0.f);
      if (aligned) {
        if (valid > 0) x = *reinterpret_cast<const float4*>(source);
      } else {
        if (valid > 0) x.x = source[0];
        if (valid > 1) x.y = source[1];
        if (valid > 2) x.z = source[2];
        if (valid > 3) x.w = source[3];
      }
      fetched[i] = x;
      if (!IN_TURN || i % 2 == 1) next += FURTHER * pitch;
    }
    from += ALONG_K ? DEPTH : DEPTH * pitch;
    k_left -= DEPTH;
  }

  __device__ __forceinline__ void place(float* tile) const {
#pragma unroll
    for (int i = 0; i < COPIES; ++i) {
      const float4 x = fetched[i];
      const int at = row + i * STRIDE;
      if constexpr (ALONG_K) {
        tile[offset(chunk * 4, at)] = x.x;
        tile[offset(chunk * 4 + 1, at)] = x.y;
        tile[offset(chunk * 4 + 2, at)] = x.z;
        tile[offset(chunk * 4 + 3, at)] = x.w;
      } else {
        *reinterpret_cast<float4*>(&tile[offset(at, chunk * 4)]) = x;
      }
    }
  }
};

// The patches of a warp in turn: fills acc from shared memory or the other way round.
template <typename S, bool FILL>
__device__ __forceinline__ void exchange(float* patch, float (&acc)[S::DOWN][S::ACROSS], int which) {
  const int lane = threadIdx.x % 32;
  float* mine = patch + lane / 8 * S::GROUP_DOWN * S::PATCH_PITCH + lane % 8 * S::GROUP_ACROSS;
#pragma unroll
  for (int p = 0; p < S::PATCHES; ++p) {
    if (p != which) continue;
#pragma unroll
    for (int i = 0; i < S::GROUP_DOWN; ++i) {
#pragma unroll
      for (int j = 0; j < S::ACROSS; j += 4) {
        float* s = &acc[p * S::GROUP_DOWN + i][j];
        auto* four = reinterpret_cast<float4*>(mine + i * S::PATCH_PITCH + j * 8);
        if constexpr (FILL) {
          const float4 x = *four;
          s[0] = x.x;
          s[1] = x.y;
          s[2] = x.z;
          s[3] = x.w;
        } else {
          *four = make_float4(s[0], s[1], s[2], s[3]);
        }
      }
    }
  }
}

template <typename S, bool A_ALONG_K, bool B_ALONG_K, bool PAIR>
__device__ __forceinline__ void product(const Operands& o, const Finish& f, bool vector) {
  using A = Operand<A_ALONG_K, S::ROWS, S::DEPTH, S::THREADS>;
  using B = Operand<B_ALONG_K, S::COLUMNS, S::DEPTH, S::THREADS, PAIR ? S::WARP_COLUMNS / 2 : 0>;
  constexpr int C_COLUMNS = PAIR ? S::COLUMNS / 2 : S::COLUMNS;
  constexpr int WARP_C_COLUMNS = PAIR ? S::WARP_COLUMNS / 2 : S::WARP_COLUMNS;
  __shared__ __align__(16) float shared[S::SHARED_FLOATS];

  // Tiles are numbered down groups of GROUP_ROWS rows of tiles, then across, as in portable.cu.
  const int tiles_down = (o.m + S::ROWS - 1) / S::ROWS;
  const int tiles_across = (o.n + C_COLUMNS - 1) / C_COLUMNS;
  const int group = blockIdx.x / (GROUP_ROWS * tiles_across), in_group = blockIdx.x % (GROUP_ROWS * tiles_across);
  const int rows_of_group = min(GROUP_ROWS, tiles_down - group * GROUP_ROWS);
  const int row0 = (group * GROUP_ROWS + in_group % rows_of_group) * S::ROWS;
  const int column0 = in_group / rows_of_group * C_COLUMNS;

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_row = warp / S::WARPS_ACROSS * S::WARP_ROWS;
  const int warp_column = warp % S::WARPS_ACROSS * S::WARP_COLUMNS;
  const int patch_row = row0 + warp_row;
  const int patch_column = column0 + warp % S::WARPS_ACROSS * WARP_C_COLUMNS;
  float* patch = shared + warp * S::PATCH_FLOATS;

  float acc[S::DOWN][S::ACROSS] = {};
  if constexpr (!PAIR) {
    if (f.kind == ACCUMULATE) {
#pragma unroll 1
      for (int p = 0; p < S::PATCHES; ++p) {
        const int row = patch_row + p * S::PATCH_ROWS;
        if (vector) {
          load_patch<float, 4, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
        } else {
          load_patch<float, 1, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
        }
        __syncwarp();
        exchange<S, true>(patch, acc, p);
        __syncwarp();
      }
      __syncthreads();  // before the tiles take the memory
    }
  }

  const int tiles = (o.k + S::DEPTH - 1) / S::DEPTH;
  A rows(o.a, o.a, o.m, o.k, row0, o.granule_a);
  B columns(o.b, PAIR ? o.b_up : o.b, o.n, o.k, column0, o.granule_b);
  auto place = [&](int tile) {
    float* buffer = shared + tile % 2 * S::BUFFER_FLOATS;
    rows.place(buffer);
    columns.place(buffer + S::ROWS * S::DEPTH);
  };
  const int line_a = warp_row + lane / 8 * S::GROUP_DOWN, line_b = warp_column + lane % 8 * S::GROUP_ACROSS;
  auto step = [&](const float* buffer, int k) {
    float a[S::DOWN], b[S::ACROSS];
#pragma unroll
    for (int i = 0; i < S::DOWN; i += S::GROUP_DOWN) {
      const auto run = *reinterpret_cast<const Run<float, S::GROUP_DOWN>*>(&buffer[A::offset(k, line_a + i * 4)]);
#pragma unroll
      for (int j = 0; j < S::GROUP_DOWN; ++j) a[i + j] = run.element[j];
    }
#pragma unroll
    for (int i = 0; i < S::ACROSS; i += 4) {
      const auto run = *reinterpret_cast<const Run<float, 4>*>(
          &buffer[S::ROWS * S::DEPTH + B::offset(k, line_b + i * 8)]);
#pragma unroll
      for (int j = 0; j < 4; ++j) b[i + j] = run.element[j];
    }
#pragma unroll
    for (int i = 0; i < S::DOWN; ++i) {
#pragma unroll
      for (int j = 0; j < S::ACROSS; ++j) acc[i][j] = __fmaf_rn(a[i], b[j], acc[i][j]);
    }
  };

  if (tiles > 0) {
    rows.fetch();
    columns.fetch();
    place(0);
  }
  __syncthreads();
#pragma unroll 1
  for (int tile = 0; tile < tiles; ++tile) {
    const bool more = tile + 1 < tiles;
    if (more) {
      rows.fetch();
      columns.fetch();
    }
    const float* buffer = shared + tile % 2 * S::BUFFER_FLOATS;
    const int depth = o.k - tile * S::DEPTH;
    if (depth >= S::DEPTH) {
#pragma unroll
      for (int k = 0; k < S::DEPTH; ++k) step(buffer, k);
    } else {
#pragma unroll 1
      for (int k = 0; k < depth; ++k) step(buffer, k);
    }
    // The other buffer was last read before the barrier that ended the turn before.
    if (more) place(tile + 1);
    __syncthreads();
  }

#pragma unroll 1
  for (int p = 0; p < S::PATCHES; ++p) {
    exchange<S, false>(patch, acc, p);
    __syncwarp();
    const int row = patch_row + p * S::PATCH_ROWS;
    if constexpr (PAIR) {
      if (vector) {
        finish_pair<float, 4, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
      } else {
        finish_pair<float, 1, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
      }
    } else if (vector) {
      finish_patch<float, float, 4, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
    } else {
      finish_patch<float, float, 1, S::PATCH_ROWS, S::WARP_COLUMNS>(patch, S::PATCH_PITCH, f, row, patch_column);
    }
    __syncwarp();
  }
}

// CudaTile.java has the same numbers.
//                       rows columns depth thread's elements, blocks
using Tile128x128 = Shape<128, 128, 16, 8, 8, 1>;
using Tile64x64 = Shape<64, 64, 16, 4, 4, 3>;
using Tile16x64 = Shape<16, 64, 32, 2, 4, 4>;

}  // namespace
}  // namespace saccade

// The grid's z is the product of a batch; its operands lie so many elements behind those of the one before.
// vector: c, residual, kept, n, bias and scale allow 16-byte accesses. `wide` has a meaning for bf16 only.
#define SACCADE_GEMM(NAME, TILE, A_ALONG_K, B_ALONG_K, PAIR)                                                       \
  extern "C" __global__ void __launch_bounds__(saccade::TILE::THREADS, saccade::TILE::BLOCKS)                      \
      NAME(const float* a, const float* b, const float* b_up, void* c, const void* bias, const void* scale,        \
           const void* residual, void* kept, void* kept_up, long long stride_a, long long stride_b,                \
           long long stride_c, int m, int n, int k, int kind, int wide, int vector, int granule_a,                 \
           int granule_b) {                                                                                        \
    const long long which = blockIdx.z;                                                                            \
    saccade::product<saccade::TILE, A_ALONG_K, B_ALONG_K, PAIR>(                                                   \
        {a + which * stride_a, b + which * stride_b, b_up, m, n, k, granule_a, granule_b},                         \
        {kind, static_cast<float*>(c) + which * stride_c, bias, scale, residual, kept, kept_up, m, n},             \
        vector != 0);                                                                                              \
  }

#define SACCADE_GEMM_LAYOUTS(SUFFIX, TILE)                          \
  SACCADE_GEMM(gemm_nn_##SUFFIX, TILE, true, false, false)          \
  SACCADE_GEMM(gemm_nt_##SUFFIX, TILE, true, true, false)           \
  SACCADE_GEMM(gemm_tn_##SUFFIX, TILE, false, false, false)         \
  SACCADE_GEMM(swi_glu_##SUFFIX, TILE, true, true, true)

SACCADE_GEMM_LAYOUTS(128x128_f32, Tile128x128)
SACCADE_GEMM_LAYOUTS(64x64_f32, Tile64x64)
SACCADE_GEMM_LAYOUTS(16x64_f32, Tile16x64)
