#include "memory/printable.h"

#include <cstdint>

namespace sluice {

namespace {

// The character at the start of `bytes`, well-formed and `length` bytes long.
std::uint32_t code_point(std::string_view bytes, std::size_t length) {
  const auto first = static_cast<unsigned char>(bytes[0]);
  std::uint32_t value = length == 1 ? first : first & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    value = value << 6 | (static_cast<unsigned char>(bytes[i]) & 0x3fu);
  }
  return value;
}

bool is_harmless(std::uint32_t c) {
  const bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
  const bool line_end = c == 0x2028 || c == 0x2029;
  const bool direction = c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
                         (c >= 0x2066 && c <= 0x2069);
  return !control && !line_end && !direction;
}

void append_escaped(std::string& out, std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += "\\x";
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
}

}  // namespace

std::size_t utf8_length(std::string_view bytes) {
  if (bytes.empty()) return 0;
  const auto first = static_cast<unsigned char>(bytes[0]);
  const std::size_t length = first < 0x80             ? 1
                             : first >> 5 == 0b110    ? 2
                             : first >> 4 == 0b1110   ? 3
                             : first >> 3 == 0b1'1110 ? 4
                                                      : 0;
  if (length == 0 || length > bytes.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if (static_cast<unsigned char>(bytes[i]) >> 6 != 0b10) return 0;
  }
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};  // by length
  const std::uint32_t c = code_point(bytes, length);
  const bool surrogate = c >= 0xd800 && c < 0xe000;
  return c < kSmallest[length] || c > 0x10ffff || surrogate ? 0 : length;
}

std::string printable(std::string_view bytes, std::size_t max_bytes) {
  std::string out;
  std::size_t at = 0;
  while (at < bytes.size() && at < max_bytes) {
    const std::string_view rest = bytes.substr(at);
    const std::size_t length = utf8_length(rest);
    if (length != 0 && is_harmless(code_point(rest, length))) {
      out += rest.substr(0, length);
    } else {
      append_escaped(out, rest.substr(0, length == 0 ? 1 : length));
    }
    at += length == 0 ? 1 : length;
  }
  if (at < bytes.size()) out += "...";
  return out;
}

std::string printable_path(const std::filesystem::path& path) {
  return printable(path.native(), path.native().size());
}

}  // namespace sluice
