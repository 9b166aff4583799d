// dO.o of a row in bf16: 8 neighbouring elements a lane, then a tree over the row's lanes.
#pragma once

#include "numeric.cuh"

namespace saccade {

// One lane's part, a chain over its elements in order.
__device__ __forceinline__ float row_product(const Pack<bf16>& a, const Pack<bf16>& b) {
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < Pack<bf16>::SIZE; i++) sum = __fmaf_rn(to_float(a.element[i]), to_float(b.element[i]), sum);
  return sum;
}

// Every one of LANES lanes gets the sum. Lanes beyond a row's end have 0, which changes nothing: more of them than
// needed give the same bits.
template <int LANES> __device__ __forceinline__ float row_sum(float x) {
#pragma unroll
  for (int lanes = LANES / 2; lanes > 0; lanes /= 2) x = __fadd_rn(x, __shfl_xor_sync(0xffffffffu, x, lanes));
  return x;
}

}  // namespace saccade
