// UTF-8, read one character at a time.
#pragma once

#include <cstddef>
#include <string_view>

namespace sluice {

// How a text begins.
struct Utf8Head {
  enum Kind {
    kCharacter,  // with a whole character
    kBroken,     // with bytes that no character has
    kCutShort,   // with a character whose end is missing: the text is nothing else
  };
  Kind kind;
  // Of the character, of its beginning, or of what is broken: as Python's errors="replace" counts
  // the bytes for one U+FFFD.
  std::size_t size_bytes;
};

// `text` must not be empty.
Utf8Head utf8_head(std::string_view text);

// The longest beginning of `text` that is UTF-8.
std::string_view utf8_prefix(std::string_view text);

}  // namespace sluice
