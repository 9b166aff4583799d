// Sums of columns over rows, the gradients of what all rows share, in an order that depends on the
// number of rows alone: rows are cut into blocks of COLUMN_ROWS, a block's rows r are summed by
// r mod COLUMN_LANES, these sums are added in order; then the blocks' sums are merged the same way
// and added to the old value. Which columns a thread takes never shows.
#pragma once

#include "numeric.cuh"

namespace saccade {

constexpr int COLUMN_ROWS = 128;
constexpr int COLUMN_LANES = 8;
constexpr int COLUMN_THREADS = 32 * COLUMN_LANES;

// One block of rows (blockIdx.x) of 32 * N columns (blockIdx.y), N by each thread. `term(row, column, sum)`
// adds a row's terms of columns column to column + N to `sum[SUMS][N]`; width is a multiple of N.
// partial is [row blocks][SUMS][width].
template <int SUMS, int N, typename Term>
__device__ __forceinline__ void column_partials(int rows, int width, float* partial, Term term) {
  __shared__ float lanes[SUMS][COLUMN_LANES][32 * N];
  const int lane = threadIdx.x / 32, first = threadIdx.x % 32 * N;
  const int base = blockIdx.y * 32 * N;
  const int end = min(rows - int(blockIdx.x) * COLUMN_ROWS, COLUMN_ROWS);
  float sum[SUMS][N];
#pragma unroll
  for (int s = 0; s < SUMS; s++) {
#pragma unroll
    for (int j = 0; j < N; j++) sum[s][j] = 0.0f;
  }
  if (base + first < width) {
#pragma unroll 4
    for (int r = lane; r < end; r += COLUMN_LANES) {
      term(int(blockIdx.x) * COLUMN_ROWS + r, base + first, sum);
    }
  }
#pragma unroll
  for (int s = 0; s < SUMS; s++) {
#pragma unroll
    for (int j = 0; j < N; j++) lanes[s][lane][first + j] = sum[s][j];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 32 * N && base + i < width; i += COLUMN_THREADS) {
#pragma unroll
    for (int s = 0; s < SUMS; s++) {
      float merged = lanes[s][0][i];
#pragma unroll
      for (int l = 1; l < COLUMN_LANES; l++) merged += lanes[s][l][i];
      partial[(long long)(int(blockIdx.x) * SUMS + s) * width + base + i] = merged;
    }
  }
}

// Merges the partial sums of 32 columns (blockIdx.x) and adds them to sum blockIdx.y, where there is one.
template <int SUMS>
__device__ __forceinline__ void column_merge(
    int row_blocks, int width, const float* partial, float* first_sum, float* second_sum) {
  __shared__ float lanes[COLUMN_LANES][32];
  float* const target = blockIdx.y == 0 ? first_sum : second_sum;
  if (target == nullptr) return;
  const int lane = threadIdx.x / 32, column = int(blockIdx.x) * 32 + int(threadIdx.x) % 32;
  float sum = 0.0f;
  if (column < width) {
#pragma unroll 8
    for (int b = lane; b < row_blocks; b += COLUMN_LANES) {
      sum += partial[(long long)(b * SUMS + int(blockIdx.y)) * width + column];
    }
  }
  lanes[lane][threadIdx.x % 32] = sum;
  __syncthreads();
  if (lane == 0 && column < width) {
#pragma unroll
    for (int l = 1; l < COLUMN_LANES; l++) sum += lanes[l][threadIdx.x];
    target[column] += sum;
  }
}

}  // namespace saccade
