// The parts of the patch embedding around its product.
#include "numeric.cuh"

using namespace saccade;

namespace {

constexpr int THREADS = 256;

// A block writes one patch, elements in the order (channel, y, x), and zeros up to the pitch.
template <typename T>
__device__ __forceinline__ void unfold(
    int channels, int height, int width, int patch, int pitch, const float* pixels, T* patches) {
  const int columns = width / patch, rows = height / patch;
  const int tile = int(blockIdx.x) / (rows * columns);
  const int place = int(blockIdx.x) - tile * rows * columns;
  const int row = place / columns, column = place - row * columns;
  const int area = patch * patch, elements = channels * area;
  const float* const from = pixels + (long long)tile * channels * height * width +
                            (long long)row * patch * width + column * patch;
  T* const to = patches + (long long)blockIdx.x * pitch;
  for (int i = threadIdx.x; i < pitch; i += THREADS) {
    if (i >= elements) {
      to[i] = from_float<T>(0.0f);
      continue;
    }
    const int channel = i / area, in_patch = i - channel * area;
    const int y = in_patch / patch, x = in_patch - y * patch;
    to[i] = from_float<T>(from[((long long)channel * height + y) * width + x]);
  }
}

// A block writes one row.
template <typename T>
__device__ __forceinline__ void fit(int from_width, int to_width, const T* from, T* to) {
  from += (long long)blockIdx.x * from_width;
  to += (long long)blockIdx.x * to_width;
  for (int i = threadIdx.x; i < to_width; i += THREADS) {
    to[i] = i < from_width ? from[i] : from_float<T>(0.0f);
  }
}

// A thread adds N columns of one row: the class token's or a patch's, and the position's.
template <typename T, int N>
__device__ __forceinline__ void assemble(
    int patches, int width, const T* embedded, const T* cls, const T* position, T* out) {
  const int column = (int(blockIdx.y) * THREADS + int(threadIdx.x)) * N;
  if (column >= width) return;
  const int rows = 1 + patches;
  const int tile = int(blockIdx.x) / rows, row = int(blockIdx.x) - tile * rows;
  const T* const token =
      row == 0 ? cls : embedded + ((long long)tile * patches + row - 1) * width;
  Elements<T, N> sum = load_elements<N>(token + column);
  const Elements<T, N> offset = load_elements<N>(position + (long long)row * width + column);
#pragma unroll
  for (int j = 0; j < N; j++) {
    sum.element[j] =
        from_float<T>(__fadd_rn(to_float(sum.element[j]), to_float(offset.element[j])));
  }
  store_elements<N>(out + (long long)blockIdx.x * width + column, sum);
}

// A thread goes through all tiles, in order, with N columns of one row.
template <typename T, int N>
__device__ __forceinline__ void assemble_backward(
    int tiles, int patches, int width, const T* d_out, T* d_embedded, float* d_cls, float* d_position) {
  const int column = (int(blockIdx.y) * THREADS + int(threadIdx.x)) * N;
  if (column >= width) return;
  const int row = blockIdx.x;
  const long long pitch = (1LL + patches) * width;
  const T* from = d_out + (long long)row * width + column;
  float sum[N], cls[N];
#pragma unroll
  for (int j = 0; j < N; j++) {
    sum[j] = d_position == nullptr ? 0.0f : d_position[(long long)row * width + column + j];
    cls[j] = row > 0 || d_cls == nullptr ? 0.0f : d_cls[column + j];
  }
#pragma unroll 4
  for (int tile = 0; tile < tiles; tile++, from += pitch) {
    const Elements<T, N> gradient = load_elements<N>(from);
#pragma unroll
    for (int j = 0; j < N; j++) {
      sum[j] = __fadd_rn(sum[j], to_float(gradient.element[j]));
      cls[j] = __fadd_rn(cls[j], to_float(gradient.element[j]));
    }
    if (row > 0 && d_embedded != nullptr) {
      store_elements<N>(
          d_embedded + ((long long)tile * patches + row - 1) * width + column, gradient);
    }
  }
#pragma unroll
  for (int j = 0; j < N; j++) {
    if (d_position != nullptr) d_position[(long long)row * width + column + j] = sum[j];
    if (row == 0 && d_cls != nullptr) d_cls[column + j] = cls[j];
  }
}

}  // namespace

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

#define ASSEMBLE(NAME, T, N)                                                                          \
  KERNEL assemble_##NAME(                                                                             \
      int patches, int width, const T* embedded, const T* cls, const T* position, T* out) {           \
    assemble<T, N>(patches, width, embedded, cls, position, out);                                     \
  }                                                                                                   \
  KERNEL assemble_backward_##NAME(                                                                    \
      int tiles, int patches, int width, const T* d_out, T* d_embedded, float* d_cls,                 \
      float* d_position) {                                                                            \
    assemble_backward<T, N>(tiles, patches, width, d_out, d_embedded, d_cls, d_position);             \
  }

#define KERNELS(NAME, T, N)                                                                           \
  KERNEL unfold_##NAME(                                                                               \
      int channels, int height, int width, int patch, int pitch, const float* pixels, T* patches) {   \
    unfold(channels, height, width, patch, pitch, pixels, patches);                                   \
  }                                                                                                   \
  KERNEL fit_##NAME(int from_width, int to_width, const T* from, T* to) {                             \
    fit(from_width, to_width, from, to);                                                              \
  }                                                                                                   \
  ASSEMBLE(NAME, T, N)                                                                                \
  ASSEMBLE(single_##NAME, T, 1)

KERNELS(f32, float, 4)
KERNELS(bf16, bf16, 8)
