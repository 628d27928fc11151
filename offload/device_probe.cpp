// Everything is timed as many calls, one behind the other, between two points at which the device
// is idle, and reads memory that no call shortly before it has read.
#include "offload/device_probe.h"

#include <algorithm>
#include <vector>

#include "memory/clock.h"
#include "memory/packed.h"
#include "offload/device_layer.h"
#include "offload/piece_seconds.h"

namespace sluice {
namespace {

constexpr double kRunSeconds = 4e-3;
constexpr int kRuns = 3;
constexpr std::size_t kMostCalls = 400;
constexpr std::size_t kGraphSteps = 256;  // as many as a model's pass has
constexpr double kWarmUpSeconds = 0.1;    // until clocks are up
constexpr double kSlowSeconds = 1e-3;     // of the small layer; a GPU takes a tenth of that
constexpr double kStallSeconds = 0.5;     // no thread waits as long for a core

// As models of eight billion weights have it, but for fewer key heads, as larger ones have them.
DeviceLayerShape usual_shape() {
  DeviceLayerShape shape;
  ModelConfig& c = shape.config;
  c.width = 4096;
  c.feed_forward = 14336;
  c.heads = 32;
  c.kv_heads = 4;
  c.head_dim = c.rope_dims = 128;
  shape.most_rows = c.feed_forward;
  shape.sequences = 8;
  shape.keys = 4096;
  shape.segment_tokens = 256;
  return shape;
}

// The least that every type's groups allow.
DeviceLayerShape small_shape() {
  DeviceLayerShape shape;
  ModelConfig& c = shape.config;
  c.width = c.feed_forward = 256;
  c.heads = 8;
  c.kv_heads = 1;
  c.head_dim = c.rope_dims = 32;
  shape.most_rows = kPanelRows;
  shape.region_bytes = 4_MiB;
  shape.sequences = 2;
  shape.keys = 96;
  shape.segment_tokens = 16;
  return shape;
}

class DeviceProbe {
 public:
  DeviceProbe(Device& device, Ops& ops, const DeviceLayerShape& shape, std::byte* memory)
      : layer_(device, ops, shape, memory, kDeviceProbeBytes) {}

  // A layer's products, of as many tokens as there are, take long; not only in a moment at which
  // this thread has no core: ever more of them, until they are fast or no such moment is as long.
  bool is_slow() {
    layer_.set_precision(Precision::kNormal);
    const auto layer = [&] { layer_.products(DeviceLayer::kUsualType, DeviceLayer::kMostTokens); };
    for (std::size_t calls = 1;; calls *= 2) {
      const double seconds = run(calls, layer);
      if (seconds <= kSlowSeconds) return false;
      if (seconds * static_cast<double>(calls) > kStallSeconds) return true;
    }
  }

  double turn_seconds() {
    const double together = time([&] { layer_.step(); });
    const double apart = time([&] {
      layer_.step();
      layer_.finish();
    });
    return std::max(apart - together, 0.0);
  }

  ComputeRates measure(Precision precision, const std::function<void()>& on_done) {
    layer_.set_precision(precision);
    const double begin = now_seconds();
    do {
      layer_.products(DeviceLayer::kUsualType, 1);
      layer_.finish();
    } while (now_seconds() - begin < kWarmUpSeconds);
    ComputeRates rates;
    rates.step_seconds = step_seconds_ = time([&] { layer_.step(); });
    if (const std::unique_ptr<Graph> graph = layer_.steps(kGraphSteps)) {
      const double seconds = time([&] { layer_.launch(*graph); }) / kGraphSteps;
      rates.graph_step_seconds = std::min(seconds, step_seconds_);
    }
    for (const DType type : kAllDTypes) {
      rates.products[static_cast<std::size_t>(type)] = product_rate(type);
      on_done();
    }
    for (std::size_t i = 0; i < ProductRate::kTokens.size(); ++i) {
      const std::size_t tokens = ProductRate::kTokens[i];
      rates.element_seconds[i] = element_seconds(tokens);
      rates.rotate_seconds[i] = rotate_seconds(tokens);
      rates.cut_seconds[i] = cut_seconds(tokens);
    }
    measure_attention(rates);
    return rates;
  }

 private:
  // Seconds of a call of `work`, of `calls` in a row.
  template <typename Work>
  double run(std::size_t calls, const Work& work) {
    const double begin = now_seconds();
    for (std::size_t i = 0; i < calls; ++i) work();
    layer_.finish();
    return (now_seconds() - begin) / static_cast<double>(calls);
  }

  // Of one call of `work`, which was called before: what it needs is loaded. A long one is called
  // no more than once.
  template <typename Work>
  double time(const Work& work) {
    run(1, work);
    const double once = std::max(run(1, work), 1e-9);
    if (once >= kRunSeconds) return once;
    const auto calls = static_cast<std::size_t>(kRunSeconds / once) + 1;
    std::vector<double> seconds;
    for (int i = 0; i < kRuns; ++i) seconds.push_back(run(std::min(calls, kMostCalls), work));
    return median(std::move(seconds));
  }

  // What is left without the steps, which the cost model tells by themselves.
  double without_steps(double seconds, double steps) const {
    return std::max(seconds - steps * step_seconds_, seconds / 4);
  }

  ProductRate product_rate(DType type) {
    ProductRate rate;
    for (std::size_t i = 0; i < ProductRate::kTokens.size(); ++i) {
      std::size_t bytes = 0;
      const double seconds = time([&] { bytes = layer_.products(type, ProductRate::kTokens[i]); });
      rate.seconds_per_byte[i] =
          without_steps(seconds, DeviceLayer::kProductSteps) / static_cast<double>(bytes);
    }
    return rate;
  }

  double cut_seconds(std::size_t tokens) {
    const auto seconds = [&](std::size_t pieces) {
      return time([&] { layer_.cut_product(pieces, tokens); });
    };
    const double whole = seconds(1);
    return std::max(seconds(DeviceLayer::kMostPieces) - whole, 0.0) /
           (DeviceLayer::kMostPieces - 1);
  }

  double element_seconds(std::size_t tokens) {
    const ModelConfig& c = layer_.shape().config;
    const double seconds = time([&] { layer_.elements(tokens); });
    return without_steps(seconds, 3) / static_cast<double>(2 * c.width + 2 * c.feed_forward);
  }

  double rotate_seconds(std::size_t tokens) {
    const ModelConfig& c = layer_.shape().config;
    const Attended what{1, tokens, tokens, c.heads};
    const PassInput input = layer_.prepare(what);
    const double seconds = time([&] { layer_.rotate(what, input); });
    return without_steps(seconds, 1) / static_cast<double>(2 * c.query_width() + 2 * c.kv_width());
  }

  double attend_seconds(const Attended& what) {
    const PassInput input = layer_.prepare(what);
    return without_steps(time([&] { layer_.attend(what, input); }), 1);
  }

  void measure_attention(ComputeRates& rates) {
    const ModelConfig& c = layer_.shape().config;
    const Attended one{layer_.shape().sequences, 1, layer_.shape().keys, c.heads};
    const Attended many{1, layer_.shape().segment_tokens, layer_.shape().keys, c.heads};
    // Where no heads share a key, reading keys is most of it.
    const Attended reading{layer_.shape().sequences, 1, layer_.shape().keys, c.kv_heads};
    const double one_seconds = attend_seconds(one);
    const double many_seconds = attend_seconds(many);
    const auto keys = static_cast<double>(layer_.shape().keys);
    const double score = 4.0 * static_cast<double>(c.query_width());  // operations
    rates.attention_one_token_operations_per_second =
        score * static_cast<double>(one.total_tokens()) * attended_keys(keys) / one_seconds;
    const double mean_keys = keys - static_cast<double>(many.tokens) / 2;
    rates.attention_operations_per_second =
        score * static_cast<double>(many.total_tokens()) * attended_keys(mean_keys) / many_seconds;
    const auto read_bytes = static_cast<double>(reading.sequences * reading.keys *
                                                layer_.layout(reading).token_bytes());
    rates.cache_bytes_per_second = read_bytes / attend_seconds(reading);
    for (const KvType kv : kAllKvTypes) {
      if (kv == KvType::kF16) continue;
      const auto share = [&](Attended what, double f16_seconds) {
        what.kv = kv;
        return std::clamp(f16_seconds / attend_seconds(what), 0.1, 10.0);
      };
      rates.attention_shares[static_cast<std::size_t>(kv)] = {.one_token = share(one, one_seconds),
                                                              .many = share(many, many_seconds)};
    }
  }

  DeviceLayer layer_;
  double step_seconds_ = 0.0;
};

}  // namespace

DeviceRates measure_device(Device& device, Ops& ops, std::byte* memory,
                           const std::function<void()>& on_done) {
  const bool slow = DeviceProbe(device, ops, small_shape(), memory).is_slow();
  DeviceProbe probe(device, ops, slow ? small_shape() : usual_shape(), memory);
  DeviceRates rates;
  for (const Precision precision : {Precision::kNormal, Precision::kHigh}) {
    rates.compute[index_of(precision)] = probe.measure(precision, on_done);
  }
  rates.turn_seconds = probe.turn_seconds();
  return rates;
}

}  // namespace sluice
