// Token ids against those of Hugging Face's tokenizers and of SentencePiece.
// tests/reference/make_tokens.py
#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "cli/pre_tokenizer.h"
#include "cli/tokenizer.h"
#include "tests/support/reference_data.h"

using namespace sluice;

namespace {

namespace fs = std::filesystem;

using Rows = std::vector<std::vector<Token>>;

const fs::path kTokenizerData = fs::path(SLUICE_SOURCE_DIR) / "tests/reference/data";

nlohmann::json read_json(const char* name) {
  return nlohmann::json::parse(std::ifstream(kTokenizerData / name));
}

const std::vector<std::string>& lines() {
  static const std::vector<std::string> lines = read_json("lines.json");
  return lines;
}

Rows read_rows(const std::string& name) {
  std::ifstream file(kTokenizerData / "tokens" / name, std::ios::binary);
  const auto next = [&] {
    unsigned char bytes[2] = {};
    file.read(reinterpret_cast<char*>(bytes), 2);
    return bytes[0] | bytes[1] << 8;
  };
  Rows rows;
  while (file.peek() != std::ifstream::traits_type::eof()) {
    rows.emplace_back(next());
    for (Token& number : rows.back()) number = next();
  }
  REQUIRE(!file.fail());
  return rows;
}

void check_lines(const Tokenizer& tokenizer, const Rows& expected, std::size_t line_count) {
  REQUIRE(expected.size() == line_count);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CAPTURE(lines()[i]);
    CHECK(tokenizer.encode(lines()[i], {.add_special = false}) == expected[i]);
  }
}

std::unique_ptr<Tokenizer> small_tokenizer(const std::string& name) {
  return Tokenizer::make(ModelFile::open(kTokenizerData / "tokens" / (name + ".gguf")));
}

}  // namespace

TEST_SUITE("model") {
  TEST_CASE("tokenizer: SmolLM2's ids are Transformers' on 24 prompts and 2,000 lines") {
    const auto tokenizer = Tokenizer::make(ModelFile::open(real_model()));
    const auto prompt_tokens = read_json("prompt_tokens.json");
    const auto prompts = read_json("prompts.json");
    CHECK(prompts.size() == 24);
    for (const auto& prompt : prompts) {
      const std::string name = prompt["name"];
      CAPTURE(name);
      const std::vector<Token> expected = prompt_tokens[name];
      CHECK(tokenizer->encode(prompt["text"].get<std::string>(), {}) == expected);
      CHECK(tokenizer->decode(expected, true) == prompt["text"]);
    }
    CHECK(lines().size() == 2000);
    check_lines(*tokenizer, read_rows("smollm2.ids"), lines().size());
  }
}

TEST_CASE("pre-tokenizer: pieces are cut where Hugging Face's pre-tokenizers cut") {
  for (const std::string rule : {"gpt-2", "smollm", "llama-bpe", "qwen2"}) {
    CAPTURE(rule);
    const PreTokenizer pre_tokenizer(rule, "test");
    const Rows expected = read_rows(rule + ".pieces");
    REQUIRE(expected.size() == 1000);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CAPTURE(lines()[i]);
      std::vector<std::string_view> pieces;
      pre_tokenizer.split(lines()[i], pieces);
      std::vector<Token> sizes;
      for (const std::string_view piece : pieces) sizes.push_back(static_cast<Token>(piece.size()));
      CHECK(sizes == expected[i]);
    }
  }
}

TEST_CASE("tokenizer: byte-level ids are those of Hugging Face's tokenizers, for every rule") {
  for (const std::string name : {"gpt2", "llama3", "qwen2"}) {
    CAPTURE(name);
    const auto tokenizer = small_tokenizer(name);
    check_lines(*tokenizer, read_rows(name + ".ids"), 500);
    for (const std::string& line : lines()) {
      CHECK(tokenizer->decode(tokenizer->encode(line, {}), true) == line);
    }
  }
}

TEST_CASE("tokenizer: SentencePiece-style ids are those of SentencePiece") {
  for (const std::string name : {"llama2", "gemma"}) {
    CAPTURE(name);
    const auto tokenizer = small_tokenizer(name);
    const Rows expected = read_rows(name + ".ids");
    REQUIRE(expected.size() == 500);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CAPTURE(lines()[i]);
      CHECK(tokenizer->encode(lines()[i], {.add_special = false, .parse_special = false}) ==
            expected[i]);
    }
    for (const std::string& line : lines()) {
      CHECK(tokenizer->decode(tokenizer->encode(line, {}), false) == line);
    }
  }
}
