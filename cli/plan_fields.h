// One object of a plan file, read field by field: every value is checked on its way out.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>

#include "cli/untrusted_json.h"
#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {

class PlanFields {
 public:
  using Json = nlohmann::ordered_json;

  // Borrows `json`. `where` begins each message. Throws where it isn't an object of just these
  // fields.
  PlanFields(std::string where, const Json& json, std::initializer_list<std::string_view> known);

  std::size_t count(std::string_view key, std::size_t least, std::size_t most) const;
  double figure(std::string_view key) const;  // finite, and not negative
  bool flag(std::string_view key) const;
  // The index into `words`.
  std::size_t word(std::string_view key, std::initializer_list<std::string_view> words) const;
  const Json& array(std::string_view key) const;
  const Json& value(std::string_view key) const { return json_.at(std::string(key)); }
  const std::string& where() const { return where_; }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::kBadFile, text(where_, " ", what));
  }

 private:
  std::string where_;  // "FILE", "FILE: workload"
  const Json& json_;
};

// A whole number from `least` to `most`, or fails as a field would.
std::size_t read_count(const PlanFields& fields, const std::string& name,
                       const nlohmann::ordered_json& value, std::size_t least, std::size_t most);

}  // namespace sluice
