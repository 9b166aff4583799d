// Element types, 16-byte accesses and fixed reduction trees: what the kernels of every operation share.
#pragma once

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

// Reports an operand that can't be used; see CudaDevice.faultAddress().
__device__ __forceinline__ void report_fault(int* fault, int kind, int first, int second, int third) {
  if (atomicCAS_system(fault, 0, kind) == 0) {
    fault[1] = first;
    fault[2] = second;
    fault[3] = third;
    __threadfence_system();
  }
}

}  // namespace saccade
