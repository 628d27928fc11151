#include "cli/placement_pins.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {
namespace {

// The units of one kind, or of all, in some layers.
struct Pattern {
  std::optional<UnitKind> kind;  // none: all
  std::size_t first_layer = 0;
  std::size_t last_layer = 0;
};

// One --place, for errors.
class Place {
 public:
  Place(std::string_view given, const ModelLayout& layout) : given_(given), layout_(layout) {
    const std::size_t equals = given.find('=');
    if (equals == std::string_view::npos) {
      refuse("has no place; say PATTERN=PLACE, for example ffn.0-9=host");
    }
    pattern_ = parse_pattern(given.substr(0, equals));
    pin_ = parse_place(given.substr(equals + 1));
  }

  void apply(std::vector<Pin>& pins) const {
    for (std::size_t unit = 0; unit < pins.size(); ++unit) {
      const UnitInfo& info = layout_.units[unit];
      if (pattern_.kind && info.kind != *pattern_.kind) continue;
      const bool in_layers = info.kind == UnitKind::kHead || (info.layer >= pattern_.first_layer &&
                                                              info.layer <= pattern_.last_layer);
      if (!in_layers) continue;
      if (pin_ == Pin::kByHost && info.kind != UnitKind::kFeedForward) {
        refuse(text("has the host compute ", info.name(),
                    "; it computes feed-forward units alone: say ffn=host"));
      }
      pins[unit] = pin_;
    }
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(ErrorKind::kUsage, text("--place ", printable(given_), " ", why));
  }

  Pattern parse_pattern(std::string_view word) const {
    const std::size_t dot = word.find('.');
    const std::string_view kind = word.substr(0, dot);
    Pattern pattern{.kind = std::nullopt, .last_layer = layout_.config.layers - 1};
    if (kind == "attn") pattern.kind = UnitKind::kAttention;
    if (kind == "ffn") pattern.kind = UnitKind::kFeedForward;
    if (word == "head") pattern.kind = UnitKind::kHead;
    const bool known = word == "*" || word == "head" || kind == "attn" || kind == "ffn";
    if (!known) refuse("has no such units; there are attn, ffn, head, *, attn.7, ffn.0-9, ffn.*");
    if (dot == std::string_view::npos || word.substr(dot + 1) == "*") return pattern;
    const std::string_view layers = word.substr(dot + 1);
    const std::size_t dash = layers.find('-');
    pattern.first_layer = parse_layer(layers.substr(0, dash));
    pattern.last_layer =
        dash == std::string_view::npos ? pattern.first_layer : parse_layer(layers.substr(dash + 1));
    if (pattern.first_layer > pattern.last_layer) {
      refuse("ends before it begins; the smaller layer comes first");
    }
    return pattern;
  }

  std::size_t parse_layer(std::string_view digits) const {
    std::size_t layer = 0;
    const char* end = digits.data() + digits.size();
    const auto [at, error] = std::from_chars(digits.data(), end, layer);
    if (at != end || error == std::errc::invalid_argument) {
      refuse("has layers that are no numbers; say ffn.7 or ffn.0-9");
    }
    if (error != std::errc{} || layer >= layout_.config.layers) {
      refuse(text("has a layer that the model lacks; it has 0 to ", layout_.config.layers - 1));
    }
    return layer;
  }

  Pin parse_place(std::string_view word) const {
    if (word == "resident") return Pin::kResident;
    if (word == "stream") return Pin::kStreamed;
    if (word == "host") return Pin::kByHost;
    refuse("has no such place; there are resident, stream and host");
  }

  std::string_view given_;
  const ModelLayout& layout_;
  Pattern pattern_;
  Pin pin_ = Pin::kNone;
};

}  // namespace

std::vector<Pin> parse_pins(const std::vector<std::string>& places, const ModelLayout& layout) {
  std::vector<Pin> pins;
  for (const std::string& given : places) {
    pins.resize(layout.units.size());
    Place(given, layout).apply(pins);
  }
  return pins;
}

void apply_pins(const std::vector<std::string>& places, std::optional<std::size_t> resident_units,
                const ModelLayout& layout, PlanLimits& limits) {
  limits.pins = parse_pins(places, layout);
  limits.resident_units = resident_units;
  const auto count = [&](Pin pin) {
    return static_cast<std::size_t>(std::ranges::count(limits.pins, pin));
  };
  if (count(Pin::kByHost) > 0) limits.host_computes = true;
  if (!resident_units) return;
  const std::size_t all = layout.units.size();
  const std::size_t outside = count(Pin::kStreamed) + count(Pin::kByHost);
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::kUsage, text("--resident ", *resident_units, ": ", why));
  };
  if (*resident_units > all) refuse(text("the model has ", all, " units"));
  if (*resident_units < count(Pin::kResident)) {
    refuse(text("--place has ", count(Pin::kResident), " resident already; say that many or more"));
  }
  if (*resident_units > all - outside) {
    refuse(text("--place has ", outside, " of ", all, " units elsewhere; say ", all - outside,
                " or less"));
  }
}

}  // namespace sluice
