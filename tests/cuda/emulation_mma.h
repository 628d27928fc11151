// The tensor cores' products, worked out from the fragments that the PTX ISA lays down. Real ones:
// layers/cuda/mma.h.
#pragma once

#include "tests/cuda/emulation_threads.h"

namespace sluice {

// d += a b: [16, 16] f16 times [16, 8] f16, into f32. All 32 lanes take part.
void mma_m16n8k16_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                      emulation::Site site = emulation::Site::here());

// d += a b: [16, 32] s8 times [32, 8] s8, into s32. All 32 lanes take part.
void mma_m16n8k32_s8(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     emulation::Site site = emulation::Site::here());

}  // namespace sluice
