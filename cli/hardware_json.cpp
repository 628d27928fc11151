// The reader of hardware profiles: untrusted JSON, format in docs/hardware/README.md.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "cli/hardware_profiles.h"
#include "cli/untrusted_json.h"
#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;
using Unit = FigureUnit;

constexpr std::size_t kMostNameChars = 40;

// What figures may be: a factor of a hundred or more around what there is to buy.
struct Range {
  double least;
  double most;
  const char* wanted;
};
Range range_of(Unit unit) {
  switch (unit) {
    case Unit::kBytes:
      return {1048576.0, 1e15, "a whole number of bytes from 1048576 to 1e15"};
    case Unit::kBytesPerSecond:
      return {1e6, 1e15, "bytes a second, a number from 1e6 to 1e15"};
    case Unit::kOperationsPerSecond:
      return {1e9, 1e18, "operations a second, a number from 1e9 to 1e18"};
    case Unit::kSeconds:
      return {0.0, 1.0, "seconds, a number from 0 to 1"};
    case Unit::kShare:
      return {0.01, 1.0, "a share, a number from 0.01 to 1"};
  }
  return {};
}

// A profile in the making, with where it is for errors.
class Entry {
 public:
  Entry(const std::string& file, const char* kind, std::size_t index, const Json& json)
      : where_(text(file, ": ", kind, " ", index)), json_(json) {
    if (!json.is_object()) fail(text("is ", shown(json), "; a profile is an object"));
    if (json.contains("name") && json["name"].is_string()) {
      where_ = text(file, ": ", kind, " ", printable(json["name"].get<std::string>(), kShownChars));
    }
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::kBadFile, text(where_, " ", what));
  }

  std::string read_string(const char* key) const {
    const Json& value = require(key);
    if (!value.is_string()) fail(text("has ", key, " ", shown(value), "; a string is needed"));
    return value.get<std::string>();
  }

  std::string read_name(const char* key) const {
    const std::string name = read_string(key);
    const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
    const auto fits = [&](char c) {
      return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.';
    };
    if (name.empty() || name.size() > kMostNameChars || !is_letter(name.front()) ||
        !std::ranges::all_of(name, fits)) {
      fail(text("has ", key, " \"", printable(name, kShownChars),
                "\"; a name has up to 40 of a-z, 0-9, - and ., and begins with a letter"));
    }
    return name;
  }

  double read_number(std::string_view key, Unit unit) const {
    const Json& value = require(key);
    const Range range = range_of(unit);
    const double number = value.is_number() ? value.get<double>() : -1.0;
    const bool whole = unit != Unit::kBytes || number == std::floor(number);
    if (!value.is_number() || !(number >= range.least && number <= range.most) || !whole) {
      fail(text("has ", key, " ", shown(value), "; it is ", range.wanted));
    }
    return number;
  }

  // A word that is misspelt would else leave a figure out in silence.
  template <typename Profile>
  void check_keys(std::span<const Figure<Profile>> all) const {
    std::string known = "name, title, sources, comment";
    if constexpr (std::is_same_v<Profile, GpuProfile>) known += ", link";
    for (const auto& figure : all) known += text(", ", figure.key);
    for (const auto& [key, value] : json_.items()) {
      if (!listed(known, key)) {
        fail(text("has an unknown field ", printable(key, kShownChars), "; there are ", known));
      }
    }
    if (!json_.contains("sources")) return;
    const Json& sources = json_["sources"];
    if (!sources.is_object()) fail(text("has sources ", shown(sources), "; an object is needed"));
    for (const auto& [key, value] : sources.items()) {
      if (!json_.contains(key) || !value.is_string()) {
        fail(text("has a source of ", printable(key, kShownChars), ", ", shown(value),
                  "; a string for one of its fields is needed"));
      }
    }
  }

  std::map<std::string, std::string, std::less<>> read_sources() const {
    std::map<std::string, std::string, std::less<>> sources;
    if (!json_.contains("sources")) return sources;
    for (const auto& [key, value] : json_["sources"].items()) {
      sources[key] = value.get<std::string>();
    }
    return sources;
  }

  bool has(const char* key) const { return json_.contains(key); }

 private:
  static bool listed(std::string_view known, std::string_view key) {
    for (std::size_t at = 0; at < known.size();) {
      const std::size_t end = std::min(known.find(", ", at), known.size());
      if (known.substr(at, end - at) == key) return true;
      at = end + 2;
    }
    return false;
  }

  const Json& require(std::string_view key) const {
    const auto found = json_.find(key);
    if (found == json_.end()) fail(text("has no ", key, "; every profile needs one"));
    return *found;
  }

  std::string where_;
  const Json& json_;
};

void finish(const Entry& entry, GpuProfile& gpu) {
  gpu.link = entry.read_name("link");
  if (gpu.context_bytes >= gpu.memory_bytes) {
    entry.fail(text("has context_bytes ", gpu.context_bytes, " of memory_bytes ", gpu.memory_bytes,
                    "; the driver leaves some"));
  }
}
void finish(const Entry&, HostProfile&) {}
void finish(const Entry& entry, LinkProfile& link) {
  if (link.pinned_bytes_per_second > link.bytes_per_second) {
    entry.fail(text("has pinned_bytes_per_second ", link.pinned_bytes_per_second,
                    "; bytes_per_second, ", link.bytes_per_second, ", is the most there can be"));
  }
}
void finish(const Entry&, DiskProfile&) {}

// Appends the profiles of one kind that `root` has.
template <typename Profile>
void read_kind(const Json& root, const char* kind, const char* one, const std::string& file,
               std::vector<Profile>& all) {
  const auto list = root.find(kind);
  if (list == root.end()) return;
  if (!list->is_array()) {
    throw Error(ErrorKind::kBadFile, text(file, ": ", kind, " is of the type ", list->type_name(),
                                          "; an array of profiles is needed"));
  }
  std::size_t index = 0;
  for (const Json& json : *list) {
    const Entry entry(file, one, ++index, json);
    Profile profile;
    profile.file = file;
    profile.name = entry.read_name("name");
    profile.title = entry.has("title") ? entry.read_string("title") : profile.name;
    entry.check_keys(figures(profile));
    for (const auto& figure : figures(profile)) {
      profile.*figure.value = entry.read_number(figure.key, figure.unit);
    }
    finish(entry, profile);
    profile.sources = entry.read_sources();
    const auto other = std::ranges::find(all, profile.name, &Profile::name);
    if (other != all.end()) {
      entry.fail(text("is there already, in ", other->file, "; choose another name"));
    }
    all.push_back(std::move(profile));
  }
}

}  // namespace

void HardwareProfiles::add(std::string_view json, const std::string& file) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::kBadFile, text(file, ": ", what));
  };
  if (json.size() > kMostFileBytes) {
    fail(text("more than ", print_bytes(kMostFileBytes),
              "; hardware profiles are JSON of some KiB, as docs/hardware/README.md says"));
  }
  const Json root = parse_untrusted_json(json, file);
  if (!root.is_object()) {
    fail("not an object of gpus, hosts, links and disks, as docs/hardware/README.md says");
  }
  for (const auto& [key, value] : root.items()) {
    if (key != "comment" && key != "gpus" && key != "hosts" && key != "links" && key != "disks") {
      fail(text("an unknown field ", printable(key, kShownChars),
                "; there are gpus, hosts, links, disks, comment"));
    }
  }
  HardwareProfiles together = *this;
  read_kind(root, "gpus", "gpu", file, together.gpus);
  read_kind(root, "hosts", "host", file, together.hosts);
  read_kind(root, "links", "link", file, together.links);
  read_kind(root, "disks", "disk", file, together.disks);
  *this = std::move(together);
}

}  // namespace sluice
