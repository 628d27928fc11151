// What the lanes of a warp do together, and what is said of those who fail to.
#include <bit>

#include "memory/error.h"
#include "tests/cuda/emulation_block.h"

namespace sluice::emulation {
namespace {

std::string hex(unsigned mask) {
  std::ostringstream out;
  out << "0x" << std::hex << mask;
  return out.str();
}

struct Vote {
  bool predicate;
  unsigned ballot;
};

struct Exchange {
  std::uint64_t bits;
  unsigned source;
  std::uint64_t result;
};

void do_vote(unsigned mask, void* const* payloads) {
  unsigned ballot = 0;
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    if (static_cast<const Vote*>(payloads[lane])->predicate) ballot |= 1u << lane;
  }
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    static_cast<Vote*>(payloads[std::countr_zero(rest)])->ballot = ballot;
  }
}

void do_exchange(unsigned mask, void* const* payloads) {
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    auto* exchange = static_cast<Exchange*>(payloads[std::countr_zero(rest)]);
    exchange->result = static_cast<const Exchange*>(payloads[exchange->source])->bits;
  }
}

// The lane that `lane` reads; its own where the PTX ISA says that it keeps its value.
unsigned source_lane(Shuffle kind, unsigned lane, int operand, unsigned width) {
  const unsigned first = lane & ~(width - 1);
  const unsigned end = first + width;
  const auto by = static_cast<unsigned>(operand);
  switch (kind) {
    case Shuffle::kIndex:
      return first | (by & (width - 1));
    case Shuffle::kUp:
      return by <= lane - first ? lane - by : lane;
    case Shuffle::kDown:
      return by < end - lane ? lane + by : lane;
    case Shuffle::kXor:
      return (lane ^ by) < end ? lane ^ by : lane;
  }
  return lane;
}

}  // namespace

void BlockRunner::collective(const char* call, unsigned mask, void* payload, Complete complete,
                             Site site) {
  const unsigned self = lane();
  Warp& warp = warps_[index_of(*current_) / kWarpThreads];
  const unsigned slot = gathering_for(call, mask, site);
  Gathering& gathering = warp.gatherings[slot];
  gathering.payloads[self] = payload;
  gathering.come |= 1u << self;
  // Only __syncwarp orders what the lanes do to memory; it alone brings no payload.
  char* token = payload == nullptr ? &gathering.tokens[gathering.turn] : nullptr;
  if (token != nullptr) release_to_others(token);
  if (gathering.come == mask) {
    if (complete != nullptr) complete(mask, gathering.payloads.data());
    warp.used &= ~(1u << slot);
    gathering.turn ^= 1;
    make_ready_all(index_of(*current_) - self, mask, kWarpThreads);
  }
  wait(call, site);
  if (token != nullptr) acquire_from_others(token);
}

// The gathering that the calling thread comes to, or a new one.
unsigned BlockRunner::gathering_for(const char* call, unsigned mask, Site site) {
  const unsigned thread = index_of(*current_);
  const unsigned self = thread % kWarpThreads;
  const unsigned first_thread = thread - self;
  Warp& warp = warps_[thread / kWarpThreads];
  const auto calls = [&] { return text("calls ", call, " at ", text_of(site), " with mask "); };
  if ((mask >> self & 1) == 0) fail(text(calls(), hex(mask), ", which lacks its own lane ", self));
  const unsigned exists = exists_mask(thread / kWarpThreads);
  if ((mask & ~exists) != 0) {
    fail(text(calls(), hex(mask), ", which names lane ", std::countr_zero(mask & ~exists),
              "; the block hasn't got that"));
  }
  if ((mask & warp.exited) != 0) {
    const int gone = std::countr_zero(mask & warp.exited);
    fail(text(calls(), hex(mask), ", which names lane ", gone, "; that has exited"));
  }
  for (unsigned rest = warp.used; rest != 0; rest &= rest - 1) {
    const auto slot = static_cast<unsigned>(std::countr_zero(rest));
    const Gathering& gathering = warp.gatherings[slot];
    if ((gathering.mask & mask) == 0) continue;
    const Thread& first = threads_[first_thread + gathering.first_lane];
    if (gathering.mask != mask || !is_same(first.site, site)) {
      fail(text(calls(), hex(mask), " while ", waits(first), " with mask ", hex(gathering.mask)));
    }
    return slot;
  }
  const auto slot = static_cast<unsigned>(std::countr_one(warp.used));
  warp.used |= 1u << slot;
  Gathering& gathering = warp.gatherings[slot];
  gathering.mask = mask;
  gathering.come = 0;
  gathering.first_lane = self;
  return slot;
}

unsigned BlockRunner::exists_mask(unsigned warp) const {
  const unsigned rest = thread_count_ - warp * kWarpThreads;
  return rest >= kWarpThreads ? ~0u : (1u << rest) - 1;
}

std::string BlockRunner::where(const Thread& thread) const {
  return text("block ", text_of(thread.indices.block), ": thread ", text_of(thread.indices.thread));
}

std::string BlockRunner::waits(const Thread& thread) const {
  return text("thread ", text_of(thread.indices.thread), " waits in ", thread.call, " at ",
              text_of(thread.site));
}

// Two that wait for different things, if there are two.
std::string BlockRunner::deadlock() const {
  const Thread* first = nullptr;
  const Thread* second = nullptr;
  for (unsigned i = 0; i < thread_count_; ++i) {
    const Thread& thread = threads_[i];
    if (thread.exited || thread.call == nullptr) continue;
    if (first == nullptr) first = &thread;
    if (second == nullptr && !is_same(thread.site, first->site)) second = &thread;
  }
  return text("block ", text_of(threads_[0].indices.block), ": nobody can go on: ", waits(*first),
              second != nullptr ? "; " + waits(*second) : "");
}

void warp_barrier(unsigned mask, Site site) {
  current_thread->runner->collective("__syncwarp", mask, nullptr, nullptr, site);
}

unsigned vote(const char* call, unsigned mask, bool predicate, Site site) {
  Vote own = {predicate, 0};
  current_thread->runner->collective(call, mask, &own, do_vote, site);
  return own.ballot;
}

std::uint64_t shuffle(const char* call, Shuffle kind, unsigned mask, std::uint64_t bits,
                      int operand, int width, Site site) {
  BlockRunner& runner = *current_thread->runner;
  if (width < 1 || width > 32 || !std::has_single_bit(static_cast<unsigned>(width))) {
    runner.fail(text("calls ", call, " at ", text_of(site), " with width ", width));
  }
  const unsigned source = source_lane(kind, runner.lane(), operand, static_cast<unsigned>(width));
  if ((mask >> source & 1) == 0) {
    runner.fail(text("calls ", call, " at ", text_of(site), " to read lane ", source,
                     ", which its mask ", hex(mask), " lacks"));
  }
  Exchange exchange = {bits, source, 0};
  runner.collective(call, mask, &exchange, do_exchange, site);
  return exchange.result;
}

}  // namespace sluice::emulation
