// BPE over characters, as SentencePiece does it.
#pragma once

#include <array>

#include "cli/symbol_merger.h"
#include "cli/token_index.h"
#include "cli/vocabulary_tokenizer.h"

namespace sluice {

// Of two neighbours whose text together is a token, those with the best score merge first. A
// character with no token is written as its bytes' tokens. Vocabularies spell the blank as U+2581;
// here the two are one, always the blank.
class SentencePiece final : public VocabularyTokenizer {
 public:
  explicit SentencePiece(const Vocabulary& vocabulary);

 private:
  void encode_plain(std::string_view text, std::vector<Token>& tokens) const override;
  void encode_unknown(std::string_view bytes, std::vector<Token>& tokens) const;
  bool drops_first_blank() const override { return add_space_prefix_; }
  void read_scores(const Vocabulary& vocabulary);
  void read_byte_tokens(const Vocabulary& vocabulary);

  TokenIndex index_;                    // of what text can be made of
  std::vector<float> scores_;           // [vocab]
  std::size_t longest_bytes_ = 0;       // of the texts in index_
  std::array<Token, 256> byte_tokens_;  // -1: none
  Token unknown_ = -1;
  bool add_space_prefix_ = true;
};

}  // namespace sluice
