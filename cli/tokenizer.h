// Text to token ids and back, from a model file's vocabulary.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "memory/model_file.h"

namespace sluice {

using Token = std::int32_t;

// Byte-level BPE ("gpt2") and SentencePiece-style BPE ("llama"), as the metadata says. Immutable;
// any thread may use it. Encoding is as Hugging Face's tokenizer for the same vocabulary does it.
class Tokenizer {
 public:
  // Throws Error{kBadFile} for a vocabulary that is missing, inconsistent or of an unknown kind
  // (naming the kinds that are known).
  static std::unique_ptr<Tokenizer> make(const ModelFile& file);
  virtual ~Tokenizer() = default;

  struct EncodeOptions {
    bool add_special = true;    // BOS (and EOS) where the model's metadata asks for it
    bool parse_special = true;  // "<|im_start|>" in the text is the control token
  };
  // Any bytes are accepted; what is not UTF-8 is encoded byte by byte.
  virtual std::vector<Token> encode(std::string_view text, EncodeOptions options) const = 0;
  // The bytes of one token; a control token gives its text only if `show_special`.
  virtual std::string piece(Token token, bool show_special) const = 0;
  // The text of `tokens`. For a SentencePiece model the space that encoding put first is removed.
  virtual std::string decode(std::span<const Token> tokens, bool show_special) const = 0;

  std::size_t vocab_size() const { return vocab_size_; }
  Token bos() const { return bos_; }  // -1: none
  Token eos() const { return eos_; }  // -1: none
  // Tokens that end a reply: EOS, and end-of-turn tokens (<|im_end|>, <|eot_id|>,
  // <end_of_turn>...).
  bool ends_reply(Token token) const;
  // The id of a control token by its text, or -1.
  virtual Token special(std::string_view text) const = 0;

 protected:
  std::size_t vocab_size_ = 0;
  Token bos_ = -1;
  Token eos_ = -1;
  std::vector<Token> end_tokens_;
};

// Turns pieces into text that never shows half a character: bytes are held back until they form
// whole UTF-8 characters; bytes that can never do so come out as U+FFFD.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);  // what can be shown now
  std::string finish();                      // what was held back, as U+FFFD if incomplete

 private:
  std::string held_;
};

}  // namespace sluice
