// Byte-level BPE, as GPT-2 introduced it.
#pragma once

#include <array>

#include "cli/pre_tokenizer.h"
#include "cli/symbol_merger.h"
#include "cli/token_index.h"
#include "cli/vocabulary_tokenizer.h"

namespace sluice {

// How vocabularies spell a byte.
std::string spell_byte(int byte);

// What two neighbouring tokens become; open addressing, 16 bytes an entry.
class MergeTable {
 public:
  MergeTable() = default;
  explicit MergeTable(std::size_t merge_count);
  // Of merges of the same pair the last one counts.
  void insert(Token left, Token right, std::uint32_t rank, Token merged);
  std::optional<Merge> find(Token left, Token right) const;

 private:
  struct Slot {
    Token left = -1;
    Token right = -1;
    std::uint32_t rank = 0;
    Token merged = -1;
  };
  std::size_t find_slot(Token left, Token right) const;

  std::vector<Slot> slots_;
};

class ByteBpe final : public VocabularyTokenizer {
 public:
  explicit ByteBpe(const Vocabulary& vocabulary);

 private:
  ByteBpe(const Vocabulary& vocabulary, PreTokenizer pre_tokenizer);
  void encode_plain(std::string_view text, std::vector<Token>& tokens) const override;
  void encode_piece(std::string_view piece, SymbolMerger& merger, std::vector<Token>& tokens) const;
  void encode_bytes(std::string_view bytes, std::vector<Token>& tokens) const;
  void read_merges(const Vocabulary& vocabulary, const TokenIndex& spellings);

  PreTokenizer pre_tokenizer_;
  std::array<Token, 256> byte_tokens_;  // -1: none
  MergeTable merges_;
  TokenIndex whole_pieces_;  // empty unless the pre-tokenizer asks for it
};

}  // namespace sluice
