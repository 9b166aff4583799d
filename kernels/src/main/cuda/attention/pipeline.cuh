// How a persistent block on Hopper steps through rings of tiles and through its items.
#pragma once

#include <cstdint>

namespace saccade {

// A place among LENGTH, and the parity of its barriers' phase.
template <int LENGTH> struct Ring {
  int stage = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void next() {
    if (++stage == LENGTH) {
      stage = 0;
      parity ^= 1;
    }
  }

  __device__ __forceinline__ int previous() const { return stage == 0 ? LENGTH - 1 : stage - 1; }
};

// The items of this block. They lie the longest first; every second round goes backwards, so that all blocks get about
// the same work.
struct Items {
  int round = 0, item = blockIdx.x;

  __device__ __forceinline__ void next() {
    round++;
    const int place = round & 1 ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
    item = round * gridDim.x + place;
  }
};

}  // namespace saccade
