// Attention backward in bf16 on Hopper (sm_90a) for head dimension 128: five products, in one kernel.
//
// A block is persistent; an item is 128 keys of one key-value head with their values, 64 for each of two warpgroups that
// multiply. The queries of the group's heads and dO stream past in tiles of 64, from the sequence's last to its first,
// the heads of a tile one after the other. One thread of a third warpgroup keeps the tiles on their way by TMA.
//
// Scores are computed transposed, so that rounded weights and slopes are left operands of dv += p' dO and dk += dS' q as
// they lie in registers. Slopes also go through shared memory, where both warpgroups meet: dq of a tile sums over all keys
// of the block, and each warpgroup computes half of its columns. Two more threads add that to dq in memory, in
// fp32, in the order of the keys: block j waits until j blocks before it have added theirs. Blocks of a head begin one
// after the other and walk the same way, so the wait is short.
#include "hopper.cuh"
#include "pipeline.cuh"
#include "softmax.cuh"

namespace saccade {
namespace {

constexpr int WIDTH = 128;
constexpr int GROUP_ROWS = 64;  // keys of a warpgroup
constexpr int GROUP_THREADS = 128;
constexpr int GROUPS = 2;
constexpr int KEYS = GROUP_ROWS * GROUPS;
constexpr int TILE = 64;        // queries that stream past together
constexpr int REST = 16;        // and as many as are multiplied of a sequence's last tile, where that holds no more
constexpr int ROW_BYTES = 128;  // 64 elements, the span of the swizzle
constexpr int PANELS = WIDTH / 64, STEPS = WIDTH / 16;
constexpr int KEY_PANEL = KEYS * ROW_BYTES, TILE_PANEL = TILE * ROW_BYTES;
constexpr int KEY_BYTES = PANELS * KEY_PANEL, TILE_BYTES = PANELS * TILE_PANEL;
constexpr int STATISTICS = 2;  // of a query and head: lse log2(e), and dO.o
constexpr int COPIES = 4;      // of them: copy c has row r at place r + c
constexpr int TILE_STATISTICS = STATISTICS * TILE * 4;
constexpr int THREADS = GROUP_THREADS * (GROUPS + 1);
constexpr int PRODUCER_REGISTERS = 24;
constexpr int CONSUMER_REGISTERS = 240;
constexpr int STAGES = 3;
constexpr int PART_FLOATS = TILE * WIDTH / GROUPS;  // of a tile's dq, that a warpgroup computes

// Named barriers: each warpgroup's own, and the one of both.
constexpr int OWN = 1, BOTH = 3;

constexpr int KEYS_AT = 0, VALUES_AT = KEY_BYTES, STAGES_AT = 2 * KEY_BYTES;
constexpr int SLOPES_AT = STAGES_AT + STAGES * 2 * TILE_BYTES, SLOPE_BYTES = KEYS * ROW_BYTES;
constexpr int PARTS_AT = SLOPES_AT + 2 * SLOPE_BYTES, PART_BYTES = 4 * PART_FLOATS;
constexpr int STATISTICS_AT = PARTS_AT + GROUPS * PART_BYTES;
constexpr int JOB_AT = STATISTICS_AT + STAGES * TILE_STATISTICS;

template <int COLUMNS> using Scores = float[GROUP_ROWS * COLUMNS / GROUP_THREADS];
template <int COLUMNS> using Operand = uint32_t[GROUP_ROWS * COLUMNS / GROUP_THREADS / 2];

struct Job {
  int queryStart, queryLength, keyStart, keyLength, first, head, firstTile;

  __device__ __forceinline__ int offset() const { return keyLength - queryLength; }
  __device__ __forceinline__ int copy() const { return -queryStart & (COPIES - 1); }
  __device__ __forceinline__ int line(int head, int heads) const { return STATISTICS * (copy() * heads + head); }
  __device__ __forceinline__ int query_tiles() const { return (queryLength + TILE - 1) / TILE; }
  __device__ __forceinline__ int first_query_tile(int causal) const {
    return causal ? max(0, first - offset()) / TILE : 0;
  }
};

constexpr int NO_MORE = -1;  // as an item's first key

__device__ __forceinline__ Job job_at(const int* list, int item) {
  const int* at = list + item * static_cast<int>(sizeof(Job) / sizeof(int));
  return {at[0], at[1], at[2], at[3], at[4], at[5], at[6]};
}

// A tile of queries: its number, how many of its item follow, where its part of dq goes, and how many blocks add theirs
// before.
struct alignas(16) Step {
  int tile, left, part, turn;
};

constexpr int STEPS_AT = (JOB_AT + static_cast<int>(sizeof(Job)) + 15) / 16 * 16;
// Where a warpgroup's part goes; a turn of less than 0: there is no more.
struct Place {
  int part, turn;
};

constexpr int PLACES_AT = STEPS_AT + STAGES * static_cast<int>(sizeof(Step));
constexpr int BARRIERS_AT = PLACES_AT + GROUPS * static_cast<int>(sizeof(Place));

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
    barrier_init(keys_empty(), GROUPS * 4);
    for (int group = 0; group < GROUPS; group++) {
      barrier_init(part_full(group), GROUP_THREADS);
      barrier_init(part_empty(group), 1);
    }
    for (int stage = 0; stage < STAGES; stage++) {
      barrier_init(full(stage), 1);
      barrier_init(empty(stage), GROUPS);
    }
  }
};
constexpr int SHARED_BYTES = BARRIERS_AT + (2 + 2 * GROUPS + 2 * STAGES) * 8;
static_assert(SHARED_BYTES <= 232448, "a block's shared memory");

// ---- fp32 to memory, in bulk

__device__ __forceinline__ void bulk_store(void* to, uint32_t from, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;\n" ::"l"(to), "r"(from), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void bulk_add(void* to, uint32_t from, uint32_t bytes) {
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;\n" ::"l"(to), "r"(from),
               "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void stores_wait() { asm volatile("cp.async.bulk.wait_group 0;\n" ::: "memory"); }

__device__ __forceinline__ int load_acquire(const int* from) {
  int value;
  asm volatile("ld.acquire.gpu.global.b32 %0, [%1];\n" : "=r"(value) : "l"(from) : "memory");
  return value;
}

__device__ __forceinline__ void store_release(int* to, int value) {
  asm volatile("st.release.gpu.global.b32 [%0], %1;\n" ::"l"(to), "r"(value) : "memory");
}

__device__ __forceinline__ void asynchronous_fence_global() { asm volatile("fence.proxy.async.global;\n" ::: "memory"); }

// ---- the thread that keeps everything filled

__device__ __forceinline__ void produce(const TensorMap& k, const TensorMap& v, const TensorMap& q, const TensorMap& dO,
                                        const TensorMap& statistics, unsigned char* shared, const int* list, int items,
                                        int* taken, int heads, int kvHeads, int causal) {
  const uint32_t base = shared_address(shared);
  const Barriers barriers{base + BARRIERS_AT};
  Ring<STAGES> at;
  uint32_t phase = 1;
  for (;; phase ^= 1) {
    const int item = atomicAdd(taken, 1);
    barrier_wait(barriers.keys_empty(), phase);
    if (item >= items) {
      reinterpret_cast<Job*>(shared + JOB_AT)->first = NO_MORE;
      barrier_arrive(barriers.keys_full());
      break;
    }
    // Read again wherever it is used, instead of being kept in registers.
    Job& job = *reinterpret_cast<Job*>(shared + JOB_AT);
    job = job_at(list, item);
    barrier_expect(barriers.keys_full(), 2 * KEY_BYTES);
#pragma unroll
    for (int panel = 0; panel < PANELS; panel++) {
      const int x = job.head * WIDTH + 64 * panel, y = job.keyStart + job.first;
      tma_load(base + KEYS_AT + panel * KEY_PANEL, k, barriers.keys_full(), x, y);
      tma_load(base + VALUES_AT + panel * KEY_PANEL, v, barriers.keys_full(), x, y);
    }
    int left = (job.query_tiles() - job.first_query_tile(causal)) * (heads / kvHeads);
#pragma unroll 1
    for (int tile = job.query_tiles() - 1; left > 0; tile--) {
#pragma unroll 1
      for (int head = job.head * (heads / kvHeads); head < (job.head + 1) * (heads / kvHeads); head++) {
        left--;
        const uint32_t to = base + STAGES_AT + at.stage * (2 * TILE_BYTES), arrived = barriers.full(at.stage);
        const int y = job.queryStart + tile * TILE;
        barrier_wait(barriers.empty(at.stage), at.parity ^ 1);
        reinterpret_cast<Step*>(shared + STEPS_AT)[at.stage] = {tile, left, (job.firstTile + tile) * heads + head,
                                                                job.first / KEYS};
        barrier_expect(arrived, 2 * TILE_BYTES + TILE_STATISTICS);
#pragma unroll
        for (int panel = 0; panel < PANELS; panel++) {
          tma_load(to + panel * TILE_PANEL, q, arrived, head * WIDTH + 64 * panel, y);
          tma_load(to + TILE_BYTES + panel * TILE_PANEL, dO, arrived, head * WIDTH + 64 * panel, y);
        }
        tma_load(base + STATISTICS_AT + at.stage * TILE_STATISTICS, statistics, arrived, y + job.copy(),
                 job.line(head, heads));
        at.next();
      }
    }
  }
}

// ---- the thread that adds a warpgroup's parts of dq to memory

__device__ __forceinline__ void add_parts(int group, unsigned char* shared, float* parts, int* turns) {
  const uint32_t base = shared_address(shared), from = base + PARTS_AT + group * PART_BYTES;
  const Barriers barriers{base + BARRIERS_AT};
  for (uint32_t phase = 0;; phase ^= 1) {
    barrier_wait(barriers.part_full(group), phase);
    const Place place = reinterpret_cast<const Place*>(shared + PLACES_AT)[group];
    if (place.turn < 0) break;
    float* to = parts + static_cast<long long>(place.part) * PART_FLOATS;
    if (place.turn == 0) {
      bulk_store(to, from, PART_BYTES);
    } else {
#ifndef UNORDERED
      while (load_acquire(turns + place.part) != place.turn) {
      }
      asynchronous_fence_global();
#endif
      bulk_add(to, from, PART_BYTES);
    }
    stores_commit();
    stores_wait_read<0>();
    barrier_arrive(barriers.part_empty(group));
    stores_wait();
#ifndef UNORDERED
    asynchronous_fence_global();
    store_release(turns + place.part, place.turn + 1);
#endif
  }
}

// ---- a warpgroup that multiplies

template <int N> __device__ __forceinline__ void start_scores(float (&result)[N], uint64_t rows, uint64_t tile) {
  wgmma_first<true, true>(result, rows, tile);
#pragma unroll
  for (int step = 1; step < STEPS; step++) {
    const int panel = step / 4, inner = step % 4 * static_cast<int>(DESCRIPTOR_STEP<true>);
    wgmma<true, true>(result, rows + panel * (KEY_PANEL >> 4) + inner, tile + panel * (TILE_PANEL >> 4) + inner);
  }
}

template <int N, int M>
__device__ __forceinline__ void start_sum(float (&sum)[M], const uint32_t (&left)[N], uint64_t tile) {
#pragma unroll
  for (int step = 0; step < N / 4; step++) wgmma<false>(sum, left + 4 * step, tile + step * DESCRIPTOR_STEP<false>);
}

// The same with `left` in shared memory: 64 rows of COLUMNS.
template <int COLUMNS, int M>
__device__ __forceinline__ void start_shared_sum(float (&sum)[M], uint64_t left, uint64_t tile) {
#pragma unroll
  for (int step = 0; step < COLUMNS / 16; step++) {
    wgmma<true, false>(sum, left + step * DESCRIPTOR_STEP<true>, tile + step * DESCRIPTOR_STEP<false>);
  }
}

// A part of dq: slopes, of which a row is 64 queries of one key, times 64 columns of the keys.
__device__ __forceinline__ void start_part(float (&part)[PART_FLOATS / GROUP_THREADS], uint64_t slopes, uint64_t keys) {
  wgmma_first<false, false>(part, slopes, keys);
#pragma unroll
  for (int step = 1; step < KEYS / 16; step++) {
    wgmma<false, false>(part, slopes + step * DESCRIPTOR_STEP<false>, keys + step * DESCRIPTOR_STEP<false>);
  }
}

template <int N> __device__ __forceinline__ void round_operand(uint32_t (&operand)[N], const float (&score)[2 * N]) {
#pragma unroll
  for (int i = 0; i < N; i++) operand[i] = pack_bf16(score[2 * i], score[2 * i + 1]);
  pin(operand);
}

__device__ __forceinline__ float slope_of(float weight, float product, float constant) {
  return __fmul_rn(weight, __fsub_rn(product, constant));
}

// The first `panels` panels from `place` on: rows `from` to `to` become 0. Called by all threads of a warpgroup.
template <int COUNT> __device__ __forceinline__ void clear_rows(uint32_t place, int panel, int from, int to) {
  for (int i = from * ROW_BYTES + threadIdx.x % GROUP_THREADS * 16; i < to * ROW_BYTES; i += GROUP_THREADS * 16) {
#pragma unroll
    for (int p = 0; p < COUNT; p++) store_shared(place + p * panel + i, make_uint4(0, 0, 0, 0));
  }
}

template <int PANEL>
__device__ __forceinline__ void store_sum(const float (&sum)[WIDTH / 2], float factor, uint32_t place, bf16* to,
                                          long long stride, int rows) {
  const int lane = threadIdx.x % 32;
  const auto chunk_at = [&](int row, int panel, int chunk) {
    return place + panel * PANEL + row * ROW_BYTES + ((chunk ^ (row & 7)) << 4);
  };
#pragma unroll
  for (int n = 0; n < STEPS; n++) {
    const float* x = sum + 8 * n;
    stmatrix(chunk_at(lane % 16, n / 4, 2 * (n % 4) + lane / 16), pack_bf16(x[0] * factor, x[1] * factor),
             pack_bf16(x[2] * factor, x[3] * factor), pack_bf16(x[4] * factor, x[5] * factor),
             pack_bf16(x[6] * factor, x[7] * factor));
  }
  __syncwarp();
  const int chunk = lane % 8;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int row = lane / 8 + 4 * i;
    if (row < rows) {
#pragma unroll
      for (int panel = 0; panel < PANELS; panel++) {
        *reinterpret_cast<uint4*>(to + row * stride + 64 * panel + 8 * chunk) =
            load_shared(chunk_at(row, panel, chunk));
      }
    }
  }
}

__device__ __forceinline__ void sum_gradients(unsigned char* shared, bf16* dk, bf16* dv, int heads, int kvHeads,
                                              int causal, float scale, float scaleLog2) {
  const uint32_t base = shared_address(shared);
  const Barriers barriers{base + BARRIERS_AT};
  const int warpgroup = threadIdx.x / GROUP_THREADS - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const int column = 2 * (lane & 3);
  const auto release = [&](uint32_t barrier) {
    if (threadIdx.x % GROUP_THREADS == 0) barrier_arrive(barrier);
  };
  const auto queries_at = [&](int stage) { return base + STAGES_AT + stage * (2 * TILE_BYTES); };
  const auto upstream_at = [&](int stage) { return queries_at(stage) + TILE_BYTES; };
  const auto statistics_at = [&](int stage) { return base + STATISTICS_AT + stage * TILE_STATISTICS; };
  const Job& job = *reinterpret_cast<const Job*>(shared + JOB_AT);
  const uint32_t place = base + warpgroup * (GROUP_ROWS * ROW_BYTES);
  const uint64_t keys = matrix_descriptor(place + KEYS_AT, KEY_PANEL);
  const uint64_t values = matrix_descriptor(place + VALUES_AT, KEY_PANEL);
  const uint64_t keyColumns = matrix_descriptor(base + KEYS_AT + warpgroup * KEY_PANEL, KEY_PANEL);
  const auto group_first = [&] { return job.first + warpgroup * GROUP_ROWS; };
  const auto warp_first = [&] { return group_first() + 16 * warp; };

  Ring<STAGES> at;
  uint32_t itemPhase = 0, step = 0;
  float keySum[WIDTH / 2], valueSum[WIDTH / 2];
  for (;; itemPhase ^= 1) {
    barrier_wait(barriers.keys_full(), itemPhase);
    if (job.first == NO_MORE) break;
    // Rows of other sequences, or of nobody: 0, with weights of 0.
    if (job.first + KEYS > job.keyLength) {
      const int from = max(0, job.keyLength - group_first());
      if (from < GROUP_ROWS) clear_rows<2 * PANELS>(place, KEY_PANEL, from, GROUP_ROWS);
      asynchronous_fence();
      named_barrier(OWN + warpgroup, GROUP_THREADS);
    }
#pragma unroll
    for (int i = 0; i < WIDTH / 2; i++) keySum[i] = valueSum[i] = 0.f;

    const auto step_at = [&](int stage) -> const Step& {
      return reinterpret_cast<const Step*>(shared + STEPS_AT)[stage];
    };
    const auto clear = [&]<int COLUMNS>() {
      const int end = job.queryLength - step_at(at.stage).tile * TILE;
      if (end < COLUMNS) {
        clear_rows<2 * PANELS>(queries_at(at.stage), TILE_PANEL, end, COLUMNS);
        const int query = threadIdx.x % GROUP_THREADS;
        if (query >= end && query < COLUMNS) {
          store_shared(statistics_at(at.stage) + 4 * query, 0u);
          store_shared(statistics_at(at.stage) + 4 * (TILE + query), 0u);
        }
        asynchronous_fence();
        named_barrier(OWN + warpgroup, GROUP_THREADS);
      }
    };
    const auto weigh = [&]<int N>(float (&score)[N]) {
      const int tile = step_at(at.stage).tile;
      const bool late = causal && tile * TILE < warp_first() + 15 - job.offset();
      if (late || warp_first() + 16 > job.keyLength) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int key = warp_first() + 8 * half + lane / 4;
          const int unseen = key >= job.keyLength ? TILE : causal ? key - job.offset() - tile * TILE - column : 0;
#pragma unroll
          for (int n = 0; n < N / 4; n++) {
            if (8 * n < unseen) score[4 * n + 2 * half] = -INFINITY;
            if (8 * n + 1 < unseen) score[4 * n + 2 * half + 1] = -INFINITY;
          }
        }
      }
#pragma unroll
      for (int n = 0; n < N / 4; n++) {
        const float2 lse = load_shared_pair(statistics_at(at.stage) + 4 * (8 * n + column));
#pragma unroll
        for (int half = 0; half < 2; half++) {
          score[4 * n + 2 * half] = weight(score[4 * n + 2 * half], scaleLog2, lse.x);
          score[4 * n + 2 * half + 1] = weight(score[4 * n + 2 * half + 1], scaleLog2, lse.y);
        }
      }
    };
    const auto slope_all = [&]<int N>(const float (&weights)[N], float (&slope)[N]) {
#pragma unroll
      for (int n = 0; n < N / 4; n++) {
        const float2 constant = load_shared_pair(statistics_at(at.stage) + 4 * (TILE + 8 * n + column));
#pragma unroll
        for (int half = 0; half < 2; half++) {
          float& even = slope[4 * n + 2 * half];
          float& odd = slope[4 * n + 2 * half + 1];
          even = slope_of(weights[4 * n + 2 * half], even, constant.x);
          odd = slope_of(weights[4 * n + 2 * half + 1], odd, constant.y);
        }
      }
    };
    const auto share_slopes = [&]<int N>(const uint32_t (&rounded)[N]) {
      const int row = warpgroup * GROUP_ROWS + 16 * warp + lane % 16;
      const uint32_t to = base + SLOPES_AT + (step & 1) * SLOPE_BYTES + row * ROW_BYTES;
#pragma unroll
      for (int n = 0; n < N / 4; n++) {
        stmatrix(to + ((2 * n + lane / 16) ^ (row & 7)) * 16, rounded[4 * n], rounded[4 * n + 1], rounded[4 * n + 2],
                 rounded[4 * n + 3]);
      }
      asynchronous_fence();
      named_barrier(BOTH, GROUPS * GROUP_THREADS);
    };
    const auto store_part = [&](const float (&part)[PART_FLOATS / GROUP_THREADS], int stage) {
      barrier_wait(barriers.part_empty(warpgroup), ~step & 1);
      const uint32_t to = base + PARTS_AT + warpgroup * PART_BYTES + threadIdx.x % GROUP_THREADS * 16;
#pragma unroll
      for (int i = 0; i < PART_FLOATS / GROUP_THREADS / 4; i++) {
        store_shared(to + i * (GROUP_THREADS * 16),
                     make_uint4(__float_as_uint(part[4 * i]), __float_as_uint(part[4 * i + 1]),
                                __float_as_uint(part[4 * i + 2]), __float_as_uint(part[4 * i + 3])));
      }
      asynchronous_fence();
      if (threadIdx.x % GROUP_THREADS == 0) {
        reinterpret_cast<Place*>(shared + PLACES_AT)[warpgroup] = {step_at(stage).part * GROUPS + warpgroup,
                                                                   step_at(stage).turn};
      }
      barrier_arrive(barriers.part_full(warpgroup));
    };
    const auto await = [&]<int COLUMNS>() {
      barrier_wait(barriers.full(at.stage), at.parity);
      clear.template operator()<COLUMNS>();
    };
    const auto start_part_here = [&](float (&part)[PART_FLOATS / GROUP_THREADS]) {
      wgmma_fence();
      start_part(part, matrix_descriptor(base + SLOPES_AT + (step & 1) * SLOPE_BYTES, SLOPE_BYTES), keyColumns);
      wgmma_commit();
    };
    const auto own_slopes = [&] {
      return matrix_descriptor(
          base + SLOPES_AT + (step & 1) * SLOPE_BYTES + warpgroup * (GROUP_ROWS * ROW_BYTES), SLOPE_BYTES);
    };
    // A tile's first half: its scores, dO v' and the sum for dv, which is only started.
    const auto begin = [&]<int COLUMNS>(Scores<COLUMNS>& score, Scores<COLUMNS>& slope, Operand<COLUMNS>& weights) {
      await.template operator()<COLUMNS>();
      wgmma_fence();
      start_scores(score, keys, matrix_descriptor(queries_at(at.stage), TILE_PANEL));
      wgmma_commit();
      start_scores(slope, values, matrix_descriptor(upstream_at(at.stage), TILE_PANEL));
      wgmma_commit();
      wgmma_wait<1>();
      pin(score);
      weigh(score);
      round_operand(weights, score);
      pin(valueSum);
      wgmma_fence();
      start_sum(valueSum, weights, matrix_descriptor(upstream_at(at.stage), TILE_PANEL));
      wgmma_commit();
      wgmma_wait<1>();
      pin(slope);
    };
    // Its second half: slopes and what they are multiplied with.
    const auto end = [&]<int COLUMNS>(Scores<COLUMNS>& score, Scores<COLUMNS>& slope, Operand<COLUMNS>& weights) {
      Operand<COLUMNS> rounded;
      float part[PART_FLOATS / GROUP_THREADS];
      slope_all(score, slope);
      round_operand(rounded, slope);
      share_slopes(rounded);
      start_part_here(part);
      start_shared_sum<COLUMNS>(keySum, own_slopes(), matrix_descriptor(queries_at(at.stage), TILE_PANEL));
      wgmma_commit();
      wgmma_wait<1>();
      pin(valueSum);
      pin(weights);
      pin(part);
      store_part(part, at.stage);
      step++;
      wgmma_wait<0>();
      pin(keySum);
      release(barriers.empty(at.stage));
      at.next();
    };
    bool more = job.first_query_tile(causal) < job.query_tiles();
#pragma unroll 1
    while (more) {
      barrier_wait(barriers.full(at.stage), at.parity);
      if (step_at(at.stage).tile * TILE < job.queryLength - REST) break;
      more = step_at(at.stage).left > 0;
      Scores<REST> score, slope;
      Operand<REST> weights;
      begin.template operator()<REST>(score, slope, weights);
      end.template operator()<REST>(score, slope, weights);
    }
    if (more) {
      Scores<TILE> score, slope;
      Operand<TILE> weights;
      begin.template operator()<TILE>(score, slope, weights);
      // The second half of one tile and the first half of the next.
#pragma unroll 1
      while (step_at(at.stage).left > 0) {
        float part[PART_FLOATS / GROUP_THREADS];
        slope_all(score, slope);
        Operand<TILE> slopes;
        round_operand(slopes, slope);
        share_slopes(slopes);
        start_part_here(part);
        const int stage = at.stage;
        at.next();
        await.template operator()<TILE>();
        wgmma_fence();
        start_scores(score, keys, matrix_descriptor(queries_at(at.stage), TILE_PANEL));
        wgmma_commit();
        start_shared_sum<TILE>(keySum, own_slopes(), matrix_descriptor(queries_at(stage), TILE_PANEL));
        wgmma_commit();
        wgmma_wait<2>();
        pin(valueSum);
        pin(weights);
        pin(part);
        store_part(part, stage);
        step++;
        wgmma_fence();
        start_scores(slope, values, matrix_descriptor(upstream_at(at.stage), TILE_PANEL));
        wgmma_commit();
        wgmma_wait<2>();
        pin(score);
        weigh(score);
        pin(score);
        wgmma_wait<1>();
        pin(keySum);
        release(barriers.empty(stage));
        round_operand(weights, score);
        wgmma_fence();
        start_sum(valueSum, weights, matrix_descriptor(upstream_at(at.stage), TILE_PANEL));
        wgmma_commit();
        wgmma_wait<1>();
        pin(slope);
      }
      end.template operator()<TILE>(score, slope, weights);
    }
    named_barrier(BOTH, GROUPS * GROUP_THREADS);  // nobody's products read keys and slopes any more
    const long long stride = static_cast<long long>(kvHeads) * WIDTH;
    const long long to = (job.keyStart + warp_first()) * stride + job.head * WIDTH;
    const int rows = job.keyLength - warp_first();
    __syncwarp();
    if (lane == 0) barrier_arrive(barriers.keys_empty());
    // Through what is the warpgroup's own: its rows of slopes, and where its parts of dq lie.
    const uint32_t through = base + 16 * warp * ROW_BYTES;
    store_sum<SLOPE_BYTES>(valueSum, 1.f, through + SLOPES_AT + warpgroup * (GROUP_ROWS * ROW_BYTES), dv + to, stride,
                           rows);
    barrier_wait(barriers.part_empty(warpgroup), ~step & 1);
    store_sum<PART_BYTES / PANELS>(keySum, scale, through + PARTS_AT + warpgroup * PART_BYTES, dk + to, stride, rows);
    __syncwarp();
  }
  barrier_wait(barriers.part_empty(warpgroup), ~step & 1);
  if (threadIdx.x % GROUP_THREADS == 0) reinterpret_cast<Place*>(shared + PLACES_AT)[warpgroup].turn = -1;
  barrier_arrive(barriers.part_full(warpgroup));
}

}  // namespace
}  // namespace saccade

extern "C" __global__ void __launch_bounds__(saccade::THREADS, 1)
    backward_128(const __grid_constant__ saccade::TensorMap k, const __grid_constant__ saccade::TensorMap v,
                 const __grid_constant__ saccade::TensorMap q, const __grid_constant__ saccade::TensorMap dO,
                 const __grid_constant__ saccade::TensorMap statistics, saccade::bf16* dk, saccade::bf16* dv,
                 float* parts, int* turns, int* taken, const int* list, int items, int heads, int kvHeads, int causal,
                 float scale, float scaleLog2) {
  using namespace saccade;
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t base = shared_address(shared);
  if (base % 1024 != 0) __trap();  // the swizzle counts from there
  if (threadIdx.x == 0) {
    prefetch(k);
    prefetch(v);
    prefetch(q);
    prefetch(dO);
    prefetch(statistics);
    Barriers{base + BARRIERS_AT}.init();
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < GROUP_THREADS) {
    registers_down<PRODUCER_REGISTERS>();
    if (threadIdx.x == 0) {
      produce(k, v, q, dO, statistics, shared, list, items, taken, heads, kvHeads, causal);
    } else if (threadIdx.x == 32 || threadIdx.x == 64) {
      add_parts(threadIdx.x / 32 - 1, shared, parts, turns);
    }
  } else {
    registers_up<CONSUMER_REGISTERS>();
    sum_gradients(shared, dk, dv, heads, kvHeads, causal, scale, scaleLog2);
  }
}

// dq of a tile of queries and one head, from its parts as the warpgroups left them: times the scale, rounded. A quad of
// lanes has 16 bytes of a row in each of 4 chunks, and hands them on so that each lane stores one.
extern "C" __global__ void __launch_bounds__(256)
    queries_128(const float* parts, saccade::bf16* dq, const int* tiles, int heads, float scale) {
  using namespace saccade;
  const int head = blockIdx.x % heads, group = threadIdx.x / GROUP_THREADS, thread = threadIdx.x % GROUP_THREADS;
  const int* tile = tiles + 3 * (blockIdx.x / heads);  // its number, its first row, rows
  const int rows = tile[2];
  const long long part = (static_cast<long long>(tile[0]) * heads + head) * GROUPS + group;
  const float4* from = reinterpret_cast<const float4*>(parts + part * PART_FLOATS) + thread;
  const int lane = thread % 32, row = thread / 32 * 16 + lane / 4, quarter = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    uint32_t low[4], high[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float4 x = from[(4 * half + i) * GROUP_THREADS];
      low[i] = pack_bf16(x.x * scale, x.y * scale);
      high[i] = pack_bf16(x.z * scale, x.w * scale);
    }
    const auto transpose = [&](uint32_t (&a)[4]) {
      // Lane t of a quad has in a[i] the pair t of chunk i; after it, in a[i] the pair i of chunk t.
      uint32_t b[4];
#pragma unroll
      for (int step = 0; step < 4; step++) {
        // give to lane (quarter ^ step) the element it wants from us: chunk (quarter ^ step)
        uint32_t out = a[0];
        const int want = quarter ^ step;
        if (want == 1) out = a[1];
        if (want == 2) out = a[2];
        if (want == 3) out = a[3];
        const uint32_t in = __shfl_xor_sync(0xffffffffu, out, step);
        if (want == 0) b[0] = in;
        if (want == 1) b[1] = in;
        if (want == 2) b[2] = in;
        if (want == 3) b[3] = in;
      }
#pragma unroll
      for (int i = 0; i < 4; i++) a[i] = b[i];
    };
    transpose(low);
    transpose(high);
    const int x = 64 * group + 32 * half + 8 * quarter;
    bf16* to = dq + (static_cast<long long>(tile[1] + row) * heads + head) * WIDTH + x;
    if (row < rows) *reinterpret_cast<uint4*>(to) = make_uint4(low[0], low[1], low[2], low[3]);
    to += 8LL * heads * WIDTH;
    if (row + 8 < rows) *reinterpret_cast<uint4*>(to) = make_uint4(high[0], high[1], high[2], high[3]);
  }
}
