// What tells the models apart that plans are made for: sizes and types, not weights.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "layers/weights.h"

namespace sluice {

nlohmann::ordered_json model_fingerprint(const ModelLayout& layout);

// Throws Error{kBadFile} naming `file` and the first difference, unless `fingerprint`, which may be
// anything, is that of `layout`.
void check_fingerprint(const std::string& file, const nlohmann::ordered_json& fingerprint,
                       const ModelLayout& layout);

}  // namespace sluice
