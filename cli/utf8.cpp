#include "cli/utf8.h"

#include "cli/tokenizer.h"

namespace sluice {

namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// How long the character is that `lead` begins, and what its second byte may be.
struct Lead {
  std::size_t size_bytes;  // 0: no character begins so
  unsigned char low, high;
};

constexpr Lead read_lead(unsigned char lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xc2) return {0, 0, 0};
  if (lead < 0xe0) return {2, 0x80, 0xbf};
  if (lead == 0xe0) return {3, 0xa0, 0xbf};
  if (lead == 0xed) return {3, 0x80, 0x9f};  // no surrogates
  if (lead < 0xf0) return {3, 0x80, 0xbf};
  if (lead == 0xf0) return {4, 0x90, 0xbf};
  if (lead < 0xf4) return {4, 0x80, 0xbf};
  if (lead == 0xf4) return {4, 0x80, 0x8f};  // nothing above U+10FFFF
  return {0, 0, 0};
}

}  // namespace

Utf8Head utf8_head(std::string_view text) {
  const Lead lead = read_lead(static_cast<unsigned char>(text[0]));
  if (lead.size_bytes == 0) return {Utf8Head::kBroken, 1};
  unsigned char low = lead.low, high = lead.high;
  for (std::size_t i = 1; i < lead.size_bytes; ++i) {
    if (i == text.size()) return {Utf8Head::kCutShort, i};
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < low || byte > high) return {Utf8Head::kBroken, i};
    low = 0x80;
    high = 0xbf;
  }
  return {Utf8Head::kCharacter, lead.size_bytes};
}

std::string_view utf8_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Utf8Head head = utf8_head(text.substr(at));
    if (head.kind != Utf8Head::kCharacter) break;
    at += head.size_bytes;
  }
  return text.substr(0, at);
}

std::string Utf8Stream::push(std::string_view bytes) {
  held_ += bytes;
  std::string shown;
  std::size_t at = 0;
  while (at < held_.size()) {
    const std::string_view rest = std::string_view(held_).substr(at);
    const Utf8Head head = utf8_head(rest);
    if (head.kind == Utf8Head::kCutShort) break;
    shown += head.kind == Utf8Head::kCharacter ? rest.substr(0, head.size_bytes) : kReplacement;
    at += head.size_bytes;
  }
  held_.erase(0, at);
  return shown;
}

std::string Utf8Stream::finish() {
  const std::string_view shown = held_.empty() ? "" : kReplacement;
  held_.clear();
  return std::string(shown);
}

}  // namespace sluice
