#include "offload/pass_input.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "memory/quant.h"
#include "memory/units.h"

namespace sluice {
namespace {

// Of a pass of so many tokens. Where the host attends in any layer, its blocks suit both.
std::size_t block_tokens_of(const Plan& plan, const ModelConfig& config, std::size_t tokens) {
  const std::size_t group = config.heads / config.kv_heads;
  const bool gpu_alone = plan.gpu && !plan.host_attends(plan.route_of(tokens));
  return gpu_alone ? gpu_query_block_tokens(group) : query_block_tokens(group);
}

LogitsQuery query_of(std::int32_t target, float temperature) {
  return {target, temperature > 0.0f ? 1.0f / temperature : 0.0f};
}

}  // namespace

PassInputBuilder::PassInputBuilder(const ModelFile& file, const ModelLayout& layout,
                                   const Plan& plan, std::vector<Sequence>& sequences,
                                   PagePool& pages)
    : file_(file), layout_(layout), plan_(plan), sequences_(sequences), pages_(pages) {
  parts_.reserve(plan.workload.sequences);
  embedding_.resize(row_bytes(layout.embedding->type, layout.config.width));
}

void PassInputBuilder::begin(std::span<const Feed> feeds, bool all_logits) {
  feeds_ = feeds;
  all_logits_ = all_logits;
  feed_ = 0;
  token_ = 0;
}

PassShape PassInputBuilder::next(std::byte* buffer) {
  const PassShape shape = choose_parts();
  fill(shape, buffer);
  return shape;
}

// Takes tokens while there is room for them and for their logits.
PassShape PassInputBuilder::choose_parts() {
  const PassShape largest = plan_.largest_pass();
  PassShape shape;
  parts_.clear();
  while (!done() && shape.tokens < largest.tokens) {
    const Feed& feed = feeds_[feed_];
    const std::size_t left = feed.tokens.size() - token_;
    std::size_t take = std::min(left, largest.tokens - shape.tokens);
    const std::size_t rows_free = largest.logit_rows - shape.logit_rows;
    if (all_logits_) take = std::min(take, rows_free);
    if (take == 0 || (take == left && rows_free == 0)) break;
    Sequence& sequence = sequences_[feed.sequence];
    parts_.push_back({feed_, feed.sequence, token_, take, sequence.length});
    shape.tokens += take;
    shape.logit_rows += all_logits_ ? take : take == left ? 1 : 0;
    sequence.length += take;
    while (sequence.pages.size() * kPageTokens < sequence.length) {
      const auto page = pages_.try_lend();
      assert(page && "the plan holds every sequence's context");
      sequence.pages.push_back(*page);
    }
    shape.table_pages += sequence.pages.size();
    shape.keys = std::max(shape.keys, sequence.length);
    token_ += take;
    if (take == left) {
      ++feed_;
      token_ = 0;
    }
  }
  assert(shape.tokens > 0);
  const std::size_t block_tokens = block_tokens_of(plan_, layout_.config, shape.tokens);
  for (const PassPart& part : parts_) shape.blocks += ceil_div(part.tokens, block_tokens);
  return shape;
}

PassSize PassInputBuilder::size_of(const PassShape& shape) const {
  std::size_t keys = 0;  // of all tokens
  for (const PassPart& part : parts_) {
    keys += part.tokens * part.first_position + part.tokens * (part.tokens + 1) / 2;
  }
  return {.tokens = shape.tokens,
          .keys = ceil_div(keys, shape.tokens),
          .rows = shape.logit_rows,
          .sequences = parts_.size()};
}

void PassInputBuilder::fill(const PassShape& shape, std::byte* buffer) {
  const ModelConfig& c = layout_.config;
  const std::size_t block_tokens = block_tokens_of(plan_, c, shape.tokens);
  const PassInput input(c, shape, buffer);
  std::size_t at = 0;
  std::size_t row = 0;
  std::size_t block = 0;
  std::size_t table = 0;
  for (const PassPart& part : parts_) {
    const Feed& feed = feeds_[part.feed];
    const Sequence& sequence = sequences_[part.sequence];
    for (std::size_t t = 0; t < part.tokens; t += block_tokens) {
      input.blocks[block++] = {static_cast<std::int32_t>(at + t),
                               static_cast<std::int32_t>(std::min(block_tokens, part.tokens - t)),
                               static_cast<std::int32_t>(part.first_position + t),
                               static_cast<std::int32_t>(table)};
    }
    std::copy(sequence.pages.begin(), sequence.pages.end(), input.page_table + table);
    table += sequence.pages.size();
    for (std::size_t t = 0; t < part.tokens; ++t, ++at) {
      fill_token(input, at, feed.tokens[part.first_token + t], part.first_position + t, sequence);
      const std::size_t next = part.first_token + t + 1;
      const bool last = next == feed.tokens.size();
      if (!all_logits_ && !last) continue;
      input.logit_rows[row] = static_cast<std::int32_t>(at);
      input.queries[row++] = all_logits_ ? query_of(last ? -1 : feed.tokens[next], 1.0f)
                                         : query_of(-1, feed.temperature);
    }
  }
  assert(row == shape.logit_rows && block == shape.blocks && table == shape.table_pages);
}

void PassInputBuilder::fill_token(const PassInput& input, std::size_t at, std::int32_t token,
                                  std::size_t position, const Sequence& sequence) {
  const ModelConfig& c = layout_.config;
  const TensorInfo& embedding = *layout_.embedding;
  const std::size_t begin = static_cast<std::size_t>(token) * embedding_.size();
  file_.file(embedding.file).check_read(embedding.begin_bytes + begin, embedding_);
  decode_row(embedding.type, embedding_.data(), c.width, input.residual + at * c.width);
  float* rotation = input.rotations + at * c.rope_dims;
  for (const double frequency : c.rope_frequencies) {
    const double angle = static_cast<double>(position) * frequency;
    *rotation++ = static_cast<float>(std::cos(angle));
    *rotation++ = static_cast<float>(std::sin(angle));
  }
  input.positions[at] = static_cast<std::int32_t>(position);
  input.pages[at] = sequence.pages[position / kPageTokens];
}

}  // namespace sluice
