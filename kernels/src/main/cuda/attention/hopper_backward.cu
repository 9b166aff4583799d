// Attention backward in bf16 on Hopper (sm_90a) for head dimension 64: the bits of backward.cu by TMA and wgmma, in two
// kernels as there. See hopper_backward_ordered.cu for head dimension 128.
//
// keys_backward sums dk and dv over the queries, queries_backward sums dq over the keys. A block is persistent; an item
// is 128 rows that stay (keys and values, or queries and dO of one head), 64 for each of two warpgroups that multiply,
// and the rows that stream past them in tiles of 64 (queries and dO, or keys and values). One thread of a third
// warpgroup keeps the tiles on their way by TMA, and what stays for the next item.
//
// What stays is the left side of all products, so a tile of scores lies in registers as the left operand of the product
// that follows it: weights and slopes never go through shared memory. In keys_backward the scores are transposed for
// that. A tile's products are started as soon as what they read is there, and the next tile's scores right behind them:
// while a warpgroup computes weights, dO v' is under way, while it computes slopes, the sum for dv is.
//
// Every element is one chain in the portable kernel's order: scores over the head dimension, dq over the keys, dk and dv
// over the heads of the group and for each over its queries. Tiles that a warpgroup's keys don't see are skipped, which
// adds no 0 where the portable kernel adds none that shows.
//
// Keys of a prefix are seen by the queries of several sequences. The kernels named `prefixed` walk over all of those in one
// chain, sequence after sequence (Job, walk_at); their queries' keys lie in two ranges (ranges.cuh).
#include "gradients.cuh"
#include "pipeline.cuh"
#include "ranges.cuh"
#include "softmax.cuh"

namespace saccade {
namespace {

constexpr int ROWS = GROUP_ROWS * GROUPS;
constexpr int STAYING_PANEL = ROWS * ROW_BYTES;

// Named barriers: each warpgroup's own, and the one of both.
constexpr int OWN = 1, BOTH = 3;

// The sequence of an item, the first of its rows that stay, and the head that those belong to. Of keys that stay, those
// before `end` are the item's.
struct Job {
  int queryStart, queryLength, keyStart, keyLength, first, head, end;

  // Query i sees keys up to i + offset() when causal.
  __device__ __forceinline__ int offset() const { return keyLength - queryLength; }

  // How many keys a query sees; it grows with the query.
  __device__ __forceinline__ int visible(int query, int causal) const {
    return causal ? min(keyLength, offset() + query + 1) : keyLength;
  }

  // Tiles that hold the keys which the queries `from` to `from + count` see.
  __device__ __forceinline__ int key_tiles(int from, int count, int causal) const {
    return from < queryLength ? (visible(min(from + count, queryLength) - 1, causal) + TILE - 1) / TILE : 0;
  }

  // The copy of the statistics in which the first query lies on 16 bytes, and with it every tile.
  __device__ __forceinline__ int copy() const { return -queryStart & (COPIES - 1); }

  // The line of the head's statistics in that copy.
  __device__ __forceinline__ int line(int head, int heads) const { return STATISTICS * (copy() * heads + head); }

  __device__ __forceinline__ int query_tiles() const { return (queryLength + TILE - 1) / TILE; }

  // The first tile with a query that sees the key.
  __device__ __forceinline__ int first_query_tile(int key, int causal) const {
    return causal ? max(0, key - offset()) / TILE : 0;
  }
};

// Keys whose gradients sum over the queries of several sequences, one walk for each. An item in the list is {its first walk,
// how many, the row of its range's first key, keys of the range, the item's first key in it}; a walk is {queryStart,
// queryLength, keyLength, the place of the range's first key among the sequence's keys}.
constexpr int ITEM_INTS = 5, WALK_INTS = 4;

// The item as a walk's sequence sees it: keys have their places in that sequence.
__device__ __forceinline__ Job walk_at(const int* walks, const int* item, int walk, int head) {
  const int* at = walks + WALK_INTS * (item[0] + walk);
  const int place = at[3];
  return {at[0], at[1], item[2] - place, at[2], place + item[4], head, place + item[3]};
}

// The job of a warpgroup on its walks, and what it goes on from behind the item: registers are short on the way.
struct Walk : Job {
  Items order;
  Ring<2> slot;
  int taken, count;

  __device__ __forceinline__ void begin(const Items& order, const Ring<2>& slot) {
    this->order = order;
    this->slot = slot;
    taken = 0;
  }

  __device__ __forceinline__ void next(const int* tiles, const int* walks, int kvHeads) {
    const int* item = tiles + ITEM_INTS * (order.item / kvHeads);
    job() = walk_at(walks, item, taken++, order.item % kvHeads);
    count = item[1];
  }

  __device__ __forceinline__ Job& job() { return *this; }
};

// The places of both items' jobs, or of both warpgroups' walks.
__device__ __forceinline__ Walk* jobs(unsigned char* shared) { return reinterpret_cast<Walk*>(shared); }

// HopperBackward.java has the same numbers.
template <int WIDTH_, int STAGES_> struct Shape {
  static constexpr int WIDTH = WIDTH_, PANELS = WIDTH / 64, STEPS = WIDTH / 16, STAGES = STAGES_;
  static constexpr int STAYING = PANELS * STAYING_PANEL, TILE_BYTES = PANELS * TILE_PANEL;  // of one of two tensors
  static constexpr int STAGES_AT = 2 * 2 * STAYING;
  static constexpr int STATISTICS_AT = STAGES_AT + STAGES * 2 * TILE_BYTES;
  // Either for each stage those of a tile, or for both items those of what stays.
  static constexpr int TILE_STATISTICS = STATISTICS * TILE * 4, STAYING_STATISTICS = STATISTICS * ROWS * 4;
  static constexpr int JOBS_AT =
      STATISTICS_AT + (STAGES * TILE_STATISTICS > 2 * STAYING_STATISTICS ? STAGES * TILE_STATISTICS
                                                                         : 2 * STAYING_STATISTICS);
  static constexpr int BARRIERS_AT = JOBS_AT + 2 * static_cast<int>(sizeof(Walk));
  static_assert(BARRIERS_AT % 8 == 0 && BARRIERS_AT + (4 + 2 * STAGES) * 8 <= 232448, "a block's shared memory");
};

// A block's barriers: `full` when TMA has filled a place, `empty` when all warpgroups have read it.
template <typename S> struct Barriers {
  uint32_t base;

  __device__ __forceinline__ uint32_t staying_full(int slot) const { return base + slot * 8; }
  __device__ __forceinline__ uint32_t staying_empty(int slot) const { return base + (2 + slot) * 8; }
  __device__ __forceinline__ uint32_t full(int stage) const { return base + (4 + stage) * 8; }
  __device__ __forceinline__ uint32_t empty(int stage) const { return base + (4 + S::STAGES + stage) * 8; }

  __device__ __forceinline__ void init() const {
    for (int slot = 0; slot < 2; slot++) {
      barrier_init(staying_full(slot), 1);
      barrier_init(staying_empty(slot), GROUPS * GROUP_THREADS);  // each takes its results out on its own
    }
    for (int stage = 0; stage < S::STAGES; stage++) {
      barrier_init(full(stage), 1);
      barrier_init(empty(stage), GROUPS);
    }
  }
};

// The two tensors of which rows stay, the two that stream past them, and the statistics of queries.
struct Maps {
  const TensorMap &staying0, &staying1, &tile0, &tile1, &statistics;
};

// The thread that keeps everything filled.
template <typename S> struct Producer {
  const Maps& maps;
  unsigned char* shared;
  uint32_t base;
  Ring<2> slot;
  Ring<S::STAGES> at;

  __device__ __forceinline__ Producer(const Maps& maps, unsigned char* shared)
      : maps(maps), shared(shared), base(shared_address(shared)) {}

  // What stays for an item; `line` is that of its statistics, or -1. PASSED: the warpgroups take the job from here.
  template <bool PASSED = true> __device__ __forceinline__ void stay(const Job& job, int x, int y, int line) {
    const Barriers<S> barriers{base + S::BARRIERS_AT};
    const uint32_t to = base + slot.stage * (2 * S::STAYING), arrived = barriers.staying_full(slot.stage);
    barrier_wait(barriers.staying_empty(slot.stage), slot.parity ^ 1);
    if constexpr (PASSED) jobs(shared + S::JOBS_AT)[slot.stage].job() = job;
    barrier_expect(arrived, 2 * S::STAYING + (line < 0 ? 0 : S::STAYING_STATISTICS));
#pragma unroll
    for (int panel = 0; panel < S::PANELS; panel++) {
      tma_load(to + panel * STAYING_PANEL, maps.staying0, arrived, x + 64 * panel, y);
      tma_load(to + S::STAYING + panel * STAYING_PANEL, maps.staying1, arrived, x + 64 * panel, y);
    }
    if (line >= 0) {
      tma_load(base + S::STATISTICS_AT + slot.stage * S::STAYING_STATISTICS, maps.statistics, arrived, y + job.copy(),
               line);
    }
    slot.next();
  }

  __device__ __forceinline__ void stream(const Job& job, int x, int y, int line) {
    stream(job, x, {maps.tile0, maps.tile1, y}, line);
  }

  __device__ __forceinline__ void stream(const Job& job, int x, const KeyRows& from, int line) {
    const Barriers<S> barriers{base + S::BARRIERS_AT};
    const uint32_t to = base + S::STAGES_AT + at.stage * (2 * S::TILE_BYTES), arrived = barriers.full(at.stage);
    barrier_wait(barriers.empty(at.stage), at.parity ^ 1);
    barrier_expect(arrived, 2 * S::TILE_BYTES + (line < 0 ? 0 : S::TILE_STATISTICS));
#pragma unroll
    for (int panel = 0; panel < S::PANELS; panel++) {
      tma_load(to + panel * TILE_PANEL, from.keys, arrived, x + 64 * panel, from.row);
      tma_load(to + S::TILE_BYTES + panel * TILE_PANEL, from.values, arrived, x + 64 * panel, from.row);
    }
    if (line >= 0) {
      tma_load(base + S::STATISTICS_AT + at.stage * S::TILE_STATISTICS, maps.statistics, arrived,
               from.row + job.copy(), line);
    }
    at.next();
  }
};

__device__ __forceinline__ Job job_at(const int* tile, int head) {
  return {tile[0], tile[1], tile[2], tile[3], tile[4], head, tile[3]};
}

// Keys and values stay; the queries of the group's heads stream past, head after head.
template <typename S>
__device__ __forceinline__ void stream_queries(Producer<S>& producer, const Job& job, int heads, int group,
                                               int causal) {
  const int start = job.first_query_tile(job.first, causal), end = job.query_tiles();
  for (int head = job.head * group; head < (job.head + 1) * group; head++) {
#pragma unroll 1
    for (int tile = start; tile < end; tile++) {
      producer.stream(job, head * S::WIDTH, job.queryStart + tile * TILE, job.line(head, heads));
    }
  }
}

// `walks`: see walk_at; unused where PREFIXED is false.
template <typename S, bool PREFIXED>
__device__ __forceinline__ void produce_for_keys(const Maps& maps, unsigned char* shared, const int* tiles,
                                                 const int* walks, int items, int heads, int kvHeads, int causal) {
  Producer<S> producer(maps, shared);
  const int group = heads / kvHeads;
  for (Items order; order.item < items; order.next()) {
    const int* tile = tiles + ITEM_INTS * (order.item / kvHeads);
    const int head = order.item % kvHeads;
    if constexpr (PREFIXED) {
      const int count = tile[1];
      Job job = walk_at(walks, tile, 0, head);
      producer.template stay<false>(job, head * S::WIDTH, job.keyStart + job.first, -1);
      for (int walk = 0; walk < count;) {
        stream_queries(producer, job, heads, group, causal);
        if (++walk < count) job = walk_at(walks, tile, walk, head);
      }
    } else {
      const Job job = job_at(tile, head);
      producer.stay(job, head * S::WIDTH, job.keyStart + job.first, -1);
      stream_queries(producer, job, heads, group, causal);
    }
  }
}

// Queries and dO of one head stay; keys and values stream past.
template <typename S, typename Range>
__device__ __forceinline__ void produce_for_queries(const Maps& maps, Range range, unsigned char* shared,
                                                    const int* tiles, int items, int heads, int kvHeads, int causal) {
  Producer<S> producer(maps, shared);
  const int group = heads / kvHeads;
  for (Items order; order.item < items; order.next()) {
    const int* item = tiles + Range::INTS * (order.item / heads);
    const Job job = job_at(item, order.item % heads);
    range.begin(item);
    producer.stay(job, job.head * S::WIDTH, job.queryStart + job.first, job.line(job.head, heads));
    const int x = job.head / group * S::WIDTH, end = job.key_tiles(job.first, ROWS, causal);
#pragma unroll 1
    for (int tile = 0; tile < end; tile++) producer.stream(job, x, range.template at<TILE>(tile * TILE), -1);
  }
}

// A warpgroup's rows of one of the tensors that stay, as left operands of products over the head dimension, in registers:
// that halves what such a product reads of shared memory.
template <typename S> struct Held {
  uint32_t rows[4 * S::STEPS];

  __device__ __forceinline__ void load(uint32_t place) {
    const int row = threadIdx.x / 32 % 4 * 16 + threadIdx.x % 16, half = threadIdx.x / 16 % 2;
#pragma unroll
    for (int step = 0; step < S::STEPS; step++) {
      const int chunk = 2 * (step % 4) + half;
      uint32_t four[4];
      load_matrices(four, place + step / 4 * STAYING_PANEL + row * ROW_BYTES + ((chunk ^ (row & 7)) << 4));
#pragma unroll
      for (int i = 0; i < 4; i++) rows[4 * step + i] = four[i];
    }
  }

  // result = these rows times the first of a tile; the products are only started.
  template <int N> __device__ __forceinline__ void start(float (&result)[N], uint64_t tile) const {
    wgmma_first<true>(result, rows, tile);
#pragma unroll
    for (int step = 1; step < S::STEPS; step++) {
      wgmma<true>(result, rows + 4 * step,
                  tile + step / 4 * (TILE_PANEL >> 4) + step % 4 * static_cast<int>(DESCRIPTOR_STEP<true>));
    }
  }
};

// A warpgroup of keys_backward: 64 keys and their values stay. PREFIXED: an item is walked by several sequences.
template <typename S, bool PREFIXED>
__device__ __forceinline__ void sum_over_queries(unsigned char* shared, bf16* dk, bf16* dv, const int* tiles,
                                                 const int* walks, int items, int heads, int kvHeads, int causal,
                                                 float scale, float scaleLog2) {
  const uint32_t base = shared_address(shared);
  const Barriers<S> barriers{base + S::BARRIERS_AT};
  const int warpgroup = threadIdx.x / GROUP_THREADS - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const int column = 2 * (lane & 3);
  const auto release = [&](uint32_t barrier) {
    if (threadIdx.x % GROUP_THREADS == 0) barrier_arrive(barrier);
  };
  const auto queries_at = [&](int stage) { return base + S::STAGES_AT + stage * (2 * S::TILE_BYTES); };
  const auto upstream_at = [&](int stage) { return queries_at(stage) + S::TILE_BYTES; };
  const auto statistics_at = [&](int stage) { return base + S::STATISTICS_AT + stage * S::TILE_STATISTICS; };

  Ring<2> slot;
  Ring<S::STAGES> at;
  Operand<TILE> slopes;  // what the last products still read
  float keySum[S::WIDTH / 2], valueSum[S::WIDTH / 2];
  Held<S> keys, values;
  for (Items order; order.item < items; order.next()) {
    barrier_wait(barriers.staying_full(slot.stage), slot.parity);
    // Read again wherever it is used, instead of being kept in registers. A warpgroup's own where it changes on the way.
    Walk& job = jobs(shared + S::JOBS_AT)[PREFIXED ? warpgroup : slot.stage];
    const auto place = [&] {
      return base + slot.stage * (2 * S::STAYING) + warpgroup * (GROUP_ROWS * ROW_BYTES);
    };
    const auto group_first = [&] { return job.first + warpgroup * GROUP_ROWS; };
    const auto warp_first = [&] { return group_first() + 16 * warp; };
    const auto first_tile = [&] {
      return group_first() < job.end ? job.first_query_tile(group_first(), causal) : job.query_tiles();
    };

    // Waits for a tile whose first COLUMNS queries are all that it has. What is missing of the last one, both warpgroups
    // clear together.
    const auto await = [&]<int COLUMNS>(int tile, const Ring<S::STAGES>& at) {
      barrier_wait(barriers.full(at.stage), at.parity);
      const int end = job.queryLength - tile * TILE;
      if (end < COLUMNS) {
        clear_rows<2 * S::PANELS>(queries_at(at.stage), TILE_PANEL, end, COLUMNS, threadIdx.x - GROUP_THREADS,
                                  GROUPS * GROUP_THREADS);
        clear_statistics(statistics_at(at.stage), end, COLUMNS, threadIdx.x - GROUP_THREADS);
        asynchronous_fence();
        named_barrier(BOTH, GROUPS * GROUP_THREADS);
      }
    };
    // The weights of a tile's scores.
    const auto weigh = [&]<int N>(int tile, float (&score)[N], float (&weights)[N]) {
      // The first query that sees all keys of this warp is still ahead.
      if (causal && tile * TILE < warp_first() + 15 - job.offset()) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int unseen = warp_first() + 8 * half + lane / 4 - job.offset() - tile * TILE - column;
#pragma unroll
          for (int n = 0; n < N / 4; n++) {
            if (8 * n < unseen) score[4 * n + 2 * half] = -INFINITY;
            if (8 * n + 1 < unseen) score[4 * n + 2 * half + 1] = -INFINITY;
          }
        }
      }
      weigh_columns(score, weights, statistics_at(at.stage), column, scaleLog2);
    };
    // One tile of COLUMNS queries after the other. Its last products are only started; what they read stays in
    // `rounded`. `follows`: the products of the tile before still read `slopes` and their stage.
    const auto take = [&]<int COLUMNS>(int tile, bool follows, Operand<COLUMNS>& rounded) {
      await.template operator()<COLUMNS>(tile, at);
      Scores<COLUMNS> score, slope;
      Operand<COLUMNS> weights;
      wgmma_fence();
      keys.start(score, matrix_descriptor(uniform(queries_at(at.stage)), TILE_PANEL));
      wgmma_commit();
      values.start(slope, matrix_descriptor(uniform(upstream_at(at.stage)), TILE_PANEL));
      wgmma_commit();
      wgmma_wait<1>();
      pin(score);
      pin(keySum);
      pin(slopes);
      if (follows) release(barriers.empty(at.previous()));
      weigh(tile, score, score);
      round_operand(weights, score);
      pin(valueSum);
      wgmma_fence();
      start_sum(valueSum, weights, matrix_descriptor(uniform(upstream_at(at.stage)), TILE_PANEL));
      wgmma_commit();
      wgmma_wait<1>();
      pin(slope);
      slope_columns(score, slope, statistics_at(at.stage), column);
      round_operand(rounded, slope);
      wgmma_fence();
      start_sum(keySum, rounded, matrix_descriptor(uniform(queries_at(at.stage)), TILE_PANEL));
      wgmma_commit();
      wgmma_wait<1>();
      pin(valueSum);
      pin(weights);
      at.next();
    };

    keys.load(place());
    values.load(place() + S::STAYING);
#pragma unroll
    for (int i = 0; i < S::WIDTH / 2; i++) keySum[i] = valueSum[i] = 0.f;

    const auto one_thread = [&] { return threadIdx.x % GROUP_THREADS == 0; };
    if constexpr (PREFIXED) {
      named_barrier(OWN + warpgroup, GROUP_THREADS);  // no warp reads the job of the item before any more
      if (one_thread()) job.begin(order, slot);
    }
    do {
      if constexpr (PREFIXED) {
        named_barrier(OWN + warpgroup, GROUP_THREADS);  // nor that of the sequence before
        if (one_thread()) job.next(tiles, walks, kvHeads);
        named_barrier(OWN + warpgroup, GROUP_THREADS);
      }
#pragma unroll 1
      for (int member = heads / kvHeads; member > 0; member--) {
        const auto is_whole = [&](int tile) { return tile * TILE < job.queryLength - REST; };
        // Only the other warpgroup looks at the first ones. None is given away before all warps have seen it come: a
        // warp that is late would take a later tile for it.
#pragma unroll 1
        for (int tile = job.first_query_tile(job.first, causal); tile < first_tile(); tile++) {
          if (is_whole(tile)) {
            await.template operator()<TILE>(tile, at);
          } else {
            await.template operator()<REST>(tile, at);
          }
          named_barrier(OWN + warpgroup, GROUP_THREADS);
          release(barriers.empty(at.stage));
          at.next();
        }
        int tile = first_tile();
        bool follows = false;
#pragma unroll 1
        for (; is_whole(tile); tile++, follows = true) take.template operator()<TILE>(tile, follows, slopes);
        if (tile < job.query_tiles()) {
          Operand<REST> rest;
          take.template operator()<REST>(tile, follows, rest);
          wgmma_wait<0>();
          pin(rest);
          follows = true;
        }
        wgmma_wait<0>();
        pin(keySum);
        pin(slopes);
        if (follows) release(barriers.empty(at.previous()));
      }
    } while (PREFIXED && job.taken < job.count);
    if constexpr (PREFIXED) {
      order = job.order;
      slot = job.slot;
    }
    named_barrier(OWN + warpgroup, GROUP_THREADS);  // no warp's products read the keys' place any more

    const long long stride = static_cast<long long>(kvHeads) * S::WIDTH;
    const long long to = (job.keyStart + warp_first()) * stride + job.head * S::WIDTH;
    const int rows = job.end - warp_first();
    const uint32_t through = place() + warp * (16 * ROW_BYTES);
    store_sum<S::WIDTH, STAYING_PANEL>(keySum, scale, through, dk + to, stride, rows);
    store_sum<S::WIDTH, STAYING_PANEL>(valueSum, 1.f, through + S::STAYING, dv + to, stride, rows);
    asynchronous_fence();
    barrier_arrive(barriers.staying_empty(slot.stage));
    slot.next();
  }
}

// A warpgroup of queries_backward: 64 queries of a head and their dO stay.
template <typename S>
__device__ __forceinline__ void sum_over_keys(unsigned char* shared, bf16* dq, int items, int heads, int causal,
                                              float scale, float scaleLog2) {
  const uint32_t base = shared_address(shared);
  const Barriers<S> barriers{base + S::BARRIERS_AT};
  const int warpgroup = threadIdx.x / GROUP_THREADS - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const auto release = [&](uint32_t barrier) {
    if (threadIdx.x % GROUP_THREADS == 0) barrier_arrive(barrier);
  };
  const auto keys_at = [&](int stage) { return base + S::STAGES_AT + stage * (2 * S::TILE_BYTES); };
  const auto values_at = [&](int stage) { return keys_at(stage) + S::TILE_BYTES; };

  Ring<2> slot;
  Ring<S::STAGES> at;
  Operand<TILE> slopes;  // what the last products still read
  float sum[S::WIDTH / 2];
  Held<S> queries, upstream;
  for (Items order; order.item < items; order.next()) {
    barrier_wait(barriers.staying_full(slot.stage), slot.parity);
    const Job& job = jobs(shared + S::JOBS_AT)[slot.stage];
    const uint32_t place = base + slot.stage * (2 * S::STAYING) + warpgroup * (GROUP_ROWS * ROW_BYTES);
    const auto group_first = [&] { return job.first + warpgroup * GROUP_ROWS; };
    const auto warp_first = [&] { return group_first() + 16 * warp; };
    const auto mine = [&] { return job.key_tiles(group_first(), GROUP_ROWS, causal); };
    queries.load(place);
    upstream.load(place + S::STAYING);
    float lse[2], constant[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = warpgroup * GROUP_ROWS + 16 * warp + 8 * half + lane / 4;
      const uint32_t statistics = base + S::STATISTICS_AT + slot.stage * S::STAYING_STATISTICS + 4 * row;
      lse[half] = load_shared_float(statistics);
      constant[half] = load_shared_float(statistics + 4 * ROWS);
    }

    // The steps of sum_over_queries, for a tile whose first COLUMNS keys are all that it has.
    const auto await = [&]<int COLUMNS>(int tile, const Ring<S::STAGES>& at) {
      barrier_wait(barriers.full(at.stage), at.parity);
      const int end = job.keyLength - tile * TILE;
      if (end < COLUMNS) {
        clear_rows<2 * S::PANELS>(keys_at(at.stage), TILE_PANEL, end, COLUMNS, threadIdx.x % GROUP_THREADS,
                                  GROUP_THREADS);
        asynchronous_fence();
        named_barrier(OWN + warpgroup, GROUP_THREADS);
      }
    };
    const auto weigh = [&]<int N>(int tile, float (&score)[N], float (&weights)[N]) {
      if (tile * TILE + 2 * N > job.visible(warp_first(), causal)) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int row = warp_first() + 8 * half + lane / 4;
          const int seen = job.visible(row, causal) - tile * TILE - 2 * (lane & 3);
#pragma unroll
          for (int n = 0; n < N / 4; n++) {
            if (8 * n >= seen) score[4 * n + 2 * half] = -INFINITY;
            if (8 * n + 1 >= seen) score[4 * n + 2 * half + 1] = -INFINITY;
          }
        }
      }
#pragma unroll
      for (int i = 0; i < N; i++) weights[i] = weight(score[i], scaleLog2, lse[i / 2 % 2]);
      pin(weights);  // now, not after what follows
    };
    const auto slope_all = [&]<int N>(const float (&weights)[N], float (&slope)[N]) {
#pragma unroll
      for (int i = 0; i < N; i++) slope[i] = slope_of(weights[i], slope[i], constant[i / 2 % 2]);
    };
    const auto take = [&]<int COLUMNS>(int tile, Operand<COLUMNS>& rounded) {
      await.template operator()<COLUMNS>(tile, at);
      Scores<COLUMNS> score, slope;
      wgmma_fence();
      queries.start(score, matrix_descriptor(uniform(keys_at(at.stage)), TILE_PANEL));
      wgmma_commit();
      upstream.start(slope, matrix_descriptor(uniform(values_at(at.stage)), TILE_PANEL));
      wgmma_commit();
      wgmma_wait<1>();
      pin(score);
      pin(sum);
      pin(slopes);
      if (tile > 0) release(barriers.empty(at.previous()));
      weigh(tile, score, score);
      wgmma_wait<0>();
      pin(slope);
      slope_all(score, slope);
      round_operand(rounded, slope);
      wgmma_fence();
      start_sum(sum, rounded, matrix_descriptor(uniform(keys_at(at.stage)), TILE_PANEL));
      wgmma_commit();
      at.next();
    };

#pragma unroll
    for (int i = 0; i < S::WIDTH / 2; i++) sum[i] = 0.f;
    const auto is_whole = [&](int tile) { return tile < mine() && tile * TILE < job.keyLength - REST; };
    int tile = 0;
#pragma unroll 1
    for (; is_whole(tile); tile++) take.template operator()<TILE>(tile, slopes);
    if (tile < mine()) {
      Operand<REST> rest;
      take.template operator()<REST>(tile, rest);
      wgmma_wait<0>();
      pin(rest);
    }
    wgmma_wait<0>();
    pin(sum);
    pin(slopes);
    if (mine() > 0) release(barriers.empty(at.previous()));
    // Tiles that only the other warpgroup looks at; see above.
    const int all = job.key_tiles(job.first, ROWS, causal);
    for (int tile = mine(); tile < all; tile++) {
      barrier_wait(barriers.full(at.stage), at.parity);
      named_barrier(OWN + warpgroup, GROUP_THREADS);
      release(barriers.empty(at.stage));
      at.next();
    }

    // A warp's rows of the queries' place are its own: all others have theirs in registers.
    const long long stride = static_cast<long long>(heads) * S::WIDTH;
    const long long to = (job.queryStart + warp_first()) * stride + job.head * S::WIDTH;
    store_sum<S::WIDTH, STAYING_PANEL>(sum, scale, place + warp * (16 * ROW_BYTES), dq + to, stride,
                                       job.queryLength - warp_first());
    asynchronous_fence();
    barrier_arrive(barriers.staying_empty(slot.stage));
    slot.next();
  }
}

// What all threads do first; the start of shared memory.
template <typename S> __device__ __forceinline__ unsigned char* begin(const Maps& maps) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t base = shared_address(shared);
  if (base % 1024 != 0) __trap();  // the swizzle counts from there
  if (threadIdx.x == 0) {
    prefetch(maps.staying0);
    prefetch(maps.staying1);
    prefetch(maps.tile0);
    prefetch(maps.tile1);
    prefetch(maps.statistics);
    Barriers<S>{base + S::BARRIERS_AT}.init();
    barrier_init_fence();
  }
  __syncthreads();
  return shared;
}

template <typename S, bool PREFIXED>
__device__ __forceinline__ void keys_backward(const Maps& maps, bf16* dk, bf16* dv, const int* tiles,
                                              const int* walks, int items, int heads, int kvHeads, int causal,
                                              float scale, float scaleLog2) {
  unsigned char* shared = begin<S>(maps);
  if (threadIdx.x < GROUP_THREADS) {
    registers_down<PRODUCER_REGISTERS>();
    if (threadIdx.x == 0) produce_for_keys<S, PREFIXED>(maps, shared, tiles, walks, items, heads, kvHeads, causal);
  } else {
    registers_up<CONSUMER_REGISTERS>();
    sum_over_queries<S, PREFIXED>(shared, dk, dv, tiles, walks, items, heads, kvHeads, causal, scale, scaleLog2);
  }
}

template <typename S, typename Range>
__device__ __forceinline__ void queries_backward(const Maps& maps, const Range& range, bf16* dq, const int* tiles,
                                                 int items, int heads, int kvHeads, int causal, float scale,
                                                 float scaleLog2) {
  unsigned char* shared = begin<S>(maps);
  if (threadIdx.x < GROUP_THREADS) {
    registers_down<PRODUCER_REGISTERS>();
    if (threadIdx.x == 0) produce_for_queries<S>(maps, range, shared, tiles, items, heads, kvHeads, causal);
  } else {
    registers_up<CONSUMER_REGISTERS>();
    sum_over_keys<S>(shared, dq, items, heads, causal, scale, scaleLog2);
  }
}

//                  width stages
using Narrow = Shape<64, 6>;

}  // namespace
}  // namespace saccade

extern "C" __global__ void __launch_bounds__(saccade::THREADS, 1)
    keys_backward_64(const __grid_constant__ saccade::TensorMap k, const __grid_constant__ saccade::TensorMap v,
                     const __grid_constant__ saccade::TensorMap q, const __grid_constant__ saccade::TensorMap dO,
                     const __grid_constant__ saccade::TensorMap statistics, saccade::bf16* dk, saccade::bf16* dv,
                     const int* tiles, int items, int heads, int kvHeads, int causal, float scale, float scaleLog2) {
  saccade::keys_backward<saccade::Narrow, false>({k, v, q, dO, statistics}, dk, dv, tiles, nullptr, items, heads,
                                                 kvHeads, causal, scale, scaleLog2);
}

extern "C" __global__ void __launch_bounds__(saccade::THREADS, 1)
    queries_backward_64(const __grid_constant__ saccade::TensorMap q, const __grid_constant__ saccade::TensorMap dO,
                        const __grid_constant__ saccade::TensorMap k, const __grid_constant__ saccade::TensorMap v,
                        const __grid_constant__ saccade::TensorMap statistics, saccade::bf16* dq, const int* tiles,
                        int items, int heads, int kvHeads, int causal, float scale, float scaleLog2) {
  saccade::queries_backward<saccade::Narrow>({q, dO, k, v, statistics}, saccade::OneRange(k, v), dq, tiles, items,
                                             heads, kvHeads, causal, scale, scaleLog2);
}

extern "C" __global__ void __launch_bounds__(saccade::THREADS, 1) prefixed_keys_backward_64(
    const __grid_constant__ saccade::TensorMap k, const __grid_constant__ saccade::TensorMap v,
    const __grid_constant__ saccade::TensorMap q, const __grid_constant__ saccade::TensorMap dO,
    const __grid_constant__ saccade::TensorMap statistics, saccade::bf16* dk, saccade::bf16* dv, const int* tiles,
    const int* walks, int items, int heads, int kvHeads, int causal, float scale, float scaleLog2) {
  saccade::keys_backward<saccade::Narrow, true>({k, v, q, dO, statistics}, dk, dv, tiles, walks, items, heads, kvHeads,
                                                causal, scale, scaleLog2);
}

extern "C" __global__ void __launch_bounds__(saccade::THREADS, 1) prefixed_queries_backward_64(
    const __grid_constant__ saccade::TensorMap q, const __grid_constant__ saccade::TensorMap dO,
    const __grid_constant__ saccade::TensorMap k, const __grid_constant__ saccade::TensorMap v,
    const __grid_constant__ saccade::TensorMap statistics, const __grid_constant__ saccade::TensorMap seamKeys,
    const __grid_constant__ saccade::TensorMap seamValues, saccade::bf16* dq, const int* tiles, int items, int heads,
    int kvHeads, int causal, float scale, float scaleLog2) {
  saccade::queries_backward<saccade::Narrow>({q, dO, k, v, statistics},
                                             saccade::TwoRanges(k, v, seamKeys, seamValues), dq, tiles, items, heads,
                                             kvHeads, causal, scale, scaleLog2);
}
