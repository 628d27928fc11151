#include <doctest/doctest.h>

#include <filesystem>

#include "tests/support/engine_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/reference_data.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;

TEST_CASE("loader: a file that becomes shorter after it was opened is one clear error") {
  const testing::TemporaryFolder folder;
  const std::filesystem::path copy = folder / "m.gguf";
  std::filesystem::copy_file(tiny_reference("quants").gguf, copy);
  const TestModel model(copy);
  const Workload workload{.prompt_tokens = 4, .max_tokens = 4, .context_tokens = 8};
  for (const bool resident : {false, true}) {
    const Plan plan = model.plan(workload, {.in_place = !resident});
    const auto load = [&] { TestEngine(model, plan, {}, !resident); };
    std::filesystem::resize_file(copy, model.file.file_bytes());
    load();
    for (const std::size_t left : {std::size_t{0}, model.file.file_bytes() / 2}) {
      CAPTURE(left);
      std::filesystem::resize_file(copy, left);
      const testing::Failure failure = testing::failure_of(load);
      CHECK(failure.kind == ErrorKind::kIo);
      CHECK(failure.says("shorter"));
    }
  }
}
