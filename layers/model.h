// The Llama family's pass, piece by piece: enqueues computation on weights that are in place when
// the stream gets there, and never asks where they came from.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "layers/ops.h"
#include "layers/pieces.h"
#include "layers/weights.h"

namespace sluice {

// What a pass brings, laid out for one copy to the device. Offsets follow from the sizes.
struct PassShape {
  std::size_t tokens = 0;
  std::size_t logit_rows = 0;   // tokens whose logits are wanted
  std::size_t blocks = 0;       // query blocks
  std::size_t table_pages = 0;  // entries of the page table
  std::size_t keys = 0;         // that any token sees, at most
  std::size_t first_row = 0;    // where its rows of logits begin among the workspace's

  std::size_t input_bytes(const ModelConfig& config) const;
  bool operator==(const PassShape&) const = default;
};

// A PassShape's arrays inside a buffer, on either side of the link.
struct PassInput {
  PassInput(const ModelConfig& config, const PassShape& shape, std::byte* begin);
  float* residual;           // [tokens, width]: the embeddings at first
  float* rotations;          // [tokens, rope_dims]
  std::int32_t* positions;   // [tokens]
  std::int32_t* pages;       // [tokens]
  std::int32_t* logit_rows;  // [logit_rows], indices of tokens
  LogitsQuery* queries;      // [logit_rows]
  QueryBlock* blocks;        // [blocks]
  std::int32_t* page_table;  // [table_pages]
  std::size_t size_bytes;    // of them all
};

// The device memory that passes work in, besides weights, pages and logits. For `tokens` tokens and
// `rows` rows of logits at most.
struct WorkspaceSizes {
  std::size_t input_bytes;
  std::array<std::size_t, kActivationForms> activation_bytes;  // in each form that is taken
  std::size_t mixing_floats;  // [tokens, 2 feed_forward], or query, key, value and attention's out;
                              // or what logits are summarised in
};
WorkspaceSizes workspace_sizes(const ModelLayout& model, Precision precision,
                               const PassShape& largest);
// Of a place that attends, for so many tokens, and computes nothing else. Input: none.
WorkspaceSizes attention_sizes(const ModelLayout& model, Precision precision, std::size_t tokens);

// Of one token: queries, keys and values, which attention begins with, and what it leaves for its
// unit's output product.
std::size_t mixed_row_bytes(const ModelConfig& config);
std::size_t attended_row_bytes(const ModelConfig& config, const UnitInfo& attention,
                               Precision precision);

struct Workspace {
  Precision precision = Precision::kNormal;
  std::byte* input;  // as the largest PassInput
  Activations activations;
  float* mixing;
  float* logits;             // [rows, vocab]
  LogitsSummary* summaries;  // [rows]
  float* vectors;            // the model's norm weights and biases
  // [layers]: where each one's part of the pages begins; null: it is attended apart from its unit.
  std::vector<std::byte*> kv;
  KvLayout kv_layout;
};

// Whether what follows a matrix needs its product; if not, the next product is handed over with it.
bool ends_batch(MatrixRole role);

class Model {
 public:
  // Borrows all three, and the memory that `workspace` points to.
  Model(const ModelLayout& layout, Ops& ops, const Workspace& workspace)
      : layout_(layout), ops_(ops), workspace_(workspace) {}

  // Starts a pass whose input lies at `input` when the stream gets to its first piece.
  void begin_pass(const PassShape& shape, std::byte* input);

  // Enqueues a piece whose panels lie at `weights`. Pieces come in order; the head only where
  // logits are wanted.
  void run(Stream& stream, const Piece& piece, const std::byte* weights);

  // Enqueues the summaries of the pass's rows of logits, behind the head. `top`: with the highest.
  void summarise(Stream& stream, bool top);

  // Rotates the rows of a pass, stores keys and values, attends, for the layer of an attention
  // unit, whose part of the pages begins at `kv`. Running that unit's pieces does it where
  // Workspace::kv has them.
  void attend(Stream& stream, std::size_t unit, std::byte* kv);
  // What that begins with, and what it leaves: rows for the pass's tokens, laid out alike wherever
  // they are computed.
  std::span<std::byte> mixed_rows() const;
  std::span<std::byte> attended_rows(std::size_t unit) const;

 private:
  void before(Stream& stream, const UnitInfo& unit, MatrixRole role);
  void after(Stream& stream, std::size_t unit, MatrixRole role);
  ProductArgs product_args(const UnitInfo& unit, const PanelRange& range,
                           const std::byte* panels) const;
  void add_bias(Stream& stream, std::size_t layer, VectorRole role);

  // The forms of activations that these matrices take.
  Activations inputs_of(const UnitInfo& unit, std::initializer_list<MatrixRole> roles) const;
  const float* vector(std::size_t layer, VectorRole role) const;
  float* attention_out() const;

  const ModelLayout& layout_;
  Ops& ops_;
  Workspace workspace_;
  PassShape shape_;
  PassInput input_{{}, {}, nullptr};
};

}  // namespace sluice
