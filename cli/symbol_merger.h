// Merging neighbours, best pair first: what both kinds of BPE do.
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <vector>

#include "cli/tokenizer.h"

namespace sluice {

// A stretch of text, in a list of neighbours.
struct Symbol {
  std::uint32_t begin;          // where in the text
  std::uint32_t size_bytes;     // 0: merged into another
  Token token;                  // -1: none has this text
  std::int32_t previous, next;  // -1: none
};

// What two neighbours become.
struct Merge {
  double rank;  // lower merges first; of equals the leftmost
  Token token;
};

// Keeps its buffers from one text to the next.
class SymbolMerger {
 public:
  void clear() { symbols_.clear(); }
  void add(std::uint32_t begin, std::uint32_t size_bytes, Token token) {
    const auto index = static_cast<std::int32_t>(symbols_.size());
    if (index > 0) symbols_.back().next = index;
    symbols_.push_back({begin, size_bytes, token, index - 1, -1});
  }

  // `find_merge(left, right)` gives an optional Merge. n symbols take O(n log n).
  template <typename FindMerge>
  void merge_all(const FindMerge& find_merge) {
    candidates_.clear();
    for (std::size_t i = 0; i + 1 < symbols_.size(); ++i) {
      propose(static_cast<std::int32_t>(i), find_merge);
    }
    while (!candidates_.empty()) {
      const Candidate best = candidates_.front();
      std::pop_heap(candidates_.begin(), candidates_.end(), Candidate::comes_later);
      candidates_.pop_back();
      if (!still_stands(best)) continue;
      merge(best);
      if (const auto before = symbols_[best.left].previous; before >= 0)
        propose(before, find_merge);
      propose(best.left, find_merge);
    }
  }

  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (std::int32_t i = symbols_.empty() ? -1 : 0; i >= 0; i = symbols_[i].next) {
      visit(symbols_[i]);
    }
  }

 private:
  struct Candidate {
    double rank;
    std::int32_t left;
    std::uint32_t size_bytes;  // of both: symbols only grow, so this tells if they still are what
    Token token;               // they were when the candidate was proposed

    static bool comes_later(const Candidate& a, const Candidate& b) {
      return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
    }
  };

  template <typename FindMerge>
  void propose(std::int32_t left, const FindMerge& find_merge) {
    const Symbol& symbol = symbols_[left];
    if (symbol.next < 0) return;
    const Symbol& right = symbols_[symbol.next];
    const std::optional<Merge> found = find_merge(symbol, right);
    if (!found) return;
    candidates_.push_back({found->rank, left, symbol.size_bytes + right.size_bytes, found->token});
    std::push_heap(candidates_.begin(), candidates_.end(), Candidate::comes_later);
  }

  bool still_stands(const Candidate& candidate) const {
    const Symbol& left = symbols_[candidate.left];
    return left.size_bytes > 0 && left.next >= 0 &&
           left.size_bytes + symbols_[left.next].size_bytes == candidate.size_bytes;
  }

  void merge(const Candidate& candidate) {
    Symbol& left = symbols_[candidate.left];
    Symbol& right = symbols_[left.next];
    left.size_bytes = candidate.size_bytes;
    left.token = candidate.token;
    left.next = right.next;
    right.size_bytes = 0;
    if (left.next >= 0) symbols_[left.next].previous = candidate.left;
  }

  std::vector<Symbol> symbols_;
  std::vector<Candidate> candidates_;  // a heap
};

}  // namespace sluice
