// Kernels for the engine's own tests; the fake driver does in C what these do.
//
// The tests load the PTX that is kept in src/test/resources/kernels/probe.ptx, so that they need no
// compiler. It is made by
//   nvcc -ptx -std=c++20 -O3 -arch=compute_80 probe.cu -o - | sed 's/^\.version .*/.version 8.4/'
// (8.4 is the PTX of the oldest driver the engine works with).

extern "C" __global__ void nothing() {}

// Each argument, widened, so that a wrong place or size shows.
extern "C" __global__ void many_arguments(double* out, int a, long long b, float c, double d, const int* e, int f,
                                          float g, long long h, int i, double j, float k) {
  out[0] = a;
  out[1] = static_cast<double>(b);
  out[2] = c;
  out[3] = d;
  out[4] = e == nullptr ? -1 : *e;
  out[5] = f;
  out[6] = g;
  out[7] = static_cast<double>(h);
  out[8] = i;
  out[9] = j;
  out[10] = k;
}

// y = a x + y
extern "C" __global__ void axpy(const float* x, float* y, float a, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] += a * x[i];
}

// The block's and the grid's coordinates, one line of 4 for each block.
extern "C" __global__ void coordinates(int* out) {
  const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  if (threadIdx.x == 0) {
    out[4 * block] = blockIdx.x;
    out[4 * block + 1] = blockIdx.y;
    out[4 * block + 2] = blockIdx.z;
    out[4 * block + 3] = blockDim.x;
  }
}

// Fills `words` words of dynamic shared memory and sums them: words * (words - 1) / 2.
extern "C" __global__ void shared_sum(long long* out, int words) {
  extern __shared__ int memory[];
  for (int i = threadIdx.x; i < words; i += blockDim.x) memory[i] = i;
  __syncthreads();
  if (threadIdx.x == 0) {
    long long sum = 0;
    for (int i = 0; i < words; i++) sum += memory[i];
    *out = sum;
  }
}

// Reports a fault as operations do.
extern "C" __global__ void report(int* fault, int kind, int first, int second, int third) {
  if (atomicCAS_system(fault, 0, kind) == 0) {
    fault[1] = first;
    fault[2] = second;
    fault[3] = third;
    __threadfence_system();
  }
}

// Writes where nobody has memory.
extern "C" __global__ void illegal_address(int* at) { *at = 1; }

// Keeps the device busy for so many clock ticks.
extern "C" __global__ void spin(long long ticks) {
  const long long start = clock64();
  while (clock64() - start < ticks) {
  }
}
