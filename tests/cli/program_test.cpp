// The program from outside: what it prints, what it leaves, how it ends.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "layers/gpu.h"
#include "tests/support/read_file.h"
#include "tests/support/reference_data.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;
using testing::check_refusal;
using testing::read_file;
using testing::run_sluice;

namespace {

std::string ids_text(const std::vector<std::int32_t>& ids) {
  std::ostringstream out;
  for (const std::int32_t id : ids) out << id << ' ';
  return out.str();
}

std::size_t lines_of(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_CASE("sluice: help and version end well, a usage error says where to look") {
  CHECK(run_sluice({"--help"}).exit_code == 0);
  CHECK(run_sluice({"run", "--help"}).out.find("--vram") != std::string::npos);
  CHECK(run_sluice({"--version"}).out.find("sluice 0.") != std::string::npos);
  check_refusal({}, 2, "--help");
  check_refusal({"run"}, 2, "MODEL");
  check_refusal({"fly"}, 2, "--help");
  check_refusal({"run", tiny_gguf("f32")}, 2, "-p");
  check_refusal({"run", tiny_gguf("f32"), "--ids", "-p", ""}, 2, "empty");
  check_refusal({"run", tiny_gguf("f32"), "--ids", "-p", "1 x"}, 2, "'x'");
  check_refusal({"run", tiny_gguf("f32"), "--quiet", "--ids", "-p", "100000"}, 2, "100000");
  check_refusal({"run", tiny_gguf("f32"), "-p", "a", "--temp", "-1"}, 2, "temp");
  check_refusal({"run", tiny_gguf("f32"), "-p", "a", "--vram", "many"}, 2, "--vram");
  check_refusal({"run", tiny_gguf("f32"), "-p", "a", "--vram", "0%"}, 2, "--vram");
  check_refusal({"run", tiny_gguf("f32"), "-p", "a", "--link", "fast"}, 2, "--link");
  check_refusal({"run", tiny_gguf("f32"), "-p", "a", "--threads", "100000"}, 2, "--threads");
  check_refusal({"run", tiny_gguf("f32"), "--ids", "-p", "1 2 3", "--ctx", "3"}, 2, "--ctx");
}

TEST_CASE("sluice: an option that the device can't honour is refused, not ignored") {
  check_refusal({"run", tiny_gguf("f32"), "-p", "a", "--device", "cpu", "--vram", "1GiB"}, 2,
                "--vram");
  check_refusal({"run", tiny_gguf("f32"), "-p", "a", "--link", "1GB/s"}, 2, "--link");
  check_refusal({"run", tiny_gguf("f32"), "-p", "a", "--slots", "3"}, 2, "--slots");
  // Without a driver for it to find, or without CUDA at all.
  check_refusal({"run", tiny_gguf("f32"), "-p", "a", "--device", "cuda"}, built_with_gpu() ? 6 : 2,
                "--device");
  check_refusal({"run", tiny_gguf("f32"), "--chat", "--ids"}, 2, "--chat");
}

TEST_CASE("sluice: a model that can't be read is one line and exit 3 or 5") {
  const testing::TemporaryFolder folder;
  const std::string whole = read_file(tiny_gguf("f32"));
  const auto write = [&](const char* name, const std::string& bytes) {
    std::ofstream(folder / name, std::ios::binary) << bytes;
    return std::string(folder / name);
  };
  check_refusal({"run", folder / "nothing.gguf", "-p", "a"}, 5, "nothing.gguf");
  check_refusal({"run", folder.path(), "-p", "a"}, 5, "folder");
  check_refusal({"run", write("empty.gguf", ""), "-p", "a"}, 3, "empty.gguf");
  check_refusal({"run", write("text.gguf", std::string(5000, 'x')), "-p", "a"}, 3, "GGUF");
  for (const std::size_t share : {1, 30, 60, 99}) {
    const std::string cut = write("cut.gguf", whole.substr(0, whole.size() * share / 100));
    check_refusal({"run", cut, "-p", "a"}, 3, "cut.gguf");
    CHECK(run_sluice({"plan", cut}).exit_code == 3);
    CHECK(run_sluice({"inspect", cut}).exit_code == 3);
  }
}

TEST_CASE("sluice: too small a limit is exit 4 with one that works; one byte less does not") {
  const std::vector<std::string> run = {"run",   tiny_gguf("f32"), "--ids", "-p",
                                        "1 2 3", "--max-tokens",   "4"};
  const auto with_limit = [&](std::size_t bytes) {
    std::vector<std::string> arguments = run;
    arguments.insert(arguments.end(), {"--vram", std::to_string(bytes)});
    return run_sluice(arguments);
  };
  const testing::ProgramResult refused = with_limit(1000);
  CHECK(refused.exit_code == 4);
  const std::string before = "the smallest that works here is ";
  const std::size_t at = refused.err.find(before);
  REQUIRE(at != std::string::npos);
  const std::size_t smallest = std::stoul(refused.err.substr(at + before.size()));
  CHECK(with_limit(smallest - 1).exit_code == 4);
  const testing::ProgramResult kept = with_limit(smallest);
  CHECK(kept.exit_code == 0);
  CHECK(kept.out == run_sluice(run).out);
}

TEST_CASE("sluice: ids in, the same ids out on every device and at any limit") {
  const TinyReference& reference = tiny_reference("quants");
  const std::vector<std::string> run = {
      "run",          reference.gguf, "--ids",  "-p", ids_text(reference.ids),
      "--max-tokens", "20",           "--quiet"};
  const testing::ProgramResult plain = run_sluice(run);
  CHECK(plain.exit_code == 0);
  CHECK(plain.err.empty());
  std::istringstream ids(plain.out);
  CHECK(std::distance(std::istream_iterator<int>(ids), std::istream_iterator<int>()) >= 1);
  const std::vector<std::vector<std::string>> variants = {{"--device", "sim"},
                                                          {"--vram", "70%"},
                                                          {"--vram", "80%", "--link", "2GB/s,5us"},
                                                          {"--vram", "1MiB", "--slots", "1"},
                                                          {"--vram", "unlimited", "--segment", "3"},
                                                          {"--threads", "1"}};
  for (const auto& variant : variants) {
    std::vector<std::string> arguments = run;
    arguments.insert(arguments.end(), variant.begin(), variant.end());
    CAPTURE(variant);
    const testing::ProgramResult result = run_sluice(arguments);
    CHECK(result.exit_code == 0);
    CHECK(result.out == plain.out);
  }
}

TEST_CASE("sluice: computes with the precision that is asked for, and says which it chose") {
  const std::string model = tiny_gguf("quants");
  const testing::TemporaryFolder folder;
  const auto logits = [&](const std::vector<std::string>& precision, const std::string& name) {
    std::vector<std::string> arguments = {"run",      model,        "--ids",        "-p",
                                          "1 2 3",    "-q",         "--max-tokens", "1",
                                          "--logits", folder / "l", "--stats",      folder / "s"};
    arguments.insert(arguments.end(), precision.begin(), precision.end());
    REQUIRE(run_sluice(arguments).exit_code == 0);
    CHECK(nlohmann::json::parse(read_file(folder / "s"))["precision"] == name);
    return read_file(folder / "l");
  };
  const std::string high = logits({"--precision", "high"}, "high");
  CHECK(logits({}, "high") == high);  // the model is small
  CHECK(logits({"--precision", "normal"}, "normal") != high);
  CHECK(run_sluice({"plan", model, "--precision", "normal"}).out.find("normal precision") !=
        std::string::npos);
  check_refusal({"plan", model, "--precision", "double"}, 2, "--precision");
}

TEST_CASE("sluice: leaves logits, stats and a trace, each whole") {
  const testing::TemporaryFolder folder;
  const TinyReference& reference = tiny_reference("f32");
  const testing::ProgramResult result =
      run_sluice({"run", reference.gguf, "--ids", "-p", ids_text(reference.ids), "--max-tokens",
                  "5", "--ignore-eos", "--vram", "80%", "--logits", folder / "l.npy", "--stats",
                  folder / "s.json", "--trace", folder / "t.json"});
  CHECK(result.exit_code == 0);
  CHECK(result.err.find("limit") != std::string::npos);

  const auto stats = nlohmann::json::parse(read_file(folder / "s.json"));
  for (const char* key :
       {"device_limit_bytes", "device_peak_bytes", "weights_bytes", "resident_bytes", "link_bytes",
        "prompt_tokens", "generated_tokens", "load_seconds", "prefill_seconds", "decode_seconds",
        "overlap_ratio", "predicted_decode_seconds"}) {
    CAPTURE(key);
    CHECK(stats.contains(key));
  }
  CHECK(stats["prompt_tokens"] == reference.ids.size());
  CHECK(stats["generated_tokens"] == 5);
  CHECK(stats["device_peak_bytes"] <= stats["device_limit_bytes"]);

  const std::string npy = read_file(folder / "l.npy");
  CHECK(npy.substr(1, 5) == "NUMPY");
  CHECK(npy.find("'shape': (5, 264)") != std::string::npos);
  REQUIRE(npy.size() == 128 + 5 * 264 * sizeof(float));
  std::vector<float> first(264);
  std::memcpy(first.data(), npy.data() + 128, 264 * sizeof(float));
  const std::size_t last = (reference.ids.size() - 1) * reference.vocab;
  CHECK(relative_error(first, std::span(reference.logits).subspan(last)) < 1e-4);

  const auto trace = nlohmann::json::parse(read_file(folder / "t.json"));
  CHECK(trace["traceEvents"].size() > 20);
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    ++files;
  }
  CHECK(files == 3);
}

TEST_CASE("sluice: a full disk is exit 5, and says which file") {
  const auto run = [](const char* option) {
    return run_sluice({"run", tiny_gguf("f32"), "--ids", "-p", "1 2", "--max-tokens", "2", "-q",
                       option, "/dev/full"});
  };
  for (const char* option : {"--stats", "--trace", "--logits"}) {
    CAPTURE(option);
    const testing::ProgramResult result = run(option);
    CHECK(result.exit_code == 5);
    CHECK(result.err.find("/dev/full") != std::string::npos);
  }
  const testing::ProgramResult result =
      run_sluice({"run", tiny_gguf("f32"), "--ids", "-p", "1 2", "--max-tokens", "2", "-q"},
                 {.out_path = "/dev/full"});
  CHECK(result.exit_code == 5);
  for (const char* command : {"plan", "inspect"}) {
    CAPTURE(command);
    CHECK(run_sluice({command, tiny_gguf("f32")}, {.out_path = "/dev/full"}).exit_code == 5);
  }
  CHECK(run_sluice({"run", tiny_gguf("f32"), "-p", "a", "--stats", "/nowhere/x"}).exit_code == 5);
}

TEST_CASE("sluice: plan adds up, and inspect shows what is there") {
  const testing::ProgramResult plan = run_sluice(
      {"plan", tiny_gguf("f32"), "--vram", "1MiB", "--prompt-tokens", "16", "--max-tokens", "16"});
  CHECK(plan.exit_code == 0);
  std::istringstream lines(plan.out);
  std::string line;
  std::size_t sum = 0;
  std::size_t total = 0;
  while (std::getline(lines, line) && line.find("host memory") == std::string::npos) {
    if (line.size() < 38 || line[0] != ' ') continue;
    const std::size_t bytes = std::stoul(line.substr(24));
    (line.find("total") == 2 ? total : sum) += bytes;
  }
  CHECK(total > 0);
  CHECK(sum == total);
  const testing::ProgramResult inspect = run_sluice({"inspect", tiny_gguf("f32"), "--tensors"});
  CHECK(inspect.exit_code == 0);
  CHECK(inspect.out.find("blk.0.attn_q.weight") != std::string::npos);
}

TEST_SUITE("model") {
  TEST_CASE("sluice: Ctrl-C ends in order with the report, exit 130") {
    const testing::ProgramResult result =
        run_sluice({"run", real_model(), "-p", "Count.", "--max-tokens", "600", "--ignore-eos",
                    "--vram", "40MiB", "--link", "400MB/s"},
                   {.interrupt_when = [](const std::string& out) { return !out.empty(); }});
    CHECK(result.exit_code == 130);
    CHECK(result.err.find("generated") != std::string::npos);
  }

  TEST_CASE("sluice: a conversation keeps its cache, and ends with the input") {
    const testing::TemporaryFolder folder;
    const auto prompt_tokens = [&](const char* input) {
      const testing::ProgramResult result =
          run_sluice({"run", real_model(), "--chat", "--max-tokens", "20", "--ctx", "512", "--vram",
                      "90%", "--stats", folder / "s.json"},
                     {.input = input});
      CHECK(result.exit_code == 0);
      CHECK(lines_of(result.out) == lines_of(input));
      return nlohmann::json::parse(read_file(folder / "s.json"))["prompt_tokens"].get<int>();
    };
    const int first = prompt_tokens("What is the capital of France?\n");
    const int both = prompt_tokens("What is the capital of France?\nAnd of Italy?\n");
    CHECK(first > 20);         // with the default system message
    CHECK(both - first < 20);  // the second turn alone: what was said before is cached
  }

  TEST_CASE("sluice: a conversation takes as much context as the limit holds") {
    const auto chat = [&](const std::vector<std::string>& more) {
      std::vector<std::string> arguments = {"run", real_model(), "--chat", "--max-tokens", "4"};
      arguments.insert(arguments.end(), more.begin(), more.end());
      return run_sluice(arguments, {.input = "Hi.\n"});
    };
    const testing::ProgramResult half = chat({"--vram", "50%"});
    CHECK(half.exit_code == 0);
    CHECK(half.err.find("a context of 2048 tokens: the limit has no room for 4096") !=
          std::string::npos);
    const testing::ProgramResult whole = chat({"--vram", "unlimited"});
    CHECK(whole.exit_code == 0);
    CHECK(whole.err.find("a context of") == std::string::npos);
    CHECK(whole.out == half.out);
    CHECK(chat({"--vram", "50%", "--ctx", "4096"}).exit_code == 4);
  }

  TEST_CASE("sluice: a conversation that fills its context goes on without its oldest turns") {
    const testing::TemporaryFolder folder;
    std::string input = "My name is Ada.\n";
    for (int i = 0; i < 6; ++i) input += "Tell me of rivers, lakes and seas.\n";
    std::string long_message;
    for (int i = 0; i < 300; ++i) long_message += " word";
    const testing::ProgramResult result =
        run_sluice({"run", real_model(), "--chat", "--max-tokens", "30", "--ctx", "256", "--vram",
                    "90%", "--stats", folder / "s.json"},
                   {.input = input + long_message + "\nAnd of hills.\n"});
    CHECK(result.exit_code == 0);
    CHECK(result.err.find("of its messages are left out") != std::string::npos);
    CHECK(result.err.find("with this message the prompt has 3") != std::string::npos);
    const nlohmann::json stats = nlohmann::json::parse(read_file(folder / "s.json"));
    CHECK(stats["generated_tokens"].get<int>() > 7 * 10);  // eight replies
    CHECK(stats["prompt_tokens"].get<int>() < 600);        // re-read seldom, not at every turn
  }
}
