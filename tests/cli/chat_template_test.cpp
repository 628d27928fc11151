#include "cli/chat_template.h"

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "memory/error.h"
#include "memory/model_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/reference_data.h"

using namespace sluice;
using sluice::testing::failure_of;

namespace {

const auto kData = std::filesystem::path(SLUICE_SOURCE_DIR) / "tests/reference/data";

const std::map<std::string, ChatFormat> kFormats = {
    {"chatml", ChatFormat::kChatMl}, {"llama2", ChatFormat::kLlama2},
    {"llama3", ChatFormat::kLlama3}, {"mistral", ChatFormat::kMistral},
    {"gemma", ChatFormat::kGemma},   {"phi3", ChatFormat::kPhi3},
};

std::vector<Message> messages_of(const nlohmann::json& pairs) {
  std::vector<Message> messages;
  for (const auto& pair : pairs) messages.push_back({pair[0], pair[1]});
  return messages;
}

// Nothing for a conversation that the template refuses.
std::optional<std::string> rendered(const ChatTemplate& chat, const std::vector<Message>& messages,
                                    bool reply, const std::string& bos) {
  try {
    return chat.render(messages, reply, bos);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kUsage);
    return std::nullopt;
  }
}

}  // namespace

TEST_CASE("chat template: conversations come out as Transformers renders them") {
  const auto chats = nlohmann::json::parse(std::ifstream(kData / "chats.json"));
  REQUIRE(chats.size() == 14);
  for (const auto& entry : chats) {
    const std::string name = entry["name"];
    CAPTURE(name);
    const ChatTemplate chat(entry["template"].get<std::string>());
    CHECK(chat.format() == kFormats.at(entry["format"]));
    CHECK(chat.default_system() == entry["default_system"]);
    for (const auto& conversation : entry["cases"]) {
      const auto messages = messages_of(conversation["messages"]);
      const bool reply = conversation["reply"];
      CAPTURE(conversation["messages"].dump());
      CAPTURE(reply);
      std::optional<std::string> expected;
      if (!conversation["text"].is_null()) expected = conversation["text"];
      const auto got = rendered(chat, messages, reply, entry["bos"]);
      // A system message that comes late is lost by Llama 2's template, and a turn that the model
      // has never seen in Gemma's: we refuse.
      const bool late = messages.back().content == "late";
      if (late && (name == "llama2" || name.starts_with("gemma"))) {
        CHECK(!got);
      } else {
        CHECK(got == expected);
      }
    }
  }
}

TEST_CASE("chat template: one that is absent or unknown is refused, and told what is known") {
  for (const std::string source :
       {"", "{{ messages[0].content }}", "<|im_start|>user<|im_sep|>x<|im_end|>",
        "<|system|>\n</s><|user|>\n</s><|assistant|>", "[INST] {{ x }} [/INST]",
        "[SYSTEM_PROMPT] x [/SYSTEM_PROMPT]'[INST] ' + x + '[/INST]'", "<|im_start|>"}) {
    CAPTURE(source);
    const auto failure = failure_of([&] { ChatTemplate chat(source); });
    CHECK(failure.kind == ErrorKind::kUsage);
    CHECK(failure.says("known are ChatML, Llama 2, Llama 3, Mistral, Gemma and Phi-3"));
    CHECK(failure.says(source.empty() ? "has no chat template" : "isn't recognised"));
  }
}

TEST_CASE("chat template: a system message put in from outside is no default") {
  const ChatTemplate chat(
      "{% if m.role == 'system' %}<|im_start|>system\n{{ m.text }}<|im_end|>\n{{ 'x' }}");
  CHECK(chat.default_system() == "");
}

TEST_CASE("chat template: what a template can't take is refused with the reason") {
  const ChatTemplate gemma("<start_of_turn> <end_of_turn>");
  const auto refusal = [&](std::vector<Message> messages) {
    const auto failure = failure_of([&] { gemma.render(messages, true, ""); });
    CHECK(failure.kind == ErrorKind::kUsage);
    return failure.message;
  };
  CHECK(refusal({}) == "the model's chat template needs at least one message");
  CHECK(refusal({{"system", "x"}}) == "the model's chat template takes no system message");
  CHECK(refusal({{"user", "x"}, {"user", "y"}}) ==
        "the model's chat template wants user and assistant in turn, the user first");
  CHECK(
      refusal({{"to\nol", "x"}}) ==
      "the model's chat template has no role \"to\\x0aol\"; roles are system, user and assistant");
}

TEST_SUITE("model") {
  TEST_CASE("chat template: SmolLM2's own is ChatML with its default system message") {
    const auto file = ModelFile::open(real_model());
    const ChatTemplate chat(file.get_string("tokenizer.chat_template"));
    CHECK(chat.format() == ChatFormat::kChatMl);
    CHECK(chat.default_system() ==
          "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
    const std::vector<Message> messages = {{"user", "Name a primary colour."}};
    const auto prompts = nlohmann::json::parse(std::ifstream(kData / "prompts.json"));
    const auto prompt = std::ranges::find(prompts, "chat_one_turn",
                                          [](const auto& entry) { return entry["name"]; });
    CHECK(chat.render(messages, true, "<|im_start|>") == (*prompt)["text"]);
  }
}
