// Tiles of bf16 rows in shared memory, and the rows of q, k and v that go into them.
#pragma once

#include "ptx.cuh"

namespace saccade {

// Rows of WIDTH elements in 16-byte chunks. A chunk's place is its number exclusive-or the row's number, so that the 8
// rows of a matrix lie in different banks. Tiles begin at a multiple of a row's size: what is added to a chunk's
// number in multiples of two can then be brought into an address by exclusive or.
template <int WIDTH> struct Rows {
  static constexpr int BYTES = 2 * WIDTH;
  static constexpr int CHUNKS = WIDTH / 8;
  static constexpr int STEPS = WIDTH / 16;

  static __device__ __forceinline__ uint32_t offset(int row, int chunk) {
    const int flip = WIDTH >= 64 ? row & 7 : row >> 1 & 3;
    return row * BYTES + ((chunk ^ flip) << 4);
  }

  // Where this lane reads when a warp loads 16 rows by 16 columns whose quarters are ordered rows first: operand a
  // of a product, or, transposed, operand b of two products side by side.
  static __device__ __forceinline__ uint32_t rows_first(uint32_t tile, int lane) {
    return tile + offset(lane & 15, lane >> 4);
  }

  // The same with the quarters ordered columns first: operand b of two products, from rows that are its columns.
  static __device__ __forceinline__ uint32_t columns_first(uint32_t tile, int lane) {
    return tile + offset((lane & 7) + (lane >> 4 << 3), lane >> 3 & 1);
  }

  // A lane's address moved by 16 columns `step` times and by `rows` rows (a multiple of 8).
  static __device__ __forceinline__ uint32_t at(uint32_t address, int rows, int step) {
    return (address ^ step << 5) + rows * BYTES;
  }
};

// What a block works on: rows or keys from `first` on of one sequence and key-value head.
struct Work {
  int queryStart, queryLength, keyStart, keyLength, first, kvHead;
};

__device__ __forceinline__ Work work(const int* tiles, int kvHeads) {
  const int* tile = tiles + 5 * (blockIdx.x / kvHeads);
  return {tile[0], tile[1], tile[2], tile[3], tile[4], static_cast<int>(blockIdx.x % kvHeads)};
}

// The rows that read one key-value head: row r is query r / group and the group's head r % group.
struct PackedRows {
  int base;           // row 0, counted in heads from the start of q
  int group, others;  // heads of the group, and all other heads
  unsigned magic;     // 2^32 / group rounded up, 0 for a group of 1

  __device__ __forceinline__ PackedRows(int queryStart, int heads, int kvHeads, int kvHead, int magic)
      : group(heads / kvHeads), others(heads - heads / kvHeads), magic(magic) {
    base = queryStart * heads + kvHead * group;
  }

  __device__ __forceinline__ int query(int row) const {
    return magic == 0 ? row : static_cast<int>(__umulhi(row, magic));
  }

  // The row's place, counted in heads from the start of q.
  __device__ __forceinline__ int at(int row) const { return base + row + query(row) * others; }
};

// Starts to load ROWS rows `stride` elements apart; those from `rows` on are 0, as are columns from headDim on.
template <int WIDTH, int ROWS, int THREADS>
__device__ __forceinline__ void load_keys(uint32_t tile, const bf16* from, long long stride, int rows, int headDim) {
  constexpr int PASS = THREADS / Rows<WIDTH>::CHUNKS;  // rows that the threads load at once; a multiple of 8
  const int chunk = threadIdx.x % Rows<WIDTH>::CHUNKS, row = threadIdx.x / Rows<WIDTH>::CHUNKS;
  const uint32_t to = tile + Rows<WIDTH>::offset(row, chunk);
  const int left = 8 * chunk < headDim ? rows - row : 0;
  from += row * stride + 8 * chunk;
#pragma unroll
  for (int i = 0; i < ROWS / PASS; i++) {
    copy16(to + i * PASS * Rows<WIDTH>::BYTES, from, i * PASS < left);
    from += PASS * stride;
  }
}

// Starts to load the packed rows `first` to `first + ROWS` of each of x into tiles one behind the other; those from
// `end` on are 0.
template <int WIDTH, int ROWS, int THREADS, typename... Source>
__device__ __forceinline__ void load_queries(uint32_t tile, const PackedRows& rows, int first, int end, int headDim,
                                             const Source*... x) {
  constexpr int PASS = THREADS / Rows<WIDTH>::CHUNKS;
  const int chunk = threadIdx.x % Rows<WIDTH>::CHUNKS, row = threadIdx.x / Rows<WIDTH>::CHUNKS;
  const uint32_t to = tile + Rows<WIDTH>::offset(row, chunk);
  const int left = 8 * chunk < headDim ? end - first - row : 0;
#pragma unroll
  for (int i = 0; i < ROWS / PASS; i++) {
    const long long from = static_cast<long long>(rows.at(first + row + i * PASS)) * headDim + 8 * chunk;
    uint32_t at = to + i * PASS * Rows<WIDTH>::BYTES;
    ((copy16(at, x + from, i * PASS < left), at += ROWS * Rows<WIDTH>::BYTES), ...);
  }
}

// Rounds a warp's accumulator of 16 rows, times a factor for rows g and g+8 of a lane, into 16 rows of a tile that no
// other warp uses.
template <int WIDTH>
__device__ __forceinline__ void round_rows(uint32_t tile, const float (&c)[WIDTH / 8][4], float factor0, float factor1,
                                           int lane) {
  const int row = lane >> 2;
#pragma unroll
  for (int n = 0; n < WIDTH / 8; n++) {
    const uint32_t at = tile + Rows<WIDTH>::offset(row, n) + 4 * (lane & 3);
    store_shared(at, pack_bf16(c[n][0] * factor0, c[n][1] * factor0));
    store_shared(at + 8 * Rows<WIDTH>::BYTES, pack_bf16(c[n][2] * factor1, c[n][3] * factor1));
  }
}

// Stores `COUNT` rows of a tile by one warp, 16 bytes a lane. `to(row)` is where a row goes, or null.
template <int WIDTH, int COUNT, typename To>
__device__ __forceinline__ void store_rows(uint32_t tile, int headDim, int lane, To to) {
  constexpr int CHUNKS = Rows<WIDTH>::CHUNKS;
  const int chunk = lane % CHUNKS;
#pragma unroll
  for (int i = 0; i < COUNT * CHUNKS / 32; i++) {
    const int row = lane / CHUNKS + i * (32 / CHUNKS);
    bf16* at = to(row);
    if (at != nullptr && 8 * chunk < headDim) {
      *reinterpret_cast<uint4*>(at + 8 * chunk) = load_shared(tile + Rows<WIDTH>::offset(row, chunk));
    }
  }
}

}  // namespace saccade
