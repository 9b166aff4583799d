// Attention backward in bf16 on tensor cores, without atomics: one kernel sums over queries, one over keys.
//
// Both compute the weights p = 2^(scale log2(e) q.k - lse log2(e)) again and dS = p (dO.v - dO.o), round both to bf16
// and multiply on: dv = p^T dO, dk = scale dS^T q, dq = scale dS k. With scores transposed (keys are rows) in the first
// kernel and upright in the second, what one product leaves in a lane's registers is the left operand of the next. That
// is 7 products instead of the 5 of a kernel that adds up dq in memory, and no block waits for another.
//
// The order in which an element is summed is fixed, and it is the one in which a GPU with faster kernels does best. Up to
// head dimension 64 (hopper_backward.cu) dk and dv sum over the heads of the group and for each over its queries in
// order, dq is one chain over the keys. Beyond (hopper_backward_ordered.cu) dk and dv sum over tiles of 64 queries from the
// last to the first, for each over the heads, and dq adds up what chains over 128 keys each have come to.
#include "softmax.cuh"
#include "tile.cuh"

namespace saccade {

constexpr int WARPS = 4;
constexpr int THREADS = 32 * WARPS;
constexpr int TILE_ROWS = 64;  // of the block: 16 for each warp
constexpr int STAGE = 64;      // rows that are loaded together
constexpr int PART_KEYS = 128; // of a chain, where dq is added up of several

// Whether gradients are added up as by hopper_backward_ordered.cu.
template <int WIDTH> constexpr bool ORDERED = WIDTH > 64;

// Rounds and stores dk and dv through the tiles of k and v, of which a warp's rows are its own by then. Where they go
// is found again from opaque numbers, instead of being kept in registers all through the loop.
template <int WIDTH>
__device__ __forceinline__ void store_gradients(uint32_t keyTile, const float (&keySum)[WIDTH / 8][4],
                                                const float (&valueSum)[WIDTH / 8][4], bf16* dk, bf16* dv,
                                                const int* tiles, int kvHeads, int headDim, float scale, int thread) {
  using Tile = Rows<WIDTH>;
  constexpr int TILE = TILE_ROWS * Tile::BYTES;
  const int lane = thread % 32, warp = thread / 32;
  const Work job = work(tiles, kvHeads);
  const long long stride = static_cast<long long>(kvHeads) * headDim;
  const int first = job.first + 16 * warp;
  const long long base = (job.keyStart + first) * stride + job.kvHead * headDim;
  const uint32_t rows = keyTile + 16 * warp * Tile::BYTES;
  __syncwarp();  // all lanes have read
  round_rows<WIDTH>(rows, keySum, scale, scale, lane);
  round_rows<WIDTH>(rows + TILE, valueSum, 1.f, 1.f, lane);
  __syncwarp();
  const auto place = [&](bf16* to, int row) {
    return first + row < job.keyLength ? to + base + row * stride : nullptr;
  };
  store_rows<WIDTH, 16>(rows, headDim, lane, [&](int row) { return place(dk, row); });
  store_rows<WIDTH, 16>(rows + TILE, headDim, lane, [&](int row) { return place(dv, row); });
}

// dk and dv of 64 keys of a sequence and key-value head.
template <int WIDTH>
__device__ __forceinline__ void keys_backward(const bf16* q, const bf16* k, const bf16* v, const bf16* dO,
                                              const float2* statistics, bf16* dk, bf16* dv, const int* tiles,
                                              int heads, int kvHeads, int headDim, int causal, float scale,
                                              float scaleLog2) {
  using Tile = Rows<WIDTH>;
  constexpr int TILE = TILE_ROWS * Tile::BYTES;
  constexpr int STAGE_BYTES = 2 * TILE;
  extern __shared__ __align__(1024) unsigned char shared[];
  __shared__ float2 rowStatistics[2][STAGE];
  const uint32_t keyTile = shared_address(shared);
  const uint32_t valueTile = keyTile + TILE;
  const uint32_t stages = keyTile + 2 * TILE;  // q, dO, and again for the next queries

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Work job = work(tiles, kvHeads);
  const int end = job.queryLength;
  const long long stride = static_cast<long long>(kvHeads) * headDim;
  const long long keyBase = (job.keyStart + job.first) * stride + job.kvHead * headDim;
  const int keys = job.keyLength - job.first;

  // The first query that sees a key (counted from the block's first).
  const int offset = job.first - (job.keyLength - job.queryLength);
  const auto first_query = [&](int key) { return causal ? max(0, offset + key) : 0; };
  const int warpQuery = 16 * warp < keys ? first_query(16 * warp) : end;
  const int unmasked = first_query(16 * warp + 15);

  const int start = first_query(0) / STAGE * STAGE;
  const int group = heads / kvHeads;
  const auto load = [&](int member, int first, int stage) {
    const uint32_t to = stages + stage * STAGE_BYTES;
    const long long row = static_cast<long long>(job.queryStart + first) * heads + job.kvHead * group + member;
    const long long pitch = static_cast<long long>(heads) * headDim;
    load_keys<WIDTH, STAGE, THREADS>(to, q + row * headDim, pitch, end - first, headDim);
    load_keys<WIDTH, STAGE, THREADS>(to + TILE, dO + row * headDim, pitch, end - first, headDim);
    if (threadIdx.x < STAGE) {
      copy8(shared_address(&rowStatistics[stage][threadIdx.x]),
            statistics + row + static_cast<long long>(threadIdx.x) * heads, first + threadIdx.x < end);
    }
  };
  load_keys<WIDTH, TILE_ROWS, THREADS>(keyTile, k + keyBase, stride, keys, headDim);
  load_keys<WIDTH, TILE_ROWS, THREADS>(valueTile, v + keyBase, stride, keys, headDim);
  // To the queries that come next; whether there are any.
  const auto advance = [&](int& member, int& first) {
    if constexpr (ORDERED<WIDTH>) {
      if (++member == group) {
        member = 0;
        first -= STAGE;
      }
      return first >= start;
    } else {
      first += STAGE;
      if (first >= end) {
        member++;
        first = start;
      }
      return member < group;
    }
  };
  int member = 0, first = ORDERED<WIDTH> ? (end - 1) / STAGE * STAGE : start;
  bool more = start < end;
  if (more) load(member, first, 0);
  copy_commit();
  copy_wait<0>();
  __syncthreads();

  const uint32_t warpKeys = keyTile + 16 * warp * Tile::BYTES, warpValues = valueTile + 16 * warp * Tile::BYTES;
  uint32_t key[Tile::STEPS][4], value[Tile::STEPS][4];
#pragma unroll
  for (int step = 0; step < Tile::STEPS; step++) {
    load_matrices(key[step], Tile::at(Tile::rows_first(warpKeys, lane), 0, step));
    load_matrices(value[step], Tile::at(Tile::rows_first(warpValues, lane), 0, step));
  }
  float keySum[Tile::CHUNKS][4] = {}, valueSum[Tile::CHUNKS][4] = {};

  for (int stage = 0; more; stage ^= 1) {
    copy_wait<0>();
    __syncthreads();
    int nextMember = member, next = first;
    if (advance(nextMember, next)) load(nextMember, next, stage ^ 1);
    copy_commit();
#pragma unroll 1
    for (int part = 0; part < STAGE; part += 16) {
      if (first + part >= end) break;
      if (first + part + 16 <= warpQuery) continue;
      const uint32_t queryTile = stages + stage * STAGE_BYTES + part * Tile::BYTES;
      const uint32_t upstreamTile = queryTile + TILE;
      float p[2][4] = {}, slope[2][4] = {};
      const uint32_t queryAt = Tile::columns_first(queryTile, lane);
      const uint32_t upstreamAt = Tile::columns_first(upstreamTile, lane);
#pragma unroll
      for (int step = 0; step < Tile::STEPS; step++) {
        uint32_t b[4];
        load_matrices(b, Tile::at(queryAt, 0, step));
        multiply_add(p[0], key[step], b[0], b[1]);
        multiply_add(p[1], key[step], b[2], b[3]);
        load_matrices(b, Tile::at(upstreamAt, 0, step));
        multiply_add(slope[0], value[step], b[0], b[1]);
        multiply_add(slope[1], value[step], b[2], b[3]);
      }
      if (first + part < unmasked) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int unseen = first_query(16 * warp + 8 * half + lane / 4) - first - part - 2 * (lane & 3);
#pragma unroll
          for (int n = 0; n < 2; n++) {
            if (8 * n < unseen) p[n][2 * half] = -INFINITY;
            if (8 * n + 1 < unseen) p[n][2 * half + 1] = -INFINITY;
          }
        }
      }
      uint32_t weights[4], slopes[4];
#pragma unroll
      for (int n = 0; n < 2; n++) {
        const float2* row = &rowStatistics[stage][part + 8 * n + 2 * (lane & 3)];
        const float2 row0 = row[0], row1 = row[1];
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const float w0 = weight(p[n][2 * half], scaleLog2, row0.x);
          const float w1 = weight(p[n][2 * half + 1], scaleLog2, row1.x);
          weights[2 * n + half] = pack_bf16(w0, w1);
          slopes[2 * n + half] = pack_bf16(__fmul_rn(w0, __fsub_rn(slope[n][2 * half], row0.y)),
                                           __fmul_rn(w1, __fsub_rn(slope[n][2 * half + 1], row1.y)));
        }
      }
      const uint32_t queryRows = Tile::rows_first(queryTile, lane);
      const uint32_t upstreamRows = Tile::rows_first(upstreamTile, lane);
#pragma unroll
      for (int n = 0; n < Tile::STEPS; n++) {
        uint32_t b[4];
        load_transposed(b, Tile::at(upstreamRows, 0, n));
        multiply_add(valueSum[2 * n], weights, b[0], b[1]);
        multiply_add(valueSum[2 * n + 1], weights, b[2], b[3]);
        load_transposed(b, Tile::at(queryRows, 0, n));
        multiply_add(keySum[2 * n], slopes, b[0], b[1]);
        multiply_add(keySum[2 * n + 1], slopes, b[2], b[3]);
      }
    }
    more = advance(member, first);
  }

  store_gradients<WIDTH>(opaque(keyTile), keySum, valueSum, dk, dv, tiles, opaque(kvHeads), headDim, scale,
                         opaque(threadIdx.x));
}

// The second of two sums if there are several chains.
template <bool SEVERAL, typename Sum> __device__ __forceinline__ Sum& chain_of(Sum& sum, Sum& part) {
  if constexpr (SEVERAL) {
    return part;
  } else {
    return sum;
  }
}

// dq of 64 packed rows of a sequence and key-value head; the keys are walked over in order.
template <int WIDTH>
__device__ __forceinline__ void queries_backward(const bf16* q, const bf16* k, const bf16* v, const bf16* dO,
                                                 const float2* statistics, bf16* dq, const int* tiles, int heads,
                                                 int kvHeads, int headDim, int causal, int magic, float scale,
                                                 float scaleLog2) {
  using Tile = Rows<WIDTH>;
  constexpr int TILE = TILE_ROWS * Tile::BYTES;
  constexpr int KEYS = ORDERED<WIDTH> ? 16 : 32;  // whose scores are in registers at a time
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t queryTile = shared_address(shared);
  const uint32_t stages = queryTile + 2 * TILE;  // behind the tile of dO: k, v, and again for the next keys

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Work job = work(tiles, kvHeads);
  const PackedRows rows(job.queryStart, heads, kvHeads, job.kvHead, magic);
  const int end = job.queryLength * rows.group;
  const long long stride = static_cast<long long>(kvHeads) * headDim;
  const long long keyBase = job.keyStart * stride + job.kvHead * headDim;
  const auto visible = [&](int row) {
    return causal ? min(job.keyLength, job.keyLength - job.queryLength + rows.query(row) + 1) : job.keyLength;
  };
  const int blocks = (visible(min(job.first + TILE_ROWS, end) - 1) + STAGE - 1) / STAGE;
  const int warpFirst = job.first + 16 * warp;
  const int warpKeys = warpFirst < end ? visible(min(warpFirst + 16, end) - 1) : 0;
  const int unmasked = visible(warpFirst);

  const auto load = [&](int block) {
    const uint32_t to = stages + block % 2 * (2 * TILE);
    const int first = block * STAGE;
    const long long from = keyBase + first * stride;
    load_keys<WIDTH, STAGE, THREADS>(to, k + from, stride, job.keyLength - first, headDim);
    load_keys<WIDTH, STAGE, THREADS>(to + TILE, v + from, stride, job.keyLength - first, headDim);
  };
  load_queries<WIDTH, TILE_ROWS, THREADS>(queryTile, rows, job.first, end, headDim, q, dO);
  if (blocks > 0) load(0);
  copy_commit();
  float2 row[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int at = warpFirst + lane / 4 + 8 * half;
    row[half] = at < end ? statistics[rows.at(at)] : make_float2(0.f, 0.f);
  }
  copy_wait<0>();
  __syncthreads();

  const uint32_t warpTile = queryTile + 16 * warp * Tile::BYTES;
  // Where there are two sums, the rows are read again for each tile instead of being kept in registers.
  constexpr int HELD = ORDERED<WIDTH> ? 1 : Tile::STEPS;
  uint32_t query[HELD][4], upstream[HELD][4];
  const auto load_rows = [&](int step) {
    const uint32_t at = opaque(Tile::rows_first(warpTile, lane));
    load_matrices(query[step % HELD], Tile::at(at, 0, step));
    load_matrices(upstream[step % HELD], Tile::at(at, 0, step) + TILE);
  };
  if constexpr (!ORDERED<WIDTH>) {
#pragma unroll
    for (int step = 0; step < Tile::STEPS; step++) load_rows(step);
  }
  float sum[Tile::CHUNKS][4] = {};
  float part[Tile::CHUNKS][4];  // of the chain that is under way, where there are several

  for (int block = 0; block < blocks; block++) {
    copy_wait<0>();
    __syncthreads();
    if (block + 1 < blocks) load(block + 1);
    copy_commit();
    if constexpr (ORDERED<WIDTH>) {
      if (block * STAGE % PART_KEYS == 0) {
#pragma unroll
        for (int i = 0; i < 4 * Tile::CHUNKS; i++) part[i / 4][i % 4] = 0.f;
      }
    }
    auto& chain = chain_of<ORDERED<WIDTH>>(sum, part);
#pragma unroll 1
    for (int first = block * STAGE; first < (block + 1) * STAGE; first += KEYS) {
      if (first >= warpKeys) break;
      const uint32_t keyTile = stages + block % 2 * (2 * TILE) + first % STAGE * Tile::BYTES;
      const uint32_t keyAt = Tile::columns_first(keyTile, lane);
      const uint32_t valueAt = Tile::columns_first(keyTile + TILE, lane);
      float p[KEYS / 8][4] = {}, slope[KEYS / 8][4] = {};
#pragma unroll (ORDERED<WIDTH> ? 2 : Tile::STEPS)
      for (int step = 0; step < Tile::STEPS; step++) {
        if constexpr (ORDERED<WIDTH>) load_rows(step);
#pragma unroll
        for (int n = 0; n < KEYS / 16; n++) {
          uint32_t b[4];
          load_matrices(b, Tile::at(keyAt, 16 * n, step));
          multiply_add(p[2 * n], query[step % HELD], b[0], b[1]);
          multiply_add(p[2 * n + 1], query[step % HELD], b[2], b[3]);
          load_matrices(b, Tile::at(valueAt, 16 * n, step));
          multiply_add(slope[2 * n], upstream[step % HELD], b[0], b[1]);
          multiply_add(slope[2 * n + 1], upstream[step % HELD], b[2], b[3]);
        }
      }
      const bool masked = first + KEYS > unmasked;
      uint32_t slopes[KEYS / 16][4];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int seen = masked ? visible(warpFirst + 8 * half + lane / 4) - first - 2 * (lane & 3) : KEYS;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
          for (int i = 0; i < 2; i++) {
            float w = weight(p[n][2 * half + i], scaleLog2, row[half].x);
            if (8 * n + i >= seen) w = 0.f;
            slope[n][2 * half + i] = __fmul_rn(w, __fsub_rn(slope[n][2 * half + i], row[half].y));
          }
          slopes[n / 2][n % 2 * 2 + half] = pack_bf16(slope[n][2 * half], slope[n][2 * half + 1]);
        }
      }
      const uint32_t keyRows = Tile::rows_first(keyTile, lane);
#pragma unroll
      for (int step = 0; step < KEYS / 16; step++) {
#pragma unroll
        for (int n = 0; n < Tile::STEPS; n++) {
          uint32_t b[4];
          load_transposed(b, Tile::at(keyRows, 16 * step, n));
          multiply_add(chain[2 * n], slopes[step], b[0], b[1]);
          multiply_add(chain[2 * n + 1], slopes[step], b[2], b[3]);
        }
      }
    }
    if constexpr (ORDERED<WIDTH>) {
      if ((block + 1) * STAGE % PART_KEYS == 0 || block + 1 == blocks) {
        const bool isFirst = block * STAGE < PART_KEYS;
#pragma unroll
        for (int i = 0; i < 4 * Tile::CHUNKS; i++) {
          float& all = sum[i / 4][i % 4];
          all = isFirst ? part[i / 4][i % 4] : __fadd_rn(all, part[i / 4][i % 4]);
        }
      }
    }
  }

  __syncwarp();  // all lanes have read
  round_rows<WIDTH>(warpTile, sum, scale, scale, lane);
  __syncwarp();
  store_rows<WIDTH, 16>(warpTile, headDim, lane, [&](int at) {
    return warpFirst + at < end ? dq + static_cast<long long>(rows.at(warpFirst + at)) * headDim : nullptr;
  });
}

}  // namespace saccade

#define BACKWARD(WIDTH, BLOCKS)                                                                                     \
  extern "C" __global__ void __launch_bounds__(saccade::THREADS, BLOCKS) keys_backward_##WIDTH##_bf16(              \
      const saccade::bf16* q, const saccade::bf16* k, const saccade::bf16* v, const saccade::bf16* dO,              \
      const float2* statistics, saccade::bf16* dk, saccade::bf16* dv, const int* tiles, int heads, int kvHeads,     \
      int headDim, int causal, float scale, float scaleLog2) {                                                      \
    saccade::keys_backward<WIDTH>(q, k, v, dO, statistics, dk, dv, tiles, heads, kvHeads, headDim, causal, scale,   \
                                  scaleLog2);                                                                       \
  }                                                                                                                 \
  extern "C" __global__ void __launch_bounds__(saccade::THREADS, BLOCKS) queries_backward_##WIDTH##_bf16(           \
      const saccade::bf16* q, const saccade::bf16* k, const saccade::bf16* v, const saccade::bf16* dO,              \
      const float2* statistics, saccade::bf16* dq, const int* tiles, int heads, int kvHeads, int headDim,           \
      int causal, int magic, float scale, float scaleLog2) {                                                        \
    saccade::queries_backward<WIDTH>(q, k, v, dO, statistics, dq, tiles, heads, kvHeads, headDim, causal, magic,    \
                                     scale, scaleLog2);                                                             \
  }

BACKWARD(32, 3)
BACKWARD(64, 3)
BACKWARD(128, 2)
