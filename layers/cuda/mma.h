// Products of small matrices by the tensor cores, a warp together.
//
// Lane 4 g + t holds fragments as PTX's mma lays them down, k counted along a row of A:
//   a[0], a[1]  rows g, g + 8; the register's worth of elements from k = 2 t (f16), 4 t (s8) on
//   a[2], a[3]  the same, half of k further
//   b[0], b[1]  column g of B, from the same k on as a[0], a[2]
//   d[0..1]     row g, columns 2 t and 2 t + 1; d[2..3]: row g + 8
#pragma once

namespace sluice {

// d += a b: [16, 16] f16 times [16, 8] f16, into f32. All 32 lanes take part.
__device__ __forceinline__ void mma_m16n8k16_f16(float (&d)[4], const unsigned (&a)[4],
                                                 const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
  }
#endif
}

// d += a b: [16, 32] s8 times [32, 8] s8, into s32. All 32 lanes take part.
__device__ __forceinline__ void mma_m16n8k32_s8(int (&d)[4], const unsigned (&a)[4],
                                                const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  // In quarters: eight rows by half of k.
#pragma unroll
  for (int quarter = 0; quarter < 4; ++quarter) {
    const int rows = quarter % 2;
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
                 : "+r"(d[2 * rows]), "+r"(d[2 * rows + 1])
                 : "r"(a[quarter]), "r"(b[quarter / 2]));
  }
#endif
}

// Four 8 x 8 squares of halves from shared memory, transposed: lane 8 i + r gives the address of
// row r of square i, sixteen bytes aligned; of[i] of lane 4 g + t is rows 2 t and 2 t + 1 of column
// g. A [16, 16] square, k down its rows, gives b of two products of 16 x 8. All 32 lanes take part.
__device__ __forceinline__ void load_transposed(unsigned (&of)[4], const void* row) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(of[0]), "=r"(of[1]), "=r"(of[2]), "=r"(of[3])
               : "r"(address)
               : "memory");
}

}  // namespace sluice
