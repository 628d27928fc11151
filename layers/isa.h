// The instruction sets that kernels are compiled for, and the one in use.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace sluice {

enum class Isa : std::uint8_t { kBaseline, kAvx2, kAvxVnni, kAvx512, kAvx512Bf16 };

// Names of those that this machine runs, best first: "avx512-bf16", "avx512-vnni", "avx-vnni",
// "avx2", "baseline" (x86-64-v2).
std::span<const std::string_view> isa_names();

// The best, unless another is forced. Results agree between them within rounding.
Isa isa();
std::string_view isa_name();

// For tests and benchmarks: not while anything computes. Error{kUsage} if not supported here.
void force_isa(std::string_view name);

}  // namespace sluice
