#include "cli/sentence_piece.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "cli/utf8.h"
#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {

namespace {

constexpr std::string_view kBlank = "\xe2\x96\x81";  // U+2581

// Appends `spelling` with each U+2581 as a blank.
void append_blanks(std::string_view spelling, std::string& text) {
  for (;;) {
    const std::size_t at = spelling.find(kBlank);
    text += spelling.substr(0, at);
    if (at == spelling.npos) return;
    text += ' ';
    spelling.remove_prefix(at + kBlank.size());
  }
}

// The byte that "<0xHH>" stands for, or -1.
int read_byte(std::string_view spelling) {
  if (spelling.size() != 6 || !spelling.starts_with("<0x") || spelling.back() != '>') return -1;
  unsigned byte = 0;
  const char* end = spelling.data() + 5;
  const auto result = std::from_chars(spelling.data() + 3, end, byte, 16);
  return result.ec == std::errc() && result.ptr == end ? static_cast<int>(byte) : -1;
}

void append_text(std::string_view spelling, TokenType type, std::string& text) {
  const int byte = type == TokenType::kByte ? read_byte(spelling) : -1;
  if (byte >= 0) {
    text += static_cast<char>(byte);
  } else {
    append_blanks(spelling, text);
  }
}

}  // namespace

SentencePiece::SentencePiece(const Vocabulary& vocabulary)
    : VocabularyTokenizer(vocabulary, append_text, {.add_bos = true}),
      index_(texts()),
      add_space_prefix_(vocabulary.add_space_prefix.value_or(true)) {
  read_scores(vocabulary);
  read_byte_tokens(vocabulary);
  for (std::size_t i = 0; i < vocab_size_; ++i) {
    const auto token = static_cast<Token>(i);
    if (type(token) == TokenType::kUnknown && unknown_ < 0) unknown_ = token;
    const bool plain = type(token) == TokenType::kNormal || type(token) == TokenType::kUndefined ||
                       type(token) == TokenType::kUserDefined;
    if (!plain || texts()[i].empty()) continue;
    index_.insert(token);
    longest_bytes_ = std::max(longest_bytes_, texts()[i].size());
  }
}

void SentencePiece::read_scores(const Vocabulary& vocabulary) {
  if (!vocabulary.scores || vocabulary.scores->size() != vocab_size_) {
    throw Error(ErrorKind::kBadFile, text(vocabulary.where, ": tokenizer.ggml.scores has ",
                                          vocabulary.scores ? vocabulary.scores->size() : 0,
                                          " entries for ", vocab_size_, " tokens"));
  }
  scores_.resize(vocab_size_);
  for (std::size_t i = 0; i < vocab_size_; ++i) {
    scores_[i] = static_cast<float>((*vocabulary.scores)[i]);
    if (std::isnan(scores_[i])) {
      throw Error(ErrorKind::kBadFile,
                  text(vocabulary.where, ": tokenizer.ggml.scores of token ", i, " is NaN"));
    }
  }
}

void SentencePiece::read_byte_tokens(const Vocabulary& vocabulary) {
  byte_tokens_.fill(-1);
  for (std::size_t i = 0; i < vocab_size_; ++i) {
    const auto token = static_cast<Token>(i);
    if (type(token) != TokenType::kByte) continue;
    const int byte = read_byte(vocabulary.tokens[i]);
    if (byte < 0) {
      throw Error(ErrorKind::kBadFile,
                  text(vocabulary.where, ": token ", i, " is of type byte and \"",
                       printable(vocabulary.tokens[i]), "\"; such tokens are <0x00> to <0xFF>"));
    }
    byte_tokens_[static_cast<std::size_t>(byte)] = token;
  }
}

void SentencePiece::encode_plain(std::string_view plain, std::vector<Token>& tokens) const {
  std::string spelled = add_space_prefix_ ? " " : "";
  append_blanks(plain, spelled);
  const std::string_view input = spelled;
  SymbolMerger merger;
  for (std::size_t at = 0; at < input.size();) {
    const Utf8Head head = utf8_head(input.substr(at));
    const std::size_t size_bytes = head.kind == Utf8Head::kCharacter ? head.size_bytes : 1;
    merger.add(static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(size_bytes),
               index_.find(input.substr(at, size_bytes)));
    at += size_bytes;
  }
  merger.merge_all([&](const Symbol& left, const Symbol& right) -> std::optional<Merge> {
    const std::size_t size_bytes = left.size_bytes + right.size_bytes;
    if (size_bytes > longest_bytes_) return std::nullopt;
    const Token token = index_.find(input.substr(left.begin, size_bytes));
    if (token < 0) return std::nullopt;
    return Merge{-scores_[static_cast<std::size_t>(token)], token};
  });
  merger.for_each([&](const Symbol& symbol) {
    if (symbol.token >= 0) {
      tokens.push_back(symbol.token);
    } else {
      encode_unknown(input.substr(symbol.begin, symbol.size_bytes), tokens);
    }
  });
}

// As bytes where all of them have tokens; else neighbours become one unknown token together.
void SentencePiece::encode_unknown(std::string_view bytes, std::vector<Token>& tokens) const {
  const auto byte_token = [this](char byte) {
    return byte_tokens_[static_cast<unsigned char>(byte)];
  };
  if (std::ranges::all_of(bytes, [&](char byte) { return byte_token(byte) >= 0; })) {
    for (const char byte : bytes) tokens.push_back(byte_token(byte));
  } else if (unknown_ >= 0 && (tokens.empty() || tokens.back() != unknown_)) {
    tokens.push_back(unknown_);
  }
}

}  // namespace sluice
