// Log-probability and entropy of each row's distribution over a vocabulary, and their gradient to the logits.
//
// Forward. The tree of additions is that of tree.cuh. A warp takes two segments, 2048 neighbouring words, each of their
// eight blocks four lanes: it copies the words to shared memory side by side, so that memory is read once, in whole lines,
// and enough bytes are on their way; then every lane reads its own. The blocks' sums come by shuffles and are added up in
// order. Rows may begin at any address: no bit depends on where a row lies. A warp merges each row's segments. The mass of a set of words and the largest word are found in kernels of their own, which add the
// rest alike.
//
// Backward. Each element by itself.
#include "mma_sm80.cuh"
#include "results.cuh"

namespace {

using namespace saccade;

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int SEGMENT_WARPS = 4;
constexpr int CHUNK = 8192;  // words of a row that a block of the backward pass takes

// Shared memory of a warp: its blocks, each followed by what makes the next one begin in other banks.
template <typename T> struct Staged {
  static constexpr int BLOCKS = 2 * SEGMENT_BLOCKS;
  static constexpr int WORDS = BLOCKS * BLOCK_WORDS;
  static constexpr int PITCH = BLOCK_WORDS + 8;
  alignas(16) T words[BLOCKS * PITCH];

  __device__ __forceinline__ T* at(int word) { return words + word / BLOCK_WORDS * PITCH + word % BLOCK_WORDS; }
};

// Copies the words at `from`, of which `count` exist; the others become -infinity.
template <typename T> __device__ __forceinline__ void stage(Staged<T>& to, const T* __restrict__ from, int count) {
  constexpr int PAIR = 2 * sizeof(T);
  const int lane = threadIdx.x % 32;
  if (count >= Staged<T>::WORDS && reinterpret_cast<uintptr_t>(from) % PAIR == 0) {
#pragma unroll
    for (int i = 0; i < Staged<T>::WORDS / 64; ++i) {
      const int word = i * 64 + lane * 2;
      cp_async<PAIR>(shared_address(to.at(word)), from + word, PAIR);
    }
    cp_async_commit();
    cp_async_wait<0>();
  } else {
#pragma unroll 16
    for (int i = 0; i < Staged<T>::WORDS / 32; ++i) {
      const int word = i * 32 + lane;
      *to.at(word) = word < count ? from[word] : from_float<T>(NONE);
    }
  }
  __syncwarp();
}

// A block's flags, in the order of a lane's words.
__device__ __forceinline__ uint64_t load_bits(const uint32_t* bits, int first, int quad_lane) {
  const uint4* from = reinterpret_cast<const uint4*>(bits + first / 32);
  return lane_bits(from[0], from[1], quad_lane);
}

// The sums that another lane has.
template <bool MASS> __device__ __forceinline__ Sums sums_from(const Sums& sums, int lane) {
  return {__shfl_sync(0xffffffffu, sums.max, lane), __shfl_sync(0xffffffffu, sums.sum, lane),
          __shfl_sync(0xffffffffu, sums.weighted, lane), MASS ? __shfl_sync(0xffffffffu, sums.inside, lane) : 0.0f};
}

// The segments of all rows, a warp for two of a row. bans and set: one bit a word, to the end of the last pair of segments.
template <typename T, bool FULL>
__device__ __forceinline__ void segments_of(
    int rows, int vocab, int segments, long long pitch, float inverse, const T* __restrict__ logits,
    const uint32_t* __restrict__ bans, const uint32_t* __restrict__ set, float4* __restrict__ parts,
    int* __restrict__ words) {
  __shared__ Staged<T> staged[SEGMENT_WARPS];
  Staged<T>& own = staged[threadIdx.x / 32];
  const int lane = threadIdx.x % 32, block = lane / 4, quad_lane = lane % 4;
  const int pairs = (segments + 1) / 2;
  const long long warp = blockIdx.x * static_cast<long long>(SEGMENT_WARPS) + threadIdx.x / 32;
  const long long row = warp / pairs;
  if (row >= rows) return;
  const int begin = static_cast<int>(warp - row * pairs) * Staged<T>::WORDS;
  const int first = begin + block * BLOCK_WORDS;
  const float scale = exponent_scale(inverse);
  stage(own, logits + row * pitch + begin, vocab - begin);

  float x[LANE_WORDS];
#pragma unroll
  for (int j = 0; j < LANE_WORDS / 2; ++j) {
    const Elements<T, 2> pair = load_elements<2>(own.words + block * Staged<T>::PITCH + 8 * j + 2 * quad_lane);
    x[2 * j] = to_float(pair.element[0]);
    x[2 * j + 1] = to_float(pair.element[1]);
  }
  if (bans != nullptr) {
    const uint64_t banned = load_bits(bans, first, quad_lane);
    if (banned != 0) {
#pragma unroll
      for (int i = 0; i < LANE_WORDS; ++i) x[i] = banned >> i & 1 ? NONE : x[i];
    }
    __syncwarp();
  }
  uint64_t members = 0;
  Best best = none_best();
  if constexpr (FULL) {
    if (set != nullptr) members = load_bits(set, first, quad_lane);
    find_best<0, 2>(best, x, first + 2 * quad_lane);
    __syncwarp();
    best = best_of_lanes<4 * SEGMENT_BLOCKS>(best);
  }

  const Sums part = sums_of_quad<FULL>(sums_of_lane<0, 2, FULL>(x, block_max<0, 2>(x), scale, members));
  const int first_lane = lane / (4 * SEGMENT_BLOCKS) * (4 * SEGMENT_BLOCKS);
  Sums sums = no_sums();
#pragma unroll
  for (int b = 0; b < SEGMENT_BLOCKS; ++b) {
    sums = add_block<FULL>(sums, sums_from<FULL>(part, first_lane + 4 * b), scale);
  }
  const int segment = first / SEGMENT_WORDS;
  if (lane % (4 * SEGMENT_BLOCKS) == 0 && segment < segments) {
    parts[row * segments + segment] = pack_sums(sums);
    if constexpr (FULL) words[row * segments + segment] = best.word;
  }
}

// Where a merge finds the target's logit: among the row's logits, or alone.
enum Source { ROWS_F32 = 0, ROWS_BF16 = 1, TARGETS_F32 = 2 };

template <bool FULL>
__device__ __forceinline__ void merge(
    int rows, int vocab, int parts_of_row, int blocks, long long pitch, float inverse, const void* logits, int source,
    const int* targets, const uint8_t* banned, const float4* parts, const int* words, const Results& to) {
  const long long row = blockIdx.x * static_cast<long long>(WARPS) + threadIdx.x / 32;
  if (row >= rows) return;
  merge_row<FULL>(
      static_cast<int>(row), vocab, parts_of_row, blocks, inverse, targets, banned, parts, words, to,
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

// 32 words' flags to a number. Words from `vocab` on, to the end of the last number, count as `beyond`.
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
  extern "C" __global__ void __launch_bounds__(32 * SEGMENT_WARPS, 5)                                                  \
      NAME(int rows, int vocab, int segments, long long pitch, float inverse, const T* logits, const uint32_t* bans,   \
           const uint32_t* set, float4* parts, int* words) {                                                           \
    segments_of<T, FULL>(rows, vocab, segments, pitch, inverse, logits, bans, set, parts, words);                      \
  }

SACCADE_ENTROPY_SEGMENTS(entropy_segments_f32, float, false)
SACCADE_ENTROPY_SEGMENTS(entropy_segments_bf16, bf16, false)
SACCADE_ENTROPY_SEGMENTS(entropy_segments_full_f32, float, true)
SACCADE_ENTROPY_SEGMENTS(entropy_segments_full_bf16, bf16, true)

// A row has `parts_of_row` parts, each of `blocks` blocks of words: 1 or a segment's.
#define SACCADE_ENTROPY_MERGE(NAME, FULL)                                                                              \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                                \
      NAME(int rows, int vocab, int parts_of_row, int blocks, long long pitch, float inverse, const void* logits,      \
           int source, const int* targets, const uint8_t* banned, const float4* parts, const int* words,               \
           float* log_prob, float* entropy, float* lse, float* max_prob, int* argmax, float* mass, int* fault) {       \
    merge<FULL>(rows, vocab, parts_of_row, blocks, pitch, inverse, logits, source, targets, banned, parts, words,      \
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
