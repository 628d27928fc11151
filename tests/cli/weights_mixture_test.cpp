#include "cli/weights_mixture.h"

#include <doctest/doctest.h>

#include <map>

#include "cli/memory_model.h"
#include "layers/weights.h"
#include "memory/model_file.h"
#include "memory/units.h"
#include "tests/support/expect_error.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;

namespace {

// How many tensors a file has of each type.
std::map<DType, std::size_t> tensors_by_type(const char* shape, const char* weights) {
  const MemoryModel memory(SyntheticModel(*find_shape(shape), parse_weights(weights), 1),
                           MemoryModel::HeaderOnly{});
  const ModelFile file = ModelFile::open(memory.path());
  std::map<DType, std::size_t> counts;
  for (const TensorInfo& tensor : file.tensors()) ++counts[tensor.type];
  return counts;
}

using Counts = std::map<DType, std::size_t>;
using enum DType;

double gigabytes(const char* shape, const char* weights) {
  return static_cast<double>(
             SyntheticModel(*find_shape(shape), parse_weights(weights), 1).file_bytes()) /
         1e9;
}

}  // namespace

// As llama.cpp tells of such files when it loads them (Q3_K_M, Q4_K_M, Q5_K_M), and as the rules of
// its quantiser come to.
TEST_CASE("weights mixture: an 8B model has as many tensors of each type as its files have") {
  CHECK(tensors_by_type("llama-3-8b", "q4_k_m") == Counts{{kF32, 65}, {kQ4_K, 193}, {kQ6_K, 33}});
  CHECK(tensors_by_type("llama-3-8b", "q5_k_m") == Counts{{kF32, 65}, {kQ5_K, 193}, {kQ6_K, 33}});
  CHECK(tensors_by_type("llama-3-8b", "q3_k_m") ==
        Counts{{kF32, 65}, {kQ3_K, 129}, {kQ4_K, 92}, {kQ5_K, 4}, {kQ6_K, 1}});
  CHECK(tensors_by_type("llama-3-8b", "q4_k_s") ==
        Counts{{kF32, 65}, {kQ4_K, 217}, {kQ5_K, 8}, {kQ6_K, 1}});
  CHECK(tensors_by_type("llama-3-8b", "q2_k") ==
        Counts{{kF32, 65}, {kQ2_K, 129}, {kQ3_K, 64}, {kQ4_K, 32}, {kQ6_K, 1}});
}

// Of 80 layers the first and last ten have more bits, and 20 between: 40 values and 40 ways down
// in Q6_K with the head; the other values are Q5_K, as 70B models have it.
TEST_CASE("weights mixture: a 70B model's values have five bits at least") {
  CHECK(tensors_by_type("llama-3-70b", "q4_k_m") ==
        Counts{{kF32, 161}, {kQ4_K, 441}, {kQ5_K, 40}, {kQ6_K, 81}});
  const ModelShape& shape = *find_shape("llama-3-70b");
  const WeightsMixture q4_k_m = parse_weights("Q4_K_M");
  const auto value = [&](std::size_t layer) {
    return q4_k_m.type_of(MatrixRole::kValue, layer, 8192, shape);
  };
  CHECK(value(0) == kQ6_K);
  CHECK(value(9) == kQ6_K);
  CHECK(value(10) == kQ5_K);
  CHECK(value(12) == kQ6_K);
  CHECK(value(68) == kQ5_K);
  CHECK(value(70) == kQ6_K);
  CHECK(q4_k_m.type_of(MatrixRole::kDown, 10, 28672, shape) == kQ4_K);
  CHECK(q4_k_m.type_of(MatrixRole::kDown, 79, 28672, shape) == kQ6_K);
  CHECK(parse_weights("q3_k_m").type_of(MatrixRole::kValue, 40, 8192, shape) == kQ5_K);
  CHECK(parse_weights("q2_k").type_of(MatrixRole::kValue, 40, 8192, shape) == kQ5_K);
}

// Sizes of published files, as their pages state them.
TEST_CASE("weights mixture: models have the sizes of their files") {
  CHECK(gigabytes("llama-3-70b", "q4_k_m") == doctest::Approx(42.5).epsilon(0.02));
  CHECK(gigabytes("llama-3-70b", "q5_k_m") == doctest::Approx(49.9).epsilon(0.02));
  CHECK(gigabytes("llama-3-70b", "q4_k_s") == doctest::Approx(40.3).epsilon(0.02));
  CHECK(gigabytes("llama-3-70b", "q3_k_m") == doctest::Approx(34.3).epsilon(0.02));
  CHECK(gigabytes("llama-3-70b", "q2_k") == doctest::Approx(26.4).epsilon(0.02));
  CHECK(gigabytes("llama-2-70b", "q4_k_m") == doctest::Approx(41.4).epsilon(0.02));
  CHECK(gigabytes("llama-3-8b", "q4_k_m") == doctest::Approx(4.92).epsilon(0.02));
  CHECK(gigabytes("mistral-7b", "q4_k_m") == doctest::Approx(4.37).epsilon(0.02));
  CHECK(gigabytes("llama-3.2-1b", "q4_k_m") == doctest::Approx(0.808).epsilon(0.02));
  CHECK(gigabytes("llama-3.2-3b", "q4_k_m") == doctest::Approx(2.02).epsilon(0.02));
}

TEST_CASE("weights mixture: a tied embedding is the head, and narrow rows take what fits them") {
  CHECK(WeightsMixture(Mixture::kQ4_K_M).embedding_type(*find_shape("llama-3.2-1b")) == kQ6_K);
  CHECK(WeightsMixture(Mixture::kQ4_K_M).embedding_type(*find_shape("llama-3-8b")) == kQ4_K);
  const ModelShape& narrow = *find_shape("smollm2-135m");  // rows of 576, of 1536 on the way down
  const WeightsMixture q4_k_m = parse_weights("q4_k_m");
  CHECK(q4_k_m.type_of(MatrixRole::kQuery, 0, 576, narrow) == kQ5_0);
  CHECK(q4_k_m.type_of(MatrixRole::kValue, 0, 576, narrow) == kQ8_0);
  CHECK(q4_k_m.type_of(MatrixRole::kHead, 30, 576, narrow) == kQ8_0);
  CHECK(q4_k_m.type_of(MatrixRole::kDown, 0, 1536, narrow) == kQ6_K);
}

TEST_CASE("weights mixture: layers that aren't drawn share bytes of their own types only") {
  const ModelShape& shape = *find_shape("llama-3.2-1b");
  const SyntheticModel few(shape, parse_weights("q4_k_m"), 1, 3);
  const SyntheticModel all(shape, parse_weights("q4_k_m"), 1);
  CHECK(few.weight_bytes() == all.weight_bytes());
  CHECK(few.file_bytes() < all.file_bytes());
  const MemoryModel memory(few, MemoryModel::HeaderOnly{});
  const ModelFile file = ModelFile::open(memory.path(), Overlaps::kAllowed);
  std::map<std::size_t, const TensorInfo*> at;
  for (const TensorInfo& tensor : file.tensors()) {
    const auto [found, fresh] = at.emplace(tensor.begin_bytes, &tensor);
    CAPTURE(tensor.name);
    CHECK(found->second->type == tensor.type);
    CHECK(found->second->size_bytes == tensor.size_bytes);
  }
}

TEST_CASE("weights mixture: a model of one is written, planned and run") {
  const testing::TemporaryFolder folder;
  const std::string file = folder / "m.gguf";
  CHECK(testing::run_sluice({"synth", "tiny", "--weights", "q4_k_m", "-o", file, "-q"}).exit_code ==
        0);
  CHECK(
      testing::run_sluice({"run", file, "--raw", "-p", "a", "--max-tokens", "4", "-q"}).exit_code ==
      0);
  const auto failure = testing::failure_of([] { parse_weights("q4_k_x"); });
  CHECK(failure.kind == ErrorKind::kUsage);
  CHECK(failure.says("Q4_K_M"));
}

TEST_CASE("memory model: a header alone is as long as its file, and takes no memory") {
  const SyntheticModel model(*find_shape("llama-3-70b"), parse_weights("q4_k_m"), 1);
  const MemoryModel memory(model, MemoryModel::HeaderOnly{});
  const ModelFile file = ModelFile::open(memory.path());
  CHECK(file.file_bytes() == model.file_bytes());
  const ModelLayout layout = describe_model(file);
  CHECK(layout.config.layers == 80);
  CHECK(static_cast<double>(layout.units_bytes()) == doctest::Approx(42.5e9).epsilon(0.03));
}
