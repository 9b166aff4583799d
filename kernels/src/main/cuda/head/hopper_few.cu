// The head for at most 64 rows on Hopper (sm_90a), as a decoder has them: what takes time is reading the weight once.
//
// The rows fill one warpgroup's half of a tile of hopper.cu, so that a thread's logits lie as they do there, and everything
// behind the product is shared (finish.cuh). A block is persistent and takes a block of 256 words after another; the two
// warpgroups take turns, so that the weight keeps coming while one of them is at its sums and its noise. The ring has 160 KB
// of the weight on their way to each multiprocessor. A row's parts are blocks of words: no multiprocessor waits for the last
// ones of a segment, and no bit shows it (entropy/tree.cuh).
//
// The tensor cores need 56 x 4 x 128 clocks for a block of words at a width of 3584, 16 us; at 3 TB/s its share of the memory
// takes 80 us. Sums and noise of a block are some 15,000 clocks of one warpgroup.

#include "../gemm/hopper_product.cuh"
#include "finish.cuh"
#include "hopper.cuh"

namespace saccade {
namespace {

// HopperHead.java has the same numbers.
struct FewTile {
  static constexpr int GROUPS = 2;
  static constexpr int ROWS = 64, COLUMNS = BLOCK_WORDS, C_COLUMNS = COLUMNS;
  static constexpr int STAGES = 5, CLUSTER = 1;
  static constexpr bool PAIR = false;
  static constexpr int GROUPS_OF_TILE = 1, HALVES = 1;
  static constexpr int THREADS = 128 * (GROUPS + 1);
  static constexpr int A_BYTES = ROWS * ROW_BYTES, B_BYTES = COLUMNS * ROW_BYTES;
  static constexpr int STAGE_BYTES = A_BYTES + B_BYTES;
  static constexpr int RING_BYTES = STAGES * STAGE_BYTES;
  static constexpr int SUMS = COLUMNS / 2;
};
static_assert(LENGTH == FewTile::SUMS);
static_assert(FewTile::RING_BYTES + Stages<FewTile>::BARRIER_BYTES <= MOST_SHARED_BYTES);

// The way of a block through the words.
struct FewTiles {
  int words;
  int row, column;  // the tile's first
  bool last;        // no other tile comes

  __device__ __forceinline__ explicit FewTiles(int words)
      : words(words), row(0), column((static_cast<int>(blockIdx.x) - static_cast<int>(gridDim.x)) * FewTile::COLUMNS) {}

  // Goes to the block's next tile, if there is one.
  __device__ __forceinline__ bool next() {
    const int step = gridDim.x * FewTile::COLUMNS;
    column += step;
    last = column + step >= words;
    return column < words;
  }
};

template <typename Finish>
__device__ __forceinline__ void product(
    const TensorMap& hidden, const TensorMap& weight, int rows, int vocab, int width, Finish& finish) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t memory = shared_address(shared);
  const Stages<FewTile> stages(memory, memory + FewTile::RING_BYTES);
  if (threadIdx.x == 0) {
    prefetch(hidden);
    prefetch(weight);
    stages.init();
  }
  join<FewTile>();
  FewTiles tiles(vocab);
  if (threadIdx.x < 128) {
    registers_down<40>();
    if (threadIdx.x == 0) produce<FewTile, true, true>(hidden, weight, weight, stages, tiles, width);
  } else {
    registers_up<232>();
    const int warp = static_cast<int>(threadIdx.x) / 32 - 4;
    const int row = warp % 4 * 16 + static_cast<int>(threadIdx.x) % 32 / 4;
    TurnMultiplier<FewTile, true, true> multiply(stages, warp / 4, width);
    while (tiles.next()) {
      if (!multiply.takes()) continue;
      float acc[1][LENGTH] = {};
      multiply(acc, tiles.last);
      if (warp % 4 * 16 < rows) {
        finish.begin(row);
        finish.before(tiles.column);
        finish.tile(acc[0], row, tiles.column);
        finish.after();
        finish.end(row, tiles.column);
      }
    }
  }
}

__device__ __forceinline__ Parts blocks_of(int rows, int vocab) {
  return {rows, (vocab + BLOCK_WORDS - 1) / BLOCK_WORDS, BLOCK_WORDS};
}

template <bool FULL>
__device__ __forceinline__ void statistics(
    const TensorMap& hidden, const TensorMap& weight, int rows, int vocab, int width, float inverse, const int* targets,
    const uint8_t* banned, const uint8_t* set, float4* sums, int* words, float* target_logits) {
  Statistics<ByteFlags, FULL> finish;
  finish.parts = blocks_of(rows, vocab);
  finish.scale = exponent_scale(inverse);
  finish.bans = {banned, vocab};
  finish.set = {set, vocab};
  finish.has_set = set != nullptr;
  finish.target.targets = targets;
  finish.target.logits = target_logits;
  finish.to_sums = sums;
  finish.to_words = words;
  product(hidden, weight, rows, vocab, width, finish);
}

template <bool MASS>
__device__ __forceinline__ void draw(
    const TensorMap& hidden, const TensorMap& weight, int rows, int vocab, int width, float inverse, const DrawRule& rule,
    const int* forced, const uint8_t* banned, const uint8_t* withheld, const uint8_t* set, float4* sums, Entry* entries,
    float* logits, float* forced_logits) {
  Drawing<ByteFlags, MASS> finish;
  finish.parts = blocks_of(rows, vocab);
  finish.scale = exponent_scale(inverse);
  finish.bans = {banned, vocab};
  finish.withheld = {withheld, vocab};
  finish.withholds = withheld != nullptr;
  finish.set = {set, vocab};
  finish.forced.targets = forced;
  finish.forced.logits = forced_logits;
  finish.rule = rule;
  finish.to_sums = sums;
  finish.to_entries = entries;
  finish.to_logits = logits;
  product(hidden, weight, rows, vocab, width, finish);
}

}  // namespace
}  // namespace saccade

// As head_statistics, with a byte a word for flags; null: none is set. sums [rows, blocks of words].
#define SACCADE_HEAD_FEW_STATISTICS(NAME, FULL)                                                                        \
  extern "C" __global__ void __launch_bounds__(saccade::FewTile::THREADS, 1) NAME(                                     \
      const __grid_constant__ saccade::TensorMap hidden, const __grid_constant__ saccade::TensorMap weight, int rows,  \
      int vocab, int width, float inverse, const int* targets, const uint8_t* banned, const uint8_t* set,              \
      float4* sums, int* words, float* target_logits) {                                                                \
    saccade::statistics<FULL>(                                                                                         \
        hidden, weight, rows, vocab, width, inverse, targets, banned, set, sums, words, target_logits);                \
  }

SACCADE_HEAD_FEW_STATISTICS(head_few_statistics, false)
SACCADE_HEAD_FEW_STATISTICS(head_few_statistics_full, true)

// As head_draw.
#define SACCADE_HEAD_FEW_DRAW(NAME, MASS)                                                                              \
  extern "C" __global__ void __launch_bounds__(saccade::FewTile::THREADS, 1) NAME(                                     \
      const __grid_constant__ saccade::TensorMap hidden, const __grid_constant__ saccade::TensorMap weight, int rows,  \
      int vocab, int width, float inverse, float draw_inverse, int noisy, const long long* keys, const int* positions, \
      const int* forced, const uint8_t* banned, const uint8_t* withheld, const uint8_t* set, float4* sums,             \
      saccade::Entry* entries, float* logits, float* forced_logits) {                                                  \
    saccade::draw<MASS>(hidden, weight, rows, vocab, width, inverse,                                                   \
                        {draw_inverse, saccade::exponent_scale(draw_inverse), noisy, keys, positions}, forced, banned, \
                        withheld, set, sums, entries, logits, forced_logits);                                          \
  }

SACCADE_HEAD_FEW_DRAW(head_few_draw, false)
SACCADE_HEAD_FEW_DRAW(head_few_draw_mass, true)
