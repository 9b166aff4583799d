// Rotary positions: each output is one product and one fused multiply-add, as on the CPU. In place, or keys and
// values on their way into a cache.
#include "numeric.cuh"

using namespace saccade;

namespace {

constexpr int THREADS = 256;

// `lanes` threads, a power of two, share a row; a thread turns N neighbouring pairs at a time.
// direction is 1 or -1.
template <typename T, int N>
__device__ __forceinline__ void rotate(
    int rows, int heads, int head_dim, int lanes, float direction, const float* table, int table_rows,
    const int* positions, T* x, int* fault) {
  const int row = int(blockIdx.x) * (THREADS / lanes) + int(threadIdx.x) / lanes;
  if (row >= rows) return;
  const int lane = int(threadIdx.x) & (lanes - 1);
  const int position = positions[row];
  if (position < 0 || position >= table_rows) {
    if (lane == 0) report_fault(fault, 1, position, table_rows, row);
    return;
  }
  const int half = head_dim / 2;
  const int groups = half / N;
  const float* const angles = table + (long long)position * head_dim;
  T* const at = x + (long long)row * heads * head_dim;
  for (int i = lane; i < heads * groups; i += lanes) {
    const int head = i / groups, first = (i - head * groups) * N;
    T* const low = at + head * head_dim + first;
    T* const high = low + half;
    Elements<T, N> a = load_elements<N>(low), b = load_elements<N>(high);
#pragma unroll
    for (int j = 0; j < N; j++) {
      const float cosine = angles[first + j];
      const float sine = __fmul_rn(angles[half + first + j], direction);
      const float p = to_float(a.element[j]), q = to_float(b.element[j]);
      a.element[j] = from_float<T>(__fmaf_rn(p, cosine, -__fmul_rn(q, sine)));
      b.element[j] = from_float<T>(__fmaf_rn(q, cosine, __fmul_rn(p, sine)));
    }
    store_elements<N>(low, a);
    store_elements<N>(high, b);
  }
}

// N neighbouring numbers, four by one access where they can be.
template <int N> __device__ __forceinline__ void load_floats(float (&to)[N], const float* from) {
  constexpr int EACH = N % 4 == 0 ? 4 : 1;
#pragma unroll
  for (int j = 0; j < N; j += EACH) {
    const Elements<float, EACH> part = load_elements<EACH>(from + j);
#pragma unroll
    for (int i = 0; i < EACH; i++) to[j + i] = part.element[i];
  }
}

// A row's heads are its queries', its keys' and its values' one after the other. `lanes` threads, a power of two,
// share a row in each of gridDim.y blocks; a thread moves N neighbouring pairs of a head at a time.
template <typename T, int N>
__device__ __forceinline__ void rotate_into_cache(
    int rows, int heads, int kv_heads, int head_dim, int lanes, const float* table, int table_rows,
    const int* positions, int cache_rows, const int* places, T* queries, const T* keys, const T* values,
    T* cached_keys, T* cached_values, int* fault) {
  const int row = int(blockIdx.x) * (THREADS / lanes) + int(threadIdx.x) / lanes;
  if (row >= rows) return;
  const int lane = int(threadIdx.x) & (lanes - 1);
  int position = positions[row], place = places[row];
  const int half = head_dim / 2;
  const int groups = half / N;
  const int turned = heads + kv_heads;
  T* const query = queries + (long long)row * heads * head_dim;
  const long long kv_row = (long long)row * kv_heads * head_dim;
  const int stride = lanes * int(gridDim.y);
  for (int i = int(blockIdx.y) * lanes + lane; i < (turned + kv_heads) * groups; i += stride) {
    const int head = i / groups, first = (i - head * groups) * N;
    const T* const from = head < heads    ? query + head * head_dim
                          : head < turned ? keys + kv_row + (head - heads) * head_dim
                                          : values + kv_row + (head - turned) * head_dim;
    Elements<T, N> a = load_elements<N>(from + first), b = load_elements<N>(from + half + first);
    // Only from here on are the indices known to the compiler, so that in a decode step, where a thread has one
    // turn of this loop, the loads above are on their way with the indices and not behind them.
    asm volatile("" : "+r"(position), "+r"(place));
    const bool bad_position = position < 0 || position >= table_rows;
    if (bad_position || place < 0 || place >= cache_rows) {
      if (i == 0) {
        report_fault(fault, 1, bad_position ? position : place, bad_position ? table_rows : cache_rows, row);
      }
      return;
    }
    const long long kv_place = (long long)place * kv_heads * head_dim;
    T* const to = head < heads    ? query + head * head_dim
                  : head < turned ? cached_keys + kv_place + (head - heads) * head_dim
                                  : cached_values + kv_place + (head - turned) * head_dim;
    if (head < turned) {
      float cosine[N], sine[N];
      const float* const angles = table + (long long)position * head_dim + first;
      load_floats(cosine, angles);
      load_floats(sine, angles + half);
#pragma unroll
      for (int j = 0; j < N; j++) {
        const float p = to_float(a.element[j]), q = to_float(b.element[j]);
        a.element[j] = from_float<T>(__fmaf_rn(p, cosine[j], -__fmul_rn(q, sine[j])));
        b.element[j] = from_float<T>(__fmaf_rn(q, cosine[j], __fmul_rn(p, sine[j])));
      }
    }
    store_elements<N>(to + first, a);
    store_elements<N>(to + half + first, b);
  }
}

}  // namespace

#define ROTATE(NAME, T, N)                                                                               \
  extern "C" __global__ void __launch_bounds__(THREADS) rotate_##NAME(                                   \
      int rows, int heads, int head_dim, int lanes, float direction, const float* table, int table_rows, \
      const int* positions, T* x, int* fault) {                                                          \
    rotate<T, N>(                                                                                        \
        rows, heads, head_dim, lanes, direction, table, table_rows, positions, x, fault);                \
  }

#define ROTATE_INTO_CACHE(NAME, T, N)                                                                     \
  extern "C" __global__ void __launch_bounds__(THREADS) rotate_into_cache_##NAME(                        \
      int rows, int heads, int kv_heads, int head_dim, int lanes, const float* table, int table_rows,    \
      const int* positions, int cache_rows, const int* places, T* queries, const T* keys,                \
      const T* values, T* cached_keys, T* cached_values, int* fault) {                                   \
    rotate_into_cache<T, N>(                                                                             \
        rows, heads, kv_heads, head_dim, lanes, table, table_rows, positions, cache_rows, places,        \
        queries, keys, values, cached_keys, cached_values, fault);                                       \
  }

ROTATE(f32, float, 4)
ROTATE(bf16, bf16, 8)
ROTATE(single_f32, float, 1)
ROTATE(single_bf16, bf16, 1)

ROTATE_INTO_CACHE(f32, float, 4)
ROTATE_INTO_CACHE(bf16, bf16, 8)
ROTATE_INTO_CACHE(single_f32, float, 1)
ROTATE_INTO_CACHE(single_bf16, bf16, 1)
