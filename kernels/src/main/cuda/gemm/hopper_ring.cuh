// What the Hopper products share: a stage's depth and the ring of stages.
#pragma once

#include <cstdint>

namespace saccade {

constexpr int DEPTH = 64;           // k of a stage: 128 bytes, the span of the swizzle
constexpr int ROW_BYTES = 128;
constexpr int PANEL_BYTES = DEPTH * ROW_BYTES;  // 64 elements across at 64 values of k

// A ring's place: the stage, and the parity of its barriers' phase.
template <int STAGES> struct Ring {
  int stage = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void next() {
    if (++stage == STAGES) {
      stage = 0;
      parity ^= 1;
    }
  }

  // As many times next().
  __device__ __forceinline__ void advance(int stages) {
    const int to = stage + stages;
    parity ^= to / STAGES & 1;
    stage = to % STAGES;
  }
};

}  // namespace saccade
