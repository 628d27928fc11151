#include "cli/plan_file.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "cli/placement_pins.h"
#include "offload/schedule.h"
#include "tests/support/expect_error.h"
#include "tests/support/memory_file.h"
#include "tests/support/shape_model.h"

using namespace sluice;
using Json = nlohmann::ordered_json;

namespace {

const ModelLayout& three_layers() {
  static const ShapeModel model({"plans", 3, 256, 512, 4, 2, 512, 512, 1e4f, false}, "q4_0");
  return model.model.layout;
}

// Attention resident, the host computing one feed-forward unit, two streamed, one of the caches in
// host memory.
Plan mixed_plan() {
  const Workload workload{
      .sequences = 2, .prompt_tokens = 40, .max_tokens = 20, .context_tokens = 100};
  PlanLimits limits{
      .slots = 3, .segment_tokens = 16, .host_units = 0, .host_cache_layers = 1, .cache_slots = 0};
  apply_pins({"attn=resident", "ffn=stream", "ffn.1=host"}, std::nullopt, three_layers(), limits);
  limits.device_bytes = smallest_limit_bytes(three_layers(), workload, limits) + 1000;
  return make_plan(three_layers(), workload, limits, test_hardware());
}

Plan read(const Json& json) {
  return parse_plan_file(json.dump(), "FILE", three_layers());
}

using Change = std::function<void(Json&)>;

void check_forged(const Change& change, const std::string& part) {
  Json json = plan_json(three_layers(), mixed_plan());
  change(json);
  CAPTURE(part);
  const testing::Failure failure = testing::failure_of([&] { read(json); });
  CHECK(failure.kind == ErrorKind::kBadFile);
  CHECK(failure.message.starts_with("FILE"));
  CHECK(failure.says(part));
}

Change set(const std::string& pointer, const Json& value) {
  return [=](Json& json) { json[Json::json_pointer(pointer)] = value; };
}

}  // namespace

TEST_CASE("plan file: what is read is what was written") {
  std::mt19937 random(3);
  std::size_t on_disk = 0;
  std::size_t host_caches = 0;
  for (int i = 0; i < 40; ++i) {
    CAPTURE(i);
    const ShapeModel shape(random_shape(random, 1 + random() % 4), "q4_k_m");
    const ModelLayout& model = shape.model.layout;
    const Workload workload{.sequences = 1 + random() % 4,
                            .prompt_tokens = 1 + random() % 100,
                            .max_tokens = 1 + random() % 100,
                            .context_tokens = 200,
                            .all_logits = random() % 2 == 0};
    PlanLimits limits{.in_place = i % 8 == 0, .gpu = i % 8 == 1, .host_computes = i % 2 == 1};
    if (limits.gpu) limits.context_bytes = 1'000'000;
    limits.kv_types = {kAllKvTypes[static_cast<std::size_t>(i) % kKvTypeCount]};
    const bool disk = i % 8 == 5;
    if (disk) limits.host_cache_layers = random() % 2;
    if (i % 3 == 0) limits.cache_slots = random() % 3;
    const std::size_t smallest = smallest_limit_bytes(model, workload, limits);
    if (!limits.in_place && i % 8 != 2) {
      limits.device_bytes = smallest + random() % (2 * model.units_bytes());
    }
    if (disk) {
      limits.device_bytes = smallest;
      limits.host_bytes = model.units_bytes() / 4 + 2'000'000;
    }
    const Plan plan = make_plan(model, workload, limits, random_hardware(random));
    if (disk && plan.disk_buffers > 0) ++on_disk;
    if (plan.host_kv.layers > 0) ++host_caches;
    const std::string json = print_plan_file(model, plan);
    const Plan back = parse_plan_file(json, "FILE", model);
    CHECK(print_plan_file(model, back) == json);
    CHECK(back.placement == plan.placement);
    CHECK(back.bytes.total() == plan.bytes.total());
    CHECK(back.kv.pages == plan.kv.pages);
    CHECK(back.kv.type == plan.kv.type);
    CHECK(back.kv.type == limits.kv_types.front());
    CHECK(back.host_kv.total_bytes() == plan.host_kv.total_bytes());
    CHECK(back.cache_slots == plan.cache_slots);
    CHECK(back.limit_bytes == plan.limit_bytes);
    CHECK(back.gpu == plan.gpu);
    CHECK(back.disk_buffers == plan.disk_buffers);
    CHECK(back.host_bytes.total() == plan.host_bytes.total());
    REQUIRE(back.routes.size() == plan.routes.size());
    for (std::size_t r = 0; r < plan.routes.size(); ++r) {
      CHECK(back.routes[r].by_host == plan.routes[r].by_host);
      CHECK(back.routes[r].host_attends == plan.routes[r].host_attends);
    }
  }
  CHECK(on_disk > 0);
  CHECK(host_caches > 4);
}

TEST_CASE("plan file: a file that ends early, or is none, is one clear error") {
  const std::string json = print_plan_file(three_layers(), mixed_plan());
  for (std::size_t length = 1; length + 1 < json.size(); length += 97) {
    CAPTURE(length);
    const testing::Failure failure = testing::failure_of(
        [&] { parse_plan_file(json.substr(0, length), "FILE", three_layers()); });
    CHECK(failure.kind == ErrorKind::kBadFile);
    CHECK(failure.says("not JSON"));
  }
  const auto says = [](const std::string& bytes, const std::string& part) {
    const testing::MemoryFile file(bytes);
    const testing::Failure failure =
        testing::failure_of([&] { read_plan_file(file.path(), three_layers()); });
    CHECK(failure.kind == ErrorKind::kBadFile);
    CAPTURE(failure.message);
    CHECK(failure.says(part));
  };
  says("{}", "is no plan");
  says("[1, 2]", "is no plan");
  says("GGUF\x03\x01", "not JSON");
  says(R"({"sluice_plan": 1, "sluice_plan": 1})", "twice");
  says(R"({"sluice_plan": 1})", "has no ");
  says(R"({"sluice_plan": 2})", "make the plan anew");
  says(R"({"sluice_plan": "\u001b[2J"})", "make the plan anew");
  says(std::string(std::size_t{65} << 20, ' '), "64.0 MiB");
}

TEST_CASE("plan file: the fuzzer's seeds are plans, so that it begins behind the first checks") {
  const ShapeModel model(*find_shape("tiny"), "q4_k_m");
  std::size_t seeds = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(SLUICE_SOURCE_DIR "/tests/fuzz/seeds/plan_file")) {
    CAPTURE(entry.path().string());
    const Plan plan = read_plan_file(entry.path(), model.model.layout);
    CHECK(plan.placement.size() == model.model.layout.units.size());
    ++seeds;
  }
  CHECK(seeds >= 5);
}

TEST_CASE("plan file: a plan for another model says which differs") {
  check_forged(set("/model", 5), "made for another model");
  check_forged(set("/model/layers", 80), "\"llama\", 80 layers of width 256; this one is");
  check_forged(set("/model/vocab", 513), "its vocab are 513");
  check_forged(set("/model/units/0", "layer 0 attention: Q8_0 1x1"), "layer 0 attention: Q8_0 1x1");
  check_forged([](Json& json) { json["model"]["units"].erase(0); }, "another model");
  check_forged([](Json& json) { json["model"].erase("heads"); }, "another model");
  const ShapeModel other({"plans", 3, 256, 512, 4, 2, 512, 512, 1e4f, false}, "q8_0");
  const testing::Failure failure = testing::failure_of([&] {
    parse_plan_file(print_plan_file(three_layers(), mixed_plan()), "FILE", other.model.layout);
  });
  CHECK(failure.says("Q8_0"));
}

TEST_CASE("plan file: forged values are refused, each by name") {
  for (const Json& bad : {Json(-1), Json(1.5), Json("5"), Json(nullptr), Json(1e99), Json(true),
                          Json(~std::uint64_t{0}), Json::array(), Json::object()}) {
    CAPTURE(bad.dump());
    for (const char* field :
         {"/workload/sequences", "/workload/prompt_tokens", "/workload/max_tokens",
          "/workload/context_tokens", "/segment_tokens", "/slots", "/slot_bytes",
          "/host_cache_layers", "/cache_slots", "/routes/0/host_attends", "/routes/0/tokens",
          "/routes/0/by_host/0", "/bytes/slots", "/bytes/total", "/bytes/context"}) {
      CAPTURE(field);
      const std::string name = std::string(field).substr(std::string(field).rfind('/') + 1);
      check_forged(set(field, bad), name == "0" ? "by_host" : name);
    }
    if (!bad.is_null()) {
      const bool huge = bad == Json(~std::uint64_t{0});
      if (!huge) check_forged(set("/limit_bytes", bad), "limit_bytes");
    }
    for (const char* field : {"/device", "/kv_type", "/precision", "/workload", "/placement",
                              "/routes", "/bytes", "/predicted"}) {
      if (std::string(field) == "/device" || !bad.is_structured()) {
        check_forged(set(field, bad), std::string(field).substr(1));
      }
    }
  }
  check_forged(set("/predicted/prefill_seconds", -1.0), "prefill_seconds");
  check_forged(set("/segment_tokens", 0), "segment_tokens 0");
  check_forged(set("/workload/sequences", 0), "sequences 0");
  check_forged(set("/workload/sequences", 4097), "sequences 4097");
  check_forged(set("/workload/context_tokens", 0), "context_tokens 0");
  check_forged(set("/slots", 65), "slots 65");
  check_forged(set("/slots", 0), "no slots");
  check_forged(set("/slot_bytes", 16), "slot_bytes 16");
  check_forged(set("/kv_type", "q4_0"), "kv_type");
  check_forged(set("/kv_type", "q8_0"), "has kv ");
  check_forged(set("/slots", 4), "has slots ");
  check_forged(set("/workload/context_tokens", 1 << 24), "kv");
  check_forged(set("/limit_bytes", 1000), "limit_bytes is 1000");
  check_forged(set("/limit_bytes", mixed_plan().bytes.total() - 1), "limit_bytes is");
  check_forged(set("/placement/1", "in place"), "in place on cpu");
  check_forged(set("/placement/1", "shelf"), "resident, host, in place, disk");
  check_forged(set("/placement/1", "disk"), "disk_buffers");
  check_forged(set("/disk_buffers", 3), "disk_buffers");
  check_forged(set("/disk_buffer_bytes", -1), "disk_buffer_bytes");
  check_forged(set("/host_limit_bytes", 1), "host_limit_bytes");
  check_forged([](Json& json) { json["placement"].push_back("host"); }, "placements");
  check_forged(set("/placement/1", "resident"), "resident ");
  check_forged(set("/device", "cpu"), "device cpu");
  check_forged(set("/host_cache_layers", 4),
               "host_cache_layers 4; it is a whole number from 0 to 3");
  check_forged(set("/host_cache_layers", 2), "has kv ");
  check_forged(set("/host_cache_layers", 0), "has kv ");
  check_forged([](Json& json) { json.erase("host_cache_layers"); }, "has no host_cache_layers");
  check_forged(set("/cache_slots", 2), "cache_slots 2; it is a whole number from 0 to 1");
  check_forged(set("/cache_slots", 1), "has cache_slots 0; the plan takes ");
  check_forged(set("/routes/0/host_attends", true), "the host attends in every pass");
  check_forged([](Json& json) { json["device"] = "cuda", json["limit_bytes"] = nullptr; },
               "cuda has a limit");
  check_forged(set("/routes/0/tokens", 0), "tokens 0");
  check_forged(set("/routes/0/tokens", 257), "tokens 257");
  check_forged(set("/routes/0/by_host", Json::array({0})), "layer 0 attention");
  check_forged(set("/routes/0/by_host", Json::array({6})), "head");
  check_forged(set("/routes/0/by_host", Json::array({3, 3})), "by_host 3");
  check_forged(set("/routes/0/by_host", Json::array({7})), "by_host 7");
  check_forged([](Json& json) { json["routes"].push_back(json["routes"][0]); }, "tokens");
  check_forged(set("/slotz", 1), "unknown field slotz");
  check_forged(set("/workload/batch", 1), "unknown field batch");
  check_forged([](Json& json) { json.erase("slots"); }, "has no slots");
}
