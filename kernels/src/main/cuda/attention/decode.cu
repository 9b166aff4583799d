// Attention of a few new queries a sequence over a cache in pages, in bf16: the bits of forward.cu at the speed of
// memory.
//
// A block takes one sequence and key-value head, whose group of query heads is the 16 rows of a tensor core tile, and
// keeps several pages of 64 keys on their way. Its four warps share the work on a page: each has the scores of 16
// keys, hands maxima, sums and weights round through shared memory, and adds up a quarter of the output's columns. Each
// element is the same chain of products as in forward.cu, where one warp has all keys and columns.
//
// Sequences that begin with the same pages can share the walk over those: `prefix` takes the queries of all of them as
// its rows, reads the pages once, and leaves what each row has summed up where `decode` goes on with it.
#include "pages.cuh"
#include "softmax.cuh"
#include "tile.cuh"

namespace saccade {

constexpr int WARPS = 4;
constexpr int THREADS = 32 * WARPS;
constexpr int ROWS = 16;

// What the warps hand round, beside the tiles.
struct Exchange {
  float top[WARPS][ROWS];
  float added[WARPS][ROWS][4];
};

// Walks over the pages `walk.from` to `walk.to`. UNFINISHED: the rows' sums go to their states, instead of their means
// to o and lse.
template <int WIDTH, int STAGES, bool UNFINISHED>
__device__ __forceinline__ void walk_pages(const Walk& walk, const PackedRows& rows, int first, int end, const bf16* q,
                                           const bf16* k, const bf16* v, bf16* o, float* lse, float* state, int pages,
                                           int kvHeads, int kvHead, int headDim, float scaleLog2, int* fault) {
  using Tile = Rows<WIDTH>;
  using Weights = Rows<PAGE>;
  constexpr int KEY_TILE = PAGE * Tile::BYTES;
  constexpr int COLUMNS = WIDTH / 8 / WARPS;  // of 8 elements, that a warp adds up
  extern __shared__ __align__(1024) unsigned char shared[];
  __shared__ Exchange exchange;
  const uint32_t keyTiles = shared_address(shared);
  const uint32_t queryTile = keyTiles + STAGES * 2 * KEY_TILE;
  const uint32_t weightTile = queryTile + ROWS * Tile::BYTES;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long stride = static_cast<long long>(kvHeads) * headDim;

  // A page's number is read one step before its keys are asked for.
  int page = walk.page(walk.from);
  const auto load = [&](int stage) {
    if (stage < walk.to) {
      const uint32_t to = keyTiles + stage % STAGES * (2 * KEY_TILE);
      const bool there = static_cast<unsigned>(page) < static_cast<unsigned>(pages);
      if (!there && threadIdx.x == 0) report_fault(fault, 1, page, pages, walk.sequence);
      const long long from = static_cast<long long>(page) * PAGE * stride + kvHead * headDim;
      const int keys = there ? walk.length - stage * PAGE : 0;
      load_keys<WIDTH, PAGE, THREADS>(to, k + from, stride, keys, headDim);
      load_keys<WIDTH, PAGE, THREADS>(to + KEY_TILE, v + from, stride, keys, headDim);
      page = walk.page(stage + 1);
    }
    copy_commit();
  };
#pragma unroll
  for (int i = threadIdx.x; i < ROWS * Tile::CHUNKS; i += THREADS) {
    const int row = i / Tile::CHUNKS, chunk = i % Tile::CHUNKS;
    copy16(queryTile + Tile::offset(row, chunk), q + static_cast<long long>(rows.at(first + row)) * headDim + 8 * chunk,
           first + row < end && 8 * chunk < headDim);
  }
#pragma unroll
  for (int stage = 0; stage < STAGES - 1; stage++) load(walk.from + stage);

  float sum[COLUMNS][4] = {}, shift[2] = {UNSEEN, UNSEEN}, total[2] = {};
  const int row = lane >> 2;
  if (!UNFINISHED && walk.from > 0) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int at = first + row + 8 * half;
      if (at >= end) continue;
      const float* from = state + rows.at(at) * state_pitch(headDim);
      shift[half] = from[headDim];
      total[half] = from[headDim + STATE_TOTALS + (lane & 3)];
#pragma unroll
      for (int n = 0; n < COLUMNS; n++) {
        const int column = 8 * (COLUMNS * warp + n) + 2 * (lane & 3);
        if (column < headDim) {
          const float2 pair = *reinterpret_cast<const float2*>(from + column);
          sum[n][2 * half] = pair.x;
          sum[n][2 * half + 1] = pair.y;
        }
      }
    }
  }

  copy_wait<STAGES - 2>();
  __syncthreads();
  uint32_t query[Tile::STEPS][4];
#pragma unroll
  for (int step = 0; step < Tile::STEPS; step++) {
    load_matrices(query[step], Tile::at(Tile::rows_first(queryTile, lane), 0, step));
  }

  for (int stage = walk.from; stage < walk.to; stage++) {
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
    if ((stage + 1) * PAGE > walk.seen) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int visible = walk.seen + rows.query(first + row + 8 * half);
        const int seen = min(visible, walk.length) - stage * PAGE - 16 * warp - 2 * (lane & 3);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          if (i / 2 * 8 + (i & 1) >= seen) score[i / 2][2 * half + (i & 1)] = -INFINITY;
        }
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
      const float before = shift[half];
      decay[1][half] = move_shift(shift[half], fmaxf(exchange.top[2][at], exchange.top[3][at]), scaleLog2);
      const float own = warp < 2 ? before : shift[half];
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
    const int at = first + row + 8 * half;
    if (at >= end) continue;
    if constexpr (UNFINISHED) {
      float* to = state + rows.at(at) * state_pitch(headDim);
      if (warp == 0) {
        if ((lane & 3) == 0) to[headDim] = shift[half];
        to[headDim + STATE_TOTALS + (lane & 3)] = total[half];
      }
#pragma unroll
      for (int n = 0; n < COLUMNS; n++) {
        const int column = 8 * (COLUMNS * warp + n) + 2 * (lane & 3);
        if (column < headDim) {
          *reinterpret_cast<float2*>(to + column) = make_float2(sum[n][2 * half], sum[n][2 * half + 1]);
        }
      }
    } else {
      const float factor = normalizer(all);
      if ((lane & 3) == 0 && warp == 0) lse[rows.at(at)] = log_sum_exp(shift[half], all);
      bf16* to = o + static_cast<long long>(rows.at(at)) * headDim;
#pragma unroll
      for (int n = 0; n < COLUMNS; n++) {
        const int column = 8 * (COLUMNS * warp + n) + 2 * (lane & 3);
        if (column < headDim) {
          *reinterpret_cast<uint32_t*>(to + column) =
              pack_bf16(sum[n][2 * half] * factor, sum[n][2 * half + 1] * factor);
        }
      }
    }
  }
}

template <int WIDTH, int STAGES>
__device__ __forceinline__ void decode(const bf16* q, const bf16* k, const bf16* v, bf16* o, float* lse, float* state,
                                       const int* table, const int* keyLength, const int* shared, int queries,
                                       int tableWidth, int pages, int heads, int kvHeads, int headDim, int magic,
                                       float scaleLog2, int* fault) {
  const int kvHead = blockIdx.x % kvHeads;
  const Walk walk = own_walk(blockIdx.x / kvHeads, table, keyLength, shared, queries, tableWidth, fault);
  const PackedRows rows(walk.firstToken, heads, kvHeads, kvHead, magic);
  walk_pages<WIDTH, STAGES, false>(walk, rows, blockIdx.y * ROWS, walk.tokens * rows.group, q, k, v, o, lse, state, pages,
                                   kvHeads, kvHead, headDim, scaleLog2, fault);
}

template <int WIDTH, int STAGES>
__device__ __forceinline__ void prefix(const bf16* q, const bf16* k, const bf16* v, float* state, const int* table,
                                       const int* start, const int* shared, int queries, int tableWidth, int pages,
                                       int heads, int kvHeads, int headDim, int magic, float scaleLog2, int* fault) {
  const int kvHead = blockIdx.x % kvHeads;
  const Walk walk = shared_walk(blockIdx.x / kvHeads, table, start, shared, queries, tableWidth);
  const PackedRows rows(walk.firstToken, heads, kvHeads, kvHead, magic);
  const int first = blockIdx.y * ROWS, end = walk.tokens * rows.group;
  if (walk.to == 0 || first >= end) return;
  walk_pages<WIDTH, STAGES, true>(walk, rows, first, end, q, k, v, nullptr, nullptr, state, pages, kvHeads, kvHead,
                                  headDim, scaleLog2, fault);
}

}  // namespace saccade

#define DECODE(WIDTH, STAGES)                                                                                         \
  extern "C" __global__ void __launch_bounds__(saccade::THREADS, 2) decode_##WIDTH##_##STAGES##_bf16(                 \
      const saccade::bf16* q, const saccade::bf16* k, const saccade::bf16* v, saccade::bf16* o, float* lse,           \
      float* state, const int* table, const int* keyLength, const int* shared, int queries, int tableWidth,           \
      int pages, int heads, int kvHeads, int headDim, int magic, float scaleLog2, int* fault) {                       \
    saccade::decode<WIDTH, STAGES>(q, k, v, o, lse, state, table, keyLength, shared, queries, tableWidth, pages,      \
                                   heads, kvHeads, headDim, magic, scaleLog2, fault);                                 \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(saccade::THREADS, 2) prefix_##WIDTH##_##STAGES##_bf16(                 \
      const saccade::bf16* q, const saccade::bf16* k, const saccade::bf16* v, float* state, const int* table,         \
      const int* start, const int* shared, int queries, int tableWidth, int pages, int heads, int kvHeads,            \
      int headDim, int magic, float scaleLog2, int* fault) {                                                          \
    saccade::prefix<WIDTH, STAGES>(q, k, v, state, table, start, shared, queries, tableWidth, pages, heads, kvHeads,  \
                                   headDim, magic, scaleLog2, fault);                                                 \
  }

DECODE(32, 6)
DECODE(64, 4)
DECODE(128, 2)  // where a block can not have the shared memory of 3
DECODE(128, 3)
