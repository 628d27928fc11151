#include "memory/packed.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "memory/packed_layout.h"
#include "tests/support/random_weights.h"

namespace sluice {
namespace {

std::size_t set_bits(const std::vector<std::byte>& bytes) {
  std::size_t count = 0;
  for (const std::byte byte : bytes) count += std::popcount(std::to_integer<unsigned>(byte));
  return count;
}

TEST_CASE("packed: every row decodes to the bits the plain decoder gives, whatever the rows") {
  for (const DType type : kAllDTypes) {
    for (const std::size_t columns : {256, 768, 32, 96, 2}) {
      if (columns % dtype_info(type).group_values != 0) continue;
      for (const std::size_t rows : {1, 15, 16, 17, 33}) {
        CAPTURE(dtype_info(type).name);
        CAPTURE(columns);
        CAPTURE(rows);
        const auto file_rows = random_rows(type, rows, columns, 1);
        const auto packed = pack_rows(type, file_rows, rows, columns);
        std::vector<float> plain(columns);
        std::vector<float> unpacked(columns);
        for (std::size_t row = 0; row < rows; ++row) {
          CAPTURE(row);
          decode_row(type, file_rows.data() + row * row_bytes(type, columns), columns,
                     plain.data());
          decode_packed_row(type, packed.data(), row, columns, unpacked.data());
          REQUIRE(std::memcmp(plain.data(), unpacked.data(), columns * sizeof(float)) == 0);
        }
        for (std::size_t row = rows; row < align_up(rows, kPanelRows); ++row) {
          decode_packed_row(type, packed.data(), row, columns, unpacked.data());
          REQUIRE(std::all_of(unpacked.begin(), unpacked.end(), [](float x) { return x == 0; }));
        }
      }
    }
  }
}

TEST_CASE("packed: a block takes as many bytes as sixteen groups of the file") {
  for (const DType type : kAllDTypes) {
    if (!is_quantised(type)) continue;
    CAPTURE(dtype_info(type).name);
    const BlockLayout layout = block_layout(type);
    CHECK(layout.block_bytes() == kPanelRows * dtype_info(type).group_bytes);
    CHECK(layout.columns() == dtype_info(type).group_values);
  }
}

TEST_CASE("packed: packing moves bits and keeps them all") {
  for (const DType type : kAllDTypes) {
    if (type == DType::kQ8_0) continue;  // whose sign bits are flipped
    CAPTURE(dtype_info(type).name);
    const auto file_rows = random_rows(type, 32, 512, 3);
    CHECK(set_bits(pack_rows(type, file_rows, 32, 512)) == set_bits(file_rows));
  }
}

// The table in memory/packed.h is a contract with kernels on other devices: two of its lines, read
// by hand.
TEST_CASE("packed: Q4_0 and Q6_K blocks lie as the table says") {
  std::vector<std::byte> file_rows(16 * 18);
  const std::size_t row = 5;
  file_rows[row * 18 + 2 + 6] = std::byte{0xa7};  // columns 6 and 22 of row 5
  const auto q4_0 = pack_rows(DType::kQ4_0, file_rows, 16, 32);
  CHECK(q4_0[32 + 64 * 1 + 4 * row + 2] == std::byte{0xa7});

  file_rows.assign(16 * 210, std::byte{});
  file_rows[row * 210 + 192 + 9] = std::byte{0x81};       // the scale of sub-block 9
  file_rows[row * 210 + 64 + 32 + 7] = std::byte{0xd0};   // column 128 + 96 + 7: low four bits
  file_rows[row * 210 + 128 + 32 + 7] = std::byte{0x80};  // and high two bits
  const auto q6_k = pack_rows(DType::kQ6_K, file_rows, 16, 256);
  CHECK(q6_k[32 + 16 * 9 + row] == std::byte{0x81});
  const std::size_t group = 288 + 7 * (128 + 256);  // quad plane 1, byte 4 row + 3
  CHECK(q6_k[group + 128 + 64 * 1 + 4 * row + 3] == std::byte{0x0d});
  CHECK(q6_k[group + 4 * row + 3] == std::byte{0x02 << 2});
}

}  // namespace
}  // namespace sluice
