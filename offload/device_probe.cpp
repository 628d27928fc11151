// Everything is timed as many calls, one behind the other, between two points at which the device
// is idle, and reads memory that no call shortly before it has read.
#include "offload/device_probe.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <memory>
#include <vector>

#include "layers/model.h"
#include "memory/clock.h"
#include "memory/host_store.h"
#include "memory/packed.h"
#include "offload/piece_seconds.h"

namespace sluice {
namespace {

constexpr std::size_t kMostTokens = ProductRate::kTokens.back();
constexpr std::size_t kStagingBytes = 16_MiB;
constexpr double kRunSeconds = 4e-3;
constexpr int kRuns = 3;
constexpr std::size_t kMostCalls = 400;
constexpr double kWarmUpSeconds = 0.1;  // until clocks are up
constexpr double kSlowSeconds = 1e-3;   // of the small layer; a GPU takes a tenth of that
constexpr DType kUsualType = DType::kQ4_0;

// What stands for a model.
struct ProbeShape {
  ModelConfig config;
  std::size_t most_rows = 0;       // of a matrix
  std::size_t region_bytes = 0;    // that weights and caches are taken from; 0: what is left
  std::size_t sequences = 0;       // of one token each
  std::size_t keys = 0;            // that their tokens see
  std::size_t segment_tokens = 0;  // of one sequence, behind as many keys
};

// As models of eight billion weights have it, but for fewer key heads, as larger ones have them.
ProbeShape usual_shape() {
  ProbeShape shape;
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
ProbeShape small_shape() {
  ProbeShape shape;
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

// Any bits, but that a half, a bfloat16 and an f32 among them is finite and less than 2.
void fill_with_numbers(std::byte* begin, std::size_t bytes) {
  std::uint64_t random = 0x9e3779b97f4a7c15;
  for (std::size_t at = 0; at + sizeof random <= bytes; at += sizeof random) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    const std::uint64_t numbers = random & 0xbfffbfffbfffbfff;
    std::memcpy(begin + at, &numbers, sizeof numbers);
  }
}

// One token of each of some sequences, or many of one, behind keys that are there already.
struct Attended {
  std::size_t sequences;
  std::size_t tokens;  // of each
  std::size_t keys;    // that the last token sees
  std::size_t heads;
  KvType kv = KvType::kF16;

  std::size_t total_tokens() const { return sequences * tokens; }
  std::size_t sequence_pages() const { return ceil_div(keys, kPageTokens); }
};

class DeviceProbe {
 public:
  DeviceProbe(Device& device, Ops& ops, const ProbeShape& shape, std::byte* memory)
      : device_(device), ops_(ops), shape_(shape), staging_(kStagingBytes) {
    const ModelConfig& c = shape.config;
    std::byte* at = memory;
    const auto take = [&](std::size_t bytes) {
      std::byte* begin = at;
      at += align_up(bytes);
      return begin;
    };
    const std::size_t pages = shape.sequences * ceil_div(shape.keys, kPageTokens) + 1;
    input_ = take(PassShape{kMostTokens, 0, kMostTokens, pages, 0}.input_bytes(c));
    in_ = take(kMostTokens * activation_row_bytes(ActivationForm::kF32, c.feed_forward));
    form_ = take(kMostTokens * activation_row_bytes(ActivationForm::kF32, c.feed_forward));
    mixing_ = reinterpret_cast<float*>(take(kMostTokens * 2 * c.feed_forward * sizeof(float)));
    scratch_sizes_ = scratch_sizes();
    scratch_ = take(scratch_sizes_.total());
    region_ = at;
    const auto left = kDeviceProbeBytes - static_cast<std::size_t>(at - memory);
    assert(at < memory + kDeviceProbeBytes && shape.region_bytes <= left);
    region_bytes_ = shape.region_bytes > 0 ? shape.region_bytes : left;

    staging_.pin(device);
    fill_with_numbers(staging_.data(), staging_.size_bytes());
    const std::size_t bytes = static_cast<std::size_t>(region_ - memory) + region_bytes_;
    for (std::size_t done = 0; done < bytes; done += kStagingBytes) {
      device.copy(*stream_, Direction::kToDevice, memory + done, staging_.data(),
                  std::min(kStagingBytes, bytes - done));
    }
    finish();
  }

  // Of a layer's products, of as many tokens as there are.
  double layer_seconds() {
    set_precision(Precision::kNormal);
    return time([&] { products(kUsualType, kMostTokens); });
  }

  double turn_seconds() {
    const double together = time([&] { step(); });
    const double apart = time([&] {
      step();
      finish();
    });
    return std::max(apart - together, 0.0);
  }

  ComputeRates measure(Precision precision, const std::function<void()>& on_done) {
    set_precision(precision);
    const double begin = now_seconds();
    do {
      products(kUsualType, 1);
      finish();
    } while (now_seconds() - begin < kWarmUpSeconds);
    ComputeRates rates;
    rates.step_seconds = step_seconds_ = time([&] { step(); });
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
  // ---- Timing.

  void finish() {
    stream_->record(*done_);
    done_->synchronize();
  }

  // Of one call of `work`, which was called before: what it needs is loaded. A long one is called
  // no more than once.
  template <typename Work>
  double time(const Work& work) {
    const auto run = [&](std::size_t calls) {
      const double begin = now_seconds();
      for (std::size_t i = 0; i < calls; ++i) work();
      finish();
      return (now_seconds() - begin) / static_cast<double>(calls);
    };
    run(1);
    const double once = std::max(run(1), 1e-9);
    if (once >= kRunSeconds) return once;
    const auto calls = static_cast<std::size_t>(kRunSeconds / once) + 1;
    std::vector<double> seconds;
    for (int i = 0; i < kRuns; ++i) seconds.push_back(run(std::min(calls, kMostCalls)));
    return median(std::move(seconds));
  }

  // What is left without the steps, which the cost model tells by themselves.
  double without_steps(double seconds, double steps) const {
    return std::max(seconds - steps * step_seconds_, seconds / 4);
  }

  // The least that there is to do.
  void step() {
    ops_.add_bias(*stream_, {mixing_, 1, kActivationGroup, reinterpret_cast<const float*>(in_)});
  }

  // ---- Products.

  // [rows, columns] matrices on the same activations; returns the bytes of their weights.
  std::size_t product(DType type, std::initializer_list<std::size_t> rows, std::size_t columns,
                      std::size_t tokens) {
    ProductBatch batch;
    float* out = mixing_;
    std::size_t stride = 0;
    std::size_t bytes = 0;
    for (const std::size_t wanted : rows) stride += rows_of(type, wanted, columns);
    for (const std::size_t wanted : rows) {
      const std::size_t taken = rows_of(type, wanted, columns);
      const std::size_t taken_bytes = packed_bytes(type, taken, columns);
      batch.products[batch.count++] = {.type = type,
                                       .panels = take_region(taken_bytes),
                                       .rows = taken,
                                       .columns = columns,
                                       .form = activation_form(type, precision_),
                                       .in = in_,
                                       .tokens = tokens,
                                       .out = out,
                                       .out_stride = stride,
                                       .accumulate = false};
      out += taken;
      bytes += taken_bytes;
    }
    ops_.product(*stream_, batch);
    return bytes;
  }

  static constexpr double kProductSteps = 4.0;
  std::size_t products(DType type, std::size_t tokens) {
    const ModelConfig& c = shape_.config;
    return product(type, {c.query_width(), c.kv_width(), c.kv_width()}, c.width, tokens) +
           product(type, {c.width}, c.query_width(), tokens) +
           product(type, {c.feed_forward, c.feed_forward}, c.width, tokens) +
           product(type, {c.width}, c.feed_forward, tokens);
  }

  ProductRate product_rate(DType type) {
    ProductRate rate;
    for (std::size_t i = 0; i < ProductRate::kTokens.size(); ++i) {
      std::size_t bytes = 0;
      const double seconds = time([&] { bytes = products(type, ProductRate::kTokens[i]); });
      rate.seconds_per_byte[i] = without_steps(seconds, kProductSteps) / static_cast<double>(bytes);
    }
    return rate;
  }

  double cut_seconds(std::size_t tokens) {
    constexpr std::size_t kPieces = 8;
    const std::size_t columns = shape_.config.width;
    const std::size_t piece_rows =
        std::max(shape_.most_rows / kPieces / kPanelRows, std::size_t{1}) * kPanelRows;
    const auto seconds = [&](std::size_t pieces) {
      return time([&] {
        for (std::size_t i = 0; i < pieces; ++i) {
          ProductBatch batch;
          const std::size_t rows = kPieces / pieces * piece_rows;
          batch.products[batch.count++] = {
              .type = kUsualType,
              .panels = take_region(packed_bytes(kUsualType, rows, columns)),
              .rows = rows,
              .columns = columns,
              .form = activation_form(kUsualType, precision_),
              .in = in_,
              .tokens = tokens,
              .out = mixing_,
              .out_stride = rows,
              .accumulate = false};
          ops_.product(*stream_, batch);
        }
      });
    };
    const double whole = seconds(1);
    return std::max(seconds(kPieces) - whole, 0.0) / (kPieces - 1);
  }

  // Of large matrices as many as leave room for others: none is read twice in a row.
  std::size_t rows_of(DType type, std::size_t rows, std::size_t columns) const {
    const std::size_t fitting = region_bytes_ / 3 / panel_bytes(type, columns) * kPanelRows;
    return std::min({rows, shape_.most_rows, fitting});
  }

  const std::byte* take_region(std::size_t bytes) {
    if (at_bytes_ + bytes > region_bytes_) at_bytes_ = 0;
    const std::byte* begin = region_ + at_bytes_;
    at_bytes_ += align_up(bytes);
    return begin;
  }

  // ---- What lies between them.

  double element_seconds(std::size_t tokens) {
    const ModelConfig& c = shape_.config;
    const NormArgs norm{.in = mixing_,
                        .rows = nullptr,
                        .tokens = tokens,
                        .columns = c.width,
                        .weight = reinterpret_cast<const float*>(in_),
                        .epsilon = 1e-5f,
                        .out = usual_form()};
    const double seconds = time([&] {
      ops_.norm(*stream_, norm);
      ops_.norm(*stream_, norm);
      ops_.swiglu(*stream_, {.gate_up = mixing_,
                             .tokens = tokens,
                             .columns = c.feed_forward,
                             .gate_bias = nullptr,
                             .up_bias = nullptr,
                             .out = usual_form()});
    });
    return without_steps(seconds, 3) / static_cast<double>(2 * c.width + 2 * c.feed_forward);
  }

  double rotate_seconds(std::size_t tokens) {
    const ModelConfig& c = shape_.config;
    const Attended what{1, tokens, tokens, c.heads};
    const PassInput input = prepare(what);
    const double seconds = time([&] {
      ops_.rotate(*stream_, {.qkv = mixing_,
                             .heads = c.heads,
                             .rope_dims = c.rope_dims,
                             .query_bias = nullptr,
                             .key_bias = nullptr,
                             .value_bias = nullptr,
                             .places = {.tokens = tokens,
                                        .positions = input.positions,
                                        .pages = input.pages,
                                        .rotations = input.rotations},
                             .kv = next_cache(what)});
    });
    return without_steps(seconds, 1) / static_cast<double>(2 * c.query_width() + 2 * c.kv_width());
  }

  // ---- Attention.

  double attend_seconds(const Attended& what) {
    const PassInput input = prepare(what);
    const std::size_t tokens = what.total_tokens();
    const std::size_t qkv = (what.heads + 2 * shape_.config.kv_heads) * shape_.config.head_dim;
    Activations out = usual_form();
    out[ActivationForm::kF32] = reinterpret_cast<std::byte*>(mixing_ + tokens * qkv);
    const double seconds = time([&] {
      ops_.attend(*stream_, {.qkv = mixing_,
                             .heads = what.heads,
                             .blocks = input.blocks,
                             .block_count = blocks_,
                             .tokens = tokens,
                             .keys = what.keys,
                             .page_table = input.page_table,
                             .table_pages = what.sequences * what.sequence_pages(),
                             .kv = next_cache(what),
                             .out = out});
    });
    return without_steps(seconds, 1);
  }

  void measure_attention(ComputeRates& rates) {
    const ModelConfig& c = shape_.config;
    const Attended one{shape_.sequences, 1, shape_.keys, c.heads};
    const Attended many{1, shape_.segment_tokens, shape_.keys, c.heads};
    // Where no heads share a key, reading keys is most of it.
    const Attended reading{shape_.sequences, 1, shape_.keys, c.kv_heads};
    const double one_seconds = attend_seconds(one);
    const double many_seconds = attend_seconds(many);
    const auto keys = static_cast<double>(shape_.keys);
    const double score = 4.0 * static_cast<double>(c.query_width());  // operations
    rates.attention_one_token_operations_per_second =
        score * static_cast<double>(one.total_tokens()) * attended_keys(keys) / one_seconds;
    const double mean_keys = keys - static_cast<double>(many.tokens) / 2;
    rates.attention_operations_per_second =
        score * static_cast<double>(many.total_tokens()) * attended_keys(mean_keys) / many_seconds;
    const auto read_bytes =
        static_cast<double>(reading.sequences * reading.keys * layout(reading).token_bytes());
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

  KvLayout layout(const Attended& what) const {
    return {.type = what.kv,
            .layers = 1,
            .kv_heads = shape_.config.kv_heads,
            .head_dim = shape_.config.head_dim,
            .pages = what.sequences * what.sequence_pages()};
  }

  KvView next_cache(const Attended& what) {
    const KvLayout of = layout(what);
    const std::size_t caches = region_bytes_ / of.total_bytes();
    assert(caches > 0);
    return {of, region_ + cache_++ % caches * of.total_bytes()};
  }

  // Lays a pass out and brings it to the device. No two sequences share a page.
  PassInput prepare(const Attended& what) {
    const ModelConfig& c = shape_.config;
    const std::size_t group = what.heads / c.kv_heads;
    const std::size_t block = what.tokens == 1 ? 1 : gpu_query_block_tokens(group);
    const std::size_t sequence_blocks = ceil_div(what.tokens, block);
    const PassShape pass{.tokens = what.total_tokens(),
                         .logit_rows = 0,
                         .blocks = what.sequences * sequence_blocks,
                         .table_pages = what.sequences * what.sequence_pages(),
                         .keys = what.keys};
    const PassInput here(c, pass, staging_.data());
    for (std::size_t p = 0; p < pass.table_pages; ++p) {
      here.page_table[p] = static_cast<std::int32_t>(p);
    }
    for (std::size_t s = 0; s < what.sequences; ++s) {
      const std::size_t first_page = s * what.sequence_pages();
      const auto place = [&](std::size_t token) { return what.keys - what.tokens + token; };
      for (std::size_t t = 0; t < what.tokens; ++t) {
        const std::size_t token = s * what.tokens + t;
        here.positions[token] = static_cast<std::int32_t>(place(t));
        here.pages[token] = static_cast<std::int32_t>(first_page + place(t) / kPageTokens);
      }
      for (std::size_t b = 0; b < sequence_blocks; ++b) {
        here.blocks[s * sequence_blocks + b] = {
            static_cast<std::int32_t>(s * what.tokens + b * block),
            static_cast<std::int32_t>(std::min(block, what.tokens - b * block)),
            static_cast<std::int32_t>(place(b * block)), static_cast<std::int32_t>(first_page)};
      }
    }
    blocks_ = pass.blocks;
    device_.copy(*stream_, Direction::kToDevice, input_, staging_.data(), here.size_bytes);
    finish();
    return {c, pass, input_};
  }

  // ---- Memory.

  void set_precision(Precision precision) {
    precision_ = precision;
    ops_.use_scratch(scratch_, scratch_sizes_, precision);
  }

  // As large as any type needs it.
  ScratchSizes scratch_sizes() const {
    const ModelConfig& c = shape_.config;
    const auto tensor = [](std::size_t rows, std::size_t columns) {
      TensorInfo info{.name = {}, .type = DType::kF32, .shape = {rows, columns}};
      return info;
    };
    const TensorInfo gate = tensor(c.feed_forward, c.width);
    const TensorInfo down = tensor(c.width, c.feed_forward);
    ModelLayout model;
    model.config = c;
    model.units.push_back(
        {.kind = UnitKind::kFeedForward,
         .layer = 0,
         .matrices = {{MatrixRole::kGate, &gate, 0, 0}, {MatrixRole::kDown, &down, 0, 0}}});
    return gpu_scratch_sizes(model, Precision::kHigh, {.tokens = kMostTokens, .keys = shape_.keys});
  }

  // What products with most weights take.
  Activations usual_form() const {
    Activations out;
    out[activation_form(kUsualType, precision_)] = form_;
    return out;
  }

  Device& device_;
  Ops& ops_;
  const ProbeShape shape_;
  HostStore staging_;
  std::unique_ptr<Event> done_ = device_.make_event();
  Precision precision_ = Precision::kNormal;
  double step_seconds_ = 0.0;
  std::byte* input_ = nullptr;  // of a pass
  std::size_t blocks_ = 0;      // in it
  std::byte* in_ = nullptr;     // activations, in any form
  std::byte* form_ = nullptr;   // those that are written
  float* mixing_ = nullptr;
  ScratchSizes scratch_sizes_;
  std::byte* scratch_ = nullptr;
  std::byte* region_ = nullptr;  // weights or caches, by turns
  std::size_t region_bytes_ = 0;
  std::size_t at_bytes_ = 0;
  std::size_t cache_ = 0;
  std::unique_ptr<Stream> stream_ = device_.make_stream("probe");  // goes first
};

}  // namespace

DeviceRates measure_device(Device& device, Ops& ops, std::byte* memory,
                           const std::function<void()>& on_done) {
  const bool slow = DeviceProbe(device, ops, small_shape(), memory).layer_seconds() > kSlowSeconds;
  DeviceProbe probe(device, ops, slow ? small_shape() : usual_shape(), memory);
  DeviceRates rates;
  for (const Precision precision : {Precision::kNormal, Precision::kHigh}) {
    rates.compute[index_of(precision)] = probe.measure(precision, on_done);
  }
  rates.turn_seconds = probe.turn_seconds();
  return rates;
}

}  // namespace sluice
