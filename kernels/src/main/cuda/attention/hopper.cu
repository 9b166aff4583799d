// Attention forward in bf16 on Hopper (sm_90a), for training and prefill: the bits of forward.cu by TMA and wgmma.
//
// A block is persistent: it computes one item, 64 queries of one head for each of its warpgroups, after the other. One
// thread of the first warpgroup keeps tiles of keys and values on their way by TMA, and the next item's queries; the
// other warpgroups multiply: scores = q k^T from shared memory, the online softmax on them where they lie, weights
// rounded to bf16 in registers as the left operand of weights v. Of the last tile that a warpgroup sees they multiply
// the first 32, the first 64 or all keys.
//
// Every element is one chain of products over the head dimension or the keys in order, as in forward.cu, and the softmax
// steps through the same blocks of 32 keys. A row's shift (softmax.cuh) seldom moves: where it stays for a whole tile in all
// rows of a warpgroup, which costs one maximum and one vote, the tile's blocks need nothing of each other and are taken at
// once. Otherwise the first block may still move it; where a later one does, the tile goes block by block. Which
// way is taken never shows in the bits.
#include "hopper.cuh"
#include "pipeline.cuh"
#include "ranges.cuh"
#include "softmax.cuh"

namespace saccade {
namespace {

constexpr int BLOCK = 32;       // keys of one step of the softmax: this decides bits
constexpr int GROUP_ROWS = 64;  // queries of a warpgroup
constexpr int GROUP_THREADS = 128;
constexpr int ROW_BYTES = 128;  // 64 elements, the span of the swizzle; wider rows are several panels

// Named barriers: each warpgroup's own, and the ones at which it waits for its turn.
constexpr int OWN = 1, TURN = 4;

// What a warpgroup has of 64 queries and so many blocks of keys in its registers, element i as wgmma leaves it.
template <int BLOCKS> using Scores = float[GROUP_ROWS * BLOCKS * BLOCK / GROUP_THREADS];
template <int BLOCKS> using Weights = uint32_t[GROUP_ROWS * BLOCKS * BLOCK / GROUP_THREADS / 2];

// The queries and keys of an item.
struct Job {
  int queryStart, queryLength, keyStart, keyLength, first, head;

  // How many keys a query sees; it grows with the query.
  __device__ __forceinline__ int visible(int query, int causal) const {
    return causal ? min(keyLength, keyLength - queryLength + query + 1) : keyLength;
  }

  // Tiles that hold the keys of the queries `from` to `from + count`.
  template <int KEYS> __device__ __forceinline__ int tiles(int from, int count, int causal) const {
    const int end = min(from + count, queryLength);
    return end > max(from, 0) ? (visible(end - 1, causal) + KEYS - 1) / KEYS : 0;
  }
};

// HopperForward.java has the same numbers.
template <int WIDTH_, int KEYS_, int STAGES_, int EARLY_> struct Shape {
  static constexpr int WIDTH = WIDTH_, PANELS = WIDTH / 64, STEPS = WIDTH / 16;
  static constexpr int GROUPS = 3, ROWS = GROUP_ROWS * GROUPS, STAGES = STAGES_;
  static constexpr int KEYS = KEYS_, BLOCKS = KEYS / BLOCK, KEY_PANEL = KEYS * ROW_BYTES;  // of a tile
  static constexpr int EARLY = EARLY_;  // blocks of a tile whose values are added during the softmax of the others
  static_assert(EARLY <= 1, "of a last tile only one block may be multiplied");
  static constexpr int THREADS = GROUP_THREADS * (GROUPS + 1);
  static constexpr int QUERY_PANEL = ROWS * ROW_BYTES, QUERY_BYTES = PANELS * QUERY_PANEL;
  static constexpr int KEY_BYTES = PANELS * KEY_PANEL;
  static constexpr int KEYS_AT = 2 * QUERY_BYTES, VALUES_AT = KEYS_AT + STAGES * KEY_BYTES;
  static constexpr int JOBS_AT = VALUES_AT + STAGES * KEY_BYTES;
  static constexpr int BARRIERS_AT = JOBS_AT + 2 * static_cast<int>(sizeof(Job));
  static_assert(BARRIERS_AT % 8 == 0 && BARRIERS_AT + (4 + 4 * STAGES) * 8 <= 232448, "a block's shared memory");
  // What ptxas gives each thread at the start is shared out again: to the thread that loads, and to those that multiply.
  static constexpr int PRODUCER_REGISTERS = 32, CONSUMER_REGISTERS = 160;
};

// A block's barriers: `full` when TMA has filled a place, `empty` when all warpgroups have read it.
template <typename S> struct Barriers {
  uint32_t base;

  __device__ __forceinline__ uint32_t query_full(int slot) const { return base + slot * 8; }
  __device__ __forceinline__ uint32_t query_empty(int slot) const { return base + (2 + slot) * 8; }
  __device__ __forceinline__ uint32_t key_full(int stage) const { return base + (4 + stage) * 8; }
  __device__ __forceinline__ uint32_t key_empty(int stage) const { return base + (4 + S::STAGES + stage) * 8; }
  __device__ __forceinline__ uint32_t value_full(int stage) const { return base + (4 + 2 * S::STAGES + stage) * 8; }
  __device__ __forceinline__ uint32_t value_empty(int stage) const { return base + (4 + 3 * S::STAGES + stage) * 8; }

  __device__ __forceinline__ void init() const {
    for (int slot = 0; slot < 2; slot++) {
      barrier_init(query_full(slot), 1);
      barrier_init(query_empty(slot), S::GROUPS * GROUP_THREADS);  // each takes its results out on its own
    }
    for (int stage = 0; stage < S::STAGES; stage++) {
      barrier_init(key_full(stage), 1);
      barrier_init(key_empty(stage), S::GROUPS);
      barrier_init(value_full(stage), 1);
      barrier_init(value_empty(stage), S::GROUPS);
    }
  }
};

// Keeps the tiles filled; one thread. `range` is where an item's keys lie.
template <typename S, typename Range>
__device__ __forceinline__ void produce(const TensorMap& q, Range range, unsigned char* shared, const int* tiles,
                                        int items, int heads, int kvHeads, int causal) {
  const uint32_t base = shared_address(shared);
  const Barriers<S> barriers{base + S::BARRIERS_AT};
  const int group = heads / kvHeads;
  Ring<2> slot;
  Ring<S::STAGES> at;
  for (Items order; order.item < items; order.next()) {
    const int* tile = tiles + Range::INTS * (order.item / heads);
    const Job job{tile[0], tile[1], tile[2], tile[3], tile[4], order.item % heads};
    range.begin(tile);
    const uint32_t queries = base + slot.stage * S::QUERY_BYTES, arrived = barriers.query_full(slot.stage);
    barrier_wait(barriers.query_empty(slot.stage), slot.parity ^ 1);
    reinterpret_cast<Job*>(shared + S::JOBS_AT)[slot.stage] = job;
    barrier_expect(arrived, S::QUERY_BYTES);
#pragma unroll
    for (int panel = 0; panel < S::PANELS; panel++) {
      tma_load(queries + panel * S::QUERY_PANEL, q, arrived, job.head * S::WIDTH + 64 * panel,
               job.queryStart + job.first);
    }
    slot.next();
    const int x = job.head / group * S::WIDTH;
    const int count = job.tiles<S::KEYS>(job.first, S::ROWS, causal);
#pragma unroll 1
    for (int i = 0; i < count; i++) {
      const KeyRows from = range.template at<S::KEYS>(i * S::KEYS);
      const uint32_t keys = base + S::KEYS_AT + at.stage * S::KEY_BYTES;
      const uint32_t values = base + S::VALUES_AT + at.stage * S::KEY_BYTES;
      barrier_wait(barriers.key_empty(at.stage), at.parity ^ 1);
      barrier_expect(barriers.key_full(at.stage), S::KEY_BYTES);
#pragma unroll
      for (int panel = 0; panel < S::PANELS; panel++) {
        tma_load(keys + panel * S::KEY_PANEL, from.keys, barriers.key_full(at.stage), x + 64 * panel, from.row);
      }
      barrier_wait(barriers.value_empty(at.stage), at.parity ^ 1);
      barrier_expect(barriers.value_full(at.stage), S::KEY_BYTES);
#pragma unroll
      for (int panel = 0; panel < S::PANELS; panel++) {
        tma_load(values + panel * S::KEY_PANEL, from.values, barriers.value_full(at.stage), x + 64 * panel, from.row);
      }
      at.next();
    }
  }
}

// A lane's two rows: what they have added up of values and weights, relative to their shifts; and whether those of all of
// the warp's rows are high enough that only a positive score can move one. A shift never falls.
template <int WIDTH> struct Rows {
  float sum[WIDTH / 2], shift[2], total[2];
  bool high;

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < WIDTH / 2; i++) sum[i] = 0.f;
    shift[0] = shift[1] = UNSEEN;
    total[0] = total[1] = 0.f;
    high = false;
  }

  __device__ __forceinline__ void moved() {
    high = __all_sync(0xffffffffu, shift[0] >= -ROOM && shift[1] >= -ROOM);
  }
};

// scores = q k^T for the first COUNT blocks of a tile; the products are only started.
template <typename S, int COUNT>
__device__ __forceinline__ void start_scores(Scores<S::BLOCKS>& score, uint64_t queries, uint64_t keys) {
  auto& part = reinterpret_cast<float (&)[16 * COUNT]>(score);
  wgmma_first<true, true>(part, queries, keys);
#pragma unroll
  for (int step = 1; step < S::STEPS; step++) {
    const int panel = step / 4, inner = step % 4 * static_cast<int>(DESCRIPTOR_STEP<true>);
    wgmma<true, true>(part, queries + panel * (S::QUERY_PANEL >> 4) + inner, keys + panel * (S::KEY_PANEL >> 4) + inner);
  }
}

// sum += weights v for the blocks FROM to TO of a tile; the products are only started.
template <int FROM, int TO, int N, int M>
__device__ __forceinline__ void start_values(float (&sum)[N], const uint32_t (&weights)[M], uint64_t values) {
#pragma unroll
  for (int step = FROM * BLOCK / 16; step < TO * BLOCK / 16; step++) {
    wgmma<false>(sum, weights + 4 * step, values + step * DESCRIPTOR_STEP<false>);
  }
}

// What a lane's rows don't see becomes -inf; `seen` is how many keys of the tile each sees.
template <int COUNT, int N> __device__ __forceinline__ void mask(float (&score)[N], int seen0, int seen1) {
  const int column = 2 * (threadIdx.x & 3);
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int seen = (half == 0 ? seen0 : seen1) - column;
#pragma unroll
    for (int n = 0; n < COUNT * BLOCK / 8; n++) {
      if (8 * n >= seen) score[4 * n + 2 * half] = -INFINITY;
      if (8 * n + 1 >= seen) score[4 * n + 2 * half + 1] = -INFINITY;
    }
  }
}

// The largest of a lane's scores of a row in the blocks FROM to TO; several chains, to wait less for each other.
template <int FROM, int TO, int N>
__device__ __forceinline__ float most(const float (&score)[N], int half) {
  float m[4];
#pragma unroll
  for (int n = 4 * FROM; n < 4 * TO; n++) {
    const float pair = fmaxf(score[4 * n + 2 * half], score[4 * n + 2 * half + 1]);
    m[n % 4] = n < 4 * FROM + 4 ? pair : fmaxf(m[n % 4], pair);
  }
  return fmaxf(fmaxf(m[0], m[1]), fmaxf(m[2], m[3]));
}

// The same if it is positive, otherwise anything that is not: floats as integers, of which the largest of three is one
// instruction.
template <int FROM, int TO, int N>
__device__ __forceinline__ float most_positive(const float (&score)[N], int half) {
  int m[2];
#pragma unroll
  for (int n = 4 * FROM; n < 4 * TO; n++) {
    const int a = __float_as_int(score[4 * n + 2 * half]), b = __float_as_int(score[4 * n + 2 * half + 1]);
    m[n % 2] = n < 4 * FROM + 2 ? max(a, b) : __vimax3_s32(m[n % 2], a, b);
  }
  return __int_as_float(max(m[0], m[1]));
}

// Whether a weight of the blocks FROM to TO would be too large for its row's shift, anywhere in the warpgroup: whether a
// shift would move. A barrier of the warpgroup.
template <int FROM, int TO, int N, int WIDTH>
__device__ __forceinline__ bool moves(const float (&score)[N], const Rows<WIDTH>& rows, float scaleLog2, int group) {
  float most0, most1;
  if (rows.high) {
    most0 = most_positive<FROM, TO>(score, 0);
    most1 = most_positive<FROM, TO>(score, 1);
  } else {
    most0 = most<FROM, TO>(score, 0);
    most1 = most<FROM, TO>(score, 1);
  }
  const float largest = fmaxf(exponent(most0, scaleLog2, rows.shift[0]), exponent(most1, scaleLog2, rows.shift[1]));
  return named_barrier_any(OWN + group, GROUP_THREADS, largest > ROOM);
}

// Moves the shifts for one block and scales what the rows have added up of values; `decay` scales what they have of
// weights, together with the block's own. EMPTY: nothing was added up before.
template <int AT, bool EMPTY, int N, int WIDTH>
__device__ __forceinline__ void move(const float (&score)[N], Rows<WIDTH>& rows, float (&decay)[2], float scaleLog2) {
  bool moved = false;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float largest = most<AT, AT + 1>(score, half);
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
    decay[half] = move_shift(rows.shift[half], largest, scaleLog2);
    moved |= decay[half] != 1.f;
  }
  if (!EMPTY && __any_sync(0xffffffffu, moved)) {
#pragma unroll
    for (int i = 0; i < WIDTH / 2; i++) rows.sum[i] = __fmul_rn(rows.sum[i], decay[i / 2 % 2]);
  }
}

// Scores of one block become weights, which are added up.
template <int AT, int N, int WIDTH>
__device__ __forceinline__ void weigh(float (&score)[N], Rows<WIDTH>& rows, const float (&decay)[2], float scaleLog2) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float added[2];
#pragma unroll
    for (int n = 0; n < BLOCK / 8; n++) {
      float& w0 = score[16 * AT + 4 * n + 2 * half];
      float& w1 = score[16 * AT + 4 * n + 2 * half + 1];
      w0 = weight(w0, scaleLog2, rows.shift[half]);
      w1 = weight(w1, scaleLog2, rows.shift[half]);
      const float pair = __fadd_rn(w0, w1);
      added[n / 2] = n % 2 == 0 ? pair : __fadd_rn(added[n / 2], pair);
    }
    rows.total[half] = __fmaf_rn(rows.total[half], decay[half], __fadd_rn(added[0], added[1]));
  }
}

// Weights of the blocks FROM to TO to bf16. As scores lie they are a product's left operand.
template <int FROM, int TO, int N, int M>
__device__ __forceinline__ void round_weights(uint32_t (&weights)[M], const float (&score)[N]) {
#pragma unroll
  for (int i = 8 * FROM; i < 8 * TO; i++) weights[i] = pack_bf16(score[2 * i], score[2 * i + 1]);
}

// Keeps the compiler from moving weights of the blocks FROM to TO across.
template <int FROM, int TO, int M> __device__ __forceinline__ void pin_weights(uint32_t (&weights)[M]) {
#pragma unroll
  for (int i = 8 * FROM; i < 8 * TO; i++) asm volatile("" : "+r"(weights[i])::"memory");
}

// The block AT of a tile from scores to values, after whose shifts have moved.
template <int AT, int N, int WIDTH>
__device__ __forceinline__ void take_block(float (&score)[N], Rows<WIDTH>& rows, const float (&decay)[2],
                                           uint64_t values, float scaleLog2) {
  weigh<AT>(score, rows, decay, scaleLog2);
  uint32_t weights[N / 2];
  round_weights<AT, AT + 1>(weights, score);
  pin_weights<AT, AT + 1>(weights);
  pin(rows.sum);
  wgmma_fence();
  start_values<AT, AT + 1>(rows.sum, weights, values);
  wgmma_commit();
  wgmma_wait<0>();
  pin(rows.sum);
  pin_weights<AT, AT + 1>(weights);
}

// A tile whose shifts move in the middle, block by block; those of the first block have moved. What is left of the
// tile are keys that nobody sees: weights of 0, which change nothing.
template <int COUNT, int N, int WIDTH>
__device__ __forceinline__ void take_blocks(float (&score)[N], Rows<WIDTH>& rows, float (&decay)[2], uint64_t values,
                                            float scaleLog2) {
  take_block<0>(score, rows, decay, values, scaleLog2);
  move<1, false>(score, rows, decay, scaleLog2);
  take_block<1>(score, rows, decay, values, scaleLog2);
  if constexpr (COUNT > 2) {
    move<2, false>(score, rows, decay, scaleLog2);
    take_block<2>(score, rows, decay, values, scaleLog2);
  }
  if constexpr (COUNT > 3) {
    move<3, false>(score, rows, decay, scaleLog2);
    take_block<3>(score, rows, decay, values, scaleLog2);
  }
#pragma unroll
  for (int i = 0; i < 16 * COUNT; i++) score[i] = -INFINITY;
  decay[0] = decay[1] = 1.f;
}

// A warp's results: sums of weights over the lanes, sums of values divided by them, through the warp's rows of the
// queries' place, which nobody reads any more.
template <typename S>
__device__ __forceinline__ void store(const Rows<S::WIDTH>& rows, uint32_t place, const Job& job, int firstRow, bf16* o,
                                      float* lse, int heads) {
  const int lane = threadIdx.x % 32;
  float factor[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float all = rows.total[half];
    all = __fadd_rn(all, __shfl_xor_sync(0xffffffffu, all, 1));
    all = __fadd_rn(all, __shfl_xor_sync(0xffffffffu, all, 2));
    factor[half] = normalizer(all);
    const int row = firstRow + 8 * half + lane / 4;
    if (row >= 0 && row < job.queryLength && (lane & 3) == 0) {
      lse[(job.queryStart + row) * heads + job.head] = log_sum_exp(rows.shift[half], all);
    }
  }
  const auto chunk_at = [&](int row, int panel, int chunk) {
    return place + panel * S::QUERY_PANEL + row * ROW_BYTES + ((chunk ^ (row & 7)) << 4);
  };
#pragma unroll
  for (int n = 0; n < S::STEPS; n++) {
    const float* x = rows.sum + 8 * n;
    stmatrix(chunk_at(lane % 16, n / 4, 2 * (n % 4) + lane / 16), pack_bf16(x[0] * factor[0], x[1] * factor[0]),
             pack_bf16(x[2] * factor[1], x[3] * factor[1]), pack_bf16(x[4] * factor[0], x[5] * factor[0]),
             pack_bf16(x[6] * factor[1], x[7] * factor[1]));
  }
  __syncwarp();
  const int chunk = lane % 8;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int row = lane / 8 + 4 * i;
    if (firstRow + row >= 0 && firstRow + row < job.queryLength) {
      const long long at = static_cast<long long>(job.queryStart + firstRow + row) * heads + job.head;
#pragma unroll
      for (int panel = 0; panel < S::PANELS; panel++) {
        *reinterpret_cast<uint4*>(o + at * S::WIDTH + 64 * panel + 8 * chunk) =
            load_shared(chunk_at(row, panel, chunk));
      }
    }
  }
}

// A warpgroup that multiplies. Either a tile's scores, its softmax, its values, and other warpgroups drift into the
// gaps; or in TURNS, of which each has one for every tile of an item, its own or not: a tile's scores and the values of
// the tile before, and the others multiply during the softmax. The values of the first EARLY blocks are added during the
// softmax of those behind, in nobody's turn: their weights then need no registers in one.
template <typename S, bool TURNS>
__device__ __forceinline__ void consume(unsigned char* shared, bf16* o, float* lse, int items, int heads, int causal,
                                        float scaleLog2) {
  constexpr int KEYS = S::KEYS, BLOCKS = S::BLOCKS, EARLY = TURNS ? S::EARLY : 0;
  const uint32_t base = shared_address(shared);
  const Barriers<S> barriers{base + S::BARRIERS_AT};
  const int group = threadIdx.x / GROUP_THREADS - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const auto release = [&](uint32_t barrier) {
    if (threadIdx.x % GROUP_THREADS == 0) barrier_arrive(barrier);
  };
  const auto take_turn = [&] {
    if constexpr (TURNS) named_barrier(TURN + group, 2 * GROUP_THREADS);
  };
  const auto pass_turn = [&] {
    if constexpr (TURNS) {
      named_barrier_arrive(TURN + (group + 1 == S::GROUPS ? 0 : group + 1), 2 * GROUP_THREADS);
    }
  };
  const auto keys_at = [&](const Ring<S::STAGES>& at) {
    return matrix_descriptor(uniform(base + S::KEYS_AT + at.stage * S::KEY_BYTES), S::KEY_PANEL);
  };
  const auto values_at = [&](const Ring<S::STAGES>& at) {
    return matrix_descriptor(uniform(base + S::VALUES_AT + at.stage * S::KEY_BYTES), S::KEY_PANEL);
  };

  Ring<2> slot;
  Ring<S::STAGES> key, value;
  Scores<BLOCKS> score;
  Weights<BLOCKS> weights;
  Rows<S::WIDTH> rows;
  if constexpr (TURNS) {
    if (group == S::GROUPS - 1) pass_turn();  // the first warpgroup begins
  }
  for (Items order; order.item < items; order.next()) {
    barrier_wait(barriers.query_full(slot.stage), slot.parity);
    // Read again wherever it is used, instead of being kept in registers.
    const Job& job = reinterpret_cast<const Job*>(shared + S::JOBS_AT)[slot.stage];
    const uint32_t place = base + slot.stage * S::QUERY_BYTES + group * (GROUP_ROWS * ROW_BYTES);
    const uint64_t queries = matrix_descriptor(uniform(place), S::QUERY_PANEL);
    const int groupFirst = job.first + group * GROUP_ROWS, warpFirst = groupFirst + 16 * warp;
    const int all = job.tiles<KEYS>(job.first, S::ROWS, causal);
    const int mine = job.tiles<KEYS>(groupFirst, GROUP_ROWS, causal);
    const int unmasked = job.visible(warpFirst, causal);

    // Keys of the last tile that a query of this warpgroup sees. Where they are two blocks or less, the others are not
    // multiplied.
    const int last = job.visible(min(groupFirst + GROUP_ROWS, job.queryLength) - 1, causal) - (mine - 1) * KEYS;
    const int whole = mine > 0 && last <= 2 * BLOCK ? mine - 1 : mine;

    // Values beyond the sequence belong to another one or to nobody: a weight of 0 times them must be 0.
    const auto await_values = [&](int tile, int needed, const Ring<S::STAGES>& at) {
      barrier_wait(barriers.value_full(at.stage), at.parity);
      const int left = job.keyLength - tile * KEYS;
      if (left < needed) {
        const uint32_t from = base + S::VALUES_AT + at.stage * S::KEY_BYTES;
        for (int i = left * ROW_BYTES + threadIdx.x % GROUP_THREADS * 16; i < needed * ROW_BYTES;
             i += GROUP_THREADS * 16) {
#pragma unroll
          for (int panel = 0; panel < S::PANELS; panel++) {
            store_shared(from + panel * S::KEY_PANEL + i, make_uint4(0, 0, 0, 0));
          }
        }
        asynchronous_fence();
        named_barrier(OWN + group, GROUP_THREADS);
      }
    };
    const auto values_done = [&] {
      pin(rows.sum);
      pin_weights<EARLY, BLOCKS>(weights);
      release(barriers.value_empty(value.stage));
      value.next();
    };
    // The first COUNT blocks of a tile, whose values are at `value`: scores become weights where they lie, and are rounded.
    // In an item's FIRST tile shifts always move. Nothing is under way before and behind it.
    const auto soften = [&]<int COUNT, bool FIRST>(int tile) {
      if (tile * KEYS + COUNT * BLOCK > unmasked) {
        const int row = warpFirst + lane / 4, first = tile * KEYS;
        mask<COUNT>(score, job.visible(row, causal) - first, job.visible(row + 8, causal) - first);
      }
      float decay[2] = {1.f, 1.f};
      if (FIRST || moves<0, COUNT>(score, rows, scaleLog2, group)) {
        move<0, FIRST>(score, rows, decay, scaleLog2);
        if constexpr (COUNT > 1) {
          if (moves<1, COUNT>(score, rows, scaleLog2, group)) {
            await_values(tile, COUNT * BLOCK, value);
            take_blocks<COUNT>(score, rows, decay, values_at(value), scaleLog2);
          }
        }
        rows.moved();
      }
      // No shift moves any more.
      const auto take = [&]<int AT>(const float (&since)[2]) {
        if constexpr (AT < COUNT) weigh<AT>(score, rows, since, scaleLog2);
        if constexpr (AT < EARLY) {
          round_weights<AT, AT + 1>(weights, score);
          pin_weights<AT, AT + 1>(weights);
          if constexpr (AT == 0) await_values(tile, COUNT * BLOCK, value);
          pin(rows.sum);
          wgmma_fence();
          start_values<AT, AT + 1>(rows.sum, weights, values_at(value));
          wgmma_commit();
        }
      };
      const float none[2] = {1.f, 1.f};
      take.template operator()<0>(decay);
      take.template operator()<1>(none);
      take.template operator()<2>(none);
      take.template operator()<3>(none);
      round_weights<EARLY, COUNT>(weights, score);
      if constexpr (EARLY > 0) {
        wgmma_wait<0>();
        pin(rows.sum);
      }
      pin_weights<0, COUNT>(weights);
    };
    // A tile's scores become its weights, and the values of the tile before are added if it FOLLOWS one. The next
    // warpgroup has its turn when this one's products are done.
    const auto advance = [&]<int COUNT, bool FOLLOWS>(int tile) {
      constexpr bool follows = TURNS && FOLLOWS;
      barrier_wait(barriers.key_full(key.stage), key.parity);
      if constexpr (follows && EARLY == 0) barrier_wait(barriers.value_full(value.stage), value.parity);
      take_turn();
      pin(rows.sum);
      wgmma_fence();
      start_scores<S, COUNT>(score, queries, keys_at(key));
      wgmma_commit();
      if constexpr (follows) start_values<EARLY, BLOCKS>(rows.sum, weights, values_at(value));
      wgmma_commit();
      wgmma_wait<0>();
      pass_turn();
      pin(reinterpret_cast<float (&)[16 * COUNT]>(score));
      release(barriers.key_empty(key.stage));
      key.next();
      if constexpr (follows) values_done();
      soften.template operator()<COUNT, !FOLLOWS>(tile);
    };
    // The values of the first COUNT blocks of a tile, but for early ones, when nothing else of this warpgroup is under way.
    // An item's last values wait for no turn: the others are at their softmax for most of the time.
    const auto add_values = [&]<int COUNT>(int tile) {
      if constexpr (EARLY == 0) await_values(tile, COUNT * BLOCK, value);
      pin(rows.sum);
      wgmma_fence();
      start_values<EARLY, COUNT>(rows.sum, weights, values_at(value));
      wgmma_commit();
      wgmma_wait<0>();
      values_done();
    };
    // The last tile, of which only COUNT blocks are multiplied.
    const auto finish = [&]<int COUNT>() {
      if (mine == 1) {
        advance.template operator()<COUNT, false>(0);
      } else {
        advance.template operator()<COUNT, true>(mine - 1);
      }
      add_values.template operator()<COUNT>(mine - 1);
    };

    rows.clear();
    if (whole > 0) {
      advance.template operator()<BLOCKS, false>(0);
      if constexpr (!TURNS) add_values.template operator()<BLOCKS>(0);
    }
#pragma unroll 1
    for (int tile = 1; tile < whole; tile++) {
      advance.template operator()<BLOCKS, true>(tile);
      if constexpr (!TURNS) add_values.template operator()<BLOCKS>(tile);
    }
    if (whole == mine) {
      if constexpr (TURNS) {
        if (mine > 0) add_values.template operator()<BLOCKS>(mine - 1);
      }
    } else if (last > BLOCK) {
      finish.template operator()<2>();
    } else {
      finish.template operator()<1>();
    }
    // Tiles that only other warpgroups look at. None is given away before all warps have seen it come: a warp that is
    // late would take a later tile for it.
    for (int tile = mine; tile < all; tile++) {
      take_turn();
      pass_turn();
      barrier_wait(barriers.key_full(key.stage), key.parity);
      barrier_wait(barriers.value_full(value.stage), value.parity);
      named_barrier(OWN + group, GROUP_THREADS);
      release(barriers.key_empty(key.stage));
      release(barriers.value_empty(value.stage));
      key.next();
      value.next();
    }
    // All warps of the group have their scores, after the last tile's vote.
    store<S>(rows, place + warp * (16 * ROW_BYTES), job, warpFirst, o, lse, heads);
    asynchronous_fence();
    barrier_arrive(barriers.query_empty(slot.stage));
    slot.next();
  }
  if (group == 0) take_turn();  // the last warpgroup has passed one on to it
}

template <typename S, bool TURNS, typename Range>
__device__ __forceinline__ void forward(const TensorMap& q, const Range& range, bf16* o, float* lse, const int* tiles,
                                        int items, int heads, int kvHeads, int causal, float scaleLog2) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t base = shared_address(shared);
  if (base % 1024 != 0) __trap();  // the swizzle counts from there
  if (threadIdx.x == 0) {
    prefetch(q);
    prefetch(range.keys);
    prefetch(range.values);
    Barriers<S>{base + S::BARRIERS_AT}.init();
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < GROUP_THREADS) {
    registers_down<S::PRODUCER_REGISTERS>();
    if (threadIdx.x == 0) produce<S>(q, range, shared, tiles, items, heads, kvHeads, causal);
  } else {
    registers_up<S::CONSUMER_REGISTERS>();
    consume<S, TURNS>(shared, o, lse, items, heads, causal, scaleLog2);
  }
}

//                   width keys stages early
using Narrow = Shape<64, 128, 4, 0>;
using Wide = Shape<128, 96, 2, 1>;

}  // namespace
}  // namespace saccade

#define HOPPER_FORWARD(NAME, SHAPE, TURNS)                                                                            \
  extern "C" __global__ void __launch_bounds__(saccade::SHAPE::THREADS, 1)                                            \
      NAME(const __grid_constant__ saccade::TensorMap q, const __grid_constant__ saccade::TensorMap k,                \
           const __grid_constant__ saccade::TensorMap v, saccade::bf16* o, float* lse, const int* tiles, int items,   \
           int heads, int kvHeads, int causal, float scaleLog2) {                                                     \
    saccade::forward<saccade::SHAPE, TURNS>(q, saccade::OneRange(k, v), o, lse, tiles, items, heads, kvHeads, causal, \
                                            scaleLog2);                                                               \
  }

// The keys of a sequence are a prefix and its own.
#define HOPPER_PREFIXED_FORWARD(NAME, SHAPE, TURNS)                                                                   \
  extern "C" __global__ void __launch_bounds__(saccade::SHAPE::THREADS, 1)                                            \
      NAME(const __grid_constant__ saccade::TensorMap q, const __grid_constant__ saccade::TensorMap k,                \
           const __grid_constant__ saccade::TensorMap v, const __grid_constant__ saccade::TensorMap seamKeys,         \
           const __grid_constant__ saccade::TensorMap seamValues, saccade::bf16* o, float* lse, const int* tiles,     \
           int items, int heads, int kvHeads, int causal, float scaleLog2) {                                          \
    saccade::forward<saccade::SHAPE, TURNS>(q, saccade::TwoRanges(k, v, seamKeys, seamValues), o, lse, tiles, items,  \
                                            heads, kvHeads, causal, scaleLog2);                                       \
  }

HOPPER_FORWARD(forward_64_simple, Narrow, false)
HOPPER_FORWARD(forward_128_simple, Wide, false)
HOPPER_FORWARD(forward_64_overlapped, Narrow, true)
HOPPER_FORWARD(forward_128_overlapped, Wide, true)
HOPPER_PREFIXED_FORWARD(prefixed_forward_64, Narrow, true)
HOPPER_PREFIXED_FORWARD(prefixed_forward_128, Wide, true)
