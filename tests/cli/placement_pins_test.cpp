#include "cli/placement_pins.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/expect_error.h"
#include "tests/support/shape_model.h"

using namespace sluice;

namespace {

const ModelLayout& twelve_layers() {
  static const ShapeModel model({"pins", 12, 256, 512, 4, 2, 512, 512, 1e4f, false}, "q4_0");
  return model.model.layout;
}

// A letter a unit, in the order of the layers: "..R" attention, feed-forward, head.
std::string placed(const std::vector<std::string>& places) {
  std::string letters;
  for (const Pin pin : parse_pins(places, twelve_layers())) {
    letters += pin == Pin::kResident   ? 'R'
               : pin == Pin::kStreamed ? 'S'
               : pin == Pin::kByHost   ? 'H'
                                       : '.';
  }
  return letters;
}

void check_refused(const std::string& place, const std::string& part) {
  CAPTURE(place);
  const testing::Failure failure =
      testing::failure_of([&] { parse_pins({place}, twelve_layers()); });
  CHECK(failure.kind == ErrorKind::kUsage);
  CHECK(failure.says(part));
  CHECK(failure.says("--place"));
}

}  // namespace

TEST_CASE("placement pins: patterns name kinds and layers, and later ones win") {
  REQUIRE(twelve_layers().units.size() == 25);
  CHECK(placed({}).empty());
  CHECK(placed({"*=resident"}) == std::string(25, 'R'));
  CHECK(placed({"head=stream"}) == std::string(24, '.') + "S");
  CHECK(placed({"attn.0=resident"}) == "R" + std::string(24, '.'));
  CHECK(placed({"ffn.1-2=host"}) == "...H.H" + std::string(19, '.'));
  CHECK(placed({"attn=stream"}) == placed({"attn.*=stream"}));
  CHECK(placed({"ffn.0-11=host"}) == placed({"ffn=host"}));
  CHECK(placed({"*=stream", "ffn=host", "ffn.1=resident"}) ==
        "SHSR" + placed({"*=stream", "ffn=host"}).substr(4));
}

TEST_CASE("placement pins: what isn't a pattern or a place is refused in one line") {
  check_refused("ffn", "PATTERN=PLACE");
  check_refused("", "PATTERN=PLACE");
  check_refused("mlp=host", "attn, ffn, head");
  check_refused("head.*=stream", "attn, ffn, head");
  check_refused("*.3=stream", "attn, ffn, head");
  check_refused("ffn.12=host", "0 to 11");
  check_refused("ffn.99999999999999999999=host", "0 to 11");
  check_refused("ffn.x=host", "no numbers");
  check_refused("ffn.=host", "no numbers");
  check_refused("ffn.-1=host", "no numbers");
  check_refused("ffn.3-=host", "no numbers");
  check_refused("ffn.3-1=host", "ends before");
  check_refused("ffn.3=gpu", "resident, stream and host");
  check_refused("attn=host", "feed-forward units alone");
  check_refused("*=host", "feed-forward units alone");
  check_refused("head=host", "feed-forward units alone");
  check_refused("\x1b[2Jffn=host", "\\x1b");
}

TEST_CASE("placement pins: as many resident units as there can be, and no fewer than are pinned") {
  const auto failure = [](const std::vector<std::string>& places, std::size_t resident) {
    return testing::failure_of([&] {
      PlanLimits limits;
      apply_pins(places, resident, twelve_layers(), limits);
    });
  };
  CHECK(failure({}, 26).says("25 units"));
  CHECK(failure({"attn=resident"}, 11).says("12 resident already"));
  CHECK(failure({"attn=stream"}, 14).says("13 or less"));
  PlanLimits limits;
  apply_pins({"attn=stream"}, 13, twelve_layers(), limits);
  CHECK(limits.resident_units == 13);
  CHECK(!limits.host_computes);
  apply_pins({"ffn.3=host"}, std::nullopt, twelve_layers(), limits);
  CHECK(limits.host_computes);
}

TEST_CASE("placement pins: a plan keeps them, and how many units are resident") {
  std::mt19937 random(11);
  const Hardware hardware = random_hardware(random);
  const Workload workload{.prompt_tokens = 60, .max_tokens = 60, .context_tokens = 128};
  struct Case {
    std::vector<std::string> places;
    std::optional<std::size_t> resident;
  };
  for (const Case& c :
       {Case{{"ffn.3-5=host", "attn.2=resident", "head=stream"}, {}}, Case{{"ffn=host"}, {}},
        Case{{"*=stream"}, {}}, Case{{"attn=stream", "ffn.0=resident"}, 5},
        Case{{"*=resident"}, {}}, Case{{}, 0}, Case{{}, 7}, Case{{}, 25}}) {
    PlanLimits limits;
    apply_pins(c.places, c.resident, twelve_layers(), limits);
    const std::size_t smallest = smallest_limit_bytes(twelve_layers(), workload, limits);
    for (const std::size_t more : {std::size_t{0}, std::size_t{300'000}, std::size_t{1} << 33}) {
      limits.device_bytes = smallest + more;
      const Plan plan = make_plan(twelve_layers(), workload, limits, hardware);
      CAPTURE(more);
      CHECK(plan.bytes.total() <= *limits.device_bytes);
      for (std::size_t unit = 0; unit < limits.pins.size(); ++unit) {
        CAPTURE(unit);
        const bool resident = plan.placement[unit] == Placement::kResident;
        const Pin pin = limits.pins[unit];
        if (pin != Pin::kNone) CHECK(resident == (pin == Pin::kResident));
        if (pin == Pin::kByHost) CHECK(plan.by_host(unit, plan.route_of(1)));
        if (pin == Pin::kStreamed) CHECK(plan.always_streamed(unit));
      }
      const auto resident = std::ranges::count(plan.placement, Placement::kResident);
      if (c.resident) CHECK(static_cast<std::size_t>(resident) == *c.resident);
    }
    limits.device_bytes = smallest - 1;
    const testing::Failure failure =
        testing::failure_of([&] { make_plan(twelve_layers(), workload, limits, hardware); });
    CHECK(failure.kind == ErrorKind::kOverBudget);
    CHECK(failure.says(std::to_string(smallest)));
  }
}
