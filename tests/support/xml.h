// Whether a text is well-formed XML, as far as our own files go.
#pragma once

#include <string>

namespace sluice::testing {

// The first fault, or "": every tag closed in order, attributes quoted and named once, no markup
// within text, one root.
std::string xml_fault(const std::string& xml);

// How often `part` occurs.
std::size_t count_of(const std::string& text, const std::string& part);

}  // namespace sluice::testing
