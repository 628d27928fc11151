// sluice plan for hardware that isn't there, from outside; and sluice hardware.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/reference_data.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;
using testing::check_refusal;
using testing::run_sluice;

namespace {

constexpr const char* kCard =
    R"({"gpus": [{"name": "my-card", "memory_bytes": 8589934592, "memory_bytes_per_second": 300e9,
        "tensor_operations_per_second": 40e12, "f32_operations_per_second": 20e12,
        "context_bytes": 268435456, "link": "pcie4x8"}]})";

std::string plan_text(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "plan");
  const testing::ProgramResult result = run_sluice(arguments);
  CAPTURE(arguments);
  CAPTURE(result.err);
  CHECK(result.exit_code == 0);
  return result.out;
}

// The bytes of a plan's line that begins with `what`.
std::size_t bytes_of(const std::string& plan, const std::string& what) {
  const std::size_t at = plan.find("  " + what);
  CAPTURE(plan);
  REQUIRE(at != std::string::npos);
  return std::stoul(plan.substr(at + 2 + what.size()));
}

double decode_speed(const std::string& plan) {
  const std::size_t at = plan.find("  decode ");
  REQUIRE(at != std::string::npos);
  return std::stod(plan.substr(at + 9));
}

}  // namespace

TEST_CASE("plan: a shape is planned for a card without a file, and every byte is counted") {
  const std::string plan = plan_text({"llama-3-70b", "--weights", "q4_k_m", "--gpu", "rtx-4090",
                                      "--host", "ddr5-6000-2ch", "--vram", "22GiB"});
  std::size_t sum = 0;
  for (const char* what :
       {"resident weights", "slots", "norms and biases", "keys and values", "cache slots",
        "activations", "input of a pass", "logits", "scratch", "driver's context"}) {
    sum += bytes_of(plan, what);
  }
  const std::size_t total = bytes_of(plan, "total");
  CHECK(sum == total);
  CHECK(total <= std::size_t{22} << 30);
  CHECK(bytes_of(plan, "driver's context") == std::size_t{484} << 20);
  CHECK(plan.find("an estimate") != std::string::npos);
  CHECK(plan.find("NVIDIA GeForce RTX 4090 (24.0 GiB) beside ddr5-6000-2ch") != std::string::npos);
  // Whoever uses a byte that isn't resident reads it from host memory: 76.8 GB/s at most.
  const double off = static_cast<double>(bytes_of(plan, "streamed weights"));
  CHECK(decode_speed(plan) < 76.8e9 / off);
  CHECK(decode_speed(plan) > 0.6 * 76.8e9 / off);
}

TEST_CASE("plan: what isn't named of a planned machine is the card's own, or the default" *
          doctest::test_suite("long")) {
  const std::vector<std::string> plain = {"llama-3-8b", "--gpu", "rtx-4090"};
  const std::string plan = plan_text(plain);
  CHECK(plan.find("ddr5-5600-2ch") != std::string::npos);
  CHECK(plan.find("pcie4x16 at 26.0 GB/s") != std::string::npos);
  // All of the card but what auto leaves to others.
  CHECK(plan.find(std::to_string((std::size_t{24564} - 256) << 20)) != std::string::npos);
  CHECK(plan_text({"llama-3-8b", "--gpu", "rtx-4090", "--weights", "Q4_K_M", "--vram", "auto"}) ==
        plan);
  const auto with_link = [](const char* link) {
    return plan_text(
        {"llama-3-8b", "--gpu", "rtx-4090", "--vram", "3GiB", "--host-units", "0", "--link", link});
  };
  const std::string usual = with_link("pcie4x16");
  CHECK(usual ==
        plan_text({"llama-3-8b", "--gpu", "rtx-4090", "--vram", "3GiB", "--host-units", "0"}));
  const double slow = decode_speed(with_link("pcie3x8"));
  CHECK(decode_speed(usual) > 3.5 * slow);
  CHECK(decode_speed(with_link("6.1GB/s,10us")) == doctest::Approx(slow).epsilon(0.02));
}

// Its plan was once 23 % slower than with two slots and segments of 512 tokens asked for.
TEST_CASE("plan: telling how a large model is streamed gains little" *
          doctest::test_suite("slow")) {
  const auto seconds = [](const std::vector<std::string>& told) {
    std::vector<std::string> arguments = {
        "llama-3-70b",   "--weights",    "q8_0",    "--gpu",  "rtx-4090", "--host",
        "ddr5-5600-2ch", "--link",       "pcie3x8", "--vram", "18330MiB", "--prompt-tokens",
        "500",           "--max-tokens", "64",      "--json", "-"};
    arguments.insert(arguments.end(), told.begin(), told.end());
    return nlohmann::json::parse(plan_text(arguments))["predicted"]["seconds"].get<double>();
  };
  const double found = seconds({});
  for (const char* slots : {"2", "4", "12"}) {
    CAPTURE(slots);
    CHECK(found <= 1.03 * seconds({"--slots", slots}));
    CHECK(found <= 1.03 * seconds({"--slots", slots, "--segment", "512"}));
  }
}

TEST_CASE("plan: files are planned for cards too, and links by name for sim") {
  const std::string tiny = tiny_reference("quants").gguf;
  CHECK(plan_text({tiny, "--gpu", "t4"}).find("NVIDIA T4") != std::string::npos);
  CHECK(plan_text({tiny, "--device", "sim", "--vram", "1MiB", "--link", "pcie3x8"}).find("slots") !=
        std::string::npos);
  CHECK(plan_text({"tiny"}).find("in place") != std::string::npos);
}

TEST_CASE("plan: what a host's memory has no room for waits on a disk" *
          doctest::test_suite("long")) {
  const auto plan = [](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"llama-3-70b", "--weights", "f16", "--gpu",
                                          "rtx-3060",    "--vram",    "4GiB"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return plan_text(arguments);
  };
  CHECK(plan({}).find("buffers of the disk") != std::string::npos);
  CHECK(plan({"--disk", "nvme-gen3"}) != plan({"--disk", "nvme-gen5"}));
  CHECK(plan({"--ram", "200GiB"}).find("buffers of the disk") == std::string::npos);
}

TEST_CASE("plan: what can't be planned for is one line") {
  check_refusal({"plan", "tiny", "--gpu", "rtx-9"}, 2, "rtx-4090");
  check_refusal({"plan", "tiny", "--gpu", "-1"}, 2, "--gpu -1");
  check_refusal({"plan", "tiny", "--gpu", "t4", "--cached-rates"}, 2, "--cached-rates");
  check_refusal({"plan", "tiny", "--gpu", "t4", "--disk", "nvme-gen9"}, 2, "nvme-gen4");
  check_refusal({"plan", "tiny", "--disk", "nvme-gen4"}, 2, "--disk nvme-gen4");
  check_refusal({"plan", "tiny", "--gpu", "99999999999"}, 2, "--gpu 99999999999");
  check_refusal({"plan", "tiny", "--gpu", "rtx-4090", "--host", "ddr9"}, 2, "ddr4-3200-2ch");
  check_refusal({"plan", "tiny", "--gpu", "rtx-4090", "--link", "fast"}, 2, "pcie4x16");
  check_refusal({"plan", "tiny", "--gpu", "rtx-4090", "--device", "cpu"}, 2, "--device");
  check_refusal({"plan", "tiny", "--host", "ddr5-6000-2ch"}, 2, "--gpu");
  check_refusal({"plan", "llama-3-8b", "--gpu", "rtx-4090", "--vram", "25.9GB"}, 4,
                "--vram 25.9GB");
  check_refusal({"plan", "llama-3-8b", "--gpu", "rtx-4090", "--vram", "1MiB"}, 4, "smallest");
  check_refusal({"plan", "tiny", "--weights", "q4_k_x"}, 2, "Q4_K_M");
  check_refusal({"plan", "llama-9", "--weights", "q4_k_m"}, 2, "llama-3-70b");
}

TEST_CASE("plan: what runs a model takes no profile") {
  const std::string tiny = tiny_reference("f32").gguf;
  check_refusal({"run", tiny, "-p", "a", "--gpu", "rtx-4090"}, 2, "sluice plan");
  check_refusal({"run", tiny, "-p", "a", "--device", "sim", "--link", "pcie4x16"}, 2,
                "sluice plan");
  check_refusal({"bench", "tiny", "--gpu", "rtx-4090"}, 2, "sluice plan");
  check_refusal({"perplexity", tiny, "/dev/null", "--gpu", "rtx-4090"}, 2, "sluice plan");
}

TEST_CASE("hardware: lists what there is, and shows one with where its figures are from") {
  const testing::ProgramResult all = run_sluice({"hardware"});
  CHECK(all.exit_code == 0);
  for (const char* name : {"rtx-4090", "h200", "ddr5-4800-12ch", "pcie5x16", "nvme-gen4"}) {
    CAPTURE(name);
    CHECK(all.out.find(name) != std::string::npos);
    const testing::ProgramResult one = run_sluice({"hardware", name});
    CHECK(one.exit_code == 0);
    CHECK(one.out.find("docs/hardware/") != std::string::npos);
  }
  CHECK(run_sluice({"hardware", "rtx-4090"}).out.find("165200000000000 (165.2 T/s)\n      128 ") !=
        std::string::npos);
  check_refusal({"hardware", "abacus"}, 2, "sluice hardware");
}

TEST_CASE("hardware: users' files are read from their folder and by --hardware") {
  const testing::TemporaryFolder folder;
  const std::filesystem::path own = folder / "sluice" / "hardware";
  std::filesystem::create_directories(own);
  const char* before = std::getenv("XDG_CONFIG_HOME");
  const std::string kept = before == nullptr ? "" : before;
  setenv("XDG_CONFIG_HOME", folder.path().c_str(), 1);

  const std::string file = folder / "card.json";
  std::ofstream(file) << kCard;
  check_refusal({"plan", "tiny", "--gpu", "my-card"}, 2, "my-card");
  CHECK(plan_text({"tiny", "--gpu", "my-card", "--hardware", file}).find("my-card (8.00 GiB)") !=
        std::string::npos);
  check_refusal({"plan", "tiny", "--gpu", "my-card", "--hardware", folder / "no.json"}, 5,
                "no.json");

  std::filesystem::copy(file, own / "card.json");
  std::ofstream(own / "notes.txt") << "not a profile";
  CHECK(plan_text({"tiny", "--gpu", "my-card"}).find("my-card") != std::string::npos);
  CHECK(run_sluice({"hardware"}).out.find("my-card") != std::string::npos);
  check_refusal({"plan", "tiny", "--gpu", "my-card", "--hardware", file}, 3, "another name");

  std::ofstream(own / "bad.json") << "{\"gpus\": [{\"name\": \"worse\", \"memory_bytes\": -5}]}";
  check_refusal({"plan", "tiny", "--gpu", "rtx-4090"}, 3,
                "bad.json: gpu worse has memory_bytes -5");
  CHECK(run_sluice({"plan", "tiny"}).exit_code == 0);  // which needs no profile

  before == nullptr ? unsetenv("XDG_CONFIG_HOME") : setenv("XDG_CONFIG_HOME", kept.c_str(), 1);
}
