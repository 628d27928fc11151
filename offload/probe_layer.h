// A layer of a model's shape on synthetic weights, to be timed as passes run it.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "layers/model_config.h"
#include "layers/ops_cpu.h"
#include "memory/host_store.h"
#include "memory/host_stream.h"
#include "memory/kv_pages.h"
#include "memory/units.h"

namespace sluice {

// What a pass brings to the layer: `sequences` whose caches hold `keys` before, `tokens` of each.
struct LayerPass {
  std::size_t sequences = 1;
  std::size_t tokens = 1;
  std::size_t keys = 0;

  std::size_t total_tokens() const { return sequences * tokens; }
};

// Medians over some runs.
struct LayerSeconds {
  double products = 0.0;
  double elements = 0.0;   // norm and activation
  double attention = 0.0;  // rotating, storing and attending
  double all() const { return products + elements + attention; }
  friend LayerSeconds operator*(double times, const LayerSeconds& s) {
    return {times * s.products, times * s.elements, times * s.attention};
  }
};

// Runs attention and feed-forward with weights of one type on a stream of its own, each operation
// timed there: what surrounds an operation in a pass, sleeping threads among it, surrounds it here.
// Of large matrices it takes some rows.
class ProbeLayer {
 public:
  static constexpr std::size_t kMostTokens = 256;
  static constexpr std::size_t kMostKeys = 1024;
  // Of fewer that are read in turn, a cache of 32 MiB holds so many that it shows.
  static constexpr std::size_t kMostWeightBytes = 256_MiB;

  // `weight_bytes`: how many are read before any is read again, so that caches hold as much of them
  // as of the model's.
  ProbeLayer(const ModelConfig& config, Precision precision, std::size_t weight_bytes);

  // Keys and values of `type`, each run in another cache than the one before: as many as the model
  // has layers, up to 64 MiB. At first they are of f16.
  void use_caches(KvType type);
  // Whether rows of the layer's matrices can have this type.
  bool fits(DType type) const;
  // Runs for about `seconds`, three times at least. `product_bytes` is told how much of weights a
  // run reads.
  LayerSeconds time(DType type, const LayerPass& pass, double seconds, double* product_bytes);

  // Of a run, over about `seconds` of them, whatever came between.
  double mean_seconds(DType type, const LayerPass& pass, double seconds);

  // How much longer a product takes for each piece that it is cut into. Median of some runs.
  double cut_seconds(DType type, std::size_t tokens);

  HostStream& stream() { return stream_; }
  std::span<const std::byte> weights() const { return {weights_.data(), weights_.size_bytes()}; }
  // Before runs of another pass than the last one's, with the stream at rest.
  void prepare(const LayerPass& pass);
  // Gives one run to the stream.
  void enqueue(DType type, const LayerPass& pass) { run(stream_, type, pass, nullptr); }

 private:
  static constexpr std::size_t kMarks = 12;
  struct Marks {
    std::array<double, kMarks> seconds{};
  };

  std::size_t rows_of(DType type, std::size_t rows, std::size_t columns, std::size_t tokens) const;
  void run(HostStream& stream, DType type, const LayerPass& pass, Marks* marks);
  const std::byte* take_weights(std::size_t bytes);

  const ModelConfig config_;
  const Precision precision_;
  HostStore weights_;
  std::size_t at_bytes_ = 0;
  double run_bytes_ = 0.0;
  KvLayout kv_layout_;
  std::size_t caches_ = 1;
  std::size_t run_ = 0;
  std::vector<float> residual_, mixing_, norm_weights_, rotations_;
  std::vector<std::byte> forms_[kActivationForms];
  std::vector<std::byte> kv_;
  std::vector<std::int32_t> positions_, pages_, table_;
  std::vector<QueryBlock> blocks_;
  OpsCpu ops_;
  HostStream stream_{HostStream::Mode::kThread, "probe"};
};

}  // namespace sluice
