// Ops on the CPU: enqueued on HostStreams, parallel over oneTBB.
#pragma once

#include "layers/ops.h"

namespace sluice {

// Has no state: streams must be HostStreams.
class OpsCpu final : public Ops {
 public:
  void norm(Stream& stream, const NormArgs& args) override;
  void product(Stream& stream, const ProductBatch& batch) override;
  void rotate(Stream& stream, const RotateArgs& args) override;
  void attend(Stream& stream, const AttentionArgs& args) override;
  void swiglu(Stream& stream, const SwiGluArgs& args) override;
  void add_bias(Stream& stream, const BiasArgs& args) override;
};

}  // namespace sluice
