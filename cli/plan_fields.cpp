#include "cli/plan_fields.h"

#include <algorithm>
#include <cmath>

namespace sluice {

using Json = nlohmann::ordered_json;

namespace {

std::string list_of(std::initializer_list<std::string_view> words) {
  std::string list;
  for (const std::string_view word : words) list += text(list.empty() ? "" : ", ", word);
  return list;
}

}  // namespace

PlanFields::PlanFields(std::string where, const Json& json,
                       std::initializer_list<std::string_view> known)
    : where_(std::move(where)), json_(json) {
  if (!json.is_object()) fail(text("is ", shown(json), "; an object is needed"));
  for (const auto& [key, value] : json.items()) {
    if (std::ranges::find(known, key) == known.end()) {
      fail(text("has an unknown field ", printable(key, kShownChars), "; there are ",
                list_of(known)));
    }
  }
  for (const std::string_view key : known) {
    if (!json.contains(key)) fail(text("has no ", key, "; sluice plan --save writes one"));
  }
}

std::size_t read_count(const PlanFields& fields, const std::string& name, const Json& value,
                       std::size_t least, std::size_t most) {
  const bool fits = value.is_number_unsigned() && value.get<std::uint64_t>() >= least &&
                    value.get<std::uint64_t>() <= most;
  if (!fits) {
    fields.fail(
        text("has ", name, " ", shown(value), "; it is a whole number from ", least, " to ", most));
  }
  return value.get<std::size_t>();
}

std::size_t PlanFields::count(std::string_view key, std::size_t least, std::size_t most) const {
  return read_count(*this, std::string(key), value(key), least, most);
}

double PlanFields::figure(std::string_view key) const {
  const Json& number = value(key);
  const double figure = number.is_number() ? number.get<double>() : -1.0;
  if (!std::isfinite(figure) || figure < 0.0 || figure > 1e18) {
    fail(text("has ", key, " ", shown(number), "; it is a number from 0 to 1e18"));
  }
  return figure;
}

bool PlanFields::flag(std::string_view key) const {
  const Json& flag = value(key);
  if (!flag.is_boolean()) fail(text("has ", key, " ", shown(flag), "; it is true or false"));
  return flag.get<bool>();
}

std::size_t PlanFields::word(std::string_view key,
                             std::initializer_list<std::string_view> words) const {
  const Json& word = value(key);
  const auto* found =
      word.is_string() ? std::ranges::find(words, word.get_ref<const std::string&>()) : words.end();
  if (found == words.end()) {
    fail(text("has ", key, " ", shown(word), "; there are ", list_of(words)));
  }
  return static_cast<std::size_t>(found - words.begin());
}

const Json& PlanFields::array(std::string_view key) const {
  const Json& array = value(key);
  if (!array.is_array()) fail(text("has ", key, " ", shown(array), "; an array is needed"));
  return array;
}

}  // namespace sluice
