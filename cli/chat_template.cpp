#include "cli/chat_template.h"

#include <algorithm>

#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {

namespace {

constexpr std::string_view kBlanks = " \t\n\r\v\f";
constexpr std::string_view kInstructionEos = "</s>";  // of Mistral
constexpr std::string_view kPhiEos = "<|endoftext|>";
constexpr std::string_view kThoughtsEnd = "</think>";

// What stands around a turn's role and text.
struct Marks {
  std::string_view before_role, after_role, close;
};

Marks turn_marks(ChatFormat format) {
  switch (format) {
    case ChatFormat::kLlama3:
      return {"<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"};
    case ChatFormat::kGemma:
      return {"<start_of_turn>", "\n", "<end_of_turn>\n"};
    case ChatFormat::kPhi3:
      return {"<|", "|>\n", "<|end|>\n"};
    default:
      return {"<|im_start|>", "\n", "<|im_end|>\n"};
  }
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == text.npos) return "";
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

// What is inside a Jinja string literal.
std::string unescape(std::string_view literal) {
  std::string plain;
  for (std::size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] != '\\' || i + 1 == literal.size()) {
      plain += literal[i];
      continue;
    }
    const char escaped = literal[++i];
    plain += escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped;
  }
  return plain;
}

// The string literal of `source` that `at` lies in, without its quotes.
std::string literal_around(std::string_view source, std::size_t at) {
  const std::size_t quote = source.find_last_of("'\"", at);
  if (quote == source.npos) return "";
  std::size_t end = quote + 1;
  while (end < source.size() && source[end] != source[quote]) end += source[end] == '\\' ? 2 : 1;
  return end < source.size() ? unescape(source.substr(quote + 1, end - quote - 1)) : "";
}

// The system message that a ChatML template writes where the conversation has none.
std::string find_default_system(std::string_view source) {
  constexpr std::string_view kOpen = "<|im_start|>system\n", kClose = "<|im_end|>";
  constexpr std::string_view kAnchor = "<|im_start|>system";
  for (std::size_t at = source.find(kAnchor); at != source.npos;
       at = source.find(kAnchor, at + 1)) {
    const std::string literal = literal_around(source, at);
    const std::size_t open = literal.find(kOpen);
    if (open == literal.npos) continue;
    const std::size_t begin = open + kOpen.size(), end = literal.find(kClose, begin);
    if (end == literal.npos) continue;
    const std::string system = literal.substr(begin, end - begin);
    if (!contains(system, "{{") && !contains(system, "{%")) return system;
  }
  return "";
}

[[noreturn]] void refuse_template(bool absent) {
  throw Error(
      ErrorKind::kUsage,
      text(absent ? "the model has no chat template" : "the model's chat template isn't recognised",
           "; known are ChatML, Llama 2, Llama 3, Mistral, Gemma and Phi-3. Without --chat "
           "the prompt is taken as it is"));
}

ChatFormat recognise(std::string_view source) {
  const auto has = [source](std::string_view part) { return contains(source, part); };
  if (has("<|im_start|>") && has("<|im_end|>") && !has("<|im_sep|>")) return ChatFormat::kChatMl;
  if (has("<|start_header_id|>") && has("<|eot_id|>")) return ChatFormat::kLlama3;
  if (has("<start_of_turn>") && has("<end_of_turn>")) return ChatFormat::kGemma;
  if (has("<|user|>") && has("<|assistant|>") && has("<|end|>")) return ChatFormat::kPhi3;
  if (has("[INST]") && has("<<SYS>>")) return ChatFormat::kLlama2;
  if (has("[INST]") && has("[/INST]") && !has("[SYSTEM_PROMPT]")) return ChatFormat::kMistral;
  refuse_template(source.empty());
}

// "Cutting Knowledge Date: ...", "Today Date: ..." as Llama 3.1 and later write them.
std::string date_preamble(std::string_view source) {
  constexpr std::string_view kCutting = "Cutting Knowledge Date: ";
  const std::size_t at = source.find(kCutting);
  if (at == source.npos || !contains(source, "Today Date: ")) return "";
  constexpr std::string_view kSet = "set date_string = \"";
  const std::size_t set = source.find(kSet);
  if (set == source.npos) return "";
  const std::string date = literal_around(source, set + kSet.size());
  return text(literal_around(source, at), "Today Date: ", date, "\n\n");
}

[[noreturn]] void refuse(std::string_view why) {
  throw Error(ErrorKind::kUsage, text("the model's chat template ", why));
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view source) : format_(recognise(source)) {
  style_.writes_bos = contains(source, "bos_token");
  switch (format_) {
    case ChatFormat::kChatMl:
      default_system_ = find_default_system(source);
      style_.drops_thoughts = contains(source, kThoughtsEnd);
      break;
    case ChatFormat::kLlama3:
      style_.system_preamble = date_preamble(source);
      break;
    case ChatFormat::kGemma:
      if (contains(source, "first_user_prefix")) style_.system = SystemPlace::kFirstUser;
      break;
    case ChatFormat::kPhi3:
      style_.ends_with_eos = contains(source, "eos_token");
      break;
    case ChatFormat::kLlama2:
    case ChatFormat::kMistral:
      read_instruction_style(source);
      break;
  }
}

void ChatTemplate::read_instruction_style(std::string_view source) {
  if (format_ == ChatFormat::kLlama2) {
    style_.trims_replies = true;
    style_.system = SystemPlace::kFirstUser;
    return;
  }
  const auto has = [source](std::string_view part) { return contains(source, part); };
  style_.user_open = literal_around(source, source.find("[INST]"));
  style_.user_close = literal_around(source, source.find("[/INST]"));
  if (!contains(style_.user_open, "[INST]") || !contains(style_.user_close, "[/INST]")) {
    refuse_template(false);
  }
  const bool blank_before = has("' ' + message['content']") || has("\" \" + message[\"content\"]");
  const bool blank_after = has("eos_token + ' '") || has("eos_token + \" \"");
  style_.reply_open = std::string(blank_before ? " " : "");
  style_.reply_close = text(kInstructionEos, blank_after ? " " : "");
  style_.trims_replies = has("|trim + eos_token") || has("| trim + eos_token");
  if (has("loop.first and system_message")) style_.system = SystemPlace::kFirstUser;
  if (has("loop.last and system_message")) style_.system = SystemPlace::kLastUser;
}

std::string ChatTemplate::render(std::span<const Message> messages, bool reply,
                                 std::string_view bos_text) const {
  check_order(messages);
  const std::string_view bos = style_.writes_bos ? bos_text : "";
  switch (format_) {
    case ChatFormat::kLlama2:
      return render_instructions(messages, bos);  // before each instruction
    case ChatFormat::kMistral:
      return text(bos, render_instructions(messages, ""));
    default:
      return text(bos, render_turns(messages, reply));
  }
}

void ChatTemplate::check_order(std::span<const Message> messages) const {
  if (messages.empty()) refuse("needs at least one message");
  const bool takes_any = format_ == ChatFormat::kChatMl || format_ == ChatFormat::kLlama3;
  const bool alternates = !takes_any && format_ != ChatFormat::kPhi3;
  for (const Message& message : messages) {
    if (!takes_any && message.role != "system" && message.role != "user" &&
        message.role != "assistant") {
      refuse(text("has no role \"", printable(message.role),
                  "\"; roles are system, user and assistant"));
    }
  }
  if (!alternates) return;
  const bool has_system = messages[0].role == "system";
  if (has_system && style_.system == SystemPlace::kNowhere) refuse("takes no system message");
  for (std::size_t i = has_system; i < messages.size(); ++i) {
    const bool users_turn = (i - has_system) % 2 == 0;
    if (messages[i].role != (users_turn ? "user" : "assistant")) {
      refuse("wants user and assistant in turn, the user first");
    }
  }
}

// ChatML, Llama 3, Gemma, Phi-3: each message is a turn with its role written before it.
std::string ChatTemplate::render_turns(std::span<const Message> messages, bool reply) const {
  const Marks marks = turn_marks(format_);
  const bool has_system = messages[0].role == "system";
  std::string rendered, prefix;
  if (!has_system && !default_system_.empty()) {
    rendered += text(open_turn("system"), default_system_, marks.close);
  }
  if (!style_.system_preamble.empty()) {
    const std::string system = has_system ? turn_text(messages[0]) : "";
    rendered += text(open_turn("system"), style_.system_preamble, system, marks.close);
    messages = messages.subspan(has_system);
  } else if (has_system && style_.system == SystemPlace::kFirstUser) {
    prefix = messages[0].content + "\n\n";
    messages = messages.subspan(1);
  }
  for (const Message& message : messages) {
    rendered += text(open_turn(message.role), prefix, turn_text(message), marks.close);
    prefix.clear();
  }
  if (reply) {
    rendered += open_turn("assistant");
  } else if (style_.ends_with_eos) {
    rendered += kPhiEos;
  }
  return rendered;
}

std::string ChatTemplate::open_turn(std::string_view role) const {
  const Marks marks = turn_marks(format_);
  if (format_ == ChatFormat::kGemma && role == "assistant") role = "model";
  return text(marks.before_role, role, marks.after_role);
}

std::string ChatTemplate::turn_text(const Message& message) const {
  std::string_view content = message.content;
  if (format_ == ChatFormat::kLlama3 || format_ == ChatFormat::kGemma) content = trim(content);
  if (style_.drops_thoughts && message.role == "assistant" && contains(content, kThoughtsEnd)) {
    content.remove_prefix(content.rfind(kThoughtsEnd) + kThoughtsEnd.size());
    content.remove_prefix(std::min(content.find_first_not_of('\n'), content.size()));
  }
  return std::string(content);
}

// Llama 2 and Mistral: what the user says is an instruction, and the reply follows it.
std::string ChatTemplate::render_instructions(std::span<const Message> messages,
                                              std::string_view bos_text) const {
  const bool has_system = messages[0].role == "system";
  const std::string system = has_system ? messages[0].content : "";
  if (has_system) messages = messages.subspan(1);
  std::string rendered;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string_view content = messages[i].content;
    if (messages[i].role == "assistant") {
      rendered += text(style_.reply_open, style_.trims_replies ? trim(content) : content,
                       style_.reply_close);
      continue;
    }
    const std::size_t system_at = style_.system == SystemPlace::kLastUser ? messages.size() - 1 : 0;
    std::string instruction(content);
    if (has_system && i == system_at) {
      instruction = format_ == ChatFormat::kLlama2
                        ? text("<<SYS>>\n", system, "\n<</SYS>>\n\n", content)
                        : text(system, "\n\n", content);
    }
    if (format_ == ChatFormat::kLlama2) instruction = trim(instruction);
    rendered += text(bos_text, style_.user_open, instruction, style_.user_close);
  }
  return rendered;
}

}  // namespace sluice
