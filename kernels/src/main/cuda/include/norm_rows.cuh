// LayerNorm and RMSNorm. A row is read once and stays in registers: a warp's for narrow rows, a
// block's for wide ones. How many threads share a row, and which elements a thread has, follow from
// the width and the type alone, and every sum over a row is the threads' own sums in order, then a fixed
// tree: a row's bits depend on the row alone. Rows that 16-byte accesses can't reach are loaded
// element by element into the same places.
//
// The gradients of weight and bias are sums over rows. The launcher cuts the rows into groups, by their
// number and width alone; a group's rows are summed in one chain where a block shares a row, in WARPS
// chains, of rows r mod WARPS, where a warp does, which are then added in order; the groups' sums are
// merged in a fixed order, too.
//
// A Layout says where x and dx lie; y and dy have their rows one behind the other. It moves elements and
// changes no bit of what is computed from them.
#pragma once

#include "numeric.cuh"

namespace saccade {

// Rows that a block of the kernels with a warp for each row has under way, and chains of a group's sums there.
constexpr int WARPS = 4;

// The most threads of a row's block, and of one that has the sums in registers, too.
constexpr int ROW_THREADS = 1024;
constexpr int SUMS_THREADS = 512;

// Threads of a block of the kernels of sums alone: a column each, or a pack of columns.
constexpr int COLUMN_THREADS = 256;
constexpr int COLUMN_PACK_THREADS = 128;

// Blocks of the latter that the registers leave room for on a multiprocessor: bytes under way.
constexpr int COLUMN_PACK_BLOCKS = 4;

// Groups that the merge adds up at once, a warp's each, of 32 columns.
constexpr int MERGE_LANES = 32;
constexpr int MERGE_THREADS = 32 * MERGE_LANES;

// What all rows need again and again stays in the first-level cache; rows pass by it.
template <typename T> __device__ __forceinline__ Pack<T> load_passing(const T* from) {
  Pack<T> pack;
  uint4& bits = *reinterpret_cast<uint4*>(&pack);
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(bits.x), "=r"(bits.y), "=r"(bits.z), "=r"(bits.w)
               : "l"(from));
  return pack;
}

// Where the elements of x and dx lie. Dense: rows follow each other.
struct Dense {
  __device__ __forceinline__ long long begin(int row, int width) const { return (long long)row * width; }

  // Where element i of a row is, from its begin on.
  __device__ __forceinline__ int place(int i, int width) const { return i; }

  // Clears what belongs to no row, in front of a row that is stored.
  template <typename T>
  __device__ __forceinline__ void clear(T* x, int row, int width, int thread, int threads, bool vector) const {}
};

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

// The sums of a row's products and, where asked for, terms. In a block all warps meet once: rows that follow
// each other must use different scratch.
template <bool TWO, bool BLOCK>
__device__ __forceinline__ void row_sums(float& products, float& terms, float (&scratch)[2][32]) {
  products = warp_sum(products);
  if constexpr (TWO) terms = warp_sum(terms);
  if constexpr (BLOCK) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    if (lane == 0) {
      scratch[0][warp] = products;
      if constexpr (TWO) scratch[1][warp] = terms;
    }
    __syncthreads();
    products = warp_sum(lane < warps ? scratch[0][lane] : 0.0f);
    if constexpr (TWO) terms = warp_sum(lane < warps ? scratch[1][lane] : 0.0f);
  }
}

// Copies 16 bytes to shared memory while the thread goes on; copies are waited for in groups.
__device__ __forceinline__ void copy_ahead(uint4* to, const void* from) {
  const unsigned address = unsigned(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
}

__device__ __forceinline__ void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all but the newest PENDING groups have arrived.
template <int PENDING> __device__ __forceinline__ void wait_groups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Up to a pack of a row from element `first` on, zeros behind its end.
template <typename T, typename Layout>
__device__ __forceinline__ Pack<T> load_part(const T* row, int first, int width, bool vector, Layout layout) {
  if (vector && first < width) return load_pack(row + layout.place(first, width));
  Pack<T> pack;
#pragma unroll
  for (int j = 0; j < Pack<T>::SIZE; j++) {
    pack.element[j] = first + j < width ? row[layout.place(first + j, width)] : from_float<T>(0.0f);
  }
  return pack;
}

template <typename T>
__device__ __forceinline__ Pack<T> load_part(const T* row, int first, int width, bool vector) {
  return load_part(row, first, width, vector, Dense{});
}

template <typename T, typename Layout>
__device__ __forceinline__ void store_part(
    T* row, int first, int width, bool vector, const Pack<T>& pack, Layout layout) {
  if (vector && first < width) {
    store_pack(row + layout.place(first, width), pack);
    return;
  }
#pragma unroll
  for (int j = 0; j < Pack<T>::SIZE; j++) {
    if (first + j < width) row[layout.place(first + j, width)] = pack.element[j];
  }
}

template <typename T>
__device__ __forceinline__ void store_part(T* row, int first, int width, bool vector, const Pack<T>& pack) {
  store_part(row, first, width, vector, pack, Dense{});
}

// A thread's packs of a row, zeros behind its end.
template <typename T, int PACKS, bool BLOCK, typename Layout>
__device__ __forceinline__ void load_row(
    Pack<T> (&packs)[PACKS], const T* row, int width, const Place<BLOCK>& place, bool vector, Layout layout) {
  if (vector) {
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
      const int first = place.template first<T>(k);
      if (first < width) {
        packs[k] = load_passing(row + layout.place(first, width));
      } else {
        *reinterpret_cast<uint4*>(&packs[k]) = make_uint4(0, 0, 0, 0);
      }
    }
  } else {
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
      packs[k] = load_part(row, place.template first<T>(k), width, false, layout);
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

template <typename T, int PACKS, bool BLOCK, bool CENTRED, typename Layout = Dense>
__device__ __forceinline__ void forward(
    int rows, int width, float eps, const T* x, const T* weight, const T* bias, T* y, float* means,
    float* rstds, bool vector, Layout layout = {}) {
  constexpr int SIZE = Pack<T>::SIZE;
  __shared__ float scratch[32];
  const Place<BLOCK> place;
  if (place.row >= rows) return;
  const long long shift = (long long)place.row * width;
  Pack<T> packs[PACKS];
  load_row(packs, x + layout.begin(place.row, width), width, place, vector, layout);
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

// A row's gradient. With n = (x - mean) * rstd and g = dy * weight: dx = rstd * (g - mean(g) - n * mean(g * n)),
// without the term mean(g) where the norm takes no mean off. First what a pack adds to the sums; `each(j, n, dy)`
// sees every element.
template <bool CENTRED, typename T, typename Each>
__device__ __forceinline__ void add_terms(
    const Pack<T>& x, const Pack<T>& dy, const Pack<T>& weight, float mean, float rstd, float& products,
    float& terms, Each each) {
#pragma unroll
  for (int j = 0; j < Pack<T>::SIZE; j++) {
    const float n = normalised(to_float(x.element[j]), mean, rstd);
    const float upstream = to_float(dy.element[j]);
    const float g = __fmul_rn(upstream, to_float(weight.element[j]));
    products = __fmaf_rn(g, n, products);
    if constexpr (CENTRED) terms = __fadd_rn(terms, g);
    each(j, n, upstream);
  }
}

template <typename T>
__device__ __forceinline__ Pack<T> gradient(
    const Pack<T>& x, const Pack<T>& dy, const Pack<T>& weight, float mean, float rstd, float slope,
    float offset) {
  Pack<T> result;
#pragma unroll
  for (int j = 0; j < Pack<T>::SIZE; j++) {
    const float n = normalised(to_float(x.element[j]), mean, rstd);
    const float g = __fmul_rn(to_float(dy.element[j]), to_float(weight.element[j]));
    result.element[j] =
        from_float<T>(__fmul_rn(__fmaf_rn(n, -slope, __fsub_rn(g, offset)), rstd));
  }
  return result;
}

template <typename T, int PACKS, bool BLOCK, bool CENTRED, typename Layout = Dense>
__device__ __forceinline__ void backward(
    int rows, int width, const T* x, const T* weight, const float* means, const float* rstds,
    const T* dy, T* dx, bool vector, Layout layout = {}) {
  __shared__ float scratch[2][32];
  const Place<BLOCK> place;
  if (place.row >= rows) return;
  const long long shift = layout.begin(place.row, width);
  Pack<T> packs[PACKS], upstream[PACKS];
  load_row(packs, x + shift, width, place, vector, layout);
  load_row(upstream, dy + (long long)place.row * width, width, place, vector, Dense{});
  const float mean = CENTRED ? means[place.row] : 0.0f, rstd = rstds[place.row];
  float products = 0.0f, terms = 0.0f;
#pragma unroll
  for (int k = 0; k < PACKS; k++) {
    const int first = place.template first<T>(k);
    if (first < width) {
      const Pack<T> factor = load_part(weight, first, width, vector);
      add_terms<CENTRED>(
          packs[k], upstream[k], factor, mean, rstd, products, terms, [](int, float, float) {});
    }
  }
  row_sums<CENTRED, BLOCK>(products, terms, scratch);
  const float slope = __fdiv_rn(products, float(width));
  const float offset = CENTRED ? __fdiv_rn(terms, float(width)) : 0.0f;
  stay_packed(packs);
  stay_packed(upstream);
#pragma unroll
  for (int k = 0; k < PACKS; k++) {
    const int first = place.template first<T>(k);
    if (first < width) {
      const Pack<T> factor = load_part(weight, first, width, vector);
      store_part(
          dx + shift, first, width, vector,
          gradient(packs[k], upstream[k], factor, mean, rstd, slope, offset), layout);
    }
  }
  layout.clear(dx, place.row, width, place.thread, place.threads, vector);
}

// As above for a group of rows (blockIdx.x) by one block, which also sums dWeight's terms, dy * n, and dBias's,
// dy, in registers. For packed rows only. Each thread has its packs of x and dy of the next STAGES - 1 rows on the
// way to shared memory, where nobody else looks at them: memory is kept busy while the threads of a row meet.
// Dynamic shared memory: [STAGES][2][PACKS][threads] packs. partial is [groups][sums][width].
template <typename T, int PACKS, int STAGES, bool BLOCK, bool CENTRED, typename Layout = Dense>
__device__ __forceinline__ void backward_sums(
    int rows, int width, int group, const T* x, const T* weight, const float* means, const float* rstds,
    const T* dy, T* dx, float* partial, Layout layout = {}) {
  constexpr int SIZE = Pack<T>::SIZE, SUMS = CENTRED ? 2 : 1, CHAINS = BLOCK ? 1 : WARPS;
  extern __shared__ uint4 ring[];
  __shared__ float scratch[2][2][32];
  const Place<BLOCK> place;
  const int chain = BLOCK ? 0 : threadIdx.x / 32;
  const int first_row = int(blockIdx.x) * group + chain;
  const int end = min(rows, int(blockIdx.x) * group + group);
  const int pitch = BLOCK ? int(blockDim.x) : 32 * WARPS;
  uint4* const slots = ring + threadIdx.x;

  float sums[SUMS][PACKS][SIZE];
#pragma unroll
  for (int s = 0; s < SUMS; s++) {
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
#pragma unroll
      for (int j = 0; j < SIZE; j++) sums[s][k][j] = 0.0f;
    }
  }
  Pack<T> factor[PACKS];
  load_row(factor, weight, width, place, true, Dense{});

  const auto fetch = [&](int row, int stage) {
    if (row < end) {
      const T* const x_row = x + layout.begin(row, width);
      const T* const dy_row = dy + (long long)row * width;
      uint4* const to = slots + stage * 2 * PACKS * pitch;
#pragma unroll
      for (int k = 0; k < PACKS; k++) {
        const int first = place.template first<T>(k);
        if (first < width) {
          copy_ahead(to + k * pitch, x_row + layout.place(first, width));
          copy_ahead(to + (PACKS + k) * pitch, dy_row + first);
        }
      }
    }
    end_group();
  };
#pragma unroll
  for (int s = 0; s < STAGES - 1; s++) fetch(first_row + s * CHAINS, s);

  float next_mean = 0.0f, next_rstd = 0.0f;
  if (first_row < end) {
    if constexpr (CENTRED) next_mean = means[first_row];
    next_rstd = rstds[first_row];
  }
  int stage = 0, parity = 0;
#pragma unroll 1
  for (int row = first_row; row < end; row += CHAINS) {
    wait_groups<STAGES - 2>();
    fetch(row + (STAGES - 1) * CHAINS, stage == 0 ? STAGES - 1 : stage - 1);
    const float mean = next_mean, rstd = next_rstd;
    if (row + CHAINS < end) {
      if constexpr (CENTRED) next_mean = means[row + CHAINS];
      next_rstd = rstds[row + CHAINS];
    }
    const uint4* const from = slots + stage * 2 * PACKS * pitch;
    const auto pack = [&](int k) { return *reinterpret_cast<const Pack<T>*>(from + k * pitch); };
    float products = 0.0f, terms = 0.0f;
    stay_packed(factor);
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
      if (place.template first<T>(k) < width) {
        add_terms<CENTRED>(
            pack(k), pack(PACKS + k), factor[k], mean, rstd, products, terms,
            [&](int j, float n, float upstream) {
              sums[0][k][j] = __fmaf_rn(upstream, n, sums[0][k][j]);
              if constexpr (CENTRED) sums[1][k][j] = __fadd_rn(sums[1][k][j], upstream);
            });
      }
    }
    row_sums<CENTRED, BLOCK>(products, terms, scratch[parity]);
    const float slope = __fdiv_rn(products, float(width));
    const float offset = CENTRED ? __fdiv_rn(terms, float(width)) : 0.0f;
    stay_packed(factor);
    T* const to = dx + layout.begin(row, width);
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
      const int first = place.template first<T>(k);
      if (first < width) {
        store_pack(
            to + layout.place(first, width),
            gradient(pack(k), pack(PACKS + k), factor[k], mean, rstd, slope, offset));
      }
    }
    layout.clear(dx, row, width, place.thread, place.threads, true);
    stage = stage == STAGES - 1 ? 0 : stage + 1;
    parity ^= 1;
  }

  float* const result = partial + (long long)blockIdx.x * SUMS * width;
  float* const mine = BLOCK ? result : reinterpret_cast<float*>(ring) + chain * SUMS * width;
  if constexpr (!BLOCK) {
    wait_groups<0>();
    __syncthreads();
  }
#pragma unroll
  for (int s = 0; s < SUMS; s++) {
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
      const int first = place.template first<T>(k);
      if (first < width) {
#pragma unroll
        for (int j = 0; j < SIZE; j += 4) {
          *reinterpret_cast<float4*>(mine + s * width + first + j) = make_float4(
              sums[s][k][j], sums[s][k][j + 1], sums[s][k][j + 2], sums[s][k][j + 3]);
        }
      }
    }
  }
  if constexpr (!BLOCK) {
    __syncthreads();
    const float* const chains = reinterpret_cast<const float*>(ring);
    for (int i = threadIdx.x; i < SUMS * width; i += 32 * WARPS) {
      float sum = chains[i];
#pragma unroll
      for (int c = 1; c < CHAINS; c++) sum = __fadd_rn(sum, chains[c * SUMS * width + i]);
      result[i] = sum;
    }
  }
}

// The same chains by a thread for each column (blockIdx.y) of a group (blockIdx.x).
template <typename T, bool CENTRED, int CHAINS, typename Layout = Dense>
__device__ __forceinline__ void column_sums(
    int rows, int width, int group, const T* x, const float* means, const float* rstds, const T* dy,
    float* partial, Layout layout = {}) {
  constexpr int SUMS = CENTRED ? 2 : 1, AHEAD = 8;
  const int column = int(blockIdx.y) * COLUMN_THREADS + int(threadIdx.x);
  if (column >= width) return;
  const int first_row = int(blockIdx.x) * group, count = min(rows - first_row, group);
  const int place = layout.place(column, width);
  const T* const upstream = dy + (long long)first_row * width + column;
  float weight[CHAINS], bias[CHAINS];
#pragma unroll
  for (int c = 0; c < CHAINS; c++) weight[c] = bias[c] = 0.0f;
#pragma unroll 1
  for (int base = 0; base < count; base += AHEAD) {
    T values[AHEAD], gradients[AHEAD];
#pragma unroll
    for (int r = 0; r < AHEAD; r++) {
      if (base + r < count) {
        values[r] = x[layout.begin(first_row + base + r, width) + place];
        gradients[r] = upstream[(long long)(base + r) * width];
      }
    }
#pragma unroll
    for (int r = 0; r < AHEAD; r++) {
      if (base + r < count) {
        const int row = first_row + base + r;
        const float g = to_float(gradients[r]), mean = CENTRED ? means[row] : 0.0f;
        const float n = normalised(to_float(values[r]), mean, rstds[row]);
        weight[r % CHAINS] = __fmaf_rn(g, n, weight[r % CHAINS]);
        bias[r % CHAINS] = __fadd_rn(bias[r % CHAINS], g);
      }
    }
  }
#pragma unroll
  for (int c = 1; c < CHAINS; c++) {
    weight[0] = __fadd_rn(weight[0], weight[c]);
    bias[0] = __fadd_rn(bias[0], bias[c]);
  }
  float* const to = partial + (long long)blockIdx.x * SUMS * width + column;
  to[0] = weight[0];
  if constexpr (CENTRED) to[width] = bias[0];
}

// The same by a thread for each pack of columns, for packed rows that are a block's: one chain for each column.
template <typename T, bool CENTRED, typename Layout = Dense>
__device__ __forceinline__ void column_pack_sums(
    int rows, int width, int group, const T* x, const float* means, const float* rstds, const T* dy,
    float* partial, Layout layout = {}) {
  constexpr int SIZE = Pack<T>::SIZE, SUMS = CENTRED ? 2 : 1, AHEAD = 4;
  const int column = (int(blockIdx.y) * COLUMN_PACK_THREADS + int(threadIdx.x)) * SIZE;
  if (column >= width) return;
  const int first_row = int(blockIdx.x) * group, end = min(rows, first_row + group);
  const int place = layout.place(column, width);
  float sums[SUMS][SIZE];
#pragma unroll
  for (int s = 0; s < SUMS; s++) {
#pragma unroll
    for (int j = 0; j < SIZE; j++) sums[s][j] = 0.0f;
  }
#pragma unroll 1
  for (int base = first_row; base < end; base += AHEAD) {
    Pack<T> values[AHEAD], gradients[AHEAD];
#pragma unroll
    for (int r = 0; r < AHEAD; r++) {
      if (base + r < end) {
        values[r] = load_passing(x + layout.begin(base + r, width) + place);
        gradients[r] = load_passing(dy + (long long)(base + r) * width + column);
      }
    }
#pragma unroll
    for (int r = 0; r < AHEAD; r++) {
      if (base + r < end) {
        const float mean = CENTRED ? means[base + r] : 0.0f, rstd = rstds[base + r];
#pragma unroll
        for (int j = 0; j < SIZE; j++) {
          const float g = to_float(gradients[r].element[j]);
          const float n = normalised(to_float(values[r].element[j]), mean, rstd);
          sums[0][j] = __fmaf_rn(g, n, sums[0][j]);
          if constexpr (CENTRED) sums[1][j] = __fadd_rn(sums[1][j], g);
        }
      }
    }
  }
  float* const to = partial + (long long)blockIdx.x * SUMS * width + column;
#pragma unroll
  for (int s = 0; s < SUMS; s++) {
#pragma unroll
    for (int j = 0; j < SIZE; j += 4) {
      *reinterpret_cast<float4*>(to + s * width + j) =
          make_float4(sums[s][j], sums[s][j + 1], sums[s][j + 2], sums[s][j + 3]);
    }
  }
}

// Merges the groups' sums of 32 columns (blockIdx.x) and adds them to sum blockIdx.y, where there is one: groups
// g mod MERGE_LANES in order by each warp, the warps' sums by a fixed tree.
template <int SUMS>
__device__ __forceinline__ void merge(
    int groups, int width, const float* partial, float* d_weight, float* d_bias) {
  __shared__ float lanes[MERGE_LANES][33];
  float* const target = blockIdx.y == 0 ? d_weight : d_bias;
  if (target == nullptr) return;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int base = int(blockIdx.x) * 32;
  float sum = 0.0f;
  if (base + lane < width) {
#pragma unroll 16
    for (int g = warp; g < groups; g += MERGE_LANES) {
      sum = __fadd_rn(sum, partial[((long long)g * SUMS + blockIdx.y) * width + base + lane]);
    }
  }
  lanes[warp][lane] = sum;
  __syncthreads();
  sum = warp_sum(lanes[lane][warp]);
  if (lane == 0 && base + warp < width) target[base + warp] = __fadd_rn(target[base + warp], sum);
}

}  // namespace saccade
