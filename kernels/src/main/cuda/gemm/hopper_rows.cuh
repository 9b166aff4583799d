// A warp's 16 rows of sums, as wgmma holds them in registers (hopper.cuh), 16 columns at a time, on their way to and from arrays [m, n] in memory: through
// boxes in shared memory that TMA carries.
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

// A box of 16 rows and COLUMNS elements of bf16, with the swizzle of its row's
// length: 128, 64 or 32 bytes.
template <int COLUMNS> struct Box {
  static constexpr int PITCH = COLUMNS * 2, CHUNKS = PITCH / 16, BYTES = WARP_ROWS * PITCH;
  static constexpr int SHIFT = CHUNKS == 8 ? 0 : CHUNKS == 4 ? 1 : 2;
  static_assert(CHUNKS == 8 || CHUNKS == 4 || CHUNKS == 2, "there is a swizzle");

  // Where 16 bytes of a row lie. The box begins on eight times its pitch.
  __device__ static __forceinline__ uint32_t place(uint32_t box, int row, int chunk) {
    return box + row * PITCH + (chunk ^ (row >> SHIFT & (CHUNKS - 1))) * 16;
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
