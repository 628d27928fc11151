#include "cli/tokenizer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

#include "cli/vocabulary.h"
#include "tests/support/expect_error.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/memory_file.h"

using namespace sluice;
using namespace sluice::testing;

namespace {

const auto kTokens = std::filesystem::path(SLUICE_SOURCE_DIR) / "tests/reference/data/tokens";

constexpr int kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6;

// A vocabulary with an owner for its strings.
struct TestVocabulary {
  std::vector<std::string> tokens;
  std::vector<std::string> merges;
  Vocabulary rest;

  std::unique_ptr<Tokenizer> make() const {
    const std::vector<std::string_view> token_views(tokens.begin(), tokens.end());
    const std::vector<std::string_view> merge_views(merges.begin(), merges.end());
    Vocabulary vocabulary = rest;
    vocabulary.where = "test.gguf";
    vocabulary.tokens = token_views;
    vocabulary.merges = merge_views;
    return make_tokenizer(vocabulary);
  }
};

Vocabulary of_kind(std::string_view model) {
  Vocabulary vocabulary;
  vocabulary.model = model;
  return vocabulary;
}

TestVocabulary letters() {
  TestVocabulary v{.tokens = {"a", "b", "c", "ab", "abc", "<s>", "</s>", "<x>", "<x>y", "bc"},
                   .merges = {"a b", "ab c", "b c"},
                   .rest = of_kind("gpt2")};
  v.rest.types = {1, 1, 1, 1, 1, kControl, kControl, kControl, kUserDefined, 1};
  v.rest.bos = 5;
  v.rest.eos = 6;
  return v;
}

TestVocabulary blanks() {
  TestVocabulary v{
      .tokens = {"<unk>", "<s>", "</s>", "\u2581", "a", "b", "\u2581a", "ab", "\u00e9"},
      .merges = {},
      .rest = of_kind("llama")};
  v.rest.types = {kUnknown, kControl, kControl, 1, 1, 1, 1, 1, 1};
  v.rest.scores = {0, 0, 0, -1, -2, -3, -5, -4, -6};
  v.rest.bos = 1;
  v.rest.eos = 2;
  return v;
}

std::unique_ptr<Tokenizer> stored(const std::string& name) {
  return Tokenizer::make(ModelFile::open(kTokens / (name + ".gguf")));
}

using Ids = std::vector<Token>;
constexpr Tokenizer::EncodeOptions kPlain{.add_special = false, .parse_special = false};
constexpr Tokenizer::EncodeOptions kParse{.add_special = false};

}  // namespace

TEST_CASE("tokenizer: special tokens are matched whole, the longest first") {
  const auto tokenizer = letters().make();
  CHECK(tokenizer->encode("ab<s>c", kParse) == Ids{3, 5, 2});
  CHECK(tokenizer->encode("<x>y<x><s", kParse) == Ids{8, 7});  // '<' and 's' have no tokens here
  CHECK(tokenizer->encode("<x>y<x>a", kPlain) == Ids{8, 0});   // user-defined tokens always match
  CHECK(tokenizer->special("<x>") == 7);
  CHECK(tokenizer->special("<x>y") == 8);
  CHECK(tokenizer->special("<x") == -1);
  CHECK(tokenizer->special("ab") == -1);
  CHECK(tokenizer->special("") == -1);
}

TEST_CASE("tokenizer: BOS and EOS are added where the file says so") {
  TestVocabulary v = letters();
  CHECK(v.make()->encode("abc", {}) == Ids{4});
  v.rest.add_bos = true;
  CHECK(v.make()->encode("abc", {}) == Ids{5, 4});
  v.rest.add_eos = true;
  CHECK(v.make()->encode("", {}) == Ids{5, 6});
  CHECK(v.make()->encode("abc", kParse) == Ids{4});
  v.rest.add_bos.reset();
  v.rest.pre = "llama-bpe";  // adds BOS unless told otherwise, and so does "llama"
  CHECK(v.make()->encode("abc", {}) == Ids{5, 4, 6});
  CHECK(blanks().make()->encode("a", {}) == Ids{1, 6});
}

TEST_CASE("tokenizer: control tokens show only on request") {
  const auto tokenizer = letters().make();
  CHECK(tokenizer->piece(5, false) == "");
  CHECK(tokenizer->piece(5, true) == "<s>");
  CHECK(tokenizer->piece(8, false) == "<x>y");
  CHECK(tokenizer->decode(Ids{5, 4, 6}, false) == "abc");
  CHECK(tokenizer->decode(Ids{5, 4, 6}, true) == "<s>abc</s>");
  CHECK(tokenizer->decode(Ids{-1, 10, 1 << 30, 0}, true) == "a");  // no such tokens
}

TEST_CASE("tokenizer: replies end with EOS, EOT, EOM and the usual end-of-turn tokens") {
  TestVocabulary v = letters();
  v.rest.eot = 0;
  v.rest.eom = 1;
  v.tokens[7] = "<|im_end|>";
  const auto tokenizer = v.make();
  for (Token token = -1; token < 11; ++token) {
    CAPTURE(token);
    const bool ends = token == 0 || token == 1 || token == 6 || token == 7;
    CHECK(tokenizer->ends_reply(token) == ends);
  }
}

TEST_CASE("tokenizer: SentencePiece puts a blank first and takes it away") {
  TestVocabulary v = blanks();
  CHECK(v.make()->encode("a b", kPlain) == Ids{6, 3, 5});
  CHECK(v.make()->encode("a<s>a", kParse) == Ids{6, 1, 6});
  CHECK(v.make()->encode("ab", kPlain) == Ids{3, 7});  // -4 before -5
  CHECK(v.make()->decode(Ids{6, 3, 5}, false) == "a b");
  CHECK(v.make()->piece(6, false) == " a");
  CHECK(v.make()->encode("", kPlain).empty());
  v.rest.add_space_prefix = false;
  CHECK(v.make()->encode("a b", kPlain) == Ids{4, 3, 5});
  CHECK(v.make()->decode(Ids{6, 3, 5}, false) == " a b");
}

TEST_CASE("tokenizer: what SentencePiece has no token for is bytes, or one unknown token") {
  TestVocabulary v = blanks();
  v.rest.add_space_prefix = false;
  CHECK(v.make()->encode("a\xc3\xa9zzz\xff"
                         "b",
                         kPlain) == Ids{4, 8, 0, 5});
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    v.tokens.push_back(name);
    v.rest.types->push_back(kByte);
    v.rest.scores->push_back(0);
  }
  const auto tokenizer = v.make();
  CHECK(tokenizer->encode("az\xff\xc3", kPlain) == Ids{4, 9 + 'z', 9 + 0xff, 9 + 0xc3});
  CHECK(tokenizer->encode("<0x41>", kPlain).size() == 6);  // the name of a byte is no byte
  v.rest.types.reset();                                    // told by their names then
  CHECK(v.make()->decode(Ids{9 + 'z', 9 + 0xff}, false) == "z\xff");
}

TEST_CASE("tokenizer: any bytes come back as they were") {
  std::mt19937 random(7);
  for (const std::string name : {"gpt2", "llama3", "qwen2", "llama2", "gemma"}) {
    CAPTURE(name);
    const auto tokenizer = stored(name);
    for (int i = 0; i < 2000; ++i) {
      std::string bytes(random() % 40, '\0');
      // Mostly lead and continuation bytes, so that broken and whole characters mix.
      for (char& byte : bytes)
        byte = static_cast<char>(random() % 4 == 0 ? random() % 128 : 128 + random() % 128);
      if (bytes.find("\u2581") != bytes.npos) continue;  // is a blank to SentencePiece
      const Ids ids = tokenizer->encode(bytes, kPlain);
      CHECK(tokenizer->decode(ids, false) == bytes);
    }
  }
}

TEST_CASE("tokenizer: bytes that are no UTF-8 are tokens one by one") {
  const auto tokenizer = stored("gpt2");
  const Ids whole = tokenizer->encode("caf\u00e9 caf\u00e9", kPlain);
  Ids expected = tokenizer->encode("caf", kPlain);
  for (const char* byte : {"\xc3", "\xff"}) {
    const Ids one = tokenizer->encode(byte, kPlain);
    REQUIRE(one.size() == 1);
    expected.push_back(one[0]);
  }
  expected.insert(expected.end(), whole.begin(), whole.end());
  CHECK(tokenizer->encode("caf\xc3\xff" + tokenizer->decode(whole, false), kPlain) == expected);
}

namespace {

// Merges as the definition says: look at all pairs, take the best, start again. `rank(left, right)`
// is negative for a pair that does not merge.
template <typename Rank>
std::vector<std::string> merge_plainly(std::vector<std::string> parts, const Rank& rank) {
  for (;;) {
    int best = -1;
    std::size_t best_at = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const int found = rank(parts[i], parts[i + 1]);
      if (found >= 0 && (best < 0 || found < best)) {
        best = found;
        best_at = i;
      }
    }
    if (best < 0) return parts;
    parts[best_at] += parts[best_at + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

std::vector<std::string> split_letters(const std::string& word) {
  std::vector<std::string> parts;
  for (const char letter : word) parts.emplace_back(1, letter);
  return parts;
}

std::string random_word(std::mt19937& random, std::size_t size) {
  std::string word(size, 'a');
  for (char& letter : word) letter = static_cast<char>('a' + random() % 3);
  return word;
}

}  // namespace

TEST_CASE("tokenizer: merging equals the plain definition of byte-level BPE") {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    TestVocabulary v{.tokens = {"a", "b", "c"}, .merges = {}, .rest = of_kind("gpt2")};
    for (int i = 0; i < 12; ++i) {
      const std::string left = v.tokens[random() % v.tokens.size()];
      const std::string right = v.tokens[random() % v.tokens.size()];
      if (std::ranges::count(v.tokens, left + right) == 0) v.tokens.push_back(left + right);
      if (std::ranges::count(v.merges, left + ' ' + right) == 0)
        v.merges.push_back(left + ' ' + right);
    }
    const std::string word = random_word(random, random() % 40);
    const auto parts = merge_plainly(split_letters(word), [&](const auto& left, const auto& right) {
      const auto merge = std::ranges::find(v.merges, left + ' ' + right);
      return merge == v.merges.end() ? -1 : static_cast<int>(merge - v.merges.begin());
    });
    const auto tokenizer = v.make();
    std::vector<std::string> got;
    for (const Token token : tokenizer->encode(word, kPlain))
      got.push_back(tokenizer->piece(token, false));
    CHECK(got == parts);
  }
}

TEST_CASE("tokenizer: merging equals the plain definition of SentencePiece's BPE") {
  std::mt19937 random(12);
  for (int round = 0; round < 300; ++round) {
    TestVocabulary v{.tokens = {"a", "b", "c"}, .merges = {}, .rest = of_kind("llama")};
    v.rest.add_space_prefix = false;
    for (int i = 0; i < 15; ++i) {
      const std::string token = random_word(random, 2 + random() % 3);
      if (std::ranges::count(v.tokens, token) == 0) v.tokens.push_back(token);
    }
    v.rest.scores.emplace();
    for (std::size_t i = 0; i < v.tokens.size(); ++i)
      v.rest.scores->push_back(-static_cast<double>(random() % 10));  // with ties
    const std::string word = random_word(random, random() % 40);
    const auto parts = merge_plainly(split_letters(word), [&](const auto& left, const auto& right) {
      const auto token = std::ranges::find(v.tokens, left + right);
      return token == v.tokens.end()
                 ? -1
                 : static_cast<int>(
                       -(*v.rest.scores)[static_cast<std::size_t>(token - v.tokens.begin())]);
    });
    const auto tokenizer = v.make();
    std::vector<std::string> got;
    for (const Token token : tokenizer->encode(word, kPlain))
      got.push_back(tokenizer->piece(token, false));
    CHECK(got == parts);
  }
}

TEST_CASE("tokenizer: half a mebibyte without a blank takes a moment") {
  for (const std::string name : {"gpt2", "llama3", "qwen2", "llama2"}) {
    const auto tokenizer = stored(name);
    std::mt19937 random(3);
    for (const std::string& word :
         {std::string(512 * 1024, 'a'), std::string(512 * 1024, ' '), std::string(512 * 1024, '\n'),
          random_word(random, 512 * 1024), std::string(512 * 1024, '\xff')}) {
      const auto begin = std::chrono::steady_clock::now();
      const Ids ids = tokenizer->encode(word, kPlain);
      CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));
      CHECK(tokenizer->decode(ids, false) == word);
    }
  }
}

TEST_CASE("tokenizer: any thread may use one") {
  const auto tokenizer = stored("llama3");
  const std::string text = "Four threads, <think>one</think> tokenizer: \u4f60\u597d 1234";
  const Ids expected = tokenizer->encode(text, {});
  std::vector<Ids> got(4);
  {
    std::vector<std::jthread> threads;
    for (Ids& ids : got)
      threads.emplace_back([&] {
        for (int i = 0; i < 50; ++i) ids = tokenizer->encode(text, {});
      });
  }
  for (const Ids& ids : got) CHECK(ids == expected);
}

TEST_CASE("tokenizer: a vocabulary that doesn't fit together is one clear line") {
  struct Case {
    const char* says;
    TestVocabulary vocabulary;
  };
  std::vector<Case> cases;
  const auto add = [&](const char* says, TestVocabulary vocabulary, const auto& change) {
    change(vocabulary);
    cases.push_back({says, std::move(vocabulary)});
  };
  add("tokenizer.ggml.model is \"bert\"; known are gpt2", letters(),
      [](auto& v) { v.rest.model = "bert"; });
  add("tokenizer.ggml.pre is \"x\\x0ay\"; known are gpt-2, default, smollm, llama-bpe", letters(),
      [](auto& v) { v.rest.pre = "x\ny"; });
  add("tokenizer.ggml.tokens is empty", letters(), [](auto& v) { v.tokens.clear(); });
  add("tokenizer.ggml.token_type has 3 entries for 10 tokens", letters(),
      [](auto& v) { v.rest.types->resize(3); });
  add("tokenizer.ggml.token_type of token 1 is 7; types are 0 to 6", letters(),
      [](auto& v) { (*v.rest.types)[1] = 7; });
  add("tokenizer.ggml.bos_token_id is 10; the vocabulary has 10 tokens", letters(),
      [](auto& v) { v.rest.bos = 10; });
  add("tokenizer.ggml.eos_token_id is 18446744073709551615;", letters(),
      [](auto& v) { v.rest.eos = ~0ull; });
  add("tokenizer.ggml.eot_token_id is 99", letters(), [](auto& v) { v.rest.eot = 99; });
  add("tokenizer.ggml.unknown_token_id is 99", letters(), [](auto& v) { v.rest.unknown = 99; });
  add("merge 1, \"ab\", isn't two parts", letters(), [](auto& v) { v.merges[1] = "ab"; });
  add("isn't two parts", letters(), [](auto& v) { v.merges[1] = " ab"; });
  add("isn't two parts", letters(), [](auto& v) { v.merges[1] = "ab "; });
  add("isn't two parts", letters(), [](auto& v) { v.merges[1] = "a b c"; });
  add("isn't two parts", letters(), [](auto& v) { v.merges[1] = ""; });
  add("merge 0, \"a z\", has a part that isn't a token", letters(),
      [](auto& v) { v.merges[0] = "a z"; });
  add("merge 2, \"c c\", makes something that isn't a token", letters(),
      [](auto& v) { v.merges[2] = "c c"; });
  add("the special token 5 has 2000 bytes", letters(),
      [](auto& v) { v.tokens[5] = std::string(2000, 'x'); });
  add("tokenizer.ggml.scores has 0 entries for 9 tokens", blanks(),
      [](auto& v) { v.rest.scores.reset(); });
  add("tokenizer.ggml.scores has 8 entries for 9 tokens", blanks(),
      [](auto& v) { v.rest.scores->pop_back(); });
  add("tokenizer.ggml.scores of token 4 is NaN", blanks(),
      [](auto& v) { (*v.rest.scores)[4] = std::numeric_limits<double>::quiet_NaN(); });
  add("token 5 is of type byte and \"b\"; such tokens are <0x00> to <0xFF>", blanks(),
      [](auto& v) { (*v.rest.types)[5] = kByte; });
  for (const Case& bad : cases) {
    CAPTURE(bad.says);
    const auto failure = failure_of([&] { bad.vocabulary.make(); });
    CHECK(failure.kind == ErrorKind::kBadFile);
    CHECK(failure.message.starts_with("test.gguf: "));
    CHECK(failure.says(bad.says));
  }
}

TEST_CASE("tokenizer: odd vocabularies do no harm") {
  TestVocabulary twice = letters();  // the same token again, the same merge again
  twice.tokens.push_back("ab");
  twice.rest.types->push_back(kNormal);
  twice.merges.push_back("a b");
  CHECK(twice.make()->encode("abb", kPlain) == Ids{10, 1});
  TestVocabulary cycle = letters();  // a token that is its own part can't come about
  cycle.tokens[4] = "";
  CHECK(failure_of([&] { cycle.make(); }).kind == ErrorKind::kBadFile);
  TestVocabulary nothing{.tokens = {"", ""}, .merges = {}, .rest = of_kind("gpt2")};
  CHECK(nothing.make()->encode("any", {}).empty());
  TestVocabulary hidden = blanks();  // an unused token is never made
  (*hidden.rest.types)[7] = kUnused;
  CHECK(hidden.make()->encode("ab", kPlain) == Ids{6, 5});
}

TEST_CASE("tokenizer: the metadata is read from the file") {
  GgufWriter writer;
  writer.add("tokenizer.ggml.model", "gpt2");
  writer.add("tokenizer.ggml.pre", "qwen2");
  writer.add("tokenizer.ggml.tokens", std::vector<std::string>{"1", "2", "12", "<|x|>", "\u0120"});
  writer.add("tokenizer.ggml.merges", std::vector<std::string>{"1 2"});
  writer.add("tokenizer.ggml.token_type", std::vector<std::int32_t>{1, 1, 1, 3, 1});
  writer.add("tokenizer.ggml.bos_token_id", std::uint32_t{3});
  writer.add("tokenizer.ggml.add_bos_token", true);
  const MemoryFile file(writer.bytes());
  const auto tokenizer = Tokenizer::make(ModelFile::open(file.path()));
  CHECK(tokenizer->vocab_size() == 5);
  CHECK(tokenizer->bos() == 3);
  CHECK(tokenizer->eos() == -1);
  CHECK(tokenizer->encode("12 <|x|>", {}) == Ids{3, 0, 1, 4, 3});  // Qwen cuts digit by digit
  CHECK(tokenizer->decode(Ids{2, 4, 0}, false) == "12 1");

  GgufWriter nothing;
  nothing.add("general.architecture", "llama");
  const MemoryFile empty(nothing.bytes());
  const auto failure = failure_of([&] { Tokenizer::make(ModelFile::open(empty.path())); });
  CHECK(failure.kind == ErrorKind::kBadFile);
  CHECK(failure.says("tokenizer.ggml.model"));
}
