// The independent truth under tests/reference/data: what Transformers' fp32 models answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// A small model, and its logits after each token of one sequence. tests/reference/make_tiny.py
struct TinyReference {
  std::string name;
  std::string about;
  std::filesystem::path gguf;
  std::vector<std::int32_t> ids;
  std::size_t vocab = 0;
  std::vector<float> logits;  // [ids, vocab]
};

// Logits after the token at `position` of a prompt with its continuation, at every stride-th id.
// The first probe of a prompt lies in its middle, the second at its end, the third before the last
// id.
struct LogitsProbe {
  std::size_t position = 0;
  std::vector<float> values;  // [ceil(vocab / stride)], of ids 0, stride, 2 stride...
};

// One prompt and what greedy decoding makes of it.
struct PromptReference {
  std::string name;
  std::string text;
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> continuation;
  std::vector<float> gaps;  // highest logit less the second, where each continuation id was picked
  std::vector<LogitsProbe> probes;
};

// The real model's answers. tests/reference/make_logits.py
struct LogitsReference {
  std::size_t vocab = 0;
  std::size_t stride = 0;
  std::vector<PromptReference> prompts;
};

// Read once, then shared. Any thread. Throw Error{kBadFile} for data that doesn't fit together.
const std::vector<TinyReference>& tiny_references();
const TinyReference& tiny_reference(std::string_view name);
std::string tiny_gguf(std::string_view name);  // its file, for a command line
const LogitsReference& logits_reference();

// The model that LogitsReference is about: what SLUICE_TEST_MODEL names, else where tests/run puts
// it. Throws Error{kIo} if it isn't there. Cases that need it belong to doctest's suite "model".
std::filesystem::path real_model();

// |got - wanted| / |wanted|, 2-norms. NaN anywhere gives NaN, which no bound accepts.
double relative_error(std::span<const float> got, std::span<const float> wanted);

}  // namespace sluice
