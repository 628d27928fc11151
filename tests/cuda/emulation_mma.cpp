#include "tests/cuda/emulation_mma.h"

#include <cuda_fp16.h>

#include <bit>
#include <cstdint>

#include "tests/cuda/emulation_block.h"

namespace sluice {
namespace {

using emulation::kWarpThreads;

template <typename Sum>
struct Fragments {
  Sum* d;
  const unsigned* a;
  const unsigned* b;
};

// Element `i` of the `kCount` that are packed into a register.
template <typename T>
T unpack(unsigned bits, unsigned i);
template <>
double unpack<double>(unsigned bits, unsigned i) {
  const auto half = static_cast<unsigned short>(bits >> 16 * i);
  return static_cast<double>(__half2float(__ushort_as_half(half)));
}
template <>
std::int64_t unpack<std::int64_t>(unsigned bits, unsigned i) {
  return static_cast<std::int8_t>(bits >> 8 * i);
}

// Lane 4 g + t holds, of rows g and g + 8 of A, of column g of B: the registers' worth of elements
// from k = t * packed on, and those half of k further; of D's rows, columns 2 t and 2 t + 1.
template <typename Sum, typename Exact, unsigned kDepth>
void multiply(unsigned /*mask*/, void* const* payloads) {
  constexpr unsigned kPacked = kDepth / 8;
  Exact a[16][kDepth];
  Exact b[kDepth][8];
  for (unsigned lane = 0; lane < kWarpThreads; ++lane) {
    const auto& own = *static_cast<const Fragments<Sum>*>(payloads[lane]);
    const unsigned g = lane / 4;
    const unsigned t = lane % 4;
    for (unsigned i = 0; i < kPacked; ++i) {
      const unsigned k = t * kPacked + i;
      a[g][k] = unpack<Exact>(own.a[0], i);
      a[g + 8][k] = unpack<Exact>(own.a[1], i);
      a[g][k + kDepth / 2] = unpack<Exact>(own.a[2], i);
      a[g + 8][k + kDepth / 2] = unpack<Exact>(own.a[3], i);
      b[k][g] = unpack<Exact>(own.b[0], i);
      b[k + kDepth / 2][g] = unpack<Exact>(own.b[1], i);
    }
  }
  for (unsigned lane = 0; lane < kWarpThreads; ++lane) {
    const auto& own = *static_cast<const Fragments<Sum>*>(payloads[lane]);
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = lane / 4 + i / 2 * 8;
      const unsigned column = lane % 4 * 2 + i % 2;
      Exact sum = own.d[i];
      for (unsigned k = 0; k < kDepth; ++k) sum += a[row][k] * b[k][column];
      own.d[i] = static_cast<Sum>(sum);
    }
  }
}

}  // namespace

void mma_m16n8k16_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                      emulation::Site site) {
  Fragments<float> own = {d, a, b};
  emulation::current_thread->runner->collective("mma_m16n8k16_f16", ~0u, &own,
                                                multiply<float, double, 16>, site);
}

void mma_m16n8k32_s8(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     emulation::Site site) {
  Fragments<int> own = {d, a, b};
  emulation::current_thread->runner->collective("mma_m16n8k32_s8", ~0u, &own,
                                                multiply<int, std::int64_t, 32>, site);
}

}  // namespace sluice
