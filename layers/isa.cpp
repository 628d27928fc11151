#include "layers/isa.h"

#include <cpuid.h>

#include <array>

#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

// GCC 12 can't be asked for it by name. To be looked for where there is AVX2.
bool has_avx_vnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4 & 1) != 0;
}

struct Supported {
  std::array<Isa, 5> isas{};
  std::array<std::string_view, 5> names{};
  std::size_t count = 0;
  std::size_t used = 0;

  Supported() {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vnni")) {
      if (__builtin_cpu_supports("avx512bf16")) add(Isa::kAvx512Bf16, "avx512-bf16");
      add(Isa::kAvx512, "avx512-vnni");
    }
    // Every processor with AVX2 has F16C, which clang 14 can't ask for.
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      if (has_avx_vnni()) add(Isa::kAvxVnni, "avx-vnni");
      add(Isa::kAvx2, "avx2");
    }
    add(Isa::kBaseline, "baseline");
  }

  void add(Isa isa, std::string_view name) {
    isas[count] = isa;
    names[count++] = name;
  }
};

Supported& supported() {
  static Supported all;
  return all;
}

}  // namespace

std::span<const std::string_view> isa_names() {
  return {supported().names.data(), supported().count};
}

Isa isa() {
  return supported().isas[supported().used];
}

std::string_view isa_name() {
  return supported().names[supported().used];
}

void force_isa(std::string_view name) {
  Supported& all = supported();
  for (std::size_t i = 0; i < all.count; ++i) {
    if (all.names[i] != name) continue;
    all.used = i;
    return;
  }
  throw Error(ErrorKind::kUsage,
              text("instruction set ", name, " is not supported here; the best is ", all.names[0]));
}

}  // namespace sluice
