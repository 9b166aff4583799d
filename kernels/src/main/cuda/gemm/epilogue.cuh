// What happens to a product's sums before they are stored: the contract's epilogues, on rows of sums
// that a warp has put into shared memory. All arithmetic is written out in fp32 with one rounding a step,
// so an element's bits don't depend on how a compiler fuses operations in one kernel or another, and
// are those of the CPU's functions (dev.saccade.kernels.internal.VectorMath).
#pragma once

#include "numeric.cuh"

namespace saccade {

// The launcher's numbers for the epilogues; CudaGemm.java has the same.
enum Kind { STORE = 0, ACCUMULATE = 1, GELU = 2, RESIDUAL = 3 };

// Where sums go; an operand that is absent is null. `bias` and `scale` are of the operands' type.
struct Finish {
  int kind;
  void* c;               // [m, n]
  const void* bias;      // [n]
  const void* scale;     // [n]
  const void* residual;  // [m, n]
  void* kept;            // [m, n]: s + bias; the gate's product in swiGlu
  void* kept_up;         // [m, n]: the other product in swiGlu
  int m, n;
};

__device__ __forceinline__ float exp_exact(float x) {
  const float t = __fmaf_rn(x, 0x1.715476p0f, 0x1.8p23f);
  const float n = __fsub_rn(t, 0x1.8p23f);
  const float r = __fmaf_rn(n, 0x1.05c61p-29f, __fmaf_rn(n, -0x1.62e43p-1f, x));
  float p = __fmaf_rn(0.0013814599f, r, 0.008368717f);
  p = __fmaf_rn(p, r, 0.04166839f);
  p = __fmaf_rn(p, r, 0.16666521f);
  p = __fmaf_rn(p, r, 0.49999994f);
  p = __fmaf_rn(p, r, 1.f);
  p = __fmaf_rn(p, r, 1.f);
  const float y = __int_as_float(__float_as_int(p) + (__float_as_int(t) << 23));
  return x < -87.33654f ? 0.f : x <= 88.72283f ? y : __fadd_rn(x, __int_as_float(0x7f800000));
}

__device__ __forceinline__ float silu(float x) { return __fdiv_rn(x, __fadd_rn(exp_exact(-x), 1.f)); }

__device__ __forceinline__ float erf_exact(float x) {
  const float size = fabsf(x);
  if (size < 1.f) {
    const float t = __fmul_rn(x, x);
    float p = __fmaf_rn(7.853876e-05f, t, -0.00080101984f);
    p = __fmaf_rn(p, t, 0.005188328f);
    p = __fmaf_rn(p, t, -0.026853813f);
    p = __fmaf_rn(p, t, 0.112835854f);
    p = __fmaf_rn(p, t, -0.37612626f);
    p = __fmaf_rn(p, t, 0.12837917f);
    return __fmaf_rn(x, p, x);
  }
  const float d = __fsub_rn(size > 4.f ? 4.f : size, 2.5f);
  float h = __fmaf_rn(1.1342006e-05f, d, 3.083485e-05f);
  h = __fmaf_rn(h, d, -0.00019435197f);
  h = __fmaf_rn(h, d, -2.2239794e-05f);
  h = __fmaf_rn(h, d, 0.002643443f);
  h = __fmaf_rn(h, d, -0.0064768344f);
  h = __fmaf_rn(h, d, -0.012256829f);
  h = __fmaf_rn(h, d, 0.09365207f);
  h = __fmaf_rn(h, d, -0.19006316f);
  h = __fmaf_rn(h, d, 0.14203185f);
  const float square = __fmul_rn(h, h);
  return copysignf(__fmaf_rn(square, -square, 1.f), x);
}

__device__ __forceinline__ float gelu(float z) {
  return __fmul_rn(__fmul_rn(z, 0.5f), __fadd_rn(erf_exact(__fmul_rn(z, 0.70710677f)), 1.f));
}

// V neighbouring elements that one access moves; their size is the alignment it needs.
template <typename T, int V> struct alignas(V * sizeof(T)) Run {
  T element[V];
};

template <typename T, int V> __device__ __forceinline__ void load_run(const void* base, long long at, float (&to)[V]) {
  const Run<T, V> run = *reinterpret_cast<const Run<T, V>*>(static_cast<const T*>(base) + at);
#pragma unroll
  for (int i = 0; i < V; ++i) to[i] = to_float(run.element[i]);
}

template <typename T, int V> __device__ __forceinline__ void store_run(void* base, long long at, const float (&x)[V]) {
  Run<T, V> run;
#pragma unroll
  for (int i = 0; i < V; ++i) run.element[i] = from_float<T>(x[i]);
  *reinterpret_cast<Run<T, V>*>(static_cast<T*>(base) + at) = run;
}

// The same in shared memory, 16 bytes at a time where there are that many.
template <int V> __device__ __forceinline__ void load_sums(const float* from, float (&to)[V]) {
  constexpr int STEP = V % 4 == 0 ? 4 : 1;
#pragma unroll
  for (int i = 0; i < V; i += STEP) {
    const auto run = *reinterpret_cast<const Run<float, STEP>*>(from + i);
#pragma unroll
    for (int j = 0; j < STEP; ++j) to[i + j] = run.element[j];
  }
}

// How a warp walks a patch of ROWS x COLUMNS elements in runs of V: lanes side by side along a row.
template <int COLUMNS, int V> struct Walk {
  static constexpr int RUNS = COLUMNS / V;                // runs of a row
  static constexpr int LANES = RUNS < 32 ? RUNS : 32;     // lanes on a row
  static constexpr int ROWS = 32 / LANES;                 // rows at a time
  static_assert(COLUMNS % V == 0 && RUNS % LANES == 0 && 32 % LANES == 0);
};

// Fills a warp's patch [ROWS, COLUMNS] in shared memory, `pitch` floats a row, with C's old values: what an
// accumulating product starts from. Elements outside of C become 0.
template <typename C, int V, int ROWS, int COLUMNS>
__device__ __forceinline__ void load_patch(float* patch, int pitch, const Finish& f, int row0, int column0) {
  using W = Walk<COLUMNS, V>;
  const int lane = threadIdx.x % 32;
#pragma unroll 1
  for (int first = lane % W::LANES * V; first < COLUMNS; first += W::LANES * V) {
    const int column = column0 + first;
#pragma unroll 4
    for (int r = lane / W::LANES; r < ROWS; r += W::ROWS) {
      const int row = row0 + r;
      float x[V] = {};
      if (row < f.m && column < f.n) load_run<C, V>(f.c, static_cast<long long>(row) * f.n + column, x);
#pragma unroll
      for (int i = 0; i < V; ++i) patch[r * pitch + first + i] = x[i];
    }
  }
}

// Takes the sums in a warp's patch through the epilogue. T is the type of bias and scale, C that of all
// else. With V > 1, n is a multiple of V, and so are the alignments of all operands.
template <typename T, typename C, int V, int ROWS, int COLUMNS>
__device__ __forceinline__ void finish_patch(
    const float* patch, int pitch, const Finish& f, int row0, int column0) {
  using W = Walk<COLUMNS, V>;
  const int lane = threadIdx.x % 32;
#pragma unroll 1
  for (int first = lane % W::LANES * V; first < COLUMNS; first += W::LANES * V) {
    const int column = column0 + first;
    if (column >= f.n) continue;
    const int rows = min(ROWS, f.m - row0);
    float bias[V] = {}, scale[V] = {};
    if (f.bias != nullptr) load_run<T, V>(f.bias, column, bias);
    if (f.scale != nullptr) load_run<T, V>(f.scale, column, scale);
    auto sum = [&](int r, float (&z)[V]) {
      load_sums(patch + r * pitch + first, z);
#pragma unroll
      for (int i = 0; i < V; ++i) z[i] = f.bias == nullptr ? z[i] : __fadd_rn(z[i], bias[i]);
      return static_cast<long long>(row0 + r) * f.n + column;
    };
    if (f.kind == GELU) {
#pragma unroll 1
      for (int r = lane / W::LANES; r < rows; r += W::ROWS) {
        float z[V];
        const long long at = sum(r, z);
        if (f.kept != nullptr) store_run<C, V>(f.kept, at, z);
#pragma unroll
        for (int i = 0; i < V; ++i) z[i] = gelu(z[i]);
        store_run<C, V>(f.c, at, z);
      }
    } else if (f.kind == RESIDUAL) {
      // Several rows at a time: the loads are what takes long. The residual may be C, so a row's is
      // loaded before it is stored; rows don't overlap.
      constexpr int TOGETHER = ROWS / W::ROWS < 4 ? (ROWS / W::ROWS < 1 ? 1 : ROWS / W::ROWS) : 4;
#pragma unroll 1
      for (int r0 = lane / W::LANES; r0 < rows; r0 += W::ROWS * TOGETHER) {
        float base[TOGETHER][V];
#pragma unroll
        for (int j = 0; j < TOGETHER; ++j) {
          const int r = r0 + j * W::ROWS;
          if (r < rows) load_run<C, V>(f.residual, static_cast<long long>(row0 + r) * f.n + column, base[j]);
        }
#pragma unroll
        for (int j = 0; j < TOGETHER; ++j) {
          const int r = r0 + j * W::ROWS;
          if (r < rows) {
            float z[V];
            const long long at = sum(r, z);
            if (f.kept != nullptr) store_run<C, V>(f.kept, at, z);
#pragma unroll
            for (int i = 0; i < V; ++i) {
              z[i] = f.scale == nullptr ? __fadd_rn(base[j][i], z[i]) : __fmaf_rn(scale[i], z[i], base[j][i]);
            }
            store_run<C, V>(f.c, at, z);
          }
        }
      }
    } else {
#pragma unroll 2
      for (int r = lane / W::LANES; r < rows; r += W::ROWS) {
        float z[V];
        const long long at = sum(r, z);
        store_run<C, V>(f.c, at, z);
      }
    }
  }
}

// The same for swiGlu: a row of the patch holds COLUMNS / 2 of the gate's sums, then those of the other product.
template <typename C, int V, int ROWS, int COLUMNS>
__device__ __forceinline__ void finish_pair(
    const float* patch, int pitch, const Finish& f, int row0, int column0) {
  using W = Walk<COLUMNS / 2, V>;
  const int lane = threadIdx.x % 32;
#pragma unroll 1
  for (int first = lane % W::LANES * V; first < COLUMNS / 2; first += W::LANES * V) {
    const int column = column0 + first;
    if (column >= f.n) continue;
    const int rows = min(ROWS, f.m - row0);
#pragma unroll 1
    for (int r = lane / W::LANES; r < rows; r += W::ROWS) {
      const float* from = patch + r * pitch + first;
      const long long at = static_cast<long long>(row0 + r) * f.n + column;
      float g[V], u[V];
      load_sums(from, g);
      load_sums(from + COLUMNS / 2, u);
      if (f.kept != nullptr) store_run<C, V>(f.kept, at, g);
      if (f.kept_up != nullptr) store_run<C, V>(f.kept_up, at, u);
#pragma unroll
      for (int i = 0; i < V; ++i) g[i] = __fmul_rn(silu(g[i]), u[i]);
      store_run<C, V>(f.c, at, g);
    }
  }
}

}  // namespace saccade
