// What happens to a product's sums before they are stored: the contract's epilogues, on rows of sums
// that a warp has put into shared memory. All arithmetic is written out in fp32 with one rounding a step,
// so an element's bits don't depend on how a compiler fuses operations in one kernel or another.
#pragma once

#include "numeric.cuh"

namespace saccade {

// The launcher's numbers for the epilogues; CudaGemm.java has the same.
enum Kind { STORE = 0, ACCUMULATE = 1, GELU = 2, RESIDUAL = 3, GELU_BACKWARD = 4 };

// Where sums go; an operand that is absent is null. `bias` and `scale` are of the operands' type.
struct Finish {
  int kind;
  void* c;               // [m, n]
  const void* bias;      // [n]
  const void* scale;     // [n]
  const void* residual;  // [m, n]; the pre-activation for GELU_BACKWARD
  void* kept;            // [m, n]: s + bias; the gate's product in swiGlu
  void* kept_up;         // [m, n]: the other product in swiGlu
  int m, n;
};

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
// else. With V > 1, n is a multiple of V, and so are the alignments of all operands. AT_ONCE: rows whose
// residuals are loaded together, where registers allow.
template <typename T, typename C, int V, int ROWS, int COLUMNS, int AT_ONCE = 4>
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
      constexpr int TOGETHER = ROWS / W::ROWS < AT_ONCE ? (ROWS / W::ROWS < 1 ? 1 : ROWS / W::ROWS) : AT_ONCE;
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
    } else if (f.kind == GELU_BACKWARD) {
      // The pre-activation may be C: a row's is loaded before it is stored.
#pragma unroll 1
      for (int r = lane / W::LANES; r < rows; r += W::ROWS) {
        float z[V], before[V];
        load_run<C, V>(f.residual, static_cast<long long>(row0 + r) * f.n + column, before);
        const long long at = sum(r, z);
#pragma unroll
        for (int i = 0; i < V; ++i) z[i] = __fmul_rn(z[i], gelu_derivative(before[i]));
        store_run<C, V>(f.c, at, z);
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
