// sluice bench from outside: what it tells, not how fast it is.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;
using testing::check_refusal;
using testing::run_sluice;

namespace {

nlohmann::json bench(std::vector<std::string> arguments) {
  const testing::TemporaryFolder folder;
  const std::string file = folder / "bench.json";
  arguments.insert(arguments.begin(), "bench");
  arguments.insert(arguments.end(), {"--repeats", "1", "-q", "--json", file});
  const testing::ProgramResult result = run_sluice(arguments);
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(result.err.empty());
  CHECK(result.out.find("limits") != std::string::npos);
  return nlohmann::json::parse(std::ifstream(file));
}

void check_rows(const nlohmann::json& rows) {
  for (const nlohmann::json& row : rows) {
    CAPTURE(row.dump());
    for (const char* key : {"tokens_per_second", "limit_tokens_per_second", "fraction"}) {
      REQUIRE(row.contains(key));
      CHECK(row[key] > 0.0);
    }
    CHECK(row["tokens_per_second_min"] <= row["tokens_per_second"]);
    CHECK(row["tokens_per_second_max"] >= row["tokens_per_second"]);
    CHECK(row["model"] == "tiny");
    CHECK(row.contains("bound_by"));
  }
}

// No core adds up more: a loop that was folded away would seem to.
void check_peaks(const nlohmann::json& machine) {
  const double threads = machine["threads"];
  CHECK(machine["fp32_operations_per_second"] < 1e12 * threads);
  CHECK(machine["bf16_operations_per_second"] < 2e12 * threads);
  CHECK(machine["int8_operations_per_second"] < 4e12 * threads);
}

}  // namespace

TEST_CASE("bench: tells the machine's limits, and each case beside the one that binds it") {
  const nlohmann::json json = bench({"tiny", "--weights", "q8_0", "--prompt-tokens", "8,24",
                                     "--max-tokens", "4", "--sequences", "1,3"});
  const nlohmann::json& machine = json["machine"];
  for (const char* key : {"read_bytes_per_second", "copy_bytes_per_second",
                          "fp32_operations_per_second", "int8_operations_per_second"}) {
    CAPTURE(key);
    REQUIRE(machine.contains(key));
    CHECK(machine[key] > 1e8);
  }
  check_peaks(machine);
  const nlohmann::json& rows = json["rows"];
  check_rows(rows);
  REQUIRE(rows.size() == 6);
  const char* cases[] = {"prefill", "decode", "batch", "prefill", "decode", "batch"};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CHECK(rows[i]["case"] == cases[i]);
    CHECK(rows[i]["tokens"] == (i < 3 ? 8 : 24));
    CHECK(rows[i]["sequences"] == (i % 3 == 2 ? 3 : 1));
    CHECK(rows[i]["weights"] == "Q8_0");
  }
}

TEST_CASE("bench: takes a lower instruction set, and a device behind a link") {
  const nlohmann::json json = bench({"tiny", "--weights", "f16", "--isa", "baseline",
                                     "--prompt-tokens", "8", "--max-tokens", "4", "--sequences",
                                     "1", "--vram", "1MiB", "--link", "50MB/s", "--ctx", "16"});
  CHECK(json["machine"]["isa"] == "baseline");
  check_peaks(json["machine"]);
  check_rows(json["rows"]);
  CHECK(json["machine"]["device_limit_bytes"] == 1 << 20);
  CHECK(json["machine"]["streamed_bytes_per_pass"] > 0);
  for (const nlohmann::json& row : json["rows"]) {
    REQUIRE(row.contains("overlap"));
    // What was sent ahead of the first pass took its time before, and is free.
    CHECK(row["overlap"] > 0.75);
    CHECK(row["fraction"] < 1.34);
    CHECK(row["bound_by"] == "link");
  }
}

TEST_CASE("bench: only the first of many sequences has room for a long prompt") {
  const nlohmann::json json =
      bench({"tiny", "--weights", "q8_0", "--prompt-tokens", "32,512", "--max-tokens", "2",
             "--sequences", "1,8,32", "--warm-up", "0", "--device", "sim"});
  check_rows(json["rows"]);
  // Batches after 512 tokens are after 128, and those after 32 come but once.
  REQUIRE(json["rows"].size() == 8);
  for (const nlohmann::json& row : json["rows"]) {
    CHECK(!row.contains("overlap"));
    CHECK((row["case"] != "batch" || row["tokens"] <= 128));
  }
  constexpr std::size_t kTokens = 512 + 31 * 128;
  constexpr std::size_t kTokenBytes = 2 * 2 * 128 * 2;  // key and value, 2 layers of 128 halves
  CHECK(json["machine"]["device_bytes"] > kTokens * kTokenBytes);
  CHECK(json["machine"]["device_bytes"] < 32 * 512 * kTokenBytes);
}

TEST_CASE("bench: layers that share their bytes are as many, of the same size") {
  const auto device_bytes = [](const char* layers) {
    const nlohmann::json json = bench({"tiny", "--drawn-layers", layers, "--prompt-tokens", "8",
                                       "--max-tokens", "2", "--sequences", "1", "--device", "sim"});
    check_rows(json["rows"]);
    return json["machine"]["device_bytes"];
  };
  CHECK(device_bytes("1") == device_bytes("0"));
}

TEST_CASE("bench: what can't be measured is one line") {
  check_refusal({"bench", "tiny", "--isa", "avx9"}, 2, "avx9");
  check_refusal({"bench", "tiny", "--weights", "q9"}, 2, "--weights");
  check_refusal({"bench", "gpt-9"}, 5, "gpt-9");
  check_refusal({"bench", "tiny", "--ctx", "100"}, 2, "--ctx");
  check_refusal({"bench", "tiny", "--sequences", "0"}, 2, "--sequences");
  check_refusal({"bench", "tiny", "--vram", "1KiB"}, 4, "smallest");
}
