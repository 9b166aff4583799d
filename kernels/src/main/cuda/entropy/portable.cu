// Log-probability and entropy of each row's distribution over a vocabulary, and their gradient to the
// logits.
//
// Forward. A row is cut into chunks of 8192 words, and a chunk is one block's: 16 words a thread, 512
// apart, all in registers before anything is computed, so that memory is read once and enough bytes are
// in flight. Rows begin at any address (odd vocabularies), therefore reads are 4 bytes wide and
// coalesced, and no bit depends on where a row lies. The block finds its maximum m and then, relative to
// it, S = sum e^(z - m) and T = sum (z - m) e^(z - m); what entropy and log-probability subtract from
// each other has lost m already. Chunks are merged in order by a warp. Rows of at most 512 words are a
// warp's, those of at most one chunk a block's, without a merge. What is chosen, and every order of
// additions, depends on the vocabulary alone. The mass of a set of words is a third sum beside S and T, in
// kernels of its own: those without it stay as they are.
//
// Backward. Each element by itself, with the CPU's operations.
#include "elementary.cuh"
#include "numeric.cuh"

namespace {

using namespace saccade;

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int CHUNK_THREADS = 512;
constexpr int CHUNK_WARPS = CHUNK_THREADS / 32;
constexpr int WORDS = 16;  // a thread's in a chunk
constexpr int CHUNK = CHUNK_THREADS * WORDS;
constexpr float NONE = -INFINITY;

// What a part of a row comes to: its largest z (-infinity where there is none), and S, T and the set's
// share of S relative to it. A NaN among the part's words is in T.
struct Sums {
  float max;
  float sum;
  float weighted;
  float inside;  // 0 where no set is asked for
};

__device__ __forceinline__ float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ bool is_banned(const uint8_t* banned, int word) {
  return banned != nullptr && banned[word] != 0;
}

// One word's z, -infinity where it is banned.
__device__ __forceinline__ float scaled(const float* row, const uint8_t* banned, int word, float inverse) {
  return is_banned(banned, word) ? NONE : __fmul_rn(row[word], inverse);
}

// The first `count` words at `words`, at most WORDS each of LANES threads: for the only row of a block
// (CHUNK_THREADS lanes) or of a warp (32). The result is complete in the first warp.
template <int LANES, bool MASS>
__device__ __forceinline__ Sums sums_of(
    const float* __restrict__ words, const uint8_t* __restrict__ banned, const uint8_t* __restrict__ set,
    int count, float inverse) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int thread = LANES == 32 ? lane : threadIdx.x;
  // The bans and the set first, one bit each: together with the words they would take too many registers.
  uint32_t bans = 0, members = 0;
  if (banned != nullptr) {
#pragma unroll
    for (int i = 0; i < WORDS; i++) {
      const int word = thread + i * LANES;
      if (word < count && banned[word] != 0) bans |= 1u << i;
    }
  }
  if constexpr (MASS) {
#pragma unroll
    for (int i = 0; i < WORDS; i++) {
      const int word = thread + i * LANES;
      if (word < count && set[word] != 0) members |= 1u << i;
    }
  }
  float z[WORDS];
#pragma unroll
  for (int i = 0; i < WORDS; i++) {
    const int word = thread + i * LANES;
    z[i] = word < count && !(bans >> i & 1) ? __fmul_rn(words[word], inverse) : NONE;
  }
  Sums part{NONE, 0.0f, 0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < WORDS; i++) part.max = fmaxf(part.max, z[i]);  // passes NaN over
  part.max = warp_max(part.max);
  if constexpr (LANES > 32) {
    __shared__ float maxima[CHUNK_WARPS];
    if (lane == 0) maxima[warp] = part.max;
    __syncthreads();
    part.max = warp_max(maxima[lane % CHUNK_WARPS]);
  }
  const float base = part.max == NONE ? 0.0f : part.max;
#pragma unroll
  for (int i = 0; i < WORDS; i++) {
    const float d = __fsub_rn(z[i], base);
    const float e = exp2_approximate(__fmul_rn(d, 0x1.715476p0f));
    part.sum = __fadd_rn(part.sum, e);
    // -infinity times 0 must not arise; where d is NaN, e is too.
    part.weighted = __fmaf_rn(e, fmaxf(d, -128.0f), part.weighted);
    if constexpr (MASS) part.inside = __fadd_rn(part.inside, members >> i & 1 ? e : 0.0f);
  }
  part.sum = warp_sum(part.sum);
  part.weighted = warp_sum(part.weighted);
  if constexpr (MASS) part.inside = warp_sum(part.inside);
  if constexpr (LANES > 32) {
    __shared__ float sums[CHUNK_WARPS], weighted[CHUNK_WARPS], inside[MASS ? CHUNK_WARPS : 1];
    if (lane == 0) {
      sums[warp] = part.sum;
      weighted[warp] = part.weighted;
      if constexpr (MASS) inside[warp] = part.inside;
    }
    __syncthreads();
    if (warp == 0) {
      part.sum = warp_sum(lane < CHUNK_WARPS ? sums[lane] : 0.0f);
      part.weighted = warp_sum(lane < CHUNK_WARPS ? weighted[lane] : 0.0f);
      if constexpr (MASS) part.inside = warp_sum(lane < CHUNK_WARPS ? inside[lane] : 0.0f);
    }
  }
  return part;
}

// Where a forward pass writes. `mass` is null where no set is asked for; `entropy` and `lse` may be.
struct Results {
  float* log_prob;
  float* entropy;
  float* lse;
  float* mass;
  int* fault;
};

// One thread writes a row's results.
template <bool MASS>
__device__ __forceinline__ void finish(
    const Sums& row_sums, int row, int vocab, float inverse, const float* logits, const int* targets,
    const uint8_t* banned, const Results& to) {
  const int target = targets[row];
  if (uint32_t(target) >= uint32_t(vocab)) {
    report_fault(to.fault, 1, target, vocab, row);
    return;
  }
  float row_log_prob = NONE, row_entropy = 0.0f, row_lse = NONE, row_mass = 0.0f;
  const bool nan = isnan(row_sums.weighted);
  if (row_sums.max != NONE || nan) {
    const float log_sum = nan ? row_sums.weighted : log_in_range(row_sums.sum);
    const float z = scaled(logits + static_cast<long long>(row) * vocab, banned, target, inverse);
    row_lse = __fadd_rn(row_sums.max, log_sum);
    row_log_prob = __fsub_rn(__fsub_rn(z, row_sums.max), log_sum);
    row_entropy = __fsub_rn(log_sum, __fdiv_rn(row_sums.weighted, row_sums.sum));
    if constexpr (MASS) row_mass = nan ? row_sums.weighted : __fdiv_rn(row_sums.inside, row_sums.sum);
  }
  to.log_prob[row] = row_log_prob;
  if (to.entropy != nullptr) to.entropy[row] = row_entropy;
  if (to.lse != nullptr) to.lse[row] = row_lse;
  if constexpr (MASS) to.mass[row] = row_mass;
}

// Rows of at most 512 words: a warp each.
template <bool MASS>
__device__ __forceinline__ void forward_warp(
    int rows, int vocab, float inverse, const float* logits, const int* targets, const uint8_t* banned,
    const uint8_t* set, const Results& to) {
  const long long row = blockIdx.x * static_cast<long long>(WARPS) + threadIdx.x / 32;
  if (row >= rows) return;
  const Sums sums = sums_of<32, MASS>(logits + row * vocab, banned, set, vocab, inverse);
  if (threadIdx.x % 32 == 0) {
    finish<MASS>(sums, int(row), vocab, inverse, logits, targets, banned, to);
  }
}

// Rows of at most a chunk: a block each.
template <bool MASS>
__device__ __forceinline__ void forward_block(
    int vocab, float inverse, const float* logits, const int* targets, const uint8_t* banned,
    const uint8_t* set, const Results& to) {
  const int row = blockIdx.x;
  const Sums sums = sums_of<CHUNK_THREADS, MASS>(
      logits + static_cast<long long>(row) * vocab, banned, set, vocab, inverse);
  if (threadIdx.x == 0) finish<MASS>(sums, row, vocab, inverse, logits, targets, banned, to);
}

// Chunk blockIdx.y of row blockIdx.x.
template <bool MASS>
__device__ __forceinline__ void forward_chunks(
    int vocab, float inverse, const float* logits, const uint8_t* banned, const uint8_t* set,
    float4* parts) {
  const int begin = blockIdx.y * CHUNK;
  const Sums sums = sums_of<CHUNK_THREADS, MASS>(
      logits + static_cast<long long>(blockIdx.x) * vocab + begin,
      banned == nullptr ? nullptr : banned + begin, MASS ? set + begin : nullptr,
      min(CHUNK, vocab - begin), inverse);
  if (threadIdx.x == 0) {
    parts[static_cast<long long>(blockIdx.x) * gridDim.y + blockIdx.y] =
        make_float4(sums.max, sums.sum, sums.weighted, sums.inside);
  }
}

// A warp merges a row's chunks: lane l those of number l mod 32 in order, then the lanes by the fixed
// tree.
template <bool MASS>
__device__ __forceinline__ void forward_merge(
    int rows, int vocab, float inverse, const float* logits, const int* targets, const uint8_t* banned,
    int chunks, const float4* parts, const Results& to) {
  const long long row = blockIdx.x * static_cast<long long>(WARPS) + threadIdx.x / 32;
  if (row >= rows) return;
  const int lane = threadIdx.x % 32;
  const float4* own = parts + row * chunks;
  Sums sums{NONE, 0.0f, 0.0f, 0.0f};
  for (int chunk = lane; chunk < chunks; chunk += 32) sums.max = fmaxf(sums.max, own[chunk].x);
  sums.max = warp_max(sums.max);
  for (int chunk = lane; chunk < chunks; chunk += 32) {
    const float4 part = own[chunk];
    const float shift = part.x == NONE ? 0.0f : __fsub_rn(part.x, sums.max);
    const float factor = exp_of(shift);
    sums.sum = __fmaf_rn(factor, part.y, sums.sum);
    sums.weighted = __fmaf_rn(
        factor, __fmaf_rn(part.y, fmaxf(shift, -128.0f), part.z), sums.weighted);
    if constexpr (MASS) sums.inside = __fmaf_rn(factor, part.w, sums.inside);
  }
  sums.sum = warp_sum(sums.sum);
  sums.weighted = warp_sum(sums.weighted);
  if constexpr (MASS) sums.inside = warp_sum(sums.inside);
  if (lane == 0) finish<MASS>(sums, int(row), vocab, inverse, logits, targets, banned, to);
}

template <typename T> __device__ __forceinline__ void store_four(T* to, const float (&x)[4]) {
  struct alignas(4 * sizeof(T)) Four {
    T element[4];
  };
  Four four;
#pragma unroll
  for (int i = 0; i < 4; i++) four.element[i] = from_float<T>(x[i]);
  *reinterpret_cast<Four*>(to) = four;
}

// A row's factors in the backward pass: dz = -p (c + b log p), and a more at the target. lse is
// -infinity where the whole row's gradient is 0.
struct alignas(16) Factors {
  float lse;
  float minus_b;
  float minus_c;
  float a;
};

__device__ __forceinline__ float gradient(const Factors& factors, float z, bool is_target) {
  if (factors.lse == NONE) return 0.0f;
  const float log_p = __fsub_rn(z, factors.lse);
  const float finite = log_p < EXP_LOW ? 0.0f : log_p;
  const float g =
      __fmul_rn(exp_not_positive(log_p), __fmaf_rn(finite, factors.minus_b, factors.minus_c));
  return is_target ? __fadd_rn(g, factors.a) : g;
}

// Chunk blockIdx.y of row blockIdx.x. `logits` may be `d_logits`: what a thread reads only it writes.
template <typename T>
__device__ __forceinline__ void backward(
    int vocab, float inverse, const float* logits, const int* targets, const uint8_t* banned,
    const Factors* factors, T* d_logits) {
  constexpr int AT_ONCE = 4;
  const int begin = blockIdx.y * CHUNK;
  const int count = min(CHUNK, vocab - begin);
  const long long start = static_cast<long long>(blockIdx.x) * vocab + begin;
  const float* in = logits + start;
  T* out = d_logits + start;
  const uint8_t* bans = banned == nullptr ? nullptr : banned + begin;
  const int target = targets[blockIdx.x] - begin;
  const Factors row = factors[blockIdx.x];
  const auto one = [&](int word) {
    const float z = is_banned(bans, word) ? NONE : __fmul_rn(in[word], inverse);
    out[word] = from_float<T>(gradient(row, z, word == target));
  };

  // Single words up to the first 16-byte boundary, four at a time, single words to the end.
  int head = min(count, int((4 - reinterpret_cast<uintptr_t>(in) / 4 % 4) % 4));
  if (reinterpret_cast<uintptr_t>(out + head) % (4 * sizeof(T)) != 0) head = count;
  const int fours = (count - head) / 4;
  for (int four = threadIdx.x; four < fours; four += AT_ONCE * THREADS) {
    Pack<float> packs[AT_ONCE];
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      if (four + i * THREADS < fours) packs[i] = load_pack(in + head + 4 * (four + i * THREADS));
    }
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      if (four + i * THREADS < fours) {
        const int word = head + 4 * (four + i * THREADS);
        float g[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const float z = is_banned(bans, word + j) ? NONE : __fmul_rn(packs[i].element[j], inverse);
          g[j] = gradient(row, z, word + j == target);
        }
        store_four(out + word, g);
      }
    }
  }
  for (int word = threadIdx.x; word < head; word += THREADS) one(word);
  for (int word = head + 4 * fours + threadIdx.x; word < count; word += THREADS) one(word);
}

}  // namespace

// Without a set: `set` and `mass` are null.
extern "C" __global__ void __launch_bounds__(THREADS) entropy_forward_warp(
    int rows, int vocab, float inverse, const float* logits, const int* targets, const uint8_t* banned,
    float* log_prob, float* entropy, float* lse, int* fault, const uint8_t* set, float* mass) {
  forward_warp<false>(
      rows, vocab, inverse, logits, targets, banned, set, Results{log_prob, entropy, lse, mass, fault});
}

extern "C" __global__ void __launch_bounds__(CHUNK_THREADS, 3) entropy_forward_block(
    int vocab, float inverse, const float* logits, const int* targets, const uint8_t* banned,
    float* log_prob, float* entropy, float* lse, int* fault, const uint8_t* set, float* mass) {
  forward_block<false>(
      vocab, inverse, logits, targets, banned, set, Results{log_prob, entropy, lse, mass, fault});
}

extern "C" __global__ void __launch_bounds__(CHUNK_THREADS, 3) entropy_forward_chunks(
    int vocab, float inverse, const float* logits, const uint8_t* banned, float4* parts,
    const uint8_t* set) {
  forward_chunks<false>(vocab, inverse, logits, banned, set, parts);
}

extern "C" __global__ void __launch_bounds__(THREADS) entropy_forward_merge(
    int rows, int vocab, float inverse, const float* logits, const int* targets, const uint8_t* banned,
    int chunks, const float4* parts, float* log_prob, float* entropy, float* lse, int* fault,
    float* mass) {
  forward_merge<false>(
      rows, vocab, inverse, logits, targets, banned, chunks, parts,
      Results{log_prob, entropy, lse, mass, fault});
}

// With one.
extern "C" __global__ void __launch_bounds__(THREADS) entropy_forward_warp_mass(
    int rows, int vocab, float inverse, const float* logits, const int* targets, const uint8_t* banned,
    float* log_prob, float* entropy, float* lse, int* fault, const uint8_t* set, float* mass) {
  forward_warp<true>(
      rows, vocab, inverse, logits, targets, banned, set, Results{log_prob, entropy, lse, mass, fault});
}

extern "C" __global__ void __launch_bounds__(CHUNK_THREADS, 3) entropy_forward_block_mass(
    int vocab, float inverse, const float* logits, const int* targets, const uint8_t* banned,
    float* log_prob, float* entropy, float* lse, int* fault, const uint8_t* set, float* mass) {
  forward_block<true>(
      vocab, inverse, logits, targets, banned, set, Results{log_prob, entropy, lse, mass, fault});
}

extern "C" __global__ void __launch_bounds__(CHUNK_THREADS, 3) entropy_forward_chunks_mass(
    int vocab, float inverse, const float* logits, const uint8_t* banned, float4* parts,
    const uint8_t* set) {
  forward_chunks<true>(vocab, inverse, logits, banned, set, parts);
}

extern "C" __global__ void __launch_bounds__(THREADS) entropy_forward_merge_mass(
    int rows, int vocab, float inverse, const float* logits, const int* targets, const uint8_t* banned,
    int chunks, const float4* parts, float* log_prob, float* entropy, float* lse, int* fault,
    float* mass) {
  forward_merge<true>(
      rows, vocab, inverse, logits, targets, banned, chunks, parts,
      Results{log_prob, entropy, lse, mass, fault});
}

// Every row's factors, read before a backward pass overwrites the logits.
extern "C" __global__ void __launch_bounds__(THREADS) entropy_backward_factors(
    int rows, int vocab, float inverse, const float* logits, const int* targets, const uint8_t* banned,
    const float* entropy, const float* lse, const float* d_log_prob, const float* d_entropy,
    float4* factors, int* fault) {
  const int row = blockIdx.x * THREADS + threadIdx.x;
  if (row >= rows) return;
  const int target = targets[row];
  float4 result = make_float4(NONE, 0.0f, 0.0f, 0.0f);
  if (uint32_t(target) >= uint32_t(vocab)) {
    report_fault(fault, 1, target, vocab, row);
  } else {
    const float z = scaled(logits + static_cast<long long>(row) * vocab, banned, target, inverse);
    const float a = d_log_prob == nullptr || z == NONE ? 0.0f : __fmul_rn(d_log_prob[row], inverse);
    const float b = d_entropy == nullptr ? 0.0f : __fmul_rn(d_entropy[row], inverse);
    if (!(a == 0.0f && b == 0.0f)) {
      result = make_float4(lse[row], -b, -__fmaf_rn(b, entropy[row], a), a);
    }
  }
  factors[row] = result;
}

extern "C" __global__ void __launch_bounds__(THREADS) entropy_backward_f32(
    int vocab, float inverse, const float* logits, const int* targets, const uint8_t* banned,
    const float4* factors, float* d_logits) {
  backward(
      vocab, inverse, logits, targets, banned, reinterpret_cast<const Factors*>(factors), d_logits);
}

extern "C" __global__ void __launch_bounds__(THREADS) entropy_backward_bf16(
    int vocab, float inverse, const float* logits, const int* targets, const uint8_t* banned,
    const float4* factors, bf16* d_logits) {
  backward(
      vocab, inverse, logits, targets, banned, reinterpret_cast<const Factors*>(factors), d_logits);
}
