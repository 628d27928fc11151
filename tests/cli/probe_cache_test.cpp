#include "cli/probe_cache.h"

#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/machine_load.h"
#include "cli/output_file.h"
#include "cli/user_folders.h"
#include "tests/support/cache_home.h"
#include "tests/support/expect_error.h"
#include "tests/support/read_file.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;
using sluice::testing::CacheHome;
using sluice::testing::check_refusal;
using sluice::testing::failure_of;
using sluice::testing::TemporaryFolder;

namespace {

MachineProbe some_probe() {
  MachineProbe p;
  p.machine = {"a processor \"quoted\"", 8, std::size_t{64} << 30, "a GPU", "1.2.3"};
  p.taken_at = 1'700'000'000;
  p.seconds = 4.5;
  p.others_share = 0.02;
  p.drift = 0.03;
  p.free_host_bytes = 123456789;
  p.rates.link = {{65536, true, 3e9, 2e9}, {65536, false, 1e9, 1.5e9}};
  p.rates.link_latency_seconds = 1e-6;
  p.rates.host_read = {{1, 10e9}, {2, 18e9}};
  p.rates.disk = {{1, 1e9}, {8, 3e9}};
  p.rates.disk_direct = true;
  p.rates.copy_bytes_per_second = 9e9;
  p.rates.wait_seconds = 10e-6;
  p.rates.logit_seconds = 1e-9;
  for (ComputeRates& r : p.rates.host) {
    r.attention_one_token_operations_per_second = 1e11;
    r.attention_shares[static_cast<std::size_t>(KvType::kQ8_0)] = {.one_token = 1.7, .many = 0.9};
    r.attention_operations_per_second = 2e11;
    r.attention_alone_operations_per_second = 5e10;
    r.element_seconds = ProductRate::in_proportion(1e-9);
    r.rotate_seconds = ProductRate::in_proportion(2e-9);
    r.share_beside_copies = 0.9;
    r.sequence_seconds = 2e-6;
    r.cut_seconds.fill(3e-6);
    r.products[static_cast<std::size_t>(DType::kQ4_0)] =
        ProductRate::roofline(DType::kQ4_0, 20e9, 300e9);
  }
  DeviceRates gpu{.compute = p.rates.host, .turn_seconds = 30e-6};
  for (ComputeRates& r : gpu.compute) {
    r.attention_alone_operations_per_second = 0.0;
    r.cache_bytes_per_second = 4e11;
    r.step_seconds = 2e-6;
    r.graph_step_seconds = 1e-6;
    r.rotate_seconds = ProductRate::in_proportion(3e-12);
  }
  p.rates.gpu = gpu;
  return p;
}

// Its JSON with the value at `pointer` replaced.
std::string altered(const char* pointer, const nlohmann::json& value) {
  nlohmann::json json = nlohmann::json::parse(probe_json(some_probe()));
  json[nlohmann::json::json_pointer(pointer)] = value;
  return json.dump();
}

}  // namespace

TEST_CASE("probe cache: what is written is read again") {
  const MachineProbe p = some_probe();
  const std::string json = probe_json(p);
  const MachineProbe read = parse_probe(json);
  CHECK(read.machine == p.machine);
  CHECK(read.rates.link.size() == 2);
  CHECK(read.rates.disk[1].bytes_per_second == 3e9);
  CHECK(read.rates.host[0].cut_seconds[2] == 3e-6);
  CHECK(read.rates.host[0].sequence_seconds == 2e-6);
  CHECK(read.rates.copy_bytes_per_second == 9e9);
  CHECK(!read.rates.link[1].pinned);
  CHECK(probe_json(read) == json);
  REQUIRE(read.rates.gpu);
  CHECK(read.rates.gpu->turn_seconds == 30e-6);
  CHECK(read.rates.gpu->compute[1].cache_bytes_per_second == 4e11);
  CHECK(read.rates.gpu->compute[1].step_seconds == 2e-6);
  CHECK(read.rates.gpu->compute[1].graph_step_seconds == 1e-6);
  MachineProbe without = p;
  without.rates.gpu.reset();
  CHECK(!parse_probe(probe_json(without)).rates.gpu);
  const ProductRate& rate = read.rates.host[1].products[static_cast<std::size_t>(DType::kQ4_0)];
  CHECK(rate.known());
  CHECK(!read.rates.host[1].products[static_cast<std::size_t>(DType::kF16)].known());
}

TEST_CASE("probe cache: a damaged one is refused, wherever the damage is") {
  const std::string json = probe_json(some_probe());
  for (std::size_t length = 0; length + 2 < json.size(); length += 37) {
    CAPTURE(length);
    CHECK(failure_of([&] { parse_probe(json.substr(0, length)); }).kind == ErrorKind::kBadFile);
  }
  CHECK(failure_of([&] { parse_probe("[1, 2]"); }).kind == ErrorKind::kBadFile);
  CHECK(failure_of([&] { parse_probe(std::string(100000, '[')); }).kind == ErrorKind::kBadFile);
}

TEST_CASE("probe cache: absurd figures are refused by name") {
  const nlohmann::json endless = 1e300;
  struct {
    const char* pointer;
    nlohmann::json value;
    const char* field;
  } const cases[] = {
      {"/format", 99, "format"},
      {"/link/0/to_device_bytes_per_second", -1.0, "to_device_bytes_per_second"},
      {"/link/0/to_host_bytes_per_second", endless, "to_host_bytes_per_second"},
      {"/link/0/bytes", -5, "bytes"},
      {"/link", "fast", "link"},
      {"/link", nlohmann::json(std::vector<int>(1000)), "link"},
      {"/disk/0/bytes_per_second", 0, "bytes_per_second"},
      {"/host_read/0/threads", nullptr, "threads"},
      {"/copy_bytes_per_second", 0, "copy_bytes_per_second"},
      {"/host/normal/sequence_seconds", 3600, "sequence_seconds"},
      {"/host/high/share_beside_copies", 0.0, "share_beside_copies"},
      {"/host/normal/element_seconds/3", -1e-9, "element_seconds"},
      {"/host/normal/attention_operations_per_second", "1e9", "attention_operations_per_second"},
      {"/host/high/product_bytes_per_second/Q4_0/3", 0, "Q4_0"},
      {"/host/high/product_bytes_per_second/Q4_0", {1e9}, "Q4_0"},
      {"/host/normal/cut_seconds", {1e-6}, "cut_seconds"},
      {"/host/normal/cut_seconds/1", -1e-6, "cut_seconds"},
      {"/host/high", nullptr, "is missing"},
      {"/machine/processor", 5, "processor"},
      {"/gpu", 5, "normal"},
      {"/gpu/high", nullptr, "is missing"},
      {"/gpu/turn_seconds", 2, "turn_seconds"},
      {"/gpu/normal/cache_bytes_per_second", 5, "cache_bytes_per_second"},
      {"/gpu/normal/attention_operations_per_second", 0, "attention_operations_per_second"},
      {"/gpu/normal/step_seconds", -1, "step_seconds"},
      {"/gpu/high/product_bytes_per_second/Q4_0/3", endless, "Q4_0"},
  };
  for (const auto& c : cases) {
    CAPTURE(c.pointer);
    const auto failure = failure_of([&] { parse_probe(altered(c.pointer, c.value)); });
    CHECK(failure.kind == ErrorKind::kBadFile);
    CHECK(failure.says(c.field));
  }
}

TEST_CASE("probe cache: belongs to a machine and a version") {
  const TemporaryFolder folder;
  const CacheHome home(folder.path().native());
  const MachineProbe p = some_probe();
  write_cached(p);
  std::string why;
  CHECK(read_cached(p.machine, why));
  CHECK(why.empty());
  for (const auto& change : std::initializer_list<void (*)(MachineKey&)>{
           [](MachineKey& m) { m.processor += "x"; }, [](MachineKey& m) { ++m.cores; },
           [](MachineKey& m) { m.memory_bytes /= 2; }, [](MachineKey& m) { m.gpu.clear(); },
           [](MachineKey& m) { m.version = "1.2.4"; }}) {
    MachineKey other = p.machine;
    change(other);
    CHECK(cache_path(other) != cache_path(p.machine));
    CHECK(!read_cached(other, why));
    CHECK(why.empty());
    // Another machine's, moved there.
    std::filesystem::copy_file(cache_path(p.machine), cache_path(other));
    CHECK(!read_cached(other, why));
    CHECK(why.find("another machine") != std::string::npos);
    why.clear();
  }
  std::ofstream(cache_path(p.machine)) << "{";
  CHECK(!read_cached(p.machine, why));
  CHECK(why.find("can't be used") != std::string::npos);
}

TEST_CASE("probe cache: says when there is no folder, or none that can be written") {
  const TemporaryFolder folder;
  std::ofstream(folder / "file") << "x";
  const CacheHome home((folder / "file").native());
  const auto failure = failure_of([&] { write_cached(some_probe()); });
  CHECK(failure.kind == ErrorKind::kIo);
  CHECK(failure.says("XDG_CACHE_HOME"));
  std::string why;
  CHECK(!read_cached(some_probe().machine, why));
}

TEST_CASE("probe cache: plans that are to take it are refused where there is none") {
  const TemporaryFolder folder;
  const CacheHome home(folder.path().native());
  const std::vector<std::string> plan = {"plan", "smollm2-135m", "--device", "cpu",
                                         "--cached-rates"};
  check_refusal(plan, 2, "run sluice probe");
  const std::filesystem::path path = cache_path(this_machine(""));
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << "{";
  check_refusal(plan, 2, path.native());
}

TEST_CASE("probe: a load or a drift marks it") {
  MachineProbe p = some_probe();
  CHECK(!p.under_load());
  p.others_share = 0.5;
  CHECK(p.under_load());
  CHECK(probe_json(p).find("\"under_load\": true") != std::string::npos);
  p = some_probe();
  p.drift = 0.4;
  CHECK(p.under_load());
  const double share = MachineLoad().others_share();
  CHECK(share >= 0.0);
  CHECK(share <= 1.0);
}

TEST_CASE("sluice probe: shows what is cached, refuses files and folders that can't serve") {
  const TemporaryFolder folder;
  const CacheHome home(folder.path().native());
  MachineProbe p = some_probe();
  p.machine = this_machine("");
  write_cached(p);
  const auto shown = testing::run_sluice({"probe", "-q"});
  CHECK(shown.exit_code == 0);
  CHECK(shown.out.find("8 at once") != std::string::npos);
}

TEST_CASE("sluice probe: measures anew what is damaged, in less than 20 s" *
          doctest::test_suite("slow")) {
  const TemporaryFolder folder;
  const CacheHome home(folder.path().native());
  const MachineKey machine = this_machine("");
  std::filesystem::create_directories(cache_folder());
  std::ofstream(cache_path(machine)) << "{\"format\": 1}";
  const auto result = testing::run_sluice({"probe", "-q", "--json", (folder / "p.json").native()});
  CHECK(result.exit_code == 0);
  CHECK(result.err.find("measuring anew") != std::string::npos);
  const MachineProbe probe = parse_probe(testing::read_file(folder / "p.json"));
  CHECK(probe.machine == machine);
  CHECK(probe.seconds < 20.0);
  std::string why;
  CHECK(read_cached(machine, why));
  // Nothing else is left there.
  CHECK(std::distance(std::filesystem::directory_iterator(cache_folder()), {}) == 1);
  const auto bad = testing::run_sluice({"probe", "-q", "--file", folder.path().native()});
  CHECK(bad.exit_code == 5);
}
