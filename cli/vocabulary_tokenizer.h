// What byte-level and SentencePiece-style tokenizers share: the tokens' texts, special tokens, BOS
// and EOS. They differ in how plain text is cut up.
#pragma once

#include "cli/special_tokens.h"
#include "cli/vocabulary.h"

namespace sluice {

class VocabularyTokenizer : public Tokenizer {
 public:
  std::vector<Token> encode(std::string_view text, EncodeOptions options) const override;
  std::string piece(Token token, bool show_special) const override;
  std::string decode(std::span<const Token> tokens, bool show_special) const override;
  Token special(std::string_view text) const override { return specials_.find(text); }

 protected:
  // Appends to `text` what a token means that the file spells so.
  using Spell = void (*)(std::string_view spelling, TokenType type, std::string& text);

  struct Defaults {
    bool add_bos;
  };
  // Throws Error{kBadFile} for a vocabulary that is inconsistent.
  VocabularyTokenizer(const Vocabulary& vocabulary, Spell spell, Defaults defaults);

  // Appends the tokens of `text`, which is not empty and has no special tokens in it.
  virtual void encode_plain(std::string_view text, std::vector<Token>& tokens) const = 0;

  // All but control tokens stand in text as they are.
  bool is_control(Token token) const;
  TokenType type(Token token) const { return types_[static_cast<std::size_t>(token)]; }
  std::span<const std::string_view> texts() const { return texts_; }
  std::string_view token_text(Token token) const { return texts_[static_cast<std::size_t>(token)]; }

 private:
  void read_types(const Vocabulary& vocabulary);
  void spell_all(const Vocabulary& vocabulary, Spell spell);
  void read_ends(const Vocabulary& vocabulary);
  void collect_specials(const Vocabulary& vocabulary);
  virtual bool drops_first_blank() const { return false; }

  std::vector<TokenType> types_;
  std::string bytes_;                    // of all texts
  std::vector<std::string_view> texts_;  // into bytes_
  SpecialTokens specials_;               // control and user-defined tokens
  SpecialTokens user_defined_;
  bool add_bos_ = false;
  bool add_eos_ = false;
};

}  // namespace sluice
