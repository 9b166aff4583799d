// The one tree in which a row's sums over its vocabulary are added on a GPU, wherever the logits are: in memory
// (entropy/portable.cu) or in the registers of a matrix product (head/hopper.cu). The sampler does the one and the
// trainer the other, and their bits have to be equal.
//
// x are the row's raw logits, z = x / temperature. A block is 256 words. With m its largest x, four lanes add
// e = 2^((x - m) log2(e) / temperature) and (x - m) e: lane q the words 8 j + 2 q and 8 j + 2 q + 1, j = 0 ... 31, in this
// order, from 0. That is how wgmma lays out a row of its result. The lanes are added (0 + 1) + (2 + 3). So a block's sums
// depend on no other block, and whoever has one may compute it. Four blocks are a segment: from left to right, what came
// before and the next block are scaled to the larger of their maxima and added. A row's segments are merged by a warp relative
// to the row's largest x: lane l adds those of number l mod 32 in order, and a butterfly adds the lanes.
//
// So a chain has 64 links in a block and 4 in a segment, whatever the vocabulary: with ex2.approx (2 ulp) the error of
// S and T is about 1e-6 of their size. A block of nothing changes no bit, so a segment that ends early needs no care.
#pragma once

#include "numeric.cuh"

#include <cstdint>

namespace saccade {

constexpr int BLOCK_WORDS = 256;
constexpr int SEGMENT_BLOCKS = 4;
constexpr int SEGMENT_WORDS = BLOCK_WORDS * SEGMENT_BLOCKS;
constexpr int LANE_WORDS = BLOCK_WORDS / 4;  // a lane's of a block
constexpr float NONE = -INFINITY;

// Smaller than any distance that counts, and finite: a power of 0 times it is 0 and not NaN.
constexpr float FAR = -1e30f;

__device__ __forceinline__ float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The factor of a distance in logits that makes it an exponent of 2.
__device__ __forceinline__ float exponent_scale(float inverse) { return __fmul_rn(inverse, 0x1.715476p0f); }

// What a part of a row comes to: its largest x (-infinity where there is none), and, relative to it, S, T in units of x
// and a set's share of S. A NaN among the part's words is in T.
struct Sums {
  float max;
  float sum;
  float weighted;
  float inside;  // 0 where no set is asked for
};

__device__ __forceinline__ Sums no_sums() { return {NONE, 0.0f, 0.0f, 0.0f}; }

// What x is taken relative to: where there is no word, -infinity less -infinity must not arise.
__device__ __forceinline__ float base_of(float max) { return max == NONE ? 0.0f : max; }

// The largest of a block's x. The lane's words are x[FIRST + j * STRIDE + i], i = 0, 1; -infinity carries nothing. Whole
// quads of lanes call this together.
template <int FIRST, int STRIDE, int LENGTH> __device__ __forceinline__ float block_max(const float (&x)[LENGTH]) {
  float top[4] = {NONE, NONE, NONE, NONE};  // passes NaN over; a maximum has no rounding, so its order is free
#pragma unroll
  for (int j = 0; j < LANE_WORDS / 2; ++j) {
#pragma unroll
    for (int i = 0; i < 2; ++i) top[j % 2 * 2 + i] = fmaxf(top[j % 2 * 2 + i], x[FIRST + j * STRIDE + i]);
  }
  float max = fmaxf(fmaxf(top[0], top[1]), fmaxf(top[2], top[3]));
  max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, 1));
  return fmaxf(max, __shfl_xor_sync(0xffffffffu, max, 2));
}

__device__ __forceinline__ float add_lanes(float x) {
  x = __fadd_rn(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return __fadd_rn(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// A lane's part of a block's sums, relative to the block's largest x, `max`. Bit 2 j + i of `members` says whether a word is in
// the set.
template <int FIRST, int STRIDE, bool MASS, int LENGTH>
__device__ __forceinline__ Sums sums_of_lane(const float (&x)[LENGTH], float max, float scale, uint64_t members) {
  Sums sums{max, 0.0f, 0.0f, 0.0f};
  const float base = base_of(sums.max);
#pragma unroll
  for (int j = 0; j < LANE_WORDS / 2; ++j) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float d = __fsub_rn(x[FIRST + j * STRIDE + i], base);
      const float e = exp2_approximate(__fmul_rn(d, scale));
      sums.sum = __fadd_rn(sums.sum, e);
      sums.weighted = __fmaf_rn(e, fmaxf(d, FAR), sums.weighted);  // where d is NaN, e is too
      if constexpr (MASS) sums.inside = __fadd_rn(sums.inside, members >> (2 * j + i) & 1 ? e : 0.0f);
    }
  }
  return sums;
}

// The block's, in every lane of the quad that calls this together.
template <bool MASS> __device__ __forceinline__ Sums sums_of_quad(const Sums& lane) {
  return {lane.max, add_lanes(lane.sum), add_lanes(lane.weighted), MASS ? add_lanes(lane.inside) : 0.0f};
}

// What the blocks of a segment came to so far, and the next one.
template <bool MASS> __device__ __forceinline__ Sums add_block(const Sums& before, const Sums& block, float scale) {
  Sums sums;
  sums.max = fmaxf(before.max, block.max);
  const float base = base_of(sums.max);
  const float shift = __fsub_rn(before.max, base), block_shift = __fsub_rn(block.max, base);
  const float factor = exp2_approximate(__fmul_rn(shift, scale));
  const float block_factor = exp2_approximate(__fmul_rn(block_shift, scale));
  sums.sum = __fmaf_rn(factor, before.sum, __fmul_rn(block_factor, block.sum));
  sums.weighted = __fmaf_rn(
      factor, __fmaf_rn(before.sum, fmaxf(shift, FAR), before.weighted),
      __fmul_rn(block_factor, __fmaf_rn(block.sum, fmaxf(block_shift, FAR), block.weighted)));
  sums.inside = MASS ? __fmaf_rn(factor, before.inside, __fmul_rn(block_factor, block.inside)) : 0.0f;
  return sums;
}

// A part of a row as it is kept in memory, and back: a segment's sums or a block's.
__device__ __forceinline__ float4 pack_sums(const Sums& sums) {
  return make_float4(sums.max, sums.sum, sums.weighted, sums.inside);
}

__device__ __forceinline__ Sums unpack_sums(const float4& part) { return {part.x, part.y, part.z, part.w}; }

// A warp merges a row's parts, `count` of them, each of so many blocks: 1, or a segment's. Every lane gets the result.
template <bool MASS>
__device__ __forceinline__ Sums merge_parts(const float4* __restrict__ parts, int count, int blocks, float scale) {
  const int lane = threadIdx.x % 32;
  Sums sums = no_sums();
#pragma unroll 4
  for (int part = lane; part < count; part += 32) sums.max = fmaxf(sums.max, parts[part].x);
  sums.max = warp_max(sums.max);
  const float base = base_of(sums.max);
  const int parts_of_segment = SEGMENT_BLOCKS / blocks;
  for (int first = lane * parts_of_segment; first < count; first += 32 * parts_of_segment) {
    Sums segment;
    if (blocks == SEGMENT_BLOCKS) {
      segment = unpack_sums(parts[first]);
    } else {
      float4 own[SEGMENT_BLOCKS];
#pragma unroll
      for (int b = 0; b < SEGMENT_BLOCKS; ++b) {
        own[b] = first + b < count ? parts[first + b] : pack_sums(no_sums());
      }
      segment = no_sums();
#pragma unroll
      for (int b = 0; b < SEGMENT_BLOCKS; ++b) segment = add_block<MASS>(segment, unpack_sums(own[b]), scale);
    }
    const float shift = __fsub_rn(segment.max, base);
    const float factor = exp2_approximate(__fmul_rn(shift, scale));
    sums.sum = __fmaf_rn(factor, segment.sum, sums.sum);
    sums.weighted = __fmaf_rn(factor, __fmaf_rn(segment.sum, fmaxf(shift, FAR), segment.weighted), sums.weighted);
    if constexpr (MASS) sums.inside = __fmaf_rn(factor, segment.inside, sums.inside);
  }
  sums.sum = warp_sum(sums.sum);
  sums.weighted = warp_sum(sums.weighted);
  if constexpr (MASS) sums.inside = warp_sum(sums.inside);
  return sums;
}

// A word that is larger than all before it; ties stay with the first. -1 where there is none.
struct Best {
  float x;
  int word;
};

__device__ __forceinline__ Best none_best() { return {NONE, -1}; }

// Which of two is to stay: the larger, of equals the one of the lower word. -1 as a number without sign is the last.
__device__ __forceinline__ Best better(const Best& a, const Best& b) {
  const bool second = b.x > a.x || (b.x == a.x && uint32_t(b.word) < uint32_t(a.word));
  return second ? b : a;
}

template <int LANES> __device__ __forceinline__ Best best_of_lanes(Best best) {
#pragma unroll
  for (int lanes = LANES / 2; lanes > 0; lanes /= 2) {
    const Best other{__shfl_xor_sync(0xffffffffu, best.x, lanes), __shfl_xor_sync(0xffffffffu, best.word, lanes)};
    best = better(best, other);
  }
  return best;
}

// Takes a lane's words of a block into account, `first` being the block's first word plus 2 q. They come in ascending
// order, so that the first of equals stays.
template <int FIRST, int STRIDE, int LENGTH>
__device__ __forceinline__ void find_best(Best& best, const float (&x)[LENGTH], int first) {
#pragma unroll
  for (int j = 0; j < LANE_WORDS / 2; ++j) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float value = x[FIRST + j * STRIDE + i];
      if (value > best.x) best = {value, first + 8 * j + i};
    }
  }
}

// ---- flags of words as bits: 32 words' in a number, 8 numbers a block

constexpr int BLOCK_BITS = BLOCK_WORDS / 32;

// The bits of a lane's words of a block, in the lane's order: bit 2 j + i. `bits` are the block's, on 16 bytes.
__device__ __forceinline__ uint64_t lane_bits(const uint4& low, const uint4& high, int quad_lane) {
  const uint32_t words[BLOCK_BITS] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
  uint64_t result = 0;
#pragma unroll
  for (int n = 0; n < BLOCK_BITS; ++n) {
    const uint32_t own = words[n] >> (2 * quad_lane);  // bits 0, 1 of each byte
    const uint32_t pairs = (own & 3) | (own >> 6 & 12) | (own >> 12 & 48) | (own >> 18 & 192);
    result |= static_cast<uint64_t>(pairs) << (8 * n);
  }
  return result;
}

}  // namespace saccade
