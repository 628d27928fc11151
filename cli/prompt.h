// From what the user typed to the tokens of a prompt.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/chat_template.h"
#include "cli/options.h"
#include "cli/tokenizer.h"

namespace sluice {

// A whole file; - is standard input. Throws Error{kIo}.
std::string read_text(const std::string& path);

// The text of -p or -f; nothing if neither was given. Throws Error{kIo} for a file.
std::optional<std::string> read_prompt(const RunOptions& options);

// "1 2 3" or "1,2,3". Throws Error{kUsage} naming what isn't an id.
std::vector<Token> parse_ids(const std::string& text);

// A conversation as the model's template writes it. The same messages give the same tokens, and
// more messages give more: what is cached of a conversation stays good.
class Conversation {
 public:
  // Borrows the tokenizer. Throws Error{kUsage} if the file has no template, or one that isn't
  // known.
  Conversation(const ModelFile& file, const Tokenizer& tokenizer,
               const std::optional<std::string>& system);

  void add(std::string role, std::string content) {
    messages_.push_back({std::move(role), std::move(content)});
  }
  std::size_t size() const { return messages_.size(); }
  // Drops the user's oldest message and its reply. False: there is but one turn, and it stays.
  bool forget_turn();
  // All messages so far, and the opening of the assistant's turn.
  std::vector<Token> encode() const;

 private:
  const Tokenizer* tokenizer_;
  ChatTemplate template_;
  std::vector<Message> messages_;
};

}  // namespace sluice
