// Tokens that are matched whole in the text, before anything else is done to it.
#pragma once

#include <bitset>
#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "cli/tokenizer.h"

namespace sluice {

// Borrows the texts that it is given.
class SpecialTokens {
 public:
  struct Match {
    Token token;
    std::size_t size_bytes;
  };

  void add(std::string_view text, Token token);
  // Call once, after the last `add`.
  void sort();

  // The longest token that `text` begins with.
  std::optional<Match> longest_prefix(std::string_view text) const;
  Token find(std::string_view text) const;  // -1: none

 private:
  struct Entry {
    std::string_view text;
    Token token;
  };

  std::vector<Entry> entries_;  // by text
  std::bitset<256> first_bytes_;
};

}  // namespace sluice
