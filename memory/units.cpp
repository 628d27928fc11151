#include "memory/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>

#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {

namespace {

struct Unit {
  std::string_view name;
  std::uint64_t bytes;
};
constexpr std::array<Unit, 10> kUnits = {{
    {"", 1},
    {"B", 1},
    {"KiB", 1ull << 10},
    {"MiB", 1ull << 20},
    {"GiB", 1ull << 30},
    {"TiB", 1ull << 40},
    {"kB", 1'000},
    {"MB", 1'000'000},
    {"GB", 1'000'000'000},
    {"TB", 1'000'000'000'000},
}};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_letters(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

std::optional<std::uint64_t> unit_bytes(std::string_view name) {
  for (const Unit& unit : kUnits) {
    if (same_letters(unit.name, name)) return unit.bytes;
  }
  return std::nullopt;
}

// Cuts digits off the front of `text`.
std::string_view cut_digits(std::string_view& text) {
  std::size_t count = 0;
  while (count < text.size() && is_digit(text[count])) ++count;
  const std::string_view digits = text.substr(0, count);
  text.remove_prefix(count);
  return digits;
}

// "1.5" of "1.5GiB"; a number is digits, and may have a point with digits after it.
struct Number {
  std::string_view whole;
  std::string_view fraction;  // without the point
};
std::optional<Number> cut_number(std::string_view& text) {
  Number number{cut_digits(text), {}};
  if (number.whole.empty()) return std::nullopt;
  if (!text.empty() && text.front() == '.') {
    text.remove_prefix(1);
    number.fraction = cut_digits(text);
    if (number.fraction.empty()) return std::nullopt;
  }
  if (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return number;
}

// `number` times `unit`, to the nearest byte; nothing if it doesn't fit 64 bits.
std::optional<std::uint64_t> scaled(const Number& number, std::uint64_t unit) {
  std::uint64_t whole = 0;
  const char* end = number.whole.data() + number.whole.size();
  if (std::from_chars(number.whole.data(), end, whole).ec != std::errc{}) return std::nullopt;
  double fraction = 0.0;
  double weight = 1.0;
  for (const char digit : number.fraction) fraction += (digit - '0') * (weight /= 10.0);
  std::uint64_t bytes = 0;
  const auto part = static_cast<std::uint64_t>(std::llround(fraction * static_cast<double>(unit)));
  if (__builtin_mul_overflow(whole, unit, &bytes)) return std::nullopt;
  if (__builtin_add_overflow(bytes, part, &bytes)) return std::nullopt;
  return bytes;
}

// Three digits: "96.0 MiB". `step` is the ratio between neighbouring names.
template <std::size_t N>
std::string print_scaled(double value, double step, const std::array<const char*, N>& names) {
  std::size_t unit = 0;
  // What would be printed as a whole `step` goes to the next unit: 1023.7 KiB is 1.00 MiB.
  while (unit + 1 < N && value >= step - 0.5) {
    value /= step;
    ++unit;
  }
  const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  char buffer[64];
  (void)std::snprintf(buffer, sizeof buffer, "%.*f %s", decimals, value, names[unit]);
  return buffer;
}

[[noreturn]] void refuse(std::string_view option, std::string_view text_given,
                         std::string_view wanted) {
  throw Error(ErrorKind::kUsage, text(option, ": \"", printable(text_given), "\" is not ", wanted));
}

}  // namespace

std::string print_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return text(bytes, " B");
  constexpr std::array<const char*, 7> kNames = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  return print_scaled(static_cast<double>(bytes), 1024.0, kNames);
}

std::string print_rate(double bytes_per_second) {
  if (!std::isfinite(bytes_per_second) || bytes_per_second < 0.0) return "unknown rate";
  constexpr std::array<const char*, 6> kNames = {"B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s"};
  return print_scaled(bytes_per_second, 1000.0, kNames);
}

std::size_t parse_bytes(std::string_view given, std::string_view option) {
  constexpr std::string_view kWanted = "a size; say for example 96MiB, 1.5GiB, 24GB or 2048";
  std::string_view rest = given;
  const std::optional<Number> number = cut_number(rest);
  const std::optional<std::uint64_t> unit = unit_bytes(rest);
  if (!number || !unit) refuse(option, given, kWanted);
  if (*unit == 1 && !number->fraction.empty()) refuse(option, given, "a whole number of bytes");
  const std::optional<std::uint64_t> bytes = scaled(*number, *unit);
  if (!bytes) refuse(option, given, "a size below 16 EiB (2^64 bytes)");
  return *bytes;
}

double parse_operations(std::string_view given, std::string_view option) {
  constexpr std::string_view kWanted = "a speed; say for example 500GFLOP/s or 2TFLOP/s";
  constexpr std::string_view kUnit = "FLOP/s";
  std::string_view rest = given;
  const std::optional<Number> number = cut_number(rest);
  if (!number || rest.size() < kUnit.size()) refuse(option, given, kWanted);
  const std::string_view prefix = rest.substr(0, rest.size() - kUnit.size());
  const std::optional<std::uint64_t> scale = unit_bytes(std::string(prefix) + "B");
  const bool binary = prefix.size() > 1;  // "Gi"
  if (!same_letters(rest.substr(prefix.size()), kUnit) || !scale || binary) {
    refuse(option, given, kWanted);
  }
  const std::optional<std::uint64_t> rate = scaled(*number, *scale);
  if (!rate || *rate == 0) refuse(option, given, "a speed of 1FLOP/s to 18EFLOP/s");
  return static_cast<double>(*rate);
}

double parse_rate(std::string_view given, std::string_view option) {
  constexpr std::string_view kWanted = "a rate; say for example 16GB/s, 500MB/s or 1.5GiB/s";
  std::string_view rest = given;
  if (!rest.ends_with("/s")) refuse(option, given, kWanted);
  rest.remove_suffix(2);
  const std::optional<Number> number = cut_number(rest);
  const std::optional<std::uint64_t> unit = unit_bytes(rest);
  if (!number || !unit || rest.empty()) refuse(option, given, kWanted);
  const std::optional<std::uint64_t> rate = scaled(*number, *unit);
  if (!rate || *rate == 0) refuse(option, given, "a rate of at least 1B/s and below 16 EiB/s");
  return static_cast<double>(*rate);
}

}  // namespace sluice
