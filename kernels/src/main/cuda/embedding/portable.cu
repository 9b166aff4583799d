// Rows by index. Copies move 16 bytes at a time where addresses and the row's length allow, else 4 or 2.
//
// The sum of scatterAdd, where many rows may meet in one target row, adds in row order without
// atomics on floats: the rows of each target are gathered in a list, whose members come in any
// order but are then sorted, so that only where a list lies in memory is left to chance.
//   count:  ranks[r] = how many rows of the same target came before r, in no particular order
//   place:  the first comer of each target reserves a list of as many members as came
//   fill:   puts each row into its target's list
//   order:  sorts the lists
//   add:    one block for each list and strip of columns
#include "numeric.cuh"

using namespace saccade;

namespace {

constexpr int THREADS = 256;

// Loads of a thread that are under way together.
constexpr int UNROLL = 4;

// Sorting: warps take lists up to a warp's size, the block takes longer ones by a bitmap over
// WINDOW rows at a time.
constexpr int ORDER_WARPS = THREADS / 32;
constexpr int WINDOW_WORDS = 4096;
constexpr int WINDOW = WINDOW_WORDS * 32;

// Threads of a block of the sum, at most; the rows that it looks up together, and those that a thread
// loads ahead of adding them.
constexpr int ADD_THREADS = 128;
constexpr int LOOKED_UP = 256;
constexpr int AHEAD = 16;

// How many members all lists have, and how many lists there are.
struct Totals {
  int members, lists;
};

// The members of one target row's list.
struct alignas(16) List {
  int target, start, length, unused;
};

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

// The sum over threads before this one, of a value of each; `total` gets the sum over all.
__device__ __forceinline__ int exclusive_sum(int value, int* scratch, int& total) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int sum = value;
#pragma unroll
  for (int lanes = 1; lanes < 32; lanes *= 2) {
    const int before = __shfl_up_sync(0xffffffffu, sum, lanes);
    if (lane >= lanes) sum += before;
  }
  if (lane == 31) scratch[warp] = sum;
  __syncthreads();
  int base = 0, all = 0;
#pragma unroll
  for (int w = 0; w < THREADS / 32; w++) {
    if (w == warp) base = all;
    all += scratch[w];
  }
  __syncthreads();
  total = all;
  return base + sum - value;
}

// Sorts a list of up to 32 different numbers, one in each lane.
__device__ __forceinline__ void order_by_warp(int length, const int* list, int* ordered) {
  const int lane = threadIdx.x % 32;
  const int mine = lane < length ? list[lane] : 0;
  int rank = 0;
  for (int i = 0; i < length; i++) rank += __shfl_sync(0xffffffffu, mine, i) < mine;
  if (lane < length) ordered[rank] = mine;
}

// Sorts a list of different numbers below `rows`.
__device__ __forceinline__ void order_by_block(
    int rows, int length, const int* list, int* ordered, unsigned* bitmap, int* scratch) {
  constexpr int WORDS = WINDOW_WORDS / THREADS;
  int done = 0;
  for (int window = 0; window < rows; window += WINDOW) {
    for (int i = threadIdx.x; i < WINDOW_WORDS; i += THREADS) bitmap[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < length; i += THREADS) {
      const int bit = list[i] - window;
      if (bit >= 0 && bit < WINDOW) atomicOr(&bitmap[bit / 32], 1u << (bit % 32));
    }
    __syncthreads();
    const int first = int(threadIdx.x) * WORDS;
    int members = 0;
#pragma unroll
    for (int i = 0; i < WORDS; i++) members += __popc(bitmap[first + i]);
    int total;
    int to = done + exclusive_sum(members, scratch, total);
    for (int i = 0; i < WORDS; i++) {
      for (unsigned word = bitmap[first + i]; word != 0; word &= word - 1) {
        ordered[to++] = window + (first + i) * 32 + __ffs(word) - 1;
      }
    }
    done += total;
    __syncthreads();
  }
}

// What N elements are until they are needed: the compiler would spread narrow ones over a register each.
template <int BYTES> struct BitsOf;
template <> struct BitsOf<8> { using type = uint2; };
template <> struct BitsOf<4> { using type = unsigned; };
template <> struct BitsOf<2> { using type = unsigned short; };

// Adds a list's rows, N columns of each by a thread, to its target row.
template <typename S, typename T, int N>
__device__ __forceinline__ void add(
    int width, const Totals* totals, const List* lists, const int* ordered, const S* source, T* target) {
  using Bits = typename BitsOf<sizeof(S) * N>::type;
  __shared__ int rows[LOOKED_UP];
  if (int(blockIdx.x) >= totals->lists) return;
  const List list = lists[blockIdx.x];
  const int column = (int(blockIdx.y) * int(blockDim.x) + int(threadIdx.x)) * N;
  const bool inside = column < width;
  T* const at = target + (long long)list.target * width + column;
  Elements<T, N> old;
  float sum[N];
  if (inside) {
    old = load_elements<N>(at);
#pragma unroll
    for (int j = 0; j < N; j++) sum[j] = to_float(old.element[j]);
  }
  for (int base = 0; base < list.length; base += LOOKED_UP) {
    const int here = min(list.length - base, LOOKED_UP);
    for (int i = threadIdx.x; i < here; i += blockDim.x) rows[i] = ordered[list.start + base + i];
    __syncthreads();
    for (int first = 0; inside && first < here; first += AHEAD) {
      Bits terms[AHEAD];
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        if (first + i < here) {
          const S* const term = source + (long long)rows[first + i] * width + column;
          terms[i] = *reinterpret_cast<const Bits*>(term);
        }
      }
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        if (first + i < here) {
#pragma unroll
          for (int j = 0; j < N; j++) {
            sum[j] = __fadd_rn(sum[j], to_float(reinterpret_cast<const S*>(&terms[i])[j]));
          }
        }
      }
    }
    __syncthreads();
  }
  if (inside) {
#pragma unroll
    for (int j = 0; j < N; j++) old.element[j] = from_float<T>(sum[j]);
    store_elements<N>(at, old);
  }
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

// counts has an element for each target row; it and the totals begin as 0.
KERNEL count(int rows, int range, const int* indices, int* counts, int* ranks, int* fault) {
  const int row = int(blockIdx.x) * THREADS + int(threadIdx.x);
  if (row >= rows) return;
  const int index = indices[row];
  ranks[row] = in_range(index, range, row, fault) ? atomicAdd(&counts[index], 1) : -1;
}

KERNEL place(
    int rows, const int* indices, const int* counts, const int* ranks, Totals* totals, List* lists,
    int* starts) {
  const int row = int(blockIdx.x) * THREADS + int(threadIdx.x);
  if (row >= rows || ranks[row] != 0) return;
  const int target = indices[row];
  const int start = atomicAdd(&totals->members, counts[target]);
  starts[target] = start;
  lists[atomicAdd(&totals->lists, 1)] = List{target, start, counts[target], 0};
}

KERNEL fill(int rows, const int* indices, const int* ranks, const int* starts, int* members) {
  const int row = int(blockIdx.x) * THREADS + int(threadIdx.x);
  if (row >= rows || ranks[row] < 0) return;
  members[starts[indices[row]] + ranks[row]] = row;
}

KERNEL order(int rows, const Totals* totals, const List* lists, const int* members, int* ordered) {
  __shared__ unsigned bitmap[WINDOW_WORDS];
  __shared__ int scratch[THREADS / 32];
  const int first = int(blockIdx.x) * ORDER_WARPS;
  const int here = min(totals->lists - first, ORDER_WARPS);
  const int own = threadIdx.x / 32;
  if (own < here) {
    const List list = lists[first + own];
    if (list.length <= 32) order_by_warp(list.length, members + list.start, ordered + list.start);
  }
  for (int i = 0; i < here; i++) {
    const List list = lists[first + i];
    if (list.length > 32) {
      order_by_block(
          rows, list.length, members + list.start, ordered + list.start, bitmap, scratch);
    }
  }
}

#define ADD(NAME, S, T, N)                                                                       \
  extern "C" __global__ void __launch_bounds__(ADD_THREADS) add_##NAME(                          \
      int width, const Totals* totals, const List* lists, const int* ordered, const S* source,   \
      T* target) {                                                                               \
    add<S, T, N>(width, totals, lists, ordered, source, target);                                 \
  }

ADD(f32, float, float, 2)
ADD(bf16, bf16, bf16, 4)
ADD(wide_bf16, bf16, float, 4)
ADD(single_f32, float, float, 1)
ADD(single_bf16, bf16, bf16, 1)
ADD(single_wide_bf16, bf16, float, 1)
