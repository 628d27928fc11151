// One pass as a picture: what each lane does when.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/lanes.h"

namespace sluice {

// The whole SVG file of a pass as predicted.
std::string draw_timeline(const PassPredictor& predictor, const PassSize& size,
                          const std::string& model_name, const std::string& subtitle);

// A pass of a trace, which has one at least, above what was predicted for it.
std::string draw_timeline(const PassPredictor& predictor, const Trace& trace,
                          const std::string& model_name, const std::string& subtitle);

// Of the passes that ran, the one of median length among those that bring one token of each
// sequence, the first not counted; or the last pass, where there is none.
const TracedPass& typical_decode_pass(const std::vector<TracedPass>& passes);

// The last part of a path.
std::string file_name(const std::string& path);
// "limit 44.0 MiB, link 12.0 GB/s; of 61 units 15 resident, 46 streamed, 0 by the host".
std::string picture_subtitle(const Plan& plan, const std::optional<LinkSpeed>& link);

}  // namespace sluice
