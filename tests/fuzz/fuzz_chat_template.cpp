// Any template and any conversation: an Error, or a prompt that holds what was said.
//
// Input: the template, a zero byte, then messages, each a letter for its role and its text, a zero
// byte between them.
//
//   build/fuzz/fuzz_chat_template -max_len=4096 CORPUS tests/fuzz/seeds/chat_template
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "cli/chat_template.h"
#include "memory/error.h"

namespace sluice {

namespace {

void demand(bool promise) {
  if (!promise) std::abort();
}

std::string_view take_part(std::string_view& input) {
  const std::string_view part = input.substr(0, input.find('\0'));
  input.remove_prefix(std::min(part.size() + 1, input.size()));
  return part;
}

std::string role_of(char letter) {
  if (letter == 's') return "system";
  if (letter == 'u') return "user";
  return letter == 'a' ? "assistant" : std::string(1, letter);
}

void run(std::string_view input) {
  const ChatTemplate chat(take_part(input));
  std::vector<Message> messages;
  while (!input.empty()) {
    const std::string_view part = take_part(input);
    if (!part.empty()) messages.push_back({role_of(part[0]), std::string(part.substr(1))});
  }
  const std::string asking = chat.render(messages, true, "<s>");
  const std::string ended = chat.render(messages, false, "<s>");
  if (chat.format() != ChatFormat::kPhi3) demand(asking.starts_with(ended));
  for (const Message& message : messages) {
    // Thoughts are dropped and blanks around a text too, so what a word of it is must be there.
    const bool plain = message.content.find_first_of(" \t\n\r\v\f<") == std::string::npos;
    if (plain && message.role == "user") demand(ended.find(message.content) != std::string::npos);
  }
}

}  // namespace

}  // namespace sluice

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  try {
    run({reinterpret_cast<const char*>(data), size});
  } catch (const Error& error) {
    demand(error.kind() == ErrorKind::kUsage);
    demand(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
