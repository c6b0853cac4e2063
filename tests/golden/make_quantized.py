"""Makes tests/golden/quantized: tiny random models in quantized SafeTensors, written by the formats' own writers, and the logits that
Hugging Face transformers gives for the weights that those files stand for.

A case is a folder: model.safetensors and config.json as the writer leaves them; logits.quantized.f32, float32 [tokens][vocabulary]; and
case.json: tokens; found: how many tensors a reader shall find in each layout (src/format/layout.h); the deviations that make_models.py
explains, whose functions run the models in float64. The weights that they run with are read back from the file and dequantized by the
format's own definition, exactly or in float32, nothing rounded to 16 bits.

Who writes and who dequantizes:
  mlx_*        mlx-lm's quantize_model and save_model; mx.dequantize.
  gptq         the packing of AutoGPTQ as auto-round carries it, with scales and zero points chosen here: GPTQ's solver only chooses
               better ones; the definition, scale × (code − (zero + 1)), in float64.
  awq          AutoAWQ's WQLinear_GEMM, the same about scales, and its dequantize_gemm; the parts of the package that ask for a GPU are not imported.
  fp8_block    transformers' Fp8Quantize and Fp8Dequantize.
  fp8_tensor   compressed-tensors' compressor of floats, a scale a weight and, in the attention, a scale a row.
  nvfp4_packed compressed-tensors' compressor of nvfp4; its codes times scale / scale of the whole tensor, in float64.
  packed       the same package's of integers; scale × (code − zero), in float64.
  gpt_oss      mx.quantize makes codes and scales, which stand here as OpenAI's checkpoints have them: transformers' writer needs
               a GPU. convert_moe_packed_tensors of transformers reads them.

Run with: numpy 2.4, torch 2.15, transformers 5.24, gguf 0.19, safetensors 0.8, mlx-cpu 0.32, mlx-lm 0.32, auto-round 0.16, autoawq
0.2.9 (without its dependencies), compressed-tensors 0.20. Needs a C compiler (make_llama.py). Arguments: names of cases; none: all.
"""

import collections
import functools
import importlib.util
import json
import pathlib
import re
import shutil
import sys
import tempfile
import types

import make_llama
import make_models
import mlx.core as mx
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
OUT = HERE / "quantized"

# ---- Models ----

LLAMA = dict(hidden_size=128, intermediate_size=128, num_attention_heads=2, num_key_value_heads=1, head_dim=32, num_hidden_layers=2, vocab_size=67,
             max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=None, tie_word_embeddings=False)  # fmt: skip
GPT_OSS = LLAMA | dict(hidden_size=64, intermediate_size=64, num_local_experts=4, num_experts_per_tok=2, sliding_window=20, rope_parameters={
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "beta_fast": 8.0, "beta_slow": 1.0, "truncate": False,
    "original_max_position_embeddings": 128})  # fmt: skip


def config_of(kind: str, settings: dict):
    config = getattr(transformers, kind + "Config")(**settings, attn_implementation="eager", dtype="bfloat16")
    config._experts_implementation = "eager"
    config.architectures = [kind + "ForCausalLM"]
    return config


def family_of(name: str, **changes) -> dict:
    """A family of make_models.py with fewer tokens in its vocabulary."""
    case = make_models.CASES[name]
    class_name = case["make"] if case["make"].endswith("Model") else case["make"] + "ForCausalLM"
    settings = case.get("shape", make_models.SHAPE) | case.get("config", {}) | {"vocab_size": 67} | changes
    config = getattr(transformers, case.get("config_class", case["make"] + "Config"))(**settings, attn_implementation="eager", dtype="bfloat16")
    config._experts_implementation = "eager"
    config.architectures = [class_name]
    return {"build": getattr(transformers, class_name), "config": config} | {k: v for k, v in case.items() if k in ("less_one", "transposed", "split")}


def random_weights(build, config, seed: int, dtype: torch.dtype, less_one=False, transposed=False, split=None) -> dict[str, torch.Tensor]:
    """In the names and shapes of checkpoints."""
    rng = np.random.default_rng(seed)
    out = {}
    shapes = {name: tuple(value.shape) for name, value in build(config).state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    for name, shape in (split(config, shapes) if split else shapes).items():
        norm = len(shape) == 1 and name.endswith("weight") and not less_one
        if len(shape) == 1 or name.endswith("_bias"):
            spread = 0.1
        elif "embed" in name or name.endswith(("wte.weight", "wpe.weight")):
            spread = 1.0
        elif len(shape) == 3 or (transposed and ".h." in name):  # [in, out], of experts each
            spread = shape[-2] ** -0.5
        else:
            spread = shape[-1] ** -0.5
        out[name] = torch.from_numpy(rng.standard_normal(shape) * spread + (1.0 if norm else 0.0)).to(dtype)
    return out


def write_config(folder: pathlib.Path, config, quantization: dict) -> None:
    written = {k: v for k, v in json.loads(config.to_json_string(use_diff=False)).items() if v is not None}
    (folder / "config.json").write_text(json.dumps(written | {"quantization_config": quantization}, indent=1, sort_keys=True) + "\n")


def is_linear(name: str) -> bool:
    return name.endswith(("_proj.weight", ".w1.weight", ".w2.weight", ".w3.weight"))


# ---- MLX ----


def write_dense(folder: pathlib.Path, config, state: dict) -> None:
    """As checkpoints have it that mlx-lm was written for."""
    save_file({name.removeprefix("transformer."): value for name, value in state.items()}, folder / "model.safetensors", {"format": "pt"})
    written = {k: v for k, v in json.loads(config.to_json_string(use_diff=False)).items() if v is not None or k == "q_lora_rank"}
    written = make_models.legacy(written, config.architectures[0].removesuffix("ForCausalLM"))
    if "n_positions" in written:
        written["n_ctx"] = written["n_positions"]
    if "conv_L_cache" in written:
        written |= {"block_dim": written["hidden_size"], "conv_dim": written["hidden_size"]}
    (folder / "config.json").write_text(json.dumps(written))


def mlx(**how):
    """how: bits, group_size, mode; special: what modules whose path ends so have instead; before: who writes what mlx-lm reads."""
    special, before = how.pop("special", {}), how.pop("before", None)

    def write(folder, config, state) -> None:
        from mlx_lm.utils import load_model, quantize_model, save_config, save_model

        with tempfile.TemporaryDirectory() as name:
            dense = pathlib.Path(name)
            (before or write_dense)(dense, config, state)
            model, about = load_model(dense)
        predicate = lambda path, module: next((own for end, own in special.items() if path.endswith(end)), True)  # noqa: E731
        model, about = quantize_model(model, about, how.get("group_size"), how.get("bits"), mode=how.get("mode", "affine"), quant_predicate=predicate)
        save_model(folder, model, donate_model=True)
        save_config({k: v for k, v in about.items() if v is not None}, folder / "config.json")
        (folder / "model.safetensors.index.json").unlink()

    def read(folder) -> dict[str, torch.Tensor]:
        about, found, out = json.loads((folder / "config.json").read_text())["quantization"], mx.load(str(folder / "model.safetensors")), {}
        for name, value in found.items():
            module = name.rsplit(".", 1)[0]
            if name.endswith((".scales", ".biases")):
                continue
            if f"{module}.scales" in found and name.endswith(".weight"):
                own = {k: v for k, v in about.get(module, about).items() if k in ("bits", "group_size", "mode")}
                factors = [found[f"{module}.{part}"] for part in ("scales", "biases") if f"{module}.{part}" in found]
                factors = [f if f.dtype == mx.uint8 else f.astype(mx.float32) for f in factors]
                value = mx.dequantize(value, *factors, **own, dtype=mx.float32)
            out[name] = torch.from_numpy(np.array(value.astype(mx.float32), np.float64))
        return from_mlx(out)

    return dict(write=write, read=read)


def from_mlx(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """mlx-lm's names and shapes to those of transformers."""
    out = {}
    for name, value in found.items():
        if ".experts.gate_proj" in name:  # gpt-oss: [expert, in, out], gate and up in turn
            both = torch.stack((value, found[name.replace("gate_proj", "up_proj")]), 2).flatten(1, 2)
            at = name.split("gate_proj")[0] + "gate_up_proj"
            out |= {at + "_bias": both} if name.endswith("bias") else {at: both.transpose(1, 2)}
        elif ".experts.down_proj" in name:
            at = name.rsplit(".", 1)[0]
            out |= {at + "_bias": value} if name.endswith("bias") else {at: value.transpose(1, 2)}
        elif ".switch_mlp.gate_proj" in name:
            at = re.sub(r"(mlp|block_sparse_moe)\.switch_mlp.*", "mlp.experts.gate_up_proj", name)
            out[at] = torch.cat((value, found[name.replace("gate_proj", "up_proj")]), 1)
        elif ".switch_mlp.down_proj" in name:
            out[re.sub(r"(mlp|block_sparse_moe)\.switch_mlp.*", "mlp.experts.down_proj", name)] = value
        elif name.endswith(".conv.conv.weight"):
            out[name] = value.transpose(1, 2)
        elif name.startswith(("model.h.", "model.wte.", "model.wpe.", "model.ln_f.")):
            out["transformer." + name[6:]] = value.T if value.ndim == 2 and ".h." in name else value
        elif not re.search(r"\.(switch_mlp|experts)\.up_proj", name):
            out[name.replace("block_sparse_moe.gate.", "mlp.gate.")] = value
    return out


def mlx_layouts(folder: pathlib.Path) -> dict[str, int]:
    found = collections.Counter()
    about = json.loads((folder / "config.json").read_text())["quantization"]
    for name, value in mx.load(str(folder / "model.safetensors")).items():
        if name.endswith(".scales"):
            own = about.get(name[:-7], about)
            affine = own.get("mode", "affine") == "affine"
            found[f"AFFINE{own['bits']}_G{own['group_size']}_{'BF16' if value.dtype == mx.bfloat16 else value.dtype}" if affine else own["mode"].upper()] += 1
    return dict(found)


# ---- GPTQ and AWQ ----


def ranges(weight: torch.Tensor, group: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales and zero points [rows, groups] for codes of 4 bits, the scales as f16 holds them."""
    groups = weight.float().reshape(weight.shape[0], -1, group)
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scales = ((high - low) / 15).half().float()
    return scales, (-low / scales).round().clamp(0, 15)


def linear_of(weight: torch.Tensor) -> torch.nn.Linear:
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight.data = weight.float()
    return linear


def pack_gptq(weight: torch.Tensor, group: int) -> dict[str, torch.Tensor]:
    from auto_round_extension.torch.qlinear_torch_zp import QuantLinear

    scales, zeros = ranges(weight, group)
    packed = QuantLinear(4, group, weight.shape[1], weight.shape[0], False, g_idx=True)
    packed.device = torch.device("cpu")
    packed.pack(linear_of(weight), scales, zeros, None, "cpu")
    return {part: getattr(packed, part) for part in ("qweight", "qzeros", "scales", "g_idx")}


def unpack_gptq(parts: dict[str, torch.Tensor], _: int) -> torch.Tensor:
    nibbles = torch.arange(0, 32, 4)
    codes = (parts["qweight"].unsqueeze(1) >> nibbles.view(1, -1, 1) & 15).reshape(-1, parts["qweight"].shape[1])
    zeros = (parts["qzeros"].unsqueeze(2) >> nibbles & 15).reshape(parts["qzeros"].shape[0], -1)
    group = parts["g_idx"].long()
    return (parts["scales"].double()[group] * (codes - ((zeros + 1) & 15)[group])).T


@functools.cache
def awq_package() -> None:
    """Puts empty packages in the place of AutoAWQ's, whose __init__ files would load everything."""
    where = pathlib.Path(importlib.util.find_spec("awq").submodule_search_locations[0])
    for package in ("awq", "awq.modules", "awq.modules.linear", "awq.utils"):
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = [str(where.joinpath(*package.split(".")[1:]))]


def awq_module(name: str):
    awq_package()
    return importlib.import_module(name)


def pack_awq(weight: torch.Tensor, group: int) -> dict[str, torch.Tensor]:
    factors = dict(zip(("scales", "zeros"), (part.T.contiguous() for part in ranges(weight, group))))
    packed = awq_module("awq.modules.linear.gemm").WQLinear_GEMM.from_linear(linear_of(weight), 4, group, **factors)
    return {part: getattr(packed, part) for part in ("qweight", "qzeros", "scales")}


def unpack_awq(parts: dict[str, torch.Tensor], group: int) -> torch.Tensor:
    return awq_module("awq.utils.packing_utils").dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"].double(), 4, group).T


def integers(pack, unpack, quantization, group: int = 64):
    def write(folder, config, state) -> None:
        out = {}
        for name, value in state.items():
            parts = {name.replace("weight", part): found for part, found in pack(value, group).items()} if is_linear(name) else {name: value}
            out |= {part: found.contiguous() for part, found in parts.items()}
        save_file(out, folder / "model.safetensors", {"format": "pt"})
        write_config(folder, config, quantization(group_size=group, bits=4).to_dict())

    def read(folder) -> dict[str, torch.Tensor]:
        found, out = load_file(folder / "model.safetensors"), {}
        for name, value in found.items():
            module = name.rsplit(".", 1)[0]
            if name.endswith(".qweight"):
                parts = {part: found[f"{module}.{part}"] for part in ("qweight", "qzeros", "scales", "g_idx") if f"{module}.{part}" in found}
                out[module + ".weight"] = unpack(parts, group)
            elif f"{module}.qweight" not in found:
                out[name] = value.double()
        return out

    return dict(write=write, read=read, dtype=torch.float16)


def awq(group: int = 64):
    return integers(pack_awq, unpack_awq, functools.partial(transformers.AwqConfig, zero_point=True, version="gemm"), group)


# ---- FP8 ----


def fp8_block():
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize

    about = transformers.FineGrainedFP8Config(weight_block_size=(32, 64))
    quantizer = types.SimpleNamespace(quantization_config=about)

    def write(folder, config, state) -> None:
        out = {}
        for name, value in state.items():
            out |= Fp8Quantize(quantizer).convert({name: value}) if is_linear(name) else {name: value}
        save_file({name: value.contiguous() for name, value in out.items()}, folder / "model.safetensors", {"format": "pt"})
        write_config(folder, config, about.to_dict())

    def read(folder) -> dict[str, torch.Tensor]:
        found = load_file(folder / "model.safetensors")
        exact = lambda name: Fp8Dequantize(quantizer)._dequantize_one(found[name], found[name + "_scale_inv"], torch.float64)  # noqa: E731
        return {name: exact(name) if name + "_scale_inv" in found else value.double() for name, value in found.items() if not name.endswith("_scale_inv")}

    return dict(write=write, read=read)


def fp8_tensor():
    from compressed_tensors.compressors import FloatQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    schemes = {
        kind: QuantizationScheme(targets=[target], weights=QuantizationArgs(num_bits=8, type="float", strategy=kind, symmetric=True, dynamic=False))
        for kind, target in (("tensor", "re:.*mlp.*"), ("channel", "re:.*self_attn.*"))
    }

    def scheme_of(name: str):
        return schemes["channel" if "self_attn" in name else "tensor"]

    def compress(name: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
        scheme = scheme_of(name)
        dim = 1 if scheme.weights.strategy == "channel" else (0, 1)
        scale, _ = calculate_qparams(value.float().amin(dim, keepdim=True), value.float().amax(dim, keepdim=True), scheme.weights)
        scale = scale if scheme.weights.strategy == "channel" else scale.reshape(1)
        return FloatQuantizationCompressor.compress({"weight": value.float(), "weight_scale": scale}, scheme)

    def write(folder, config, state) -> None:
        out = {}
        for name, value in state.items():
            parts = {name.replace("weight", part): found for part, found in compress(name, value).items()} if is_linear(name) else {name: value}
            out |= {part: found.contiguous() for part, found in parts.items()}
        save_file(out, folder / "model.safetensors", {"format": "pt"})
        about = QuantizationConfig(config_groups={f"group_{i}": s for i, s in enumerate(schemes.values())}, format="float-quantized", ignore=["lm_head"])
        write_config(folder, config, json.loads(about.model_dump_json(exclude_none=True)))

    def read(folder) -> dict[str, torch.Tensor]:
        found = load_file(folder / "model.safetensors")

        def exact(name):
            parts = {"weight": found[name], "weight_scale": found[name + "_scale"].double()}
            return FloatQuantizationCompressor.decompress(parts, scheme_of(name))["weight"].double()

        return {name: exact(name) if name + "_scale" in found else value.double() for name, value in found.items() if not name.endswith("_scale")}

    return dict(write=write, read=read)


def nvfp4_packed():
    from compressed_tensors.compressors import NVFP4PackedCompressor
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    args = QuantizationArgs(num_bits=4, type="float", strategy="tensor_group", group_size=16, symmetric=True, dynamic=False)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)

    def write(folder, config, state) -> None:
        out = {}
        for name, value in state.items():
            parts = {name: value}
            if is_linear(name):
                groups = value.float().reshape(value.shape[0], -1, 16)
                whole = generate_gparam(value.float().amin(), value.float().amax())
                scale, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), args, whole)
                parts = NVFP4PackedCompressor.compress({"weight": value.float(), "weight_scale": scale, "weight_global_scale": whole}, scheme)
                parts = {name.replace("weight", part): found for part, found in parts.items()}
            out |= {part: found.contiguous() for part, found in parts.items()}
        save_file(out, folder / "model.safetensors", {"format": "pt"})
        about = QuantizationConfig(config_groups={"group_0": scheme}, format="nvfp4-pack-quantized", ignore=["lm_head"])
        write_config(folder, config, json.loads(about.model_dump_json(exclude_none=True)))

    def read(folder) -> dict[str, torch.Tensor]:
        found, out = load_file(folder / "model.safetensors"), {}
        for name, value in found.items():
            if name.endswith("_packed"):
                name = name.removesuffix("_packed")
                codes = unpack_fp4_from_uint8(value, value.shape[0], 2 * value.shape[1], torch.float64)
                scale = found[name + "_scale"].double() / found[name + "_global_scale"].double()
                out[name] = codes * scale.repeat_interleave(16, 1)
            elif not name.endswith("_scale"):
                out[name] = value.double()
        return out

    return dict(write=write, read=read)


def packed():
    """4 bits with zero points, 8 bits a scale a row, and 3 bits."""
    from compressed_tensors.compressors import PackedQuantizationCompressor
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
    from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    def scheme(target: str, bits: int, group: int | None, symmetric: bool):
        strategy = "group" if group else "channel"
        args = QuantizationArgs(num_bits=bits, type="int", strategy=strategy, group_size=group, symmetric=symmetric, dynamic=False)
        return QuantizationScheme(targets=[f"re:.*{target}.*"], weights=args)

    schemes = {"self_attn": scheme("self_attn", 8, None, True), "down_proj": scheme("down_proj", 3, 32, False), "mlp": scheme("mlp", 4, 64, False)}

    def scheme_of(name: str):
        return next(found for part, found in schemes.items() if part in name)

    def write(folder, config, state) -> None:
        out = {}
        for name, value in state.items():
            parts = {name: value}
            if is_linear(name):
                args = scheme_of(name).weights
                groups = value.reshape(value.shape[0], -1, args.group_size or value.shape[1])
                scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
                parts = {"weight": value, "weight_scale": scale, "weight_zero_point": zero.to(torch.int8)}
                parts = {name.replace("weight", part): found for part, found in PackedQuantizationCompressor.compress(parts, scheme_of(name)).items()}
            out |= {part: found.contiguous() for part, found in parts.items()}
        save_file(out, folder / "model.safetensors", {"format": "pt"})
        about = QuantizationConfig(config_groups={f"group_{i}": s for i, s in enumerate(schemes.values())}, format="pack-quantized", ignore=["lm_head"])
        write_config(folder, config, json.loads(about.model_dump_json(exclude_none=True)))

    def read(folder) -> dict[str, torch.Tensor]:
        found, out = load_file(folder / "model.safetensors"), {}
        for name, value in found.items():
            if name.endswith("_packed"):
                name = name.removesuffix("_packed")
                bits, scale, shape = scheme_of(name).weights.num_bits, found[name + "_scale"].double(), found[name + "_shape"]
                codes, zero = unpack_from_int32(value, bits, shape).double(), torch.zeros_like(scale)
                if name + "_zero_point" in found:
                    zero = unpack_from_int32(found[name + "_zero_point"], bits, scale.shape, packed_dim=0).double()
                wide = lambda part: part.repeat_interleave(int(shape[1]) // scale.shape[1], 1)  # noqa: E731, B023
                out[name] = (codes - wide(zero)) * wide(scale)
            elif not name.endswith(("_scale", "_shape", "_zero_point")):
                out[name] = value.double()
        return out

    return dict(write=write, read=read)


# ---- gpt-oss ----


def gpt_oss():
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    def write(folder, config, state) -> None:
        out = {}
        for name, value in state.items():
            if not name.endswith(("gate_up_proj", "down_proj")):
                out[name] = value
                continue
            rows = value.float().transpose(1, 2).contiguous()  # to [expert, out, in]
            codes, scales = mx.quantize(mx.array(rows.numpy()), mode="mxfp4", group_size=32, bits=4)
            out[name + "_blocks"] = torch.from_numpy(np.array(codes).view(np.uint8).reshape(*rows.shape[:2], -1, 16).copy())
            out[name + "_scales"] = torch.from_numpy(np.array(scales).reshape(*rows.shape[:2], -1).copy())
        save_file(out, folder / "model.safetensors", {"format": "pt"})
        kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
        write_config(folder, config, {"quant_method": "mxfp4", "modules_to_not_convert": kept})

    def read(folder) -> dict[str, torch.Tensor]:
        found, out = load_file(folder / "model.safetensors"), {}
        for name, value in found.items():
            if name.endswith("_blocks"):
                out[name[:-7]] = convert_moe_packed_tensors(value, found[name[:-7] + "_scales"], dtype=torch.float64)
            elif not name.endswith("_scales"):
                out[name] = value.double()
        return out

    return dict(write=write, read=read)


# ---- Cases ----

CASES = {
    # 4 bits in groups of 64, other bits and groups of some modules; the output stays dense.
    "mlx_affine": dict(kind="Llama", found={"AFFINE4_G64_BF16": 12, "AFFINE8_G32_BF16": 2, "AFFINE6_G128_BF16": 1}, format=lambda: mlx(
        bits=4, group_size=64, special={"down_proj": {"bits": 8, "group_size": 32}, "embed_tokens": {"bits": 6, "group_size": 128}, "lm_head": False})),
    # 3 bits and the other widths that do not fill bytes, in f16.
    "mlx_few_bits": dict(kind="Llama", dtype=torch.float16, format=lambda: mlx(bits=3, group_size=64, special={
        "q_proj": {"bits": 2, "group_size": 32}, "o_proj": {"bits": 5, "group_size": 64}, "down_proj": {"bits": 6, "group_size": 128},
        "lm_head": {"bits": 8, "group_size": 64}}),
        found={"AFFINE3_G64_F16": 9, "AFFINE2_G32_F16": 2, "AFFINE5_G64_F16": 2, "AFFINE6_G128_F16": 2, "AFFINE8_G64_F16": 1}),
    "mlx_mxfp4": dict(kind="Qwen3", settings=dict(tie_word_embeddings=True), found={"MXFP4": 15}, format=lambda: mlx(mode="mxfp4")),
    "mlx_mxfp8": dict(kind="Qwen3", found={"F8": 16}, format=lambda: mlx(mode="mxfp8")),
    "mlx_nvfp4": dict(kind="Llama", found={"NVFP4": 16}, format=lambda: mlx(mode="nvfp4")),
    "gptq": dict(kind="Llama", found={"AFFINE4_G64_F32": 14}, format=lambda: integers(pack_gptq, unpack_gptq, functools.partial(
        transformers.GPTQConfig, desc_act=False, sym=False))),
    "awq": dict(kind="Llama", found={"AFFINE4_G64_F32": 14}, format=awq),
    "awq_mixtral": dict(family="mixtral", tokens=60, found={"AFFINE4_G32_F32": 32}, format=lambda: awq(32)),
    "fp8_block": dict(kind="Llama", found={"F8": 14}, format=fp8_block),
    "fp8_qwen3moe": dict(family="qwen3moe", changes=dict(num_experts=8), tokens=60, found={"F8": 56}, format=fp8_block),
    "fp8_tensor": dict(kind="Llama", found={"F8": 14}, format=fp8_tensor),
    "nvfp4_packed": dict(kind="Llama", found={"NVFP4_F32": 14}, format=nvfp4_packed),
    "packed": dict(kind="Llama", found={"AFFINE8_G128_F32": 6, "AFFINE8_G64_F32": 2, "AFFINE4_G64_F32": 4, "AFFINE3_G32_F32": 2}, format=packed),
    "gpt_oss": dict(kind="GptOss", settings=GPT_OSS, found={"MXFP4": 4}, format=gpt_oss),
    # Every family as mlx-lm writes it: names, shapes and what it leaves dense are its own.
    **{f"mlx_{name}": dict(family=name, tokens=60, format=lambda: mlx(bits=4, group_size=32)) for name in (
        "qwen2", "qwen3", "mistral", "phi3", "gemma", "gemma2", "gemma3", "smollm3", "olmo2", "granite", "stablelm", "gpt2", "mixtral", "qwen3moe", "lfm2",
        "qwen2moe")},
    "mlx_deepseek2": dict(family="deepseek2", changes=dict(num_hidden_layers=2), tokens=60, format=lambda: mlx(bits=4, group_size=32)),
    "mlx_gpt_oss": dict(family="gpt_oss", tokens=60, format=lambda: mlx(bits=8, group_size=64, before=gpt_oss()["write"])), # experts stay in mxfp4
}  # fmt: skip


def make(name: str, case: dict, steps: int) -> None:
    seed = 3000 + sum(map(ord, name))
    if "family" in case:
        family = family_of(case["family"], **case.get("changes", {}))
    else:
        family = {"build": getattr(transformers, case["kind"] + "ForCausalLM"), "config": config_of(case["kind"], LLAMA | case.get("settings", {}))}
    build, config, form = family["build"], family["config"], case["format"]()
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    form["write"](folder, config, random_weights(**family, seed=seed, dtype=case.get("dtype") or form.get("dtype", torch.bfloat16)))
    for other in folder.iterdir():
        assert other.name in ("model.safetensors", "config.json"), other
    state = form["read"](folder)
    if any(".experts.0." in name for name in state):
        state = make_models.CASES[case["family"]]["join"](config, state)
    tokens = np.random.default_rng(seed).integers(0, config.vocab_size, case.get("tokens", 45)).tolist()
    exact = make_models.run(build, config, state, tokens, torch.float64)
    rounded = make_models.run(build, config, state, tokens, torch.float64, lambda model: make_models.contract(model, steps, True))
    single = make_models.run(build, config, state, tokens, torch.float32)
    about = {"tokens": tokens, "layouts": ["quantized"], "found": case.get("found") or mlx_layouts(folder), "quantized": {
        "contract": make_llama.deviation(rounded, exact), "float32": make_llama.deviation(single, exact), "logits_rms": float(np.sqrt((exact**2).mean()))}}  # fmt: skip
    exact.astype("<f4").tofile(folder / "logits.quantized.f32")
    (folder / "case.json").write_text(json.dumps(about, sort_keys=True) + "\n")
    print(f"{name:12} {about['quantized']}", flush=True)


def main() -> None:
    header = (make_llama.ROOT / "src/backend/kernel_args.h").read_text()
    steps = int(re.search(r"#define PV_ACTIVATION_STEPS (\d+)", header)[1])
    torch.set_num_threads(1)
    for name, case in CASES.items():
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make(name, case, steps)


if __name__ == "__main__":
    main()
