#include "layers/ops_cpu.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "layers/row_kernels.h"
#include "layers/summarise_row.h"
#include "memory/clock.h"
#include "memory/host_stream.h"
#include "memory/parallel.h"

namespace sluice {
namespace {

// Tokens below which a loop isn't worth another thread.
constexpr std::size_t kTokenGrain = 8;

HostStream& host(Stream& stream) {
  return static_cast<HostStream&>(stream);
}

// A buffer of the calling thread's, which grows with the largest call and then stays.
float* thread_scratch(std::size_t floats) {
  thread_local std::vector<float> scratch;
  if (scratch.size() < floats) scratch.resize(floats);
  return scratch.data();
}

// Puts a token's f32 into every other form that is asked for.
void convert_row(const Activations& out, const float* row, std::size_t token, std::size_t columns) {
  for (std::size_t i = 0; i < kActivationForms; ++i) {
    const auto form = static_cast<ActivationForm>(i);
    if (form == ActivationForm::kF32 || !out.wants(form)) continue;
    convert_activations(form, row, columns, out.row(form, token, columns));
  }
}

// Where a row is computed: in place where f32 is asked for, else in scratch on its way to others.
template <typename Compute>
void emit_row(const Activations& out, std::size_t token, std::size_t columns,
              const Compute& compute) {
  const bool in_place = out.wants(ActivationForm::kF32);
  float* row = in_place ? out.f32(token, columns) : thread_scratch(columns);
  compute(row);
  convert_row(out, row, token, columns);
}

void run_norm(const NormArgs& a) {
  const RowKernels& kernels = row_kernels();
  parallel_for(a.tokens, kTokenGrain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      const std::size_t row = a.rows == nullptr ? t : static_cast<std::size_t>(a.rows[t]);
      emit_row(a.out, t, a.columns, [&](float* out) {
        kernels.norm(a.in + row * a.columns, a.weight, a.epsilon, a.columns, out);
      });
    }
  });
}

void add_to(float* row, const float* bias, std::size_t count) {
  if (bias == nullptr) return;
  for (std::size_t i = 0; i < count; ++i) row[i] += bias[i];
}

void run_rotate(const RotateArgs& a) {
  const RowKernels& kernels = row_kernels();
  const KvLayout& layout = a.kv.layout;
  const std::size_t dim = layout.head_dim;
  const std::size_t query_width = a.heads * dim;
  const std::size_t kv_width = layout.kv_heads * dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  const std::size_t head_bytes = layout.keys_bytes() + layout.values_bytes();
  parallel_for(a.places.tokens, kTokenGrain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      float* query = a.qkv + t * (query_width + 2 * kv_width);
      float* key = query + query_width;
      float* value = key + kv_width;
      const float* rotations = a.places.rotations + t * a.rope_dims;
      add_to(query, a.query_bias, query_width);
      add_to(key, a.key_bias, kv_width);
      add_to(value, a.value_bias, kv_width);
      kernels.rotate(query, a.heads, dim, a.rope_dims, rotations, scale);
      kernels.rotate(key, layout.kv_heads, dim, a.rope_dims, rotations, 1.0f);
      std::byte* page =
          a.kv.layer + static_cast<std::size_t>(a.places.pages[t]) * layout.page_bytes();
      const std::size_t slot = static_cast<std::size_t>(a.places.positions[t]) % kPageTokens;
      for (std::size_t head = 0; head < layout.kv_heads; ++head) {
        kernels.store(key + head * dim, value + head * dim, slot, layout, page + head * head_bytes);
      }
    }
  });
}

void attend_block(const AttentionArgs& a, const QueryBlock& block, std::size_t kv_head) {
  const KvLayout& layout = a.kv.layout;
  const std::size_t dim = layout.head_dim;
  const std::size_t group = a.heads / layout.kv_heads;
  const std::size_t columns = a.heads * dim;
  const std::size_t row_floats = (a.heads + 2 * layout.kv_heads) * dim;
  const auto first = static_cast<std::size_t>(block.first_token);
  const auto tokens = static_cast<std::size_t>(block.tokens);
  row_kernels().attend(
      {.queries = a.qkv + first * row_floats + kv_head * group * dim,
       .query_stride = row_floats,
       .tokens = tokens,
       .group = group,
       .first_position = static_cast<std::size_t>(block.first_position),
       .pages = a.page_table + block.first_page,
       .head = a.kv.layer + kv_head * (layout.keys_bytes() + layout.values_bytes()),
       .layout = layout,
       .out = a.out.f32(first, columns) + kv_head * group * dim,
       .out_stride = activation_row_bytes(ActivationForm::kF32, columns) / sizeof(float),
       .scratch = thread_scratch(attend_scratch_floats(layout, tokens * group))});
}

void run_attend(const AttentionArgs& a) {
  const std::size_t kv_heads = a.kv.layout.kv_heads;
  std::size_t keys = 0;
  for (std::size_t b = 0; b < a.block_count; ++b) {
    keys += static_cast<std::size_t>(a.blocks[b].tokens) *
            static_cast<std::size_t>(a.blocks[b].first_position + a.blocks[b].tokens);
  }
  const std::size_t work = a.block_count * kv_heads;
  const std::size_t grain = keys * a.heads < kAloneScores ? work : 1;
  parallel_for(work, grain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      attend_block(a, a.blocks[i / kv_heads], i % kv_heads);
    }
  });
  const std::size_t columns = a.heads * a.kv.layout.head_dim;
  parallel_for(a.tokens, kTokenGrain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) convert_row(a.out, a.out.f32(t, columns), t, columns);
  });
}

void run_swiglu(const SwiGluArgs& a) {
  const RowKernels& kernels = row_kernels();
  parallel_for(a.tokens, kTokenGrain / 2, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      const float* gate = a.gate_up + t * 2 * a.columns;
      emit_row(a.out, t, a.columns, [&](float* out) {
        kernels.swiglu(gate, gate + a.columns, a.gate_bias, a.up_bias, a.columns, out);
      });
    }
  });
}

void run_add_bias(const BiasArgs& a) {
  for (std::size_t t = 0; t < a.tokens; ++t) add_to(a.io + t * a.columns, a.bias, a.columns);
}

void run_summarise(const SummariseArgs& a) {
  parallel_for(a.rows, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      summarise_row({a.logits + row * a.vocab, a.vocab}, a.queries[row], a.top, a.out[row]);
    }
  });
}

}  // namespace

void OpsCpu::norm(Stream& stream, const NormArgs& args) {
  host(stream).enqueue([args] { run_norm(args); });
}

double ComputePace::seconds(double bytes, double operations) const {
  return std::max(bytes_per_second > 0.0 ? bytes / bytes_per_second : 0.0,
                  operations_per_second > 0.0 ? operations / operations_per_second : 0.0);
}

double ComputePace::seconds(const ProductBatch& batch) const {
  double total_seconds = 0.0;
  for (std::size_t i = 0; i < batch.count; ++i) {
    const ProductArgs& p = batch.products[i];
    const double bytes = static_cast<double>(packed_bytes(p.type, p.rows, p.columns));
    const double operations = 2.0 * static_cast<double>(p.rows * p.columns * p.tokens);
    total_seconds += seconds(bytes, operations);
  }
  return total_seconds;
}

void OpsCpu::product(Stream& stream, const ProductBatch& batch) {
  if (!pace_.given()) {
    host(stream).enqueue([batch] { products({batch.products.data(), batch.count}); });
    return;
  }
  HostStream& queue = host(stream);
  queue.enqueue_paced([this, batch, due = &queue.due_seconds()](double ready_seconds) {
    const double end_seconds = ready_seconds + pace_.seconds(batch);
    due->store(end_seconds, std::memory_order_release);
    const double begin_seconds = now_seconds();
    products({batch.products.data(), batch.count});
    const double took_seconds = now_seconds() - begin_seconds;
    return std::max(end_seconds, ready_seconds + took_seconds);
  });
}

void OpsCpu::rotate(Stream& stream, const RotateArgs& args) {
  host(stream).enqueue([args] { run_rotate(args); });
}

void OpsCpu::attend(Stream& stream, const AttentionArgs& args) {
  host(stream).enqueue([args] { run_attend(args); });
}

void OpsCpu::swiglu(Stream& stream, const SwiGluArgs& args) {
  host(stream).enqueue([args] { run_swiglu(args); });
}

void OpsCpu::add_bias(Stream& stream, const BiasArgs& args) {
  host(stream).enqueue([args] { run_add_bias(args); });
}

void OpsCpu::summarise(Stream& stream, const SummariseArgs& args) {
  host(stream).enqueue([args] { run_summarise(args); });
}

}  // namespace sluice
