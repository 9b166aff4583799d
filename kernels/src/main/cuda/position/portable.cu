// Rotary positions, in place: each output is one product and one fused multiply-add, as on the CPU.
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

}  // namespace

#define ROTATE(NAME, T, N)                                                                               \
  extern "C" __global__ void __launch_bounds__(THREADS) rotate_##NAME(                                   \
      int rows, int heads, int head_dim, int lanes, float direction, const float* table, int table_rows, \
      const int* positions, T* x, int* fault) {                                                          \
    rotate<T, N>(                                                                                        \
        rows, heads, head_dim, lanes, direction, table, table_rows, positions, x, fault);                \
  }

ROTATE(f32, float, 4)
ROTATE(bf16, bf16, 8)
ROTATE(single_f32, float, 1)
ROTATE(single_bf16, bf16, 1)
