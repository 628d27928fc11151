// GGUF reader: the header of one file, versions 2 and 3, little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "memory/model_file.h"

namespace sluice {

struct GgufHeader {
  Metadata metadata;                // its texts point into the bytes that were read
  std::vector<TensorInfo> tensors;  // in the order of the file's table, `file` is 0
};

// What a file may ask of us before its tensors are even looked at. Far above what models need (a
// vocabulary of 256 thousand tokens, a few thousand tensors), and low enough that no file makes
// the reader take more than about 256 MiB, or eight times the file's size if that is less.
inline constexpr std::uint64_t kGgufMaxTensors = 1u << 18;
inline constexpr std::uint64_t kGgufMaxKeys = 1u << 16;
inline constexpr std::uint64_t kGgufMaxArrayValues = 1u << 23;  // of all arrays together
inline constexpr std::size_t kGgufMaxNameBytes = 64;            // of a tensor
inline constexpr std::size_t kGgufMaxDimensions = 4;

// Reads the header at the start of `file`, which is the whole file. Nothing in it is believed:
// each count is held against the bytes that are left before anything is allocated, and each tensor
// against the file's end and its neighbours. Throws Error{kBadFile}, whose message starts with
// `path` and names the field, what was found and what would be accepted.
GgufHeader read_gguf(std::span<const std::byte> file, const std::filesystem::path& path,
                     Overlaps overlaps = Overlaps::kRefused);

}  // namespace sluice
