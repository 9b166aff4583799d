// Attention backward in bf16 on Hopper (sm_90a): the bits of backward.cu by TMA and wgmma, in one kernel of five products.
//
// A block is persistent; an item is 128 keys of one key-value head with their values, 64 for each of two warpgroups that
// multiply. Past them stream tiles of queries and dO: sequence after sequence of those that see the keys, from a
// sequence's last tile to its first, and the heads of a group one after the other. One thread of a third warpgroup keeps
// the tiles on their way by TMA.
//
// Scores are computed transposed, so that rounded weights are the left operand of dv += p' dO as they lie in registers.
// Slopes go through shared memory, where both warpgroups meet: a tile's dq sums over all keys of the block, and each
// warpgroup computes half of its columns. Two more threads add these parts up in memory, in fp32 and in the order of the
// keys: a block waits until all before it have added theirs. Items come in an order in which that is seldom long
// (KeyBlocks.java), and an item only waits for earlier ones, so some block can always go on. Another kernel rounds what
// has been summed.
//
// Products are started as soon as what they read is there: the next tile's scores and the sum for dk are under way while
// a warpgroup stores its part of dq, dO v' while it computes weights, the sum for dv while it computes slopes.
#include "gradients.cuh"
#include "pipeline.cuh"
#include "softmax.cuh"

namespace saccade {
namespace {

constexpr int KEYS = GROUP_ROWS * GROUPS;  // of a block, and of a chain of dq
constexpr int WIDTH = 128, PANELS = WIDTH / 64, STEPS = WIDTH / 16;
constexpr int STAGES = 3;

// Named barriers: each warpgroup's own, and the one of both.
constexpr int OWN = 1, BOTH = 3;

// What the host lists (KeyBlocks.java): keys of one sequence and head, and for each of the sequences whose queries
// see them a `Range`.
struct Item {
  int keyRow, keys, head, firstRange, ranges;
};

// Query i sees the item's keys up to i + offset. `turn` blocks add their part of its dq before.
struct Range {
  int queryStart, queryLength, firstTile, offset, turn;
};

// A tile of queries of one head: how many there are; query i sees the item's keys up to i + shift; where its dq lies, and
// the turn in which to add to it; whether it is its item's last.
struct alignas(16) Step {
  int rows, shift, part, turn, last;
};

// Where a warpgroup's part of dq goes; no turn: it has no more.
struct Place {
  int part, turn;
};
constexpr int NO_TURN = -1, NO_ITEM = -1;

// Where what lies in shared memory. OrderedBackward.java has the same numbers.
constexpr int TILE_BYTES = PANELS * TILE_PANEL;
constexpr int KEY_PANEL = KEYS * ROW_BYTES, KEY_BYTES = PANELS * KEY_PANEL;
constexpr int PART_BYTES = TILE * WIDTH / GROUPS * 4;
constexpr int SLOPE_BYTES = KEYS * ROW_BYTES;  // of two tiles there is place, so that nobody waits to write
constexpr int TILE_STATISTICS = STATISTICS * TILE * 4;
constexpr int KEYS_AT = 0, VALUES_AT = KEY_BYTES, STAGES_AT = 2 * KEY_BYTES;
constexpr int SLOPES_AT = STAGES_AT + STAGES * 2 * TILE_BYTES;
constexpr int PARTS_AT = SLOPES_AT + 2 * SLOPE_BYTES;
constexpr int STATISTICS_AT = PARTS_AT + GROUPS * PART_BYTES;
constexpr int STEPS_AT = STATISTICS_AT + STAGES * TILE_STATISTICS;
constexpr int ITEM_AT = STEPS_AT + STAGES * static_cast<int>(sizeof(Step));
constexpr int PLACES_AT = ITEM_AT + 32;
constexpr int BARRIERS_AT = PLACES_AT + GROUPS * static_cast<int>(sizeof(Place));
static_assert(sizeof(Item) <= 32 && BARRIERS_AT % 8 == 0);
static_assert(GROUPS * PART_BYTES >= KEY_BYTES && 2 * SLOPE_BYTES >= KEY_BYTES, "results leave through them");
static_assert(BARRIERS_AT + (2 + 2 * GROUPS + 2 * STAGES) * 8 <= 232448, "a block's shared memory");

using Part = float[TILE * WIDTH / GROUPS / GROUP_THREADS];

// A block's barriers: `full` when a place has been filled, `empty` when all have read it.
struct Barriers {
  uint32_t base;

  __device__ __forceinline__ uint32_t keys_full() const { return base; }
  __device__ __forceinline__ uint32_t keys_empty() const { return base + 8; }
  __device__ __forceinline__ uint32_t part_full(int group) const { return base + (2 + group) * 8; }
  __device__ __forceinline__ uint32_t part_empty(int group) const { return base + (2 + GROUPS + group) * 8; }
  __device__ __forceinline__ uint32_t full(int stage) const { return base + (2 + 2 * GROUPS + stage) * 8; }
  __device__ __forceinline__ uint32_t empty(int stage) const { return base + (2 + 2 * GROUPS + STAGES + stage) * 8; }

  __device__ __forceinline__ void init() const {
    barrier_init(keys_full(), 1);
    barrier_init(keys_empty(), GROUPS * GROUP_THREADS);
    for (int group = 0; group < GROUPS; group++) {
      barrier_init(part_full(group), GROUP_THREADS);
      barrier_init(part_empty(group), 1);
    }
    for (int stage = 0; stage < STAGES; stage++) {
      barrier_init(full(stage), 1);
      barrier_init(empty(stage), GROUPS * GROUP_THREADS);
    }
  }
};

struct Maps {
  const TensorMap &k, &v, &q, &dO, &statistics;
};

// The thread that keeps keys, values and tiles on their way.
__device__ __forceinline__ void produce(const Maps& maps, unsigned char* shared, const Item* list, int items,
                                        const Range* ranges, int* taken, int heads, int kvHeads) {
  const uint32_t base = shared_address(shared);
  const Barriers barriers{base + BARRIERS_AT};
  // Read again wherever it is used, instead of being kept in registers.
  Item& item = *reinterpret_cast<Item*>(shared + ITEM_AT);
  Ring<STAGES> at;
  for (uint32_t phase = 1;; phase ^= 1) {
    const int number = atomicAdd(taken, 1);
    barrier_wait(barriers.keys_empty(), phase);
    if (number >= items) {
      item.head = NO_ITEM;
      barrier_arrive(barriers.keys_full());
      break;
    }
    item = list[number];
    barrier_expect(barriers.keys_full(), 2 * KEY_BYTES);
#pragma unroll
    for (int panel = 0; panel < PANELS; panel++) {
      const int x = item.head * WIDTH + 64 * panel, y = item.keyRow;
      tma_load(base + KEYS_AT + panel * KEY_PANEL, maps.k, barriers.keys_full(), x, y);
      tma_load(base + VALUES_AT + panel * KEY_PANEL, maps.v, barriers.keys_full(), x, y);
    }
#pragma unroll 1
    for (int i = 0; i < item.ranges; i++) {
      const Range* range = ranges + item.firstRange + i;
      const int end = max(0, -range->offset) / TILE;
#pragma unroll 1
      for (int tile = (range->queryLength - 1) / TILE; tile >= end; tile--) {
#pragma unroll 1
        for (int head = item.head * (heads / kvHeads); head < (item.head + 1) * (heads / kvHeads); head++) {
          barrier_wait(barriers.empty(at.stage), at.parity ^ 1);
          Step& step = reinterpret_cast<Step*>(shared + STEPS_AT)[at.stage];
          step.rows = range->queryLength - tile * TILE;
          step.shift = range->offset + tile * TILE;
          step.part = (range->firstTile + tile) * heads + head;
          step.turn = range->turn;
          step.last = i + 1 == item.ranges && tile == end && head + 1 == (item.head + 1) * (heads / kvHeads);
          const int y = range->queryStart + tile * TILE, copy = -range->queryStart & (COPIES - 1);
          const uint32_t to = base + STAGES_AT + at.stage * (2 * TILE_BYTES), arrived = barriers.full(at.stage);
          barrier_expect(arrived, 2 * TILE_BYTES + TILE_STATISTICS);
#pragma unroll
          for (int panel = 0; panel < PANELS; panel++) {
            tma_load(to + panel * TILE_PANEL, maps.q, arrived, head * WIDTH + 64 * panel, y);
            tma_load(to + TILE_BYTES + panel * TILE_PANEL, maps.dO, arrived, head * WIDTH + 64 * panel, y);
          }
          tma_load(base + STATISTICS_AT + at.stage * TILE_STATISTICS, maps.statistics, arrived, y + copy,
                   STATISTICS * (copy * heads + head));
          at.next();
        }
      }
    }
  }
}

// The thread that adds a warpgroup's parts of dq up in memory. The first one is stored: there was nothing before.
__device__ __forceinline__ void add_parts(int group, unsigned char* shared, float* parts, int* turns) {
  const uint32_t base = shared_address(shared), from = base + PARTS_AT + group * PART_BYTES;
  const Barriers barriers{base + BARRIERS_AT};
  for (uint32_t phase = 0;; phase ^= 1) {
    barrier_wait(barriers.part_full(group), phase);
    const Place place = reinterpret_cast<const Place*>(shared + PLACES_AT)[group];
    if (place.turn == NO_TURN) break;
    float* to = parts + static_cast<long long>(place.part) * (PART_BYTES / 4);
    if (place.turn == 0) {
      bulk_store(to, from, PART_BYTES);
    } else {
      while (load_acquire(turns + place.part) != place.turn) {
      }
      asynchronous_fence_global();
      bulk_add(to, from, PART_BYTES);
    }
    stores_commit();
    stores_wait_read<0>();
    barrier_arrive(barriers.part_empty(group));
    stores_wait<0>();
    asynchronous_fence_global();
    store_release(turns + place.part, place.turn + 1);
  }
}

// result = 64 rows of keys or values times a tile's first; the products are only started.
template <int N> __device__ __forceinline__ void start_scores(float (&result)[N], uint64_t rows, uint64_t tile) {
  wgmma_first<true, true>(result, rows, tile);
#pragma unroll
  for (int step = 1; step < STEPS; step++) {
    const int panel = step / 4, inner = step % 4 * static_cast<int>(DESCRIPTOR_STEP<true>);
    wgmma<true, true>(result, rows + panel * (KEY_PANEL >> 4) + inner, tile + panel * (TILE_PANEL >> 4) + inner);
  }
}

// sum += slopes in shared memory, of which a row is one key's, times the first rows of a tile.
template <int COLUMNS>
__device__ __forceinline__ void start_key_sum(float (&sum)[WIDTH / 2], uint64_t left, uint64_t tile) {
#pragma unroll
  for (int step = 0; step < COLUMNS / 16; step++) {
    wgmma<true, false>(sum, left + step * DESCRIPTOR_STEP<true>, tile + step * DESCRIPTOR_STEP<false>);
  }
}

// A part of dq: slopes, now queries across, times columns of the keys.
__device__ __forceinline__ void start_part(Part& part, uint64_t slopes, uint64_t keys) {
  wgmma_first<false, false>(part, slopes, keys);
#pragma unroll
  for (int step = 1; step < KEYS / 16; step++) {
    wgmma<false, false>(part, slopes + step * DESCRIPTOR_STEP<false>, keys + step * DESCRIPTOR_STEP<false>);
  }
}

// A warpgroup that multiplies: 64 keys and their values.
__device__ __forceinline__ void sum_gradients(unsigned char* shared, bf16* dk, bf16* dv, int kvHeads, float scale,
                                              float scaleLog2) {
  const uint32_t base = shared_address(shared);
  const Barriers barriers{base + BARRIERS_AT};
  const int warpgroup = threadIdx.x / GROUP_THREADS - 1, lane = threadIdx.x % 32;
  const int column = 2 * (lane & 3);
  // Both are read again wherever they are used, instead of being kept in registers.
  const Item& item = *reinterpret_cast<const Item*>(shared + ITEM_AT);
  const auto step_at = [&](int stage) -> const Step& {
    return reinterpret_cast<const Step*>(shared + STEPS_AT)[stage];
  };
  const auto tile_at = [&](uint32_t place) { return matrix_descriptor(uniform(place), TILE_PANEL); };
  const auto queries_at = [&](int stage) { return base + STAGES_AT + stage * (2 * TILE_BYTES); };
  const auto upstream_at = [&](int stage) { return queries_at(stage) + TILE_BYTES; };
  const auto statistics_at = [&](int stage) { return base + STATISTICS_AT + stage * TILE_STATISTICS; };
  const uint32_t place = base + warpgroup * (GROUP_ROWS * ROW_BYTES);
  // Rows of keys or values, found again wherever they are used: the compiler would keep each step's descriptor.
  const auto rows_at = [&](uint32_t place) { return matrix_descriptor(uniform(opaque(place)), KEY_PANEL); };
  const auto keys = [&] { return rows_at(place + KEYS_AT); };
  const auto values = [&] { return rows_at(place + VALUES_AT); };
  // The warpgroup's columns of all keys.
  const auto columns = [&] { return rows_at(base + KEYS_AT + warpgroup * KEY_PANEL); };
  const auto group_first = [&] { return warpgroup * GROUP_ROWS; };
  // Computed where it is used, instead of being kept in a register.
  const auto warp_first = [&] { return (static_cast<int>(opaque(threadIdx.x)) - GROUP_THREADS) / 32 * 16; };

  Ring<STAGES> at;
  uint32_t phase = 0, count = 0;  // of the item, and how many tiles there were
  const auto slopes_at = [&] { return base + SLOPES_AT + (count & 1) * SLOPE_BYTES; };
  float keySum[WIDTH / 2], valueSum[WIDTH / 2];
  for (;; phase ^= 1) {
    barrier_wait(barriers.keys_full(), phase);
    if (item.head == NO_ITEM) break;
    // Rows that belong to others, or to nobody, become 0; they also get weights of 0.
    if (item.keys < KEYS) {
      const int from = max(0, item.keys - group_first());
      if (from < GROUP_ROWS) {
        clear_rows<2 * PANELS>(place, KEY_PANEL, from, GROUP_ROWS, threadIdx.x % GROUP_THREADS, GROUP_THREADS);
      }
      asynchronous_fence();
      named_barrier(OWN + warpgroup, GROUP_THREADS);
    }
#pragma unroll
    for (int i = 0; i < WIDTH / 2; i++) keySum[i] = valueSum[i] = 0.f;

    // Waits for a tile whose first COLUMNS queries are all that it has.
    const auto await = [&]<int COLUMNS>() {
      barrier_wait(barriers.full(at.stage), at.parity);
      const int end = step_at(at.stage).rows;
      if (end < COLUMNS) {
        clear_rows<2 * PANELS>(queries_at(at.stage), TILE_PANEL, end, COLUMNS, threadIdx.x - GROUP_THREADS,
                               GROUPS * GROUP_THREADS);
        clear_statistics(statistics_at(at.stage), end, COLUMNS, threadIdx.x - GROUP_THREADS);
        asynchronous_fence();
        named_barrier(BOTH, GROUPS * GROUP_THREADS);
      }
    };
    // Scores become weights.
    const auto weigh = [&]<int N>(float (&score)[N]) {
      const int shift = step_at(at.stage).shift;
      if (warp_first() + 15 > shift || warp_first() + 16 > item.keys) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int key = warp_first() + 8 * half + lane / 4;
          const int unseen = (key >= item.keys ? TILE : key - shift) - column;
#pragma unroll
          for (int n = 0; n < N / 4; n++) {
            if (8 * n < unseen) score[4 * n + 2 * half] = -INFINITY;
            if (8 * n + 1 < unseen) score[4 * n + 2 * half + 1] = -INFINITY;
          }
        }
      }
      weigh_columns(score, score, statistics_at(at.stage), column, scaleLog2);
      pin(score);
    };
    // dO v' becomes the scores' slopes, which both warpgroups then have in shared memory.
    const auto share_slopes = [&]<int N>(const float (&weights)[N], float (&slope)[N]) {
      slope_columns(weights, slope, statistics_at(at.stage), column);
      const int row = warp_first() + lane % 16;
      const uint32_t to = slopes_at() + row * ROW_BYTES;
#pragma unroll
      for (int n = 0; n < N / 8; n++) {
        const float* x = slope + 8 * n;
        stmatrix(to + ((2 * n + lane / 16) ^ (row & 7)) * 16, pack_bf16(x[0], x[1]),
                 pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7]));
      }
      asynchronous_fence();
      named_barrier(BOTH, GROUPS * GROUP_THREADS);
    };
    const auto start_part_of = [&](Part& part) {
      wgmma_fence();
      start_part(part, rows_at(slopes_at()), columns());
      wgmma_commit();
    };
    const auto own_slopes = [&] {
      return rows_at(slopes_at() + warpgroup * (GROUP_ROWS * ROW_BYTES));
    };
    const auto store_part = [&](const Part& part, int stage) {
      barrier_wait(barriers.part_empty(warpgroup), ~count & 1);
      const uint32_t to = base + PARTS_AT + warpgroup * PART_BYTES + threadIdx.x % GROUP_THREADS * 16;
#pragma unroll
      for (int i = 0; i < PART_BYTES / GROUP_THREADS / 16; i++) {
        const float* x = part + 4 * i;
        store_shared(to + i * (GROUP_THREADS * 16), make_uint4(__float_as_uint(x[0]), __float_as_uint(x[1]),
                                                              __float_as_uint(x[2]), __float_as_uint(x[3])));
      }
      asynchronous_fence();
      if (threadIdx.x % GROUP_THREADS == 0) {
        reinterpret_cast<Place*>(shared + PLACES_AT)[warpgroup] = {step_at(stage).part * GROUPS + warpgroup,
                                                                      step_at(stage).turn};
      }
      barrier_arrive(barriers.part_full(warpgroup));
      count++;
    };

    // A tile's first half: its scores, dO v', and the sum for dv, which is only started.
    const auto begin = [&]<int COLUMNS>(Scores<COLUMNS>& score, Scores<COLUMNS>& slope, Operand<COLUMNS>& weights) {
      await.template operator()<COLUMNS>();
      wgmma_fence();
      start_scores(score, keys(), tile_at(queries_at(at.stage)));
      wgmma_commit();
      start_scores(slope, values(), tile_at(upstream_at(at.stage)));
      wgmma_commit();
      wgmma_wait<1>();
      pin(score);
      weigh(score);
      round_operand(weights, score);
      pin(valueSum);
      wgmma_fence();
      start_sum(valueSum, weights, tile_at(upstream_at(at.stage)));
      wgmma_commit();
      wgmma_wait<1>();
      pin(slope);
    };
    // The second half: its slopes, and what they are multiplied with.
    const auto end = [&]<int COLUMNS>(Scores<COLUMNS>& score, Scores<COLUMNS>& slope, Operand<COLUMNS>& weights) {
      Part part;
      share_slopes(score, slope);
      start_part_of(part);
      start_key_sum<COLUMNS>(keySum, own_slopes(), tile_at(queries_at(at.stage)));
      wgmma_commit();
      wgmma_wait<1>();
      pin(valueSum);
      pin(weights);
      pin(part);
      store_part(part, at.stage);
      wgmma_wait<0>();
      pin(keySum);
      barrier_arrive(barriers.empty(at.stage));
      at.next();
    };
    bool more = item.ranges > 0;
#pragma unroll 1
    while (more) {
      barrier_wait(barriers.full(at.stage), at.parity);
      if (step_at(at.stage).rows > REST) break;
      more = !step_at(at.stage).last;
      Scores<REST> score, slope;
      Operand<REST> weights;
      begin.template operator()<REST>(score, slope, weights);
      end.template operator()<REST>(score, slope, weights);
    }
    if (more) {
      Scores<TILE> score, slope;
      Operand<TILE> weights;
      begin.template operator()<TILE>(score, slope, weights);
      // The second half of one tile and the first half of the next. Here few queries are multiplied as a whole tile.
#pragma unroll 1
      while (!step_at(at.stage).last) {
        Part part;
        share_slopes(score, slope);
        start_part_of(part);
        const int stage = at.stage;
        at.next();
        await.template operator()<TILE>();
        wgmma_fence();
        start_scores(score, keys(), tile_at(queries_at(at.stage)));
        wgmma_commit();
        start_key_sum<TILE>(keySum, own_slopes(), tile_at(queries_at(stage)));
        wgmma_commit();
        wgmma_wait<2>();
        pin(valueSum);
        pin(weights);
        pin(part);
        store_part(part, stage);
        wgmma_fence();
        start_scores(slope, values(), tile_at(upstream_at(at.stage)));
        wgmma_commit();
        wgmma_wait<2>();
        pin(score);
        weigh(score);
        wgmma_wait<1>();
        pin(keySum);
        barrier_arrive(barriers.empty(stage));
        round_operand(weights, score);
        wgmma_fence();
        start_sum(valueSum, weights, tile_at(upstream_at(at.stage)));
        wgmma_commit();
        wgmma_wait<1>();
        pin(slope);
      }
      end.template operator()<TILE>(score, slope, weights);
    }

    named_barrier(BOTH, GROUPS * GROUP_THREADS);  // nobody's products read keys and slopes any more
    const long long stride = static_cast<long long>(kvHeads) * WIDTH;
    const long long to = (item.keyRow + warp_first()) * stride + item.head * WIDTH;
    const int rows = item.keys - warp_first();
    barrier_arrive(barriers.keys_empty());
    // The next item's keys may come: results leave through the places of slopes and of parts, a warp's through its rows.
    store_sum<WIDTH, KEY_PANEL>(valueSum, 1.f, base + SLOPES_AT + warp_first() * ROW_BYTES, dv + to, stride, rows);
#pragma unroll
    for (int group = 0; group < GROUPS; group++) barrier_wait(barriers.part_empty(group), ~count & 1);
    store_sum<WIDTH, KEY_PANEL>(keySum, scale, base + PARTS_AT + warp_first() * ROW_BYTES, dk + to, stride, rows);
    __syncwarp();
  }
  barrier_wait(barriers.part_empty(warpgroup), ~count & 1);
  if (threadIdx.x % GROUP_THREADS == 0) reinterpret_cast<Place*>(shared + PLACES_AT)[warpgroup].turn = NO_TURN;
  barrier_arrive(barriers.part_full(warpgroup));
}

__device__ __forceinline__ void backward(const Maps& maps, bf16* dk, bf16* dv, float* parts, int* turns, int* taken,
                                         const Item* list, int items, const Range* ranges, int heads, int kvHeads,
                                         float scale, float scaleLog2) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t base = shared_address(shared);
  if (base % 1024 != 0) __trap();  // the swizzle counts from there
  if (threadIdx.x == 0) {
    prefetch(maps.k);
    prefetch(maps.v);
    prefetch(maps.q);
    prefetch(maps.dO);
    prefetch(maps.statistics);
    Barriers{base + BARRIERS_AT}.init();
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < GROUP_THREADS) {
    registers_down<PRODUCER_REGISTERS>();
    if (threadIdx.x == 0) {
      produce(maps, shared, list, items, ranges, taken, heads, kvHeads);
    } else if (threadIdx.x == 32 || threadIdx.x == 64) {
      add_parts(threadIdx.x / 32 - 1, shared, parts, turns);
    }
  } else {
    registers_up<CONSUMER_REGISTERS>();
    sum_gradients(shared, dk, dv, kvHeads, scale, scaleLog2);
  }
}

constexpr int TILE_THREADS = 256;

// Of four chunks of 16 bytes, of each of which a quad of lanes has a quarter each, the one that is this lane's own.
__device__ __forceinline__ uint4 own_chunk(const uint32_t (&quarters)[4], int quarter) {
  uint32_t chunk[4];
#pragma unroll
  for (int away = 0; away < 4; away++) {
    // To the lane that is so far away, its chunk's quarter; from it, our chunk's.
    const int other = quarter ^ away;
    const uint32_t pair0 = other & 1 ? quarters[1] : quarters[0], pair1 = other & 1 ? quarters[3] : quarters[2];
    const uint32_t got = __shfl_xor_sync(0xffffffffu, other & 2 ? pair1 : pair0, away);
#pragma unroll
    for (int i = 0; i < 4; i++) chunk[i] = other == i ? got : chunk[i];
  }
  return make_uint4(chunk[0], chunk[1], chunk[2], chunk[3]);
}

// dq of a tile of queries and one head, from its sum as the warpgroups left it: times the scale, rounded. A quad of lanes
// has 16 bytes of a row in each of 4 chunks, and shares them out so that each lane stores 16 bytes. A tile is its number,
// or -1 where no key is seen, its first row and how many rows it has.
__device__ __forceinline__ void round_queries(const float* parts, bf16* dq, const int* tiles, int heads, float scale) {
  const int head = blockIdx.x % heads, group = threadIdx.x / GROUP_THREADS, thread = threadIdx.x % GROUP_THREADS;
  const int* tile = tiles + 3 * (blockIdx.x / heads);
  const int number = tile[0], first = tile[1], rows = tile[2];
  const long long part = (static_cast<long long>(number) * heads + head) * GROUPS + group;
  const float4* from = reinterpret_cast<const float4*>(parts + part * (PART_BYTES / 4)) + thread;
  const int lane = thread % 32, quarter = lane % 4;
  const int row = thread / 32 * 16 + lane / 4, x = WIDTH / GROUPS * group + 8 * quarter;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    uint32_t low[4], high[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float4 sum = number < 0 ? make_float4(0.f, 0.f, 0.f, 0.f) : from[(4 * half + i) * GROUP_THREADS];
      low[i] = pack_bf16(sum.x * scale, sum.y * scale);
      high[i] = pack_bf16(sum.z * scale, sum.w * scale);
    }
    bf16* to = dq + (static_cast<long long>(first + row) * heads + head) * WIDTH + x + 32 * half;
    const uint4 upper = own_chunk(low, quarter), lower = own_chunk(high, quarter);
    if (row < rows) *reinterpret_cast<uint4*>(to) = upper;
    if (row + 8 < rows) *reinterpret_cast<uint4*>(to + 8LL * heads * WIDTH) = lower;
  }
}

}  // namespace
}  // namespace saccade

extern "C" __global__ void __launch_bounds__(saccade::THREADS, 1)
    backward_128(const __grid_constant__ saccade::TensorMap k, const __grid_constant__ saccade::TensorMap v,
                 const __grid_constant__ saccade::TensorMap q, const __grid_constant__ saccade::TensorMap dO,
                 const __grid_constant__ saccade::TensorMap statistics, saccade::bf16* dk, saccade::bf16* dv,
                 float* parts, int* turns, int* taken, const saccade::Item* list, int items,
                 const saccade::Range* ranges, int heads, int kvHeads, float scale, float scaleLog2) {
  saccade::backward({k, v, q, dO, statistics}, dk, dv, parts, turns, taken, list, items, ranges, heads, kvHeads, scale,
                    scaleLog2);
}

extern "C" __global__ void __launch_bounds__(saccade::TILE_THREADS)
    round_queries_128(const float* parts, saccade::bf16* dq, const int* tiles, int heads, float scale) {
  saccade::round_queries(parts, dq, tiles, heads, scale);
}
