#include "tests/support/xml.h"

#include <cctype>
#include <set>
#include <vector>

namespace sluice::testing {
namespace {

// Of what lies between tags or quotes: every & begins one of XML's own entities, or a number.
bool is_plain(const std::string& text) {
  if (text.find('<') != std::string::npos) return false;
  for (std::size_t at = 0; (at = text.find('&', at)) != std::string::npos; ++at) {
    const std::string rest = text.substr(at, 6);
    bool known = false;
    for (const char* entity : {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"}) {
      known = known || rest.starts_with(entity);
    }
    if (!known) return false;
  }
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 && c != '\n') return false;
  }
  return true;
}

// Of `name a="1" b="2"`.
std::string attribute_fault(const std::string& tag) {
  std::size_t at = tag.find(' ');
  std::set<std::string> names;
  while (at != std::string::npos && at < tag.size()) {
    while (at < tag.size() && tag[at] == ' ') ++at;
    if (at == tag.size()) break;
    const std::size_t equals = tag.find("=\"", at);
    if (equals == std::string::npos) return "an attribute without a value in <" + tag + ">";
    const std::size_t end = tag.find('"', equals + 2);
    if (end == std::string::npos) return "an open quote in <" + tag + ">";
    if (!names.insert(tag.substr(at, equals - at)).second) return "an attribute twice: " + tag;
    if (!is_plain(tag.substr(equals + 2, end - equals - 2))) return "markup in <" + tag + ">";
    at = end + 1;
  }
  return "";
}

}  // namespace

std::string xml_fault(const std::string& xml) {
  const std::string prolog = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
  if (!xml.starts_with(prolog)) return "no prolog";
  std::vector<std::string> open;
  std::size_t roots = 0;
  std::size_t at = prolog.size();
  while (at < xml.size()) {
    const std::size_t begin = xml.find('<', at);
    const std::string between = xml.substr(at, begin - at);
    if (!is_plain(between)) return "markup in text: " + between;
    if (open.empty() && between.find_first_not_of('\n') != std::string::npos) {
      return "text outside: " + between;
    }
    if (begin == std::string::npos) break;
    const std::size_t end = xml.find('>', begin);
    if (end == std::string::npos) return "a tag that doesn't end";
    std::string tag = xml.substr(begin + 1, end - begin - 1);
    at = end + 1;
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != tag.substr(1)) return "closed out of order: " + tag;
      open.pop_back();
      continue;
    }
    const bool empty = tag.ends_with('/');
    if (empty) tag.pop_back();
    if (const std::string fault = attribute_fault(tag); !fault.empty()) return fault;
    if (open.empty() && ++roots > 1) return "two roots";
    if (!empty) open.push_back(tag.substr(0, tag.find(' ')));
  }
  return open.empty() ? "" : "not closed: " + open.back();
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) {
    ++count;
  }
  return count;
}

}  // namespace sluice::testing
