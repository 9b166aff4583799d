// Attention of one new query a sequence in bf16: the bits of forward.cu at the speed of memory.
//
// A block takes one sequence and key-value head, whose group of query heads is the 16 rows of a tensor core tile, and
// keeps several stages of 64 keys on their way. Its four warps share the work on a stage: each has the scores of 16
// keys, hands maxima, sums and weights round through shared memory, and adds up a quarter of the output's columns. Each
// element is the same chain of products as in forward.cu, where one warp has all keys and columns.
#include "softmax.cuh"
#include "tile.cuh"

namespace saccade {

constexpr int WARPS = 4;
constexpr int THREADS = 32 * WARPS;
constexpr int ROWS = 16;
constexpr int STAGE = 64;  // keys that are loaded together: two steps of the softmax, of 32 keys each

// What the warps hand round, beside the tiles.
struct Exchange {
  float top[WARPS][ROWS];
  float added[WARPS][ROWS][4];
};

template <int WIDTH, int STAGES>
__device__ __forceinline__ void decode(const bf16* q, const bf16* k, const bf16* v, bf16* o, float* lse,
                                       const int* keyStart, const int* keyLength, int heads, int kvHeads, int headDim,
                                       float scaleLog2) {
  using Tile = Rows<WIDTH>;
  using Weights = Rows<STAGE>;
  constexpr int KEY_TILE = STAGE * Tile::BYTES;
  constexpr int COLUMNS = WIDTH / 8 / WARPS;  // of 8 elements, that a warp adds up
  extern __shared__ __align__(1024) unsigned char shared[];
  __shared__ Exchange exchange;
  const uint32_t keyTiles = shared_address(shared);
  const uint32_t queryTile = keyTiles + STAGES * 2 * KEY_TILE;
  const uint32_t weightTile = queryTile + ROWS * Tile::BYTES;

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int sequence = blockIdx.x / kvHeads, kvHead = blockIdx.x % kvHeads;
  const int firstHead = blockIdx.y * ROWS;
  const int count = min(ROWS, heads / kvHeads - firstHead);
  const long long firstRow = static_cast<long long>(sequence) * heads + kvHead * (heads / kvHeads) + firstHead;
  const long long stride = static_cast<long long>(kvHeads) * headDim;
  const long long keyBase = keyStart[sequence] * stride + kvHead * headDim;
  const int length = keyLength[sequence];
  const int stages = (length + STAGE - 1) / STAGE;

  const auto load = [&](int stage) {
    if (stage < stages) {
      const uint32_t to = keyTiles + stage % STAGES * (2 * KEY_TILE);
      const int first = stage * STAGE;
      const long long from = keyBase + first * stride;
      load_keys<WIDTH, STAGE, THREADS>(to, k + from, stride, length - first, headDim);
      load_keys<WIDTH, STAGE, THREADS>(to + KEY_TILE, v + from, stride, length - first, headDim);
    }
    copy_commit();
  };
  if (threadIdx.x < ROWS * Tile::CHUNKS) {
    const int row = threadIdx.x / Tile::CHUNKS, chunk = threadIdx.x % Tile::CHUNKS;
    copy16(queryTile + Tile::offset(row, chunk), q + (firstRow + row) * headDim + 8 * chunk,
           row < count && 8 * chunk < headDim);
  }
  if constexpr (ROWS * Tile::CHUNKS > THREADS) {
    const int row = (threadIdx.x + THREADS) / Tile::CHUNKS, chunk = threadIdx.x % Tile::CHUNKS;
    copy16(queryTile + Tile::offset(row, chunk), q + (firstRow + row) * headDim + 8 * chunk,
           row < count && 8 * chunk < headDim);
  }
#pragma unroll
  for (int stage = 0; stage < STAGES - 1; stage++) load(stage);
  copy_wait<STAGES - 2>();
  __syncthreads();
  uint32_t query[Tile::STEPS][4];
#pragma unroll
  for (int step = 0; step < Tile::STEPS; step++) {
    load_matrices(query[step], Tile::at(Tile::rows_first(queryTile, lane), 0, step));
  }

  float sum[COLUMNS][4] = {}, shift[2] = {UNSEEN, UNSEEN}, total[2] = {};
  const int row = lane >> 2;
  for (int stage = 0; stage < stages; stage++) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    load(stage + STAGES - 1);
    const uint32_t keyTile = keyTiles + stage % STAGES * (2 * KEY_TILE);

    float score[2][4] = {};
    const uint32_t keyAt = Tile::columns_first(keyTile + 16 * warp * Tile::BYTES, lane);
#pragma unroll
    for (int step = 0; step < Tile::STEPS; step++) {
      uint32_t b[4];
      load_matrices(b, Tile::at(keyAt, 0, step));
      multiply_add(score[0], query[step], b[0], b[1]);
      multiply_add(score[1], query[step], b[2], b[3]);
    }
    if ((stage + 1) * STAGE > length) {
      const int seen = length - stage * STAGE - 16 * warp - 2 * (lane & 3);
#pragma unroll
      for (int i = 0; i < 8; i++) {
        if (i / 4 * 8 + (i & 1) >= seen) score[i / 4][i % 4] = -INFINITY;
      }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float most = fmaxf(fmaxf(score[0][2 * half], score[0][2 * half + 1]),
                         fmaxf(score[1][2 * half], score[1][2 * half + 1]));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
      if ((lane & 3) == 0) exchange.top[warp][row + 8 * half] = most;
    }
    __syncthreads();

    // Two steps of the softmax: the keys of warps 0 and 1, then those of warps 2 and 3.
    float decay[2][2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int at = row + 8 * half;
      decay[0][half] = move_shift(shift[half], fmaxf(exchange.top[0][at], exchange.top[1][at]), scaleLog2);
      const float first = shift[half];
      decay[1][half] = move_shift(shift[half], fmaxf(exchange.top[2][at], exchange.top[3][at]), scaleLog2);
      const float own = warp < 2 ? first : shift[half];
      float added;
#pragma unroll
      for (int n = 0; n < 2; n++) {
        const float w0 = weight(score[n][2 * half], scaleLog2, own);
        const float w1 = weight(score[n][2 * half + 1], scaleLog2, own);
        const float pair = __fadd_rn(w0, w1);
        added = n == 0 ? pair : __fadd_rn(added, pair);
        store_shared(weightTile + Weights::offset(at, 2 * warp + n) + 4 * (lane & 3), pack_bf16(w0, w1));
      }
      exchange.added[warp][at][lane & 3] = added;
    }
    __syncthreads();

    const uint32_t weightAt = Weights::rows_first(weightTile, lane);
#pragma unroll
    for (int step = 0; step < 2; step++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int at = row + 8 * half;
        const float added =
            __fadd_rn(exchange.added[2 * step][at][lane & 3], exchange.added[2 * step + 1][at][lane & 3]);
        total[half] = __fmaf_rn(total[half], decay[step][half], added);
      }
      uint32_t a[2][4];
      load_matrices(a[0], Weights::at(weightAt, 0, 2 * step));
      load_matrices(a[1], Weights::at(weightAt, 0, 2 * step + 1));
#pragma unroll
      for (int n = 0; n < COLUMNS; n++) {
        sum[n][0] = __fmul_rn(sum[n][0], decay[step][0]);
        sum[n][1] = __fmul_rn(sum[n][1], decay[step][0]);
        sum[n][2] = __fmul_rn(sum[n][2], decay[step][1]);
        sum[n][3] = __fmul_rn(sum[n][3], decay[step][1]);
        // 32 keys of 8 columns: operands b of two products one after the other.
        uint32_t b[4];
        load_transposed(b, keyTile + KEY_TILE + Tile::offset(32 * step + lane, COLUMNS * warp + n));
        multiply_add(sum[n], a[0], b[0], b[1]);
        multiply_add(sum[n], a[1], b[2], b[3]);
      }
    }
  }
  copy_wait<0>();

#pragma unroll
  for (int half = 0; half < 2; half++) {
    float all = total[half];
    all = __fadd_rn(all, __shfl_xor_sync(0xffffffffu, all, 1));
    all = __fadd_rn(all, __shfl_xor_sync(0xffffffffu, all, 2));
    const float factor = normalizer(all);
    const int head = row + 8 * half;
    if (head >= count) continue;
    if (threadIdx.x % 4 == 0 && warp == 0) lse[firstRow + head] = log_sum_exp(shift[half], all);
#pragma unroll
    for (int n = 0; n < COLUMNS; n++) {
      const int column = 8 * (COLUMNS * warp + n) + 2 * (lane & 3);
      if (column < headDim) {
        *reinterpret_cast<uint32_t*>(o + (firstRow + head) * headDim + column) =
            pack_bf16(sum[n][2 * half] * factor, sum[n][2 * half + 1] * factor);
      }
    }
  }
}

}  // namespace saccade

#define DECODE(WIDTH, STAGES)                                                                                       \
  extern "C" __global__ void __launch_bounds__(saccade::THREADS, 2) decode_##WIDTH##_##STAGES##_bf16(                  \
      const saccade::bf16* q, const saccade::bf16* k, const saccade::bf16* v, saccade::bf16* o, float* lse,         \
      const int* keyStart, const int* keyLength, int heads, int kvHeads, int headDim, float scaleLog2) {            \
    saccade::decode<WIDTH, STAGES>(q, k, v, o, lse, keyStart, keyLength, heads, kvHeads, headDim, scaleLog2);       \
  }

DECODE(32, 6)
DECODE(64, 4)
DECODE(128, 2)  // where a block can not have the shared memory of 3
DECODE(128, 3)
