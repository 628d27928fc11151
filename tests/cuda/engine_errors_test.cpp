// What goes wrong with a GPU, each by one Error, with nothing left behind.
#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "memory/cuda/device_cuda.h"
#include "memory/host_store.h"
#include "memory/units.h"
#include "offload/engine.h"
#include "tests/cuda/engine_fixture_cuda.h"
#include "tests/support/expect_error.h"

using namespace sluice;
using namespace sluice::testing;

namespace {

constexpr std::size_t kPrompt = 20;
constexpr std::size_t kFewGenerated = 3;

// The f32 model, at the smallest limit: everything is streamed, and prompts are one pass.
struct Run {
  Run() : model(tiny_reference("f32").gguf), prompt(prompt_of(tiny_reference("f32"), kPrompt)) {}

  // Opens the GPU, loads, and generates.
  Generated run(std::string* warning = nullptr) const {
    const std::unique_ptr<Gpu> gpu = open_gpu(0);
    PlanLimits limits = limits_on(*gpu);
    limits.segment_tokens = kPrompt;
    const Workload workload = generating(kPrompt, kFewGenerated);
    limits.device_bytes = smallest_limit_bytes(model.layout, workload, limits);
    const Plan plan = model.plan(workload, limits);
    Engine engine(model.file, model.layout, plan, gpu->device(), gpu->ops(), {});
    if (warning != nullptr) *warning = engine.warning();
    return generate(engine, prompt, kFewGenerated);
  }

  Generated on_sim() const {
    TestEngine test(model, model.plan(generating(kPrompt, kFewGenerated), {}));
    return generate(test.engine, prompt, kFewGenerated);
  }

  TestModel model;
  std::vector<std::int32_t> prompt;
};

Failure opening(const fake_cuda::Machine& machine, int index = 0) {
  fake_cuda::reset(machine);
  const Failure failure = failure_of([&] { open_gpu(index); });
  check_clean();
  return failure;
}

struct Injected {
  const char* call;
  cudaError_t error;
  const char* words;  // that the message must have, beside the error's
  std::size_t skips;  // the latest call that is tried
};

}  // namespace

TEST_CASE("errors of a GPU: without a driver, or with one that is too old, it says so") {
  const Failure none = opening({.driver_version = 0});
  CHECK(none.kind == ErrorKind::kDevice);
  CHECK(none.says("no NVIDIA driver"));
  CHECK(none.says("--device cpu"));
  const Failure old = opening({.driver_version = 11080});
  CHECK(old.kind == ErrorKind::kDevice);
  CHECK(old.says("too old"));
  CHECK(old.says("11.8"));
  CHECK(old.says(text(CUDART_VERSION / 1000, ".", CUDART_VERSION % 1000 / 10)));
}

TEST_CASE("errors of a GPU: one that isn't there is refused, by its number") {
  const Failure none = opening({.devices = 0});
  CHECK(none.kind == ErrorKind::kDevice);
  CHECK(none.says("no GPU"));
  for (const int index : {2, 7, -1}) {
    const Failure wrong = opening({.devices = 2}, index);
    CHECK(wrong.kind == ErrorKind::kUsage);
    CHECK(wrong.says(text("--gpu ", index)));
    CHECK(wrong.says("has 2"));
  }
}

TEST_CASE("errors of a GPU: memory that others have taken is refused with what is left") {
  const Run run;
  // The context fits, the reservation doesn't.
  fake_cuda::reset({.total_bytes = 256_MiB});
  const Failure failure = failure_of([&] {
    const std::unique_ptr<Gpu> gpu = open_gpu(0);
    const Plan plan = run.model.plan(generating(kPrompt, kFewGenerated), limits_on(*gpu));
    fake_cuda::set_others_bytes(gpu->free_bytes());
    const Engine engine(run.model.file, run.model.layout, plan, gpu->device(), gpu->ops(), {});
  });
  CHECK(failure.kind == ErrorKind::kOverBudget);
  CHECK(failure.says("0 B free"));
  CHECK(failure.says("--vram"));
  check_clean();
  // Not even the context fits.
  fake_cuda::reset({.total_bytes = 256_MiB, .others_bytes = 240_MiB});
  const Failure context = failure_of([] { open_gpu(0); });
  CHECK(context.kind == ErrorKind::kDevice);
  CHECK(context.says("out of memory"));
  check_clean();
}

TEST_CASE("errors of a GPU: what can't be pinned is copied all the same, with a warning") {
  const Run run;
  const Generated truth = run.on_sim();
  for (const std::size_t pinnable : {std::size_t{0}, 64_KiB, 256_KiB}) {
    CAPTURE(pinnable);
    // Copies from memory that isn't pinned are what the warning is about.
    fake_cuda::reset({.pinnable_total_bytes = pinnable, .allow_pageable = true, .seed = 3});
    std::string warning;
    const Generated got = run.run(&warning);
    CHECK(got.tokens == truth.tokens);
    CAPTURE(warning);
    CHECK(warning.find("could be pinned") != std::string::npos);
    CHECK(warning.find("out of memory") != std::string::npos);
    CHECK(warning.find("ulimit -l") != std::string::npos);
    check_clean();
  }
}

TEST_CASE("errors of a GPU: whichever call fails, there is one Error and nothing is left") {
  const Run run;
  const std::vector<Injected> all = {
      {"cudaGetDeviceCount", cudaErrorUnknown, "unknown error", 0},
      {"cudaSetDevice", cudaErrorDevicesUnavailable, "busy or unavailable", 0},
      {"cudaMemGetInfo", cudaErrorUnknown, "unknown error", 2},
      {"cudaGetDeviceProperties", cudaErrorUnknown, "unknown error", 0},
      {"cudaMalloc", cudaErrorMemoryAllocation, "--vram", 0},
      {"cudaMalloc", cudaErrorUnknown, "unknown error", 0},
      {"cudaStreamCreateWithFlags", cudaErrorUnknown, "unknown error", 2},
      {"cudaEventCreateWithFlags", cudaErrorUnknown, "unknown error", 3},
      {"cudaMemcpyAsync", cudaErrorInvalidValue, "invalid argument", 5},
      {"cudaMemcpyAsync", cudaErrorLaunchFailure, "launch failure", 30},
      {"cudaEventRecord", cudaErrorUnknown, "unknown error", 3},
      {"cudaStreamWaitEvent", cudaErrorUnknown, "unknown error", 3},
      {"cudaLaunchKernel", cudaErrorInvalidConfiguration, "invalid configuration", 3},
      {"cudaLaunchKernel", cudaErrorIllegalAddress, "illegal memory access", 40},
      {"cublasGemmEx", cudaErrorUnknown, "cuBLAS", 1},
  };
  for (const Injected& injected : all) {
    for (std::size_t skip = 0; skip <= injected.skips; skip += skip < 5 ? 1 : 11) {
      CAPTURE(std::string(injected.call));
      CAPTURE(static_cast<int>(injected.error));
      CAPTURE(skip);
      fake_cuda::reset({.seed = 1 + skip});
      fake_cuda::fail_call(injected.call, injected.error, skip);
      const Failure failure = failure_of([&] { run.run(); });
      CAPTURE(failure.message);
      CHECK(failure.says(injected.words));
      check_clean();
    }
  }
}

TEST_CASE("errors of a GPU: a registration that fails is a warning, not an Error") {
  const Run run;
  const Generated truth = run.on_sim();
  for (std::size_t skip = 0; skip < 2; ++skip) {
    CAPTURE(skip);
    fake_cuda::reset({.allow_pageable = true});
    fake_cuda::fail_call("cudaHostRegister", cudaErrorOperatingSystem, skip);
    std::string warning;
    CHECK(run.run(&warning).tokens == truth.tokens);
    CAPTURE(warning);
    // A smaller piece is tried next, where one can be.
    CHECK((warning.empty() || warning.find("could be pinned") != std::string::npos));
    check_clean();
  }
}

TEST_CASE(
    "errors of a GPU: memory pinned in pieces is copied over their bounds, as far as it goes") {
  constexpr std::size_t kBytes = 72_MiB;
  for (const std::size_t total : {kBytes, 40_MiB}) {
    CAPTURE(total);
    fake_cuda::reset({.pinnable_bytes = 20_MiB,
                      .pinnable_total_bytes = total,
                      .allow_pageable = total < kBytes});
    {
      DeviceCuda device(0);
      HostStore host(kBytes);
      for (std::size_t i = 0; i < kBytes; ++i) host.data()[i] = static_cast<std::byte>(i >> 16);
      const std::string warning = host.pin(device);
      CAPTURE(warning);
      CHECK(warning.empty() == (total == kBytes));
      std::byte* there = device.reserve(kBytes);
      const std::unique_ptr<Stream> stream = device.make_stream("copies");
      const std::unique_ptr<Event> done = device.make_event();
      device.copy(*stream, Direction::kToDevice, there, host.data() + 5, kBytes - 5);
      stream->record(*done);
      done->synchronize();
      CHECK(std::memcmp(there, host.data() + 5, kBytes - 5) == 0);
    }
    check_clean();
  }
}
