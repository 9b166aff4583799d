// Draws a token from each row by the Gumbel-max rule, exactly the CPU's token for the same logits.
//
// The walk. A thread makes the four words of one Philox counter at a time and with them the noise of
// four words of the vocabulary; a block walks 8192 words of a row (a warp all of a row of at most 1024),
// and a warp takes the largest score over a row's blocks.
//
// Top-k and top-p. A block a row finds the last word kept, as if the row were sorted by z downwards and
// by id upwards: histograms of 2048 bins over the words' distance from the largest z, counted in units
// of the last place, narrow down the bin in which the weight wanted is reached (the k-th word, or p of
// the mass), and the same over ids cuts between equals. Masses are the CPU's exponentials in fixed point
// with 63 bits for a whole row, so that additions are exact integer ones and atomics keep no order.
// Min-p is a least z, which cuts where it lies above the others' cut.
#include "numeric.cuh"
#include "score.cuh"

namespace {

using namespace saccade;

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int CHUNK = 8192;
constexpr int PENALISED = 4 * THREADS;
constexpr int BAD_INDEX = 1;  // the fault of a forced word that does not exist
constexpr int LAST_WORD = 0x7fffffff;
constexpr float NONE = -INFINITY;
constexpr float LEAST = -3.402823466e38f;

__device__ __forceinline__ float from_ordered(uint32_t order) {
  return __uint_as_float(order & 0x80000000u ? order & 0x7fffffffu : ~order);
}

__device__ __forceinline__ bool is_banned(const uint8_t* banned, int word) {
  return banned != nullptr && banned[word] != 0;
}

__device__ __forceinline__ Entry warp_max(Entry x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    const Entry other = __shfl_xor_sync(0xffffffffu, x, lanes);
    x = other > x ? other : x;
  }
  return x;
}

// How rows are drawn from.
struct Draw {
  int vocab;
  float inverse;
  int noisy;
  const float* logits;
  const uint8_t* banned;
  const long long* keys;
  const int* positions;
  const float* cuts;     // null: nothing is cut
  const int* cut_words;
};

// The best of a row's words `begin` to `end`, of which each of LANES threads takes every LANES-th counter;
// 0 where none has a score. `begin` is a multiple of 32.
template <int LANES>
__device__ __forceinline__ Entry best_of(const Draw& draw, long long row, int begin, int end) {
  const float* logits = draw.logits + row * draw.vocab;
  const uint64_t key = draw.keys[row];
  const uint32_t position = draw.positions[row];
  const float cut = draw.cuts == nullptr ? NONE : draw.cuts[row];
  const int cut_word = draw.cuts == nullptr ? LAST_WORD : draw.cut_words[row];
  Entry best = 0;
  const int counters = (end + 31) / 32 * 8;
  for (int counter = begin / 4 + threadIdx.x % LANES; counter < counters; counter += LANES) {
    // Outputs 0 and 1 are two neighbours in a block of 32 words, 2 and 3 those 16 words on.
    const int first = counter / 8 * 32 + counter % 8 * 2;
    float z[4];
    bool any = false;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int word = first + j / 2 * 16 + j % 2;
      z[j] = NONE;
      if (word < end && !is_banned(draw.banned, word)) {
        const float own = __fmul_rn(logits[word], draw.inverse);
        if (own > cut || (own == cut && word <= cut_word)) z[j] = own;
      }
      any |= z[j] > NONE;
    }
    if (!any) continue;
    uint4 bits = make_uint4(0, 0, 0, 0);
    if (draw.noisy) bits = philox(uint32_t(key), uint32_t(key >> 32), counter, position);
    const uint32_t random[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const float score = draw.noisy ? __fadd_rn(z[j], gumbel(random[j])) : z[j];
      if (score > NONE) {
        const Entry entry = make_entry(score, first + j / 2 * 16 + j % 2);
        best = entry > best ? entry : best;
      }
    }
  }
  return best;
}

__device__ __forceinline__ void write_token(Entry best, long long row, int vocab, int* tokens, int* fault) {
  if (best == 0) {
    report_fault(fault, NO_WORD, int(row), vocab, 0);
  } else {
    tokens[row] = word_of(best);
  }
}

// ---- top-k and top-p -------------------------------------------------------------------------------

constexpr int CUT_THREADS = 1024;
constexpr int CUT_WARPS = CUT_THREADS / 32;
constexpr int BINS = 2 * CUT_THREADS;
// Loads of one thread that are under way together.
constexpr int AT_ONCE = 8;

// A block's memory, and what find() has found: the weight wanted is reached at distance `distance`,
// whose words weigh `weight` together, of which `wanted` is still missing when all nearer words are taken.
struct CutMemory {
  uint32_t low[BINS];  // the weights' two halves: shared memory adds 32 bits at a time
  uint32_t high[BINS];
  Entry warps[CUT_WARPS];
  uint32_t bin;
  uint32_t distance;
  Entry wanted;
  Entry weight;
};

__device__ __forceinline__ Entry block_sum(Entry x, Entry* scratch) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffu, x, lanes);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  x = scratch[threadIdx.x % 32];
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffu, x, lanes);
  __syncthreads();
  return x;
}

struct Row {
  int vocab;
  float inverse;
  const float* logits;
  const uint8_t* banned;

  // Calls visit(word, z) for this thread's words.
  template <typename Visit> __device__ __forceinline__ void each(Visit visit) const {
    for (int begin = threadIdx.x; begin < vocab; begin += AT_ONCE * CUT_THREADS) {
      float z[AT_ONCE];
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) {
        const int word = begin + i * CUT_THREADS;
        z[i] = NONE;
        if (word < vocab && !is_banned(banned, word)) z[i] = __fmul_rn(logits[word], inverse);
      }
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) visit(begin + i * CUT_THREADS, z[i]);
    }
  }
};

// Finds the smallest distance of at most `limit` within which the words weigh `wanted` (at least 1)
// together. measure(word, z, distance, weight) says whether a word takes part. False where all weigh less.
template <typename Measure>
__device__ __forceinline__ bool find(
    const Row& row, uint32_t limit, Entry wanted, CutMemory& memory, Measure measure) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint32_t from = 0, to = limit;
  while (true) {
    const int shift = max(0, 21 - __clz(to - from));  // the range has 2^11 bins
    memory.low[threadIdx.x] = memory.low[threadIdx.x + CUT_THREADS] = 0;
    memory.high[threadIdx.x] = memory.high[threadIdx.x + CUT_THREADS] = 0;
    __syncthreads();
    row.each([&](int word, float z) {
      uint32_t distance;
      Entry weight;
      if (measure(word, z, distance, weight) && distance >= from && distance <= to) {
        const uint32_t bin = (distance - from) >> shift;
        const uint32_t low = uint32_t(weight);
        uint32_t high = uint32_t(weight >> 32);
        if (low != 0) {
          const uint32_t old = atomicAdd(&memory.low[bin], low);
          if (old + low < old) high++;
        }
        if (high != 0) atomicAdd(&memory.high[bin], high);
      }
    });
    __syncthreads();
    // The weights' running sums, two bins a thread.
    const int bin = 2 * threadIdx.x;
    const Entry first = Entry(memory.high[bin]) << 32 | memory.low[bin];
    const Entry second = Entry(memory.high[bin + 1]) << 32 | memory.low[bin + 1];
    Entry sum = first + second;
#pragma unroll
    for (int lanes = 1; lanes < 32; lanes *= 2) {
      const Entry other = __shfl_up_sync(0xffffffffu, sum, lanes);
      if (lane >= lanes) sum += other;
    }
    if (lane == 31) memory.warps[warp] = sum;
    __syncthreads();
    Entry warps = memory.warps[lane];
#pragma unroll
    for (int lanes = 1; lanes < 32; lanes *= 2) {
      const Entry other = __shfl_up_sync(0xffffffffu, warps, lanes);
      if (lane >= lanes) warps += other;
    }
    const Entry total = __shfl_sync(0xffffffffu, warps, 31);
    const Entry earlier = __shfl_sync(0xffffffffu, warps, max(0, warp - 1));
    sum += warp == 0 ? 0 : earlier;
    const Entry before = sum - first - second;
    if (before < wanted && wanted <= sum) {
      const bool in_first = wanted <= before + first;
      memory.bin = in_first ? bin : bin + 1;
      memory.wanted = wanted - (in_first ? before : before + first);
      memory.weight = in_first ? first : second;
    }
    __syncthreads();
    if (total < wanted) return false;
    from += memory.bin << shift;
    wanted = memory.wanted;
    if (shift == 0) {
      if (threadIdx.x == 0) memory.distance = from;
      __syncthreads();
      return true;
    }
    to = min(to, from + (1u << shift) - 1);
    __syncthreads();
  }
}

// Where a row is cut: words of a larger z are kept, and of those with this z, which weigh `unit` each and
// `equals` together, the first ones that weigh `missing`.
struct Cut {
  float z;
  Entry missing;
  Entry unit;
  Entry equals;
};

// Cuts a row so that the words kept are the fewest that weigh `wanted`; leaves `cut` as it is where all
// words weigh less.
template <typename Weight>
__device__ __forceinline__ void cut_at(
    const Row& row, float most, Entry wanted, CutMemory& memory, Cut& cut, Weight weight_of) {
  const uint32_t top = ordered(most);
  const auto measure = [&](int, float z, uint32_t& distance, Entry& weight) {
    distance = top - ordered(z);
    weight = weight_of(z);
    return z >= LEAST;
  };
  // Most often the cut lies near the largest z, where few words are.
  uint32_t limit = top - ordered(__fsub_rn(most, 10.0f));
  bool found = find(row, limit, wanted, memory, measure);
  if (!found) found = find(row, top - ordered(LEAST), wanted, memory, measure);
  if (!found) return;
  const float z = from_ordered(top - memory.distance);
  cut = Cut{z, memory.wanted, weight_of(z), memory.weight};
  __syncthreads();
}

}  // namespace

// Chunk blockIdx.y of row blockIdx.x: into `tokens` where it is the only one, else into `parts`.
extern "C" __global__ void __launch_bounds__(THREADS) sample_block(
    int vocab, float inverse, int noisy, const float* logits, const uint8_t* banned,
    const long long* keys, const int* positions, const float* cuts, const int* cut_words, Entry* parts,
    int* tokens, int* fault) {
  const Draw draw{vocab, inverse, noisy, logits, banned, keys, positions, cuts, cut_words};
  const long long row = blockIdx.x;
  const int begin = blockIdx.y * CHUNK;
  __shared__ Entry warps[WARPS];
  const Entry own = warp_max(best_of<THREADS>(draw, row, begin, min(begin + CHUNK, vocab)));
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = own;
  __syncthreads();
  if (threadIdx.x / 32 == 0) {
    const Entry best = warp_max(warps[threadIdx.x % WARPS]);
    if (threadIdx.x == 0) {
      if (gridDim.y == 1) {
        write_token(best, row, vocab, tokens, fault);
      } else {
        parts[row * gridDim.y + blockIdx.y] = best;
      }
    }
  }
}

// Rows of at most 1024 words: a warp each.
extern "C" __global__ void __launch_bounds__(THREADS) sample_warp(
    int rows, int vocab, float inverse, int noisy, const float* logits, const uint8_t* banned,
    const long long* keys, const int* positions, const float* cuts, const int* cut_words, int* tokens,
    int* fault) {
  const Draw draw{vocab, inverse, noisy, logits, banned, keys, positions, cuts, cut_words};
  const long long row = blockIdx.x * static_cast<long long>(WARPS) + threadIdx.x / 32;
  if (row >= rows) return;
  const Entry best = warp_max(best_of<32>(draw, row, 0, vocab));
  if (threadIdx.x % 32 == 0) write_token(best, row, vocab, tokens, fault);
}

// The best of each row's chunks: a warp a row.
extern "C" __global__ void __launch_bounds__(THREADS) sample_merge(
    int rows, int vocab, int chunks, const Entry* parts, int* tokens, int* fault) {
  const long long row = blockIdx.x * static_cast<long long>(WARPS) + threadIdx.x / 32;
  if (row >= rows) return;
  Entry best = 0;
  for (int chunk = threadIdx.x % 32; chunk < chunks; chunk += 32) {
    const Entry part = parts[row * chunks + chunk];
    best = part > best ? part : best;
  }
  best = warp_max(best);
  if (threadIdx.x % 32 == 0) write_token(best, row, vocab, tokens, fault);
}

// The last word that top-k (0: all), then top-p (1: all) and then min-p keep of row blockIdx.x: its z, and
// among words of the same z the last id. `reach` is log(min-p), -infinity for all; `mass_scale` is a power
// of 2: a mass of 1 in fixed point.
extern "C" __global__ void __launch_bounds__(CUT_THREADS) sample_cut(
    int vocab, float inverse, int top_k, float top_p, float reach, float mass_scale, const float* logits,
    const uint8_t* banned, float* cuts, int* cut_words) {
  __shared__ CutMemory memory;
  const Row row{vocab, inverse, logits + static_cast<long long>(blockIdx.x) * vocab, banned};
  float most = NONE;
  row.each([&](int, float z) { most = fmaxf(most, z); });  // passes NaN over
  most = saccade::warp_max(most);
  if (threadIdx.x % 32 == 0) memory.low[threadIdx.x / 32] = __float_as_uint(most);
  __syncthreads();
  most = saccade::warp_max(__uint_as_float(memory.low[threadIdx.x % 32]));
  __syncthreads();

  Cut cut{NONE, 0, 0, 0};
  if (fabsf(most) != INFINITY) {
    if (top_k > 0 && top_k < vocab) {
      cut_at(row, most, top_k, memory, cut, [](float) { return Entry(1); });
    }
    if (top_p < 1.0f) {
      const auto mass = [&](float z) {
        return Entry(__float2ull_rn(__fmul_rn(exp_not_positive(__fsub_rn(z, most)), mass_scale)));
      };
      Entry total = 0;
      row.each([&](int, float z) {
        if (z > cut.z) total += mass(z);
      });
      total = block_sum(total, memory.warps);
      if (cut.missing != 0) total += cut.missing * mass(cut.z);
      const Entry wanted = __double2ull_ru(__dmul_rn(double(top_p), __ull2double_rn(total)));
      cut_at(row, most, wanted, memory, cut, mass);
    }
    const float least = __fadd_rn(most, reach);
    if (least > cut.z) cut = Cut{least, 0, 0, 0};
  }
  int last = LAST_WORD;
  if (cut.missing != 0 && cut.missing + cut.unit <= cut.equals) {  // not all of them are kept
    find(row, vocab - 1, cut.missing, memory, [&](int word, float z, uint32_t& distance, Entry& weight) {
      distance = word;
      weight = cut.unit;
      return z == cut.z;
    });
    last = int(memory.distance);
  }
  if (threadIdx.x == 0) {
    cuts[blockIdx.x] = cut.z;
    cut_words[blockIdx.x] = last;
  }
}

// The repetition penalty: words `blockIdx.y * PENALISED` and on of row blockIdx.x.
extern "C" __global__ void __launch_bounds__(THREADS) sample_penalise(
    int vocab, float penalty, const float* logits, const uint8_t* seen, float* result) {
  const long long row = blockIdx.x * static_cast<long long>(vocab);
#pragma unroll
  for (int i = 0; i < PENALISED; i += THREADS) {
    const int word = blockIdx.y * PENALISED + i + threadIdx.x;
    if (word < vocab) {
      float logit = logits[row + word];
      if (seen[row + word] != 0) logit = logit < 0.0f ? __fmul_rn(logit, penalty) : __fdiv_rn(logit, penalty);
      result[row + word] = logit;
    }
  }
}

// Forced words (where `forced` is not null and not negative) take the drawn ones' places, and each row has
// seen its word (where `seen` is not null): a thread a row. A row without a word has been reported before.
extern "C" __global__ void __launch_bounds__(THREADS) sample_settle(
    int rows, int vocab, const int* forced, uint8_t* seen, int* tokens, int* fault) {
  const int row = blockIdx.x * THREADS + threadIdx.x;
  if (row >= rows) return;
  if (forced != nullptr && forced[row] >= 0) {
    if (forced[row] >= vocab) {
      report_fault(fault, BAD_INDEX, forced[row], vocab, 0);
      return;
    }
    tokens[row] = forced[row];
  }
  const int word = tokens[row];
  if (seen != nullptr && word >= 0 && word < vocab) seen[row * static_cast<long long>(vocab) + word] = 1;
}
