// Where the keys of a sequence lie: in rows that follow each other, or in two such ranges, a prefix that other sequences
// may have, too, and keys of its own.
#pragma once

#include "hopper.cuh"

namespace saccade {

// Rows of keys and of values, from `row` on.
struct KeyRows {
  const TensorMap &keys, &values;
  int row;
};

// One range. INTS: numbers of an item in the list.
struct OneRange {
  static constexpr int INTS = 5;
  const TensorMap &keys, &values;
  int start = 0;

  __device__ __forceinline__ OneRange(const TensorMap& keys, const TensorMap& values) : keys(keys), values(values) {}

  __device__ __forceinline__ void begin(const int* item) { start = item[2]; }

  // TILE keys from `key` on.
  template <int TILE> __device__ __forceinline__ KeyRows at(int key) const { return {keys, values, start + key}; }
};

// Two ranges. A tile begins at a multiple of its size in the sequence, whatever the prefix's length, as that decides bits:
// the one in which the prefix ends comes from the seam, where its keys lie side by side.
struct TwoRanges {
  static constexpr int INTS = 8;
  const TensorMap &keys, &values, &seamKeys, &seamValues;
  int start = 0, prefixStart = 0, prefixLength = 0, seam = 0;

  __device__ __forceinline__ TwoRanges(const TensorMap& keys, const TensorMap& values, const TensorMap& seamKeys,
                                       const TensorMap& seamValues)
      : keys(keys), values(values), seamKeys(seamKeys), seamValues(seamValues) {}

  __device__ __forceinline__ void begin(const int* item) {
    start = item[2];
    prefixStart = item[5];
    prefixLength = item[6];
    seam = item[7];
  }

  template <int TILE> __device__ __forceinline__ KeyRows at(int key) const {
    if (key >= prefixLength) return {keys, values, start + key - prefixLength};
    if (key + TILE <= prefixLength) return {keys, values, prefixStart + key};
    return {seamKeys, seamValues, seam};
  }
};

}  // namespace saccade
