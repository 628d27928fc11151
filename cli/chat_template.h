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

// Renders as Transformers' apply_chat_template does for such a template, without tools. Where the
// template asks for today's date (Llama 3.2), its own fallback is written: a prompt must not change
// overnight. Owns what it needs. Throws Error{kUsage} for a template that isn't recognised, or that
// is absent: never a silent guess.
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
  // Where a system message goes that the format has no turn for.
  enum class SystemPlace { kNowhere, kFirstUser, kLastUser };
  // What differs between templates of one format.
  struct Style {
    bool writes_bos = false;
    bool drops_thoughts = false;  // of earlier replies, up to </think>
    bool ends_with_eos = false;   // where no reply is asked for
    bool trims_replies = false;
    SystemPlace system = SystemPlace::kNowhere;
    std::string system_preamble;  // before each system message; Llama 3.1's dates
    std::string user_open = "[INST] ", user_close = " [/INST]";  // as Llama 2 has them
    std::string reply_open = " ", reply_close = " </s>";
  };

  void read_instruction_style(std::string_view source);
  void check_order(std::span<const Message> messages) const;
  std::string render_turns(std::span<const Message> messages, bool reply) const;
  std::string render_instructions(std::span<const Message> messages,
                                  std::string_view bos_text) const;
  std::string open_turn(std::string_view role) const;
  std::string turn_text(const Message& message) const;

  ChatFormat format_;
  std::string default_system_;
  Style style_;
};

}  // namespace sluice
