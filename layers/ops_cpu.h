// Ops on the CPU: enqueued on HostStreams, parallel over oneTBB.
#pragma once

#include "layers/ops.h"

namespace sluice {

// Makes products take as long as a slower machine would, which reads weights and multiplies at
// these rates. A multiplication and an addition are two operations; 0: as fast as it goes.
struct ComputePace {
  double bytes_per_second = 0.0;
  double operations_per_second = 0.0;

  bool given() const { return bytes_per_second > 0.0 || operations_per_second > 0.0; }
  double seconds(double bytes, double operations) const;
  double seconds(const ProductBatch& batch) const;
};

// Streams must be HostStreams, and end before it goes.
class OpsCpu final : public Ops {
 public:
  explicit OpsCpu(ComputePace pace = {}) : pace_(pace) {}
  void norm(Stream& stream, const NormArgs& args) override;
  void product(Stream& stream, const ProductBatch& batch) override;
  void rotate(Stream& stream, const RotateArgs& args) override;
  void attend(Stream& stream, const AttentionArgs& args) override;
  void swiglu(Stream& stream, const SwiGluArgs& args) override;
  void add_bias(Stream& stream, const BiasArgs& args) override;
  void summarise(Stream& stream, const SummariseArgs& args) override;

 private:
  ComputePace pace_;
};

}  // namespace sluice
