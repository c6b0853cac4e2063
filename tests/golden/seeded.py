"""Weights from a seed, as src/format/seeded.h defines them: the same numbers from NumPy, element for element.

Run as a program it prints values that tests/unit/test_seeded.c pins.
"""

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
MASK = 2**64 - 1


def key(seed: int, name: str) -> int:
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 & MASK
    return value ^ (seed * GOLDEN & MASK)


def fill(tensor_key: int, first: int, count: int, centre: float, scale: float) -> np.ndarray:
    index = np.arange(first + 1, first + count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(tensor_key) + index * np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = ((z >> np.uint64(40)).astype(np.int32) - np.int32(2**23)).astype(np.float32) * np.float32(2.0**-23)
    return np.float32(centre) + np.float32(scale) * unit


def range_of(name: str, cols: int) -> tuple[np.float32, np.float32]:
    """(centre, scale) of a tensor by its Hugging Face name."""
    if name.endswith("norm.weight"):
        return np.float32(1), np.float32(0.1)
    if name.endswith(".bias"):
        return np.float32(0), np.float32(0.1)
    if name.endswith("embed_tokens.weight"):
        return np.float32(0), np.float32(1)
    return np.float32(0), np.float32(np.sqrt(3.0 / cols))


def tensor(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The whole tensor, as float32."""
    centre, scale = range_of(name, shape[-1])
    return fill(key(seed, name), 0, int(np.prod(shape)), centre, scale).reshape(shape)


if __name__ == "__main__":
    for name, cols in [
        ("model.embed_tokens.weight", 64),
        ("model.layers.0.input_layernorm.weight", 64),
        ("model.layers.0.self_attn.q_proj.bias", 64),
        ("model.layers.1.mlp.down_proj.weight", 576),
    ]:
        for first in [0, 1_000_000_007]:
            centre, scale = range_of(name, cols)
            values = ", ".join(float(v).hex() + "f" for v in fill(key(42, name), first, 4, centre, scale))
            head = f'"{name}", {cols}, {first}u, {key(42, name):#x}u'
            print(f"{{{head}, {float(centre).hex()}f, {float(scale).hex()}f, {{{values}}}}},")
