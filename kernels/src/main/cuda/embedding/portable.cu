// Rows by index. Copies move 16 bytes at a time where addresses and the row's length allow, else 4 or 2.
//
// The sum of scatterAdd, where many rows may meet in one target row, adds in row order without
// atomics on floats:
//   count:  ranks[r] = how many rows of the same target came before r, in no particular order; the first
//           SLOTS comers leave their number with the target
//   add:    the first comer of each target adds all its rows, with one block for each strip of columns. It sorts
//           what it finds in the slots, or finds the rows of a long list in order by looking at all indices: which
//           row comes first is left to chance, but never shows.
#include "numeric.cuh"

using namespace saccade;

namespace {

constexpr int THREADS = 256;

// Loads of a thread that are under way together.
constexpr int UNROLL = 4;

// Rows of a target that need no search.
constexpr int SLOTS = 16;

// Threads of a block of the sum, at most; the rows that a warp looks for at once, and those that a
// thread loads ahead of adding them.
constexpr int ADD_THREADS = 128;
constexpr int SEARCHED = 32 * 32;
constexpr int AHEAD = 8;

// Blocks of the sum that a multiprocessor should hold, so that one row after another is on its way.
constexpr int ADD_BLOCKS = 7;

__device__ __forceinline__ bool in_range(int index, int range, int row, int* fault) {
  if (index >= 0 && index < range) return true;
  report_fault(fault, 1, index, range, row);
  return false;
}

// Copies row r to or from row indices[r]: `lanes` threads, a power of two, share a row of `units`.
template <typename Unit, bool GATHER>
__device__ __forceinline__ void move(
    int rows, int units, int lanes, int range, const int* indices, const Unit* from, Unit* to, int* fault) {
  const int row = int(blockIdx.x) * (THREADS / lanes) + int(threadIdx.x) / lanes;
  if (row >= rows) return;
  const int lane = int(threadIdx.x) & (lanes - 1);
  const int index = indices[row];
  if (index < 0 || index >= range) {
    if (lane == 0) report_fault(fault, 1, index, range, row);
    return;
  }
  const Unit* const source = from + (long long)(GATHER ? index : row) * units;
  Unit* const target = to + (long long)(GATHER ? row : index) * units;
  for (int first = lane; first < units; first += UNROLL * lanes) {
    Unit unit[UNROLL];
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {
      if (first + u * lanes < units) unit[u] = source[first + u * lanes];
    }
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {
      if (first + u * lanes < units) target[first + u * lanes] = unit[u];
    }
  }
}

// N neighbouring elements of a row, by accesses of up to 16 bytes.
template <int N, typename T> __device__ __forceinline__ void load_columns(const T* from, float (&to)[N]) {
  constexpr int EACH = N * sizeof(T) > 16 ? 16 / sizeof(T) : N;
#pragma unroll
  for (int i = 0; i < N; i += EACH) {
    const Elements<T, EACH> elements = load_elements<EACH>(from + i);
#pragma unroll
    for (int j = 0; j < EACH; j++) to[i + j] = to_float(elements.element[j]);
  }
}

template <int N, typename T> __device__ __forceinline__ void store_columns(T* to, const float (&from)[N]) {
  constexpr int EACH = N * sizeof(T) > 16 ? 16 / sizeof(T) : N;
#pragma unroll
  for (int i = 0; i < N; i += EACH) {
    Elements<T, EACH> elements;
#pragma unroll
    for (int j = 0; j < EACH; j++) elements.element[j] = from_float<T>(from[i + j]);
    store_elements<EACH>(to + i, elements);
  }
}

// What N elements are until they are needed: the compiler would spread narrow ones over a register each.
template <int BYTES> struct BitsOf;
template <> struct BitsOf<16> { using type = uint4; };
template <> struct BitsOf<4> { using type = unsigned; };
template <> struct BitsOf<2> { using type = unsigned short; };

template <typename S, int N>
__device__ __forceinline__ void add_term(const typename BitsOf<sizeof(S) * N>::type& bits, float (&sum)[N]) {
#pragma unroll
  for (int j = 0; j < N; j++) {
    sum[j] = __fadd_rn(sum[j], to_float(reinterpret_cast<const S*>(&bits)[j]));
  }
}

// Adds rows base + found[0..count) in order.
template <typename S, int N>
__device__ __forceinline__ void add_rows(
    int width, int count, int base, const unsigned short* found, const S* source, float (&sum)[N]) {
  using Bits = typename BitsOf<sizeof(S) * N>::type;
  for (int first = 0; first < count; first += AHEAD) {
    Bits terms[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      if (first + i < count) {
        const S* const term = source + (long long)(base + found[first + i]) * width;
        terms[i] = *reinterpret_cast<const Bits*>(term);
      }
    }
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      if (first + i < count) add_term<S>(terms[i], sum);
    }
  }
}

// Finds the rows of `target` among those from `base` on, SEARCHED for each warp of the block, in order. Returns
// how many they are.
__device__ __forceinline__ int search(
    int rows, int target, int base, const int* indices, int* counts, unsigned short* found) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int first = warp * SEARCHED;
  unsigned own = 0;
#pragma unroll 8
  for (int i = 0; i < 32; i++) {
    const int row = base + first + i * 32 + lane;
    const unsigned word = __ballot_sync(0xffffffffu, row < rows && indices[row] == target);
    if (lane == i) own = word;
  }
  int sum = __popc(own);
#pragma unroll
  for (int lanes = 1; lanes < 32; lanes *= 2) {
    const int before = __shfl_up_sync(0xffffffffu, sum, lanes);
    if (lane >= lanes) sum += before;
  }
  if (lane == 31) counts[warp] = sum;
  __syncthreads();
  int to = sum - __popc(own), total = 0;
  for (int w = 0; w < warps; w++) {
    if (w < warp) to += counts[w];
    total += counts[w];
  }
  for (unsigned word = own; word != 0; word &= word - 1) {
    found[to++] = static_cast<unsigned short>(first + lane * 32 + __ffs(word) - 1);
  }
  __syncthreads();
  return total;
}

// Row blockIdx.x, where it came first, adds its target's rows, N columns of each by a thread.
template <typename S, typename T, int N>
__device__ __forceinline__ void add(
    int rows, int width, const int* indices, const int* counts, const int* ranks, const int* slots,
    const S* source, T* target) {
  using Bits = typename BitsOf<sizeof(S) * N>::type;
  __shared__ unsigned short found[ADD_THREADS / 32 * SEARCHED];
  __shared__ int scratch[ADD_THREADS / 32];
  __shared__ int sorted[SLOTS];
  const int row = blockIdx.x;
  const int column = (int(blockIdx.y) * int(blockDim.x) + int(threadIdx.x)) * N;
  const bool inside = column < width;
  const int index = indices[row];
  const S* const from = source + column;
  // Most targets have one row: it is on its way before that is known.
  Bits only{};
  if (inside) only = *reinterpret_cast<const Bits*>(from + (long long)row * width);
  if (ranks[row] != 0) return;
  T* const at = target + (long long)index * width + column;
  float sum[N];
#pragma unroll
  for (int j = 0; j < N; j++) sum[j] = 0.0f;
  if (inside) load_columns<N>(at, sum);
  const int count = counts[index];
  if (count == 1) {
    add_term<S>(only, sum);
  } else if (count <= SLOTS) {
    if (threadIdx.x < 32) {
      const int lane = threadIdx.x;
      const int mine = lane < count ? slots[(long long)index * SLOTS + lane] : 0;
      int rank = 0;
      for (int i = 0; i < count; i++) rank += __shfl_sync(0xffffffffu, mine, i) < mine;
      if (lane < count) sorted[rank] = mine;
    }
    __syncthreads();
    if (inside) {
#pragma unroll 4
      for (int i = 0; i < count; i++) {
        const Bits term = *reinterpret_cast<const Bits*>(from + (long long)sorted[i] * width);
        add_term<S>(term, sum);
      }
    }
  } else {
    const int step = int(blockDim.x) / 32 * SEARCHED;
    int left = count;
    for (int base = 0; left > 0; base += step) {
      const int here = search(rows, index, base, indices, scratch, found);
      if (inside) add_rows<S>(width, here, base, found, from, sum);
      left -= here;
      __syncthreads();
    }
  }
  if (inside) store_columns<N>(at, sum);
}

}  // namespace

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

#define MOVES(NAME, UNIT)                                                                                \
  KERNEL gather_##NAME(                                                                                  \
      int rows, int units, int lanes, int range, const int* indices, const UNIT* from, UNIT* to,         \
      int* fault) {                                                                                      \
    move<UNIT, true>(rows, units, lanes, range, indices, from, to, fault);                               \
  }                                                                                                      \
  KERNEL scatter_##NAME(                                                                                 \
      int rows, int units, int lanes, int range, const int* indices, const UNIT* from, UNIT* to,         \
      int* fault) {                                                                                      \
    move<UNIT, false>(rows, units, lanes, range, indices, from, to, fault);                              \
  }

MOVES(16, uint4)
MOVES(4, unsigned)
MOVES(2, unsigned short)

// counts has an element for each target row, which begins as 0, slots SLOTS of them.
KERNEL count(int rows, int range, const int* indices, int* counts, int* ranks, int* slots, int* fault) {
  const int row = int(blockIdx.x) * THREADS + int(threadIdx.x);
  if (row >= rows) return;
  const int index = indices[row];
  int rank = -1;
  if (in_range(index, range, row, fault)) {
    rank = atomicAdd(&counts[index], 1);
    if (rank < SLOTS) slots[(long long)index * SLOTS + rank] = row;
  }
  ranks[row] = rank;
}

#define ADD(NAME, S, T, N)                                                                               \
  extern "C" __global__ void __launch_bounds__(ADD_THREADS, ADD_BLOCKS) add_##NAME(                                  \
      int rows, int width, const int* indices, const int* counts, const int* ranks, const int* slots,    \
      const S* source, T* target) {                                                                      \
    add<S, T, N>(rows, width, indices, counts, ranks, slots, source, target);                            \
  }

ADD(f32, float, float, 4)
ADD(bf16, bf16, bf16, 8)
ADD(wide_bf16, bf16, float, 8)
ADD(single_f32, float, float, 1)
ADD(single_bf16, bf16, bf16, 1)
ADD(single_wide_bf16, bf16, float, 1)
