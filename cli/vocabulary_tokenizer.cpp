#include "cli/vocabulary_tokenizer.h"

#include <algorithm>
#include <array>
#include <limits>

#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {

namespace {

constexpr std::size_t kMaxSpecialBytes = 1024;  // bounds the time that matching takes
constexpr std::size_t kMaxTextBytes = std::numeric_limits<std::int32_t>::max();

// Ends of a turn by their usual names: a file's EOS is often the end of the text alone.
constexpr std::array<std::string_view, 9> kEndTexts = {
    "<|im_end|>",    "<|eot_id|>",      "<|eom_id|>", "<end_of_turn>", "<|end|>",
    "<|endoftext|>", "<|end_of_text|>", "</s>",       "<eos>"};

template <typename... Parts>
[[noreturn]] void fail(const Vocabulary& vocabulary, const Parts&... parts) {
  throw Error(ErrorKind::kBadFile, text(vocabulary.where, ": ", parts...));
}

Token read_id(const Vocabulary& vocabulary, std::optional<std::uint64_t> id, const char* name) {
  if (!id) return -1;
  if (*id >= vocabulary.tokens.size()) {
    fail(vocabulary, "tokenizer.ggml.", name, "_token_id is ", *id, "; the vocabulary has ",
         vocabulary.tokens.size(), " tokens");
  }
  return static_cast<Token>(*id);
}

bool is_byte_spelling(std::string_view spelling) {
  return spelling.size() == 6 && spelling.starts_with("<0x") && spelling.ends_with('>');
}

}  // namespace

VocabularyTokenizer::VocabularyTokenizer(const Vocabulary& vocabulary, Spell spell,
                                         Defaults defaults) {
  vocab_size_ = vocabulary.tokens.size();
  if (vocab_size_ == 0) fail(vocabulary, "tokenizer.ggml.tokens is empty");
  if (vocab_size_ > kMaxTextBytes) fail(vocabulary, "tokenizer.ggml.tokens has too many tokens");
  bos_ = read_id(vocabulary, vocabulary.bos, "bos");
  eos_ = read_id(vocabulary, vocabulary.eos, "eos");
  read_types(vocabulary);
  spell_all(vocabulary, spell);
  collect_specials(vocabulary);
  read_ends(vocabulary);
  add_bos_ = bos_ >= 0 && vocabulary.add_bos.value_or(defaults.add_bos);
  add_eos_ = eos_ >= 0 && vocabulary.add_eos.value_or(false);
}

void VocabularyTokenizer::read_types(const Vocabulary& vocabulary) {
  types_.assign(vocab_size_, TokenType::kNormal);
  if (vocabulary.types) {
    if (vocabulary.types->size() != vocab_size_) {
      fail(vocabulary, "tokenizer.ggml.token_type has ", vocabulary.types->size(), " entries for ",
           vocab_size_, " tokens");
    }
    for (std::size_t i = 0; i < vocab_size_; ++i) {
      const std::int64_t type = (*vocabulary.types)[i];
      if (type < 0 || type > static_cast<int>(TokenType::kByte)) {
        fail(vocabulary, "tokenizer.ggml.token_type of token ", i, " is ", type,
             "; types are 0 to 6");
      }
      types_[i] = static_cast<TokenType>(type);
    }
  } else {
    for (std::size_t i = 0; i < vocab_size_; ++i) {
      if (is_byte_spelling(vocabulary.tokens[i])) types_[i] = TokenType::kByte;
    }
  }
  for (const Token token : {bos_, eos_}) {
    if (token >= 0) types_[static_cast<std::size_t>(token)] = TokenType::kControl;
  }
  if (const Token unknown = read_id(vocabulary, vocabulary.unknown, "unknown"); unknown >= 0) {
    auto& type = types_[static_cast<std::size_t>(unknown)];
    if (type == TokenType::kNormal) type = TokenType::kUnknown;
  }
}

void VocabularyTokenizer::spell_all(const Vocabulary& vocabulary, Spell spell) {
  std::size_t spelled_bytes = 0;
  for (const std::string_view token : vocabulary.tokens) spelled_bytes += token.size();
  bytes_.reserve(spelled_bytes);
  std::vector<std::size_t> ends(vocab_size_);
  for (std::size_t i = 0; i < vocab_size_; ++i) {
    spell(vocabulary.tokens[i], types_[i], bytes_);
    ends[i] = bytes_.size();
  }
  texts_.resize(vocab_size_);
  std::size_t begin = 0;
  for (std::size_t i = 0; i < vocab_size_; ++i) {
    texts_[i] = std::string_view(bytes_).substr(begin, ends[i] - begin);
    begin = ends[i];
  }
}

void VocabularyTokenizer::collect_specials(const Vocabulary& vocabulary) {
  for (std::size_t i = 0; i < vocab_size_; ++i) {
    const auto token = static_cast<Token>(i);
    const bool user_defined = types_[i] == TokenType::kUserDefined;
    if (!user_defined && !is_control(token)) continue;
    if (texts_[i].size() > kMaxSpecialBytes) {
      fail(vocabulary, "the special token ", i, " has ", texts_[i].size(), " bytes; at most ",
           kMaxSpecialBytes, " are accepted");
    }
    specials_.add(texts_[i], token);
    if (user_defined) user_defined_.add(texts_[i], token);
  }
  specials_.sort();
  user_defined_.sort();
}

void VocabularyTokenizer::read_ends(const Vocabulary& vocabulary) {
  end_tokens_ = {eos_, read_id(vocabulary, vocabulary.eot, "eot"),
                 read_id(vocabulary, vocabulary.eom, "eom")};
  for (const std::string_view end : kEndTexts) end_tokens_.push_back(specials_.find(end));
  std::ranges::sort(end_tokens_);
  end_tokens_.erase(std::unique(end_tokens_.begin(), end_tokens_.end()), end_tokens_.end());
  std::erase(end_tokens_, -1);
}

bool VocabularyTokenizer::is_control(Token token) const {
  return type(token) == TokenType::kControl || type(token) == TokenType::kUnknown;
}

std::vector<Token> VocabularyTokenizer::encode(std::string_view input,
                                               EncodeOptions options) const {
  if (input.size() > kMaxTextBytes) {
    throw Error(ErrorKind::kUsage, text("a text of ", input.size(), " bytes is too long; ",
                                        kMaxTextBytes, " are the most"));
  }
  const SpecialTokens& specials = options.parse_special ? specials_ : user_defined_;
  std::vector<Token> tokens;
  if (options.add_special && add_bos_) tokens.push_back(bos_);
  std::size_t plain_begin = 0;
  for (std::size_t at = 0; at <= input.size();) {
    const auto match = specials.longest_prefix(input.substr(at));
    if (!match && at < input.size()) {
      ++at;
      continue;
    }
    if (at > plain_begin) encode_plain(input.substr(plain_begin, at - plain_begin), tokens);
    if (!match) break;
    tokens.push_back(match->token);
    at += match->size_bytes;
    plain_begin = at;
  }
  if (options.add_special && add_eos_) tokens.push_back(eos_);
  return tokens;
}

std::string VocabularyTokenizer::piece(Token token, bool show_special) const {
  if (token < 0 || static_cast<std::size_t>(token) >= vocab_size_) return "";
  if (is_control(token) && !show_special) return "";
  return std::string(token_text(token));
}

std::string VocabularyTokenizer::decode(std::span<const Token> tokens, bool show_special) const {
  std::string decoded;
  for (const Token token : tokens) decoded += piece(token, show_special);
  if (drops_first_blank() && decoded.starts_with(' ')) decoded.erase(0, 1);
  return decoded;
}

}  // namespace sluice
