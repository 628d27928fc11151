// The instruction sets of these tests: those that avx512.h emulates. Linked in the place of
// layers/isa.cpp.
#include <array>

#include "layers/isa.h"
#include "memory/error.h"

namespace sluice {
namespace {

constexpr std::array<Isa, 3> kIsas = {Isa::kAvx512Bf16, Isa::kAvx512, Isa::kAvxVnni};
constexpr std::array<std::string_view, 3> kNames = {"avx512-bf16", "avx512-vnni", "avx-vnni"};
std::size_t used = 0;

}  // namespace

std::span<const std::string_view> isa_names() {
  return kNames;
}

Isa isa() {
  return kIsas[used];
}

std::string_view isa_name() {
  return kNames[used];
}

void force_isa(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) {
      used = i;
      return;
    }
  }
  throw Error(ErrorKind::kUsage, text("instruction set ", name, " is not emulated"));
}

}  // namespace sluice
