#include "cli/placement_options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <thread>

#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kMaxSlotsOption = 64;

// "12GB/s", "12GB/s,10us"
LinkSpeed parse_link(const std::string& value) {
  const std::size_t comma = value.find(',');
  LinkSpeed link{.bytes_per_second = parse_rate(value.substr(0, comma), "--link")};
  if (comma == std::string::npos) return link;
  const std::string latency = value.substr(comma + 1);
  std::size_t used = 0;
  double number = -1.0;
  try {
    number = std::stod(latency, &used);
  } catch (const std::exception&) {
  }
  const std::string unit = latency.substr(used);
  const double scale = unit == "us" ? 1e-6 : unit == "ms" ? 1e-3 : unit == "s" ? 1.0 : 0.0;
  link.latency_seconds = number * scale;
  if (scale == 0.0 || !(link.latency_seconds >= 0.0 && link.latency_seconds <= 1.0)) {
    throw Error(ErrorKind::kUsage,
                text("--link ", value, ": a latency looks like 10us or 0.5ms, and is at most 1s"));
  }
  return link;
}

// "12", "auto".
void parse_count(const std::string& value, const char* option, const char* of_what,
                 std::optional<std::size_t>& given, bool& is_auto) {
  is_auto = value == "auto";
  if (value.empty() || is_auto) return;
  std::size_t count = 0;
  const char* end = value.data() + value.size();
  const auto [at, error] = std::from_chars(value.data(), end, count);
  if (error != std::errc{} || at != end) {
    throw Error(ErrorKind::kUsage,
                text(option, " ", printable(value), ": it is a number of ", of_what, ", or auto"));
  }
  given = count;
}

}  // namespace

void add_threads(CLI::App& app, std::size_t& threads) {
  app.add_option("--threads", threads, "Threads to compute with (default: all cores)")
      ->type_name("N");
}

void check_threads(std::size_t threads) {
  const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
  if (threads > cores) {
    throw Error(ErrorKind::kUsage,
                text("--threads ", threads, ": this machine has ", cores, " cores"));
  }
}

void add_placement(CLI::App& app, PlacementOptions& o, RawPlacement& raw) {
  app.add_option("MODEL", o.model, "A GGUF file, or the first of a split one")->required();
  app.add_option("--vram", o.vram,
                 "Device memory to keep to: 96MiB, 24GB, 50% (of the weights), unlimited; on cuda\n"
                 "also auto (the default): what is free, less a margin")
      ->type_name("SIZE");
  app.add_option("--ram", raw.ram,
                 "Host memory to keep to, 16GiB; weights that don't fit are read from the disk in\n"
                 "every pass (default: it holds all that isn't on the device)")
      ->type_name("SIZE");
  app.add_option("--device", raw.device,
                 "auto: cuda where there is one, else sim with --vram, else cpu")
      ->check(CLI::IsMember({"auto", "cpu", "sim", "cuda"}))
      ->type_name("auto|cpu|sim|cuda");
  app.add_option("--gpu", raw.gpu,
                 "Which GPU, counted from 0; in sluice plan also one that isn't there, by a name\n"
                 "that sluice hardware lists")
      ->type_name("N");
  app.add_option("--link", raw.link,
                 "Speed of sim's link to host memory, and its latency: 12GB/s,10us; in sluice\n"
                 "plan also a name that sluice hardware lists")
      ->type_name("RATE");
  app.add_option("--device-flops", raw.device_flops,
                 "Make sim's products take as long as at this speed: 500GFLOP/s")
      ->type_name("RATE");
  app.add_option("--host-flops", raw.host_flops, "The same for units that the host computes")
      ->type_name("RATE");
  app.add_option("--host-bandwidth", raw.host_bandwidth,
                 "Make them also take as long as reading weights at this rate: 20GB/s")
      ->type_name("RATE");
  app.add_option("--ctx", o.context_tokens, "Tokens of context to make room for")
      ->check(CLI::Range(std::size_t{1}, kMaxTokensOption))
      ->type_name("TOKENS");
  app.add_option("--slots", o.slots, "Buffers that weights stream through (1: no prefetching)")
      ->check(CLI::Range(std::size_t{1}, kMaxSlotsOption))
      ->type_name("N");
  app.add_option("--segment", o.segment_tokens, "Tokens of a prompt worked on at once")
      ->check(CLI::Range(std::size_t{1}, kMaxTokensOption))
      ->type_name("TOKENS");
  app.add_option(
         "--host-units", raw.host_units,
         "Streamed feed-forward units that the CPU computes in small passes, while the\n"
         "link brings others; auto: as many as pay (default: auto on cuda, and on sim with\n"
         "--host-flops or --host-bandwidth, else 0)")
      ->type_name("N|auto");
  app.add_option(
         "--host-cache", raw.host_cache,
         "Layers whose keys and values stay in host memory; auto: as many as pay, or as have to\n"
         "(default: auto where the CPU computes units)")
      ->type_name("N|auto");
  app.add_option("--cache-slots", o.cache_slots,
                 "Buffers through which they come to the device in passes where that is faster\n"
                 "than the CPU attending to them; 0: it always attends (default: what pays)")
      ->check(CLI::Range(std::size_t{0}, kMaxSlotsOption))
      ->type_name("N");
  app.add_option("--place", o.place,
                 "Where some units are: attn, ffn, head, * or, by layers, attn.7, ffn.0-9, ffn.*;\n"
                 "= resident, stream or (ffn in small passes) host. Later ones win")
      ->allow_extra_args(false)
      ->type_name("PATTERN=PLACE");
  app.add_option("--resident", o.resident_units, "How many units are resident (default: what fits)")
      ->type_name("N");
  app.add_option("--precision", raw.precision,
                 "Of activations: high (16 bits for quantised weights; default for small models)\n"
                 "or normal (8 bits, which doubles a prompt's speed)")
      ->check(CLI::IsMember({"normal", "high"}))
      ->type_name("normal|high");
  app.add_option(
         "--kv-types", raw.kv_types,
         "Types that cached keys and values may have, with commas between: f32, f16 or q8_0,\n"
         "which takes half as much as f16 and loses a little. Of several the fastest plan's\n"
         "(default: f16, or f32 for F32 models)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"f32", "f16", "q8_0"}))
      ->type_name("TYPES");
  app.add_flag("--cached-rates", o.cached_rates,
               "Plan with the rates that sluice probe has kept, of a GPU its own too, rather than "
               "measure this model's");
  add_threads(app, o.threads);
}

void finish_placement(PlacementOptions& o, const RawPlacement& raw) {
  o.device = raw.device == "cpu"    ? DeviceChoice::kCpu
             : raw.device == "sim"  ? DeviceChoice::kSim
             : raw.device == "cuda" ? DeviceChoice::kCuda
                                    : DeviceChoice::kAuto;
  const auto parse_into = [](double& rate, const std::string& value, auto parse, const char* name) {
    if (!value.empty()) rate = parse(value, name);
  };
  parse_into(o.device_pace.operations_per_second, raw.device_flops, parse_operations,
             "--device-flops");
  parse_into(o.host_pace.operations_per_second, raw.host_flops, parse_operations, "--host-flops");
  parse_into(o.host_pace.bytes_per_second, raw.host_bandwidth, parse_rate, "--host-bandwidth");
  if (!raw.ram.empty()) o.ram_bytes = parse_bytes(raw.ram, "--ram");
  parse_count(raw.host_units, "--host-units", "units", o.host_units, o.host_units_auto);
  parse_count(raw.host_cache, "--host-cache", "layers", o.host_cache_layers, o.host_cache_auto);
  if (!raw.gpu.empty()) parse_gpu(raw.gpu, o.gpu, o.hardware);
  if (is_profile_name(raw.link)) {
    o.hardware.link = raw.link;
  } else if (!raw.link.empty()) {
    o.link = parse_link(raw.link);
  }
  if (!raw.precision.empty()) {
    o.precision = raw.precision == "high" ? Precision::kHigh : Precision::kNormal;
  }
  for (const std::string& name : raw.kv_types) o.kv_types.push_back(*kv_type_named(name));
  check_threads(o.threads);
}

}  // namespace sluice
