// Sizes: literals, rounding, and how bytes are printed and read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

inline namespace literals {
constexpr std::size_t operator""_KiB(unsigned long long n) {
  return n << 10;
}
constexpr std::size_t operator""_MiB(unsigned long long n) {
  return n << 20;
}
constexpr std::size_t operator""_GiB(unsigned long long n) {
  return n << 30;
}
}  // namespace literals

// Every buffer that a kernel reads starts at a multiple of this.
inline constexpr std::size_t kAlignBytes = 256;

constexpr std::size_t ceil_div(std::size_t a, std::size_t b) {
  return (a + b - 1) / b;
}
constexpr std::size_t align_up(std::size_t n, std::size_t to = kAlignBytes) {
  return ceil_div(n, to) * to;
}

// "96.0 MiB", "1.50 GiB", "512 B".
std::string print_bytes(std::uint64_t bytes);
// "12.3 GB/s": rates are decimal, as links and memories are sold.
std::string print_rate(double bytes_per_second);

// "96MiB", "1.5GiB", "2048" (bytes), "24GB" (decimal). Throws Error{kUsage} naming `option`.
// "96M" is refused, for it says neither MiB nor MB. Letters may be of either case.
std::size_t parse_bytes(std::string_view text, std::string_view option);
// "16GB/s", "1.5GiB/s", in bytes per second and never 0. Throws as parse_bytes does.
double parse_rate(std::string_view text, std::string_view option);
// "500GFLOP/s", "2TFLOP/s", in operations per second and never 0. Throws as parse_bytes does.
double parse_operations(std::string_view text, std::string_view option);

}  // namespace sluice
