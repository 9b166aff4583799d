// A warp's 16 rows of sums, as wgmma holds them in registers (hopper.cuh), 16 columns at a time, on their way to and from arrays
// [m, n] in memory: through patches of fp32, or through boxes in shared memory that TMA carries.
#pragma once

#include "hopper.cuh"
#include "mma_sm80.cuh"
#include "numeric.cuh"

namespace saccade {

// Two sums rounded to a register of bf16, the first in the low half.
__device__ __forceinline__ uint32_t round_pair(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

__device__ __forceinline__ float2 widen_pair(uint32_t packed) {
  return make_float2(__uint_as_float(packed << 16), __uint_as_float(packed & 0xffff0000u));
}

constexpr int WARP_ROWS = 16;

// The columns that wgmma holds in 8 registers.
constexpr int BLOCK = 16;

// Copies the sums of a block of half h: registers have no index, so constants are searched. All numbers of blocks are counted on
// from half to half.
template <int FIRST, int COUNT, int SUMS, int HALVES>
__device__ __forceinline__ void select(float (&z)[8], const float (&acc)[HALVES][SUMS], int block) {
  if constexpr (COUNT == 1) {
#pragma unroll
    for (int i = 0; i < 8; ++i) z[i] = acc[FIRST / (SUMS / 8)][FIRST % (SUMS / 8) * 8 + i];
  } else {
    constexpr int LEFT = COUNT / 2;
    if (block < FIRST + LEFT) {
      select<FIRST, LEFT>(z, acc, block);
    } else {
      select<FIRST + LEFT, COUNT - LEFT>(z, acc, block);
    }
  }
}

template <int SUMS, int HALVES>
__device__ __forceinline__ void select(float (&z)[8], const float (&acc)[HALVES][SUMS], int half, int block) {
  select<0, HALVES * SUMS / 8>(z, acc, half * (SUMS / 8) + block);
}

// A block's sums to column `column` of a patch of fp32, `pitch` floats a row.
__device__ __forceinline__ void spread(float* patch, int pitch, int column, const float (&z)[8]) {
  const int lane = threadIdx.x % 32;
  float* to = patch + lane / 4 * pitch + column + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < 8; ++i) to[i / 4 * 8 + i / 2 % 2 * 8 * pitch + i % 2] = z[i];
}

// A box of 16 rows and COLUMNS elements of bf16: where a row has 128, 64 or 32 bytes, with the swizzle of that length.
template <int COLUMNS> struct Box {
  static constexpr int PITCH = COLUMNS * 2, CHUNKS = PITCH / 16, BYTES = WARP_ROWS * PITCH;
  static constexpr bool SWIZZLED = CHUNKS == 8 || CHUNKS == 4 || CHUNKS == 2;
  static constexpr int SHIFT = CHUNKS == 8 ? 0 : CHUNKS == 4 ? 1 : 2;
  static_assert(COLUMNS % 16 == 0);

  // Where 16 bytes of a row lie. With a swizzle, the box begins on eight times its pitch.
  __device__ static __forceinline__ uint32_t place(uint32_t box, int row, int chunk) {
    return box + row * PITCH + (SWIZZLED ? chunk ^ (row >> SHIFT & (CHUNKS - 1)) : chunk) * 16;
  }

  // stmatrix and ldmatrix: lane l names row l % 16 of the left or right half of a block of 16 columns.
  __device__ static __forceinline__ uint32_t matrix(uint32_t box, int block) {
    const int lane = threadIdx.x % 32;
    return place(box, lane % 16, block * 2 + lane / 16);
  }

  // A block of 16 columns, rounded.
  __device__ static __forceinline__ void put(uint32_t box, int block, const float (&z)[8]) {
    stmatrix(matrix(box, block), round_pair(z[0], z[1]), round_pair(z[2], z[3]), round_pair(z[4], z[5]),
             round_pair(z[6], z[7]));
  }

  __device__ static __forceinline__ void get(uint32_t box, int block, float (&z)[8]) {
    uint32_t packed[4];
    ldmatrix(packed, matrix(box, block));
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float2 pair = widen_pair(packed[j]);
      z[j * 2] = pair.x;
      z[j * 2 + 1] = pair.y;
    }
  }
};

// A warp's boxes, which go round. A box is taken, written by all lanes and sent; by then it may be taken again.
template <int COLUMNS, int BOXES> struct Outbox {
  uint32_t memory;
  int next = 0;

  __device__ __forceinline__ explicit Outbox(uint32_t memory) : memory(memory) {}

  __device__ __forceinline__ uint32_t take() {
    if (threadIdx.x % 32 == 0) stores_wait_read<BOXES - 1>();
    __syncwarp();
    const uint32_t taken = memory + next * Box<COLUMNS>::BYTES;
    if (++next == BOXES) next = 0;
    return taken;
  }

  // Takes box b when all that was sent has left: between passes that use a box twice.
  __device__ __forceinline__ uint32_t take(int b) {
    if (threadIdx.x % 32 == 0) stores_wait_read<0>();
    __syncwarp();
    next = b + 1 == BOXES ? 0 : b + 1;
    return memory + b * Box<COLUMNS>::BYTES;
  }

  // Sends what the lanes wrote to column x, row y of an array.
  __device__ __forceinline__ void send(const TensorMap& map, uint32_t box, int x, int y) const {
    asynchronous_fence();
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      tma_store(map, box, x, y);
      stores_commit();
    }
  }
};

}  // namespace saccade
