// Text from outside, made fit for one line of a message.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace sluice {

// `bytes` as a terminal may show it: what isn't UTF-8, and characters that control a terminal or
// turn the direction of writing, are written as \xNN; "..." stands for what is past `max_bytes`.
std::string printable(std::string_view bytes, std::size_t max_bytes = 64);
std::string printable_path(const std::filesystem::path& path);

// Length of the well-formed UTF-8 character that `bytes` starts with, or 0 if there is none.
std::size_t utf8_length(std::string_view bytes);

}  // namespace sluice
