// Small model files with random weights, of a shape that a test chooses.
#pragma once

#include <filesystem>
#include <fstream>

#include "cli/synthetic_model.h"

namespace sluice::testing {

inline void write_synthetic(const std::filesystem::path& path, const ModelShape& shape,
                            DType weights) {
  std::ofstream out(path, std::ios::binary);
  SyntheticModel(shape, weights, 1)
      .write(
          [&](std::span<const std::byte> bytes) {
            out.write(reinterpret_cast<const char*>(bytes.data()),
                      static_cast<std::streamsize>(bytes.size()));
          },
          {}, nullptr);
}

// Some 5 MB of Q8_0: more than reading it from the disk takes.
inline constexpr ModelShape kFewMegabytes{.name = "few-megabytes",
                                          .layers = 5,
                                          .width = 256,
                                          .feed_forward = 1024,
                                          .heads = 4,
                                          .kv_heads = 2,
                                          .vocab = 512,
                                          .context_tokens = 512,
                                          .rope_base = 1e4f,
                                          .tied = false};

}  // namespace sluice::testing
