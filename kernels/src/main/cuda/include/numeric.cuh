// Element types, 16-byte accesses and fixed reduction trees: what the kernels of every operation share.
#pragma once

#include "elementary.cuh"

#include <cuda_bf16.h>
#include <cstdint>

namespace saccade {

using bf16 = __nv_bfloat16;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }

// The nearest value of type T, ties to even.
template <typename T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) { return __float2bfloat16_rn(x); }

// As many elements as one 16-byte access moves.
template <typename T> struct alignas(16) Pack {
  static constexpr int SIZE = 16 / sizeof(T);
  T element[SIZE];
};

template <typename T> __device__ __forceinline__ Pack<T> load_pack(const T* from) {
  Pack<T> pack;
  *reinterpret_cast<uint4*>(&pack) = *reinterpret_cast<const uint4*>(from);
  return pack;
}

template <typename T> __device__ __forceinline__ void store_pack(T* to, const Pack<T>& pack) {
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(&pack);
}

// N neighbouring elements, moved by one access of up to 16 bytes.
template <typename T, int N> struct alignas(sizeof(T) * N) Elements {
  static_assert(sizeof(T) * N <= 16);
  T element[N];
};

template <int N, typename T> __device__ __forceinline__ Elements<T, N> load_elements(const T* from) {
  Elements<T, N> elements;
  if constexpr (sizeof(T) * N == 16) {
    *reinterpret_cast<uint4*>(&elements) = *reinterpret_cast<const uint4*>(from);
  } else if constexpr (sizeof(T) * N == 8) {
    *reinterpret_cast<uint2*>(&elements) = *reinterpret_cast<const uint2*>(from);
  } else {
    elements = *reinterpret_cast<const Elements<T, N>*>(from);
  }
  return elements;
}

template <int N, typename T>
__device__ __forceinline__ void store_elements(T* to, const Elements<T, N>& elements) {
  if constexpr (sizeof(T) * N == 16) {
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(&elements);
  } else if constexpr (sizeof(T) * N == 8) {
    *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(&elements);
  } else {
    *reinterpret_cast<Elements<T, N>*>(to) = elements;
  }
}

// Whether every address and pitch given lets 16-byte accesses be used.
template <typename T> __host__ __device__ __forceinline__ bool packs(long long elements) {
  return elements % Pack<T>::SIZE == 0;
}

// Sums and maxima over a warp by a fixed butterfly: every lane gets the result, always the same bits.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffu, x, lanes);
  return x;
}

__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffu, x, lanes);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lanes));
  return x;
}

// The sum over a block of THREADS threads by a fixed tree; every thread gets it. `scratch` holds 32
// values in shared memory and may be used again at once.
template <int THREADS, typename V> __device__ __forceinline__ V block_sum(V x, V* scratch) {
  x = warp_sum(x);
  if constexpr (THREADS > 32) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    x = warp_sum(lane < THREADS / 32 ? scratch[lane] : V(0));
    __syncthreads();
  }
  return x;
}

// As above, for a block of any number of whole warps.
template <typename V> __device__ __forceinline__ V block_sum(V x, V* scratch) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  x = warp_sum(x);
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  x = warp_sum(lane < warps ? scratch[lane] : V(0));
  __syncthreads();
  return x;
}

// The activations, the same bits wherever they are fused and on the CPU: no operation may be
// contracted with a neighbour.

// z Phi(z), Phi the standard normal distribution.
__device__ __forceinline__ float gelu(float z) { return __fmul_rn(z, normal_distribution(z)); }

// Its derivative: Phi(z) + z phi(z), the normal distribution and density. NaN stays.
__device__ __forceinline__ float gelu_derivative(float z) { return gelu_slope(z); }

// 1 + e^-x, the divisor of the logistic function.
__device__ __forceinline__ float logistic_divisor(float x) { return __fadd_rn(exp_of(-x), 1.0f); }

// x / (1 + e^-x): the rounded quotient, as __fdiv_rn gives it (all floats were compared), but without its branch for rare operands.
// The divisor, 1 or more, is scaled so that its reciprocal is a normal float.
__device__ __forceinline__ float silu(float x) {
  const float divisor = logistic_divisor(x), d = __fmul_rn(divisor, 0x1p-32f);
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;\n" : "=f"(r) : "f"(d));
  r = __fmaf_rn(__fmaf_rn(-d, r, 1.0f), r, r);
  float q = __fmul_rn(x, r);
  q = __fmaf_rn(__fmaf_rn(-d, q, x), r, q);
  q = __fmaf_rn(__fmaf_rn(-d, q, x), r, q);
  q = __fmul_rn(q, 0x1p-32f);
  q = divisor < __uint_as_float(0x7f800000u) ? q : __fmul_rn(x, 0.0f);
  // From 88 on the divisor is 1; a zero keeps its sign; NaN stays.
  return x < 88.0f && x != 0.0f ? q : x;
}

// Reports an operand that can't be used; see CudaDevice.faultAddress().
__device__ __forceinline__ void report_fault(int* fault, int kind, int first, int second, int third) {
  if (atomicCAS(fault, 0, kind) == 0) {
    fault[1] = first;
    fault[2] = second;
    fault[3] = third;
  }
}

}  // namespace saccade
