// JSON from outside, and how its values are shown in messages.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace sluice {

inline constexpr std::size_t kShownChars = 40;

// Throws Error{kBadFile} naming `file` for what is no JSON, and for a field that is there twice in
// one object, of which a parser would keep one in silence.
nlohmann::ordered_json parse_untrusted_json(std::string_view json, const std::string& file);

// "5", "\"five\"", "of the type array".
std::string shown(const nlohmann::ordered_json& value);

}  // namespace sluice
