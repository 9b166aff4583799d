// The language model's head with what follows it, on Hopper (sm_90a): logits = hidden W^T stay in the registers of the
// product. Forward, they are added up to each row's log-probability and entropy; backward, they are computed again and
// become dLogits in bf16.
//
// The product is that of gemm/hopper_product.cuh, in tiles of 128 rows x 256 words. An element is the same chain over k, so
// its bits are those of the stored logits, and a row's sums take the tree of entropy/tree.cuh: a block of words is a tile,
// lanes of the tree are lanes of the warp. A unit of work is a segment of the vocabulary for the 256 rows of a cluster.
// Units go down the rows first: what runs together reads a few segments of the weight.
//
// The exponentials. A tile's product takes its two warpgroups 2 x 128 clocks for every 16 of k: 57344 at a width of 3584,
// 14336 at 896. What follows takes a warpgroup about 1500 by count, of which 1024 are its 64 x 256 exponentials at 16 a
// clock. Done by both at once, it would leave the tensor cores idle for some 2500, 4 % and 17 %. Therefore a token goes round:
// only one warpgroup finishes a tile at a time. Where both arrive together, the first one's wait makes the second one lag
// from then on, so that it multiplies while the first one finishes, alone and at twice its share of the tensor cores, and
// the other way round. A lag of 2 or 3 stages of 512 clocks is what that needs; the ring has 4.

#include "../entropy/results.cuh"
#include "../gemm/hopper_product.cuh"
#include "hopper.cuh"

namespace saccade {
namespace {

// HopperHead.java has the same numbers: 256 columns, 4 stages, clusters of 2.
using Tile = Shape<BLOCK_WORDS, 4, 2>;
constexpr int COLUMNS = Tile::COLUMNS, LENGTH = Tile::SUMS;
static_assert(Tile::RING_BYTES + Stages<Tile>::BARRIER_BYTES <= MOST_SHARED_BYTES);

// The way of a block through the products of `rows` and of `words` from `first` on: for the rows of a cluster a segment,
// tile by tile.
struct Walk {
  int rows, first, words;
  int down, units, unit;
  int row, column;  // the tile's first; a column is a word
  int begin, end;   // the unit's words, counted from `first`, as is `word`
  int word;

  __device__ __forceinline__ Walk(int rows, int first, int words)
      : rows(rows),
        first(first),
        words(words),
        down((rows + Tile::CLUSTER * Tile::ROWS - 1) / (Tile::CLUSTER * Tile::ROWS)),
        units(down * ((words + SEGMENT_WORDS - 1) / SEGMENT_WORDS)),
        unit(this_cluster<Tile>() - all_clusters<Tile>()),
        end(0),
        word(0) {}

  // Goes to the block's next tile, if there is one.
  __device__ __forceinline__ bool next() {
    word += COLUMNS;
    if (word >= end) {
      unit += all_clusters<Tile>();
      if (unit >= units) return false;
      row = (unit % down * Tile::CLUSTER + rank_of_cluster<Tile>()) * Tile::ROWS;
      begin = unit / down * SEGMENT_WORDS;
      end = min(begin + SEGMENT_WORDS, words);
      word = begin;
    }
    column = first + word;
    return true;
  }

  __device__ __forceinline__ bool begins_unit() const { return word == begin; }
  __device__ __forceinline__ bool ends_unit() const { return word + COLUMNS >= end; }
  __device__ __forceinline__ bool is_last() const { return ends_unit() && unit + all_clusters<Tile>() >= units; }
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

// Multiplies, and hands each tile's sums to `finish`: begin(row), tile(acc, row, word), end(row, word), `row` being that
// of the thread's first sums, and the word counted from the walk's first.
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
    const int own_row = (threadIdx.x / 32 - 4) * 16 + threadIdx.x % 32 / 4;
    Multiplier<Tile, true, true> multiply(stages, group);
    const Token token(group);
    while (walk.next()) {
      const int row = walk.row + own_row;
      if (walk.begins_unit()) finish.begin(row);
      float acc[LENGTH] = {};
      multiply(acc, width);
      token.take();
      finish.tile(acc, row, walk.word);
      __syncwarp();
      token.give(walk.is_last());
      if (walk.ends_unit()) finish.end(row, walk.begin);
    }
  }
  join<Tile>();
}

// The bits of a tile's words that are banned or do not exist, in the order of this thread's words; 0 for nearly all.
__device__ __forceinline__ uint64_t bans_of(const uint32_t* bans, int word) {
  const uint4* from = reinterpret_cast<const uint4*>(bans + word / 32);
  const uint4 low = from[0], high = from[1];
  if ((low.x | low.y | low.z | low.w | high.x | high.y | high.z | high.w) == 0) return 0;
  return lane_bits(low, high, threadIdx.x % 4);
}

__device__ __forceinline__ void ban(float (&acc)[LENGTH], uint64_t banned) {
  if (banned == 0) return;
#pragma unroll
  for (int i = 0; i < LENGTH; ++i) {
    if (banned >> (i / 4 * 2 + i % 2) & 1) acc[i] = NONE;
  }
}

// Whether this thread holds a word of the tile, counted from the tile's first.
__device__ __forceinline__ bool holds(int word) {
  return word >= 0 && word < COLUMNS && word % 8 / 2 == static_cast<int>(threadIdx.x) % 4;
}

// `x` if `word` is `wanted`. Written out, because the compiler makes an indexed array of many such choices, in memory.
__device__ __forceinline__ void choose(float& chosen, float x, int wanted, int word) {
  asm("{\n.reg .pred equal;\nsetp.eq.s32 equal, %1, %2;\nselp.f32 %0, %3, %0, equal;\n}\n"
      : "+f"(chosen)
      : "r"(wanted), "r"(word), "f"(x));
}

// Forward: each row's sums over a segment, and its target's logit.
template <bool BEST> struct Statistics {
  int rows, segments;
  float scale;
  const int* targets;
  const uint32_t* bans;
  float4* parts;
  int* words;
  float* target_logits;

  int target[2];
  Sums sums[2];
  Best best[2];

  __device__ __forceinline__ void begin(int row) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      target[h] = row + 8 * h < rows ? targets[row + 8 * h] : -1;
      sums[h] = no_sums();
      best[h] = none_best();
    }
  }

  template <int H> __device__ __forceinline__ void keep_target(const float (&acc)[LENGTH], int row, int word) const {
    const int wanted = target[H] - word;
    if (!__any_sync(0xffffffffu, holds(wanted))) return;
    float x = 0.0f;
#pragma unroll
    for (int j = 0; j < COLUMNS / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) choose(x, acc[4 * j + 2 * H + i], wanted - threadIdx.x % 4 * 2, 8 * j + i);
    }
    if (holds(wanted)) target_logits[row + 8 * H] = x;
  }

  __device__ __forceinline__ void tile(float (&acc)[LENGTH], int row, int word) {
    keep_target<0>(acc, row, word);
    keep_target<1>(acc, row, word);
    ban(acc, bans_of(bans, word));
    if constexpr (BEST) {
      const int first = word + threadIdx.x % 4 * 2;
      find_best<0, 4>(best[0], acc, first);
      find_best<2, 4>(best[1], acc, first);
    }
    add_block<0, 4>(sums[0], acc, scale);
    add_block<2, 4>(sums[1], acc, scale);
  }

  __device__ __forceinline__ void end(int row, int word) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float4 part = end_segment<false>(sums[h]);
      const Best found = best_of_lanes<4>(best[h]);
      if (threadIdx.x % 4 == 0 && row + 8 * h < rows) {
        const long long at = static_cast<long long>(row + 8 * h) * segments + word / SEGMENT_WORDS;
        parts[at] = part;
        if constexpr (BEST) words[at] = found.word;
      }
    }
  }
};

// Backward: dLogits [rows, words] in bf16. Tiles begin at `first`, on a block of words; its first `skipped` words are not
// asked for, and not stored.
struct Gradient {
  int rows, first, skipped, words;
  float inverse;
  const int* targets;
  const uint32_t* bans;
  const Factors* factors;
  bf16* d_logits;

  int target[2];
  Factors factor[2];

  __device__ __forceinline__ void begin(int row) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const bool exists = row + 8 * h < rows;
      target[h] = exists ? targets[row + 8 * h] : -1;
      factor[h] = exists ? factors[row + 8 * h] : Factors{NONE, 0.0f, 0.0f, 0.0f};
    }
  }

  __device__ __forceinline__ void tile(float (&acc)[LENGTH], int row, int word) const {
    ban(acc, bans_of(bans, first + word));
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
    store<0>(acc, row, word);
    store<1>(acc, row, word);
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

  __device__ __forceinline__ void end(int, int) const {}
};

template <bool BEST>
__device__ __forceinline__ void statistics(
    const TensorMap& hidden, const TensorMap& weight, int rows, int vocab, int width, float inverse, const int* targets,
    const uint32_t* bans, float4* parts, int* words, float* target_logits) {
  Statistics<BEST> finish;
  finish.rows = rows;
  finish.segments = (vocab + SEGMENT_WORDS - 1) / SEGMENT_WORDS;
  finish.scale = exponent_scale(inverse);
  finish.targets = targets;
  finish.bans = bans;
  finish.parts = parts;
  finish.words = words;
  finish.target_logits = target_logits;
  product(hidden, weight, Walk(rows, 0, vocab), width, finish);
}

}  // namespace
}  // namespace saccade

// bans: one bit a word, and set from `vocab` on to the end of the last segment. parts [rows, segments], merged by
// entropy_merge; target_logits [rows].
extern "C" __global__ void __launch_bounds__(saccade::Tile::THREADS, 1) head_statistics(
    const __grid_constant__ saccade::TensorMap hidden, const __grid_constant__ saccade::TensorMap weight, int rows,
    int vocab, int width, float inverse, const int* targets, const uint32_t* bans, float4* parts, int* words,
    float* target_logits) {
  saccade::statistics<false>(
      hidden, weight, rows, vocab, width, inverse, targets, bans, parts, words, target_logits);
}

// With the largest word of each segment.
extern "C" __global__ void __launch_bounds__(saccade::Tile::THREADS, 1) head_statistics_best(
    const __grid_constant__ saccade::TensorMap hidden, const __grid_constant__ saccade::TensorMap weight, int rows,
    int vocab, int width, float inverse, const int* targets, const uint32_t* bans, float4* parts, int* words,
    float* target_logits) {
  saccade::statistics<true>(
      hidden, weight, rows, vocab, width, inverse, targets, bans, parts, words, target_logits);
}

// The words from `first`, an even one, on: d_logits [rows, words].
extern "C" __global__ void __launch_bounds__(saccade::Tile::THREADS, 1) head_gradient(
    const __grid_constant__ saccade::TensorMap hidden, const __grid_constant__ saccade::TensorMap weight, int rows,
    int first, int words, int width, float inverse, const int* targets, const uint32_t* bans, const float4* factors,
    saccade::bf16* d_logits) {
  saccade::Gradient finish;
  finish.rows = rows;
  finish.skipped = first % saccade::COLUMNS;
  finish.first = first - finish.skipped;
  finish.words = words;
  finish.inverse = inverse;
  finish.targets = targets;
  finish.bans = bans;
  finish.factors = reinterpret_cast<const saccade::Factors*>(factors);
  finish.d_logits = d_logits;
  saccade::product(hidden, weight, saccade::Walk(rows, finish.first, finish.skipped + words), width, finish);
}
