// LayerNorm and RMSNorm. A row is read once and stays in registers: a warp's for narrow rows, a
// block's for wide ones. How many threads share a row, and which elements a thread has, follow from
// the width and the type alone, and every sum over a row is the threads' own sums in order, then a fixed
// tree: a row's bits depend on the row alone. Rows that 16-byte accesses can't reach are loaded
// element by element into the same places.
#include "column_sums.cuh"
#include "numeric.cuh"

using namespace saccade;

namespace {

// Rows that a block of the kernels with a warp for each row handles.
constexpr int WARPS = 4;

// Rows that the sums over rows add up in one chain; the chains are merged in a fixed order.
constexpr int ROWS = 16;

// The most threads of a row's block that has the sums in registers, too.
constexpr int SUMS_THREADS = 256;

// What all rows need again and again stays in the first-level cache; rows pass by it.
template <typename T> __device__ __forceinline__ Pack<T> load_passing(const T* from) {
  Pack<T> pack;
  uint4& bits = *reinterpret_cast<uint4*>(&pack);
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(bits.x), "=r"(bits.y), "=r"(bits.z), "=r"(bits.w)
               : "l"(from));
  return pack;
}

// A thread's place in its row, or group of rows: it has packs thread, thread + threads, ...
template <bool BLOCK> struct Place {
  int row, thread, threads;

  __device__ Place()
      : row(BLOCK ? blockIdx.x : blockIdx.x * WARPS + threadIdx.x / 32),
        thread(BLOCK ? threadIdx.x : threadIdx.x % 32),
        threads(BLOCK ? blockDim.x : 32) {}

  template <typename T> __device__ int first(int pack) const {
    return (pack * threads + thread) * Pack<T>::SIZE;
  }

  __device__ float sum(float x, float* scratch) const {
    if constexpr (BLOCK) {
      return block_sum(x, scratch);
    } else {
      return warp_sum(x);
    }
  }
};

// Up to a pack of a row from element `first` on, zeros behind its end.
template <typename T>
__device__ __forceinline__ Pack<T> load_part(const T* row, int first, int width, bool vector) {
  if (vector && first < width) return load_pack(row + first);
  Pack<T> pack;
#pragma unroll
  for (int j = 0; j < Pack<T>::SIZE; j++) {
    pack.element[j] = first + j < width ? row[first + j] : from_float<T>(0.0f);
  }
  return pack;
}

template <typename T>
__device__ __forceinline__ void store_part(T* row, int first, int width, bool vector, const Pack<T>& pack) {
  if (vector && first < width) {
    store_pack(row + first, pack);
    return;
  }
#pragma unroll
  for (int j = 0; j < Pack<T>::SIZE; j++) {
    if (first + j < width) row[first + j] = pack.element[j];
  }
}

// A thread's packs of a row, zeros behind its end.
template <typename T, int PACKS, bool BLOCK>
__device__ __forceinline__ void load_row(
    Pack<T> (&packs)[PACKS], const T* row, int width, const Place<BLOCK>& place, bool vector) {
  if (vector) {
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
      const int first = place.template first<T>(k);
      if (first < width) {
        packs[k] = load_passing(row + first);
      } else {
        *reinterpret_cast<uint4*>(&packs[k]) = make_uint4(0, 0, 0, 0);
      }
    }
  } else {
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
      packs[k] = load_part(row, place.template first<T>(k), width, false);
    }
  }
}

// Makes the compiler forget what it has unpacked: it would keep a register for each element from one pass over a
// row to the next.
template <typename T, int PACKS> __device__ __forceinline__ void stay_packed(Pack<T> (&packs)[PACKS]) {
#pragma unroll
  for (int k = 0; k < PACKS; k++) {
    uint4& bits = *reinterpret_cast<uint4*>(&packs[k]);
    asm volatile("" : "+r"(bits.x), "+r"(bits.y), "+r"(bits.z), "+r"(bits.w));
  }
}

// 1 / sqrt(square / width + eps), each operation rounded once.
__device__ __forceinline__ float reciprocal_root(float squares, int width, float eps) {
  return __frcp_rn(__fsqrt_rn(__fadd_rn(__fdiv_rn(squares, float(width)), eps)));
}

__device__ __forceinline__ float normalised(float x, float mean, float rstd) {
  return __fmul_rn(__fsub_rn(x, mean), rstd);
}

template <typename T, int PACKS, bool BLOCK, bool CENTRED>
__device__ __forceinline__ void forward(
    int rows, int width, float eps, const T* x, const T* weight, const T* bias, T* y, float* means,
    float* rstds, bool vector) {
  constexpr int SIZE = Pack<T>::SIZE;
  __shared__ float scratch[32];
  const Place<BLOCK> place;
  if (place.row >= rows) return;
  const long long shift = (long long)place.row * width;
  Pack<T> packs[PACKS];
  load_row(packs, x + shift, width, place, vector);
  float mean = 0.0f;
  if constexpr (CENTRED) {
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
#pragma unroll
      for (int j = 0; j < SIZE; j++) sum = __fadd_rn(sum, to_float(packs[k].element[j]));
    }
    mean = __fdiv_rn(place.sum(sum, scratch), float(width));
    stay_packed(packs);
  }
  float squares = 0.0f;
#pragma unroll
  for (int k = 0; k < PACKS; k++) {
    const int left = width - place.template first<T>(k);
#pragma unroll
    for (int j = 0; j < SIZE; j++) {
      const float d = __fsub_rn(to_float(packs[k].element[j]), mean);
      if (j < left) squares = __fmaf_rn(d, d, squares);
    }
  }
  const float rstd = reciprocal_root(place.sum(squares, scratch), width, eps);
  stay_packed(packs);
#pragma unroll
  for (int k = 0; k < PACKS; k++) {
    const int first = place.template first<T>(k);
    if (first < width) {
      const Pack<T> factor = load_part(weight, first, width, vector);
      Pack<T> offset, result;
      if constexpr (CENTRED) offset = load_part(bias, first, width, vector);
#pragma unroll
      for (int j = 0; j < SIZE; j++) {
        const float n = normalised(to_float(packs[k].element[j]), mean, rstd);
        const float w = to_float(factor.element[j]);
        result.element[j] = from_float<T>(
            CENTRED ? __fmaf_rn(n, w, to_float(offset.element[j])) : __fmul_rn(n, w));
      }
      store_part(y + shift, first, width, vector, result);
    }
  }
  if (place.thread == 0) {
    if (CENTRED && means != nullptr) means[place.row] = mean;
    if (rstds != nullptr) rstds[place.row] = rstd;
  }
}

// One row's gradient. With n = (x - mean) * rstd and g = dy * weight: dx = rstd * (g - mean(g) - n * mean(g * n)),
// without the term mean(g) where the norm takes no mean off.
template <bool CENTRED, typename T, int PACKS, bool BLOCK>
__device__ __forceinline__ void backward_row(
    const Place<BLOCK>& place, int width, Pack<T> (&packs)[PACKS], Pack<T> (&upstream)[PACKS],
    const T* weight, float mean, float rstd, T* dx, bool vector, float* scratch) {
  constexpr int SIZE = Pack<T>::SIZE;
  float sum = 0.0f, products = 0.0f;
#pragma unroll
  for (int k = 0; k < PACKS; k++) {
    const int first = place.template first<T>(k);
    if (first < width) {
      const Pack<T> factor = load_part(weight, first, width, vector);
#pragma unroll
      for (int j = 0; j < SIZE; j++) {
        const float n = normalised(to_float(packs[k].element[j]), mean, rstd);
        const float g = __fmul_rn(to_float(upstream[k].element[j]), to_float(factor.element[j]));
        products = __fmaf_rn(g, n, products);
        if constexpr (CENTRED) sum = __fadd_rn(sum, g);
      }
    }
  }
  const float slope = __fdiv_rn(place.sum(products, scratch), float(width));
  const float offset = CENTRED ? __fdiv_rn(place.sum(sum, scratch), float(width)) : 0.0f;
  stay_packed(packs);
  stay_packed(upstream);
#pragma unroll
  for (int k = 0; k < PACKS; k++) {
    const int first = place.template first<T>(k);
    if (first < width) {
      const Pack<T> factor = load_part(weight, first, width, vector);
      Pack<T> result;
#pragma unroll
      for (int j = 0; j < SIZE; j++) {
        const float n = normalised(to_float(packs[k].element[j]), mean, rstd);
        const float g = __fmul_rn(to_float(upstream[k].element[j]), to_float(factor.element[j]));
        result.element[j] =
            from_float<T>(__fmul_rn(__fmaf_rn(n, -slope, __fsub_rn(g, offset)), rstd));
      }
      store_part(dx, first, width, vector, result);
    }
  }
}

template <typename T, int PACKS, bool BLOCK, bool CENTRED>
__device__ __forceinline__ void backward(
    int rows, int width, const T* x, const T* weight, const float* means, const float* rstds,
    const T* dy, T* dx, bool vector) {
  __shared__ float scratch[32];
  const Place<BLOCK> place;
  if (place.row >= rows) return;
  const long long shift = (long long)place.row * width;
  Pack<T> packs[PACKS], upstream[PACKS];
  load_row(packs, x + shift, width, place, vector);
  load_row(upstream, dy + shift, width, place, vector);
  const float mean = CENTRED ? means[place.row] : 0.0f;
  backward_row<CENTRED>(
      place, width, packs, upstream, weight, mean, rstds[place.row], dx + shift, vector, scratch);
}

// As above for a group of ROWS rows by the same threads, which also sum dWeight's terms, dy * n, and dBias's, dy: one
// chain over the group's rows for each column. partial is [groups][sums][width]. For packed rows only.
template <typename T, int PACKS, bool BLOCK, bool CENTRED>
__device__ __forceinline__ void backward_sums(
    int rows, int width, const T* x, const T* weight, const float* means, const float* rstds,
    const T* dy, T* dx, float* partial) {
  constexpr int SIZE = Pack<T>::SIZE, SUMS = CENTRED ? 2 : 1;
  __shared__ float scratch[32];
  const Place<BLOCK> place;
  const int first_row = place.row * ROWS, end = min(rows, first_row + ROWS);
  if (first_row >= rows) return;
  float sums[SUMS][PACKS][SIZE];
#pragma unroll
  for (int s = 0; s < SUMS; s++) {
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
#pragma unroll
      for (int j = 0; j < SIZE; j++) sums[s][k][j] = 0.0f;
    }
  }
#pragma unroll 1
  for (int row = first_row; row < end; row++) {
    const long long shift = (long long)row * width;
    Pack<T> packs[PACKS], upstream[PACKS];
    load_row(packs, x + shift, width, place, true);
    load_row(upstream, dy + shift, width, place, true);
    const float mean = CENTRED ? means[row] : 0.0f, rstd = rstds[row];
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
#pragma unroll
      for (int j = 0; j < SIZE; j++) {
        const float g = to_float(upstream[k].element[j]);
        const float n = normalised(to_float(packs[k].element[j]), mean, rstd);
        sums[0][k][j] = __fmaf_rn(g, n, sums[0][k][j]);
        if constexpr (CENTRED) sums[1][k][j] = __fadd_rn(sums[1][k][j], g);
      }
    }
    stay_packed(packs);
    stay_packed(upstream);
    backward_row<CENTRED>(
        place, width, packs, upstream, weight, mean, rstd, dx + shift, true, scratch);
  }
#pragma unroll
  for (int s = 0; s < SUMS; s++) {
    float* const to = partial + ((long long)place.row * SUMS + s) * width;
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
      const int first = place.template first<T>(k);
      if (first < width) {
#pragma unroll
        for (int j = 0; j < SIZE; j += 4) {
          *reinterpret_cast<float4*>(to + first + j) = make_float4(
              sums[s][k][j], sums[s][k][j + 1], sums[s][k][j + 2], sums[s][k][j + 3]);
        }
      }
    }
  }
}

// The same chains by a thread for each column (blockIdx.y) of a group (blockIdx.x).
template <typename T, bool CENTRED>
__device__ __forceinline__ void column_sums(
    int rows, int width, const T* x, const float* means, const float* rstds, const T* dy, float* partial) {
  constexpr int SUMS = CENTRED ? 2 : 1;
  const int column = int(blockIdx.y) * COLUMN_THREADS + int(threadIdx.x);
  if (column >= width) return;
  const int first_row = int(blockIdx.x) * ROWS, count = min(rows - first_row, ROWS);
  const T* const from = x + (long long)first_row * width + column;
  const T* const upstream = dy + (long long)first_row * width + column;
  float weight = 0.0f, bias = 0.0f;
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    if (r < count) {
      const float g = to_float(upstream[(long long)r * width]);
      const float mean = CENTRED ? means[first_row + r] : 0.0f;
      const float value = to_float(from[(long long)r * width]);
      weight = __fmaf_rn(g, normalised(value, mean, rstds[first_row + r]), weight);
      bias = __fadd_rn(bias, g);
    }
  }
  float* const to = partial + (long long)blockIdx.x * SUMS * width + column;
  to[0] = weight;
  if constexpr (CENTRED) to[width] = bias;
}

}  // namespace

// RMSNorm's kernels take LayerNorm's arguments and leave means and biases alone.
#define NORM(KIND, NAME, T, PACKS, BLOCK, THREADS, CENTRED)                                            \
  extern "C" __global__ void __launch_bounds__(THREADS) KIND##_##NAME(                                 \
      int rows, int width, float eps, const T* x, const T* weight, const T* bias, T* y, float* mean,   \
      float* rstd, int vector) {                                                                       \
    forward<T, PACKS, BLOCK, CENTRED>(rows, width, eps, x, weight, bias, y, mean, rstd, vector);       \
  }                                                                                                    \
  extern "C" __global__ void __launch_bounds__(THREADS) KIND##_backward_##NAME(                        \
      int rows, int width, const T* x, const T* weight, const float* mean, const float* rstd,          \
      const T* dy, T* dx, int vector) {                                                                \
    backward<T, PACKS, BLOCK, CENTRED>(rows, width, x, weight, mean, rstd, dy, dx, vector);            \
  }

#define SUMS(KIND, NAME, T, PACKS, BLOCK, THREADS, CENTRED)                                            \
  extern "C" __global__ void __launch_bounds__(THREADS) KIND##_backward_sums_##NAME(                   \
      int rows, int width, const T* x, const T* weight, const float* mean, const float* rstd,          \
      const T* dy, T* dx, float* partial) {                                                            \
    backward_sums<T, PACKS, BLOCK, CENTRED>(rows, width, x, weight, mean, rstd, dy, dx, partial);      \
  }

#define TYPE(KIND, NAME, T, CENTRED)                                                                   \
  NORM(KIND, lane_##NAME, T, 1, false, 32 * WARPS, CENTRED)                                            \
  NORM(KIND, warp_##NAME, T, 4, false, 32 * WARPS, CENTRED)                                            \
  NORM(KIND, block_##NAME, T, 4, true, 512, CENTRED)                                                   \
  SUMS(KIND, lane_##NAME, T, 1, false, 32 * WARPS, CENTRED)                                            \
  SUMS(KIND, warp_##NAME, T, 4, false, 32 * WARPS, CENTRED)                                            \
  SUMS(KIND, block_##NAME, T, 4, true, SUMS_THREADS, CENTRED)                                          \
  extern "C" __global__ void __launch_bounds__(COLUMN_THREADS) KIND##_columns_##NAME(                  \
      int rows, int width, const T* x, const float* mean, const float* rstd, const T* dy,              \
      float* partial) {                                                                                \
    column_sums<T, CENTRED>(rows, width, x, mean, rstd, dy, partial);                                  \
  }

// Narrow rows, with one pack a lane; a warp's rows; a block's rows.
#define KERNELS(KIND, CENTRED)                                                                         \
  TYPE(KIND, f32, float, CENTRED)                                                                      \
  TYPE(KIND, bf16, bf16, CENTRED)                                                                      \
  extern "C" __global__ void __launch_bounds__(COLUMN_THREADS) KIND##_merge(                           \
      int row_blocks, int width, const float* partial, float* d_weight, float* d_bias) {               \
    column_merge<CENTRED ? 2 : 1>(row_blocks, width, partial, d_weight, d_bias);                       \
  }

KERNELS(layer_norm, true)
KERNELS(rms_norm, false)
