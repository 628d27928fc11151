// Measures this machine's rates.
#pragma once

#include <optional>
#include <span>

#include "offload/hardware.h"
#include "offload/probe_layer.h"

namespace sluice {

// What need not be measured for some work.
struct ProbeScope {
  std::size_t most_tokens = ProbeLayer::kMostTokens;  // of a pass
  bool copies = true;                                 // weights are copied while others compute
  std::optional<std::size_t> host_bytes{};            // of which half is taken at most
};

// Measures what `model` needs of this machine's CPU in about 0.15 s for each type of its weights
// and 0.2 s for copies, on synthetic weights, as many as the model's up to 256 MiB, and attention
// on caches of `kv_types`, 0.1 s each but f16. A link without a speed is measured as a memory copy.
Hardware probe_host(const ModelLayout& model, Precision precision, LinkSpeed link,
                    std::span<const KvType> kv_types, const ProbeScope& scope = {});

// The parts of it. Product rates and what surrounds products, of layers as `layer` has them: passes
// of more than `most_tokens` are taken to last in proportion. `layers`, if given, is told of all
// that a layer takes.
using LayerSecondsTable = std::array<LayerSeconds, ProductRate::kTokens.size()>;
ProductRate probe_products(ProbeLayer& layer, DType type, LayerSecondsTable* layers = nullptr,
                           std::size_t most_tokens = ProbeLayer::kMostTokens);
void probe_between(ProbeLayer& layer, DType type, const ModelConfig& config,
                   const LayerSecondsTable& layers, ComputeRates& rates);
// Attention on a cache of one type against one of f16, measured in turns: other work slows both.
AttentionShares probe_attention_shares(ProbeLayer& layer, DType type, KvType kv);

// A product in one piece and in eight.
void probe_cuts(ProbeLayer& layer, DType type, ComputeRates& rates);

// A thread that copies while another computes.
struct CopyRates {
  double bytes_per_second = 0.0;
  double share = 1.0;  // of its speed that computing keeps meanwhile
};
CopyRates probe_copies(ProbeLayer& layer, DType type);

// What it costs computing to have waited for a copy: to begin late, and with workers that sleep.
double probe_wait_seconds(ProbeLayer& layer, DType type);

// What a copy costs beside its bytes where a link has no pace: two streams that wait for each
// other.
double probe_hop_seconds(HostStream& stream);

// From the end of a pass on a stream to the host thread that waited for it, and back again to the
// stream, which has gone to sleep: the host lays out tokens for so long meanwhile.
double probe_pass_seconds(ProbeLayer& layer, DType type, double rest_seconds);

// To lay out a token of a pass; to summarise a logit.
double probe_token_seconds(const ModelLayout& model);
double probe_logit_seconds();

}  // namespace sluice
