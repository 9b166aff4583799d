// What becomes of a tile of logits in the registers of a product on Hopper: shared by hopper.cu and hopper_few.cu. A warpgroup
// has 64 rows x 256 words as wgmma lays them out (hopper.cuh): a block of the tree of entropy/tree.cuh, and of each 32 words
// and row a thread has all that two counters of the noise make (Philox.java).
//
// A finish is called for parts of a row's words, which are 1 or 4 tiles: begin(row), for each tile before(word), while there is no
// product yet to wait for what it loads, tile(acc, row, word) and after(), and end(row, word). `row` is that of the thread's first
// sums, `word` the first of the tile or part. Where warpgroups finish one at a time, only tile() keeps the other one waiting.
#pragma once

#include "../entropy/results.cuh"
#include "../sampling/score.cuh"

namespace saccade {

constexpr int LENGTH = BLOCK_WORDS / 2;  // a thread's logits

// Where a finish keeps what it finds: [rows, count], `words` words to a part.
struct Parts {
  int rows, count, words;

  __device__ __forceinline__ long long at(int row, int word) const {
    return static_cast<long long>(row) * count + word / words;
  }
};

// Flags of words, one bit each, set from the last word on to the end of its segment.
struct PackedFlags {
  const uint32_t* bits;

  // Those of a tile in the order of this thread's words; 0 for nearly all tiles. Whole warps call it.
  __device__ __forceinline__ uint64_t of(int word) const {
    const uint4* from = reinterpret_cast<const uint4*>(bits + word / 32);
    const uint4 low = from[0], high = from[1];
    if ((low.x | low.y | low.z | low.w | high.x | high.y | high.z | high.w) == 0) return 0;
    return lane_bits(low, high, threadIdx.x % 4);
  }
};

// The same from a byte a word, of which `vocab` exist; null: none is set.
struct ByteFlags {
  const uint8_t* bytes;
  int vocab;

  __device__ __forceinline__ uint64_t of(int word) const {
    if (bytes == nullptr && word + BLOCK_WORDS <= vocab) return 0;
    uint32_t bits[BLOCK_BITS];
#pragma unroll
    for (int n = 0; n < BLOCK_BITS; ++n) {
      const int own = word + n * 32 + static_cast<int>(threadIdx.x) % 32;
      bits[n] = __ballot_sync(0xffffffffu, own >= vocab || (bytes != nullptr && bytes[own] != 0));
    }
    return lane_bits(make_uint4(bits[0], bits[1], bits[2], bits[3]), make_uint4(bits[4], bits[5], bits[6], bits[7]),
                     threadIdx.x % 4);
  }
};

__device__ __forceinline__ void ban(float (&acc)[LENGTH], uint64_t banned) {
  if (banned == 0) return;
#pragma unroll
  for (int i = 0; i < LENGTH; ++i) {
    if (banned >> (i / 4 * 2 + i % 2) & 1) acc[i] = NONE;
  }
}

// Whether this thread holds a word of the tile, counted from the tile's first.
__device__ __forceinline__ bool holds(int word) {
  return word >= 0 && word < BLOCK_WORDS && word % 8 / 2 == static_cast<int>(threadIdx.x) % 4;
}

// `x` if `word` is `wanted`. Written out, because the compiler makes an indexed array of many such choices, in memory.
__device__ __forceinline__ void choose(float& chosen, float x, int wanted, int word) {
  asm("{\n.reg .pred equal;\nsetp.eq.s32 equal, %1, %2;\nselp.f32 %0, %3, %0, equal;\n}\n"
      : "+f"(chosen)
      : "r"(wanted), "r"(word), "f"(x));
}

// Each row's logit of one word, the target.
struct TargetLogits {
  const int* targets;  // negative, or null: none
  float* logits;

  int target[2];

  __device__ __forceinline__ void begin(int row, int rows) {
#pragma unroll
    for (int h = 0; h < 2; ++h) target[h] = targets != nullptr && row + 8 * h < rows ? targets[row + 8 * h] : -1;
  }

  template <int H> __device__ __forceinline__ void keep(const float (&acc)[LENGTH], int row, int word) const {
    const int wanted = target[H] - word;
    if (!__any_sync(0xffffffffu, holds(wanted))) return;
    float x = 0.0f;
#pragma unroll
    for (int j = 0; j < BLOCK_WORDS / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) choose(x, acc[4 * j + 2 * H + i], wanted - threadIdx.x % 4 * 2, 8 * j + i);
    }
    if (holds(wanted)) logits[row + 8 * H] = x;
  }

  __device__ __forceinline__ void tile(const float (&acc)[LENGTH], int row, int word) const {
    keep<0>(acc, row, word);
    keep<1>(acc, row, word);
  }
};

// The sums of a thread's two rows over the tiles of a part. What the lanes have of a tile is first kept apart: both rows' chains
// run side by side, and nobody waits for shuffles between them.
template <bool MASS> struct PartSums {
  Sums sums[2], lane[2];

  __device__ __forceinline__ void begin() { sums[0] = sums[1] = no_sums(); }

  __device__ __forceinline__ void tile(const float (&acc)[LENGTH], float scale, uint64_t members) {
    const float first_max = block_max<0, 4>(acc), second_max = block_max<2, 4>(acc);
    lane[0] = sums_of_lane<0, 4, MASS>(acc, first_max, scale, members);
    lane[1] = sums_of_lane<2, 4, MASS>(acc, second_max, scale, members);
  }

  __device__ __forceinline__ void after(float scale) {
    const Sums first = sums_of_quad<MASS>(lane[0]), second = sums_of_quad<MASS>(lane[1]);
    sums[0] = add_block<MASS>(sums[0], first, scale);
    sums[1] = add_block<MASS>(sums[1], second, scale);
  }
};

// Each row's sums over a part, and its target's logit; FULL: with a set's share, and the part's largest word.
template <typename Flags, bool FULL> struct Statistics {
  Parts parts;
  float scale;
  Flags bans;
  Flags set;
  bool has_set;
  TargetLogits target;
  float4* to_sums;
  int* to_words;

  PartSums<FULL> part;
  int best[2];  // the word of the largest logit, which is the sums' maximum; the same in a quad of lanes
  uint64_t banned;

  __device__ __forceinline__ void begin(int row) {
    target.begin(row, parts.rows);
    part.begin();
    best[0] = best[1] = none_best().word;
  }

  __device__ __forceinline__ void before(int word) { banned = bans.of(word); }

  template <int H> __device__ __forceinline__ void find_word(const float (&acc)[LENGTH], int word) {
    Best found{part.sums[H].max, best[H]};
    find_best<2 * H, 4>(found, acc, word + threadIdx.x % 4 * 2);
    best[H] = best_of_lanes<4>(found).word;
  }

  __device__ __forceinline__ void tile(float (&acc)[LENGTH], int row, int word) {
    target.tile(acc, row, word);
    ban(acc, banned);
    uint64_t members = 0;
    if constexpr (FULL) {
      find_word<0>(acc, word);
      find_word<1>(acc, word);
      if (has_set) members = set.of(word);
    }
    part.tile(acc, scale, members);
  }

  __device__ __forceinline__ void after() { part.after(scale); }

  __device__ __forceinline__ void end(int row, int word) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (threadIdx.x % 4 == 0 && row + 8 * h < parts.rows) {
        const long long at = parts.at(row + 8 * h, word);
        to_sums[at] = pack_sums(part.sums[h]);
        if constexpr (FULL) to_words[at] = best[h];
      }
    }
  }
};

// ---- drawing

// The 32 words from 32 `block` on, of this thread's logits, in the order of the words: 8 of its first row, then of the other.
template <int FIRST = 0, int COUNT = BLOCK_WORDS / 32>
__device__ __forceinline__ void words_of(float (&x)[2][8], const float (&acc)[LENGTH], int block) {
  if constexpr (COUNT == 1) {
#pragma unroll
    for (int i = 0; i < 16; ++i) x[i / 2 % 2][i / 4 * 2 + i % 2] = acc[FIRST * 16 + i];
  } else {
    constexpr int LEFT = COUNT / 2;
    if (block < FIRST + LEFT) {
      words_of<FIRST, LEFT>(x, acc, block);
    } else {
      words_of<FIRST + LEFT, COUNT - LEFT>(x, acc, block);
    }
  }
}

// Says of most words that they cannot be drawn, before their noise is made of their random bits: its logarithms are most of
// a draw's instructions.
//
// Noise is at most -log(u), for u the random bits as a number (philox.cuh). So a word has a score of at least b only where
// u <= e^(z - b). 2^-23 times the upper 23 bits is not larger than u. The exponent is off by no more than 2^-20 (|z| + |b|), and
// z is about b wherever it matters: 2^-18 |b| and 1/100 more than cover that, the power's 2 ulp and what the noise's polynomials
// are off by. So a word that could be drawn is never turned away. NaN and infinity turn nobody away.
struct Threshold {
  float offset;

  __device__ __forceinline__ explicit Threshold(float b)
      : offset(__fmul_rn(__fsub_rn(__fmaf_rn(fabsf(b), 0x1p-18f, 0.01f), b), 0x1.715476p0f)) {}

  __device__ __forceinline__ bool turns_away(uint32_t bits, float x, float scale) const {
    const float u_plus_one = __uint_as_float(0x3f800000u | bits >> 9);
    return u_plus_one > __fadd_rn(exp2_approximate(__fmaf_rn(x, scale, offset)), 1.0f);
  }
};

// The word with the largest score so far, and its logit.
struct Winner {
  float score;
  int word;
  float logit;
};

// What draws: the rule of sampling/portable.cu, without cuts.
struct DrawRule {
  float inverse;
  float scale;  // to an exponent of 2
  int noisy;
  const long long* keys;
  const int* positions;
};

// Each row's sums over a part, the word that the row draws of it with that word's logit, and the logit of a word that is forced
// on the row; MASS: with a set's share.
template <typename Flags, bool MASS> struct Drawing {
  Parts parts;
  float scale;
  Flags bans;
  Flags withheld;  // besides
  bool withholds;
  Flags set;
  TargetLogits forced;
  DrawRule rule;
  float4* to_sums;
  Entry* to_entries;
  float* to_logits;

  PartSums<MASS> part;
  uint64_t banned;
  Winner winner[2];
  long long key[2];
  int position[2];
  int known_row = -1;  // whose parts before this one had words with scores of
  float known[2];

  __device__ __forceinline__ void begin(int row) {
    forced.begin(row, parts.rows);
    if (row != known_row) known[0] = known[1] = NONE;
    known_row = row;
    part.begin();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const bool exists = row + 8 * h < parts.rows;
      winner[h] = {NONE, -1, NONE};
      key[h] = exists ? rule.keys[row + 8 * h] : 0;
      position[h] = exists ? rule.positions[row + 8 * h] : 0;
    }
  }

  __device__ __forceinline__ void before(int word) { banned = bans.of(word); }

  __device__ __forceinline__ void tile(float (&acc)[LENGTH], int row, int word) {
    forced.tile(acc, row, word);
    ban(acc, banned);
    uint64_t members = 0;
    if constexpr (MASS) members = set.of(word);
    part.tile(acc, scale, members);
    if (withholds) ban(acc, withheld.of(word));
    // A loop: written out for all 128 logits it would be more instructions than their caches hold.
#pragma unroll 1
    for (int block = 0; block < BLOCK_WORDS / 32; ++block) {
      float x[2][8];
      words_of(x, acc, block);
#pragma unroll
      for (int h = 0; h < 2; ++h) compete(winner[h], known[h], x[h], key[h], position[h], word + block * 32);
    }
  }

  __device__ __forceinline__ void after() { part.after(scale); }

  // Lets a thread's 8 words of the 32 from `first` on compete: 8 j + 2 q + i for j = 0 ... 3. The outputs 0 and 1 of counter
  // q of the 8 are the noise of those of j = 0, 2 and 3 of j = 2; of counter 4 + q of j = 1 and j = 3.
  __device__ __forceinline__ void compete(
      Winner& best, float least, const float (&x)[8], long long from, int at, int first) const {
    const int lane = threadIdx.x % 4;
    const uint32_t low = static_cast<uint32_t>(from), high = static_cast<uint32_t>(from >> 32);
    const uint32_t counter = first / 4 + lane, place = at;
    float noise[8] = {};
    if (rule.noisy) {
      const uint4 even = philox(low, high, counter, place), odd = philox(low, high, counter + 4, place);
      const uint32_t random[8] = {even.x, even.y, odd.x, odd.y, even.z, even.w, odd.z, odd.w};
      const Threshold threshold(fmaxf(best.score, least));
      bool all = true;
#pragma unroll
      for (int i = 0; i < 8; ++i) all &= threshold.turns_away(random[i], x[i], rule.scale);
      if (all) return;
#pragma unroll
      for (int i = 0; i < 8; ++i) noise[i] = gumbel(random[i]);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float z = __fmul_rn(x[i], rule.inverse);
      const float score = rule.noisy ? __fadd_rn(z, noise[i]) : z;
      // Words come in ascending order, so that the first of equals stays. NaN and -infinity are never larger.
      if (score > best.score) best = {score, first + i / 2 * 8 + lane * 2 + i % 2, x[i]};
    }
  }

  __device__ __forceinline__ void end(int row, int word) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      known[h] = fmaxf(known[h], winner[h].score);
#pragma unroll
      for (int lanes = 1; lanes < 4; lanes *= 2) known[h] = fmaxf(known[h], __shfl_xor_sync(0xffffffffu, known[h], lanes));
      Entry entry = winner[h].word < 0 ? 0 : make_entry(winner[h].score, winner[h].word);
      float logit = winner[h].logit;
#pragma unroll
      for (int lanes = 1; lanes < 4; lanes *= 2) {
        const Entry other = __shfl_xor_sync(0xffffffffu, entry, lanes);
        const float other_logit = __shfl_xor_sync(0xffffffffu, logit, lanes);
        if (other > entry) {
          entry = other;
          logit = other_logit;
        }
      }
      if (threadIdx.x % 4 == 0 && row + 8 * h < parts.rows) {
        const long long at = parts.at(row + 8 * h, word);
        to_sums[at] = pack_sums(part.sums[h]);
        to_entries[at] = entry;
        to_logits[at] = logit;
      }
    }
  }
};

// A warp merges a row's parts, each of `blocks` blocks of words: the word that is drawn, or forced, and its results.
template <bool MASS>
__device__ __forceinline__ void merge_draw(
    int row, int vocab, int count, int blocks, float inverse, const int* forced, const uint8_t* banned,
    const float4* parts, const Entry* entries, const float* logits, const float* forced_logits, int* tokens,
    const Results& to) {
  const int lane = threadIdx.x % 32;
  const long long own = static_cast<long long>(row) * count;
  const Sums sums = merge_parts<MASS>(parts + own, count, blocks, exponent_scale(inverse));
  Entry entry = 0;
  int found = 0;  // the part that has it
#pragma unroll 4
  for (int part = lane; part < count; part += 32) {
    const Entry other = entries[own + part];
    if (other > entry) {
      entry = other;
      found = part;
    }
  }
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    const Entry other = __shfl_xor_sync(0xffffffffu, entry, lanes);
    const int other_part = __shfl_xor_sync(0xffffffffu, found, lanes);
    if (other > entry) {
      entry = other;
      found = other_part;
    }
  }
  if (lane != 0) return;
  if (entry == 0) {
    report_fault(to.fault, NO_WORD, row, vocab, 0);
    return;
  }
  int token = word_of(entry);
  float logit = logits[own + found];
  const int wanted = forced == nullptr ? -1 : forced[row];
  if (wanted >= vocab) {
    report_fault(to.fault, 1, wanted, vocab, 0);
    return;
  }
  if (wanted >= 0) {
    token = wanted;
    logit = banned != nullptr && banned[wanted] != 0 ? NONE : forced_logits[row];
  }
  tokens[row] = token;
  finish_row<MASS>(sums, none_best(), logit, row, inverse, to);
}

}  // namespace saccade
