// What is predicted for passes, laid beside what ran: lanes, traces, pictures, who was late.
#include "cli/timeline.h"

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "cli/lateness.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/read_file.h"
#include "tests/support/reference_data.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/xml.h"

using namespace sluice;
using testing::read_file;
using testing::run_sluice;
using testing::xml_fault;

namespace {

constexpr Workload kWorkload{.prompt_tokens = 40, .max_tokens = 20, .context_tokens = 128};

// A plan that streams most of a small model, and lets the host compute some of it.
struct Streaming {
  explicit Streaming(std::size_t host_units)
      : model(tiny_reference("quants").gguf),
        plan(model.plan(
            kWorkload,
            {.device_bytes = smallest_limit_bytes(model.layout, kWorkload, {.slots = 2}) + 40'000,
             .slots = 2,
             .host_computes = true,
             .host_units = host_units})),
        hardware(test_hardware()),
        predictor(model.layout, plan, hardware) {}

  TestModel model;
  Plan plan;
  Hardware hardware;
  PassPredictor predictor;
};

void check_in_order(const Timeline& timeline) {
  std::array<double, kLaneCount> free;
  free.fill(-1e300);
  for (const TraceEntry& e : timeline.entries) {
    double& lane = free[static_cast<std::size_t>(e.lane)];
    REQUIRE(e.span.begin_seconds >= lane);
    REQUIRE(e.span.end_seconds > e.span.begin_seconds);
    lane = e.span.end_seconds;
  }
}

// With one layer's cache in host memory, where the host attends; or the device, through a slot.
void check_trace(const std::string& cache_slots) {
  CAPTURE(cache_slots);
  const testing::TemporaryFolder folder;
  const testing::ProgramResult result = run_sluice({"run",
                                                    tiny_reference("quants").gguf,
                                                    "--ids",
                                                    "-p",
                                                    "1 2 3 4 5 6 7 8 9",
                                                    "--max-tokens",
                                                    "6",
                                                    "--ignore-eos",
                                                    "--vram",
                                                    "90kB",
                                                    "--link",
                                                    "1GB/s,5us",
                                                    "--segment",
                                                    "4",
                                                    "--host-units",
                                                    "1",
                                                    "--host-cache",
                                                    "1",
                                                    "--cache-slots",
                                                    cache_slots,
                                                    "--trace",
                                                    folder / "t.json",
                                                    "--stats",
                                                    folder / "s.json",
                                                    "--timeline",
                                                    folder / "t.svg"});
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  const auto trace = nlohmann::json::parse(read_file(folder / "t.json"));
  const auto stats = nlohmann::json::parse(read_file(folder / "s.json"));
  std::map<int, std::string> processes;
  std::map<std::pair<int, int>, std::string> threads;
  std::map<std::pair<int, int>, double> free;
  std::map<std::string, std::size_t> spans;
  std::vector<nlohmann::json> sizes;
  for (const auto& event : trace["traceEvents"]) {
    const std::pair<int, int> place{event["pid"], event["tid"]};
    if (event["name"] == "process_name") processes[place.first] = event["args"]["name"];
    if (event["name"] == "thread_name") threads[place] = event["args"]["name"];
    if (event["ph"] != "X") continue;
    CHECK(event["dur"] >= 0.0);
    if (threads[place] == "passes" && place.first == 1) sizes.push_back(event["args"]);
    // Pages come back on a stream of their own, whose thread may wake late.
    const bool two_streams = cache_slots != "0" && threads[place] == "link down";
    if (!two_streams) CHECK(event["ts"] >= free[place] - 1e-3);  // us
    free[place] = event["ts"].get<double>() + event["dur"].get<double>();
    ++spans[processes[place.first] + " " + threads[place]];
    const std::string name = event["name"];
    const bool by_host = threads[place] == "host" && name.find("attention") != std::string::npos;
    const bool in_slot = threads[place] == "compute" && name.starts_with("attending in layer");
    if (by_host || in_slot) ++spans[processes[place.first] + " attended"];
  }
  for (const char* process : {"measured", "predicted"}) {
    for (const char* lane : {"passes", "compute", "link up", "link down", "host"}) {
      CAPTURE(process);
      CAPTURE(lane);
      CHECK(spans[std::string(process) + " " + lane] > 0);
    }
    CHECK(spans[std::string(process) + " passes"] == stats["passes"]);
    CHECK(spans[std::string(process) + " attended"] == stats["passes"]);  // in one layer
  }
  // The prompt of 9 tokens in segments of 4, then one token after the other.
  REQUIRE(sizes.size() == 8);
  const std::size_t tokens[] = {4, 4, 1, 1, 1, 1, 1, 1};
  const std::size_t keys[] = {3, 7, 9, 10, 11, 12, 13, 14};  // as the tokens see on average
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    CHECK(sizes[i]["tokens"] == tokens[i]);
    CHECK(sizes[i]["keys"] == keys[i]);
    CHECK(sizes[i]["logits"] == (i < 2 ? 0 : 1));
  }
  CHECK(spans["measured compute"] == spans["predicted compute"]);
  CHECK(stats["decode_pass_lanes"].size() == 4);
  CHECK(stats["decode_passes"] == 5);
  CHECK(stats.contains("late_lane"));
  const std::string svg = read_file(folder / "t.svg");
  CHECK(xml_fault(svg) == "");
  CHECK(svg.find(">measured: ") < svg.find(">predicted: "));
  CHECK(svg.find("One decode pass of ") != std::string::npos);
}

}  // namespace

TEST_CASE("timeline: predicted spans are in order in each lane, whatever passes ran when") {
  const Streaming streaming(1);
  REQUIRE(streaming.plan.host_tokens() > 0);
  std::mt19937 random(9);
  for (int round = 0; round < 50; ++round) {
    std::vector<TracedPass> ran;
    double now = 1.0;
    for (int i = 0; i < 12; ++i) {
      const std::size_t tokens = random() % 2 == 0 ? 1 : 1 + random() % 40;
      const double seconds = 1e-6 * static_cast<double>(random() % 20'000);
      ran.push_back({{tokens, 1 + random() % 100, random() % 2, 1}, {now, now + seconds}});
      now += seconds;
    }
    const Timeline timeline = streaming.predictor.of(ran);
    check_in_order(timeline);
    REQUIRE(timeline.passes.size() == ran.size());
    CHECK(timeline.passes.front().span.begin_seconds == ran.front().span.begin_seconds);
    for (std::size_t i = 0; i < ran.size(); ++i) {
      CHECK(timeline.passes[i].span.begin_seconds >= ran[i].span.begin_seconds);
      if (i > 0) {
        CHECK(timeline.passes[i].span.begin_seconds >= timeline.passes[i - 1].span.end_seconds);
      }
    }
  }
}

TEST_CASE("timeline: a predicted pass holds one pass's worth of copies and computation") {
  for (const std::size_t host_units : {0, 1}) {
    const Streaming streaming(host_units);
    const PassSize size = decode_pass_size(streaming.plan);
    const Timeline pass = streaming.predictor.pass(size);
    check_in_order(pass);
    const LaneSeconds seconds = lane_seconds(pass.entries, pass.passes.front().span);
    const Schedule schedule = make_schedule(streaming.model.layout, streaming.plan);
    double copies = 0.0;
    double computing = 0.0;
    std::size_t by_host = 0;
    for (const Step& step : pass_steps(streaming.model.layout, streaming.plan, schedule,
                                       streaming.plan.route_of(size.tokens), true)) {
      const Piece& piece = schedule.pieces[step.piece];
      const LinkSpeed& link = streaming.hardware.to_device;
      if (step.kind == StepKind::kCopy) {
        copies +=
            link.latency_seconds + static_cast<double>(piece.size_bytes) / link.bytes_per_second;
      }
      if (step.kind == StepKind::kCompute) {
        computing += predict_piece(streaming.model.layout, streaming.hardware.device,
                                   streaming.plan.kv.type, piece, size)
                         .alone();
      }
      by_host += step.kind == StepKind::kHost ? 1 : 0;
    }
    CHECK(by_host == host_units);
    const auto in = [&](Lane lane) { return seconds[static_cast<std::size_t>(lane)]; };
    CHECK(in(Lane::kLink) == doctest::Approx(copies).epsilon(1e-6));
    CHECK(in(Lane::kCompute) >= 0.999999 * computing);
    CHECK((in(Lane::kHost) > 0.0) == (host_units > 0));
    CHECK(in(Lane::kLinkDown) > 0.0);  // logits
  }
}

TEST_CASE("timeline: of the passes that ran, a decode pass of median length is shown") {
  const auto pass = [](std::size_t tokens, double seconds) {
    return TracedPass{{tokens, 10, 1, 1}, {0.0, seconds}};
  };
  CHECK(typical_decode_pass({pass(40, 9.0)}).size.tokens == 40);
  CHECK(typical_decode_pass({pass(40, 9.0), pass(1, 5.0)}).span.end_seconds == 5.0);
  const TracedPass shown =
      typical_decode_pass({pass(40, 9.0), pass(1, 50.0), pass(1, 3.0), pass(1, 1.0), pass(1, 2.0)});
  CHECK(shown.span.end_seconds == 2.0);
}

TEST_CASE("lateness: the lane that took longer is named, and none where passes kept their time") {
  Plan plan;
  plan.predicted.decode_pass_seconds = 0.010;
  RunFigures figures;
  CHECK(!find_lateness(figures, plan));
  figures.decode_passes = 10;
  figures.decode_seconds = 0.124;
  CHECK(!find_lateness(figures, plan));
  figures.decode_seconds = 0.150;
  const auto lane = [](Lane of) { return static_cast<std::size_t>(of); };
  figures.predicted_decode_lanes[lane(Lane::kLink)] = 0.009;
  figures.predicted_decode_lanes[lane(Lane::kCompute)] = 0.004;
  figures.decode_lanes[lane(Lane::kLink)] = 0.091;
  figures.decode_lanes[lane(Lane::kCompute)] = 0.085;
  auto late = find_lateness(figures, plan);
  REQUIRE(late);
  REQUIRE(late->lane != nullptr);
  CHECK(late->lane->lane == Lane::kCompute);
  CHECK(print_lateness(*late).find("50 % longer than predicted: compute was busy for 8.50 ms, "
                                   "predicted 4.00") != std::string::npos);
  figures.decode_lanes[lane(Lane::kLink)] = 0.140;
  CHECK(find_lateness(figures, plan)->lane->lane == Lane::kLink);
  figures.decode_lanes = {};
  CHECK(print_lateness(*find_lateness(figures, plan)).find("--timeline") != std::string::npos);
  figures.decode_lanes[lane(Lane::kLink)] = 0.090;
  late = find_lateness(figures, plan);
  REQUIRE(late);
  CHECK(late->lane == nullptr);
  CHECK(print_lateness(*late).find("no lane") != std::string::npos);
}

TEST_CASE("sluice run: a trace has what was measured and what was predicted, in order") {
  for (const char* cache_slots : {"0", "1"}) check_trace(cache_slots);
}

TEST_CASE("sluice: draws a pass of any device and workload") {
  const testing::TemporaryFolder folder;
  const std::string model = tiny_reference("f32").gguf;
  const std::vector<std::vector<std::string>> runs = {
      {"run", model, "--ids", "-p", "1 2 3", "--max-tokens", "1"},
      {"run", model, "--ids", "-p", "1 2 3", "--max-tokens", "3", "--device", "cpu"},
      {"plan", model},
      {"plan", model, "--vram", "1400kB", "--link", "1GB/s", "--sequences", "3"}};
  for (std::vector<std::string> arguments : runs) {
    CAPTURE(arguments);
    arguments.insert(arguments.end(), {"--timeline", folder / "t.svg"});
    const testing::ProgramResult result = run_sluice(arguments);
    CAPTURE(result.err);
    REQUIRE(result.exit_code == 0);
    const std::string svg = read_file(folder / "t.svg");
    CHECK(xml_fault(svg) == "");
    CHECK(svg.find(">compute<") != std::string::npos);
    CHECK((svg.find(">measured: ") != std::string::npos) == (arguments[0] == "run"));
  }
  CHECK(run_sluice({"plan", model, "--timeline", "/dev/full"}).exit_code == 5);
}
