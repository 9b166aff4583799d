// What a kernel launch costs without Java: a loop over the driver's launch calls, to set beside
// LaunchBench (FFM) and JCudaLaunchBench. 256 launches into an empty queue, then a wait that is not
// counted; the median of many rounds, in microseconds a launch.
//
//     gcc -O2 -o launch benchmarks/peers/launch.c -ldl && ./launch
//
// Needs the NVIDIA driver alone: declarations and kernels are here.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LAUNCHES = 256, ROUNDS = 4000, WARM_UP = 400 };

// Null kernels: the cost of the call is all there is. PTX, so that any driver takes it.
static const char* const IMAGE =
    ".version 7.0\n.target sm_80\n.address_size 64\n"
    ".visible .entry none() { ret; }\n"
    ".visible .entry twelve(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d,\n"
    "  .param .u64 e, .param .u64 f, .param .u64 g, .param .u64 h,\n"
    "  .param .u64 i, .param .u64 j, .param .u64 k, .param .u64 l) { ret; }\n";

// CUlaunchConfig of cuda.h.
typedef struct {
  unsigned grid[3], block[3], shared_bytes;
  void* stream;
  void* attributes;
  unsigned attribute_count;
} LaunchConfig;

typedef int (*Init)(unsigned);
typedef int (*DeviceGet)(int*, int);
typedef int (*ContextRetain)(void**, int);
typedef int (*ContextSet)(void*);
typedef int (*StreamCreate)(void**, unsigned);
typedef int (*StreamSynchronize)(void*);
typedef int (*ModuleLoadData)(void**, const void*);
typedef int (*ModuleGetFunction)(void**, void*, const char*);
typedef int (*LaunchKernel)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                            void*, void**, void**);
typedef int (*LaunchKernelEx)(const LaunchConfig*, void*, void**, void**);

static void* library;

static void* symbol(const char* name) {
  void* found = dlsym(library, name);
  if (!found) {
    fprintf(stderr, "launch: the driver has no %s\n", name);
    exit(1);
  }
  return found;
}

static void check(int code, const char* call) {
  if (code) {
    fprintf(stderr, "launch: %s returned %d\n", call, code);
    exit(1);
  }
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e6 + time.tv_nsec * 1e-3;
}

static int ascending(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

int main(void) {
  library = dlopen("libcuda.so.1", RTLD_NOW);
  if (!library) {
    fprintf(stderr, "launch: no NVIDIA driver: %s\n", dlerror());
    return 2;
  }
  int device;
  void *context, *stream, *module, *functions[2];
  check(((Init)symbol("cuInit"))(0), "cuInit");
  check(((DeviceGet)symbol("cuDeviceGet"))(&device, 0), "cuDeviceGet");
  check(((ContextRetain)symbol("cuDevicePrimaryCtxRetain"))(&context, device), "cuDevicePrimaryCtxRetain");
  check(((ContextSet)symbol("cuCtxSetCurrent"))(context), "cuCtxSetCurrent");
  check(((StreamCreate)symbol("cuStreamCreate"))(&stream, 1), "cuStreamCreate");
  check(((ModuleLoadData)symbol("cuModuleLoadData"))(&module, IMAGE), "cuModuleLoadData");
  ModuleGetFunction function = (ModuleGetFunction)symbol("cuModuleGetFunction");
  check(function(&functions[0], module, "none"), "cuModuleGetFunction");
  check(function(&functions[1], module, "twelve"), "cuModuleGetFunction");
  LaunchKernel plain = (LaunchKernel)symbol("cuLaunchKernel");
  LaunchKernelEx extended = (LaunchKernelEx)symbol("cuLaunchKernelEx");
  StreamSynchronize synchronize = (StreamSynchronize)symbol("cuStreamSynchronize");

  uint64_t values[12] = {0};
  void* arguments[12];
  for (int i = 0; i < 12; i++) arguments[i] = &values[i];
  LaunchConfig config = {{1, 1, 1}, {32, 1, 1}, 0, stream, NULL, 0};
  static double rounds[ROUNDS];
  for (int kernel = 0; kernel < 2; kernel++) {
    for (int ex = 0; ex < 2; ex++) {
      for (int round = -WARM_UP; round < ROUNDS; round++) {
        double start = now();
        for (int i = 0; i < LAUNCHES; i++) {
          int code = ex ? extended(&config, functions[kernel], arguments, NULL)
                        : plain(functions[kernel], 1, 1, 1, 32, 1, 1, 0, stream, arguments, NULL);
          if (code) check(code, "launch");
        }
        double end = now();
        check(synchronize(stream), "cuStreamSynchronize");
        if (round >= 0) rounds[round] = (end - start) / LAUNCHES;
      }
      qsort(rounds, ROUNDS, sizeof(double), ascending);
      printf("%-16s %2d arguments: median %.2f us, 10 %% %.2f, 90 %% %.2f\n",
             ex ? "cuLaunchKernelEx" : "cuLaunchKernel", kernel ? 12 : 0, rounds[ROUNDS / 2],
             rounds[ROUNDS / 10], rounds[ROUNDS * 9 / 10]);
    }
  }
  return 0;
}
