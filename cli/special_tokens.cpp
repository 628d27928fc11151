#include "cli/special_tokens.h"

#include <algorithm>

namespace sluice {

void SpecialTokens::add(std::string_view text, Token token) {
  if (text.empty()) return;
  entries_.push_back({text, token});
  first_bytes_.set(static_cast<unsigned char>(text[0]));
}

void SpecialTokens::sort() {
  std::ranges::stable_sort(entries_, {}, &Entry::text);
}

std::optional<SpecialTokens::Match> SpecialTokens::longest_prefix(std::string_view text) const {
  if (text.empty() || !first_bytes_.test(static_cast<unsigned char>(text[0]))) return std::nullopt;
  std::optional<Match> longest;
  auto begin = entries_.begin(), end = entries_.end();
  for (std::size_t size = 0; begin != end;
       ++size) {  // [begin, end) agree with text in `size` bytes
    for (; begin != end && begin->text.size() == size; ++begin) longest = {begin->token, size};
    if (size == text.size()) break;
    const auto next = static_cast<unsigned char>(text[size]);
    const auto byte = [size](const Entry& entry) {
      return static_cast<unsigned char>(entry.text[size]);
    };
    begin = std::partition_point(begin, end, [&](const Entry& e) { return byte(e) < next; });
    end = std::partition_point(begin, end, [&](const Entry& e) { return byte(e) == next; });
  }
  return longest;
}

Token SpecialTokens::find(std::string_view text) const {
  const auto match = longest_prefix(text);
  return match && match->size_bytes == text.size() ? match->token : -1;
}

}  // namespace sluice
