"""Makes tests/unit/data/layouts.safetensors: quantized rows and what the reference package reads from and writes to them.

For each layout L of test_layout.c: "L.rows" (u8, random blocks with finite scales), "L.values" (f32, decoded by gguf), and, where
gguf can quantize to L, "L.encoded" (u8) of "values" (f32). Needs: gguf, numpy, safetensors.
"""

import pathlib

import gguf
import numpy as np
from gguf import quants
from safetensors.numpy import save_file

BLOCKS = {"F32": 256, "F16": 256, "BF16": 256, "Q4_0": 24, "Q4_1": 24, "Q8_0": 24, "Q4_K": 6, "Q6_K": 6}
BLOCKS |= {"Q5_0": 24, "Q5_1": 24, "Q2_K": 6, "Q3_K": 6, "Q5_K": 6, "IQ4_NL": 24, "IQ4_XS": 6, "MXFP4": 24}
# Where a block keeps its f16 scales.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q6_K": [208]}
SCALES |= {"Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q5_K": [0, 2], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": []}
SPECIAL = np.array([0.0, -0.0, 6e-8, -6e-5, 65504.0, -1.0], np.float16).view(np.uint8).reshape(-1, 2)


def rows_of(name: str, rng: np.random.Generator) -> np.ndarray:
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    if block == 1:
        values = rng.standard_normal(BLOCKS[name]) * 10.0 ** rng.integers(-9, 9, BLOCKS[name])
        values[:4] = [0.0, -0.0, np.inf, -np.inf]
        if name == "F16":
            return values.astype(np.float16).view(np.uint8)
        bits = values.astype(np.float32).view(np.uint32)
        return bits.view(np.uint8) if name == "F32" else (bits >> 16).astype(np.uint16).view(np.uint8)
    rows = rng.integers(0, 256, (BLOCKS[name], size), dtype=np.uint8)
    for at in SCALES[name]:
        scales = (rng.standard_normal(BLOCKS[name]) * 0.02).astype(np.float16)
        rows[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
        rows[: len(SPECIAL), at : at + 2] = SPECIAL[rng.permutation(len(SPECIAL))]
    if name == "MXFP4":
        rows[:, 0] = rng.permutation(np.r_[0, 1, 2, 253, rng.integers(100, 140, BLOCKS[name] - 4)])  # 2^(e - 127); 255 is no number
    return rows.ravel()


def main() -> None:
    rng = np.random.default_rng(20260101)
    tensors = {}
    values = (rng.standard_normal(24 * 256) * np.repeat(10.0 ** rng.integers(-4, 4, 24 * 8), 32)).astype(np.float32)
    values[64:96] = 0  # a whole block of 32
    values[96:128] = 1.5  # a constant one
    values[256:512] = 0  # a whole block of 256
    values[512] = -0.0
    values[544:576] = np.tile(np.array([-8, 8, 0.5, -0.5], np.float32), 8)  # equal magnitudes, ties
    values[576:608] = np.arange(32, dtype=np.float32) - 15.5
    values[608:640] = np.arange(32, dtype=np.float32) * 127 / 31
    tensors["values"] = values
    for name in BLOCKS:
        kind = gguf.GGMLQuantizationType[name]
        rows = rows_of(name, rng)
        size = gguf.GGML_QUANT_SIZES[kind][1]
        tensors[name + ".rows"] = rows
        tensors[name + ".values"] = quants.dequantize(rows.reshape(-1, size), kind).ravel().view(np.float32)
        try:
            tensors[name + ".encoded"] = np.ascontiguousarray(quants.quantize(values.reshape(1, -1), kind)).view(np.uint8).ravel()
        except NotImplementedError:
            pass
    path = pathlib.Path(__file__).parent / "data" / "layouts.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file(tensors, path, metadata={"made_by": "make_layouts.py", "gguf": "0.19.0"})


if __name__ == "__main__":
    with np.errstate(over="ignore"):
        main()
