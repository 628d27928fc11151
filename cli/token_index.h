// Finding a token by its text.
#pragma once

#include <bit>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "cli/tokenizer.h"

namespace sluice {

// A hash table of token ids, for half a million of them in a blink: open addressing, with a part of
// the hash beside each id, so that hardly a text is compared in vain. Borrows the texts.
class TokenIndex {
 public:
  TokenIndex() = default;
  explicit TokenIndex(std::span<const std::string_view> texts)
      : texts_(texts), slots_(std::bit_ceil(texts.size() * 2 + 1)) {}

  // Of tokens with the same text the last one inserted is found.
  void insert(Token token) {
    const std::string_view key = texts_[static_cast<std::size_t>(token)];
    slots_[find_slot(key)] = {tag(key), token};
  }

  // -1: none.
  Token find(std::string_view text) const {
    return slots_.empty() ? -1 : slots_[find_slot(text)].token;
  }

 private:
  struct Slot {
    std::uint32_t tag = 0;
    Token token = -1;
  };

  static std::size_t hash(std::string_view text) { return std::hash<std::string_view>()(text); }
  static std::uint32_t tag(std::string_view text) {
    return static_cast<std::uint32_t>(hash(text) >> 32);
  }

  std::size_t find_slot(std::string_view text) const {
    const std::size_t mask = slots_.size() - 1;
    const std::size_t hashed = hash(text);
    std::size_t at = hashed & mask;
    while (slots_[at].token >= 0 && !matches(slots_[at], text, hashed)) at = (at + 1) & mask;
    return at;
  }
  bool matches(const Slot& slot, std::string_view text, std::size_t hashed) const {
    return slot.tag == static_cast<std::uint32_t>(hashed >> 32) &&
           texts_[static_cast<std::size_t>(slot.token)] == text;
  }

  std::span<const std::string_view> texts_;
  std::vector<Slot> slots_;
};

}  // namespace sluice
