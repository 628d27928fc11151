// Any vocabulary and any text: an Error, or tokens that exist.
//
// Input: a line "MODEL PRE FLAGS", then tokens, each after the digit of its type, then merges, then
// text; an empty line ends each list. FLAGS: p no blank first, t no types, s scores too few.
//
//   build/fuzz/fuzz_tokenizer -max_len=4096 CORPUS tests/fuzz/seeds/tokenizer
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "cli/utf8.h"
#include "cli/vocabulary.h"
#include "memory/error.h"

namespace sluice {

namespace {

void demand(bool promise) {
  if (!promise) std::abort();
}

std::string_view take_until(std::string_view& input, char end) {
  const std::string_view taken = input.substr(0, input.find(end));
  input.remove_prefix(std::min(taken.size() + 1, input.size()));
  return taken;
}

std::vector<std::string_view> take_list(std::string_view& input) {
  std::vector<std::string_view> lines;
  while (!input.empty()) {
    const std::string_view line = take_until(input, '\n');
    if (line.empty()) break;
    lines.push_back(line);
  }
  return lines;
}

void check_tokens(const Tokenizer& tokenizer, const std::vector<Token>& tokens) {
  Utf8Stream stream;
  std::string shown;
  for (const Token token : tokens) {
    demand(token >= 0 && static_cast<std::size_t>(token) < tokenizer.vocab_size());
    shown += stream.push(tokenizer.piece(token, true));
  }
  shown += stream.finish();
  demand(utf8_prefix(shown).size() == shown.size());
  (void)tokenizer.decode(tokens, false);
}

void check_specials(const Tokenizer& tokenizer, const std::vector<std::int64_t>& types) {
  for (std::size_t i = 0; i < types.size(); ++i) {
    const std::string name = tokenizer.piece(static_cast<Token>(i), true);
    const bool special = types[i] == 3 || types[i] == 4;
    if (special && !name.empty()) demand(tokenizer.special(name) >= 0);
  }
}

void run(std::string_view input) {
  Vocabulary vocabulary;
  vocabulary.where = "fuzz.gguf";
  std::string_view header = take_until(input, '\n');
  vocabulary.model = take_until(header, ' ');
  vocabulary.pre = take_until(header, ' ');
  const auto has_flag = [header](char flag) { return header.find(flag) != header.npos; };
  std::vector<std::string_view> tokens = take_list(input);
  const std::vector<std::string_view> merges = take_list(input);
  std::vector<std::int64_t> types;
  vocabulary.scores.emplace();
  for (std::string_view& token : tokens) {
    types.push_back(token[0] - '0');
    vocabulary.scores->push_back(-static_cast<double>(token.size() * 31 % 17));
    token.remove_prefix(1);
  }
  if (has_flag('s')) vocabulary.scores->resize(tokens.size() / 2);
  if (has_flag('p')) vocabulary.add_space_prefix = false;
  if (!has_flag('t')) vocabulary.types = types;
  vocabulary.tokens = tokens;
  vocabulary.merges = merges;
  vocabulary.bos = tokens.size() / 2;
  const auto tokenizer = make_tokenizer(vocabulary);
  if (vocabulary.types) check_specials(*tokenizer, types);
  for (const bool parse : {false, true}) {
    check_tokens(*tokenizer,
                 tokenizer->encode(input, {.add_special = parse, .parse_special = parse}));
  }
}

}  // namespace

}  // namespace sluice

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  try {
    run({reinterpret_cast<const char*>(data), size});
  } catch (const Error& error) {
    demand(error.kind() == ErrorKind::kBadFile);
    demand(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
