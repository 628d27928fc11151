#include "offload/probe.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "layers/summarise_row.h"
#include "memory/clock.h"
#include "memory/quant.h"
#include "memory/units.h"
#include "offload/piece_seconds.h"

namespace sluice {
namespace {

constexpr double kRunSeconds = 4e-3;  // of one measurement
// Of a copy, about: of inputs and logits, where nothing else is copied.
constexpr double kMemoryBytesPerSecond = 10e9;
constexpr std::size_t kManyTokens = 64;
constexpr std::size_t kSomeTokens = 16;

// Seconds of one operation, the slope between two measurements.
double slope(double more_seconds, double less_seconds, double operations) {
  return std::max((more_seconds - less_seconds) / operations, 1e-15);
}

}  // namespace

ProductRate probe_products(ProbeLayer& layer, DType type, LayerSecondsTable* layers,
                           std::size_t most_tokens) {
  ProductRate rate;
  LayerSecondsTable seconds{};
  for (std::size_t i = 0; i < ProductRate::kTokens.size(); ++i) {
    const std::size_t tokens = ProductRate::kTokens[i];
    if (i > 0 && ProductRate::kTokens[i - 1] >= most_tokens) {
      const double more = static_cast<double>(tokens) / ProductRate::kTokens[i - 1];
      rate.seconds_per_byte[i] = more * rate.seconds_per_byte[i - 1];
      seconds[i] = more * seconds[i - 1];
      continue;
    }
    double bytes = 0.0;
    seconds[i] = layer.time(type, {.tokens = tokens}, kRunSeconds, &bytes);
    rate.seconds_per_byte[i] = seconds[i].products / bytes;
  }
  if (layers != nullptr) *layers = seconds;
  return rate;
}

void probe_between(ProbeLayer& layer, DType type, const ModelConfig& c,
                   const LayerSecondsTable& layers, ComputeRates& rates) {
  const auto attention = [&](const LayerPass& pass) {
    return layer.time(type, pass, kRunSeconds, nullptr).attention;
  };
  const auto keys_of = [](std::size_t keys) { return attended_keys(static_cast<double>(keys)); };
  const double score = 4.0 * static_cast<double>(c.query_width());  // operations

  // Few scores, too few for a second thread.
  const std::size_t few_keys = 16;
  const std::size_t alone_keys =
      std::clamp<std::size_t>(kAloneScores / c.heads - 1, 2 * few_keys, ProbeLayer::kMostKeys);
  const double few = attention({.keys = few_keys - 1});
  const double alone = attention({.keys = alone_keys - 1});
  rates.attention_alone_operations_per_second =
      1.0 / slope(alone, few, score * (keys_of(alone_keys) - keys_of(few_keys)));

  constexpr std::size_t kSequences = 8;
  const double wide = attention({.sequences = kSequences, .keys = ProbeLayer::kMostKeys - 1});
  const double narrow = attention({.sequences = kSequences, .keys = ProbeLayer::kMostKeys / 2 - 1});
  const double more_keys = keys_of(ProbeLayer::kMostKeys) - keys_of(ProbeLayer::kMostKeys / 2);
  rates.attention_one_token_operations_per_second =
      1.0 / slope(wide, narrow, score * kSequences * more_keys);

  // Many tokens: of keys they see their own up to themselves, on average half.
  constexpr std::size_t kKeys = 448;
  const double many = attention({.tokens = kManyTokens});
  const double behind = attention({.tokens = kManyTokens, .keys = kKeys});
  rates.attention_operations_per_second =
      1.0 /
      slope(behind, many,
            score * kManyTokens * (keys_of(kKeys + kManyTokens / 2) - keys_of(kManyTokens / 2)));

  const auto elements = static_cast<double>(2 * c.width + 2 * c.feed_forward);
  const auto rotated = static_cast<double>(2 * c.query_width() + 2 * c.kv_width());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::size_t tokens = ProductRate::kTokens[i];
    const double attending =
        attention_seconds(c, rates, KvType::kF16, {tokens, (tokens + 1) / 2, 0, 1});
    rates.element_seconds[i] = std::max(layers[i].elements / elements, 1e-12);
    rates.rotate_seconds[i] = std::max((layers[i].attention - attending) / rotated, 1e-12);
  }

  // Some sequences with a page each: what is left of what they take.
  const PassSize some{kSequences, kPageTokens, kSequences, kSequences};
  const double rest = attention({.sequences = kSequences, .keys = kPageTokens - 1}) -
                      rotated * ProductRate::at(rates.rotate_seconds, kSequences) -
                      attention_seconds(c, rates, KvType::kF16, some);
  rates.sequence_seconds = std::max(rest / (kSequences - 1), 0.0);
}

void probe_cuts(ProbeLayer& layer, DType type, ComputeRates& rates) {
  for (std::size_t i = 0; i < ProductRate::kTokens.size(); ++i) {
    rates.cut_seconds[i] = layer.cut_seconds(type, ProductRate::kTokens[i]);
  }
}

AttentionShares probe_attention_shares(ProbeLayer& layer, DType type, KvType kv) {
  constexpr int kRounds = 3;
  if (kv == KvType::kF16) return {};
  const auto share = [&](const LayerPass& pass) {
    std::vector<double> shares;
    for (int round = 0; round < kRounds; ++round) {
      layer.use_caches(KvType::kF16);
      const double f16_seconds = layer.time(type, pass, kRunSeconds, nullptr).attention;
      layer.use_caches(kv);
      shares.push_back(f16_seconds / layer.time(type, pass, kRunSeconds, nullptr).attention);
    }
    return std::clamp(median(shares), 0.1, 10.0);
  };
  return {.one_token = share({.sequences = 8, .keys = ProbeLayer::kMostKeys - 1}),
          .many = share({.tokens = kManyTokens, .keys = 448})};
}

CopyRates probe_copies(ProbeLayer& layer, DType type) {
  const std::span<const std::byte> from = layer.weights();
  const std::size_t piece_bytes = std::min<std::size_t>(1_MiB, from.size());
  HostStore to(2 * piece_bytes);
  std::memset(to.data(), 1, to.size_bytes());
  std::vector<double> rates, shares;
  std::size_t at_bytes = 0;
  for (const std::size_t tokens : {1, 8, 32, 1, 8, 32}) {
    const auto compute = [&] {
      return layer.mean_seconds(type, {.tokens = tokens}, 2 * kRunSeconds);
    };
    const double alone_seconds = compute();
    std::atomic<bool> stop{false};
    std::thread copier([&] {
      const double begin_seconds = now_seconds();
      std::size_t pieces = 0;
      for (; pieces == 0 || !stop.load(std::memory_order_relaxed); ++pieces) {
        if (at_bytes + piece_bytes > from.size()) at_bytes = 0;
        std::memcpy(to.data() + pieces % 2 * piece_bytes, from.data() + at_bytes, piece_bytes);
        at_bytes += piece_bytes;
      }
      rates.push_back(static_cast<double>(pieces * piece_bytes) / (now_seconds() - begin_seconds));
    });
    const double beside_seconds = compute();
    stop = true;
    copier.join();
    shares.push_back(std::clamp(alone_seconds / beside_seconds, 0.2, 1.0));
  }
  return {median(std::move(rates)), median(std::move(shares))};
}

double probe_wait_seconds(ProbeLayer& layer, DType type) {
  constexpr int kWaits = 15;
  constexpr double kCopySeconds = 250e-6;
  HostStream link(HostStream::Mode::kThread, "probe-link");
  HostEvent ready;
  HostEvent done;
  HostStream& stream = layer.stream();
  std::vector<double> late;
  for (int i = 0; i < kWaits; ++i) {
    const LayerPass pass{.tokens = i % 2 == 0 ? std::size_t{1} : kSomeTokens};
    layer.prepare(pass);
    double copied = 0.0;
    double waited = 0.0;
    double awake = 0.0;
    link.enqueue_paced([&copied](double ready_seconds) {
      copied = ready_seconds + kCopySeconds;
      return copied;
    });
    link.record(ready);
    stream.wait(ready);
    layer.enqueue(type, pass);
    stream.stamp(&waited);
    layer.enqueue(type, pass);
    stream.stamp(&awake);
    stream.record(done);
    done.synchronize();
    late.push_back((waited - copied) - (awake - waited));
  }
  return std::max(median(std::move(late)), 0.0);
}

double probe_hop_seconds(HostStream& stream) {
  constexpr int kHops = 64;
  constexpr std::size_t kSlots = 2;
  HostStream link(HostStream::Mode::kThread, "probe-link");
  HostEvent ready[kSlots];
  HostEvent free[kSlots];
  HostEvent done;
  const double seconds = best_seconds(5, [&] {
    for (int hop = 0; hop < kHops; ++hop) {
      link.wait(free[hop % kSlots]);
      link.record(ready[hop % kSlots]);
      stream.wait(ready[hop % kSlots]);
      stream.record(free[hop % kSlots]);
    }
    stream.record(done);
    done.synchronize();
  });
  return seconds / kHops;
}

// Three layers with a rest before the last, in which the stream has nothing to do, less three
// without. The two take turns, so that a machine whose speed drifts isn't taken for one that wakes
// slowly.
double probe_pass_seconds(ProbeLayer& layer, DType type, double rest_seconds) {
  constexpr int kRounds = 15;
  HostStream& stream = layer.stream();
  HostEvent done;
  const LayerPass pass{};
  layer.prepare(pass);
  const auto seconds = [&](bool rests) {
    double begin = 0.0;
    double end = 0.0;
    layer.enqueue(type, pass);  // so that threads are awake
    stream.stamp(&begin);
    layer.enqueue(type, pass);
    if (rests) {
      stream.record(done);
      done.synchronize();
      wait_until(now_seconds() + rest_seconds);
    }
    layer.enqueue(type, pass);
    stream.stamp(&end);
    stream.record(done);
    done.synchronize();
    return end - begin;
  };
  std::vector<double> more;
  for (int i = 0; i < kRounds; ++i) {
    const double without = seconds(false);
    more.push_back(seconds(true) - without - rest_seconds);
  }
  return std::max(median(std::move(more)), 0.0);
}

// Its embedding and its rotations.
double probe_token_seconds(const ModelLayout& model) {
  const ModelConfig& c = model.config;
  const DType type = model.embedding->type;
  const std::vector<std::byte> row(row_bytes(type, c.width));
  std::vector<float> values(c.width + c.rope_dims);
  double position = 1.0;
  return best_seconds(3,
                      [&] {
                        for (int i = 0; i < 8; ++i) {
                          decode_row(type, row.data(), c.width, values.data());
                          float* rotation = values.data() + c.width;
                          for (const double frequency : c.rope_frequencies) {
                            *rotation++ = static_cast<float>(std::cos(position * frequency));
                            *rotation++ = static_cast<float>(std::sin(position * frequency));
                          }
                          position += 1.0;
                        }
                      }) /
         8;
}

double probe_logit_seconds() {
  std::vector<float> logits(std::size_t{1} << 15);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 7919 % 32749);
  LogitsSummary summary;
  return best_seconds(5, [&] { summarise_row(logits, {}, true, summary); }) /
         static_cast<double>(logits.size());
}

Hardware probe_host(const ModelLayout& model, Precision precision, LinkSpeed link,
                    std::span<const KvType> kv_types, const ProbeScope& scope) {
  std::array<std::size_t, kDTypeCount> bytes{};
  for (const UnitInfo& unit : model.units) {
    for (const MatrixInfo& m : unit.matrices) {
      bytes[static_cast<std::size_t>(m.type())] += m.size_bytes;
    }
  }
  // Beside what the layer attends to and works in.
  const std::size_t room_bytes =
      scope.host_bytes ? *scope.host_bytes / 2 : ProbeLayer::kMostWeightBytes;
  const std::size_t weight_bytes =
      std::min({ProbeLayer::kMostWeightBytes, room_bytes, model.units_bytes()});
  ProbeLayer layer(model.config, precision, weight_bytes);
  const auto bytes_of = [&](DType type) { return bytes[static_cast<std::size_t>(type)]; };
  DType most = DType::kF32;  // of the weights, of types that the layer can have; this one it can
  for (const DType type : kAllDTypes) {
    if (layer.fits(type) && bytes_of(type) > bytes_of(most)) most = type;
  }
  Hardware hardware;
  ComputeRates& rates = hardware.device;
  hardware.token_seconds = probe_token_seconds(model);
  hardware.logit_seconds = probe_logit_seconds();
  hardware.pass_seconds = probe_pass_seconds(layer, most, hardware.token_seconds);
  LayerSecondsTable layers{};
  ProductRate slowest;
  for (const DType type : kAllDTypes) {
    if (type != most && (bytes_of(type) == 0 || !layer.fits(type))) continue;
    ProductRate& rate = rates.products[static_cast<std::size_t>(type)];
    rate = probe_products(layer, type, type == most ? &layers : nullptr, scope.most_tokens);
    for (std::size_t i = 0; i < ProductRate::kTokens.size(); ++i) {
      double& longest = slowest.seconds_per_byte[i];
      longest = std::max(longest, rate.seconds_per_byte[i]);
    }
  }
  // A type whose groups don't divide the width is taken to be as slow as the slowest measured.
  for (ProductRate& r : rates.products) {
    if (!r.known()) r = slowest;
  }
  probe_between(layer, most, model.config, layers, rates);
  if (scope.copies) {
    const CopyRates copies = probe_copies(layer, most);
    rates.share_beside_copies = copies.share;
    hardware.copy_bytes_per_second = copies.bytes_per_second;
    probe_cuts(layer, most, rates);
    hardware.wait_seconds = probe_wait_seconds(layer, most);
    if (link.bytes_per_second <= 0.0) {
      link = {copies.bytes_per_second, probe_hop_seconds(layer.stream())};
    }
  } else if (link.bytes_per_second <= 0.0) {
    link = {kMemoryBytesPerSecond, 0.0};
  }
  hardware.to_device = link;
  hardware.to_host = link;
  for (const KvType kv : kv_types) {
    rates.attention_shares[static_cast<std::size_t>(kv)] = probe_attention_shares(layer, most, kv);
  }
  hardware.host = rates;
  return hardware;
}

}  // namespace sluice
