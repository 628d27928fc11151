// Ops: every computation that a pass is made of, but for where it runs. The seam of CPU and CUDA.
//
// All pointers lie on the device of the stream. Every output element is reduced in one fixed order,
// whatever else is in the call: results don't depend on how tokens were put together.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "layers/logits_summary.h"
#include "layers/products.h"
#include "layers/scratch.h"
#include "memory/device.h"
#include "memory/kv_pages.h"

namespace sluice {

// RMSNorm (Zhang and Sennrich 2019): out = in * weight / sqrt(mean(in^2) + epsilon).
struct NormArgs {
  const float* in;           // [.., columns]
  const std::int32_t* rows;  // which rows of `in` [tokens]; null: the first ones
  std::size_t tokens;
  std::size_t columns;
  const float* weight;  // [columns]
  float epsilon;
  Activations out;  // [tokens, columns]
};

// Where the tokens of a pass are in their sequences, and their sequences in the pages.
struct TokenPlaces {
  std::size_t tokens;
  const std::int32_t* positions;  // [tokens]
  const std::int32_t* pages;      // [tokens], the page that holds the token's key and value
  const float* rotations;         // [tokens, rope_dims]: cos, sin of each pair's angle
};

struct KvView {
  KvLayout layout;
  std::byte* layer;  // the layer's part of page 0
};

// Adds biases, rotates queries and keys (Su et al. 2021; pairs 2i, 2i + 1), scales queries by
// 1 / sqrt(head_dim), and stores keys and values in their pages.
struct RotateArgs {
  float* qkv;  // [tokens, heads + 2 kv_heads, head_dim]
  std::size_t heads;
  std::size_t rope_dims;
  const float* query_bias;  // [heads * head_dim] or null, and so on
  const float* key_bias;
  const float* value_bias;
  TokenPlaces places;
  KvView kv;
};

// A run of tokens of one sequence that are attended together, and their sequence's pages.
struct QueryBlock {
  std::int32_t first_token;
  std::int32_t tokens;  // at most query_block_tokens(...), or gpu_query_block_tokens(...)
  std::int32_t first_position;
  std::int32_t first_page;  // index into the page table
};

// Queries that share their keys are worked on together: this many at most, over tokens and heads.
constexpr std::size_t query_block_tokens(std::size_t heads_per_key) {
  return heads_per_key >= 64 ? 1 : 64 / heads_per_key < 16 ? 64 / heads_per_key : 16;
}

// Attention of fewer scores than this, over all tokens and heads, the CPU does on one thread: it is
// done before another would have woken.
inline constexpr std::size_t kAloneScores = 4096;

// On a GPU, where keys are read from near memory only once they have been shared.
constexpr std::size_t gpu_query_block_tokens(std::size_t heads_per_key) {
  return heads_per_key >= 64 ? 1 : 64 / heads_per_key;
}

// Causal attention of every query over the pages of its sequence, up to itself. Each page gives a
// state (out, log-sum-exp as maximum and sum); states are merged in the order of pages.
struct AttentionArgs {
  const float* qkv;  // as RotateArgs left it
  std::size_t heads;
  const QueryBlock* blocks;  // [block_count]
  std::size_t block_count;
  std::size_t tokens;
  std::size_t keys;                // that any query sees, at most
  const std::int32_t* page_table;  // [table_pages]
  std::size_t table_pages;
  KvView kv;
  Activations out;  // [tokens, heads * head_dim]; f32 always
};

// out = silu(gate + gate_bias) * (up + up_bias), silu(x) = x / (1 + e^-x).
struct SwiGluArgs {
  const float* gate_up;  // [tokens, 2, columns]
  std::size_t tokens;
  std::size_t columns;
  const float* gate_bias;  // [columns] or null
  const float* up_bias;
  Activations out;  // [tokens, columns]
};

// io[t, c] += bias[c].
struct BiasArgs {
  float* io;  // [tokens, columns]
  std::size_t tokens;
  std::size_t columns;
  const float* bias;
};

// Rows of logits in a few numbers each. Exact but for the sums, which are made of f32 terms, in one
// fixed order of each device's own.
struct SummariseArgs {
  const float* logits;  // [rows, vocab]
  std::size_t rows;
  std::size_t vocab;
  const LogitsQuery* queries;  // [rows]
  bool top;                    // whether the highest are wanted; if not, count is 0
  LogitsSummary* parts;        // [rows, summary_parts(vocab)], for a GPU to work in
  LogitsSummary* out;          // [rows]
};

// Products that don't depend on each other.
struct ProductBatch {
  static constexpr std::size_t kMost = 3;
  std::array<ProductArgs, kMost> products;
  std::size_t count = 0;
};

class Ops {
 public:
  virtual ~Ops() = default;
  // Lends device memory for their own use, before anything else and with nothing under way; of the
  // CPU none.
  virtual void use_scratch(std::byte* /*begin*/, const ScratchSizes& /*sizes*/,
                           Precision /*precision*/) {}
  virtual void norm(Stream& stream, const NormArgs& args) = 0;
  virtual void product(Stream& stream, const ProductBatch& batch) = 0;
  virtual void rotate(Stream& stream, const RotateArgs& args) = 0;
  virtual void attend(Stream& stream, const AttentionArgs& args) = 0;
  virtual void swiglu(Stream& stream, const SwiGluArgs& args) = 0;
  virtual void add_bias(Stream& stream, const BiasArgs& args) = 0;
  virtual void summarise(Stream& stream, const SummariseArgs& args) = 0;
};

}  // namespace sluice
