"""Makes tests/unit/data/mlx, gptq, gptq_v2, gptq_order, awq, fp8, fp8_tensor, nvfp4_modelopt, nvfp4_compressed: model folders with quantized tensors, and in wanted.safetensors
beside each what every weight is, float32 by name. test_quantized.c reads the folders and compares.

The MLX folder is written by mlx itself (its file is not padded: tensors start at odd bytes), and mlx tells what the weights are. The
others are packed here as AutoGPTQ, AutoAWQ, DeepSeek's checkpoints, ModelOpt and compressed-tensors have them, by code that shares nothing with the library.

Needs: numpy 2.4, safetensors 0.8, ml_dtypes 0.5, mlx-cpu 0.32.
"""

import json
import pathlib

import ml_dtypes
import mlx.core as mx
import numpy as np
from safetensors.numpy import save_file

data = pathlib.Path(__file__).parent / "data"
rng = np.random.default_rng(20)
TYPES = {"f16": mx.float16, "bf16": mx.bfloat16, "f32": mx.float32}


def folder(name: str, config: dict, wanted: dict) -> pathlib.Path:
    path = data / name
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file(wanted, path / "wanted.safetensors")
    return path


def weights(*shape: int) -> np.ndarray:
    """Groups of either sign, one of zeros, one that is constant."""
    values = rng.standard_normal(shape).astype(np.float32) * 0.1
    values[0, ..., :32] = 0
    values[-1, ..., 32:64] = -0.25
    values[-1, ..., 64:96] = -np.abs(values[-1, ..., 64:96])
    return values


def mlx() -> None:
    tensors, wanted, special = {}, {}, {}

    def add(name: str, values: np.ndarray, dtype, **how) -> None:
        parts = mx.quantize(mx.array(values).astype(dtype), **how)
        for part, suffix in zip(parts, ("weight", "scales", "biases")):
            tensors[f"{name}.{suffix}"] = part
        if len(parts) == 3:
            parts = [parts[0], *(part.astype(mx.float32) for part in parts[1:])]
        exact = mx.dequantize(*parts, **how, dtype=mx.float32)
        wanted[f"{name}.weight"] = np.array(exact, np.float32)

    for bits in (2, 3, 4, 5, 6, 8):
        for group in (32, 64, 128):
            for short, dtype in TYPES.items():
                name = f"a{bits}.g{group}.{short}"
                add(name, weights(2, 128), dtype, bits=bits, group_size=group)
                if (bits, group) != (4, 64):
                    special[name] = {"group_size": group, "bits": bits}
    for mode, group, bits in (("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4)):
        add(mode, weights(3, 96) * 8, mx.float32, mode=mode, group_size=group, bits=bits)
        special[mode] = {"group_size": group, "bits": bits, "mode": mode}
    add("experts", weights(2, 3, 64), mx.float16, bits=4, group_size=64)
    tensors["experts.bias"] = mx.array([1.0, 2.0, 3.0])
    tensors["plain.weight"] = mx.array([[0.5, -2.0]]).astype(mx.bfloat16)
    special["plain"] = False
    quantization = {"group_size": 64, "bits": 4, **special}
    path = folder("mlx", {"model_type": "llama", "quantization": quantization, "quantization_config": quantization}, wanted)
    mx.save_safetensors(str(path / "model.safetensors"), tensors, {"format": "mlx"})


def pack_nibbles(values: np.ndarray, order: tuple = tuple(range(8))) -> np.ndarray:
    """[..., 8 n] codes to [..., n] words; order[i] is the code that nibble i holds."""
    groups = values.reshape(*values.shape[:-1], -1, 8).astype(np.uint32)
    words = sum(groups[..., code] << np.uint32(4 * nibble) for nibble, code in enumerate(order))
    return np.ascontiguousarray(words.astype(np.uint32).view(np.int32))


def integers(rows: int, cols: int, group: int, dtype, symmetric: bool = False) -> tuple:
    codes = rng.integers(0, 16, (cols, rows))
    zeros = np.full((cols // group, rows), 8) if symmetric else rng.integers(1, 16, (cols // group, rows))
    scales = (rng.standard_normal((cols // group, rows)) * 0.02).astype(dtype)
    spread = lambda x: np.repeat(x, group, 0)
    exact = spread(scales.astype(np.float32)) * (codes - spread(zeros)).astype(np.float32)
    return codes, zeros, scales, np.ascontiguousarray(exact.T)


def gptq(name: str, offset: int, shuffled: bool = False, **config) -> None:
    tensors, wanted = {}, {}
    group = 64
    for module, rows, cols, symmetric in (("a", 24, 128, False), ("b", 8, 192, True)):
        codes, zeros, scales, exact = integers(rows, cols, group, np.float16, symmetric)
        groups = np.arange(cols) // group
        if shuffled:  # columns and what they are move together
            moved = rng.permutation(cols)
            codes, exact, groups = codes[moved], np.ascontiguousarray(exact[:, moved]), groups[moved]
        tensors |= {
            f"{module}.qweight": np.ascontiguousarray(pack_nibbles(codes.T).T),
            f"{module}.qzeros": pack_nibbles(zeros - offset),
            f"{module}.scales": scales,
            f"{module}.g_idx": groups.astype(np.int32),
            f"{module}.bias": np.zeros(rows, np.float16),
        }
        wanted[f"{module}.weight"] = exact
    method = {"quant_method": "gptq", "bits": 4, "group_size": group, "desc_act": shuffled, "sym": False, **config}
    save_file(tensors, folder(name, {"quantization_config": method}, wanted) / "model.safetensors")


def awq() -> None:
    tensors, wanted = {}, {}
    order = (0, 2, 4, 6, 1, 3, 5, 7)
    for module, rows, cols in (("a", 24, 128), ("b", 8, 256)):
        codes, zeros, scales, exact = integers(rows, cols, 128, np.float16)
        tensors |= {f"{module}.qweight": pack_nibbles(codes, order), f"{module}.qzeros": pack_nibbles(zeros, order), f"{module}.scales": scales}
        wanted[f"{module}.weight"] = exact
    method = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
    save_file(tensors, folder("awq", {"quantization_config": method}, wanted) / "model.safetensors")


def fp8(name: str, method: dict, cases: dict) -> None:
    tensors, wanted = {}, {}
    for module, (rows, cols, scales, suffix, block) in cases.items():
        codes = (rng.standard_normal((rows, cols)) * 100).astype(ml_dtypes.float8_e4m3fn)
        codes.view(np.uint8)[0, :8] = [0, 0x80, 1, 0x81, 7, 8, 0x7E, 0xFE]  # zeros, the smallest, the largest
        tensors |= {f"{module}.weight": codes, f"{module}.{suffix}": scales}
        full = np.broadcast_to(scales.astype(np.float32), (1, 1)) if scales.size == 1 else scales.astype(np.float32)
        spread = np.repeat(np.repeat(full, block[0], 0), block[1], 1)[:rows, :cols]
        wanted[f"{module}.weight"] = codes.astype(np.float32) * spread
    save_file(tensors, folder(name, {"quantization_config": method}, wanted) / "model.safetensors")


def scales(*shape: int, dtype=np.float32) -> np.ndarray:
    return np.asarray(rng.random(shape) * 0.01 + 0.001, dtype)


mlx()
gptq("gptq", 1)
gptq("gptq_v2", 0, checkpoint_format="gptq_v2")
awq()
fp8(
    "fp8",
    {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [16, 64]},
    {
        "a": (40, 160, scales(3, 3), "weight_scale_inv", (16, 64)),
        "b": (16, 64, scales(1, 1, dtype=ml_dtypes.bfloat16), "weight_scale_inv", (16, 64)),
    },
)
fp8(
    "fp8_tensor",
    {"quant_method": "compressed-tensors", "format": "float-quantized"},
    {
        "tensor": (5, 64, scales(), "weight_scale", (5, 64)),
        "one": (5, 32, scales(1), "weight_scale", (5, 32)),
        "rows": (5, 96, scales(5, 1, dtype=ml_dtypes.bfloat16), "weight_scale", (1, 96)),
    },
)


E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def nvfp4(name: str, method: dict, weight: str, divides: bool, older: bool = False) -> None:
    tensors, wanted = {}, {}
    for module, rows, cols in (("a", 5, 192), ("b", 8, 64)):
        codes = rng.integers(0, 16, (rows, cols)).astype(np.uint8)
        scales = (rng.random((rows, cols // 16)) * 440 + 8).astype(ml_dtypes.float8_e4m3fn)
        scales.view(np.uint8)[0, :4] = [0, 1, 0x7E, 7]
        factor = np.float32(rng.random() * 1e-4 + 1e-5)
        tensors |= {
            f"{module}.{weight}": codes[:, ::2] | codes[:, 1::2] << 4,
            f"{module}.weight_scale": scales,
            f"{module}.{'weight_global_scale' if divides else 'weight_scale_2'}": np.array([1 / factor]) if divides else np.array(factor),
            f"{module}.{'input_global_scale' if divides else 'input_scale'}": np.array(0.5, np.float32),
        }
        key = f"{module}.weight_global_scale"
        if divides:
            tensors[key] = tensors[key].astype(np.float32)
        spread = scales.astype(np.float32) / tensors[key] if divides else scales.astype(np.float32) * factor
        wanted[f"{module}.weight"] = E2M1[codes] * np.repeat(spread.astype(np.float32), 16, 1)
    path = folder(name, {} if older else {"quantization_config": method}, wanted)
    if older:
        (path / "hf_quant_config.json").write_text(json.dumps({"producer": {"name": "modelopt"}, "quantization": method}) + "\n")
    save_file(tensors, path / "model.safetensors")


nvfp4("nvfp4_modelopt", {"quant_algo": "NVFP4", "kv_cache_quant_algo": None, "group_size": 16, "exclude_modules": ["lm_head"]}, "weight", False, True)
nvfp4(
    "nvfp4_compressed",
    {
        "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}}},
        "format": "nvfp4-pack-quantized",
        "ignore": ["lm_head"],
        "quant_method": "compressed-tensors",
    },
    "weight_packed",
    True,
)
gptq("gptq_order", 1, True)
