#include "cli/hardware_profiles.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>

#include "cli/planned_hardware.h"
#include "memory/units.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;
using testing::failure_of;

namespace {

HardwareProfiles embedded() {
  HardwareProfiles all;
  for (const EmbeddedProfiles& e : embedded_profiles()) all.add(e.json, std::string(e.file));
  all.check_links();
  return all;
}

template <typename Profile>
void check_sources(const std::vector<Profile>& all) {
  for (const Profile& profile : all) {
    CAPTURE(profile.name);
    CHECK(!profile.title.empty());
    for (const auto& figure : figures(profile)) {
      CAPTURE(figure.key);
      CHECK(profile.sources.contains(figure.key));
    }
  }
}

constexpr const char* kGoodGpu =
    R"({"gpus": [{"name": "card", "memory_bytes": 8589934592, "memory_bytes_per_second": 300e9,
        "tensor_operations_per_second": 40e12, "f32_operations_per_second": 20e12,
        "context_bytes": 268435456, "link": "pcie4x8"}]})";

// kGoodGpu with one part of it replaced.
std::string with(const std::string& part, const std::string& by) {
  std::string json = kGoodGpu;
  const std::size_t at = json.find(part);
  REQUIRE(at != std::string::npos);
  return json.replace(at, part.size(), by);
}

double seconds_of_256(const ComputeRates& rates, DType type) {
  return rates.products[static_cast<std::size_t>(type)].seconds_per_byte_at(256);
}
double seconds_of_one(const ComputeRates& rates, DType type) {
  return rates.products[static_cast<std::size_t>(type)].seconds_per_byte_at(1);
}

}  // namespace

TEST_CASE("hardware profiles: those of the program load, are plausible and say their sources") {
  const HardwareProfiles all = embedded();
  check_sources(all.gpus);
  check_sources(all.hosts);
  check_sources(all.links);
  check_sources(all.disks);
  for (const char* name :
       {"rtx-3060", "rtx-3090", "rtx-4060-ti-16", "rtx-4070", "rtx-4080", "rtx-4090", "rtx-5070-ti",
        "rtx-5090", "a10", "l4", "t4", "a100-40", "a100-80", "h100-pcie", "h100-sxm", "h200"}) {
    const GpuProfile& gpu = all.gpu(name, "--gpu");
    CAPTURE(name);
    CHECK(gpu.sources.contains("link"));
    CHECK(gpu.memory_bytes > 10e9);
    CHECK(gpu.memory_bytes < 160e9);
    CHECK(gpu.context_bytes < 0.05 * gpu.memory_bytes);
    CHECK(gpu.memory_bytes_per_second > 250e9);
    CHECK(gpu.memory_bytes_per_second < 5e12);
    // GeForce cards have twice their f32 rate, others up to sixteen times.
    const double ratio = gpu.tensor_operations_per_second / gpu.f32_operations_per_second;
    const bool geforce = gpu.name.starts_with("rtx");
    CHECK(ratio > (geforce ? 1.98 : 3.9));
    CHECK(ratio < (geforce ? 2.02 : 16.1));
  }
  for (const char* name : {"ddr4-3200-2ch", "ddr5-5600-2ch", "ddr5-6000-2ch", "ddr4-3200-8ch",
                           "ddr5-4800-8ch", "ddr5-4800-12ch"}) {
    const HostProfile& host = all.host(name, "--host");
    CAPTURE(name);
    CHECK(host.memory_share >= 0.7);
    CHECK(host.memory_share <= 0.95);
    CHECK(host.bf16_operations_per_second >= host.f32_operations_per_second);
    CHECK(host.int8_operations_per_second >= 1.99 * host.f32_operations_per_second);
    CHECK(host.memory_bytes >= 64e9);
  }
  for (const char* name : {"pcie3x8", "pcie3x16", "pcie4x8", "pcie4x16", "pcie5x8", "pcie5x16"}) {
    const LinkProfile& link = all.link(name, "--link");
    CAPTURE(name);
    CHECK(link.pinned_bytes_per_second > 0.75 * link.bytes_per_second);
    CHECK(link.pinned_bytes_per_second < 0.92 * link.bytes_per_second);
  }
  CHECK(all.link("pcie4x16", "--link").bytes_per_second == doctest::Approx(31.51e9).epsilon(1e-3));
  CHECK(all.disks.size() == 3);
}

TEST_CASE("planned hardware: rates are what the profiles' figures come to by hand") {
  const PlannedHardware planned =
      find_hardware({.gpu = "rtx-4090", .host = "ddr5-6000-2ch"}, std::nullopt);
  const Hardware hardware = planned.rates(Precision::kNormal);
  // A token reads each byte: at 0.8 of 1008 GB/s, and of 80 % of 96 GB/s.
  CHECK(seconds_of_one(hardware.device, DType::kQ4_K) == doctest::Approx(1.0 / 806.4e9));
  CHECK(seconds_of_one(hardware.host, DType::kQ4_K) == doctest::Approx(1.0 / 76.8e9));
  // 256 tokens do 2 x 256 operations with each of 256 values in 144 bytes: 910.2 a byte, at half of
  // 165.2 T/s and at 0.7 of 10.2 T/s.
  CHECK(seconds_of_256(hardware.device, DType::kQ4_K) ==
        doctest::Approx(910.222 / 82.6e12).epsilon(1e-5));
  CHECK(seconds_of_256(hardware.host, DType::kQ4_K) ==
        doctest::Approx(910.222 / 7.14e12).epsilon(1e-5));
  // BF16's 256 operations a byte, at 0.9 of 5.12 T/s; F16's are done in f32, at 0.9 of 2.56.
  CHECK(seconds_of_256(hardware.host, DType::kBF16) == doctest::Approx(256.0 / 4.608e12));
  CHECK(seconds_of_256(hardware.host, DType::kF16) == doctest::Approx(256.0 / 2.304e12));
  CHECK(hardware.to_device.bytes_per_second == 26e9);
  CHECK(hardware.to_host.latency_seconds == 10e-6);
  CHECK(hardware.host.share_beside_copies == doctest::Approx(50.8 / 76.8));
  CHECK(planned.memory_bytes() == 24564_MiB);
  CHECK(planned.context_bytes() == 484_MiB);
  // High precision: twice the bytes of activations, and f32 on the device.
  const Hardware high = planned.rates(Precision::kHigh);
  CHECK(seconds_of_256(high.host, DType::kQ4_K) ==
        doctest::Approx(910.222 / (0.42 * 10.2e12)).epsilon(1e-5));
  CHECK(seconds_of_256(high.device, DType::kQ4_K) ==
        doctest::Approx(910.222 / (0.35 * 82.6e12)).epsilon(1e-5));
}

TEST_CASE("planned hardware: a link carries no more than the host's memory gives") {
  const Hardware hardware =
      find_hardware({.gpu = "rtx-5090", .host = "ddr4-3200-2ch"}, std::nullopt)
          .rates(Precision::kNormal);
  CHECK(hardware.to_device.bytes_per_second == doctest::Approx(0.9 * 51.2e9));
  CHECK(hardware.host.share_beside_copies == doctest::Approx(0.1));
  const PlannedHardware slow = find_hardware(
      {.gpu = "rtx-5090"}, LinkSpeed{.bytes_per_second = 2e9, .latency_seconds = 1e-3});
  CHECK(slow.rates(Precision::kNormal).to_device.bytes_per_second == 2e9);
  CHECK(slow.host.name == kDefaultHost);
}

TEST_CASE("hardware profiles: users' own come after the program's") {
  HardwareProfiles all = embedded();
  all.add(kGoodGpu, "mine.json");
  all.check_links();
  CHECK(all.gpu("card", "--gpu").memory_bytes == 8_GiB);
  CHECK(all.gpu("card", "--gpu").title == "card");
  const auto unknown = failure_of([&] { all.gpu("rtx-9\x1b", "--gpu"); });
  CHECK(unknown.kind == ErrorKind::kUsage);
  CHECK(unknown.says("--gpu rtx-9\\x1b"));
  CHECK(unknown.says("rtx-4090, "));
}

TEST_CASE("hardware profiles: a bad one is one error with file, entry, field, value and range") {
  struct Case {
    std::string json;
    std::vector<const char*> said;
  };
  const std::vector<Case> cases = {
      {"", {"not JSON"}},
      {"[[[[", {"not JSON"}},
      {"{\"gpus\": [NaN]}", {"not JSON"}},
      {"[]", {"not an object"}},
      {"{\"cards\": []}", {"cards", "gpus, hosts"}},
      {"{\"gpus\": 3}", {"gpus", "number", "array"}},
      {"{\"gpus\": [3]}", {"gpu 1", "3", "object"}},
      {"{\"gpus\": [{}]}", {"gpu 1", "no name"}},
      {with("\"card\"", "7"), {"gpu 1", "name 7", "string"}},
      {with("\"card\"", "\"My Card\""), {"My Card", "a-z"}},
      {with("\"card\"", "\"4090\""), {"4090", "letter"}},
      {with("\"card\"", "\"" + std::string(5000, 'x') + "\""), {"...", "up to 40"}},
      {with("\"card\"", "\"a\\u001b\\n\""), {"\\x1b\\x0a"}},
      {with("300e9", "-1"), {"gpu card", "memory_bytes_per_second -1", "1e6 to 1e15"}},
      {with("300e9", "0"), {"memory_bytes_per_second 0", "1e6"}},
      {with("300e9", "1e99"), {"memory_bytes_per_second 1e+99", "1e15"}},
      {with("300e9", "1e999"), {"not JSON", "1e999"}},
      {with("300e9", "300"), {"memory_bytes_per_second 300", "1e6"}},
      {with("300e9", "\"300 GB/s\""), {"memory_bytes_per_second \"300 GB/s\"", "number"}},
      {with("300e9", "null"), {"memory_bytes_per_second null"}},
      {with("300e9", "[300e9]"), {"memory_bytes_per_second of the type array"}},
      {with("8589934592", "8589934592.5"), {"memory_bytes 8589934592.5", "whole"}},
      {with("8589934592", "8"), {"memory_bytes 8;", "1048576"}},
      {with("268435456", "8589934592"), {"context_bytes", "memory_bytes"}},
      {with("40e12", "40"), {"tensor_operations_per_second 40;", "1e9"}},
      {with("\"f32_operations_per_second\": 20e12,", ""), {"no f32_operations_per_second"}},
      {with("memory_bytes_per_second", "memory_gb_per_second"),
       {"unknown field memory_gb_per_second", "memory_bytes_per_second"}},
      {with("\"pcie4x8\"", "\"pcie4x8\", \"link\": \"pcie4x16\""), {"link", "twice"}},
      {with("\"pcie4x8\"", "16"), {"link 16", "string"}},
      {with("\"pcie4x8\"", "\"pcie4x8\", \"sources\": 3"), {"sources 3"}},
      {with("\"pcie4x8\"", "\"pcie4x8\", \"sources\": {\"weight\": \"me\"}"), {"source of weight"}},
      {with("\"card\"", "\"rtx-4090\""), {"rtx-4090", "docs/hardware/gpus.json", "another name"}},
      {"{\"links\": [{\"name\": \"l\", \"bytes_per_second\": 1e9, \"latency_seconds\": 1e-5,"
       "\"pinned_bytes_per_second\": 2e9}]}",
       {"link l", "pinned_bytes_per_second", "most"}},
      {"{\"disks\": [{\"name\": \"d\", \"read_bytes_per_second\": 1e9, \"latency_seconds\": 2}]}",
       {"disk d", "latency_seconds 2", "0 to 1"}},
      {std::string(HardwareProfiles::kMostFileBytes + 1, ' '), {"more than 1.00 MiB"}},
      {std::string(HardwareProfiles::kMostFileBytes, '['), {"not JSON"}},
  };
  HardwareProfiles all = embedded();
  const std::size_t gpus = all.gpus.size();
  for (const Case& c : cases) {
    CAPTURE(c.json.substr(0, 300));
    const auto failure = failure_of([&] { all.add(c.json, "bad.json"); });
    CHECK(failure.kind == ErrorKind::kBadFile);
    CHECK(failure.message.starts_with("bad.json: "));
    CHECK(failure.message.size() < 500);
    for (const char* said : c.said) {
      CAPTURE(said);
      CHECK(failure.says(said));
    }
    CHECK(all.gpus.size() == gpus);
  }
}

TEST_CASE("hardware profiles: a link that isn't there is told once all files are read") {
  HardwareProfiles all = embedded();
  all.add(with("\"pcie4x8\"", "\"thunder\""), "bad.json");
  const auto failure = failure_of([&] { all.check_links(); });
  CHECK(failure.kind == ErrorKind::kBadFile);
  CHECK(failure.says("bad.json: gpu card has link thunder; there are pcie3x8, "));
}

TEST_CASE("hardware profiles: a file that can't be read is an error of input") {
  const testing::TemporaryFolder folder;
  HardwareProfiles all;
  CHECK(failure_of([&] { all.add_file(folder / "none.json"); }).kind == ErrorKind::kIo);
  CHECK(failure_of([&] { all.add_file(folder.path()); }).kind == ErrorKind::kIo);
  std::ofstream(folder / "empty.json").flush();
  CHECK(failure_of([&] { all.add_file(folder / "empty.json"); }).kind == ErrorKind::kBadFile);
  std::ofstream(folder / "zeros.json").flush();
  std::filesystem::resize_file(folder / "zeros.json", std::uintmax_t{1} << 40);
  const auto huge = failure_of([&] { all.add_file(folder / "zeros.json"); });
  CHECK(huge.kind == ErrorKind::kBadFile);
  CHECK(huge.says("more than"));
}
