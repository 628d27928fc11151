#include "offload/probe.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "memory/clock.h"
#include "memory/quant.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kReadBytes = 80_MiB;  // more than caches hold
constexpr double kRunSeconds = 4e-3;        // of one measurement
constexpr std::size_t kManyTokens = 64;

// Seconds of one operation, the slope between two measurements.
double slope(double more_seconds, double less_seconds, double operations) {
  return std::max((more_seconds - less_seconds) / operations, 1e-15);
}

}  // namespace

ProductRate probe_products(ProbeLayer& layer, DType type) {
  ProductRate rate;
  for (std::size_t i = 0; i < ProductRate::kTokens.size(); ++i) {
    double bytes = 0.0;
    const LayerSeconds t =
        layer.time(type, {.tokens = ProductRate::kTokens[i]}, kRunSeconds, &bytes);
    rate.seconds_per_byte[i] = t.products / bytes;
  }
  return rate;
}

void probe_between(ProbeLayer& layer, DType type, const ModelConfig& c, ComputeRates& rates) {
  const auto time = [&](const LayerPass& pass) {
    return layer.time(type, pass, kRunSeconds, nullptr);
  };
  const auto at_least = [](double seconds) { return std::max(seconds, 1e-12); };
  const double score = 4.0 * static_cast<double>(c.query_width());  // operations
  const auto elements = static_cast<double>(2 * c.width + 2 * c.feed_forward);
  const auto rotated = static_cast<double>(2 * c.query_width() + 2 * c.kv_width());

  // Few tokens, too few for a second thread.
  const std::size_t few_keys = 16;
  const std::size_t alone_keys =
      std::clamp<std::size_t>(kAloneScores / c.heads - 1, 2 * few_keys, ProbeLayer::kMostKeys);
  const LayerSeconds few = time({.keys = few_keys - 1});
  const LayerSeconds alone = time({.keys = alone_keys - 1});
  const double alone_seconds =
      slope(alone.attention, few.attention, score * static_cast<double>(alone_keys - few_keys));
  rates.attention_alone_operations_per_second = 1.0 / alone_seconds;
  rates.element_seconds = at_least(few.elements) / elements;
  rates.rotate_seconds =
      at_least(few.attention - alone_seconds * score * static_cast<double>(few_keys)) / rotated;

  constexpr std::size_t kSequences = 8;
  const LayerSeconds wide = time({.sequences = kSequences, .keys = ProbeLayer::kMostKeys - 1});
  rates.attention_one_token_operations_per_second =
      score * static_cast<double>(kSequences * ProbeLayer::kMostKeys) /
      at_least(wide.attention - rates.rotate_seconds * rotated * kSequences);

  // Many tokens: of keys they see their own up to themselves, on average half.
  constexpr std::size_t kKeys = 448;
  constexpr auto kTokens = static_cast<double>(kManyTokens);
  const LayerSeconds many = time({.tokens = kManyTokens});
  const LayerSeconds behind = time({.tokens = kManyTokens, .keys = kKeys});
  const double many_seconds =
      slope(behind.attention, many.attention, score * kTokens * static_cast<double>(kKeys));
  rates.attention_operations_per_second = 1.0 / many_seconds;
  rates.element_seconds_many = at_least(many.elements) / (elements * kTokens);
  rates.rotate_seconds_many =
      at_least(many.attention - many_seconds * score * kTokens * (kTokens / 2)) /
      (rotated * kTokens);
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

CopyRates probe_copies(ProbeLayer& layer, DType type, LinkSpeed speed) {
  constexpr std::size_t kPieceBytes = 1_MiB;
  constexpr std::size_t kPieces = 16;
  HostStore from(kPieces * kPieceBytes);
  HostStore to(2 * kPieceBytes);
  std::memset(from.data(), 1, from.size_bytes());
  std::memset(to.data(), 1, to.size_bytes());
  std::vector<double> rates, shares;
  for (const std::size_t tokens : {1, 8, 32, 1, 8, 32}) {
    const auto compute = [&] {
      return layer.mean_seconds(type, {.tokens = tokens}, 2 * kRunSeconds);
    };
    const double alone_seconds = compute();
    std::atomic<bool> stop{false};
    // Of a slow link less, so that it is over in time.
    const std::size_t bytes =
        speed.bytes_per_second <= 0.0
            ? kPieceBytes
            : std::clamp(static_cast<std::size_t>(kRunSeconds * speed.bytes_per_second),
                         std::size_t{4_KiB}, kPieceBytes);
    std::thread copier([&, bytes] {
      Link link(speed);
      double end_seconds = now_seconds();
      for (std::size_t piece = 0; piece == 0 || !stop.load(std::memory_order_relaxed); ++piece) {
        const Span busy =
            link.copy(to.data() + piece % 2 * kPieceBytes,
                      from.data() + piece % kPieces * kPieceBytes, bytes, end_seconds);
        end_seconds = busy.end_seconds;
        rates.push_back(static_cast<double>(bytes) / (busy.end_seconds - busy.begin_seconds));
      }
    });
    const double beside_seconds = compute();
    stop = true;
    copier.join();
    shares.push_back(std::clamp(alone_seconds / beside_seconds, 0.2, 1.0));
  }
  return {median(rates), median(shares)};
}

double probe_wait_seconds(ProbeLayer& layer, DType type) {
  constexpr int kWaits = 9;
  constexpr double kCopySeconds = 250e-6;
  HostStream link(HostStream::Mode::kThread, "probe-link");
  HostEvent ready;
  HostEvent done;
  HostStream& stream = layer.stream();
  const LayerPass pass{};
  const double awake_seconds = layer.time(type, pass, 1e-3, nullptr).all();
  std::vector<double> late;
  for (int i = 0; i < kWaits; ++i) {
    double copied = 0.0;
    double end = 0.0;
    link.enqueue_paced([&copied, due = &link.due_seconds()](double ready_seconds) {
      copied = ready_seconds + kCopySeconds;
      due->store(copied, std::memory_order_release);
      wait_until(copied);
      return copied;
    });
    link.record(ready);
    stream.wait(ready);
    layer.enqueue(type, pass);
    stream.stamp(&end);
    stream.record(done);
    done.synchronize();
    late.push_back(end - copied - awake_seconds);
  }
  return std::max(median(late), 0.0);
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

double probe_turn_seconds(ProbeLayer& layer, DType type, bool host_computes) {
  constexpr int kTurns = 9;
  constexpr int kBefore = 4;               // runs, so that threads are awake
  constexpr double kBusySeconds = 150e-6;  // longer than a stream spins before it sleeps
  const LayerPass pass{};
  const double run_seconds = layer.time(type, pass, 1e-3, nullptr).all();
  HostStream& stream = layer.stream();
  HostEvent done;
  std::vector<double> turns;
  for (int i = 0; i < kTurns; ++i) {
    double there = 0.0;
    double back = 0.0;
    for (int run = 0; run < kBefore; ++run) layer.enqueue(type, pass);
    stream.enqueue([] { wait_until(now_seconds() + kBusySeconds); });
    stream.stamp(&there);
    stream.record(done);
    done.synchronize();
    const double begin = now_seconds();
    if (host_computes) {
      layer.run_here(type, pass);
    } else {
      wait_until(begin + kBusySeconds);
    }
    const double busy_seconds = host_computes ? run_seconds : kBusySeconds;
    layer.enqueue(type, pass);
    stream.stamp(&back);
    stream.record(done);
    done.synchronize();
    turns.push_back(back - there - busy_seconds - run_seconds);
  }
  return std::max(median(turns), 0.0);
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
  std::vector<float> logits(std::size_t{1} << 14);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 1009);
  std::atomic<std::ptrdiff_t> sink{0};
  return best_seconds(5, [&] { sink = std::ranges::max_element(logits) - logits.begin(); }) /
         static_cast<double>(logits.size());
}

Hardware probe_host(const ModelLayout& model, Precision precision, LinkSpeed link,
                    std::span<const KvType> kv_types) {
  std::array<std::size_t, kDTypeCount> bytes{};
  for (const UnitInfo& unit : model.units) {
    for (const MatrixInfo& m : unit.matrices) {
      bytes[static_cast<std::size_t>(m.type())] += m.size_bytes;
    }
  }
  ProbeLayer layer(model.config, precision, std::min(kReadBytes, model.units_bytes()));
  const auto most = static_cast<std::size_t>(std::ranges::max_element(bytes) - bytes.begin());
  Hardware hardware;
  ComputeRates& rates = hardware.device;
  hardware.turn_seconds = probe_turn_seconds(layer, kAllDTypes[most], true);
  hardware.pass_seconds = probe_turn_seconds(layer, kAllDTypes[most], false);
  probe_between(layer, kAllDTypes[most], model.config, rates);
  ProductRate slowest;
  for (std::size_t type = 0; type < kDTypeCount; ++type) {
    if (bytes[type] == 0 || !layer.fits(kAllDTypes[type])) continue;
    rates.products[type] = probe_products(layer, kAllDTypes[type]);
    for (std::size_t i = 0; i < ProductRate::kTokens.size(); ++i) {
      double& longest = slowest.seconds_per_byte[i];
      longest = std::max(longest, rates.products[type].seconds_per_byte[i]);
    }
  }
  // A type whose groups don't divide the width is taken to be as slow as the slowest measured.
  for (ProductRate& r : rates.products) {
    if (!r.known()) r = slowest;
  }
  const CopyRates copies = probe_copies(layer, kAllDTypes[most], link);
  rates.share_beside_copies = copies.share;
  probe_cuts(layer, kAllDTypes[most], rates);
  hardware.wait_seconds = probe_wait_seconds(layer, kAllDTypes[most]);
  if (link.bytes_per_second <= 0.0) {
    link = {copies.bytes_per_second, probe_hop_seconds(layer.stream())};
  }
  hardware.to_device = link;
  hardware.to_host = link;
  hardware.token_seconds = probe_token_seconds(model);
  hardware.logit_seconds = probe_logit_seconds();
  for (const KvType kv : kv_types) {
    rates.attention_shares[static_cast<std::size_t>(kv)] =
        probe_attention_shares(layer, kAllDTypes[most], kv);
  }
  hardware.host = rates;
  return hardware;
}

}  // namespace sluice
