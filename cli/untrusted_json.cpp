#include "cli/untrusted_json.h"

#include <set>
#include <vector>

#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {

using Json = nlohmann::ordered_json;

Json parse_untrusted_json(std::string_view json, const std::string& file) {
  std::vector<std::set<std::string>> open;  // the keys of each object that isn't closed yet
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second) {
      throw Error(ErrorKind::kBadFile,
                  text(file, ": the field ", printable(value.get<std::string>(), kShownChars),
                       " is there twice in one object; give it once"));
    }
    return true;
  };
  try {
    return Json::parse(json, watch);
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::kBadFile, text(file, ": not JSON: ", printable(error.what(), 160)));
  }
}

std::string shown(const Json& value) {
  if (value.is_array() || value.is_object()) return text("of the type ", value.type_name());
  return printable(value.dump(), kShownChars);
}

}  // namespace sluice
