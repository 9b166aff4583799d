// Asynchronous copies to shared memory, matrix fragments and the bf16 tensor-core product: the PTX of
// sm_80 and later, one wrapper an instruction.
#pragma once

#include <cstdint>

namespace saccade {

// The 32-bit address that PTX wants for shared memory.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Copies BYTES bytes (4, 8 or 16, the alignment of both sides), of which all that lie beyond the first
// `valid` become 0 and are not read; with `valid` = 0 `from` may point anywhere. 16 bytes go past the
// first-level cache, and the whole 128-byte line is fetched into the second: its rest is the next tile.
template <int BYTES> __device__ __forceinline__ void cp_async(uint32_t to, const void* from, int valid) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16);
  if constexpr (BYTES == 16) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(valid)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(to), "l"(from), "n"(BYTES), "r"(valid)
                 : "memory");
  }
}

// Closes a group of this thread's copies; a group may be empty.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

// Waits until at most PENDING of this thread's groups are under way. What other threads copied is seen
// after a barrier.
template <int PENDING> __device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(PENDING) : "memory");
}

// Stores 16 bytes to shared memory.
__device__ __forceinline__ void store_shared(uint32_t to, const uint32_t (&from)[4]) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};\n" ::"r"(to), "r"(from[0]), "r"(from[1]), "r"(from[2]),
               "r"(from[3])
               : "memory");
}

// Loads four 8 x 8 matrices of 16-bit elements. Lane l gives the address of row l % 8 of matrix l / 8;
// it receives, of each matrix, row l / 4, columns 2 (l % 4) and the next.
__device__ __forceinline__ void ldmatrix(uint32_t (&to)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

// The same with each matrix transposed: lane l receives column l / 4, rows 2 (l % 4) and the next.
__device__ __forceinline__ void ldmatrix_transposed(uint32_t (&to)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

// s += a b for a [16, 16] and b [16, 8] of bf16 and s [16, 8] of fp32. With g = lane / 4 and
// q = 2 (lane % 4), a lane holds
//   a: rows g and g + 8 of columns q, q + 1, then the same of columns q + 8, q + 9
//   b: rows q, q + 1 of column g (b0), then rows q + 8, q + 9 (b1)
//   s: row g of columns q, q + 1, then row g + 8.
__device__ __forceinline__ void mma_bf16(float (&s)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace saccade
