#include <doctest/doctest.h>

#include <cmath>
#include <fstream>

#include "tests/support/reference_data.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;
using testing::run_sluice;

namespace {

// From Transformers' logits: nats a token over windows, each token but the first predicted.
double reference_nats(const TinyReference& r, std::size_t window_tokens) {
  double nats = 0.0;
  std::size_t count = 0;
  for (std::size_t t = 0; t + 1 < r.ids.size() && t + 1 < window_tokens; ++t) {
    const float* logits = r.logits.data() + t * r.vocab;
    double total = 0.0;
    for (std::size_t i = 0; i < r.vocab; ++i) total += std::exp(static_cast<double>(logits[i]));
    nats += std::log(total) - logits[r.ids[t + 1]];
    ++count;
  }
  return nats / static_cast<double>(count);
}

}  // namespace

TEST_CASE("sluice perplexity: is what Transformers' logits give, at any limit") {
  const testing::TemporaryFolder folder;
  const TinyReference& reference = tiny_reference("f32");
  const std::string ids = folder / "ids";
  {
    std::ofstream out(ids);
    for (const std::int32_t id : reference.ids) out << id << '\n';
  }
  const std::vector<std::vector<std::string>> variants = {
      {}, {"--ctx", "40"}, {"--vram", "400KiB", "--ctx", "64"}, {"--segment", "7"}};
  std::string first;
  for (const auto& variant : variants) {
    std::vector<std::string> arguments = {"perplexity", reference.gguf, ids, "--ids"};
    arguments.insert(arguments.end(), variant.begin(), variant.end());
    const testing::ProgramResult result = run_sluice(arguments);
    CAPTURE(result.err);
    CHECK(result.exit_code == 0);
    REQUIRE(result.out.find('\n') != std::string::npos);
    const double nats = std::stod(result.out.substr(result.out.find('\n') + 1));
    CHECK(nats == doctest::Approx(reference_nats(reference, 512)).epsilon(1e-5));
    if (first.empty()) first = result.out.substr(0, result.out.find("windows"));
    CHECK(result.out.substr(0, first.size()) == first);  // to the last digit
  }
  const testing::ProgramResult quiet =
      run_sluice({"perplexity", reference.gguf, ids, "--ids", "--quiet"});
  CHECK(quiet.out.starts_with(first));
  CHECK(quiet.err.empty());
  CHECK(run_sluice({"perplexity", reference.gguf, folder / "nothing"}).exit_code == 5);
  CHECK(run_sluice({"perplexity", reference.gguf, ids, "--ids", "--ctx", "1"}).exit_code == 2);
}
