// sluice plan from outside: pins, goals, files, and running what was planned.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "layers/gpu.h"
#include "tests/support/read_file.h"
#include "tests/support/reference_data.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;
using testing::check_refusal;
using testing::read_file;
using testing::run_sluice;
using Json = nlohmann::ordered_json;

namespace {

testing::ProgramResult run(std::vector<std::string> arguments) {
  testing::ProgramResult result = run_sluice(arguments);
  CAPTURE(arguments);
  CAPTURE(result.err);
  CHECK(result.exit_code == 0);
  return result;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::vector<std::string> kOnCard = {"plan",     "llama-3-8b", "--gpu",
                                          "rtx-4090", "--link",     "pcie3x8"};

std::vector<std::string> with(std::vector<std::string> arguments,
                              const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Json planned(const std::vector<std::string>& more) {
  return Json::parse(run(with(with(kOnCard, more), {"--json", "-"})).out);
}

}  // namespace

TEST_CASE("plan: units are placed as --place and --resident say, the rest around them") {
  const Json json = planned({"--vram", "3GiB", "--place", "attn.*=resident", "--place",
                             "ffn.0-9=host", "--place", "ffn.4=stream", "--place", "head=stream"});
  std::size_t resident = 0;
  for (const Json& unit : json["units"]) {
    const std::string name = unit["name"];
    CAPTURE(name);
    if (has(name, "attention")) CHECK(unit["placement"] == "resident");
    if (name == "layer 4 feed-forward") CHECK(unit["host_tokens"] == 0);
    if (name == "layer 5 feed-forward") CHECK(unit["host_tokens"] > 0);
    if (name == "head") CHECK(unit["placement"] == "host");
    resident += unit["placement"] == "resident" ? 1 : 0;
  }
  CHECK(resident >= 32);
  const Json seven = planned({"--vram", "6GiB", "--resident", "7"});
  CHECK(std::ranges::count(seven["units"], "resident",
                           [](const Json& unit) { return unit["placement"]; }) == 7);
  check_refusal(with(kOnCard, {"--place", "ffn.32=host"}), 2, "0 to 31");
  check_refusal(with(kOnCard, {"--place", "attn=host"}), 2, "feed-forward");
  check_refusal(with(kOnCard, {"--place", "experts=host"}), 2, "attn, ffn, head");
  check_refusal(with(kOnCard, {"--resident", "66"}), 2, "65 units");
  check_refusal(with(kOnCard, {"--vram", "3GiB", "--place", "*=resident"}), 4,
                "let fewer units be resident");
  check_refusal({"plan", tiny_gguf("quants"), "--device", "cpu", "--place", "ffn=stream"}, 2,
                "--place");
  check_refusal({"plan", tiny_gguf("quants"), "--device", "cpu", "--resident", "1"}, 2,
                "--resident");
  check_refusal(with(kOnCard, {"--host-units", "many"}), 2, "--host-units many");
}

TEST_CASE("plan: keys and values are of a type that --kv-types allows, whichever is fastest" *
          doctest::test_suite("slow")) {
  const auto kv = [](std::vector<std::string> types, const char* vram) {
    if (!types.empty()) types.insert(types.begin(), "--kv-types");
    const Json json = planned(with(
        types, {"--vram", vram, "--ctx", "32768", "--prompt-tokens", "128", "--host-cache", "0"}));
    return std::pair(json["plan"]["kv_type"].get<std::string>(),
                     json["smallest_limit_bytes"].get<std::size_t>());
  };
  const auto [by_default, default_bytes] = kv({}, "6GiB");
  CHECK(by_default == "f16");
  CHECK(kv({"f16"}, "6GiB") == kv({}, "6GiB"));
  const auto [alone, alone_bytes] = kv({"q8_0"}, "6GiB");
  CHECK(alone == "q8_0");
  CHECK(alone_bytes < default_bytes - default_bytes / 4);
  CHECK(kv({"f16,q8_0"}, "6GiB") == std::pair(std::string("q8_0"), alone_bytes));
  CHECK(kv({"q8_0,f16"}, "unlimited").first == "f16");  // nothing is gained
  const auto table = [](const char* vram) {
    return run(with(kOnCard, {"--vram", vram, "--ctx", "32768", "--kv-types", "f16,q8_0",
                              "--host-cache", "0"}))
        .out;
  };
  CHECK(has(table("6GiB"), "32768 tokens, q8_0"));
  CHECK(has(table("unlimited"), "keys and values in q8_0"));  // the runner-up
  check_refusal(with(kOnCard, {"--kv-types", "f16,q4_0"}), 2, "q4_0");
  check_refusal(with(kOnCard, {"--vram", std::to_string(default_bytes - 1), "--ctx", "32768",
                               "--host-cache", "0"}),
                4, "--kv-types");
}

TEST_CASE("plan: --host-units auto lets the host compute what pays") {
  const auto host = [](const Json& json) {
    return std::ranges::count_if(json["plan"]["routes"],
                                 [](const Json& r) { return !r["by_host"].empty(); });
  };
  const Json automatic = planned({"--vram", "3GiB", "--host-units", "auto"});
  CHECK(host(automatic) > 0);
  CHECK(host(planned({"--vram", "3GiB", "--host-units", "0"})) == 0);
  CHECK(automatic == planned({"--vram", "3GiB"}));
  run({"plan", tiny_gguf("quants"), "--device", "sim", "--vram", "1MiB", "--host-units", "auto"});
  check_refusal({"plan", tiny_gguf("quants"), "--device", "cpu", "--host-units", "auto"}, 2,
                "--host-units");
}

TEST_CASE("plan: --host-cache leaves caches to the host, and both tables of memory add up" *
          doctest::test_suite("long")) {
  const std::vector<std::string> context = {"--vram", "6GiB", "--ctx", "32768"};
  const auto cached = [&](const std::string& layers) {
    return planned(with(context, {"--host-cache", layers}));
  };
  const auto check = [&](std::size_t layers) {
    CAPTURE(layers);
    Json json = cached(std::to_string(layers));
    CHECK(json["plan"]["host_cache_layers"] == layers);
    const std::size_t page_bytes = 2 * 64 * 1024 * 2;  // of a layer: keys and values of 64 tokens
    CHECK(json["plan"]["bytes"]["kv"] == (32 - layers) * 512 * page_bytes);
    CHECK(json["host_bytes"]["cache"] == layers * 512 * page_bytes);
    for (const Json& bytes : {json["plan"]["bytes"], json["host_bytes"]}) {
      std::size_t sum = 0;
      for (const auto& [name, value] : bytes.items()) {
        if (name != "total") sum += value.get<std::size_t>();
      }
      CHECK(sum == bytes["total"]);
    }
    return json;
  };
  const Json none = check(0);
  check(8);
  CHECK(cached("99") == check(32));
  const Json automatic = cached("auto");
  CHECK(automatic == planned(context));
  CHECK(automatic["predicted"]["seconds"] <= none["predicted"]["seconds"]);
  CHECK(has(run(with(with(kOnCard, context), {"--host-cache", "8"})).out,
            "8 of 32 layers, where the host attends"));
  const std::vector<std::string> large = {"--vram", "3GiB", "--ctx", "65536"};
  CHECK(planned(large)["plan"]["host_cache_layers"] > 0);
  check_refusal(with(with(kOnCard, large), {"--host-cache", "0"}), 4, "--host-cache auto");
  check_refusal(with(with(kOnCard, large), {"--ram", "1GiB"}), 4, "--ram");
  check_refusal(with(kOnCard, {"--host-cache", "many"}), 2, "--host-cache many");
  check_refusal({"plan", tiny_gguf("quants"), "--device", "cpu", "--host-cache", "1"}, 2,
                "--host-cache");
  const Json on_sim = Json::parse(run({"plan", tiny_gguf("quants"), "--device", "sim", "--vram",
                                       "60kB", "--host-cache", "auto", "--json", "-"})
                                      .out);
  CHECK(on_sim["plan"]["host_cache_layers"] > 0);
  CHECK(on_sim["plan"]["routes"].empty());
}

TEST_CASE("plan: caches in host memory come to the device for long prompts, through their slots") {
  const std::vector<std::string> prompt = {"--vram",          "6GiB",  "--ctx",        "32768",
                                           "--prompt-tokens", "30000", "--max-tokens", "256",
                                           "--host-cache",    "32"};
  const Json streamed = planned(prompt);
  const Json attended = planned(with(prompt, {"--cache-slots", "0"}));
  CHECK(streamed["plan"]["cache_slots"] == 2);
  const std::size_t layer_bytes = 512 * 2 * 64 * 1024 * 2;
  CHECK(streamed["plan"]["bytes"]["cache_slots"] == 2 * layer_bytes);
  CHECK(attended["plan"]["bytes"]["cache_slots"] == 0);
  const auto prefill = [](const Json& json) {
    return json["predicted"]["prefill_tokens_per_second"].get<double>();
  };
  CHECK(prefill(streamed) > 3.0 * prefill(attended));
  CHECK(streamed["predicted"]["seconds"] < attended["predicted"]["seconds"]);
  const std::string table = run(with(kOnCard, prompt)).out;
  CHECK(has(table, "2 of 128 MiB, for keys and values in host memory"));
  CHECK(has(table, "32 of 32 layers, where the host attends in passes of up to "));
  check_refusal({"plan", tiny_gguf("quants"), "--device", "cpu", "--cache-slots", "1"}, 2,
                "--cache-slots");
  check_refusal(with(kOnCard, {"--cache-slots", "many"}), 2, "--cache-slots");
}

TEST_CASE("plan: tells what binds, what another GiB would do, and the next best kind of plan") {
  const std::string table = run(with(kOnCard, {"--vram", "4GiB"})).out;
  CAPTURE(table);
  for (const char* part :
       {"bound  ", "host computes  ", "for latency  ", "1.00 GiB more  ", "1.00 GiB less  ",
        "runner-up  ", "all streamed", "smallest limit that works: "}) {
    CAPTURE(part);
    CHECK(has(table, part));
  }
  const Json json = planned({"--vram", "4GiB"});
  const Json& bytes = json["plan"]["bytes"];
  std::size_t sum = 0;
  for (const auto& [name, value] : bytes.items()) {
    if (name != "total") sum += value.get<std::size_t>();
  }
  CHECK(sum == bytes["total"]);
  CHECK(sum <= std::size_t{4} << 30);
  CHECK(json["more"]["decode_tokens_per_second"] > json["predicted"]["decode_tokens_per_second"]);
  CHECK(json["less"]["decode_tokens_per_second"] < json["predicted"]["decode_tokens_per_second"]);
  CHECK(json["more"]["limit_bytes"] == std::size_t{5} << 30);
  CHECK(json["runner_up"]["seconds"] >= json["predicted"]["seconds"]);
  for (const char* phase : {"prefill", "decode"}) {
    const double share = json["bound_by"][phase]["busy_share"];
    CHECK(share > 0.3);
    CHECK(share <= 1.0);
  }
  const std::size_t smallest = json["smallest_limit_bytes"];
  CHECK(planned({"--vram", std::to_string(smallest)})["less"].is_null());
  check_refusal(with(kOnCard, {"--vram", std::to_string(smallest - 1)}), 4,
                std::to_string(smallest));
}

TEST_CASE("plan: --for throughput chooses how many sequences are worked on at once" *
          doctest::test_suite("slow")) {
  const std::vector<std::string> many = {"--vram", "5GiB", "--sequences",  "100",
                                         "--ctx",  "2048", "--host-cache", "0"};
  const Json json = planned(with(many, {"--for", "throughput"}));
  const std::size_t at_once = json["predicted"]["at_once"];
  CHECK(at_once > 1);
  CHECK(at_once < 100);
  CHECK(json["predicted"]["rounds"] == (100 + at_once - 1) / at_once);
  CHECK(json["plan"]["workload"]["sequences"] == at_once);
  CHECK(json["sequences"] == 100);
  CHECK(has(run(with(with(kOnCard, many), {"--for", "throughput"})).out, "at once in"));
  check_refusal(with(kOnCard, many), 4, "--ctx");
  check_refusal(with(kOnCard, {"--for", "fun"}), 2, "--for");
  const testing::TemporaryFolder folder;
  run({"sweep", "llama-3-8b", "--gpu", "rtx-4090", "--vram", "4GiB,6GiB", "--sequences", "100",
       "--host-cache", "0", "--for", "throughput", "--json", folder / "s.json"});
  const Json sweep = Json::parse(read_file(folder / "s.json"));
  for (const Json& point : sweep["points"]) CHECK(point["rounds"] > 1);
}

TEST_CASE("plan: what was saved is run, and says the same as any other run") {
  const testing::TemporaryFolder folder;
  const std::string plan = folder / "plan.json";
  const std::vector<std::string> prompt = {"-p", "5 6 7 8", "--ids", "--temp", "0", "-q"};
  const std::string truth =
      run(with({"run", tiny_gguf("quants"), "--max-tokens", "9"}, prompt)).out;
  for (const std::vector<std::string>& limits :
       {std::vector<std::string>{"--vram", "80kB", "--place", "ffn.0=host", "--link", "1GB/s"},
        {"--vram", "1MiB", "--sequences", "3"},
        {"--vram", "70kB", "--host-cache", "1"},
        {"--device", "sim"},
        {"--device", "cpu"}}) {
    run(with(
        {"plan", tiny_gguf("quants"), "--prompt-tokens", "8", "--max-tokens", "8", "--save", plan},
        limits));
    const std::string stats = folder / "stats.json";
    CHECK(run(with({"run", tiny_gguf("quants"), "--plan", plan, "--max-tokens", "9", "--stats",
                    stats},
                   prompt))
              .out == truth);
    const Json saved = Json::parse(read_file(plan));
    CHECK(Json::parse(read_file(stats))["device_peak_bytes"] == saved["bytes"]["total"]);
    CHECK(Json::parse(read_file(stats))["slots"] == saved["slots"]);
  }
  run({"plan", "tiny", "--weights", "q4_0", "--device", "sim", "--vram", "1200KiB", "--save", plan,
       "--prompt-tokens", "30", "--max-tokens", "10", "--sequences", "2"});
  const std::vector<std::string> bench = {"bench",           "tiny", "--plan",    plan,
                                          "--prompt-tokens", "20",   "--repeats", "1",
                                          "--max-tokens",    "4",    "-q"};
  CHECK(has(run(with(bench, {"--sequences", "1,2"})).out, "decode"));
  check_refusal(with(bench, {"--sequences", "3"}), 2, "2 sequences of 40 tokens");
}

TEST_CASE("plan: a plan that can't be run is one clear error") {
  const testing::TemporaryFolder folder;
  const std::string plan = folder / "plan.json";
  run({"plan", tiny_gguf("quants"), "--prompt-tokens", "8", "--max-tokens", "8", "--save", plan,
       "--vram", "1MiB"});
  const auto run_refused = [&](const std::vector<std::string>& more, int code,
                               const std::string& part) {
    check_refusal(with({"run", tiny_gguf("quants"), "-p", "5 6 7", "--ids", "--plan", plan}, more),
                  code, part);
  };
  run_refused({"--max-tokens", "14"}, 2, "room for 16");
  run_refused({}, 2, "--max-tokens");
  run_refused({"--slots", "3", "--ctx", "9", "--host-units", "auto"}, 2,
              "--slots, --ctx, --host-units");
  run_refused({"--host-cache", "1"}, 2, "--host-cache");
  run_refused({"--place", "ffn=host", "--resident", "1"}, 2, "--place, --resident");
  run_refused({"--segment", "1", "--kv-types", "f32", "--precision", "high"}, 2,
              "--segment, --kv-types, --precision");
  run_refused({"--device", "cpu"}, 2, "for the device sim");
  run_refused({"--max-tokens", "9", "--vram", "1048575"}, 4, "1048576");
  check_refusal({"run", tiny_gguf("f16"), "-p", "5", "--ids", "--plan", plan}, 3, "another model");
  check_refusal({"run", tiny_gguf("quants"), "-p", "5", "--ids", "--plan", folder / "none.json"}, 5,
                "none.json");
  check_refusal({"run", tiny_gguf("quants"), "-p", "5", "--ids", "--plan", tiny_gguf("quants")}, 3,
                "not JSON");
  const std::string whole = read_file(plan);
  std::ofstream(plan) << whole.substr(0, whole.size() / 2);
  run_refused({}, 3, "not JSON");
  Json forged = Json::parse(whole);
  forged["bytes"]["slots"] = 1;
  std::ofstream(plan) << forged.dump();
  run_refused({}, 3, "slots 1");
  std::ofstream(plan) << "";
  run_refused({}, 3, "plan.json");
  run({"plan", tiny_gguf("quants"), "--gpu", "rtx-4090", "--save", plan});
  if (!built_with_gpu()) run_refused({}, 2, "is for a GPU");
  check_refusal({"plan", tiny_gguf("quants"), "--vram", "1MiB", "--save", "/nowhere/plan.json"}, 5,
                "/nowhere");
}

TEST_CASE("plan: nonsense sizes are one clear error") {
  for (const char* size : {"8G B", "-1", "1e99", "", " ", "8GBB", "0x10", "GiB", "1..2GiB", "nan",
                           "99999999999999999999GiB", "18446744073709551616", "-5%", "1e9%"}) {
    CAPTURE(size);
    for (const char* command : {"plan", "run"}) {
      std::vector<std::string> arguments = {command, tiny_gguf("quants"), "--device", "sim",
                                            std::string("--vram=") + size};
      if (arguments[0] == "run") arguments = with(arguments, {"-p", "a"});
      if (std::string(size).empty()) continue;
      check_refusal(arguments, 2, "--vram");
    }
  }
  check_refusal({"plan", tiny_gguf("quants"), "--vram", "0"}, 4, "smallest");
}
