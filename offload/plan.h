// Plan: where every unit lives and every byte of the device goes, and how fast that should be.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "layers/model.h"
#include "layers/scratch.h"
#include "layers/weights.h"
#include "memory/kv_pages.h"
#include "memory/units.h"

namespace sluice {

// What is to be run.
struct Workload {
  std::size_t sequences = 1;
  std::size_t prompt_tokens = 128;   // of each sequence
  std::size_t max_tokens = 128;      // to generate, of each sequence
  std::size_t context_tokens = 256;  // of each sequence: what its pages must hold
  std::size_t cache_tokens =
      0;                    // of all sequences together, in whole pages; 0: context_tokens each
  bool all_logits = false;  // logits of every token rather than each sequence's last

  std::size_t cache_pages() const {
    return cache_tokens > 0 ? ceil_div(cache_tokens, kPageTokens)
                            : sequences * ceil_div(context_tokens, kPageTokens);
  }
};

// What the user says of a unit.
enum class Pin : std::uint8_t { kNone, kResident, kStreamed, kByHost };

// What must be kept, and what the user has fixed; the rest is the budgeter's to choose.
struct PlanLimits {
  bool in_place = false;                      // the device reads weights in host memory: no limit
  std::optional<std::size_t> device_bytes{};  // none: everything is resident
  bool gpu = false;                           // what operations on a GPU need is counted
  std::size_t context_bytes = 0;              // of the limit, what the driver takes for itself
  std::optional<std::size_t> slots{};         // 1 turns prefetching off
  std::optional<std::size_t> segment_tokens{};
  std::vector<KvType> kv_types{};  // that keys and values may have; none: f16, or f32 in models
                                   // of f32
  std::optional<Precision> precision{};  // none: as default_precision says
  bool host_computes = false;            // the host is a second place to compute
  // Units that it takes in small passes; none: as many as pay.
  std::optional<std::size_t> host_units{};
  // Layers whose cache lies in host memory; none: as many as pay, if the host is one.
  std::optional<std::size_t> host_cache_layers{};
  std::optional<std::size_t> cache_slots{};  // of Plan::cache_slots; none: where they pay
  std::optional<std::size_t> resident_units{};
  std::vector<Pin> pins{};                  // [units], or empty
  std::optional<std::size_t> host_bytes{};  // of host memory; none: it holds all weights

  // Whether the host needn't compute any unit.
  bool may_stream_all() const {
    return host_units.value_or(0) == 0 && std::ranges::count(pins, Pin::kByHost) == 0;
  }
  Pin pin(std::size_t unit) const { return pins.empty() ? Pin::kNone : pins[unit]; }
  std::size_t most_device_bytes() const {
    return device_bytes.value_or(std::numeric_limits<std::size_t>::max());
  }
};

// Where a unit lives.
enum class Placement : std::uint8_t {
  kResident,  // on the device from start to end
  kHost,      // in host memory: streamed through a slot, or computed where it lies
  kInPlace,   // in host memory, which is the device's own
  kDisk,      // in its file: read in every pass, then as a unit in host memory
};
inline constexpr std::array<std::string_view, 4> kPlacementNames = {"resident", "host", "in place",
                                                                    "disk"};
// Not on the device: streamed, or computed by the host.
constexpr bool is_outside(Placement p) {
  return p == Placement::kHost || p == Placement::kDisk;
}

// How passes of up to some number of tokens go about what lies in host memory.
struct Route {
  std::size_t tokens = 0;
  std::vector<bool> by_host{};  // [units]: computed by the host where it lies; others are streamed
  // The host attends in the layers whose cache is there; else their pages are streamed, through
  // slots of their own. Without such slots it always does.
  bool host_attends = false;

  bool takes_units() const { return std::ranges::count(by_host, true) > 0; }
  bool same_way(const Route& other) const {
    return by_host == other.by_host && host_attends == other.host_attends;
  }
};

// Seconds, as the cost model tells them.
struct Prediction {
  double prefill_seconds = 0.0;      // of all prompts
  double decode_pass_seconds = 0.0;  // one token of every sequence
  double decode_seconds = 0.0;       // of max_tokens passes
  double link_bytes_per_pass = 0.0;  // of weights and pages that decoding one token streams

  double seconds() const { return prefill_seconds + decode_seconds; }  // of the workload
};

// Device memory by purpose, each as lent (rounded up to kAlignBytes).
struct PlanBytes {
  std::size_t vectors = 0;   // norm weights and biases
  std::size_t resident = 0;  // units
  std::size_t slots = 0;
  std::size_t kv = 0;           // pages of keys and values
  std::size_t cache_slots = 0;  // that pages in host memory pass through
  std::size_t input = 0;        // a pass's tokens and where they belong
  std::size_t activations = 0;  // of a segment
  std::size_t logits = 0;       // and their summaries
  std::size_t scratch = 0;      // of a GPU's operations
  std::size_t context = 0;      // the driver's own

  // What is lent of the arena.
  std::size_t arena() const {
    return vectors + resident + slots + kv + cache_slots + input + activations + logits + scratch;
  }
  std::size_t total() const { return arena() + context; }
};

// Host memory by purpose.
struct HostBytes {
  std::size_t store = 0;    // units
  std::size_t disk = 0;     // buffers for pieces from the disk, and what their rows are read into
  std::size_t staging = 0;  // inputs of passes, and logits with their summaries
  std::size_t work = 0;     // where the host computes, norms and biases included
  std::size_t cache = 0;    // pages of keys and values

  std::size_t total() const { return store + disk + staging + work + cache; }
};

struct Plan {
  Workload workload;
  std::optional<std::size_t> limit_bytes;
  bool gpu = false;
  std::size_t segment_tokens = 1;  // tokens of a pass, at most
  std::size_t slots = 0;           // 0: nothing is streamed
  std::size_t slot_bytes = 0;
  std::size_t disk_buffers = 0;       // in host memory; 0: nothing lies on the disk
  std::size_t disk_buffer_bytes = 0;  // of each, slot_bytes or more
  KvLayout kv;                        // of the layers whose cache is on the device
  KvLayout host_kv;                   // of the others: the same pages, in host memory
  // On the device, for pages of host_kv: each holds a layer's, while a pass attends to them. 0: the
  // host attends, in every pass.
  std::size_t cache_slots = 0;
  Precision precision = Precision::kNormal;
  std::vector<Placement> placement;  // [units]
  std::vector<Route> routes;         // by tokens, ascending; larger passes stream everything
  PlanBytes bytes;
  HostBytes host_bytes;
  std::optional<std::size_t> host_limit_bytes;
  Prediction predicted;

  // Leaves the caches of so many layers to the host, spread evenly; the others are the device's.
  void cache_on_host(std::size_t layers);
  bool caches_on_host(std::size_t layer) const;
  // Whether it attends there, in passes by a route.
  bool host_attends(std::size_t route) const {
    return host_kv.layers > 0 &&
           (cache_slots == 0 || (route < routes.size() && routes[route].host_attends));
  }
  // Tokens of a pass in which it does, at most.
  std::size_t host_attended_tokens() const;
  // Where each layer's cache begins in its side's pages: [layers], null: on the other side.
  enum class Side : std::uint8_t { kDevice, kHost };
  std::vector<std::byte*> layer_caches(Side side, std::byte* pages) const;
  // The most that a pass brings.
  PassShape largest_pass() const;
  // The index of the route that a pass takes; routes.size(): everything is streamed.
  std::size_t route_of(std::size_t tokens) const;
  bool by_host(std::size_t unit, std::size_t route) const {
    return route < routes.size() && routes[route].by_host[unit];
  }
  // In every pass that needs it, whatever its size.
  bool always_streamed(std::size_t unit) const;
  // That the host computes in a pass of so many tokens.
  std::size_t host_units(std::size_t tokens) const;
  // Passes of more tokens leave the host no unit to compute.
  std::size_t host_tokens() const;
  // In a pass of so many tokens that wants logits.
  std::size_t streamed_bytes(const ModelLayout& model, std::size_t tokens) const;
  // Read from the disk in a pass that wants logits.
  std::size_t disk_bytes(const ModelLayout& model) const;
  // Whether passes of so many tokens are computed on a GPU and nowhere else, from weights and pages
  // that are there, by kernels of ours: the engine may give them as one graph.
  bool fits_graph(std::size_t tokens) const {
    return gpu && slots == 0 && !host_computes() && tokens <= kFewTokens;
  }
  // Whether there is anything that the host computes, but for logits.
  bool host_computes() const { return host_tokens() > 0 || host_kv.layers > 0; }
  // Of logits that there is room for, on the device and in host memory: those that the last tokens
  // of all sequences leave, or all of a pass.
  std::size_t logit_rows() const;
};

// Fills in plan.bytes and plan.host_bytes from everything else, but for context, which it keeps.
void count_bytes(const ModelLayout& model, Plan& plan);
// Of plan.bytes, what slots and pages take.
void count_slots(Plan& plan);

}  // namespace sluice
