// sluice synth from outside, and its files in the engine.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "cli/memory_model.h"
#include "cli/output_file.h"
#include "cli/synthetic_model.h"
#include "cli/tokenizer.h"
#include "layers/weights.h"
#include "tests/support/expect_error.h"
#include "tests/support/read_file.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;
using testing::check_refusal;
using testing::read_file;
using testing::run_sluice;

namespace {

std::size_t files_in(const std::filesystem::path& folder) {
  const std::filesystem::directory_iterator begin(folder);
  return static_cast<std::size_t>(std::distance(begin, std::filesystem::directory_iterator{}));
}

testing::ProgramResult synth_tiny(const std::string& file, const std::string& type,
                                  const std::string& seed = "1") {
  return run_sluice({"synth", "tiny", "--weights", type, "-o", file, "--seed", seed, "-q"});
}

}  // namespace

TEST_CASE("synth: a file of every type is planned and run" * doctest::test_suite("slow")) {
  const testing::TemporaryFolder folder;
  for (const DType type : kAllDTypes) {
    const std::string name(dtype_info(type).name);
    CAPTURE(name);
    const std::string file = folder / (name + ".gguf");
    const testing::ProgramResult made = synth_tiny(file, name);
    CHECK(made.exit_code == 0);
    CHECK(made.err.empty());
    CHECK(run_sluice({"plan", file, "--vram", "2MiB", "--prompt-tokens", "8", "--max-tokens", "8"})
              .exit_code == 0);
    const testing::ProgramResult ran =
        run_sluice({"run", file, "--raw", "-p", "a", "--max-tokens", "4", "--ignore-eos",
                    "--logits", folder / "l.npy"});
    CAPTURE(ran.err);
    CHECK(ran.exit_code == 0);
    const std::string npy = read_file(folder / "l.npy");
    REQUIRE(npy.size() == 128 + 4 * 512 * sizeof(float));
    double squares = 0.0;
    for (std::size_t at = 128; at < npy.size(); at += sizeof(float)) {
      float logit = 0.0f;
      std::memcpy(&logit, npy.data() + at, sizeof(logit));
      squares += static_cast<double>(logit) * logit;
    }
    CHECK(std::sqrt(squares / (4 * 512)) == doctest::Approx(1.0).epsilon(0.3));
  }
}

TEST_CASE("synth: the same seed gives the same file on any number of threads, another seed not") {
  const testing::TemporaryFolder folder;
  synth_tiny(folder / "a", "q4_k");
  CHECK(run_sluice({"synth", "tiny", "--weights", "Q4_K", "-o", folder / "b", "--threads", "1"})
            .exit_code == 0);
  synth_tiny(folder / "c", "q4_k", "2");
  CHECK(read_file(folder / "a") == read_file(folder / "b"));
  CHECK(read_file(folder / "a") != read_file(folder / "c"));
}

TEST_CASE("synth: layers that aren't drawn have the bytes of those that are, and no place") {
  const SyntheticModel all(*find_shape("tiny"), DType::kQ4_0, 1);
  const SyntheticModel one(*find_shape("tiny"), DType::kQ4_0, 1, 1);
  CHECK(one.file_bytes() < all.file_bytes());
  CHECK(one.weight_bytes() == all.weight_bytes());
  const MemoryModel memory(one, {}, nullptr);
  const auto refused = testing::failure_of([&] { ModelFile::open(memory.path()); });
  CHECK(refused.says("within tensor"));
  const ModelFile file = ModelFile::open(memory.path(), Overlaps::kAllowed);
  const auto bytes = [&](const char* name) { return file.tensor_bytes(file.tensor(name)); };
  for (const char* end : {"attn_norm.weight", "attn_k.weight", "ffn_down.weight"}) {
    CAPTURE(end);
    CHECK(bytes(("blk.1." + std::string(end)).c_str()).data() ==
          bytes(("blk.0." + std::string(end)).c_str()).data());
  }
  CHECK(bytes("output_norm.weight").data() != bytes("blk.0.attn_norm.weight").data());
}

TEST_CASE("synth: every byte has its token, and the vocabulary is as long as the embedding") {
  const testing::TemporaryFolder folder;
  synth_tiny(folder / "m", "f16");
  const ModelFile file = ModelFile::open(folder / "m");
  const auto tokenizer = Tokenizer::make(file);
  CHECK(tokenizer->vocab_size() == describe_model(file).config.vocab);
  std::string bytes;
  for (int byte = 1; byte < 256; ++byte) bytes += static_cast<char>(byte);
  const std::vector<Token> tokens = tokenizer->encode(bytes, {});
  CHECK(tokens.size() == 255);
  CHECK(tokenizer->decode(tokens, false) == bytes);
}

TEST_CASE("synth: what can't be done is one line and leaves nothing") {
  const testing::TemporaryFolder folder;
  check_refusal({"synth", "gpt-9", "-o", folder / "m"}, 2, "smollm2-135m");
  check_refusal({"synth", "tiny", "--weights", "q3", "-o", folder / "m"}, 2, "Q3_K");
  check_refusal({"synth", "tiny"}, 2, "--output");
  check_refusal({"synth", "tiny", "-o", "/dev/full", "-q"}, 5, "/dev/full");
  check_refusal({"synth", "tiny", "-o", "/nowhere/m"}, 5, "/nowhere/m");
  CHECK(files_in(folder.path()) == 0);
}

TEST_CASE("output file: a disk without room is told before anything is written") {
  const testing::TemporaryFolder folder;
  {
    OutputFile file(folder / "m");
    file.require_space(1);
    const auto failure = testing::failure_of([&] { file.require_space(std::size_t{1} << 60); });
    CHECK(failure.kind == ErrorKind::kIo);
    CHECK(failure.says("free"));
  }
  CHECK(files_in(folder.path()) == 0);
}

TEST_CASE("synth: Ctrl-C leaves nothing") {
  const testing::TemporaryFolder folder;
  const testing::ProgramResult result = run_sluice(
      {"synth", "llama-3-8b", "-o", folder / "m", "--threads", "1"},
      {.interrupt_when = [&](const std::string&) { return files_in(folder.path()) > 0; }});
  CHECK(result.exit_code == 130);
  CHECK(files_in(folder.path()) == 0);
}

TEST_CASE("synthetic model: shapes have the sizes that their models have") {
  const auto weights = [](const char* name, DType type) {
    return static_cast<double>(SyntheticModel(*find_shape(name), type, 1).file_bytes());
  };
  CHECK(weights("smollm2-135m", DType::kF16) == doctest::Approx(2 * 134.5e6).epsilon(0.01));
  CHECK(weights("tinyllama-1.1b", DType::kF16) == doctest::Approx(2 * 1.1e9).epsilon(0.01));
  CHECK(weights("llama-3-8b", DType::kF16) == doctest::Approx(2 * 8.03e9).epsilon(0.01));
  CHECK(weights("llama-2-70b", DType::kF16) == doctest::Approx(2 * 68.98e9).epsilon(0.01));
  CHECK(weights("llama-3-70b", DType::kF16) == doctest::Approx(2 * 70.55e9).epsilon(0.01));
  CHECK(weights("tinyllama-1.1b", DType::kQ4_0) == doctest::Approx(637e6).epsilon(0.01));
}
