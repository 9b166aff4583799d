// Pointwise non-linearities and their gradients, in F32 and rounded once. The functions are in numeric.cuh,
// where the products' epilogues find them, too.
#include "numeric.cuh"
#include "pointwise.cuh"

using namespace saccade;

namespace {

// The gradients of one element of the gated unit; silu' = sigmoid + silu (1 - sigmoid).
template <typename T>
__device__ __forceinline__ void swiglu_gradient(T gate, T up, T dy, T& d_gate, T& d_up) {
  const float x = to_float(gate), u = to_float(up), upstream = to_float(dy);
  const float divisor = logistic_divisor(x);
  const float value = __fdiv_rn(x, divisor), sigmoid = __frcp_rn(divisor);
  const float slope = __fmaf_rn(value, __fsub_rn(1.0f, sigmoid), sigmoid);
  d_gate = from_float<T>(__fmul_rn(__fmul_rn(upstream, u), slope));
  d_up = from_float<T>(__fmul_rn(upstream, value));
}

template <typename T>
__device__ __forceinline__ void swiglu_backward(
    long long count, const T* gate, const T* up, const T* dy, T* d_gate, T* d_up, bool packed) {
  constexpr int N = Pack<T>::SIZE;
  constexpr int EACH = POINTWISE_THREADS * POINTWISE_UNROLL * N;
  const long long begin = (long long)blockIdx.x * EACH;
  if (packed && begin + EACH <= count) {
    const long long at = begin + int(threadIdx.x) * N;
    Pack<T> gates[POINTWISE_UNROLL], ups[POINTWISE_UNROLL], upstream[POINTWISE_UNROLL];
#pragma unroll
    for (int u = 0; u < POINTWISE_UNROLL; u++) {
      gates[u] = load_pack(gate + at + u * POINTWISE_THREADS * N);
      ups[u] = load_pack(up + at + u * POINTWISE_THREADS * N);
      upstream[u] = load_pack(dy + at + u * POINTWISE_THREADS * N);
    }
#pragma unroll
    for (int u = 0; u < POINTWISE_UNROLL; u++) {
#pragma unroll
      for (int j = 0; j < N; j++) {
        swiglu_gradient(
            gates[u].element[j], ups[u].element[j], upstream[u].element[j], gates[u].element[j],
            ups[u].element[j]);
      }
      store_pack(d_gate + at + u * POINTWISE_THREADS * N, gates[u]);
      store_pack(d_up + at + u * POINTWISE_THREADS * N, ups[u]);
    }
  } else {
    const long long end = min(begin + EACH, count);
    for (long long i = begin + threadIdx.x; i < end; i += POINTWISE_THREADS) {
      T gate_gradient, up_gradient;
      swiglu_gradient(gate[i], up[i], dy[i], gate_gradient, up_gradient);
      d_gate[i] = gate_gradient;
      d_up[i] = up_gradient;
    }
  }
}

}  // namespace

// With five blocks asked for instead of none, the compiler has registers enough for all elements that a thread has under way.
#define KERNEL extern "C" __global__ void __launch_bounds__(POINTWISE_THREADS, 5)

#define KERNELS(NAME, T)                                                                             \
  KERNEL gelu_##NAME(long long count, const T* z, T* y, int packed) {                                \
    map(count, z, y, packed, [](T value) { return from_float<T>(gelu(to_float(value))); });          \
  }                                                                                                  \
  KERNEL gelu_backward_##NAME(long long count, const T* z, const T* dy, T* dz, int packed) {         \
    map(count, z, dy, dz, packed, [](T value, T upstream) {                                          \
      return from_float<T>(__fmul_rn(to_float(upstream), gelu_derivative(to_float(value))));         \
    });                                                                                              \
  }                                                                                                  \
  KERNEL swiglu_##NAME(long long count, const T* gate, const T* up, T* y, int packed) {              \
    map(count, gate, up, y, packed, [](T first, T second) {                                          \
      return from_float<T>(__fmul_rn(silu(to_float(first)), to_float(second)));                      \
    });                                                                                              \
  }                                                                                                  \
  KERNEL swiglu_backward_##NAME(                                                                     \
      long long count, const T* gate, const T* up, const T* dy, T* d_gate, T* d_up, int packed) {    \
    swiglu_backward(count, gate, up, dy, d_gate, d_up, packed);                                      \
  }

KERNELS(f32, float)
KERNELS(bf16, bf16)
