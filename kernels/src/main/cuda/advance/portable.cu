// Counters of a recorded decode step. Contract: kernels/advance/Advance.java.

extern "C" __global__ void __launch_bounds__(256) advance_i32(int* counters, int count) {
  const int i = blockIdx.x * 256 + threadIdx.x;
  if (i < count) counters[i] += 1;
}
