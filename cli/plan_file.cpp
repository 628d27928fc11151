#include "cli/plan_file.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <span>

#include "cli/model_fingerprint.h"
#include "cli/plan_fields.h"
#include "layers/pieces.h"
#include "memory/mapped_file.h"
#include "memory/units.h"
#include "offload/routes.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kFormatVersion = 1;
constexpr std::size_t kMostFileBytes = 64_MiB;
constexpr std::size_t kMostPathChars = 200;
// Of anything in a plan; sums of a few don't overflow.
constexpr std::size_t kMostPlanBytes = std::size_t{1} << 48;
constexpr std::size_t kMostDiskBuffers = 64;
constexpr std::array<std::string_view, 3> kDevices = {"cpu", "sim", "cuda"};

struct NamedBytes {
  const char* name;
  std::size_t PlanBytes::*bytes;
};
constexpr std::array<NamedBytes, 10> kBytes = {{{"vectors", &PlanBytes::vectors},
                                                {"resident", &PlanBytes::resident},
                                                {"slots", &PlanBytes::slots},
                                                {"kv", &PlanBytes::kv},
                                                {"cache_slots", &PlanBytes::cache_slots},
                                                {"input", &PlanBytes::input},
                                                {"activations", &PlanBytes::activations},
                                                {"logits", &PlanBytes::logits},
                                                {"scratch", &PlanBytes::scratch},
                                                {"context", &PlanBytes::context}}};

Workload read_workload(const std::string& file, const Json& json) {
  const PlanFields fields(
      file + ": workload", json,
      {"sequences", "prompt_tokens", "max_tokens", "context_tokens", "all_logits"});
  return {.sequences = fields.count("sequences", 1, kMostPlanSequences),
          .prompt_tokens = fields.count("prompt_tokens", 0, kMostPlanTokens),
          .max_tokens = fields.count("max_tokens", 0, kMostPlanTokens),
          .context_tokens = fields.count("context_tokens", 1, kMostPlanTokens),
          .all_logits = fields.flag("all_logits")};
}

std::vector<Placement> read_placement(const PlanFields& fields, std::size_t units) {
  const Json& all = fields.array("placement");
  if (all.size() != units) {
    fields.fail(text("has ", all.size(), " placements; the model has ", units, " units"));
  }
  std::vector<Placement> placement;
  for (const Json& one : all) {
    const auto* found = one.is_string()
                            ? std::ranges::find(kPlacementNames, one.get_ref<const std::string&>())
                            : kPlacementNames.end();
    if (found == kPlacementNames.end()) {
      fields.fail(
          text("has a placement ", shown(one), "; there are resident, host, in place, disk"));
    }
    placement.push_back(static_cast<Placement>(found - kPlacementNames.begin()));
  }
  return placement;
}

Route read_route(const PlanFields& plan_fields, const Json& json, const ModelLayout& layout,
                 const Plan& plan) {
  const PlanFields fields(plan_fields.where() + ": route", json,
                          {"tokens", "by_host", "host_attends"});
  const std::size_t least_tokens = plan.routes.empty() ? 1 : plan.routes.back().tokens + 1;
  Route route{.tokens = fields.count("tokens", least_tokens, kMostHostTokens),
              .by_host = std::vector<bool>(layout.units.size()),
              .host_attends = fields.flag("host_attends")};
  if (route.host_attends && plan.cache_slots == 0) {
    fields.fail("has host_attends true; without cache slots the host attends in every pass");
  }
  std::size_t next = 0;
  for (const Json& one : fields.array("by_host")) {
    if (next == layout.units.size()) fields.fail("has more units by_host than the model");
    const std::size_t unit = read_count(fields, "by_host", one, next, layout.units.size() - 1);
    if (!is_outside(plan.placement[unit]) || layout.units[unit].kind != UnitKind::kFeedForward) {
      fields.fail(
          text("has by_host ", unit, ", ", layout.units[unit].name(),
               "; the host computes feed-forward units in host memory or on the disk alone"));
    }
    route.by_host[unit] = true;
    next = unit + 1;
  }
  return route;
}

// Slots that every piece fits, where there are units in host memory.
void check_slots(const PlanFields& fields, const ModelLayout& layout, const Plan& plan) {
  for (std::size_t unit = 0; unit < plan.placement.size(); ++unit) {
    if (!is_outside(plan.placement[unit])) continue;
    if (plan.slots == 0) fields.fail("has units to be streamed and no slots");
    const std::size_t panel = largest_panel_bytes(layout.units[unit]);
    if (plan.slot_bytes >= panel) continue;
    fields.fail(text("has slot_bytes ", plan.slot_bytes, "; ", layout.units[unit].name(), " takes ",
                     panel, " at least"));
  }
}

// Buffers for what is read from the disk, where there is something.
void read_disk_buffers(const PlanFields& fields, Plan& plan) {
  const bool wanted = std::ranges::count(plan.placement, Placement::kDisk) > 0;
  plan.disk_buffers = fields.count("disk_buffers", wanted ? 1 : 0, wanted ? kMostDiskBuffers : 0);
  plan.disk_buffer_bytes = fields.count("disk_buffer_bytes", wanted ? plan.slot_bytes : 0,
                                        kMostPlanBytes / kMostDiskBuffers);
  if (!fields.value("host_limit_bytes").is_null()) {
    plan.host_limit_bytes = fields.count("host_limit_bytes", 0, ~std::size_t{0});
  }
}

void check_device(const PlanFields& fields, const Plan& plan, std::string_view device) {
  const bool in_place = device == "cpu";
  for (const Placement where : plan.placement) {
    if ((where == Placement::kInPlace) == in_place) continue;
    fields.fail(text("has the device ", device, " and units ",
                     kPlacementNames[static_cast<std::size_t>(where)],
                     "; all are in place on cpu, and none elsewhere"));
  }
  if (in_place && (plan.slots > 0 || plan.limit_bytes || plan.host_kv.layers > 0)) {
    fields.fail(
        "has slots, a limit or host_cache_layers, and the device cpu, which knows none of these");
  }
  if (plan.gpu && !plan.limit_bytes) fields.fail("has limit_bytes null; cuda has a limit");
}

// The file's sizes have to be what count_bytes makes of the rest.
void check_bytes(const std::string& file, const Json& json, const ModelLayout& layout, Plan& plan) {
  const PlanFields fields(file + ": bytes", json,
                          {"vectors", "resident", "slots", "kv", "cache_slots", "input",
                           "activations", "logits", "scratch", "context", "total"});
  const std::size_t layers = plan.kv.layers + plan.host_kv.layers;
  const std::size_t page_bytes = std::max<std::size_t>(1, layers * plan.kv.page_bytes());
  if (plan.kv.pages > kMostPlanBytes / page_bytes) {
    fields.fail(text("can't be counted: ", plan.kv.pages, " pages of context are more than ",
                     print_bytes(kMostPlanBytes)));
  }
  plan.bytes.context = fields.count("context", 0, plan.gpu ? kMostPlanBytes : 0);
  count_bytes(layout, plan);
  const auto compare = [&](const char* name, std::size_t counted) {
    const std::size_t claimed = fields.count(name, 0, std::size_t{1} << 62);
    if (claimed == counted) return;
    fields.fail(text("has ", name, " ", claimed, "; the plan takes ", counted,
                     ": it was changed, or is another version's; make it anew"));
  };
  for (const NamedBytes& named : kBytes) compare(named.name, plan.bytes.*named.bytes);
  compare("total", plan.bytes.total());
  if (plan.limit_bytes && plan.bytes.total() > *plan.limit_bytes) {
    fields.fail(text("has total ", plan.bytes.total(), "; limit_bytes is ", *plan.limit_bytes));
  }
  if (plan.host_limit_bytes && plan.host_bytes.total() > *plan.host_limit_bytes) {
    fields.fail(text("takes ", plan.host_bytes.total(), " of host memory; host_limit_bytes is ",
                     *plan.host_limit_bytes));
  }
}

Prediction read_prediction(const std::string& file, const Json& json) {
  const PlanFields fields(
      file + ": predicted", json,
      {"prefill_seconds", "decode_pass_seconds", "decode_seconds", "link_bytes_per_pass"});
  return {.prefill_seconds = fields.figure("prefill_seconds"),
          .decode_pass_seconds = fields.figure("decode_pass_seconds"),
          .decode_seconds = fields.figure("decode_seconds"),
          .link_bytes_per_pass = fields.figure("link_bytes_per_pass")};
}

}  // namespace

std::string_view device_of(const Plan& plan) {
  if (plan.gpu) return "cuda";
  const bool in_place = !plan.placement.empty() && plan.placement.front() == Placement::kInPlace;
  return in_place ? "cpu" : "sim";
}

Json plan_json(const ModelLayout& layout, const Plan& plan) {
  const Workload& w = plan.workload;
  const Prediction& p = plan.predicted;
  Json json = {
      {"sluice_plan", kFormatVersion},
      {"sluice_version", SLUICE_VERSION},
      {"model", model_fingerprint(layout)},
      {"device", device_of(plan)},
      {"workload",
       {{"sequences", w.sequences},
        {"prompt_tokens", w.prompt_tokens},
        {"max_tokens", w.max_tokens},
        {"context_tokens", w.context_tokens},
        {"all_logits", w.all_logits}}},
      {"limit_bytes", plan.limit_bytes ? Json(*plan.limit_bytes) : Json(nullptr)},
      {"segment_tokens", plan.segment_tokens},
      {"slots", plan.slots},
      {"slot_bytes", plan.slot_bytes},
      {"host_limit_bytes", plan.host_limit_bytes ? Json(*plan.host_limit_bytes) : Json(nullptr)},
      {"disk_buffers", plan.disk_buffers},
      {"disk_buffer_bytes", plan.disk_buffer_bytes},
      {"host_cache_layers", plan.host_kv.layers},
      {"cache_slots", plan.cache_slots},
      {"kv_type", kv_type_name(plan.kv.type)},
      {"precision", precision_name(plan.precision)},
      {"placement", Json::array()},
      {"routes", Json::array()},
      {"bytes", Json::object()},
      {"predicted",
       {{"prefill_seconds", p.prefill_seconds},
        {"decode_pass_seconds", p.decode_pass_seconds},
        {"decode_seconds", p.decode_seconds},
        {"link_bytes_per_pass", p.link_bytes_per_pass}}}};
  for (const Placement where : plan.placement) {
    json["placement"].push_back(kPlacementNames[static_cast<std::size_t>(where)]);
  }
  for (const Route& route : plan.routes) {
    Json by_host = Json::array();
    for (std::size_t unit = 0; unit < route.by_host.size(); ++unit) {
      if (route.by_host[unit]) by_host.push_back(unit);
    }
    json["routes"].push_back(
        {{"tokens", route.tokens}, {"by_host", by_host}, {"host_attends", route.host_attends}});
  }
  for (const NamedBytes& named : kBytes) json["bytes"][named.name] = plan.bytes.*named.bytes;
  json["bytes"]["total"] = plan.bytes.total();
  return json;
}

std::string print_plan_file(const ModelLayout& layout, const Plan& plan) {
  return plan_json(layout, plan).dump(1) + "\n";
}

Plan parse_plan_file(std::string_view json, const std::string& file, const ModelLayout& layout) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::kBadFile, text(file, " ", what));
  };
  if (json.size() > kMostFileBytes) fail("is no plan: more than " + print_bytes(kMostFileBytes));
  const Json root = parse_untrusted_json(json, file);
  if (!root.is_object() || !root.contains("sluice_plan")) {
    fail("is no plan; sluice plan --save writes one");
  }
  if (root["sluice_plan"] != kFormatVersion) {
    fail(text("has sluice_plan ", shown(root["sluice_plan"]), "; this Sluice reads ",
              kFormatVersion, ": make the plan anew"));
  }
  const PlanFields fields(
      file, root, {"sluice_plan",       "sluice_version",   "model",          "device",
                   "workload",          "limit_bytes",      "segment_tokens", "slots",
                   "slot_bytes",        "host_limit_bytes", "disk_buffers",   "disk_buffer_bytes",
                   "host_cache_layers", "cache_slots",      "kv_type",        "precision",
                   "placement",         "routes",           "bytes",          "predicted"});
  check_fingerprint(file, fields.value("model"), layout);
  const ModelConfig& c = layout.config;
  const std::string_view device = kDevices[fields.word("device", {"cpu", "sim", "cuda"})];
  Plan plan;
  plan.workload = read_workload(file, fields.value("workload"));
  plan.gpu = device == "cuda";
  if (!fields.value("limit_bytes").is_null()) {
    plan.limit_bytes = fields.count("limit_bytes", 0, ~std::size_t{0});
  }
  plan.segment_tokens = fields.count("segment_tokens", 1, kMostPlanTokens);
  plan.slots = fields.count("slots", 0, kMostPlanSlots);
  plan.slot_bytes = fields.count("slot_bytes", 0, kMostPlanBytes / kMostPlanSlots);
  plan.kv = {.type = kAllKvTypes[fields.word("kv_type", {"f32", "f16", "q8_0"})],
             .layers = c.layers,
             .kv_heads = c.kv_heads,
             .head_dim = c.head_dim,
             .pages = plan.workload.cache_pages()};
  plan.cache_on_host(fields.count("host_cache_layers", 0, c.layers));
  plan.cache_slots = fields.count("cache_slots", 0, plan.host_kv.layers);
  plan.precision = fields.word("precision", {precision_name(Precision::kNormal),
                                             precision_name(Precision::kHigh)}) == 0
                       ? Precision::kNormal
                       : Precision::kHigh;
  plan.placement = read_placement(fields, layout.units.size());
  check_device(fields, plan, device);
  check_slots(fields, layout, plan);
  read_disk_buffers(fields, plan);
  for (const Json& route : fields.array("routes")) {
    plan.routes.push_back(read_route(fields, route, layout, plan));
  }
  check_bytes(file, fields.value("bytes"), layout, plan);
  plan.predicted = read_prediction(file, fields.value("predicted"));
  return plan;
}

Plan read_plan_file(const std::string& path, const ModelLayout& layout) {
  const MappedFile file(path);
  // A byte more than a plan may have tells that it has too many.
  std::string json(std::min(file.bytes().size(), kMostFileBytes + 1), '\0');
  const std::span<std::byte> to = std::as_writable_bytes(std::span(json));
  if (!file.try_read(0, to)) file.check_read(0, to);
  return parse_plan_file(json, printable(path, kMostPathChars), layout);
}

}  // namespace sluice
