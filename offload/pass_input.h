// Cuts what sequences bring into passes, and lays each pass out for the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "layers/model.h"
#include "memory/kv_pages.h"
#include "offload/plan.h"
#include "offload/sequence.h"
#include "offload/trace.h"

namespace sluice {

// Tokens for a sequence: its next prompt, or the token it was given last.
struct Feed {
  std::size_t sequence;
  std::span<const std::int32_t> tokens;
  float temperature = 0.0f;  // that the last token's summary has its sum at; 0: it has none
};

// One pass's share of a feed.
struct PassPart {
  std::size_t feed;
  std::size_t sequence;
  std::size_t first_token;  // of the feed
  std::size_t tokens;
  std::size_t first_position;  // of the sequence
};

// Packs the feeds in order, up to plan.segment_tokens tokens a pass, wherever that cuts them.
// Results don't depend on the cuts. Allocates nothing after construction.
class PassInputBuilder {
 public:
  // Borrows all of it; embeddings are read from the file, by position: a page that is mapped would
  // count as ours, and one that the file no longer has would be a fault rather than an Error{kIo}.
  PassInputBuilder(const ModelFile& file, const ModelLayout& layout, const Plan& plan,
                   std::vector<Sequence>& sequences, PagePool& pages);

  // Starts on `feeds`, which must have been checked.
  void begin(std::span<const Feed> feeds, bool all_logits);
  bool done() const { return feed_ == feeds_.size(); }
  // Lends pages for the next pass's tokens, lays the pass out at `buffer`, moves on.
  PassShape next(std::byte* buffer);

  // Of the pass laid out last.
  const std::vector<PassPart>& parts() const { return parts_; }
  PassSize size_of(const PassShape& shape) const;

 private:
  PassShape choose_parts();
  void fill(const PassShape& shape, std::byte* buffer);
  void fill_token(const PassInput& input, std::size_t at, std::int32_t token, std::size_t position,
                  const Sequence& sequence);

  const ModelFile& file_;
  const ModelLayout& layout_;
  const Plan& plan_;
  std::vector<Sequence>& sequences_;
  PagePool& pages_;
  std::span<const Feed> feeds_;
  bool all_logits_ = false;
  std::size_t feed_ = 0;   // the first not done
  std::size_t token_ = 0;  // of that feed
  std::vector<PassPart> parts_;
  std::vector<std::byte> embedding_;  // of one token, as it lies in the file
};

}  // namespace sluice
