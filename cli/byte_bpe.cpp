#include "cli/byte_bpe.h"

#include <bit>

#include "cli/utf8.h"
#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {

namespace {

// Vocabularies spell each byte as a printable character: itself where it is one, else one of those
// from U+0100 on, in order.
constexpr bool is_printable(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

constexpr auto kSpellings = [] {  // byte -> code point
  std::array<std::uint16_t, 256> spellings{};
  std::uint16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    spellings[byte] = is_printable(byte) ? static_cast<std::uint16_t>(byte) : next++;
  }
  return spellings;
}();

constexpr auto kBytes = [] {  // code point -> byte, -1: spells none
  std::array<std::int16_t, 0x200> bytes{};
  bytes.fill(-1);
  for (int byte = 0; byte < 256; ++byte) bytes[kSpellings[byte]] = static_cast<std::int16_t>(byte);
  return bytes;
}();

// The byte spelled at `at`, which moves past it; -1 if none is.
int read_byte(std::string_view spelling, std::size_t& at) {
  const auto first = static_cast<unsigned char>(spelling[at++]);
  if (first < 0x80) return kBytes[first];
  if (first < 0xc2 || first > 0xc7 || at == spelling.size()) return -1;
  const auto second = static_cast<unsigned char>(spelling[at++]);
  if ((second & 0xc0) != 0x80) return -1;
  return kBytes[(first & 0x1f) << 6 | (second & 0x3f)];
}

// Special tokens, and others that aren't written in this alphabet, mean themselves.
void append_text(std::string_view spelling, TokenType type, std::string& text) {
  const std::size_t begin = text.size();
  const bool plain = type == TokenType::kNormal || type == TokenType::kUndefined ||
                     type == TokenType::kUnused || type == TokenType::kByte;
  for (std::size_t at = 0; plain && at < spelling.size();) {
    const int byte = read_byte(spelling, at);
    if (byte < 0) {
      text.resize(begin);
      break;
    }
    text += static_cast<char>(byte);
  }
  if (text.size() == begin) text += spelling;
}

}  // namespace

std::string spell_byte(int byte) {
  const int code = kSpellings[byte];
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
}

MergeTable::MergeTable(std::size_t merge_count) : slots_(std::bit_ceil(merge_count * 2 + 1)) {}

std::size_t MergeTable::find_slot(Token left, Token right) const {
  const std::size_t mask = slots_.size() - 1;
  std::uint64_t hash = static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
  hash *= 0x9e3779b97f4a7c15u;
  std::size_t at = (hash ^ hash >> 32) & mask;
  while (slots_[at].left >= 0 && (slots_[at].left != left || slots_[at].right != right)) {
    at = (at + 1) & mask;
  }
  return at;
}

void MergeTable::insert(Token left, Token right, std::uint32_t rank, Token merged) {
  slots_[find_slot(left, right)] = {left, right, rank, merged};
}

std::optional<Merge> MergeTable::find(Token left, Token right) const {
  const Slot& slot = slots_[find_slot(left, right)];
  if (slot.left < 0) return std::nullopt;
  return Merge{static_cast<double>(slot.rank), slot.merged};
}

ByteBpe::ByteBpe(const Vocabulary& vocabulary)
    : ByteBpe(vocabulary, PreTokenizer(vocabulary.pre, vocabulary.where)) {}

ByteBpe::ByteBpe(const Vocabulary& vocabulary, PreTokenizer pre_tokenizer)
    : VocabularyTokenizer(vocabulary, append_text, {.add_bos = pre_tokenizer.adds_bos()}),
      pre_tokenizer_(std::move(pre_tokenizer)) {
  TokenIndex spellings(vocabulary.tokens);
  for (std::size_t i = 0; i < vocab_size_; ++i) spellings.insert(static_cast<Token>(i));
  for (int byte = 0; byte < 256; ++byte) byte_tokens_[byte] = spellings.find(spell_byte(byte));
  read_merges(vocabulary, spellings);
  if (!pre_tokenizer_.whole_pieces_first()) return;
  whole_pieces_ = TokenIndex(texts());
  for (std::size_t i = 0; i < vocab_size_; ++i) {
    const auto token = static_cast<Token>(i);
    if (!is_control(token)) whole_pieces_.insert(token);
  }
}

// A merge is "left right"; both, and what they make together, must be tokens.
void ByteBpe::read_merges(const Vocabulary& vocabulary, const TokenIndex& spellings) {
  const auto fail = [&](std::size_t rank, std::string_view merge, const char* why) {
    throw Error(ErrorKind::kBadFile,
                text(vocabulary.where, ": merge ", rank, ", \"", printable(merge), "\", ", why));
  };
  merges_ = MergeTable(vocabulary.merges.size());
  std::string joined;
  Token merged = -1;
  for (std::size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const std::string_view merge = vocabulary.merges[rank];
    const std::size_t blank = merge.find(' ');
    if (blank == 0 || blank >= merge.size() - 1 || merge.find(' ', blank + 1) != merge.npos) {
      fail(rank, merge, "isn't two parts with a blank between them");
    }
    const std::string_view left = merge.substr(0, blank), right = merge.substr(blank + 1);
    joined.assign(left).append(right);
    const Token left_token = spellings.find(left), right_token = spellings.find(right);
    // Vocabularies mostly have the tokens in the order of the merges.
    const auto next = static_cast<std::size_t>(merged + 1);
    merged = next < vocab_size_ && vocabulary.tokens[next] == joined ? merged + 1
                                                                     : spellings.find(joined);
    if (left_token < 0 || right_token < 0) fail(rank, merge, "has a part that isn't a token");
    if (merged < 0) fail(rank, merge, "makes something that isn't a token");
    merges_.insert(left_token, right_token, static_cast<std::uint32_t>(rank), merged);
  }
}

void ByteBpe::encode_plain(std::string_view text, std::vector<Token>& tokens) const {
  SymbolMerger merger;
  std::vector<std::string_view> pieces;
  while (!text.empty()) {
    const std::string_view whole = utf8_prefix(text);
    pieces.clear();
    pre_tokenizer_.split(whole, pieces);
    for (const std::string_view piece : pieces) encode_piece(piece, merger, tokens);
    text.remove_prefix(whole.size());
    if (text.empty()) break;
    const std::size_t broken_bytes = utf8_head(text).size_bytes;
    encode_bytes(text.substr(0, broken_bytes), tokens);
    text.remove_prefix(broken_bytes);
  }
}

void ByteBpe::encode_piece(std::string_view piece, SymbolMerger& merger,
                           std::vector<Token>& tokens) const {
  if (const Token whole = whole_pieces_.find(piece); whole >= 0) {
    tokens.push_back(whole);
    return;
  }
  merger.clear();
  for (std::size_t i = 0; i < piece.size(); ++i) {
    const Token token = byte_tokens_[static_cast<unsigned char>(piece[i])];
    if (token >= 0) merger.add(static_cast<std::uint32_t>(i), 1, token);
  }
  merger.merge_all([this](const Symbol& left, const Symbol& right) {
    return merges_.find(left.token, right.token);
  });
  merger.for_each([&](const Symbol& symbol) { tokens.push_back(symbol.token); });
}

// A byte that has no token leaves no trace, as with Hugging Face's tokenizers.
void ByteBpe::encode_bytes(std::string_view bytes, std::vector<Token>& tokens) const {
  for (const char byte : bytes) {
    const Token token = byte_tokens_[static_cast<unsigned char>(byte)];
    if (token >= 0) tokens.push_back(token);
  }
}

}  // namespace sluice
