#include "cli/prompt.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>

#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {
namespace {

std::string read_all(std::istream& in) {
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace

std::string read_text(const std::string& path) {
  if (path == "-") return read_all(std::cin);
  std::ifstream in(path, std::ios::binary);
  std::string content = in ? read_all(in) : std::string();
  if (!in || in.bad()) {
    throw Error(ErrorKind::kIo,
                text("can't read ", printable_path(path), ": ", std::strerror(errno)));
  }
  return content;
}

std::optional<std::string> read_prompt(const RunOptions& options) {
  return options.prompt_file ? read_text(*options.prompt_file) : options.prompt;
}

std::vector<Token> parse_ids(const std::string& ids) {
  std::vector<Token> tokens;
  const char* at = ids.data();
  const char* const end = at + ids.size();
  while (true) {
    while (at != end && std::strchr(" \t\r\n,[]", *at) != nullptr) ++at;
    if (at == end) return tokens;
    Token token = 0;
    const auto [next, error] = std::from_chars(at, end, token);
    if (error != std::errc() || token < 0) {
      throw Error(ErrorKind::kUsage,
                  text("--ids: '", printable(std::string_view(at, end).substr(0, 20)),
                       "' isn't a token id; give numbers such as 504 2365"));
    }
    tokens.push_back(token);
    at = next;
  }
}

Conversation::Conversation(const ModelFile& file, const Tokenizer& tokenizer,
                           const std::optional<std::string>& system)
    : tokenizer_(&tokenizer), template_(file.find_string("tokenizer.chat_template").value_or("")) {
  if (system) add("system", *system);
}

bool Conversation::forget_turn() {
  const auto oldest = std::ranges::find(messages_, "user", &Message::role);
  if (messages_.end() - oldest < 3) return false;
  messages_.erase(oldest, oldest + 2);
  return true;
}

std::vector<Token> Conversation::encode() const {
  const std::string bos = tokenizer_->bos() >= 0 ? tokenizer_->piece(tokenizer_->bos(), true) : "";
  return tokenizer_->encode(template_.render(messages_, true, bos),
                            {.add_special = false, .parse_special = true});
}

}  // namespace sluice
