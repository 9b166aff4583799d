// The walk over shared pages (decode.cu, `prefix`) on Hopper (sm_90a), by TMA and wgmma: the same states.
//
// There are few walks, one for each prompt and key-value head, and none may be split along the keys: a block has to draw
// its pages at many times the rate at which decode.cu does. So it has a whole multiprocessor, 192 KiB of pages on their
// way, and 64 rows a warpgroup: all queries of 8 sequences with 8 heads of a group.
//
// One thread fetches pages by TMA. A warpgroup multiplies: while the softmax works on a page's scores, those of the next
// page and the values of the one before are under way. A page is two blocks of the softmax. Where no shift moves in any
// row, which costs one maximum and one vote, both are taken at once; otherwise one after the other (softmax.cuh).
#include "hopper.cuh"
#include "pages.cuh"
#include "pipeline.cuh"
#include "ptx.cuh"
#include "softmax.cuh"
#include "tile.cuh"

namespace saccade {
namespace {

constexpr int BLOCK = 32;  // keys of one step of the softmax: this decides bits
constexpr int ROWS = 64;
constexpr int WARPS = 4;
constexpr int CONSUMERS = 32 * WARPS;
constexpr int THREADS = CONSUMERS + 32;  // one warp more, of which one thread fetches
constexpr int ROW_BYTES = 128;           // 64 elements, the span of the swizzle; wider rows are several panels
constexpr int PANEL = PAGE * ROW_BYTES;
static_assert(ROWS == PAGE, "panels of queries and of keys have one size");

constexpr int OWN = 1;  // the warpgroup's named barrier

// What a query has one of a key for in the warpgroup's registers: 64 x 64, element i as wgmma leaves it.
using Scores = float[ROWS * PAGE / CONSUMERS];
using Weights = uint32_t[ROWS * PAGE / CONSUMERS / 2];

// HopperPrefix.java has the same numbers.
template <int WIDTH_, int STAGES_> struct Shape {
  static constexpr int WIDTH = WIDTH_, STAGES = STAGES_, PANELS = WIDTH / 64, STEPS = WIDTH / 16;
  static constexpr int TILE_BYTES = PANELS * PANEL;
  static constexpr int KEYS_AT = TILE_BYTES, VALUES_AT = KEYS_AT + STAGES * TILE_BYTES;
  static constexpr int BARRIERS_AT = VALUES_AT + STAGES * TILE_BYTES;
  static_assert(BARRIERS_AT + 4 * STAGES * 8 <= 232448, "a block's shared memory");
};

// `full` when TMA has filled a place, `empty` when each warp has read it.
template <typename S> struct Barriers {
  uint32_t base;

  __device__ __forceinline__ uint32_t key_full(int stage) const { return base + stage * 8; }
  __device__ __forceinline__ uint32_t key_empty(int stage) const { return base + (S::STAGES + stage) * 8; }
  __device__ __forceinline__ uint32_t value_full(int stage) const { return base + (2 * S::STAGES + stage) * 8; }
  __device__ __forceinline__ uint32_t value_empty(int stage) const { return base + (3 * S::STAGES + stage) * 8; }

  __device__ __forceinline__ void init() const {
    for (int stage = 0; stage < S::STAGES; stage++) {
      barrier_init(key_full(stage), 1);
      barrier_init(key_empty(stage), WARPS);
      barrier_init(value_full(stage), 1);
      barrier_init(value_empty(stage), WARPS);
    }
  }
};

// Keeps the pages filled; one thread.
template <typename S>
__device__ __forceinline__ void produce(const TensorMap& k, const TensorMap& v, uint32_t base, const Walk& walk,
                                        int pages, int kvHead, int* fault) {
  const Barriers<S> barriers{base + S::BARRIERS_AT};
  const int x = kvHead * S::WIDTH;
  Ring<S::STAGES> at;
  int page = walk.page(0);
#pragma unroll 1
  for (int stage = 0; stage < walk.to; stage++) {
    if (static_cast<unsigned>(page) >= static_cast<unsigned>(pages)) {
      report_fault(fault, 1, page, pages, walk.sequence);
      page = pages;  // behind the last one: zeros
    }
    const int y = page * PAGE;
    page = walk.page(stage + 1);
    const uint32_t keys = base + S::KEYS_AT + at.stage * S::TILE_BYTES;
    const uint32_t values = base + S::VALUES_AT + at.stage * S::TILE_BYTES;
    barrier_wait(barriers.key_empty(at.stage), at.parity ^ 1);
    barrier_expect(barriers.key_full(at.stage), S::TILE_BYTES);
#pragma unroll
    for (int panel = 0; panel < S::PANELS; panel++) {
      tma_load(keys + panel * PANEL, k, barriers.key_full(at.stage), x + 64 * panel, y);
    }
    barrier_wait(barriers.value_empty(at.stage), at.parity ^ 1);
    barrier_expect(barriers.value_full(at.stage), S::TILE_BYTES);
#pragma unroll
    for (int panel = 0; panel < S::PANELS; panel++) {
      tma_load(values + panel * PANEL, v, barriers.value_full(at.stage), x + 64 * panel, y);
    }
    at.next();
  }
}

// scores = q k^T; the products are only started.
template <typename S>
__device__ __forceinline__ void start_scores(Scores& score, uint64_t queries, uint64_t keys) {
#pragma unroll
  for (int i = 0; i < ROWS * PAGE / CONSUMERS; i++) score[i] = 0.f;
  pin(score);
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < S::STEPS; step++) {
    const uint64_t inner = step / 4 * (PANEL >> 4) + step % 4 * DESCRIPTOR_STEP<true>;
    wgmma<true, true>(score, queries + inner, keys + inner);
  }
}

// The largest of a lane's scores of a row in the blocks FROM to TO.
template <int FROM, int TO> __device__ __forceinline__ float most(const Scores& score, int half) {
  float m[2];
#pragma unroll
  for (int n = 4 * FROM; n < 4 * TO; n++) {
    const float pair = fmaxf(score[4 * n + 2 * half], score[4 * n + 2 * half + 1]);
    m[n % 2] = n < 4 * FROM + 2 ? pair : fmaxf(m[n % 2], pair);
  }
  return fmaxf(m[0], m[1]);
}

// A lane's two rows: what they have added up of values and weights, relative to their shifts.
template <int WIDTH> struct Sums {
  float sum[WIDTH / 2], shift[2], total[2];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < WIDTH / 2; i++) sum[i] = 0.f;
    shift[0] = shift[1] = UNSEEN;
    total[0] = total[1] = 0.f;
  }

  // Scores of one block become weights, which are added up.
  template <int AT> __device__ __forceinline__ void weigh(Scores& score, const float (&decay)[2], float scaleLog2) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float added[2];
#pragma unroll
      for (int n = 0; n < BLOCK / 8; n++) {
        float& w0 = score[16 * AT + 4 * n + 2 * half];
        float& w1 = score[16 * AT + 4 * n + 2 * half + 1];
        w0 = weight(w0, scaleLog2, shift[half]);
        w1 = weight(w1, scaleLog2, shift[half]);
        const float pair = __fadd_rn(w0, w1);
        added[n / 2] = n % 2 == 0 ? pair : __fadd_rn(added[n / 2], pair);
      }
      total[half] = __fmaf_rn(total[half], decay[half], __fadd_rn(added[0], added[1]));
    }
  }

  // Moves the shifts for one block, which becomes weights, and scales what was added up.
  template <int AT> __device__ __forceinline__ void move(Scores& score, float scaleLog2) {
    float decay[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float largest = most<AT, AT + 1>(score, half);
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
      decay[half] = move_shift(shift[half], largest, scaleLog2);
    }
#pragma unroll
    for (int i = 0; i < WIDTH / 2; i++) sum[i] = __fmul_rn(sum[i], decay[i / 2 % 2]);
    weigh<AT>(score, decay, scaleLog2);
  }

  __device__ __forceinline__ void store(float* state, int half, int headDim) const {
    const int column = 2 * (threadIdx.x & 3);
    if (column == 0) state[headDim] = shift[half];
    state[headDim + STATE_TOTALS + (threadIdx.x & 3)] = total[half];
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++) {
      *reinterpret_cast<float2*>(state + 8 * n + column) =
          make_float2(sum[4 * n + 2 * half], sum[4 * n + 2 * half + 1]);
    }
  }
};

// Weights to bf16: as scores lie they are a product's left operand.
__device__ __forceinline__ void round_weights(Weights& weights, const Scores& score) {
#pragma unroll
  for (int i = 0; i < ROWS * PAGE / CONSUMERS / 2; i++) weights[i] = pack_bf16(score[2 * i], score[2 * i + 1]);
  pin(weights);
}

// sum += weights v for a page; the products are only started.
template <int WIDTH>
__device__ __forceinline__ void start_values(float (&sum)[WIDTH], const Weights& weights, uint64_t values) {
#pragma unroll
  for (int step = 0; step < PAGE / 16; step++) wgmma<false>(sum, weights + 4 * step, values + step * DESCRIPTOR_STEP<false>);
}

// A page's first block from scores to values, and its second one up to weights, where shifts move in between. What is left
// of the first one are weights of 0, which change nothing.
template <int WIDTH>
__device__ __forceinline__ void take_blocks(Scores& score, Sums<WIDTH>& sums, uint64_t values, float scaleLog2) {
  sums.template move<0>(score, scaleLog2);
  uint32_t weights[8];
#pragma unroll
  for (int i = 0; i < 8; i++) weights[i] = pack_bf16(score[2 * i], score[2 * i + 1]);
  pin(weights);
  pin(sums.sum);
  wgmma_fence();
  wgmma<false>(sums.sum, weights, values);
  wgmma<false>(sums.sum, weights + 4, values + DESCRIPTOR_STEP<false>);
  wgmma_commit();
  wgmma_wait<0>();
  pin(sums.sum);
  pin(weights);
  sums.template move<1>(score, scaleLog2);
#pragma unroll
  for (int i = 0; i < 16; i++) score[i] = 0.f;
}

template <typename S>
__device__ __forceinline__ void consume(uint32_t base, const Walk& walk, const PackedRows& rows, int first, int end,
                                        const bf16* q, float* state, float scaleLog2) {
  constexpr int WIDTH = S::WIDTH, CHUNKS = WIDTH / 8;
  const Barriers<S> barriers{base + S::BARRIERS_AT};
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int i = threadIdx.x; i < ROWS * CHUNKS; i += CONSUMERS) {
    const int row = i / CHUNKS, chunk = i % CHUNKS;
    uint4 elements = make_uint4(0, 0, 0, 0);
    if (first + row < end) {
      elements = *reinterpret_cast<const uint4*>(q + static_cast<long long>(rows.at(first + row)) * WIDTH + 8 * chunk);
    }
    store_shared(base + chunk / 8 * PANEL + row * ROW_BYTES + ((chunk % 8 ^ (row & 7)) << 4), elements);
  }
  asynchronous_fence();
  named_barrier(OWN, CONSUMERS);

  const uint64_t queries = matrix_descriptor(base, PANEL);
  const auto keys_at = [&](int stage) {
    return matrix_descriptor(uniform(base + S::KEYS_AT + stage * S::TILE_BYTES), PANEL);
  };
  const auto values_at = [&](int stage) {
    return matrix_descriptor(uniform(base + S::VALUES_AT + stage * S::TILE_BYTES), PANEL);
  };
  const auto release = [&](uint32_t barrier) {
    if (lane == 0) barrier_arrive(barrier);
  };

  Ring<S::STAGES> key, value;
  Scores even, odd;
  Weights weights;
  Sums<WIDTH> sums;
  sums.clear();
#pragma unroll
  for (int i = 0; i < ROWS * PAGE / CONSUMERS / 2; i++) weights[i] = 0;
  const auto start_page = [&](Scores& score) {
    barrier_wait(barriers.key_full(key.stage), key.parity);
    start_scores<S>(score, queries, keys_at(key.stage));
    wgmma_commit();
  };
  const auto scores_done = [&](Scores& score) {
    pin(score);
    release(barriers.key_empty(key.stage));
    key.next();
  };
  const auto await_values = [&](const Ring<S::STAGES>& at) { barrier_wait(barriers.value_full(at.stage), at.parity); };
  // A page's scores become weights where they lie; its values are at `at`, in case they are needed for that.
  const auto soften = [&](Scores& score, const Ring<S::STAGES>& at) {
    const float largest = fmaxf(exponent(most<0, 2>(score, 0), scaleLog2, sums.shift[0]),
                                exponent(most<0, 2>(score, 1), scaleLog2, sums.shift[1]));
    if (named_barrier_any(OWN, CONSUMERS, largest > ROOM)) {
      wgmma_wait<0>();  // the sums of values may still be under way
      pin(sums.sum);
      pin(weights);
      await_values(at);
      take_blocks(score, sums, values_at(at.stage), scaleLog2);
    } else {
      const float none[2] = {1.f, 1.f};
      sums.template weigh<0>(score, none, scaleLog2);
      sums.template weigh<1>(score, none, scaleLog2);
    }
  };
  const auto values_done = [&] {
    pin(sums.sum);
    pin(weights);
    release(barriers.value_empty(value.stage));
    value.next();
  };
  const auto start_page_values = [&](const Scores& score) {
    round_weights(weights, score);
    await_values(value);
    pin(sums.sum);
    wgmma_fence();
    start_values<WIDTH / 2>(sums.sum, weights, values_at(value.stage));
    wgmma_commit();
  };
  // A page whose scores are there, and the next one's scores. FIRST: there is none before.
  const auto take = [&]<bool FIRST>(Scores& score, Scores& next) {
    start_page(next);
    Ring<S::STAGES> at = value;
    if constexpr (!FIRST) at.next();
    soften(score, at);
    if constexpr (!FIRST) {
      wgmma_wait<1>();
      values_done();
    }
    start_page_values(score);
    wgmma_wait<1>();
    scores_done(next);
  };
  const auto take_last = [&](Scores& score) {
    if (walk.to > 1) {
      wgmma_wait<0>();
      values_done();
    }
    soften(score, value);
    start_page_values(score);
    wgmma_wait<0>();
    pin(sums.sum);
    pin(weights);
  };

  start_page(even);
  wgmma_wait<0>();
  scores_done(even);
  if (walk.to > 1) {
    take.template operator()<true>(even, odd);
    int left = walk.to - 2;  // pages behind the one whose scores are there
#pragma unroll 1
    for (; left > 1; left -= 2) {
      take.template operator()<false>(odd, even);
      take.template operator()<false>(even, odd);
    }
    if (left > 0) {
      take.template operator()<false>(odd, even);
      take_last(even);
    } else {
      take_last(odd);
    }
  } else {
    take_last(even);
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = first + 16 * warp + 8 * half + lane / 4;
    if (row < end) sums.store(state + rows.at(row) * state_pitch(WIDTH), half, WIDTH);
  }
}

template <typename S>
__device__ __forceinline__ void prefix(const TensorMap& k, const TensorMap& v, const bf16* q, float* state,
                                       const int* table, const int* start, const int* shared, int queries,
                                       int tableWidth, int pages, int heads, int kvHeads, int magic, float scaleLog2,
                                       int* fault) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t base = shared_address(memory);
  if (base % 1024 != 0) __trap();  // the swizzle counts from there
  const int kvHead = blockIdx.x % kvHeads;
  const Walk walk = shared_walk(blockIdx.x / kvHeads, table, start, shared, queries, tableWidth);
  const PackedRows rows(walk.firstToken, heads, kvHeads, kvHead, magic);
  const int first = blockIdx.y * ROWS, end = walk.tokens * rows.group;
  if (walk.to == 0 || first >= end) return;
  if (threadIdx.x == 0) {
    prefetch(k);
    prefetch(v);
    Barriers<S>{base + S::BARRIERS_AT}.init();
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < CONSUMERS) {
    consume<S>(base, walk, rows, first, end, q, state, scaleLog2);
  } else if (threadIdx.x == CONSUMERS) {
    produce<S>(k, v, base, walk, pages, kvHead, fault);
  }
}

//                     width stages
using Narrow = Shape<64, 8>;
using Wide = Shape<128, 6>;

}  // namespace
}  // namespace saccade

#define HOPPER_PREFIX(NAME, SHAPE)                                                                                    \
  extern "C" __global__ void __launch_bounds__(saccade::THREADS, 1)                                                   \
      NAME(const __grid_constant__ saccade::TensorMap k, const __grid_constant__ saccade::TensorMap v,                \
           const saccade::bf16* q, float* state, const int* table, const int* start, const int* shared, int queries,  \
           int tableWidth, int pages, int heads, int kvHeads, int magic, float scaleLog2, int* fault) {               \
    saccade::prefix<saccade::SHAPE>(k, v, q, state, table, start, shared, queries, tableWidth, pages, heads, kvHeads, \
                                    magic, scaleLog2, fault);                                                         \
  }

HOPPER_PREFIX(prefix_64, Narrow)
HOPPER_PREFIX(prefix_128, Wide)
