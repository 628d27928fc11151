"""Writes tests/reference/data/quant/: random file bytes of every type and the values they mean.

The values are those of the `gguf` package's dequantize, which the formats' authors keep.
  python3 -m venv venv && venv/bin/pip install gguf numpy
  venv/bin/python tests/reference/make_quant.py
TYPE.bin holds two rows of 512 columns as a file would, TYPE.f32 their values (little-endian f32).
"""

import pathlib

import gguf
import numpy as np

ROWS, COLUMNS = 2, 512
TYPES = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K".split()
# Where each group's f16 numbers lie; all other bytes may be anything.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def random_rows(name, rng):
    values = rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    if name == "F32":
        return values.view(np.uint8)
    if name == "F16":
        values[0, :4] = [6e-8, -3e-6, 0.0, 65504.0]  # subnormals, zero, the largest
        return values.astype(np.float16).view(np.uint8)
    if name == "BF16":
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    group_values, group_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    groups = rng.integers(0, 256, (ROWS * COLUMNS // group_values, group_bytes), dtype=np.uint8)
    for at in HALVES[name]:
        halves = (rng.standard_normal(len(groups)) * 0.05).astype(np.float16)
        halves[0] = 3e-6  # a subnormal
        groups[:, at : at + 2] = halves.view(np.uint8).reshape(-1, 2)
    return groups.reshape(ROWS, -1)


def main():
    folder = pathlib.Path(__file__).parent / "data" / "quant"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20261121)
    for name in TYPES:
        rows = np.ascontiguousarray(random_rows(name, rng))
        values = gguf.dequantize(rows, gguf.GGMLQuantizationType[name])
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
        (folder / f"{name}.f32").write_bytes(np.asarray(values, "<f4").tobytes())


if __name__ == "__main__":
    main()
