// Attention forward in bf16 on tensor cores, for training and prefill.
//
// A block takes 128 rows of one sequence and key-value head and walks over the keys, 64 of them in shared memory and
// the next 64 on their way. A row is a query and a head of the group, so a group shares what is read of k and v. A warp
// has 32 rows: scores = q k^T in accumulators, the online softmax on them where they lie, weights rounded to bf16 in
// registers as the left operand of weights v. Every element is one chain of tensor core products over the head
// dimension or the keys in order, so rows, tiles and warps never show in the bits.
#include "softmax.cuh"
#include "tile.cuh"

namespace saccade {

constexpr int WARPS = 4;
constexpr int THREADS = 32 * WARPS;
constexpr int PARTS = 2;  // accumulators of 16 rows that a warp has
constexpr int WARP_ROWS = 16 * PARTS;
constexpr int ROWS = WARPS * WARP_ROWS;
constexpr int KEYS = 32;     // of one step of the softmax: this decides bits
constexpr int STAGE = 64;    // keys that are loaded together

// A warp's results: sums of weights over the lanes, sums of values divided by them, through the warp's part of the
// query tile. What the loop needs no register for is found again here.
template <int WIDTH>
__device__ __forceinline__ void store(uint32_t queryTile, const float (&sum)[PARTS][WIDTH / 8][4],
                                      const float (&shift)[PARTS][2], const float (&total)[PARTS][2], bf16* o,
                                      float* lse, const int* tiles, int heads, int kvHeads, int headDim, int magic) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Work job = work(tiles, kvHeads);
  const PackedRows rows(job.queryStart, heads, kvHeads, job.kvHead, magic);
  const int end = job.queryLength * rows.group;
  const int warpFirst = job.first + warp * WARP_ROWS;
  const uint32_t warpTile = queryTile + warp * (WARP_ROWS * Rows<WIDTH>::BYTES);
#pragma unroll
  for (int part = 0; part < PARTS; part++) {
    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float all = total[part][half];
      all = __fadd_rn(all, __shfl_xor_sync(0xffffffffu, all, 1));
      all = __fadd_rn(all, __shfl_xor_sync(0xffffffffu, all, 2));
      factor[half] = normalizer(all);
      const int row = warpFirst + 16 * part + 8 * half + lane / 4;
      if (row < end && (lane & 3) == 0) lse[rows.at(row)] = log_sum_exp(shift[part][half], all);
    }
    round_rows<WIDTH>(warpTile + 16 * part * Rows<WIDTH>::BYTES, sum[part], factor[0], factor[1], lane);
  }
  __syncwarp();
  store_rows<WIDTH, WARP_ROWS>(warpTile, headDim, lane, [&](int row) {
    return warpFirst + row < end ? o + static_cast<long long>(rows.at(warpFirst + row)) * headDim : nullptr;
  });
}

template <int WIDTH>
__device__ __forceinline__ void forward(const bf16* q, const bf16* k, const bf16* v, bf16* o, float* lse,
                                        const int* tiles, int heads, int kvHeads, int headDim, int causal, int magic,
                                        float scaleLog2) {
  using Tile = Rows<WIDTH>;
  constexpr int KEY_TILE = STAGE * Tile::BYTES;
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t queryTile = shared_address(shared);
  const uint32_t keyTiles = queryTile + ROWS * Tile::BYTES;  // k, v, and again for the next block

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Work job = work(tiles, kvHeads);
  const PackedRows rows(job.queryStart, heads, kvHeads, job.kvHead, magic);
  const int end = job.queryLength * rows.group;
  const long long stride = static_cast<long long>(kvHeads) * headDim;
  const long long keyBase = job.keyStart * stride + job.kvHead * headDim;

  // How many keys a row sees; the causal bound grows with the row.
  const auto visible = [&](int row) {
    return causal ? min(job.keyLength, job.keyLength - job.queryLength + rows.query(row) + 1) : job.keyLength;
  };
  const int stages = (visible(min(job.first + ROWS, end) - 1) + STAGE - 1) / STAGE;
  const int warpFirst = job.first + warp * WARP_ROWS;
  const int warpKeys = warpFirst < end ? visible(min(warpFirst + WARP_ROWS, end) - 1) : 0;
  const int unmasked = visible(warpFirst);

  const auto load = [&](int stage) {
    const uint32_t to = keyTiles + stage % 2 * (2 * KEY_TILE);
    const int first = stage * STAGE;
    const long long from = keyBase + first * stride;
    load_keys<WIDTH, STAGE, THREADS>(to, k + from, stride, job.keyLength - first, headDim);
    load_keys<WIDTH, STAGE, THREADS>(to + KEY_TILE, v + from, stride, job.keyLength - first, headDim);
  };

  float sum[PARTS][Tile::CHUNKS][4], shift[PARTS][2], total[PARTS][2];
#pragma unroll
  for (int part = 0; part < PARTS; part++) {
#pragma unroll
    for (int n = 0; n < Tile::CHUNKS; n++) {
      sum[part][n][0] = sum[part][n][1] = sum[part][n][2] = sum[part][n][3] = 0.f;
    }
    shift[part][0] = shift[part][1] = UNSEEN;
    total[part][0] = total[part][1] = 0.f;
  }

  load_queries<WIDTH, ROWS, THREADS>(queryTile, rows, job.first, end, headDim, q);
  if (stages > 0) load(0);
  copy_commit();
  const uint32_t warpTile = queryTile + warp * (WARP_ROWS * Tile::BYTES);

  for (int stage = 0; stage < stages; stage++) {
    copy_wait<0>();
    __syncthreads();
    if (stage + 1 < stages) load(stage + 1);
    copy_commit();
#pragma unroll 1
    for (int first = stage * STAGE; first < (stage + 1) * STAGE; first += KEYS) {
      if (first >= warpKeys) break;
      const uint32_t keyTile = keyTiles + stage % 2 * (2 * KEY_TILE) + first % STAGE * Tile::BYTES;
      float score[PARTS][KEYS / 8][4];
#pragma unroll
      for (int part = 0; part < PARTS; part++) {
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
          score[part][n][0] = score[part][n][1] = score[part][n][2] = score[part][n][3] = 0.f;
        }
      }
      const uint32_t keyAt = Tile::columns_first(keyTile, lane);
      const uint32_t queryAt = opaque(Tile::rows_first(warpTile, lane));
#pragma unroll
      for (int step = 0; step < Tile::STEPS; step++) {
        uint32_t a[PARTS][4];
#pragma unroll
        for (int part = 0; part < PARTS; part++) load_matrices(a[part], Tile::at(queryAt, 16 * part, step));
#pragma unroll
        for (int n = 0; n < KEYS / 16; n++) {
          uint32_t b[4];
          load_matrices(b, Tile::at(keyAt, 16 * n, step));
#pragma unroll
          for (int part = 0; part < PARTS; part++) {
            multiply_add(score[part][2 * n], a[part], b[0], b[1]);
            multiply_add(score[part][2 * n + 1], a[part], b[2], b[3]);
          }
        }
      }

      if (first + KEYS > unmasked) {
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
#pragma unroll
          for (int half = 0; half < 2; half++) {
            const int seen = visible(warpFirst + 16 * part + 8 * half + lane / 4) - first - 2 * (lane & 3);
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) {
              if (8 * n >= seen) score[part][n][2 * half] = -INFINITY;
              if (8 * n + 1 >= seen) score[part][n][2 * half + 1] = -INFINITY;
            }
          }
        }
      }

      uint32_t weights[PARTS][KEYS / 16][4];
      bool moved = false;
      float decay[PARTS][2];
#pragma unroll
      for (int part = 0; part < PARTS; part++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          float most = -INFINITY;
#pragma unroll
          for (int n = 0; n < KEYS / 8; n++) {
            most = fmaxf(most, fmaxf(score[part][n][2 * half], score[part][n][2 * half + 1]));
          }
          most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
          most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
          decay[part][half] = move_shift(shift[part][half], most, scaleLog2);
          moved |= decay[part][half] != 1.f;
          float added[2];
#pragma unroll
          for (int n = 0; n < KEYS / 8; n++) {
            float& w0 = score[part][n][2 * half];
            float& w1 = score[part][n][2 * half + 1];
            w0 = weight(w0, scaleLog2, shift[part][half]);
            w1 = weight(w1, scaleLog2, shift[part][half]);
            const float pair = __fadd_rn(w0, w1);
            added[n / 2] = n % 2 == 0 ? pair : __fadd_rn(added[n / 2], pair);
          }
          // In decode a warp has 16 of the keys: this is the order in which the sums of two warps meet.
          total[part][half] = __fmaf_rn(total[part][half], decay[part][half], __fadd_rn(added[0], added[1]));
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
          weights[part][n / 2][n % 2 * 2] = pack_bf16(score[part][n][0], score[part][n][1]);
          weights[part][n / 2][n % 2 * 2 + 1] = pack_bf16(score[part][n][2], score[part][n][3]);
        }
      }
      // Mostly no row of the warp has a new shift, and multiplying by 1 can be left out.
      if (__any_sync(0xffffffffu, moved)) {
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
#pragma unroll
          for (int n = 0; n < Tile::CHUNKS; n++) {
            sum[part][n][0] = __fmul_rn(sum[part][n][0], decay[part][0]);
            sum[part][n][1] = __fmul_rn(sum[part][n][1], decay[part][0]);
            sum[part][n][2] = __fmul_rn(sum[part][n][2], decay[part][1]);
            sum[part][n][3] = __fmul_rn(sum[part][n][3], decay[part][1]);
          }
        }
      }

      const uint32_t valueAt = Tile::rows_first(keyTile + KEY_TILE, lane);
#pragma unroll
      for (int step = 0; step < KEYS / 16; step++) {
#pragma unroll
        for (int n = 0; n < Tile::STEPS; n++) {
          uint32_t b[4];
          load_transposed(b, Tile::at(valueAt, 16 * step, n));
#pragma unroll
          for (int part = 0; part < PARTS; part++) {
            multiply_add(sum[part][2 * n], weights[part][step], b[0], b[1]);
            multiply_add(sum[part][2 * n + 1], weights[part][step], b[2], b[3]);
          }
        }
      }
    }
  }

  // With no block the copies of queries are still under way where the results go.
  copy_wait<0>();
  __syncthreads();
  store<WIDTH>(queryTile, sum, shift, total, o, lse, tiles, heads, kvHeads, headDim, magic);
}

}  // namespace saccade

#define FORWARD(WIDTH, BLOCKS)                                                                                      \
  extern "C" __global__ void __launch_bounds__(saccade::THREADS, BLOCKS) forward_##WIDTH##_bf16(                    \
      const saccade::bf16* q, const saccade::bf16* k, const saccade::bf16* v, saccade::bf16* o, float* lse,         \
      const int* tiles, int heads, int kvHeads, int headDim, int causal, int magic, float scaleLog2) {              \
    saccade::forward<WIDTH>(q, k, v, o, lse, tiles, heads, kvHeads, headDim, causal, magic, scaleLog2);             \
  }

FORWARD(32, 3)
FORWARD(64, 3)
FORWARD(128, 2)
