// Cutting text into the pieces that byte-level BPE merges within.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;
struct pcre2_real_match_context_8;

namespace sluice {

// One of the rules that tokenizer.ggml.pre names, as a compiled regex. Immutable; any thread.
class PreTokenizer {
 public:
  // Throws Error{kBadFile} that names the known rules, told as of `where`, if `name` isn't one.
  PreTokenizer(std::string_view name, std::string_view where);

  // Appends to `pieces` the consecutive parts of `text`, which must be UTF-8.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const;

  // A piece that is a token as a whole is that token, whatever the merges would make of it.
  bool whole_pieces_first() const { return whole_pieces_first_; }
  // Text begins with BOS where the file doesn't say.
  bool adds_bos() const { return whole_pieces_first_; }

 private:
  struct FreeCode {
    void operator()(pcre2_real_code_8* code) const noexcept;
  };
  struct FreeContext {
    void operator()(pcre2_real_match_context_8* context) const noexcept;
  };

  std::unique_ptr<pcre2_real_code_8, FreeCode> code_;
  std::unique_ptr<pcre2_real_match_context_8, FreeContext> context_;
  bool whole_pieces_first_ = false;
};

}  // namespace sluice
