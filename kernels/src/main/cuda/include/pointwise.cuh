// Loops over elements: a block of POINTWISE_THREADS threads handles POINTWISE_UNROLL accesses of N elements
// a thread. The last block, and every block where 16-byte accesses don't reach, goes element by
// element; an element's result is the same either way. Results may replace operands.
#pragma once

#include "numeric.cuh"

namespace saccade {

constexpr int POINTWISE_THREADS = 256;
constexpr int POINTWISE_UNROLL = 2;

// Elements of one access when the widest of the types fills 16 bytes.
template <typename... T> constexpr int POINTWISE_ELEMENTS = [] {
  size_t widest = 1;
  ((widest = sizeof(T) > widest ? sizeof(T) : widest), ...);
  return int(16 / widest);
}();

// y[i] = op(x[i]).
template <typename X, typename Y, typename Op>
__device__ __forceinline__ void map(long long count, const X* x, Y* y, bool packed, Op op) {
  constexpr int N = POINTWISE_ELEMENTS<X, Y>;
  constexpr int EACH = POINTWISE_THREADS * POINTWISE_UNROLL * N;
  const long long begin = (long long)blockIdx.x * EACH;
  if (packed && begin + EACH <= count) {
    const long long at = begin + int(threadIdx.x) * N;
    Elements<X, N> from[POINTWISE_UNROLL];
#pragma unroll
    for (int u = 0; u < POINTWISE_UNROLL; u++) {
      from[u] = load_elements<N>(x + at + u * POINTWISE_THREADS * N);
    }
#pragma unroll
    for (int u = 0; u < POINTWISE_UNROLL; u++) {
      Elements<Y, N> to;
#pragma unroll
      for (int j = 0; j < N; j++) to.element[j] = op(from[u].element[j]);
      store_elements<N>(y + at + u * POINTWISE_THREADS * N, to);
    }
  } else {
    const long long end = min(begin + EACH, count);
    for (long long i = begin + threadIdx.x; i < end; i += POINTWISE_THREADS) y[i] = op(x[i]);
  }
}

// y[i] = op(a[i], b[i]).
template <typename A, typename B, typename Y, typename Op>
__device__ __forceinline__ void map(
    long long count, const A* a, const B* b, Y* y, bool packed, Op op) {
  constexpr int N = POINTWISE_ELEMENTS<A, B, Y>;
  constexpr int EACH = POINTWISE_THREADS * POINTWISE_UNROLL * N;
  const long long begin = (long long)blockIdx.x * EACH;
  if (packed && begin + EACH <= count) {
    const long long at = begin + int(threadIdx.x) * N;
    Elements<A, N> first[POINTWISE_UNROLL];
    Elements<B, N> second[POINTWISE_UNROLL];
#pragma unroll
    for (int u = 0; u < POINTWISE_UNROLL; u++) {
      first[u] = load_elements<N>(a + at + u * POINTWISE_THREADS * N);
      second[u] = load_elements<N>(b + at + u * POINTWISE_THREADS * N);
    }
#pragma unroll
    for (int u = 0; u < POINTWISE_UNROLL; u++) {
      Elements<Y, N> to;
#pragma unroll
      for (int j = 0; j < N; j++) to.element[j] = op(first[u].element[j], second[u].element[j]);
      store_elements<N>(y + at + u * POINTWISE_THREADS * N, to);
    }
  } else {
    const long long end = min(begin + EACH, count);
    for (long long i = begin + threadIdx.x; i < end; i += POINTWISE_THREADS) y[i] = op(a[i], b[i]);
  }
}

}  // namespace saccade
