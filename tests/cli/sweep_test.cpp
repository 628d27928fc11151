// sluice sweep: what it goes over, and what it leaves.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "cli/sweep_axes.h"
#include "memory/units.h"
#include "tests/support/expect_error.h"
#include "tests/support/read_file.h"
#include "tests/support/reference_data.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/xml.h"

using namespace sluice;
using testing::failure_of;
using testing::read_file;
using testing::run_sluice;

namespace {

using Values = std::vector<std::size_t>;

testing::ProgramResult sweep(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(),
                   {"sweep", tiny_gguf("quants"), "--prompt-tokens", "24", "--max-tokens", "8"});
  return run_sluice(arguments);
}

nlohmann::json sweep_json(std::vector<std::string> arguments) {
  const testing::TemporaryFolder folder;
  arguments.insert(arguments.end(), {"--json", folder / "s.json"});
  const testing::ProgramResult result = sweep(arguments);
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(result.err.empty());
  return nlohmann::json::parse(read_file(folder / "s.json"));
}

std::vector<std::vector<std::string>> read_csv(const std::string& text) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    rows.emplace_back();
    for (std::size_t at = 0; at != std::string::npos;) {
      const std::size_t comma = line.find(',', at);
      rows.back().push_back(line.substr(at, comma - at));
      at = comma == std::string::npos ? comma : comma + 1;
    }
  }
  return rows;
}

}  // namespace

TEST_CASE("sweep: ranges and lists are read, sorted, each value once") {
  const auto sizes = [](const char* given) { return parse_sweep_sizes(given, "--vram"); };
  const auto counts = [](const char* given) { return parse_sweep_counts(given, "--ctx", 4096); };
  CHECK(sizes("2GiB") == Values{2_GiB});
  CHECK(sizes("2GiB..4GiB:1GiB") == Values{2_GiB, 3_GiB, 4_GiB});
  CHECK(sizes("1MiB..4MiB:2MiB") == Values{1_MiB, 3_MiB});
  CHECK(sizes("8MiB,2MiB,1MiB..3MiB:1MiB") == Values{1_MiB, 2_MiB, 3_MiB, 8_MiB});
  CHECK(sizes("5..5:1") == Values{5});
  CHECK(sizes("0..18446744073709551615:18446744073709551615") == Values{0, ~std::size_t{0}});
  CHECK(counts("16,1,4") == Values{1, 4, 16});
  CHECK(counts("1..10:4") == Values{1, 5, 9});
  CHECK(sizes("1..1000:1").size() == 1000);
}

TEST_CASE("sweep: a range that can't be meant is one clear error") {
  const auto said = [](const char* given, const char* part) {
    const auto failure = failure_of([&] { parse_sweep_sizes(given, "--vram"); });
    CAPTURE(given);
    CAPTURE(failure.message);
    CHECK(failure.kind == ErrorKind::kUsage);
    CHECK(failure.says("--vram"));
    CHECK(failure.says(part));
  };
  said("8G B", "is not a size");
  said("-1", "is not a size");
  said("1e99", "is not a size");
  said("", "is not a size");
  said("1GiB,", "is not a size");
  said("..", "has no step");
  said("..:", "is not a size");
  said("1GiB..2GiB", "FROM..TO:STEP");
  said("1GiB..2GiB:", "is not a size");
  said("1GiB..2GiB..3GiB:1GiB", "is not a size");
  said("24GiB..2GiB:1GiB", "ends before it begins");
  said("1GiB..2GiB:0", "step of 0");
  said("1MiB..1TiB:1MiB", "1048576 values");
  said("0..18446744073709551615:1", "values");
  said("1..1001:1", "1001 values");
  said("99999999999999999999GiB", "16 EiB");
  for (const char* bad : {"0", "-1", "1.5", "1e3", "4097", "1..3:0", "x", "", "1 2", "+1"}) {
    CAPTURE(bad);
    CHECK(failure_of([&] { parse_sweep_counts(bad, "--ctx", 4096); }).says("--ctx"));
  }
  CHECK(failure_of([] { parse_sweep_counts("1..100:1", "--ctx", 4096); }).says("100 values"));
}

TEST_CASE("sweep: bad options end with exit 2 and one line, before anything is printed") {
  const std::vector<std::vector<std::string>> all = {
      {},
      {"--vram", "8G B"},
      {"--vram", "-1"},
      {"--vram", "1e99"},
      {"--vram", "24GiB..2GiB:1GiB"},
      {"--vram", "1MiB..2MiB:0"},
      {"--vram", "1MiB..1TiB:1MiB"},
      {"--vram", "50%"},
      {"--vram", "1MiB", "--device", "cpu"},
      {"--vram", "1MiB", "--ctx", "8"},
      {"--vram", "1MiB", "--ctx", "many"},
      {"--vram", "1MiB", "--sequences", "0"},
      {"--vram", "1MiB", "--sequences", "1,2", "--ctx", "64,128"},
      {"--vram", "1MiB", "--metric", "colour"},
      {"--vram", "1MiB", "--repeats", "0"}};
  for (const auto& arguments : all) {
    CAPTURE(arguments);
    const testing::ProgramResult result = sweep(arguments);
    CAPTURE(result.err);
    CHECK(result.exit_code == 2);
    CHECK(result.out.empty());
    CHECK(testing::count_of(result.err, "\n") == 1);
  }
  CHECK(sweep({"--vram", "1MiB", "--csv", "/nowhere/x"}).exit_code == 5);
  CHECK(sweep({"--vram", "1MiB", "--svg", "/dev/full"}).exit_code == 5);
}

TEST_CASE("sweep: a limit that is too small is a row that names one that works") {
  const auto first = sweep_json({"--vram", "1000,1MiB"});
  const nlohmann::json& refused = first["points"][0];
  CHECK(refused["fits"] == false);
  CHECK(refused["resident_units"].is_null());
  CHECK(refused["predicted_decode_tokens_per_second"].is_null());
  const std::size_t smallest = refused["smallest_vram_bytes"];
  CHECK(first["points"][1]["fits"] == true);
  const auto edge =
      sweep_json({"--vram", std::to_string(smallest - 1) + "," + std::to_string(smallest)});
  CHECK(edge["points"][0]["fits"] == false);
  CHECK(edge["points"][1]["fits"] == true);
  CHECK(edge["points"][1]["device_bytes"] <= smallest);
  const std::string out = sweep({"--vram", "1000"}).out;
  CHECK(out.find("too small: ") != std::string::npos);
  CHECK(out.find(std::to_string(smallest) + " bytes") != std::string::npos);
}

TEST_CASE("sweep: everything fits at the limit that it names, and not at one byte less") {
  // Shorter segments would make room for everything earlier.
  const auto with_segments = [](const std::string& vram) {
    return sweep_json({"--vram", vram, "--segment", "16"});
  };
  const std::size_t fits = with_segments("1MiB")["everything_fits"][0]["vram_bytes"];
  const auto edge = with_segments(std::to_string(fits - 1) + "," + std::to_string(fits));
  CHECK(edge["points"][0]["streamed_units"] > 0);
  CHECK(edge["points"][1]["streamed_units"] == 0);
  CHECK(edge["points"][1]["resident_units"] == edge["units"]);
}

TEST_CASE("sweep: the CSV has one line a point, a header, and an empty cell for what there isn't") {
  const testing::TemporaryFolder folder;
  REQUIRE(sweep({"--vram", "1000,80kB..160kB:10kB", "--sequences", "1,3", "--link", "1GB/s,5us",
                 "--csv", folder / "s.csv"})
              .exit_code == 0);
  const auto rows = read_csv(read_file(folder / "s.csv"));
  REQUIRE(rows.size() == 1 + 2 * 10);
  const std::vector<std::string> first(rows[0].begin(), rows[0].begin() + 8);
  CHECK(first == std::vector<std::string>{"vram_bytes", "sequences", "context_tokens", "fits",
                                          "smallest_vram_bytes", "device_bytes", "resident_units",
                                          "streamed_units"});
  CHECK(rows[0].back() == "measured_total_seconds");
  for (const auto& row : rows) CHECK(row.size() == rows[0].size());
  const auto column = [&](const char* name) {
    return static_cast<std::size_t>(std::ranges::find(rows[0], name) - rows[0].begin());
  };
  CHECK(rows[1][column("fits")] == "false");
  CHECK(rows[1][column("predicted_decode_tokens_per_second")].empty());
  CHECK(rows[10][column("fits")] == "true");
  CHECK(std::stod(rows[10][column("predicted_decode_tokens_per_second")]) > 0.0);
  CHECK(rows[10][column("measured_decode_tokens_per_second")].empty());
  CHECK(rows[11][column("sequences")] == "3");
}

TEST_CASE("sweep: measures each plan that there is, beside what is predicted") {
  const testing::TemporaryFolder folder;
  const auto json = sweep_json({"--vram", "1000,90kB,1MiB", "--link", "1GB/s", "--measure",
                                "--repeats", "2", "--svg", folder / "s.svg"});
  REQUIRE(json["points"].size() == 3);
  CHECK(json["points"][0]["measured_total_seconds"].is_null());
  for (const std::size_t i : {1, 2}) {
    const nlohmann::json& point = json["points"][i];
    for (const char* key : {"prefill_tokens_per_second", "decode_tokens_per_second",
                            "prefill_seconds", "decode_pass_seconds", "total_seconds"}) {
      CAPTURE(key);
      CHECK(point["predicted_" + std::string(key)] > 0.0);
      CHECK(point["measured_" + std::string(key)] > 0.0);
    }
  }
  const std::string svg = read_file(folder / "s.svg");
  CHECK(testing::xml_fault(svg) == "");
  CHECK(testing::count_of(svg, "<circle") == 3);  // two points and the legend's
  CHECK(svg.find("everything fits") != std::string::npos);
}

TEST_CASE("sweep: several contexts or batches are a line each, in every picture") {
  const testing::TemporaryFolder folder;
  for (const char* metric : {"decode", "prefill", "total"}) {
    REQUIRE(sweep({"--vram", "500kB..3MB:250kB", "--ctx", "32,256,2048", "--metric", metric,
                   "--svg", folder / "s.svg"})
                .exit_code == 0);
    const std::string svg = read_file(folder / "s.svg");
    CAPTURE(metric);
    CHECK(testing::xml_fault(svg) == "");
    CHECK(testing::count_of(svg, "<polyline") == 3);
    CHECK(svg.find(">context of 256 tokens<") != std::string::npos);
  }
}

TEST_CASE("sweep: several types of a shape's weights are a line each, heavier ones slower") {
  const testing::TemporaryFolder folder;
  const auto run = [&](const std::string& weights, std::vector<std::string> more) {
    more.insert(more.begin(), {"sweep", "llama-3-8b", "--gpu", "rtx-4090", "--host",
                               "ddr5-6000-2ch", "--vram", "6GiB,10GiB", "--weights", weights});
    return run_sluice(more);
  };
  REQUIRE(run("q4_0,q8_0,f16",
              {"--json", folder / "s.json", "--csv", folder / "s.csv", "--svg", folder / "s.svg"})
              .exit_code == 0);
  const auto json = nlohmann::json::parse(read_file(folder / "s.json"));
  REQUIRE(json["points"].size() == 6);
  REQUIRE(json["everything_fits"].size() == 3);
  for (const std::size_t limit : {0, 1}) {
    double before = 1e30;
    for (const std::size_t type : {0, 1, 2}) {
      const nlohmann::json& point = json["points"][2 * type + limit];
      CHECK(point["weights"] == std::vector{"q4_0", "q8_0", "f16"}[type]);
      CHECK(point["weights_bytes"] == json["everything_fits"][type]["weights_bytes"]);
      const double speed = point["predicted_decode_tokens_per_second"];
      CHECK(speed < before);
      before = speed;
    }
  }
  CHECK(json["everything_fits"][2]["weights_bytes"] >
        3 * json["everything_fits"][0]["weights_bytes"].get<std::size_t>());
  const std::string svg = read_file(folder / "s.svg");
  CHECK(testing::xml_fault(svg) == "");
  CHECK(testing::count_of(svg, "<polyline") == 3);
  CHECK(svg.find(">q8_0<") != std::string::npos);
  CHECK(read_csv(read_file(folder / "s.csv")).size() == 7);

  for (const char* bad : {"q4_0,", "q4_0,q4_0", "q4_0,heavy"}) CHECK(run(bad, {}).exit_code == 2);
  CHECK(run("q4_0,f16", {"--sequences", "1,4"}).exit_code == 2);
  CHECK(sweep({"--vram", "1MiB", "--weights", "q4_0"}).exit_code == 2);  // a file has its own
}

TEST_CASE("sweep: twelve lines look different from each other") {
  const testing::TemporaryFolder folder;
  REQUIRE(sweep({"--vram", "1MiB,2MiB", "--sequences", "1..12:1", "--svg", folder / "s.svg"})
              .exit_code == 0);
  std::istringstream lines(read_file(folder / "s.svg"));
  std::set<std::string> looks;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("<polyline")) looks.insert(line.substr(0, line.find(" points=")));
  }
  CHECK(looks.size() == 12);
}

TEST_CASE("sweep: Ctrl-C leaves the rows that there are, exit 130") {
  const testing::TemporaryFolder folder;
  const testing::ProgramResult result =
      run_sluice({"sweep", tiny_gguf("quants"), "--prompt-tokens", "24", "--max-tokens", "8",
                  "--vram", "1000,80kB..900kB:1kB", "--link", "1MB/s", "--measure", "--csv",
                  folder / "s.csv", "--svg", folder / "s.svg", "--json", folder / "s.json"},
                 {.interrupt_when = [](const std::string& out) {
                   return out.find("too small") != std::string::npos;
                 }});
  CHECK(result.exit_code == 130);
  CHECK(read_csv(read_file(folder / "s.csv")).size() >= 2);
  CHECK(testing::xml_fault(read_file(folder / "s.svg")) == "");
  CHECK(nlohmann::json::parse(read_file(folder / "s.json"))["points"].size() >= 1);
}
