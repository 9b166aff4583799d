// Log-probability and entropy of each row's distribution over a vocabulary, and their gradient to the logits.
//
// Forward. The tree of additions is that of tree.cuh: four lanes take a segment of 1024 words. They read 32 neighbouring
// bytes of fp32 at a time, a block's all before anything is computed, so that memory is read once and enough bytes are in
// flight. Rows may begin at any address: no bit depends on where a row lies. A warp merges each row's segments.
// The mass of a set of words and the largest word are found in kernels of their own, which add the rest alike.
//
// Backward. Each element by itself.
#include "results.cuh"

namespace {

using namespace saccade;

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int SEGMENT_THREADS = 128;
constexpr int CHUNK = 8192;  // words of a row that a block of the backward pass takes

// A lane's words of a block of which `count` exist; the others are -infinity.
template <typename T>
__device__ __forceinline__ void load_block(float (&x)[LANE_WORDS], const T* line, int quad_lane, int count) {
  const T* own = line + 2 * quad_lane;
  if (count >= BLOCK_WORDS && reinterpret_cast<uintptr_t>(own) % (2 * sizeof(T)) == 0) {
#pragma unroll
    for (int j = 0; j < LANE_WORDS / 2; ++j) {
      const Elements<T, 2> pair = load_elements<2>(own + 8 * j);
      x[2 * j] = to_float(pair.element[0]);
      x[2 * j + 1] = to_float(pair.element[1]);
    }
  } else {
#pragma unroll
    for (int j = 0; j < LANE_WORDS / 2; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        x[2 * j + i] = 8 * j + 2 * quad_lane + i < count ? to_float(own[8 * j + i]) : NONE;
      }
    }
  }
}

// A block's flags, in the order of a lane's words.
__device__ __forceinline__ uint64_t load_bits(const uint32_t* bits, int first, int quad_lane) {
  const uint4* from = reinterpret_cast<const uint4*>(bits + first / 32);
  return lane_bits(from[0], from[1], quad_lane);
}

// The segments of all rows, four lanes each.
template <typename T, bool FULL>
__device__ __forceinline__ void segments_of(
    int rows, int vocab, int segments, long long pitch, float inverse, const T* __restrict__ logits,
    const uint32_t* __restrict__ bans, const uint32_t* __restrict__ set, float4* __restrict__ parts,
    int* __restrict__ words) {
  const int quad_lane = threadIdx.x % 4;
  const long long quads = static_cast<long long>(rows) * segments;
  const long long asked = (blockIdx.x * static_cast<long long>(SEGMENT_THREADS) + threadIdx.x) / 4;
  const long long quad = asked < quads ? asked : quads - 1;  // all lanes of a warp stay together
  const long long row = quad / segments;
  const int begin = static_cast<int>(quad - row * segments) * SEGMENT_WORDS;
  const T* line = logits + row * pitch;
  const float scale = exponent_scale(inverse);
  Sums sums = no_sums();
  Best best = none_best();
#pragma unroll 1
  for (int block = 0; block < SEGMENT_BLOCKS; ++block) {
    const int first = begin + block * BLOCK_WORDS;
    float x[LANE_WORDS];
    load_block(x, line + first, quad_lane, vocab - first);
    if (bans != nullptr) {
      const uint64_t banned = load_bits(bans, first, quad_lane);
      if (banned != 0) {
#pragma unroll
        for (int i = 0; i < LANE_WORDS; ++i) x[i] = banned >> i & 1 ? NONE : x[i];
      }
    }
    uint64_t members = 0;
    if constexpr (FULL) {
      if (set != nullptr) members = load_bits(set, first, quad_lane);
      find_best<0, 2>(best, x, first + 2 * quad_lane);
    }
    __syncwarp();
    add_block<0, 2, FULL>(sums, x, scale, members);
  }
  const float4 part = end_segment<FULL>(sums);
  if constexpr (FULL) best = best_of_lanes<4>(best);
  if (quad_lane == 0 && asked < quads) {
    parts[quad] = part;
    if constexpr (FULL) words[quad] = best.word;
  }
}

// Where a merge finds the target's logit: among the row's logits, or alone.
enum Source { ROWS_F32 = 0, ROWS_BF16 = 1, TARGETS_F32 = 2 };

template <bool FULL>
__device__ __forceinline__ void merge(
    int rows, int vocab, int segments, long long pitch, float inverse, const void* logits, int source,
    const int* targets, const uint8_t* banned, const float4* parts, const int* words, const Results& to) {
  const long long row = blockIdx.x * static_cast<long long>(WARPS) + threadIdx.x / 32;
  if (row >= rows) return;
  merge_row<FULL>(
      static_cast<int>(row), vocab, segments, inverse, targets, banned, parts, words, to,
      [&](int target) {
        const long long at = source == TARGETS_F32 ? row : row * pitch + target;
        return source == ROWS_BF16 ? to_float(static_cast<const bf16*>(logits)[at])
                                   : static_cast<const float*>(logits)[at];
      });
}

// Chunk blockIdx.y of row blockIdx.x. `logits` may be `d_logits`: what a thread reads only it writes. Words and targets
// count from the part's first word.
template <typename F, typename T>
__device__ __forceinline__ void backward(
    int words, int first, long long pitch, float inverse, const F* logits, const int* targets, const uint8_t* banned,
    const Factors* factors, T* d_logits) {
  constexpr int AT_ONCE = 4;
  const int begin = blockIdx.y * CHUNK;
  const int count = min(CHUNK, words - begin);
  const long long start = blockIdx.x * pitch + begin;
  const F* in = logits + start;
  T* out = d_logits + start;
  const uint8_t* bans = banned == nullptr ? nullptr : banned + begin;
  const int target = targets[blockIdx.x] - first - begin;
  const Factors row = factors[blockIdx.x];
  const auto gradient = [&](float x, int word) {
    const float g = gradient_of(row, bans != nullptr && bans[word] != 0 ? NONE : x, inverse);
    return from_float<T>(word == target && row.lse != NONE ? __fadd_rn(g, row.a) : g);
  };

  // Single words up to the first boundary of four, four at a time, single words to the end.
  constexpr int BYTES = 4 * sizeof(F);
  int head = min(count, static_cast<int>((BYTES - reinterpret_cast<uintptr_t>(in) % BYTES) % BYTES / sizeof(F)));
  if (reinterpret_cast<uintptr_t>(out + head) % (4 * sizeof(T)) != 0) head = count;
  const int fours = (count - head) / 4;
  for (int four = threadIdx.x; four < fours; four += AT_ONCE * THREADS) {
    Elements<F, 4> packs[AT_ONCE];
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      if (four + i * THREADS < fours) packs[i] = load_elements<4>(in + head + 4 * (four + i * THREADS));
    }
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      if (four + i * THREADS < fours) {
        const int word = head + 4 * (four + i * THREADS);
        Elements<T, 4> g;
#pragma unroll
        for (int j = 0; j < 4; j++) g.element[j] = gradient(to_float(packs[i].element[j]), word + j);
        store_elements(out + word, g);
      }
    }
  }
  for (int word = threadIdx.x; word < head; word += THREADS) out[word] = gradient(to_float(in[word]), word);
  for (int word = head + 4 * fours + threadIdx.x; word < count; word += THREADS) {
    out[word] = gradient(to_float(in[word]), word);
  }
}

}  // namespace

// 32 words' flags to a number. Words from `vocab` on, to the end of the segment, count as `beyond`.
extern "C" __global__ void __launch_bounds__(THREADS) entropy_pack(
    int vocab, int numbers, int beyond, const uint8_t* flags, uint32_t* bits) {
  const int number = blockIdx.x * THREADS + threadIdx.x;
  if (number >= numbers) return;
  uint32_t result = 0;
#pragma unroll 8
  for (int i = 0; i < 32; ++i) {
    const int word = number * 32 + i;
    const bool flag = word < vocab ? flags != nullptr && flags[word] != 0 : beyond != 0;
    result |= static_cast<uint32_t>(flag) << i;
  }
  bits[number] = result;
}

#define SACCADE_ENTROPY_SEGMENTS(NAME, T, FULL)                                                                        \
  extern "C" __global__ void __launch_bounds__(SEGMENT_THREADS, 4)                                                     \
      NAME(int rows, int vocab, int segments, long long pitch, float inverse, const T* logits, const uint32_t* bans,   \
           const uint32_t* set, float4* parts, int* words) {                                                           \
    segments_of<T, FULL>(rows, vocab, segments, pitch, inverse, logits, bans, set, parts, words);                      \
  }

SACCADE_ENTROPY_SEGMENTS(entropy_segments_f32, float, false)
SACCADE_ENTROPY_SEGMENTS(entropy_segments_bf16, bf16, false)
SACCADE_ENTROPY_SEGMENTS(entropy_segments_full_f32, float, true)
SACCADE_ENTROPY_SEGMENTS(entropy_segments_full_bf16, bf16, true)

#define SACCADE_ENTROPY_MERGE(NAME, FULL)                                                                              \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                                \
      NAME(int rows, int vocab, int segments, long long pitch, float inverse, const void* logits, int source,          \
           const int* targets, const uint8_t* banned, const float4* parts, const int* words, float* log_prob,          \
           float* entropy, float* lse, float* max_prob, int* argmax, float* mass, int* fault) {                        \
    merge<FULL>(rows, vocab, segments, pitch, inverse, logits, source, targets, banned, parts, words,                  \
                Results{log_prob, entropy, lse, max_prob, argmax, mass, fault});                                       \
  }

SACCADE_ENTROPY_MERGE(entropy_merge, false)
SACCADE_ENTROPY_MERGE(entropy_merge_full, true)

// Every row's factors, read before a backward pass overwrites the logits. log_prob says whether a target has a
// probability; where it is null the logits are those of all words, and say it.
extern "C" __global__ void __launch_bounds__(THREADS) entropy_backward_factors(
    int rows, int vocab, long long pitch, float inverse, const void* logits, int half, const int* targets,
    const uint8_t* banned, const float* log_prob, const float* entropy, const float* lse, const float* d_log_prob,
    const float* d_entropy, float4* factors, int* fault) {
  const int row = blockIdx.x * THREADS + threadIdx.x;
  if (row >= rows) return;
  const int target = targets[row];
  Factors result{NONE, 0.0f, 0.0f, 0.0f};
  if (uint32_t(target) >= uint32_t(vocab)) {
    report_fault(fault, 1, target, vocab, row);
  } else {
    bool reachable;
    if (log_prob != nullptr) {
      reachable = log_prob[row] != NONE;
    } else {
      const long long at = row * pitch + target;
      const float x = half ? to_float(static_cast<const bf16*>(logits)[at]) : static_cast<const float*>(logits)[at];
      reachable = x != NONE && (banned == nullptr || banned[target] == 0);
    }
    const float a = d_log_prob == nullptr ? 0.0f : __fmul_rn(d_log_prob[row], inverse);
    const float b = d_entropy == nullptr ? 0.0f : __fmul_rn(d_entropy[row], inverse);
    result = make_factors(reachable, lse[row], entropy[row], a, b);
  }
  *reinterpret_cast<Factors*>(factors + row) = result;
}

#define SACCADE_ENTROPY_BACKWARD(NAME, F, T)                                                                           \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                                \
      NAME(int words, int first, long long pitch, float inverse, const F* logits, const int* targets,                  \
           const uint8_t* banned, const float4* factors, T* d_logits) {                                                \
    backward(words, first, pitch, inverse, logits, targets, banned, reinterpret_cast<const Factors*>(factors),         \
             d_logits);                                                                                                \
  }

SACCADE_ENTROPY_BACKWARD(entropy_backward_f32, float, float)
SACCADE_ENTROPY_BACKWARD(entropy_backward_f32_bf16, float, bf16)
SACCADE_ENTROPY_BACKWARD(entropy_backward_bf16, bf16, bf16)
