// The packed form of a weight matrix: the one layout that host and device kernels both read.
//
// A matrix [rows, columns] is cut into panels of 16 consecutive rows. Within a panel the groups of
// the 16 rows are interleaved along the columns, scales apart from values, so that one 64-byte
// vector holds 4 consecutive columns of each of the 16 rows (a lane of a 16 x 32-bit register, or
// 4 bytes a thread, is one row). Packing permutes bits and nothing else: a panel takes exactly 16
// file rows' bytes, and the values are those of the file. A last panel that is short of rows is
// filled with zero bytes' worth of values that decode to 0.
//
// One block is 16 rows x one group. "quad plane" v[j] (j = 0..7, 32 columns): byte 4 r + i is the
// value of row r, column 4 j + i.
//   nibbles   4 x 64 bytes: vector j holds v[j] in the low and v[j + 4] in the high half-bytes
//   bit plane     64 bytes: bit j of byte b is a one-bit value of v[j] at b
//   pair plane  2 x 64 bytes: vector h, byte b, bits 2t..2t+1: a two-bit value of v[4 h + t] at b
//
//   type   block (in this order; f16[16] is one half a row)
//   F32    [column][16] f32            F16  [column][16] f16
//   BF16   [column / 2][16][2] bf16, so that a dot product takes pairs (columns must be even)
//   Q4_0   d f16[16], nibbles                             value = d (q - 8)
//   Q4_1   d f16[16], m f16[16], nibbles                  value = d q + m
//   Q5_0   d f16[16], bit plane (<<4), nibbles            value = d (q - 16)
//   Q5_1   d f16[16], m f16[16], bit plane, nibbles       value = d q + m
//   Q8_0   d f16[16], v[0..7] as q + 128                  value = d (q' - 128)
//   Q4_K   d, dmin f16[16]; 8 x 16 bytes: sc & 15 | (m & 15) << 4 of sub-block s; 4 x 16 bytes:
//          (sc >> 4 | (m >> 4) << 2) of sub-block 2 p in the low, 2 p + 1 in the high half-byte;
//          then nibbles of each of the 8 sub-blocks of 32     value = d sc q - dmin m
//   Q5_K   as Q4_K, each sub-block with a bit plane (<<4) before its nibbles
//   Q6_K   d f16[16]; scales i8 [16 sub-blocks of 16][16]; for each of 8 groups of 32: pair plane
//          (<<4), nibbles                                 value = d sc (q - 32)
//   Q2_K   d, dmin f16[16]; 16 x 16 bytes: sc | m << 4; for each of 8 groups of 32: pair plane
//                                                         value = d sc q - dmin m
//   Q3_K   d f16[16]; 8 x 16 bytes: low four bits of the scale of sub-block 2 p in the low, 2 p + 1
//          in the high half-byte; 4 x 16 bytes: high two bits of the scales of sub-blocks 4 p + t
//          at bits 2 t; for each of 8 groups of 32: bit plane (<<2), pair plane
//                                                         value = d (sc - 32) (q - 4)
#pragma once

#include <cstddef>

#include "memory/dtype.h"
#include "memory/units.h"

namespace sluice {

inline constexpr std::size_t kPanelRows = 16;

// Bytes of one panel, and of a whole packed matrix.
inline std::size_t panel_bytes(DType type, std::size_t columns) {
  return kPanelRows * row_bytes(type, columns);
}
inline std::size_t packed_bytes(DType type, std::size_t rows, std::size_t columns) {
  return ceil_div(rows, kPanelRows) * panel_bytes(type, columns);
}

// Packs the panel of file rows [0, rows) that start at `file_rows` (rows <= 16, consecutive) into
// `panel`. Pure; threads may pack different panels at once.
void pack_panel(DType type, const std::byte* file_rows, std::size_t rows, std::size_t columns,
                std::byte* panel);

// Decodes row `row` of a packed matrix into `out` [columns]: the embedding look-up, and tests.
void decode_packed_row(DType type, const std::byte* panels, std::size_t row, std::size_t columns,
                       float* out);

}  // namespace sluice
