// The tensor cores' products, worked out from the fragments that the PTX ISA lays down. Real ones:
// layers/cuda/mma.h.
#pragma once

#include <cstdint>

#include "tests/cuda/emulation_threads.h"

namespace sluice {

// d += a b: [16, 16] f16 times [16, 8] f16, into f32. All 32 lanes take part.
void mma_m16n8k16_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                      emulation::Site site = emulation::Site::here());

// d += a b: [16, 32] s8 times [32, 8] s8, into s32. All 32 lanes take part.
void mma_m16n8k32_s8(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     emulation::Site site = emulation::Site::here());

// Four 8 x 8 squares of halves, transposed. In the lanes' own code, where their reads are watched.
inline void load_transposed(unsigned (&of)[4], const void* row,
                            emulation::Site site = emulation::Site::here()) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int i = 0; i < 4; ++i) {
    of[i] = 0;
    for (int k = 0; k < 2; ++k) {
      const auto from = __shfl_sync(~0u, reinterpret_cast<std::uint64_t>(row),
                                    8 * i + lane % 4 * 2 + k, 32, site);
      const auto bits = reinterpret_cast<const unsigned short*>(from)[lane / 4];
      of[i] |= static_cast<unsigned>(bits) << 16 * k;
    }
  }
}

}  // namespace sluice
