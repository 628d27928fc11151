// What a model file says about its tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/tokenizer.h"

namespace sluice {

// As tokenizer.ggml.token_type has them.
enum class TokenType : std::uint8_t {
  kUndefined,
  kNormal,
  kUnknown,      // stands for what has no token
  kControl,      // begins, ends, parts; has a name but is no text
  kUserDefined,  // always matched whole
  kUnused,
  kByte,  // "<0xHH>"
};

// Read as it stands in the metadata. Borrows the model file's strings.
struct Vocabulary {
  std::string where;  // the file, for messages
  std::string_view model;
  std::string_view pre = "default";
  std::span<const std::string_view> tokens;
  std::span<const std::string_view> merges;
  std::optional<std::vector<double>> scores;
  std::optional<std::vector<std::int64_t>> types;
  std::optional<std::uint64_t> bos, eos, eot, eom, unknown;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
};

Vocabulary read_vocabulary(const ModelFile& file);

// Checks the vocabulary and copies what it needs. Throws as Tokenizer::make does.
std::unique_ptr<Tokenizer> make_tokenizer(const Vocabulary& vocabulary);

}  // namespace sluice
