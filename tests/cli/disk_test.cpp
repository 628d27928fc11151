// The program on a model larger than the host memory that it is given.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "memory/mapped_file.h"
#include "memory/units.h"
#include "tests/support/read_file.h"
#include "tests/support/run_program.h"
#include "tests/support/synthetic_file.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;
using testing::check_refusal;
using testing::read_file;
using testing::run_sluice;

namespace {

// How much of a file the page cache holds.
double cached_share(const std::filesystem::path& path) {
  const MappedFile file(path);
  std::vector<unsigned char> pages(ceil_div(file.bytes().size(), 4096));
  auto* begin = const_cast<std::byte*>(file.bytes().data());
  REQUIRE(mincore(begin, file.bytes().size(), pages.data()) == 0);
  const auto held =
      std::count_if(pages.begin(), pages.end(), [](unsigned char p) { return p & 1; });
  return static_cast<double>(held) / static_cast<double>(pages.size());
}

void drop_from_cache(const std::filesystem::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  fsync(file);
  close(file);
  MappedFile(path).forget(0, std::filesystem::file_size(path));
}

}  // namespace

TEST_CASE("sluice: a model twice as large as --ram gives the same bits, and memory keeps to it" *
          doctest::test_suite("slow")) {
  const testing::TemporaryFolder folder;
  const std::filesystem::path model = folder / "m.gguf";
  constexpr ModelShape kShape{.name = "quarter-gigabyte",
                              .layers = 9,
                              .width = 1536,
                              .feed_forward = 4096,
                              .heads = 12,
                              .kv_heads = 12,
                              .vocab = 2048,
                              .context_tokens = 512,
                              .rope_base = 1e4f,
                              .tied = false};
  testing::write_synthetic(model, kShape, DType::kQ8_0);
  const std::size_t ram = std::filesystem::file_size(model) / 2;
  const auto run = [&](const std::string& name, std::vector<std::string> options) {
    std::vector<std::string> words = {"run",          model,       "--ids",
                                      "-p",           "5 6 7 8 9", "-q",
                                      "--device",     "sim",       "--ctx",
                                      "64",           "--temp",    "0",
                                      "--max-tokens", "12",        "--ignore-eos",
                                      "--vram",       "24MiB",     "--logits",
                                      folder / name,  "--stats",   folder / "stats.json"};
    words.insert(words.end(), options.begin(), options.end());
    const testing::ProgramResult result = run_sluice(words, {.watch_memory = true});
    CAPTURE(result.err);
    CHECK(result.exit_code == 0);
    return result;
  };
  const testing::ProgramResult truth = run("truth.npy", {});
  CHECK(truth.peak_resident_bytes > ram + 64_MiB);  // so that the check below could fail
  drop_from_cache(model);
  const bool drops = cached_share(model) < 0.01;  // a file system in memory doesn't
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--host-units", "3"}}) {
    std::vector<std::string> options = {"--ram", std::to_string(ram)};
    options.insert(options.end(), more.begin(), more.end());
    const testing::ProgramResult limited = run("limited.npy", options);
    CHECK(limited.out == truth.out);
    CHECK(read_file(folder / "limited.npy") == read_file(folder / "truth.npy"));
    CHECK(limited.peak_resident_bytes > 0);
    CHECK(limited.peak_resident_bytes <= ram + 64_MiB);
    const auto stats = nlohmann::json::parse(read_file(folder / "stats.json"));
    CHECK(stats["host_bytes"] <= ram);
    CHECK(stats["disk_units"] > 0);
    CHECK(stats["disk_bytes"] >= 12 * stats["disk_bytes_per_pass"].get<std::size_t>());
    CHECK(stats["disk_seconds"] > 0.0);
    if (drops) CHECK(cached_share(model) < 0.1);
  }
}

TEST_CASE("sluice: a limit of host memory that can't be kept, or makes no sense, is refused") {
  const testing::TemporaryFolder folder;
  testing::write_synthetic(folder / "m.gguf", testing::kFewMegabytes, DType::kQ8_0);
  const auto refusal = [&](const std::vector<std::string>& more, int code, const char* says) {
    std::vector<std::string> words = {"plan", folder / "m.gguf"};
    words.insert(words.end(), more.begin(), more.end());
    check_refusal(words, code, says);
  };
  const std::vector<std::string> sim = {"--device", "sim", "--vram", "3MiB"};
  const auto with = [&](const char* ram) {
    std::vector<std::string> words = sim;
    words.insert(words.end(), {"--ram", ram});
    return words;
  };
  refusal(with("100KiB"), 4, "raise --ram");
  refusal(with("8G B"), 2, "--ram");
  refusal(with("-1"), 2, "--ram");
  refusal({"--device", "cpu", "--ram", "1GiB"}, 2, "--ram");
  const testing::ProgramResult plan =
      run_sluice({"plan", folder / "m.gguf", "--device", "sim", "--vram", "3MiB", "--ram", "3MiB"});
  CHECK(plan.exit_code == 0);
  CHECK(plan.out.find("buffers of the disk") != std::string::npos);
}

TEST_CASE("sluice plan: its JSON tells units on the disk from those in host memory") {
  const testing::TemporaryFolder folder;
  testing::write_synthetic(folder / "m.gguf", testing::kFewMegabytes, DType::kQ8_0);
  const testing::ProgramResult result =
      run_sluice({"plan", folder / "m.gguf", "--device", "sim", "--vram", "3MiB", "--ram", "3MiB",
                  "--json", folder / "plan.json"});
  CHECK(result.exit_code == 0);
  const auto json = nlohmann::json::parse(read_file(folder / "plan.json"));
  std::map<std::string, std::size_t> bytes;
  for (const auto& unit : json["units"]) {
    bytes[unit["placement"]] += unit["size_bytes"].get<std::size_t>();
  }
  CHECK(bytes["disk"] > 0);
  CHECK(json["disk_weights_bytes"] == bytes["disk"]);
  CHECK(json["host_weights_bytes"] == bytes["host"]);
}
