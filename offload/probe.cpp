#include "offload/probe.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "layers/ops.h"
#include "layers/row_kernels.h"
#include "memory/clock.h"
#include "memory/host_store.h"
#include "memory/packed.h"
#include "memory/parallel.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kReadBytes = 80_MiB;  // weights read once: more than caches hold
constexpr std::size_t kManyTokens = 64;

class Probe {
 public:
  Probe(std::size_t columns, Precision precision)
      : columns_(columns), precision_(precision), weights_(kReadBytes) {
    // Touched, so that reading it reads memory; zeros are as good as any weights.
    parallel_for(kReadBytes / 1_MiB, 1, [&](std::size_t begin, std::size_t end) {
      std::memset(weights_.data() + begin * 1_MiB, 0, (end - begin) * 1_MiB);
    });
  }

  ProductRate product_rate(DType type) {
    const std::size_t panel = panel_bytes(type, columns_);
    const std::size_t panels = std::max<std::size_t>(kReadBytes / panel, 1);
    const double one = best_seconds(1, [&] { run(type, panels, 1); });
    const std::size_t few = std::min<std::size_t>(panels, 32);
    const double many = best_seconds(3, [&] { run(type, few, kManyTokens); });
    return ProductRate::roofline(
        type, static_cast<double>(panels * panel) / one,
        2.0 * static_cast<double>(few * kPanelRows * columns_ * kManyTokens) / many);
  }

  double step_seconds(DType type) {
    return best_seconds(3,
                        [&] {
                          for (int i = 0; i < 8; ++i) run(type, 4, 1);
                        }) /
           8;
  }

  double copy_rate() {
    std::vector<std::byte> to(4_MiB);
    std::memset(to.data(), 1, to.size());
    std::size_t at = 0;
    const double seconds = best_seconds(4, [&] {
      std::memcpy(to.data(), weights_.data() + at, to.size());
      at += to.size();
    });
    return static_cast<double>(to.size()) / seconds;
  }

 private:
  void run(DType type, std::size_t panels, std::size_t tokens) {
    const std::size_t rows = panels * kPanelRows;
    out_.resize(std::max(out_.size(), rows * tokens));
    const ActivationForm form = activation_form(type, precision_);
    in_.resize(std::max(in_.size(), activation_row_bytes(form, columns_) * tokens));
    product({.type = type,
             .panels = weights_.data(),
             .rows = rows,
             .columns = columns_,
             .form = form,
             .in = in_.data(),
             .tokens = tokens,
             .out = out_.data(),
             .out_stride = rows,
             .accumulate = false});
  }

  std::size_t columns_;
  Precision precision_;
  HostStore weights_;
  std::vector<std::byte> in_;  // zeros
  std::vector<float> out_;
};

double attention_rate(const ModelConfig& config) {
  constexpr std::size_t kPages = 4;
  constexpr std::size_t kTasks = 4;
  const std::size_t group = config.heads / config.kv_heads;
  const std::size_t tokens = query_block_tokens(group);
  const KvLayout layout{.layers = 1, .kv_heads = 1, .head_dim = config.head_dim, .pages = kPages};
  const std::vector<std::byte> pages(layout.total_bytes());
  const std::vector<float> queries(tokens * group * config.head_dim, 0.5f);
  const std::int32_t table[kPages] = {0, 1, 2, 3};
  struct Buffers {
    std::vector<float> out, scratch;
  };
  std::vector<Buffers> buffers(kTasks);
  for (Buffers& b : buffers) {
    b.out.resize(queries.size());
    b.scratch.resize(attend_scratch_floats(layout, tokens * group));
  }
  const double seconds = best_seconds(3, [&] {
    parallel_for(kTasks, 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) {
        row_kernels().attend({.queries = queries.data(),
                              .query_stride = group * config.head_dim,
                              .tokens = tokens,
                              .group = group,
                              .first_position = kPages * kPageTokens - tokens,
                              .pages = table,
                              .head = pages.data(),
                              .layout = layout,
                              .out = buffers[i].out.data(),
                              .out_stride = group * config.head_dim,
                              .scratch = buffers[i].scratch.data()});
      }
    });
  });
  return 4.0 * static_cast<double>(kTasks * queries.size() * kPages * kPageTokens) / seconds;
}

double element_seconds(const ModelConfig& config) {
  const std::size_t columns = std::max<std::size_t>(config.width, 64);
  const std::vector<float> weight(columns, 1.0f);
  std::vector<float> row(columns, 0.5f);
  constexpr auto kForm = ActivationForm::kInt8;
  std::vector<std::byte> groups(activation_row_bytes(kForm, columns));
  const double seconds = best_seconds(4, [&] {
    for (int i = 0; i < 8; ++i) {
      row_kernels().norm(row.data(), weight.data(), 1e-5f, columns, row.data());
      if (columns % kActivationGroup == 0) {
        convert_activations(kForm, row.data(), columns, groups.data());
      }
    }
  });
  return seconds / static_cast<double>(8 * columns);
}

}  // namespace

Hardware probe_host(const ModelLayout& model, Precision precision, LinkSpeed link) {
  ComputeRates rates;
  std::array<bool, kDTypeCount> used{};
  for (const UnitInfo& unit : model.units) {
    for (const MatrixInfo& m : unit.matrices) used[static_cast<std::size_t>(m.type())] = true;
  }
  Probe probe(model.units.front().matrices.front().columns(), precision);
  ProductRate slowest;
  for (std::size_t type = 0; type < kDTypeCount; ++type) {
    if (!used[type]) continue;
    if (model.config.width % dtype_info(kAllDTypes[type]).group_values != 0) continue;
    rates.products[type] = probe.product_rate(kAllDTypes[type]);
    rates.step_seconds = probe.step_seconds(kAllDTypes[type]);
    for (std::size_t i = 0; i < ProductRate::kTokens.size(); ++i) {
      double& most = slowest.seconds_per_byte[i];
      most = std::max(most, rates.products[type].seconds_per_byte[i]);
    }
  }
  // A type whose groups don't divide the width is taken to be as slow as the slowest measured.
  for (ProductRate& r : rates.products) {
    if (!r.known()) r = slowest;
  }
  rates.attention_operations_per_second = attention_rate(model.config);
  rates.attention_one_token_operations_per_second = rates.attention_operations_per_second;
  rates.element_seconds = element_seconds(model.config);
  if (link.bytes_per_second <= 0.0) link.bytes_per_second = probe.copy_rate();
  return {.device = rates, .host = rates, .to_device = link, .to_host = link};
}

}  // namespace sluice
