// What attention's backward kernels on Hopper have in common: two warpgroups that multiply tiles of 64 queries or keys
// which a third one loads, and how results leave.
#pragma once

#include "hopper.cuh"
#include "ptx.cuh"
#include "softmax.cuh"

namespace saccade {

constexpr int GROUP_ROWS = 64;  // of what stays with a block, for a warpgroup
constexpr int GROUP_THREADS = 128;
constexpr int GROUPS = 2;
constexpr int THREADS = GROUP_THREADS * (GROUPS + 1);
constexpr int TILE = 64;        // rows that stream past together
constexpr int REST = 16;        // and as many as are multiplied of a sequence's last tile, where that holds no more
constexpr int ROW_BYTES = 128;  // 64 elements, the span of the swizzle; wider rows are several panels
constexpr int TILE_PANEL = TILE * ROW_BYTES;

constexpr int STATISTICS = 2;  // of a query and head: lse log2(e), and dO.o
// TMA fetches floats from a multiple of 16 bytes on, but a sequence begins at any row: there are copies of the
// statistics, and copy c has row r at place r + c.
constexpr int COPIES = 4;

// What ptxas gives each thread at the start is shared out again: to those that move data, and to those that multiply.
constexpr int PRODUCER_REGISTERS = 24;
constexpr int CONSUMER_REGISTERS = 240;

// 64 x COLUMNS numbers of a warpgroup, element i as wgmma leaves it, and rounded: left operands of the steps of 16 that
// follow.
template <int COLUMNS> using Scores = float[GROUP_ROWS * COLUMNS / GROUP_THREADS];
template <int COLUMNS> using Operand = uint32_t[GROUP_ROWS * COLUMNS / GROUP_THREADS / 2];

// sum += what is rounded in `left` times the first rows of a tile; the products are only started.
template <int N, int M>
__device__ __forceinline__ void start_sum(float (&sum)[M], const uint32_t (&left)[N], uint64_t tile) {
#pragma unroll
  for (int step = 0; step < N / 4; step++) wgmma<false>(sum, left + 4 * step, tile + step * DESCRIPTOR_STEP<false>);
}

// As scores lie they are a product's left operand.
template <int N> __device__ __forceinline__ void round_operand(uint32_t (&operand)[N], const float (&score)[2 * N]) {
#pragma unroll
  for (int i = 0; i < N; i++) operand[i] = pack_bf16(score[2 * i], score[2 * i + 1]);
  pin(operand);
}

__device__ __forceinline__ float slope_of(float weight, float product, float constant) {
  return __fmul_rn(weight, __fsub_rn(product, constant));
}

// Transposed scores become weights. `statistics` is the tile's place of them, `column` this lane's first query.
template <int N>
__device__ __forceinline__ void weigh_columns(const float (&score)[N], float (&weights)[N], uint32_t statistics,
                                              int column, float scaleLog2) {
#pragma unroll
  for (int n = 0; n < N / 4; n++) {
    const float2 lse = load_shared_pair(statistics + 4 * (8 * n + column));
#pragma unroll
    for (int half = 0; half < 2; half++) {
      weights[4 * n + 2 * half] = weight(score[4 * n + 2 * half], scaleLog2, lse.x);
      weights[4 * n + 2 * half + 1] = weight(score[4 * n + 2 * half + 1], scaleLog2, lse.y);
    }
  }
}

// Transposed products dO v' become the scores' slopes.
template <int N>
__device__ __forceinline__ void slope_columns(const float (&weights)[N], float (&slope)[N], uint32_t statistics,
                                              int column) {
#pragma unroll
  for (int n = 0; n < N / 4; n++) {
    const float2 constant = load_shared_pair(statistics + 4 * (TILE + 8 * n + column));
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float& even = slope[4 * n + 2 * half];
      float& odd = slope[4 * n + 2 * half + 1];
      even = slope_of(weights[4 * n + 2 * half], even, constant.x);
      odd = slope_of(weights[4 * n + 2 * half + 1], odd, constant.y);
    }
  }
}

// Rows `from` to `to` of so many panels belong to another sequence or to nobody: they become 0, whatever they were
// multiplied with. Called by `threads` threads, of which this one is number `thread`.
template <int PANELS>
__device__ __forceinline__ void clear_rows(uint32_t place, int panel, int from, int to, int thread, int threads) {
  for (int i = from * ROW_BYTES + thread * 16; i < to * ROW_BYTES; i += threads * 16) {
#pragma unroll
    for (int p = 0; p < PANELS; p++) store_shared(place + p * panel + i, make_uint4(0, 0, 0, 0));
  }
}

// The same for a tile's statistics, by threads of which at least STATISTICS * TILE call it.
__device__ __forceinline__ void clear_statistics(uint32_t statistics, int from, int to, int thread) {
  const int query = thread % TILE;
  if (query >= from && query < to && thread < STATISTICS * TILE) store_shared(statistics + 4 * thread, 0u);
}

// Rounds a warp's 16 rows of a sum, times a factor, through rows of shared memory that nobody else uses to where they
// belong; `rows` of them exist.
template <int WIDTH, int PANEL>
__device__ __forceinline__ void store_sum(const float (&sum)[WIDTH / 2], float factor, uint32_t place, bf16* to,
                                          long long stride, int rows) {
  const int lane = threadIdx.x % 32;
  const auto chunk_at = [&](int row, int panel, int chunk) {
    return place + panel * PANEL + row * ROW_BYTES + ((chunk ^ (row & 7)) << 4);
  };
#pragma unroll
  for (int n = 0; n < WIDTH / 16; n++) {
    const float* x = sum + 8 * n;
    stmatrix(chunk_at(lane % 16, n / 4, 2 * (n % 4) + lane / 16), pack_bf16(x[0] * factor, x[1] * factor),
             pack_bf16(x[2] * factor, x[3] * factor), pack_bf16(x[4] * factor, x[5] * factor),
             pack_bf16(x[6] * factor, x[7] * factor));
  }
  __syncwarp();
  const int chunk = lane % 8;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int row = lane / 8 + 4 * i;
    if (row < rows) {
#pragma unroll
      for (int panel = 0; panel < WIDTH / 64; panel++) {
        *reinterpret_cast<uint4*>(to + row * stride + 64 * panel + 8 * chunk) =
            load_shared(chunk_at(row, panel, chunk));
      }
    }
  }
}

}  // namespace saccade
