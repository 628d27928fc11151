// Speed of packing, of quantising activations and of products, for shapes of real models.
//
//   sluice_bench_kernels --benchmark_filter=decode --benchmark_repetitions=7 --threads=2
//   ... --isa=avx2 --precision=high
//
// bytes_per_second counts weights, to be held against the memory's read bandwidth; `ops` counts a
// multiplication and an addition each, to be held against the peak of the arithmetic unit.
#include <benchmark/benchmark.h>
#include <oneapi/tbb/global_control.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "layers/isa.h"
#include "layers/products.h"
#include "memory/packed.h"
#include "memory/parallel.h"
#include "memory/quant.h"
#include "memory/units.h"

namespace sluice {
namespace {

using Counter = benchmark::Counter;

constexpr std::size_t kBeyondCaches = 256_MiB;

struct Shape {
  std::size_t rows;
  std::size_t columns;
};

// Random bytes that are a valid packed matrix as far as speed goes: finite scales, any values.
class Weights {
 public:
  Weights(DType type, Shape shape, std::size_t copies)
      : type_(type),
        shape_(shape),
        copies_(copies),
        bytes_(copies * packed_bytes(type, shape.rows, shape.columns) + kAlignBytes) {
    std::mt19937_64 random(1);
    for (std::size_t i = 0; i + 8 <= bytes_.size(); i += 8) {
      const std::uint64_t word = random() & 0xbfbfbfbfbfbfbfbf;  // no half is NaN or infinite
      std::memcpy(&bytes_[i], &word, sizeof(word));
    }
  }

  const std::byte* copy(std::size_t index) const {
    const auto at = reinterpret_cast<std::uintptr_t>(bytes_.data());
    return bytes_.data() + (align_up(at) - at) + index % copies_ * one_bytes();
  }
  std::size_t one_bytes() const { return packed_bytes(type_, shape_.rows, shape_.columns); }
  DType type() const { return type_; }
  Shape shape() const { return shape_; }

 private:
  DType type_;
  Shape shape_;
  std::size_t copies_;
  std::vector<std::byte> bytes_;
};

struct Inputs {
  Inputs(ActivationForm form_, std::size_t tokens, std::size_t columns)
      : form(form_), f32(tokens * columns), in(tokens * activation_row_bytes(form, columns)) {
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    for (float& value : f32) value = normal(random);
    convert(tokens, columns);
  }
  void convert(std::size_t tokens, std::size_t columns) {
    for (std::size_t t = 0; t < tokens; ++t) {
      const float* from = f32.data() + t * columns;
      std::byte* to = in.data() + t * activation_row_bytes(form, columns);
      if (form == ActivationForm::kF32) {
        std::memcpy(to, from, columns * sizeof(float));
      } else {
        convert_activations(form, from, columns, to);
      }
    }
  }
  ActivationForm form;
  std::vector<float> f32;
  std::vector<std::byte> in;
};

ProductArgs product_args(const Weights& weights, std::size_t copy, const Inputs& inputs,
                         std::size_t tokens, float* out) {
  const auto [rows, columns] = weights.shape();
  return {weights.type(), weights.copy(copy),
          rows,           columns,
          inputs.form,    inputs.in.data(),
          tokens,         out,
          rows,           false};
}

Precision precision = Precision::kNormal;

enum class From { kMemory, kCache };

void run_product(benchmark::State& state, DType type, Shape shape, std::size_t tokens, From from) {
  const std::size_t bytes = packed_bytes(type, shape.rows, shape.columns);
  const Weights weights(type, shape, from == From::kCache ? 1 : ceil_div(kBeyondCaches, bytes));
  const Inputs inputs(activation_form(type, precision), tokens, shape.columns);
  std::vector<float> out(tokens * shape.rows);
  std::size_t copy = 0;
  for (auto _ : state) {
    product(product_args(weights, copy++, inputs, tokens, out.data()));
    benchmark::DoNotOptimize(out.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * bytes));
  state.counters["ops"] = Counter(2.0 * static_cast<double>(shape.rows * shape.columns * tokens),
                                  Counter::kIsIterationInvariantRate);
}

// All products of one pass of SmolLM2-135M in the order of its layers, with the quantising between.
void run_pass(benchmark::State& state, DType type, std::size_t tokens) {
  constexpr std::size_t kLayers = 30;
  constexpr Shape kShapes[] = {{576, 576},  {192, 576},  {192, 576}, {576, 576},
                               {1536, 576}, {1536, 576}, {576, 1536}};
  std::vector<std::unique_ptr<Weights>> weights;
  for (const Shape shape : kShapes) {
    weights.push_back(std::make_unique<Weights>(type, shape, kLayers));
  }
  const Weights head(DType::kQ8_0, {49152, 576}, 1);
  Inputs inputs(activation_form(type, precision), tokens, 1536);
  std::vector<float> out(std::max(tokens * 1536, std::size_t{49152}));
  for (auto _ : state) {
    for (std::size_t layer = 0; layer < kLayers; ++layer) {
      for (std::size_t i = 0; i < weights.size(); ++i) {
        const bool same_input = i == 1 || i == 2 || i == 5;
        if (!same_input) {
          inputs.convert(tokens, kShapes[i].columns);
        }
        product(product_args(*weights[i], layer, inputs, tokens, out.data()));
      }
    }
    product(product_args(head, 0, inputs, 1, out.data()));
  }
  std::size_t bytes = head.one_bytes();
  for (const auto& one : weights) bytes += kLayers * one->one_bytes();
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * bytes));
  state.counters["tokens"] =
      Counter(static_cast<double>(tokens), Counter::kIsIterationInvariantRate);
}

void run_quantise(benchmark::State& state) {
  Inputs inputs(ActivationForm::kInt8, 64, 2048);
  for (auto _ : state) {
    inputs.convert(64, 2048);
    benchmark::DoNotOptimize(inputs.in.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * 64 * 2048 * 4));
}

// From beyond the caches, as at load.
void run_pack(benchmark::State& state, DType type) {
  constexpr Shape kShape{1536, 1536};
  const std::size_t bytes = packed_bytes(type, kShape.rows, kShape.columns);
  const Weights files(type, kShape, ceil_div(kBeyondCaches, bytes));
  std::vector<std::byte> packed(bytes);
  std::size_t copy = 0;
  for (auto _ : state) {
    const std::byte* file_rows = files.copy(copy++);
    const std::size_t panel = panel_bytes(type, kShape.columns);
    parallel_for(kShape.rows / kPanelRows, 8, [&](std::size_t begin, std::size_t end) {
      for (std::size_t p = begin; p < end; ++p) {
        pack_panel(type, file_rows + p * panel, kPanelRows, kShape.columns,
                   packed.data() + p * panel);
      }
    });
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * bytes));
}

void run_empty_loop(benchmark::State& state) {
  for (auto _ : state) {
    parallel_for(2, 1, [](std::size_t begin, std::size_t) { benchmark::DoNotOptimize(begin); });
  }
}

void register_all() {
  const auto add = [](const std::string& name, auto... body) {
    return benchmark::RegisterBenchmark(name.c_str(), body...)->UseRealTime();
  };
  const auto named = [](std::string_view what, DType type, Shape shape) {
    return std::string(what) + "/" + std::string(dtype_info(type).name) + "/" +
           std::to_string(shape.rows) + "x" + std::to_string(shape.columns);
  };
  add("fork_join", run_empty_loop);
  add("quantise", run_quantise);
  for (const DType type : kAllDTypes) {
    const std::string name(dtype_info(type).name);
    add("pack/" + name, run_pack, type);
    for (const Shape shape : {Shape{5632, 2048}, Shape{2048, 5632}, Shape{576, 576},
                              Shape{1536, 576}, Shape{576, 1536}}) {
      if (shape.columns % dtype_info(type).group_values != 0) continue;
      add(named("decode", type, shape), run_product, type, shape, std::size_t{1}, From::kMemory);
      add(named("cached", type, shape), run_product, type, shape, std::size_t{1}, From::kCache);
      for (const std::size_t tokens : {2, 3, 4, 6, 7, 8, 16, 64, 512}) {
        add(named("batch", type, shape) + "/" + std::to_string(tokens), run_product, type, shape,
            tokens, From::kMemory);
      }
    }
    if (dtype_info(type).group_values == 256) continue;
    for (const std::size_t tokens : {1, 16, 512}) {
      add("pass/" + name + "/" + std::to_string(tokens), run_pass, type, tokens)
          ->Unit(benchmark::kMillisecond);
    }
  }
}

// Takes "--NAME=value" out of the arguments.
std::string take_option(int& argc, char** argv, const std::string& name) {
  const std::string prefix = "--" + name + "=";
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.rfind(prefix, 0) != 0) continue;
    std::rotate(argv + i, argv + i + 1, argv + argc);
    --argc;
    return argument.substr(prefix.size());
  }
  return {};
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  using oneapi::tbb::global_control;
  const std::string threads = sluice::take_option(argc, argv, "threads");
  const std::string isa = sluice::take_option(argc, argv, "isa");
  if (!isa.empty()) sluice::force_isa(isa);
  if (sluice::take_option(argc, argv, "precision") == "high") {
    sluice::precision = sluice::Precision::kHigh;
  }
  std::unique_ptr<global_control> limit;
  if (!threads.empty()) {
    limit = std::make_unique<global_control>(global_control::max_allowed_parallelism,
                                             std::stoul(threads));
  }
  sluice::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
