// The main loop of Hopper's large products: TMA fills a ring of stages in shared memory, two warpgroups multiply by wgmma.
//
// A block is persistent: it computes one tile after another, in the order of an object `tiles` that it walks twice,
// once in the thread that fetches and once in the threads that multiply. Two blocks below each other form a cluster:
// each fetches half of the tile of B that both need and sends it to both. The warpgroups either share each tile, 64 rows each
// (Multiplier), or take turns with whole tiles (TurnMultiplier).
//
// Every sum is one chain in the accumulator's registers: k goes up from 0 in steps of 16, filled up with zeros to a
// multiple of 64. Tiles, stages, clusters and the order of tiles choose where and when it is computed, never its bits.
#pragma once

#include "hopper.cuh"
#include "hopper_ring.cuh"
#include "mma_sm80.cuh"

namespace saccade {

// A tile and the ring that feeds it. PAIR: half of the columns are the gate's, half the other product's. TURNS: a warpgroup
// multiplies a tile alone, then the other one the next.
template <int COLUMNS_, int STAGES_, int CLUSTER_, bool PAIR_ = false, bool TURNS_ = false> struct Shape {
  static constexpr int GROUPS = 2;  // warpgroups that multiply
  static constexpr int WARPS = GROUPS * 4;
  static constexpr int ROWS = 128, COLUMNS = COLUMNS_;
  static constexpr int STAGES = STAGES_, CLUSTER = CLUSTER_;
  static constexpr bool PAIR = PAIR_;
  static constexpr int GROUPS_OF_TILE = TURNS_ ? 1 : GROUPS;
  static constexpr int HALVES = ROWS / 64 / GROUPS_OF_TILE;  // of the tile's rows, that a warpgroup has
  static constexpr int THREADS = 128 * (GROUPS + 1);
  static constexpr int C_COLUMNS = PAIR ? COLUMNS / 2 : COLUMNS;
  static constexpr int A_BYTES = ROWS * ROW_BYTES, B_BYTES = COLUMNS * ROW_BYTES;
  static constexpr int STAGE_BYTES = A_BYTES + B_BYTES;
  static constexpr int RING_BYTES = STAGES * STAGE_BYTES;
  static constexpr int SUMS = COLUMNS / 2;  // a thread's, of 64 rows
};

constexpr int MOST_SHARED_BYTES = 232448;  // of a block

// The ring in shared memory: its stages, a barrier each for "filled" and for "may be filled again".
template <typename S> struct Stages {
  static constexpr int BARRIER_BYTES = 2 * S::STAGES * 8;
  uint32_t memory, full, empty;

  __device__ __forceinline__ Stages(uint32_t memory, uint32_t barriers)
      : memory(memory), full(barriers), empty(barriers + S::STAGES * 8) {
    if (memory % 1024 != 0) __trap();  // the swizzle counts from there
  }

  // By one thread; then start() by all.
  __device__ __forceinline__ void init() const {
    for (int s = 0; s < S::STAGES; ++s) {
      barrier_init(full + s * 8, 1);
      barrier_init(empty + s * 8, S::GROUPS_OF_TILE * S::CLUSTER);
    }
    barrier_init_fence();
  }
};

// Joins the block, or its cluster: after the barriers were made, and before a block leaves to which another may still send.
template <typename S> __device__ __forceinline__ void join() {
  if constexpr (S::CLUSTER > 1) {
    cluster_sync();
  } else {
    __syncthreads();
  }
}

// Which cluster of blocks this is, and of how many.
template <typename S> __device__ __forceinline__ int this_cluster() { return blockIdx.x / S::CLUSTER; }
template <typename S> __device__ __forceinline__ int all_clusters() { return gridDim.x / S::CLUSTER; }
template <typename S> __device__ __forceinline__ int rank_of_cluster() {
  if constexpr (S::CLUSTER == 1) {
    return 0;
  } else {
    return static_cast<int>(cluster_rank());
  }
}

// Tiles, or clusters of them, are numbered down groups of ROWS_OF_GROUP, then across: blocks that run together cover
// a near-square of C, so that the second-level cache gives most of what they read.
template <typename S> struct NearSquares {
  static constexpr int ROWS_OF_GROUP = 8;
  int m, n;         // of C
  int tile;         // or cluster of them
  int row, column;  // the tile's first, of C
  bool last;        // no other tile comes

  __device__ __forceinline__ NearSquares(int m, int n) : m(m), n(n), tile(this_cluster<S>() - all_clusters<S>()) {}

  // Goes to the block's next tile, if there is one. What can be computed again takes no registers from the sums.
  __device__ __forceinline__ bool next() {
    const int down = (m + S::ROWS * S::CLUSTER - 1) / (S::ROWS * S::CLUSTER);
    const int across = (n + S::C_COLUMNS - 1) / S::C_COLUMNS;
    tile += all_clusters<S>();
    last = tile + all_clusters<S>() >= down * across;
    if (tile >= down * across) return false;
    const int group = tile / (ROWS_OF_GROUP * across), in_group = tile % (ROWS_OF_GROUP * across);
    const int rows = min(ROWS_OF_GROUP, down - group * ROWS_OF_GROUP);
    row = ((group * ROWS_OF_GROUP + in_group % rows) * S::CLUSTER + rank_of_cluster<S>()) * S::ROWS;
    column = in_group / rows * S::C_COLUMNS;
    return true;
  }
};

// Keeps the stages filled; one thread.
template <typename S, bool A_ALONG_K, bool B_ALONG_K, typename Tiles>
__device__ __forceinline__ void produce(
    const TensorMap& map_a, const TensorMap& map_b, const TensorMap& map_b_up, const Stages<S>& stages, Tiles tiles,
    int k) {
  constexpr uint16_t ALL = (1 << S::CLUSTER) - 1;
  // A fetch of B brings so many columns: a box along k, a panel of 64 across.
  constexpr int AT_ONCE = !B_ALONG_K ? 64 : S::PAIR ? S::COLUMNS / 2 : S::COLUMNS / S::CLUSTER;
  constexpr int FETCHES = S::COLUMNS / AT_ONCE;
  constexpr int FIRST_RANK = (FETCHES + S::CLUSTER - 1) / S::CLUSTER;  // of them, rank 0's
  static_assert(S::COLUMNS % AT_ONCE == 0 && AT_ONCE % 8 == 0);
  const int rank = rank_of_cluster<S>();
  Ring<S::STAGES> ring;
  while (tiles.next()) {
    for (int k0 = 0; k0 < k; k0 += DEPTH) {
      const uint32_t a = stages.memory + ring.stage * S::STAGE_BYTES, b = a + S::A_BYTES;
      const uint32_t arrived = stages.full + ring.stage * 8;
      barrier_wait_cluster(stages.empty + ring.stage * 8, ring.parity ^ 1);
      barrier_expect(arrived, S::STAGE_BYTES);
      if constexpr (A_ALONG_K) {
        tma_load(a, map_a, arrived, k0, tiles.row);
      } else {
#pragma unroll
        for (int p = 0; p < S::ROWS / 64; ++p) {
          tma_load(a + p * PANEL_BYTES, map_a, arrived, tiles.row + p * 64, k0);
        }
      }
#pragma unroll
      for (int i = 0; i < FETCHES; ++i) {
        if constexpr (S::CLUSTER > 1) {
          if ((i < FIRST_RANK) != (rank == 0)) continue;
        }
        const int first = i * AT_ONCE;  // column of the stage
        const bool up = S::PAIR && first >= S::C_COLUMNS;
        const TensorMap& map = up ? map_b_up : map_b;
        const int at = tiles.column + first - (up ? S::C_COLUMNS : 0);
        const int x = B_ALONG_K ? k0 : at, y = B_ALONG_K ? at : k0;
        if constexpr (S::CLUSTER == 1) {
          tma_load(b + first * ROW_BYTES, map, arrived, x, y);
        } else {
          tma_load_multicast(b + first * ROW_BYTES, map, arrived, x, y, ALL);
        }
      }
      ring.next();
    }
  }
}

// Says to all blocks that filled a stage that it may be filled again; a warpgroup that is done with it.
template <typename S> __device__ __forceinline__ void release(const Stages<S>& stages, int stage) {
  const int lane = threadIdx.x % 128;
  if constexpr (S::CLUSTER == 1) {
    if (lane == 0) barrier_arrive(stages.empty + stage * 8);
  } else {
    if (lane < S::CLUSTER) barrier_arrive(stages.empty + stage * 8, lane);
  }
}

// A warpgroup's side of the ring, where two share a tile.
template <typename S, bool A_ALONG_K, bool B_ALONG_K> struct Multiplier {
  const Stages<S>& stages;
  int group;  // of those that multiply
  Ring<S::STAGES> ring;

  __device__ __forceinline__ Multiplier(const Stages<S>& stages, int group) : stages(stages), group(group) {}

  // Adds the products of the walk's next tile to the sums, k steps up from 0.
  __device__ __forceinline__ void operator()(float (&acc)[S::SUMS], int k) {
    pin(acc);
    int last = -1;
#pragma unroll 1
    for (int k0 = 0; k0 < k; k0 += DEPTH) {
      const uint32_t a = stages.memory + ring.stage * S::STAGE_BYTES + group * PANEL_BYTES;
      const uint32_t b = stages.memory + ring.stage * S::STAGE_BYTES + S::A_BYTES;
      const uint64_t from_a = matrix_descriptor(a, PANEL_BYTES), from_b = matrix_descriptor(b, PANEL_BYTES);
      barrier_wait(stages.full + ring.stage * 8, ring.parity);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < DEPTH / 16; ++step) {
        wgmma<A_ALONG_K, B_ALONG_K>(acc, from_a + step * DESCRIPTOR_STEP<A_ALONG_K>,
                                    from_b + step * DESCRIPTOR_STEP<B_ALONG_K>);
      }
      wgmma_commit();
      // The products of the stage before are done now: it may be filled again.
      wgmma_wait<1>();
      if (last >= 0) release(stages, last);
      last = ring.stage;
      ring.next();
    }
    wgmma_wait<0>();
    pin(acc);
    if (last >= 0) release(stages, last);
  }
};

constexpr int TURNS = 4;  // named barriers: the first of the warpgroups' two

// A warpgroup's side of the ring, where two take turns: while one multiplies, the other is at what comes before and after its own
// tile's products, so that the tensor cores wait for neither.
template <typename S, bool A_ALONG_K, bool B_ALONG_K> struct TurnMultiplier {
  const Stages<S>& stages;
  int group;  // of those that multiply
  int k;
  bool turn, first;
  Ring<S::STAGES> ring;

  __device__ __forceinline__ TurnMultiplier(const Stages<S>& stages, int group, int k)
      : stages(stages), group(group), k(k), turn(group == 0), first(turn) {}

  // Whether the walk's next tile is this warpgroup's; otherwise it is left to the other one.
  __device__ __forceinline__ bool takes() {
    turn = !turn;
    if (turn) ring.advance((k + DEPTH - 1) / DEPTH);
    return !turn;
  }

  // Adds the products of a tile that it takes to the sums, k steps up from 0. A barrier of the ring only tells one phase from
  // the next, so a warpgroup looks at it when the other has seen all of the tile before: the tile's turn.
  __device__ __forceinline__ void operator()(float (&acc)[S::HALVES][S::SUMS], bool last_tile) {
    if (!first) named_barrier(TURNS + group, 2 * 128);
    first = false;
#pragma unroll
    for (int h = 0; h < S::HALVES; ++h) pin(acc[h]);
    int last = -1;
#pragma unroll 1
    for (int k0 = 0; k0 < k; k0 += DEPTH) {
      const uint32_t a = stages.memory + ring.stage * S::STAGE_BYTES, b = a + S::A_BYTES;
      const uint64_t from_a = matrix_descriptor(a, PANEL_BYTES), from_b = matrix_descriptor(b, PANEL_BYTES);
      barrier_wait(stages.full + ring.stage * 8, ring.parity);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < DEPTH / 16; ++step) {
#pragma unroll
        for (int h = 0; h < S::HALVES; ++h) {
          wgmma<A_ALONG_K, B_ALONG_K>(acc[h], from_a + h * (PANEL_BYTES / 16) + step * DESCRIPTOR_STEP<A_ALONG_K>,
                                      from_b + step * DESCRIPTOR_STEP<B_ALONG_K>);
        }
      }
      wgmma_commit();
      // The products of the stage before are done now: it may be filled again.
      wgmma_wait<1>();
      if (last >= 0) release(stages, last);
      last = ring.stage;
      ring.next();
    }
    if (!last_tile) named_barrier_arrive(TURNS + (group ^ 1), 2 * 128);
    wgmma_wait<0>();
#pragma unroll
    for (int h = 0; h < S::HALVES; ++h) pin(acc[h]);
    if (last >= 0) release(stages, last);
  }
};

}  // namespace saccade
