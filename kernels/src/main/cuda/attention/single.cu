// Attention in fp32 without tensor cores, any head dimension up to 256.
//
// A warp has a few rows and walks over the other side in blocks of 32, a lane each: a score is one chain over the head
// dimension, and an element of a result, of which a lane has every 32nd column, one chain over the other side in order.
// So rows, tiles and warps never show in the bits.
#include "pages.cuh"
#include "softmax.cuh"
#include "tile.cuh"

namespace saccade {

constexpr int WARPS = 4;
constexpr int THREADS = 32 * WARPS;
constexpr int KEYS = 32;  // of one step of the softmax, and of any block of the other side

// Rows of PARTS * 32 numbers in shared memory. The pitch puts the rows that lanes read side by side in different banks.
template <int PARTS> struct Floats {
  static constexpr int WIDTH = 32 * PARTS;
  static constexpr int PITCH = WIDTH + 4;

  // Loads `count` rows; what `from` gives null for is 0, as are columns from headDim on.
  template <typename From>
  static __device__ __forceinline__ void load(float* tile, int count, int headDim, From from) {
    for (int row = threadIdx.x / 32; row < count; row += WARPS) {
      const float* x = from(row);
#pragma unroll
      for (int part = 0; part < PARTS; part++) {
        const int column = 32 * part + threadIdx.x % 32;
        tile[row * PITCH + column] = x != nullptr && column < headDim ? x[column] : 0.f;
      }
    }
  }

  // For a lane's row of `others` the products with COUNT rows that lie WARPS apart.
  template <int COUNT>
  static __device__ __forceinline__ void products(const float* rows, const float* other, float (&result)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) result[i] = 0.f;
#pragma unroll 4
    for (int column = 0; column < WIDTH; column += 4) {
      const float4 y = *reinterpret_cast<const float4*>(other + column);
#pragma unroll
      for (int i = 0; i < COUNT; i++) {
        const float4 x = *reinterpret_cast<const float4*>(rows + i * WARPS * PITCH + column);
        result[i] = __fmaf_rn(x.x, y.x, result[i]);
        result[i] = __fmaf_rn(x.y, y.y, result[i]);
        result[i] = __fmaf_rn(x.z, y.z, result[i]);
        result[i] = __fmaf_rn(x.w, y.w, result[i]);
      }
    }
  }

  // sum[i] += factors[i] others, 32 rows of them in order; a lane has its columns.
  template <int COUNT>
  static __device__ __forceinline__ void accumulate(const float* factors, const float* others,
                                                    float (&sum)[COUNT][PARTS]) {
#pragma unroll 2
    for (int key = 0; key < KEYS; key += 4) {
      float4 factor[COUNT];
#pragma unroll
      for (int i = 0; i < COUNT; i++) factor[i] = *reinterpret_cast<const float4*>(factors + i * KEYS + key);
#pragma unroll
      for (int part = 0; part < PARTS; part++) {
        const float* at = others + key * PITCH + 32 * part + threadIdx.x % 32;
        const float x0 = at[0], x1 = at[PITCH], x2 = at[2 * PITCH], x3 = at[3 * PITCH];
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
          sum[i][part] = __fmaf_rn(factor[i].x, x0, sum[i][part]);
          sum[i][part] = __fmaf_rn(factor[i].y, x1, sum[i][part]);
          sum[i][part] = __fmaf_rn(factor[i].z, x2, sum[i][part]);
          sum[i][part] = __fmaf_rn(factor[i].w, x3, sum[i][part]);
        }
      }
    }
  }

  // Stores a row's columns times a factor.
  static __device__ __forceinline__ void store(float* to, const float (&sum)[PARTS], float factor, int headDim) {
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
      const int column = 32 * part + threadIdx.x % 32;
      if (column < headDim) to[column] = __fmul_rn(sum[part], factor);
    }
  }
};

// What a warp has of a row: sums of values in a lane's columns, and of the weights of a lane's keys.
template <int PARTS> struct Row {
  float sum[PARTS], shift, total;

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int part = 0; part < PARTS; part++) sum[part] = 0.f;
    shift = UNSEEN;
    total = 0.f;
  }

  __device__ __forceinline__ void load(const float* state, int headDim) {
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
      const int column = 32 * part + threadIdx.x % 32;
      sum[part] = column < headDim ? state[column] : 0.f;
    }
    shift = state[headDim];
    total = state[headDim + STATE_TOTALS + threadIdx.x % 32];
  }

  __device__ __forceinline__ void store(float* state, int headDim) const {
    Floats<PARTS>::store(state, sum, 1.f, headDim);
    if (threadIdx.x % 32 == 0) state[headDim] = shift;
    state[headDim + STATE_TOTALS + threadIdx.x % 32] = total;
  }

  // The row's mean of values, and its log-sum-exp.
  __device__ __forceinline__ void finish(float* o, float* lse, int headDim) const {
    const float all = warp_sum(total);
    if (threadIdx.x % 32 == 0) *lse = log_sum_exp(shift, all);
    Floats<PARTS>::store(o, sum, normalizer(all), headDim);
  }
};

// Forward for the rows `first` to `first + WARPS * COUNT` of a sequence and key-value head, over the keys `from` (a
// multiple of 32) to `keyLength`. `place` is a row's place in heads from the start of q, `visible` how many keys it sees,
// which grows with the row, `block_at` the element of k and v where a block of keys begins, or a negative number for one
// that can't be found. `begin` says what a row has of the keys before, `finish` takes what it has at the end.
template <int PARTS, int COUNT, typename Place, typename Visible, typename BlockAt, typename Begin, typename Finish>
__device__ __forceinline__ void forward(const float* q, const float* k, const float* v, int first, int end, int from,
                                        int keyLength, int kvHeads, int headDim, float scaleLog2, Place place,
                                        Visible visible, BlockAt block_at, Begin begin, Finish finish) {
  using Tile = Floats<PARTS>;
  extern __shared__ __align__(1024) float floats[];
  float* keyTile = floats;
  float* valueTile = keyTile + KEYS * Tile::PITCH;
  float* queryTile = valueTile + KEYS * Tile::PITCH;
  float* weightTile = queryTile + WARPS * COUNT * Tile::PITCH;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long stride = static_cast<long long>(kvHeads) * headDim;

  Tile::load(queryTile, WARPS * COUNT, headDim,
             [&](int row) { return first + row < end ? q + place(first + row) * headDim : nullptr; });
  Row<PARTS> rows[COUNT];
  int seen[COUNT];
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    const int row = first + warp + i * WARPS;
    if (row < end) {
      begin(rows[i], row);
    } else {
      rows[i].clear();
    }
    seen[i] = min(keyLength, visible(row));
  }
  const int keys = min(keyLength, visible(min(first + WARPS * COUNT, end) - 1));
  for (int block = from; block < keys; block += KEYS) {
    const long long at = block_at(block);
    const auto key_of = [&](const float* x, int key) {
      return at >= 0 && block + key < keyLength ? x + at + key * stride : nullptr;
    };
    __syncthreads();
    Tile::load(keyTile, KEYS, headDim, [&](int key) { return key_of(k, key); });
    Tile::load(valueTile, KEYS, headDim, [&](int key) { return key_of(v, key); });
    __syncthreads();
    if (first + warp >= end) continue;
    float score[COUNT];
    Tile::template products<COUNT>(queryTile + warp * Tile::PITCH, keyTile + lane * Tile::PITCH, score);
    float* weights = weightTile + warp * COUNT * KEYS;
    float sum[COUNT][PARTS];
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      if (block + lane >= seen[i]) score[i] = -INFINITY;
      const float decay = move_shift(rows[i].shift, warp_max(score[i]), scaleLog2);
      const float w = weight(score[i], scaleLog2, rows[i].shift);
      rows[i].total = __fmaf_rn(rows[i].total, decay, w);
#pragma unroll
      for (int part = 0; part < PARTS; part++) sum[i][part] = __fmul_rn(rows[i].sum[part], decay);
      weights[i * KEYS + lane] = w;
    }
    __syncwarp();
    Tile::template accumulate<COUNT>(weights, valueTile, sum);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
#pragma unroll
      for (int part = 0; part < PARTS; part++) rows[i].sum[part] = sum[i][part];
    }
  }
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    const int row = first + warp + i * WARPS;
    if (row < end) finish(rows[i], row);
  }
}

template <int PARTS, int COUNT>
__device__ __forceinline__ void forward_tile(const float* q, const float* k, const float* v, float* o, float* lse,
                                             const int* tiles, int heads, int kvHeads, int headDim, int causal,
                                             int magic, float scaleLog2) {
  const Work job = work(tiles, kvHeads);
  const PackedRows rows(job.queryStart, heads, kvHeads, job.kvHead, magic);
  const long long stride = static_cast<long long>(kvHeads) * headDim;
  const long long keyBase = job.keyStart * stride + job.kvHead * headDim;
  forward<PARTS, COUNT>(
      q, k, v, job.first, job.queryLength * rows.group, 0, job.keyLength, kvHeads, headDim, scaleLog2,
      [&](int row) -> long long { return rows.at(row); },
      [&](int row) { return causal ? job.keyLength - job.queryLength + rows.query(row) + 1 : job.keyLength; },
      [&](int block) { return keyBase + block * stride; }, [](Row<PARTS>& x, int) { x.clear(); },
      [&](const Row<PARTS>& x, int row) {
        const long long at = rows.at(row);
        x.finish(o + at * headDim, lse + at, headDim);
      });
}

// The pages of a walk: see pages.cuh. UNFINISHED: what rows have at the end goes to their states.
template <int PARTS, int COUNT, bool UNFINISHED>
__device__ __forceinline__ void walk_pages(const Walk& walk, const float* q, const float* k, const float* v, float* o,
                                           float* lse, float* state, int pages, int heads, int kvHeads, int headDim,
                                           int magic, float scaleLog2, int* fault) {
  const int kvHead = blockIdx.x % kvHeads;
  const PackedRows rows(walk.firstToken, heads, kvHeads, kvHead, magic);
  const int first = blockIdx.y * (WARPS * COUNT), end = walk.tokens * rows.group;
  if (first >= end) return;
  const long long stride = static_cast<long long>(kvHeads) * headDim;
  const auto state_of = [&](int row) { return state + rows.at(row) * state_pitch(headDim); };
  forward<PARTS, COUNT>(
      q, k, v, first, end, walk.from * PAGE, walk.length, kvHeads, headDim, scaleLog2,
      [&](int row) -> long long { return rows.at(row); }, [&](int row) { return walk.seen + rows.query(row); },
      [&](int block) -> long long {
        const int page = walk.pages[block / PAGE];
        if (static_cast<unsigned>(page) >= static_cast<unsigned>(pages)) {
          if (threadIdx.x == 0) report_fault(fault, 1, page, pages, walk.sequence);
          return -1;
        }
        return (static_cast<long long>(page) * PAGE + block % PAGE) * stride + kvHead * headDim;
      },
      [&](Row<PARTS>& x, int row) {
        if (!UNFINISHED && walk.from > 0) {
          x.load(state_of(row), headDim);
        } else {
          x.clear();
        }
      },
      [&](const Row<PARTS>& x, int row) {
        const long long at = rows.at(row);
        if constexpr (UNFINISHED) {
          x.store(state_of(row), headDim);
        } else {
          x.finish(o + at * headDim, lse + at, headDim);
        }
      });
}

template <int PARTS, int COUNT>
__device__ __forceinline__ void decode(const float* q, const float* k, const float* v, float* o, float* lse,
                                       float* state, const int* table, const int* keyLength, const int* shared,
                                       int queries, int tableWidth, int pages, int heads, int kvHeads, int headDim,
                                       int magic, float scaleLog2, int* fault) {
  const Walk walk = own_walk(blockIdx.x / kvHeads, table, keyLength, shared, queries, tableWidth, fault);
  walk_pages<PARTS, COUNT, false>(walk, q, k, v, o, lse, state, pages, heads, kvHeads, headDim, magic, scaleLog2, fault);
}

template <int PARTS, int COUNT>
__device__ __forceinline__ void prefix(const float* q, const float* k, const float* v, float* state, const int* table,
                                       const int* start, const int* shared, int queries, int tableWidth, int pages,
                                       int heads, int kvHeads, int headDim, int magic, float scaleLog2, int* fault) {
  const Walk walk = shared_walk(blockIdx.x / kvHeads, table, start, shared, queries, tableWidth);
  if (walk.to == 0) return;
  walk_pages<PARTS, COUNT, true>(walk, q, k, v, nullptr, nullptr, state, pages, heads, kvHeads, headDim, magic,
                                 scaleLog2, fault);
}

// dq of the rows `first` to `first + WARPS * COUNT`: dS = p (dO.v - dO.o), dq = scale dS k.
template <int PARTS, int COUNT>
__device__ __forceinline__ void queries_backward(const float* q, const float* k, const float* v, const float* dO,
                                                 const float2* statistics, float* dq, const int* tiles, int heads,
                                                 int kvHeads, int headDim, int causal, int magic, float scale,
                                                 float scaleLog2) {
  using Tile = Floats<PARTS>;
  constexpr int ROWS = WARPS * COUNT;
  extern __shared__ __align__(1024) float floats[];
  float* keyTile = floats;
  float* valueTile = keyTile + KEYS * Tile::PITCH;
  float* queryTile = valueTile + KEYS * Tile::PITCH;
  float* upstreamTile = queryTile + ROWS * Tile::PITCH;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float* slopes = upstreamTile + ROWS * Tile::PITCH + warp * COUNT * KEYS;
  const Work job = work(tiles, kvHeads);
  const PackedRows rows(job.queryStart, heads, kvHeads, job.kvHead, magic);
  const int end = job.queryLength * rows.group;
  const long long stride = static_cast<long long>(kvHeads) * headDim;
  const long long keyBase = job.keyStart * stride + job.kvHead * headDim;
  const auto visible = [&](int row) {
    return causal ? min(job.keyLength, job.keyLength - job.queryLength + rows.query(row) + 1) : job.keyLength;
  };
  const auto of = [&](const float* x, int row) {
    return job.first + row < end ? x + static_cast<long long>(rows.at(job.first + row)) * headDim : nullptr;
  };
  Tile::load(queryTile, ROWS, headDim, [&](int row) { return of(q, row); });
  Tile::load(upstreamTile, ROWS, headDim, [&](int row) { return of(dO, row); });
  float sum[COUNT][PARTS] = {};
  float2 row[COUNT];
  int seen[COUNT];
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    const int at = job.first + warp + i * WARPS;
    row[i] = at < end ? statistics[rows.at(at)] : make_float2(0.f, 0.f);
    seen[i] = visible(at);
  }
  const int keys = visible(min(job.first + ROWS, end) - 1);
  for (int block = 0; block < keys; block += KEYS) {
    __syncthreads();
    const auto key_of = [&](const float* x, int key) {
      return block + key < job.keyLength ? x + keyBase + (block + key) * stride : nullptr;
    };
    Tile::load(keyTile, KEYS, headDim, [&](int key) { return key_of(k, key); });
    Tile::load(valueTile, KEYS, headDim, [&](int key) { return key_of(v, key); });
    __syncthreads();
    float score[COUNT], slope[COUNT];
    Tile::template products<COUNT>(queryTile + warp * Tile::PITCH, keyTile + lane * Tile::PITCH, score);
    Tile::template products<COUNT>(upstreamTile + warp * Tile::PITCH, valueTile + lane * Tile::PITCH, slope);
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      const float w = block + lane < seen[i] ? weight(score[i], scaleLog2, row[i].x) : 0.f;
      slopes[i * KEYS + lane] = __fmul_rn(w, __fsub_rn(slope[i], row[i].y));
    }
    __syncwarp();
    Tile::template accumulate<COUNT>(slopes, keyTile, sum);
    __syncwarp();
  }
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    const int at = job.first + warp + i * WARPS;
    if (at < end) Tile::store(dq + static_cast<long long>(rows.at(at)) * headDim, sum[i], scale, headDim);
  }
}

// dk and dv of the keys `first` to `first + WARPS * COUNT`: dv = p^T dO, dk = scale dS^T q, over the packed rows in
// order.
template <int PARTS, int COUNT>
__device__ __forceinline__ void keys_backward(const float* q, const float* k, const float* v, const float* dO,
                                              const float2* statistics, float* dk, float* dv, const int* tiles,
                                              int heads, int kvHeads, int headDim, int causal, int magic, float scale,
                                              float scaleLog2) {
  using Tile = Floats<PARTS>;
  constexpr int ROWS = WARPS * COUNT;
  extern __shared__ __align__(1024) float floats[];
  float* queryTile = floats;
  float* upstreamTile = queryTile + KEYS * Tile::PITCH;
  float* keyTile = upstreamTile + KEYS * Tile::PITCH;
  float* valueTile = keyTile + ROWS * Tile::PITCH;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float* weights = valueTile + ROWS * Tile::PITCH + warp * 2 * COUNT * KEYS;
  float* slopes = weights + COUNT * KEYS;
  const Work job = work(tiles, kvHeads);
  const PackedRows rows(job.queryStart, heads, kvHeads, job.kvHead, magic);
  const int end = job.queryLength * rows.group;
  const long long stride = static_cast<long long>(kvHeads) * headDim;
  const long long keyBase = (job.keyStart + job.first) * stride + job.kvHead * headDim;
  const int keys = job.keyLength - job.first;
  const int offset = job.first - (job.keyLength - job.queryLength);
  const auto first_row = [&](int key) { return causal ? max(0, offset + key) * rows.group : 0; };

  Tile::load(keyTile, ROWS, headDim, [&](int key) { return key < keys ? k + keyBase + key * stride : nullptr; });
  Tile::load(valueTile, ROWS, headDim, [&](int key) { return key < keys ? v + keyBase + key * stride : nullptr; });
  float keySum[COUNT][PARTS] = {}, valueSum[COUNT][PARTS] = {};
  for (int first = first_row(0) / KEYS * KEYS; first < end; first += KEYS) {
    __syncthreads();
    const auto of = [&](const float* x, int row) {
      return first + row < end ? x + static_cast<long long>(rows.at(first + row)) * headDim : nullptr;
    };
    Tile::load(queryTile, KEYS, headDim, [&](int row) { return of(q, row); });
    Tile::load(upstreamTile, KEYS, headDim, [&](int row) { return of(dO, row); });
    const int at = first + lane;
    const float2 row = at < end ? statistics[rows.at(at)] : make_float2(0.f, 0.f);
    __syncthreads();
    float score[COUNT], slope[COUNT];
    Tile::template products<COUNT>(keyTile + warp * Tile::PITCH, queryTile + lane * Tile::PITCH, score);
    Tile::template products<COUNT>(valueTile + warp * Tile::PITCH, upstreamTile + lane * Tile::PITCH, slope);
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      const bool sees = at >= first_row(warp + i * WARPS) && at < end;
      const float w = sees ? weight(score[i], scaleLog2, row.x) : 0.f;
      weights[i * KEYS + lane] = w;
      slopes[i * KEYS + lane] = __fmul_rn(w, __fsub_rn(slope[i], row.y));
    }
    __syncwarp();
    Tile::template accumulate<COUNT>(weights, upstreamTile, valueSum);
    Tile::template accumulate<COUNT>(slopes, queryTile, keySum);
    __syncwarp();
  }
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    const int key = warp + i * WARPS;
    if (key < keys) {
      Tile::store(dk + keyBase + key * stride, keySum[i], scale, headDim);
      Tile::store(dv + keyBase + key * stride, valueSum[i], 1.f, headDim);
    }
  }
}

}  // namespace saccade

#define ATTENTION(WIDTH, COUNT, BACK)                                                                               \
  extern "C" __global__ void __launch_bounds__(saccade::THREADS, 3) forward_##WIDTH##_f32(                             \
      const float* q, const float* k, const float* v, float* o, float* lse, const int* tiles, int heads,            \
      int kvHeads, int headDim, int causal, int magic, float scaleLog2) {                                           \
    saccade::forward_tile<WIDTH / 32, COUNT>(q, k, v, o, lse, tiles, heads, kvHeads, headDim, causal, magic,        \
                                             scaleLog2);                                                            \
  }                                                                                                                 \
  extern "C" __global__ void __launch_bounds__(saccade::THREADS, 3) decode_##WIDTH##_f32(                           \
      const float* q, const float* k, const float* v, float* o, float* lse, float* state, const int* table,         \
      const int* keyLength, const int* shared, int queries, int tableWidth, int pages, int heads, int kvHeads,      \
      int headDim, int magic, float scaleLog2, int* fault) {                                                        \
    saccade::decode<WIDTH / 32, 2>(q, k, v, o, lse, state, table, keyLength, shared, queries, tableWidth, pages,    \
                                   heads, kvHeads, headDim, magic, scaleLog2, fault);                               \
  }                                                                                                                 \
  extern "C" __global__ void __launch_bounds__(saccade::THREADS, 3) prefix_##WIDTH##_f32(                           \
      const float* q, const float* k, const float* v, float* state, const int* table, const int* start,             \
      const int* shared, int queries, int tableWidth, int pages, int heads, int kvHeads, int headDim, int magic,    \
      float scaleLog2, int* fault) {                                                                                \
    saccade::prefix<WIDTH / 32, 2>(q, k, v, state, table, start, shared, queries, tableWidth, pages, heads,         \
                                   kvHeads, headDim, magic, scaleLog2, fault);                                      \
  }                                                                                                                 \
  extern "C" __global__ void __launch_bounds__(saccade::THREADS, 3) keys_backward_##WIDTH##_f32(                       \
      const float* q, const float* k, const float* v, const float* dO, const float2* statistics, float* dk,         \
      float* dv, const int* tiles, int heads, int kvHeads, int headDim, int causal, int magic, float scale,         \
      float scaleLog2) {                                                                                            \
    saccade::keys_backward<WIDTH / 32, BACK>(q, k, v, dO, statistics, dk, dv, tiles, heads, kvHeads, headDim, causal,  \
                                          magic, scale, scaleLog2);                                                 \
  }                                                                                                                 \
  extern "C" __global__ void __launch_bounds__(saccade::THREADS, 3) queries_backward_##WIDTH##_f32(                    \
      const float* q, const float* k, const float* v, const float* dO, const float2* statistics, float* dq,         \
      const int* tiles, int heads, int kvHeads, int headDim, int causal, int magic, float scale,                    \
      float scaleLog2) {                                                                                            \
    saccade::queries_backward<WIDTH / 32, BACK>(q, k, v, dO, statistics, dq, tiles, heads, kvHeads, headDim, causal,   \
                                             magic, scale, scaleLog2);                                              \
  }

ATTENTION(32, 8, 4)
ATTENTION(64, 8, 4)
ATTENTION(128, 8, 4)
ATTENTION(256, 4, 3)
