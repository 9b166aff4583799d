// A cache of keys and values in pages, and what is kept of rows between the walk over shared pages and the walk over a
// sequence's own ones.
#pragma once

#include "numeric.cuh"

namespace saccade {

constexpr int PAGE = 64;  // keys: Attention.PAGE

// A row's state in fp32: headDim sums of values, then its shift, then its sums of weights: one for each of the lanes that
// share a row, 4 in bf16 and all 32 in fp32. A part of the row's bits is in which lane a weight was added.
constexpr int STATE_TOTALS = 8;
constexpr int STATE_ROOM = STATE_TOTALS + 32;  // Attention.STATE_ROOM

__device__ __forceinline__ long long state_pitch(int headDim) { return headDim + STATE_ROOM; }

// The queries `firstToken` to `firstToken + tokens`, and the pages `from` to `to` of a sequence's row of the table.
struct Walk {
  const int* pages;
  int sequence, firstToken, tokens, from, to;
  int length;  // keys that there are
  int seen;    // keys that the first query sees; the next one sees one more

  __device__ __forceinline__ int page(int stage) const { return stage < to ? pages[stage] : 0; }
};

// All that a sequence's queries see, or what its group has not seen for it.
__device__ __forceinline__ Walk own_walk(int sequence, const int* table, const int* keyLength, const int* shared,
                                         int queries, int tableWidth, int* fault) {
  int length = keyLength[sequence];
  if (static_cast<unsigned>(length) > static_cast<unsigned>(PAGE * tableWidth)) {
    if (threadIdx.x == 0) report_fault(fault, 1, length, PAGE * tableWidth + 1, sequence);
    length = 0;
  }
  return {table + static_cast<long long>(sequence) * tableWidth,
          sequence,
          sequence * queries,
          queries,
          shared == nullptr ? 0 : max(0, shared[sequence]),
          (length + PAGE - 1) / PAGE,
          length,
          length - queries + 1};
}

// The pages that a group of sequences shares, for all queries of the group.
__device__ __forceinline__ Walk shared_walk(int group, const int* table, const int* start, const int* shared,
                                            int queries, int tableWidth) {
  const int sequence = start[group], count = start[group + 1] - sequence;
  const int pages = count == 0 ? 0 : min(shared[sequence], tableWidth);
  return {table + static_cast<long long>(sequence) * tableWidth,
          sequence,
          sequence * queries,
          count * queries,
          0,
          pages,
          PAGE * pages,
          PAGE * pages};
}

}  // namespace saccade
