// Messages to one prompt, as the model's chat template says.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace sluice {

struct Message {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

// The templates that are recognised by what is in them (a Jinja interpreter isn't among our aims).
enum class ChatFormat { kChatMl, kLlama2, kLlama3, kMistral, kGemma, kPhi3 };

// Owns what it needs. Throws Error{kUsage} for a template that isn't recognised, or that is absent:
// never a silent guess.
class ChatTemplate {
 public:
  // `source` is tokenizer.chat_template of the metadata.
  explicit ChatTemplate(std::string_view source);
  ChatFormat format() const { return format_; }
  // The default system message that the template itself carries (SmolLM2, Qwen), or empty.
  const std::string& default_system() const { return default_system_; }
  // Renders all messages; with `reply` the text that opens the assistant's turn follows. What a
  // control token is written as text, to be encoded with parse_special and without add_special:
  // BOS is written where the template writes it (`bos_text`).
  // Throws Error{kUsage} for a role or an order that the template refuses.
  std::string render(std::span<const Message> messages, bool reply,
                     std::string_view bos_text) const;

 private:
  ChatFormat format_;
  std::string default_system_;
};

}  // namespace sluice
