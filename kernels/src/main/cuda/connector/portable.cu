// Pixel unshuffle: rows of patches move whole, 16 bytes at a time where addresses and the row's length allow,
// else 4 or 2.
#include "numeric.cuh"

using namespace saccade;

namespace {

constexpr int THREADS = 256;
constexpr int UNROLL = 4;

// Moves a row of `units` between its token, 1 + (2R + dr) * grid + 2K + dc, and part dr * 2 + dc of folded row
// R * (grid / 2) + K. `lanes` threads, a power of two, share a row. Going back, the class token's row becomes 0.
template <typename Unit, bool FORWARD>
__device__ __forceinline__ void move(int tiles, int grid, int units, int lanes, const Unit* from, Unit* to) {
  const int tokens = 1 + grid * grid;
  const int row = int(blockIdx.x) * (THREADS / lanes) + int(threadIdx.x) / lanes;
  if (row >= tiles * tokens) return;
  const int lane = int(threadIdx.x) & (lanes - 1);
  const int tile = row / tokens, token = row - tile * tokens;
  if (token == 0) {
    if constexpr (!FORWARD) {
      for (int i = lane; i < units; i += lanes) to[(long long)row * units + i] = Unit{};
    }
    return;
  }
  const int y = (token - 1) / grid, x = token - 1 - y * grid;
  const int half = grid / 2;
  const int folded = ((tile * half + y / 2) * half + x / 2) * 4 + (y % 2) * 2 + x % 2;
  const Unit* const source = from + (long long)(FORWARD ? row : folded) * units;
  Unit* const target = to + (long long)(FORWARD ? folded : row) * units;
  for (int first = lane; first < units; first += UNROLL * lanes) {
    Unit unit[UNROLL];
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {
      if (first + u * lanes < units) unit[u] = source[first + u * lanes];
    }
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {
      if (first + u * lanes < units) target[first + u * lanes] = unit[u];
    }
  }
}

}  // namespace

#define MOVES(NAME, UNIT)                                                                             \
  extern "C" __global__ void __launch_bounds__(THREADS) forward_##NAME(                               \
      int tiles, int grid, int units, int lanes, const UNIT* from, UNIT* to) {                        \
    move<UNIT, true>(tiles, grid, units, lanes, from, to);                                            \
  }                                                                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS) backward_##NAME(                              \
      int tiles, int grid, int units, int lanes, const UNIT* from, UNIT* to) {                        \
    move<UNIT, false>(tiles, grid, units, lanes, from, to);                                           \
  }

MOVES(16, uint4)
MOVES(4, unsigned)
MOVES(2, unsigned short)
