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
  gpt_oss      mx.quantize makes codes and scales, which stand here as OpenAI's checkpoints have them: transformers' writer needs
               a GPU. convert_moe_packed_tensors of transformers reads them.

Run with: numpy 2.4, torch 2.15, transformers 5.24, gguf 0.19, safetensors 0.8, mlx-cpu 0.32, mlx-lm 0.32, auto-round 0.16, autoawq
0.2.9 (without its dependencies), compressed-tensors 0.20. Needs a C compiler (make_llama.py). Arguments: names of cases; none: all.
"""

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
GROUP = 64

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


def random_weights(build, config, seed: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    out = {}
    for name, value in build(config).state_dict().items():
        shape, norm = tuple(value.shape), value.ndim == 1 and name.endswith("norm.weight")
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        spread = 0.1 if value.ndim == 1 or name.endswith("_bias") else 1.0 if "embed" in name else shape[-1] ** -0.5
        spread = shape[1] ** -0.5 if len(shape) == 3 else spread  # experts stand as [expert, in, out]
        out[name] = torch.from_numpy(rng.standard_normal(shape) * spread + (1.0 if norm else 0.0)).to(dtype)
    return out


def write_config(folder: pathlib.Path, config, quantization: dict) -> None:
    written = {k: v for k, v in json.loads(config.to_json_string(use_diff=False)).items() if v is not None}
    (folder / "config.json").write_text(json.dumps(written | {"quantization_config": quantization}, indent=1, sort_keys=True) + "\n")


def is_linear(name: str) -> bool:
    return name.endswith("_proj.weight")


# ---- MLX ----


def mlx(**how):
    """how: bits, group_size, mode; special: what modules whose path ends so have instead."""
    special = how.pop("special", {})

    def write(folder, config, state) -> None:
        from mlx_lm.utils import load_model, quantize_model, save_config, save_model

        with tempfile.TemporaryDirectory() as dense:
            save_file(state, pathlib.Path(dense) / "model.safetensors", {"format": "pt"})
            (pathlib.Path(dense) / "config.json").write_text(config.to_json_string(use_diff=False))
            model, about = load_model(pathlib.Path(dense))
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
            if f"{module}.scales" in found:
                own = {k: v for k, v in about.get(module, about).items() if k in ("bits", "group_size", "mode")}
                factors = [found[f"{module}.{part}"] for part in ("scales", "biases") if f"{module}.{part}" in found]
                factors = [f if f.dtype == mx.uint8 else f.astype(mx.float32) for f in factors]
                value = mx.dequantize(value, *factors, **own, dtype=mx.float32)
            out[name] = torch.from_numpy(np.array(value.astype(mx.float32), np.float64))
        return out

    return dict(write=write, read=read)


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


def pack_gptq(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    from auto_round_extension.torch.qlinear_torch_zp import QuantLinear

    scales, zeros = ranges(weight, GROUP)
    packed = QuantLinear(4, GROUP, weight.shape[1], weight.shape[0], False, g_idx=True)
    packed.device = torch.device("cpu")
    packed.pack(linear_of(weight), scales, zeros, None, "cpu")
    return {part: getattr(packed, part) for part in ("qweight", "qzeros", "scales", "g_idx")}


def unpack_gptq(parts: dict[str, torch.Tensor]) -> torch.Tensor:
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


def pack_awq(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    scales, zeros = ranges(weight, GROUP)
    packed = awq_module("awq.modules.linear.gemm").WQLinear_GEMM.from_linear(linear_of(weight), 4, GROUP, scales=scales.T.contiguous(), zeros=zeros.T.contiguous())
    return {part: getattr(packed, part) for part in ("qweight", "qzeros", "scales")}


def unpack_awq(parts: dict[str, torch.Tensor]) -> torch.Tensor:
    return awq_module("awq.utils.packing_utils").dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"].double(), 4, GROUP).T


def integers(pack, unpack, quantization):
    def write(folder, config, state) -> None:
        out = {}
        for name, value in state.items():
            parts = {name.replace("weight", part): found for part, found in pack(value).items()} if is_linear(name) else {name: value}
            out |= {part: found.contiguous() for part, found in parts.items()}
        save_file(out, folder / "model.safetensors", {"format": "pt"})
        write_config(folder, config, quantization().to_dict())

    def read(folder) -> dict[str, torch.Tensor]:
        found, out = load_file(folder / "model.safetensors"), {}
        for name, value in found.items():
            module = name.rsplit(".", 1)[0]
            if name.endswith(".qweight"):
                out[module + ".weight"] = unpack({part: found[f"{module}.{part}"] for part in ("qweight", "qzeros", "scales", "g_idx") if f"{module}.{part}" in found})
            elif f"{module}.qweight" not in found:
                out[name] = value.double()
        return out

    return dict(write=write, read=read, dtype=torch.float16)


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
    "mlx_mxfp4": dict(kind="Qwen3", settings=dict(tie_word_embeddings=True), found={"MXFP4": 15}, format=lambda: mlx(mode="mxfp4")),
    "mlx_mxfp8": dict(kind="Qwen3", found={"F8": 16}, format=lambda: mlx(mode="mxfp8")),
    "mlx_nvfp4": dict(kind="Llama", found={"NVFP4": 16}, format=lambda: mlx(mode="nvfp4")),
    "gptq": dict(kind="Llama", found={"AFFINE4_G64_F32": 14}, format=lambda: integers(pack_gptq, unpack_gptq, lambda: transformers.GPTQConfig(
        bits=4, group_size=GROUP, desc_act=False, sym=False))),
    "awq": dict(kind="Llama", found={"AFFINE4_G64_F32": 14}, format=lambda: integers(pack_awq, unpack_awq, lambda: transformers.AwqConfig(
        bits=4, group_size=GROUP, zero_point=True, version="gemm"))),
    "fp8_block": dict(kind="Llama", found={"F8": 14}, format=fp8_block),
    "fp8_tensor": dict(kind="Llama", found={"F8": 14}, format=fp8_tensor),
    "gpt_oss": dict(kind="GptOss", settings=GPT_OSS, found={"MXFP4": 4}, format=gpt_oss),
}  # fmt: skip


def make(name: str, case: dict, steps: int) -> None:
    seed = 3000 + sum(map(ord, name))
    build = getattr(transformers, case["kind"] + "ForCausalLM")
    config = config_of(case["kind"], LLAMA | case.get("settings", {}))
    form = case["format"]()
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    form["write"](folder, config, random_weights(build, config, seed, form.get("dtype", torch.bfloat16)))
    for other in folder.iterdir():
        assert other.name in ("model.safetensors", "config.json"), other
    state = form["read"](folder)
    tokens = np.random.default_rng(seed).integers(0, config.vocab_size, 45).tolist()
    exact = make_models.run(build, config, state, tokens, torch.float64)
    rounded = make_models.run(build, config, state, tokens, torch.float64, lambda model: make_models.contract(model, steps, True))
    single = make_models.run(build, config, state, tokens, torch.float32)
    about = {"tokens": tokens, "layouts": ["quantized"], "found": case["found"], "quantized": {
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
