#include "offload/schedule.h"

#include <doctest/doctest.h>

#include <deque>
#include <random>

#include "layers/pieces.h"
#include "memory/packed.h"
#include "memory/units.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/reference_data.h"

using namespace sluice;

namespace {

// Follows the slots through a run's steps: what is in them, in the order in which it was sent.
struct SlotRing {
  std::size_t slots;
  std::deque<std::uint32_t> unread{};
  std::size_t copies = 0;
  std::size_t most_unread = 0;

  void play(const Schedule& schedule, const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      if (step.kind == StepKind::kCopy) {
        unread.push_back(step.piece);
        REQUIRE(unread.size() <= slots);
        most_unread = std::max(most_unread, unread.size());
        ++copies;
      }
      if (step.kind == StepKind::kCompute && schedule.outside[step.piece]) {
        REQUIRE(!unread.empty());
        REQUIRE(unread.front() == step.piece);
        unread.pop_front();
      }
    }
  }
};

// In each layer whose cache is in host memory either the host attends, or the device does in the
// slot where it finds the layer's pages, at once when the layer's values are computed.
void check_attending(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                     const std::vector<Step>& steps, bool host_attends) {
  std::size_t layers = 0;
  const Piece* computed = nullptr;
  std::deque<std::uint32_t> slots;
  for (const Step& step : steps) {
    const Piece& piece = schedule.pieces[step.piece];
    if (step.kind == StepKind::kCompute) computed = &piece;
    if (step.kind == StepKind::kCopyCache) {
      slots.push_back(step.piece);
      REQUIRE(slots.size() <= plan.cache_slots);
    }
    if (step.kind != StepKind::kAttend && step.kind != StepKind::kAttendCopied) continue;
    CHECK((step.kind == StepKind::kAttend) == host_attends);
    if (!host_attends) {
      REQUIRE(!slots.empty());
      CHECK(slots.front() == step.piece);
      slots.pop_front();
    }
    ++layers;
    const UnitInfo& unit = model.units[piece.unit];
    REQUIRE(computed == &piece);
    CHECK(plan.caches_on_host(unit.layer));
    CHECK(unit.matrices[piece.ranges.back().matrix].role == MatrixRole::kValue);
    CHECK(ends_before_attention(unit, piece));
  }
  CHECK(layers == plan.host_kv.layers);
  CHECK(slots.empty());
}

}  // namespace

TEST_CASE("schedule: any run of passes finds each piece in the slot where it looks for it") {
  std::mt19937 random(3);
  const TestModel model(tiny_reference("quants").gguf);
  for (int round = 0; round < 200; ++round) {
    Plan plan = model.plan({}, {});
    plan.slots = 1 + random() % 5;
    plan.slot_bytes = 0;
    for (const UnitInfo& unit : model.layout.units) {
      plan.slot_bytes = std::max(plan.slot_bytes, largest_panel_bytes(unit));
    }
    plan.slot_bytes += random() % 40000;
    for (Placement& p : plan.placement) {
      p = random() % 3 == 0 ? Placement::kResident : Placement::kHost;
    }
    plan.routes = {{.tokens = 1, .by_host = std::vector<bool>(plan.placement.size())}};
    for (std::size_t unit = 0; unit < plan.placement.size(); ++unit) {
      const bool may = model.layout.units[unit].kind == UnitKind::kFeedForward;
      plan.routes.front().by_host[unit] = may && random() % 2 == 0;
    }
    plan.cache_on_host(random() % (model.layout.config.layers + 1));
    plan.cache_slots = random() % (plan.host_kv.layers + 1);
    plan.routes.front().host_attends = random() % 2 == 0;
    const Schedule schedule = make_schedule(model.layout, plan);
    SlotRing ring{plan.slots};
    ring.play(schedule, schedule.prologue);
    std::size_t computed = 0;
    for (int pass = 0; pass < 6; ++pass) {
      const bool logits = random() % 2 == 0;
      const std::size_t route = random() % 2;
      const std::vector<Step> steps = pass_steps(model.layout, plan, schedule, route, logits);
      ring.play(schedule, steps);
      check_attending(model.layout, plan, schedule, steps,
                      plan.cache_slots == 0 || (route == 0 && plan.routes[0].host_attends));
      for (const Step& step : steps) {
        computed += step.kind == StepKind::kCompute && schedule.outside[step.piece] ? 1 : 0;
      }
    }
    CHECK(ring.copies == computed + ring.unread.size());
    if (computed > 6 * plan.slots) CHECK(ring.most_unread == plan.slots);
  }
}

TEST_CASE("pieces: cover each panel of a unit once, in order, within the limit") {
  std::mt19937 random(4);
  for (const TinyReference& reference : tiny_references()) {
    const TestModel model(reference.gguf);
    for (std::size_t unit = 0; unit < model.layout.units.size(); ++unit) {
      const UnitInfo& info = model.layout.units[unit];
      const std::size_t limit = largest_panel_bytes(info) + random() % info.size_bytes;
      CAPTURE(reference.name);
      const Attention attention = random() % 2 == 0 ? Attention::kInUnit : Attention::kElsewhere;
      CAPTURE(limit);
      std::size_t matrix = 0;
      std::size_t panel = 0;
      for (const Piece& piece : cut_unit(model.layout.units, unit, limit, attention)) {
        CHECK(piece.size_bytes <= limit);
        CHECK(piece.begin_bytes + piece.size_bytes <= info.size_bytes);
        for (const PanelRange& range : piece.ranges) {
          const MatrixInfo& m = info.matrices[range.matrix];
          CHECK(range.matrix == matrix);
          CHECK(range.first_panel == panel);
          CHECK(piece.begin_bytes + range.begin_bytes ==
                m.begin_bytes + panel * panel_bytes(m.type(), m.columns()));
          if (attention == Attention::kElsewhere && m.role == MatrixRole::kOutput) {
            CHECK(info.matrices[piece.ranges.front().matrix].role == MatrixRole::kOutput);
          }
          panel += range.panels;
          if (panel == ceil_div(m.rows(), kPanelRows)) {
            ++matrix;
            panel = 0;
          }
        }
      }
      CHECK(matrix == info.matrices.size());
    }
  }
}
