// The language model's head with what follows it, on Hopper (sm_90a): logits = hidden W^T stay in the registers of the
// product. Forward, they are added up to each row's log-probability and entropy; backward, they are computed again and
// become dLogits in bf16.
//
// The product is that of gemm/hopper_product.cuh, in tiles of 128 rows x 256 words. An element is the same chain over k, so
// its bits are those of the stored logits, and a row's sums take the tree of entropy/tree.cuh: a block of words is a tile,
// lanes of the tree are lanes of the warp. A unit of work is a part of the vocabulary, a block or a segment, for the 256 rows of
// a cluster. Units go down 8 such rows first, then across: what runs together covers a near-square, so that the second-level
// cache holds the hidden states of those rows until all of the weight has gone by.
//
// The exponentials. A tile's product takes its two warpgroups 2 x 128 clocks for every 16 of k: 57344 at a width of 3584,
// 14336 at 896. What follows takes a warpgroup about 1500 by count, of which 1024 are its 64 x 256 exponentials at 16 a
// clock. Done by both at once, it would leave the tensor cores idle for some 2500, 4 % and 17 %. Therefore a token goes round:
// only one warpgroup finishes a tile at a time. Where both arrive together, the first one's wait makes the second one lag
// from then on, so that it multiplies while the first one finishes, alone and at twice its share of the tensor cores, and
// the other way round. A lag of 2 or 3 stages of 512 clocks is what that needs; the ring has 4.

#include "../gemm/hopper_product.cuh"
#include "../gemm/hopper_rows.cuh"
#include "finish.cuh"
#include "hopper.cuh"

namespace saccade {
namespace {

// HopperHead.java has the same numbers: 256 columns, 4 stages, clusters of 2.
using Tile = Shape<BLOCK_WORDS, 4, 2>;
constexpr int COLUMNS = Tile::COLUMNS;
static_assert(LENGTH == Tile::SUMS);

// Behind the ring: its barriers, and each warp's boxes of dLogits.
using Outgoing = Outbox<64, 2>;
constexpr int BOXES = Tile::RING_BYTES + 1024;
constexpr int WARP_BOXES_BYTES = 2 * Box<64>::BYTES;
static_assert(Stages<Tile>::BARRIER_BYTES <= 1024);
static_assert(BOXES + Tile::WARPS * WARP_BOXES_BYTES <= MOST_SHARED_BYTES);

// The way of a block through the products of `rows` and of `words` from `first` on: for the rows of a cluster so many words
// at a time, tile by tile.
struct Walk {
  static constexpr int ROWS_OF_GROUP = 8;
  int rows, first, words, unit_words;
  int unit;
  int row, column;  // the tile's first; a column is a word
  int begin, end;   // the unit's words, counted from `first`, as is `word`
  int word;

  __device__ __forceinline__ Walk(int rows, int first, int words, int unit_words)
      : rows(rows),
        first(first),
        words(words),
        unit_words(unit_words),
        unit(this_cluster<Tile>() - all_clusters<Tile>()),
        end(0),
        word(0) {}

  __device__ __forceinline__ int down() const {
    return (rows + Tile::CLUSTER * Tile::ROWS - 1) / (Tile::CLUSTER * Tile::ROWS);
  }
  __device__ __forceinline__ int across() const { return (words + unit_words - 1) / unit_words; }

  // Goes to the block's next tile, if there is one.
  __device__ __forceinline__ bool next() {
    word += COLUMNS;
    if (word >= end) {
      unit += all_clusters<Tile>();
      const int all_down = down(), all_across = across();
      if (unit >= all_down * all_across) return false;
      const int group = unit / (ROWS_OF_GROUP * all_across), in_group = unit % (ROWS_OF_GROUP * all_across);
      const int group_rows = min(ROWS_OF_GROUP, all_down - group * ROWS_OF_GROUP);
      row = ((group * ROWS_OF_GROUP + in_group % group_rows) * Tile::CLUSTER + rank_of_cluster<Tile>()) * Tile::ROWS;
      begin = in_group / group_rows * unit_words;
      end = min(begin + unit_words, words);
      word = begin;
    }
    column = first + word;
    return true;
  }

  __device__ __forceinline__ bool begins_unit() const { return word == begin; }
  __device__ __forceinline__ bool ends_unit() const { return word + COLUMNS >= end; }
  __device__ __forceinline__ bool is_last() const {
    return ends_unit() && unit + all_clusters<Tile>() >= down() * across();
  }
};

__device__ __forceinline__ void arrive_named(int id, int threads) {
  asm volatile("bar.arrive %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}

// The right to finish a tile, handed from the first warpgroup to the second and back: barrier `own` is waited for, the
// other's is arrived at. The first one begins.
struct Token {
  int own, other;

  __device__ __forceinline__ explicit Token(int group) : own(1 + group), other(2 - group) {
    if (group == 1) arrive_named(other, 256);
  }
  __device__ __forceinline__ void take() const { named_barrier(own, 256); }
  // What the second one hands over after the last tile nobody takes.
  __device__ __forceinline__ void give(bool last) const {
    if (own == 1 || !last) arrive_named(other, 256);
  }
};

// Multiplies, and hands each tile's sums to `finish`: see finish.cuh. A word is counted from the walk's first.
template <typename Finish>
__device__ __forceinline__ void product(
    const TensorMap& hidden, const TensorMap& weight, Walk walk, int width, Finish& finish) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t memory = shared_address(shared);
  const Stages<Tile> stages(memory, memory + Tile::RING_BYTES);
  if (threadIdx.x == 0) {
    prefetch(hidden);
    prefetch(weight);
    stages.init();
  }
  join<Tile>();
  if (threadIdx.x < 128) {
    registers_down<40>();
    if (threadIdx.x == 0) produce<Tile, true, true>(hidden, weight, weight, stages, walk, width);
  } else {
    registers_up<232>();
    const int group = threadIdx.x / 128 - 1;
    const int warp = static_cast<int>(threadIdx.x) / 32 - 4;
    const int own_row = warp * 16 + static_cast<int>(threadIdx.x) % 32 / 4;
    Multiplier<Tile, true, true> multiply(stages, group);
    const Token token(group);
    while (walk.next()) {
      const int row = walk.row + own_row;
      const bool exists = walk.row + warp * 16 < walk.rows;  // a row of the warp
      if (exists && walk.begins_unit()) finish.begin(row);
      if (exists) finish.before(walk.word);
      float acc[LENGTH] = {};
      multiply(acc, width);
      token.take();
      if (exists) finish.tile(acc, row, walk.word);
      __syncwarp();
      token.give(walk.is_last());
      if (exists) finish.after();
      if (exists && walk.ends_unit()) finish.end(row, walk.begin);
    }
  }
  join<Tile>();
}

// Backward: dLogits [rows, words] in bf16. Tiles begin at `first`, on a block of words; its first `skipped` words are not
// asked for, and not stored. Where rows of dLogits begin on 16 bytes they go through boxes that TMA carries: 64 words of a
// warp's rows at a time.
struct Gradient {
  int rows, first, skipped, words;
  float inverse;
  const int* targets;
  PackedFlags bans;
  const Factors* factors;
  bf16* d_logits;
  const TensorMap& map;
  bool boxed;
  Outgoing out;

  int target[2];
  Factors factor[2];
  uint64_t banned;

  __device__ __forceinline__ Gradient(const TensorMap& map, uint32_t boxes) : map(map), out(boxes) {}

  __device__ __forceinline__ void begin(int row) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const bool exists = row + 8 * h < rows;
      target[h] = exists ? targets[row + 8 * h] : -1;
      factor[h] = exists ? factors[row + 8 * h] : Factors{NONE, 0.0f, 0.0f, 0.0f};
    }
  }

  __device__ __forceinline__ void before(int word) { banned = bans.of(first + word); }

  __device__ __forceinline__ void tile(float (&acc)[LENGTH], int row, int word) {
    ban(acc, banned);
#pragma unroll
    for (int i = 0; i < LENGTH; ++i) acc[i] = gradient_of(factor[i / 2 % 2], acc[i], inverse);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int wanted = target[h] - first - word;
      if (__any_sync(0xffffffffu, holds(wanted))) {
        const bool mine = holds(wanted) && factor[h].lse != NONE;
#pragma unroll
        for (int i = 0; i < LENGTH / 2; ++i) {  // the row's: 2 j + i of the pair
          const int at = i / 2 * 4 + 2 * h + i % 2;
          if (mine && wanted / 8 == i / 2 && wanted % 2 == i % 2) acc[at] = __fadd_rn(acc[at], factor[h].a);
        }
      }
    }
    if (boxed && word >= skipped) {
      send(acc, row, word);
    } else {
      store<0>(acc, row, word);
      store<1>(acc, row, word);
    }
  }

  // Rows and words beyond the last are outside of the map, and TMA leaves them out.
  __device__ __forceinline__ void send(const float (&acc)[LENGTH], int row, int word) {
    const int first_row = row - static_cast<int>(threadIdx.x) % 32 / 4;  // the warp's
#pragma unroll
    for (int p = 0; p < COLUMNS / 64; ++p) {
      const uint32_t box = out.take();
#pragma unroll
      for (int b = 0; b < 4; ++b) {
        float z[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) z[i] = acc[(p * 4 + b) * 8 + i];
        Box<64>::put(box, b, z);
      }
      out.send(map, box, word - skipped + p * 64, first_row);
    }
  }

  template <int H> __device__ __forceinline__ void store(const float (&acc)[LENGTH], int row, int word) const {
    if (row + 8 * H >= rows) return;
    const int column = word + static_cast<int>(threadIdx.x) % 4 * 2 - skipped;
    bf16* to = d_logits + static_cast<long long>(row + 8 * H) * words + column;
    if (words % 2 == 0) {
#pragma unroll
      for (int j = 0; j < COLUMNS / 8; ++j) {
        if (column + 8 * j >= 0 && column + 8 * j < words) {
          Elements<bf16, 2> pair;
          pair.element[0] = from_float<bf16>(acc[4 * j + 2 * H]);
          pair.element[1] = from_float<bf16>(acc[4 * j + 2 * H + 1]);
          *reinterpret_cast<Elements<bf16, 2>*>(to + 8 * j) = pair;
        }
      }
    } else {
#pragma unroll
      for (int j = 0; j < COLUMNS / 8; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int at = 8 * j + i;
          if (column + at >= 0 && column + at < words) to[at] = from_float<bf16>(acc[4 * j + 2 * H + i]);
        }
      }
    }
  }

  __device__ __forceinline__ void after() const {}
  __device__ __forceinline__ void end(int, int) const {}
};

template <bool FULL>
__device__ __forceinline__ void statistics(
    const TensorMap& hidden, const TensorMap& weight, const Parts& parts, int vocab, int width, float inverse,
    const int* targets, const uint32_t* bans, const uint32_t* set, float4* sums, int* words, float* target_logits) {
  Statistics<PackedFlags, FULL> finish;
  finish.parts = parts;
  finish.scale = exponent_scale(inverse);
  finish.bans = {bans};
  finish.set = {set};
  finish.has_set = set != nullptr;
  finish.target.targets = targets;
  finish.target.logits = target_logits;
  finish.to_sums = sums;
  finish.to_words = words;
  product(hidden, weight, Walk(parts.rows, 0, vocab, parts.words), width, finish);
}

template <bool MASS>
__device__ __forceinline__ void draw(
    const TensorMap& hidden, const TensorMap& weight, const Parts& parts, int vocab, int width, float inverse,
    const DrawRule& rule, const int* forced, const uint32_t* bans, const uint32_t* withheld, const uint32_t* set,
    float4* sums, Entry* entries, float* logits, float* forced_logits) {
  Drawing<PackedFlags, MASS> finish;
  finish.parts = parts;
  finish.scale = exponent_scale(inverse);
  finish.bans = {bans};
  finish.withheld = {withheld};
  finish.withholds = withheld != nullptr;
  finish.set = {set};
  finish.forced.targets = forced;
  finish.forced.logits = forced_logits;
  finish.rule = rule;
  finish.to_sums = sums;
  finish.to_entries = entries;
  finish.to_logits = logits;
  product(hidden, weight, Walk(parts.rows, 0, vocab, parts.words), width, finish);
}

}  // namespace
}  // namespace saccade

// A row has `count` parts of `part_words` words, a block or a segment. bans: one bit a word, and set from `vocab` on to the end
// of the last segment. sums [rows, count], merged by entropy_merge; target_logits [rows]. Full: with the share of a set, bits as
// bans, null where none is asked for, and with the largest word of each part.
#define SACCADE_HEAD_STATISTICS(NAME, FULL)                                                                             \
  extern "C" __global__ void __launch_bounds__(saccade::Tile::THREADS, 1) NAME(                                         \
      const __grid_constant__ saccade::TensorMap hidden, const __grid_constant__ saccade::TensorMap weight, int rows,   \
      int count, int part_words, int vocab, int width, float inverse, const int* targets, const uint32_t* bans,         \
      const uint32_t* set, float4* sums, int* words, float* target_logits) {                                            \
    saccade::statistics<FULL>(hidden, weight, {rows, count, part_words}, vocab, width, inverse, targets, bans, set,     \
                              sums, words, target_logits);                                                              \
  }

SACCADE_HEAD_STATISTICS(head_statistics, false)
SACCADE_HEAD_STATISTICS(head_statistics_full, true)

// With the word that each row draws, merged by head_draw_merge. withheld: as bans, what is not drawn besides; null: nothing.
// forced: a row's forced word, whose logit is kept; null or negative: none. Mass: with the share of a set.
#define SACCADE_HEAD_DRAW(NAME, MASS)                                                                                   \
  extern "C" __global__ void __launch_bounds__(saccade::Tile::THREADS, 1) NAME(                                         \
      const __grid_constant__ saccade::TensorMap hidden, const __grid_constant__ saccade::TensorMap weight, int rows,   \
      int count, int part_words, int vocab, int width, float inverse, float draw_inverse, int noisy,                    \
      const long long* keys, const int* positions, const int* forced, const uint32_t* bans, const uint32_t* withheld,   \
      const uint32_t* set, float4* sums, saccade::Entry* entries, float* logits, float* forced_logits) {                \
    saccade::draw<MASS>(hidden, weight, {rows, count, part_words}, vocab, width, inverse,                               \
                        {draw_inverse, saccade::exponent_scale(draw_inverse), noisy, keys, positions}, forced, bans,    \
                        withheld, set, sums, entries, logits, forced_logits);                                           \
  }

SACCADE_HEAD_DRAW(head_draw, false)
SACCADE_HEAD_DRAW(head_draw_mass, true)

// What the rows draw: a warp a row. A part has `blocks` blocks of words.
#define SACCADE_HEAD_DRAW_MERGE(NAME, MASS)                                                                             \
  extern "C" __global__ void __launch_bounds__(256) NAME(                                                               \
      int rows, int vocab, int count, int blocks, float inverse, const int* forced, const uint8_t* banned,              \
      const float4* sums, const saccade::Entry* entries, const float* logits, const float* forced_logits, int* tokens,  \
      float* log_prob, float* entropy, float* lse, float* max_prob, float* mass, int* fault) {                          \
    const int row = blockIdx.x * 8 + static_cast<int>(threadIdx.x) / 32;                                                \
    if (row >= rows) return;                                                                                            \
    saccade::merge_draw<MASS>(row, vocab, count, blocks, inverse, forced, banned, sums, entries, logits, forced_logits, \
                              tokens, {log_prob, entropy, lse, max_prob, nullptr, mass, fault});                        \
  }

SACCADE_HEAD_DRAW_MERGE(head_draw_merge, false)
SACCADE_HEAD_DRAW_MERGE(head_draw_merge_mass, true)

// The words from `first`, an even one, on: d_logits [rows, words]. boxed: its rows begin on 16 bytes, and `map` is of it.
extern "C" __global__ void __launch_bounds__(saccade::Tile::THREADS, 1) head_gradient(
    const __grid_constant__ saccade::TensorMap hidden, const __grid_constant__ saccade::TensorMap weight,
    const __grid_constant__ saccade::TensorMap map, int rows, int first, int words, int width, float inverse,
    const int* targets, const uint32_t* bans, const float4* factors, saccade::bf16* d_logits, int boxed) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const int warp = max(static_cast<int>(threadIdx.x) / 32 - 4, 0);  // of those that multiply
  saccade::Gradient finish(
      map, saccade::shared_address(shared) + saccade::BOXES + warp * saccade::WARP_BOXES_BYTES);
  finish.rows = rows;
  finish.skipped = first % saccade::COLUMNS;
  finish.first = first - finish.skipped;
  finish.words = words;
  finish.inverse = inverse;
  finish.targets = targets;
  finish.bans = {bans};
  finish.factors = reinterpret_cast<const saccade::Factors*>(factors);
  finish.d_logits = d_logits;
  finish.boxed = boxed != 0;
  saccade::product(
      hidden, weight, saccade::Walk(rows, finish.first, finish.skipped + words, saccade::COLUMNS), width, finish);
  if (boxed != 0 && threadIdx.x % 32 == 0) saccade::stores_wait_read<0>();
}
