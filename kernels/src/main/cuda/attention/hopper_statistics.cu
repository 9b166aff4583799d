// What attention's backward pass on Hopper needs of each query and head beside its rows: lse log2(e) and dO.o, in lines from
// which TMA fetches those of a tile.
#include "gradients.cuh"
#include "softmax.cuh"
#include "statistics.cuh"

namespace saccade {
namespace {

constexpr int STATISTICS_THREADS = 256;

// lse log2(e) and dO.o of 64 rows of one head, each in lines of `pitch` floats: TMA then fetches them for a tile.
template <int WIDTH>
__device__ __forceinline__ void statistics(const bf16* o, const bf16* dO, const float* lse, float* result, int rows,
                                           int heads, int pitch) {
  constexpr int LANES = WIDTH / 8, PASS = STATISTICS_THREADS / LANES, PASSES = TILE / PASS;
  __shared__ float product[TILE];
  const int head = blockIdx.x % heads, first = blockIdx.x / heads * TILE;
  const int lane = threadIdx.x % LANES, own = threadIdx.x / LANES;
  Pack<bf16> a[PASSES], b[PASSES];
#pragma unroll
  for (int pass = 0; pass < PASSES; pass++) {
    const int row = min(first + own + pass * PASS, rows - 1);
    const long long at = (static_cast<long long>(row) * heads + head) * WIDTH + 8 * lane;
    a[pass] = load_pack(o + at);
    b[pass] = load_pack(dO + at);
  }
#pragma unroll
  for (int pass = 0; pass < PASSES; pass++) {
    const float sum = row_sum<LANES>(row_product(a[pass], b[pass]));
    if (lane == 0) product[own + pass * PASS] = sum;
  }
  __syncthreads();
  const int row = first + threadIdx.x % TILE;
  if (row >= rows || threadIdx.x >= STATISTICS * TILE) return;
  const bool first_line = threadIdx.x < TILE;
  const float value = first_line ? __fmul_rn(lse[static_cast<long long>(row) * heads + head], LOG2_E)
                                 : product[threadIdx.x % TILE];
#pragma unroll
  for (int copy = 0; copy < COPIES; copy++) {
    const int line = STATISTICS * (copy * heads + head) + (first_line ? 0 : 1);
    result[static_cast<long long>(line) * pitch + row + copy] = value;
  }
}

}  // namespace
}  // namespace saccade

#define HOPPER_STATISTICS(WIDTH)                                                                                       \
  extern "C" __global__ void __launch_bounds__(saccade::STATISTICS_THREADS) statistics_##WIDTH(                        \
      const saccade::bf16* o, const saccade::bf16* dO, const float* lse, float* result, int rows, int heads,           \
      int pitch) {                                                                                                     \
    saccade::statistics<WIDTH>(o, dO, lse, result, rows, heads, pitch);                                                \
  }

HOPPER_STATISTICS(64)
HOPPER_STATISTICS(128)
