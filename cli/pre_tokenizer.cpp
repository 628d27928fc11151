#define PCRE2_CODE_UNIT_WIDTH 8
#include "cli/pre_tokenizer.h"

#include <pcre2.h>

#include <array>
#include <limits>
#include <string>

#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {

namespace {

// White space as Unicode has it, inside a class. PCRE2's own \s also takes U+180E.
#define BLANK \
  R"(\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})"
#define CONTRACTIONS "'s|'t|'re|'ve|'m|'ll|'d"

constexpr const char* kGpt2 = CONTRACTIONS R"(| ?\p{L}+| ?\p{N}+| ?[^)" BLANK R"(\p{L}\p{N}]+)"
                                           "|[" BLANK "]+(?![^" BLANK "])|[" BLANK "]+";
// Digits are cut out one by one first; a digit then ends the text before it, so that blanks before
// it stay together.
constexpr const char* kSmolLm = R"(\p{N}|)" CONTRACTIONS R"(| ?\p{L}+| ?[^)" BLANK R"(\p{L}\p{N}]+)"
                                "|[" BLANK "]+(?![^" BLANK R"(\p{N}])|[)" BLANK "]+";
// Llama 3 takes up to three digits at once, Qwen 2 one.
#define LLAMA3(DIGITS)                                                      \
  "(?i:" CONTRACTIONS R"()|[^\r\n\p{L}\p{N}]?\p{L}+|)" DIGITS "| ?[^" BLANK \
  R"(\p{L}\p{N}]+[\r\n]*|[)" BLANK R"(]*[\r\n]+|[)" BLANK "]+(?![^" BLANK "])|[" BLANK "]+"
constexpr const char* kLlama3 = LLAMA3(R"(\p{N}{1,3})");
constexpr const char* kQwen2 = LLAMA3(R"(\p{N})");

struct Rule {
  std::string_view name;
  const char* regex;
  bool whole_pieces_first;
};

constexpr std::array kRules = {
    Rule{"gpt-2", kGpt2, false},    Rule{"default", kGpt2, false},
    Rule{"smollm", kSmolLm, false}, Rule{"llama-bpe", kLlama3, true},
    Rule{"llama3", kLlama3, true},  Rule{"llama-v3", kLlama3, true},
    Rule{"qwen2", kQwen2, false},   Rule{"deepseek-r1-qwen", kQwen2, false},
};

const Rule& find_rule(std::string_view name, std::string_view where) {
  std::string known;
  for (const Rule& rule : kRules) {
    if (rule.name == name) return rule;
    known += (known.empty() ? "" : ", ") + std::string(rule.name);
  }
  throw Error(ErrorKind::kBadFile,
              text(where, ": tokenizer.ggml.pre is \"", printable(name), "\"; known are ", known));
}

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 128> message{};
  pcre2_get_error_message(code, message.data(), message.size());
  return reinterpret_cast<const char*>(message.data());
}

struct FreeMatch {
  void operator()(pcre2_match_data* data) const noexcept { pcre2_match_data_free(data); }
};

}  // namespace

void PreTokenizer::FreeCode::operator()(pcre2_code* code) const noexcept {
  pcre2_code_free(code);
}

void PreTokenizer::FreeContext::operator()(pcre2_match_context* context) const noexcept {
  pcre2_match_context_free(context);
}

PreTokenizer::PreTokenizer(std::string_view name, std::string_view where) {
  const Rule& rule = find_rule(name, where);
  whole_pieces_first_ = rule.whole_pieces_first;
  int error = 0;
  std::size_t error_at = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(rule.regex), PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_UCP, &error, &error_at, nullptr));
  context_.reset(pcre2_match_context_create(nullptr));
  if (!code_ || !context_) {
    throw Error(ErrorKind::kInternal, text("compiling the regex of the pre-tokenizer ", rule.name,
                                           ": ", pcre2_message(error), " at ", error_at));
  }
  // Where memory can't be made executable there is no JIT: slower, and the same.
  (void)pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
  // A long run of blanks is tried back to its start: that is linear, and no reason to give up.
  pcre2_set_match_limit(context_.get(), std::numeric_limits<std::uint32_t>::max());
  pcre2_set_depth_limit(context_.get(), std::numeric_limits<std::uint32_t>::max());
  pcre2_set_heap_limit(context_.get(), std::numeric_limits<std::uint32_t>::max());
}

void PreTokenizer::split(std::string_view input, std::vector<std::string_view>& pieces) const {
  const std::unique_ptr<pcre2_match_data, FreeMatch> match(
      pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  if (!match) throw std::bad_alloc();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(input.data());
  const std::size_t* bounds = pcre2_get_ovector_pointer(match.get());
  std::size_t at = 0;
  while (at < input.size()) {
    const int result =
        pcre2_match(code_.get(), subject, input.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY,
                    match.get(), context_.get());
    if (result < 0 && result != PCRE2_ERROR_NOMATCH) {
      throw Error(ErrorKind::kInternal, text("cutting text into pieces: ", pcre2_message(result)));
    }
    const std::size_t begin = result < 0 ? input.size() : bounds[0];
    if (begin > at) pieces.push_back(input.substr(at, begin - at));
    if (result >= 0) pieces.push_back(input.substr(begin, bounds[1] - begin));
    at = result < 0 ? input.size() : bounds[1];
  }
}

}  // namespace sluice
