"""Makes tests/golden/models: a tiny random model of every family run by Hugging Face transformers, the logits of every position.

A case is a folder: config.json as transformers writes it, legacy.json, the spelling before version 5, case.json, and logits.<LAYOUT>.f32, float32 [tokens][vocabulary], for each
layout of weights. The weights are not kept: they come from a seed (src/format/seeded.h, seeded.py) and the centre and scale that
case.json gives for each tensor, rounded through the layout as src/format/layout.h does.

How the reference is made and what the deviations mean is told in make_llama.py; the difference is that nothing here knows a family's
code. Exact: the model is built and run in float64 while torch.float32 is torch.float64, so that what modules compute "in float32" is
exact as well. Contract, with the roundings of src/runtime/op.h: keys and values through f16 where eager attention takes them, arguments of
sines and cosines in f32, inputs of short convolutions in f16, inputs of quantized linears in groups of 32. Of latent attention the cache
holds latent vectors and the keys that turn, in f16; keys and values that are made of them are not rounded.

In case.json: seed; tokens; layouts; gguf: whether converters to GGUF can say all of it; metadata: [key, type, value] of the GGUF file as
llama.cpp's converter writes them, under general.architecture; tensors: {name, shape, centre, scale, gguf} in the checkpoint's names
and shapes, with what the converter does to them: permute (head size: rows of a head reordered so that neighbours turn together), add (a
number added), transpose, heads and plain (kv_b is split: of each head that many rows go to the first tensor, turned, the others to the
second); extra: tensors that only the GGUF file has.

Run with: numpy 2.4, torch 2.15, transformers 5.24, gguf 0.19. Needs a C compiler (make_llama.py). Arguments: names of cases; none: all.
"""

import contextlib
import json
import math
import pathlib
import re
import sys
import tempfile

import gguf
import make_llama
import numpy as np
import seeded
import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

HERE = pathlib.Path(__file__).parent
OUT = HERE / "models"
DENSE = ("F32", "F16", "BF16")

# ---- The reference ----


@contextlib.contextmanager
def replaced(*changes):
    """(object, attribute, value) for as long as the block runs."""
    before = [(target, name, getattr(target, name)) for target, name, _ in changes]
    for target, name, value in changes:
        setattr(target, name, value)
    try:
        yield
    finally:
        for target, name, value in before:
            setattr(target, name, value)


def as_float64():
    """What is asked for in float32 is done in float64."""
    return replaced((torch, "float32", torch.float64), (torch, "float", torch.float64), (torch.Tensor, "float", torch.Tensor.double))


def to_float32(x: torch.Tensor) -> torch.Tensor:
    return x.type("torch.FloatTensor").double()


def contract(model: nn.Module, steps: int, quantized: bool):
    """The roundings that the engine's contract states, in float64."""
    module = sys.modules[type(model).__module__]
    attend, cos, sin = module.eager_attention_forward, torch.Tensor.cos, torch.Tensor.sin

    def convolve(x, *rest, **more):
        return model_convolve(x.half().double(), *rest, **more)

    model_convolve = getattr(module, "causal_conv1d_fn", None)
    more_changes = [(module, "causal_conv1d_fn", convolve)] if model_convolve else []

    def attention(self, query, key, value, *rest, **more):
        return attend(self, query, key.half().double(), value.half().double(), *rest, **more)

    def in_groups(x):
        if not quantized:
            return x
        groups = x.reshape(*x.shape[:-1], -1, 32)
        scale = groups.abs().amax(-1, keepdim=True) / steps
        return (torch.where(scale == 0, 0, groups / scale).round() * scale).reshape(x.shape)

    linear, conv1d, polar = nn.functional.linear, Conv1D.forward, torch.polar
    more_changes.append((module, "eager_attention_forward", attention))
    if type(model).__name__.startswith("DeepseekV2"):
        layer = module.DeepseekV2Attention
        expand = layer.expand_kv
        more_changes = [(layer, "expand_kv", lambda self, latent, turning: expand(self, latent.half().double(), turning.half().double()))]
    return replaced(
        (torch, "polar", lambda size, angle: polar(size, to_float32(angle))), (torch.Tensor, "cos", lambda x: cos(to_float32(x))),
        (torch.Tensor, "sin", lambda x: sin(to_float32(x))),
        (nn.functional, "linear", lambda x, weight, bias=None: linear(in_groups(x), weight, bias)),
        (Conv1D, "forward", lambda self, x: conv1d(self, in_groups(x))), *more_changes)  # fmt: skip


def run(make, config, state: dict, tokens: list[int], dtype: torch.dtype, rounding=None) -> np.ndarray:
    with contextlib.ExitStack() as stack:
        if dtype == torch.float64:
            stack.enter_context(as_float64())
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(dtype)
        model = make(config)
        missing, unexpected = model.load_state_dict({name: value.to(dtype) for name, value in state.items()}, strict=False)
        assert not unexpected and (config.tie_word_embeddings or not missing), (missing, unexpected)
        model.tie_weights()
        model.eval()
        if rounding:
            stack.enter_context(rounding(model))
        with torch.no_grad():
            return model(torch.tensor([tokens]), use_cache=False).logits[0].double().numpy()


# ---- Experts: transformers joins what checkpoints have apart ----


def experts_of(config) -> int:
    return getattr(config, "num_local_experts", None) or config.num_experts


def apart(block: str, gate: str, up: str, down: str):
    """Names and shapes as checkpoints have them, all experts of one kind in a row, and the way back."""

    def split(config, shapes):
        out = {}
        for name, shape in shapes.items():
            layer = name.split(".mlp.")[0]
            if name.endswith("experts.gate_up_proj"):
                for kind in (gate, up):
                    out |= {f"{layer}.{block}.experts.{e}.{kind}.weight": (shape[1] // 2, shape[2]) for e in range(shape[0])}
            elif name.endswith("experts.down_proj"):
                out |= {f"{layer}.{block}.experts.{e}.{down}.weight": shape[1:] for e in range(shape[0])}
            else:
                out[name.replace(".mlp.gate.", f".{block}.gate.")] = shape
        return out

    def join(config, state):
        out = {name.replace(f".{block}.gate.", ".mlp.gate."): value for name, value in state.items() if f".{block}.experts." not in name}
        for layer in range(config.num_hidden_layers):
            at = f"model.layers.{layer}.{block}.experts."
            if f"{at}0.{down}.weight" not in state:
                continue
            get = lambda kind: torch.stack([state[f"{at}{e}.{kind}.weight"] for e in range(experts_of(config))])  # noqa: B023, E731
            out[f"model.layers.{layer}.mlp.experts.gate_up_proj"] = torch.cat((get(gate), get(up)), 1)
            out[f"model.layers.{layer}.mlp.experts.down_proj"] = get(down)
        return out

    return dict(split=split, join=join)


# ---- Weights ----


def describe_stacked(config, name: str, shape: tuple) -> dict:
    """gpt-oss: all experts in one tensor, matrices as [expert, in, out], gate and up in turn; GGUF has them apart and turned."""
    layer, bias = name.split(".")[2], ".bias" if name.endswith("bias") else ".weight"
    about = {"centre": 0.0, "scale": float(np.float32(math.sqrt(3 / shape[1]) if len(shape) == 3 else 1.0))}
    if name.endswith("sinks"):
        return about | {"gguf": f"blk.{layer}.attn_sinks.weight"}
    if "gate_up" in name:
        return about | {"gguf": f"blk.{layer}.ffn_gate_exps{bias}", "gguf_second": f"blk.{layer}.ffn_up_exps{bias}"}
    return about | {"gguf": f"blk.{layer}.ffn_down_exps{bias}"}


def turned(array: np.ndarray, step: int) -> list[np.ndarray]:
    """[expert, in, step x out] as `step` lists of rows of `in`."""
    return [np.ascontiguousarray(array[:, :, h::step].transpose(0, 2, 1).reshape(-1, array.shape[1])) for h in range(step)]


def describe(case: dict, config, name: str, shape: tuple) -> dict:
    """A tensor's line in case.json: how it is seeded, and what becomes of it in a GGUF file."""
    about = {"name": name, "shape": list(shape)}
    norm = len(shape) == 1 and name.endswith("weight")
    if name.endswith(".conv.conv.weight"):
        return about | {"centre": 0.0, "scale": 1.0, "gguf": f"blk.{name.split('.')[2]}.shortconv.conv.weight"}
    if case.get("stacked") and (".experts." in name or name.endswith(".sinks")):
        return about | describe_stacked(config, name, shape)
    if norm:
        centre, scale = np.float32(0 if case.get("less_one") else 1), np.float32(0.1)
    elif len(shape) == 1:
        centre, scale = np.float32(0), np.float32(0.1)
    elif case.get("transposed") and ".h." in name:
        centre, scale = np.float32(0), np.float32(math.sqrt(3 / shape[0]))
    elif "embed_tokens" in name or name.endswith(("wte.weight", "wpe.weight")):
        centre, scale = np.float32(0), np.float32(case.get("embed", 1))
    else:
        centre, scale = np.float32(0), np.float32(math.sqrt(3 / shape[-1]))
    about |= {"centre": float(centre), "scale": float(scale)}
    if case["gguf"]:
        names = gguf.get_tensor_name_map(case["arch"], config.num_hidden_layers)
        expert = re.search(r"\.experts\.(\d+)\.", name)
        about["gguf"] = names.get_name(re.sub(r"\.experts\.\d+\.", ".experts.", name), try_suffixes=(".weight", ".bias"))
        assert about["gguf"], name
        if expert:
            about |= {"expert": int(expert[1]), "experts": experts_of(config)}
        if case.get("split_kv_b") and name.endswith("kv_b_proj.weight"):
            layer = name.split(".")[2]
            about |= {"gguf": f"blk.{layer}.attn_k_b.weight", "gguf_second": f"blk.{layer}.attn_v_b.weight", "heads": config.num_attention_heads,
                      "plain": config.qk_nope_head_dim}  # fmt: skip
        if case.get("permute") and name.split(".")[-2] in ("q_proj", "k_proj"):
            about["permute"] = config.head_dim if getattr(config, "head_dim", None) else config.hidden_size // config.num_attention_heads
        if case.get("less_one") and norm:
            about["add"] = 1
        if case.get("transposed") and len(shape) == 2 and ".h." in name:
            about["transpose"] = 1
    return about


def weights(case: dict, layout: str, tensors: list[dict], library) -> dict[str, torch.Tensor]:
    out = {}
    for about in tensors:
        name, shape, vector = about["name"], tuple(about["shape"]), len(about["shape"]) == 1
        flat = seeded.fill(seeded.key(case["seed"], name), 0, int(np.prod(shape)), np.float32(about["centre"]), np.float32(about["scale"]))
        vector |= name.endswith(("_bias", ".conv.conv.weight"))
        kind = "F32" if vector and layout not in DENSE else layout

        def rounded(rows):
            found = make_llama.through(kind, rows)
            assert np.array_equal(found.view(np.uint32), make_llama.through_c(library, kind, rows).view(np.uint32)), (name, kind)
            return found

        if len(shape) == 3 and shape[1] > 1:
            step = 2 if "gguf_second" in about else 1
            value = np.empty(shape, np.float32)
            for h, rows in enumerate(turned(flat.reshape(shape), step)):
                value[:, :, h::step] = rounded(rows).reshape(shape[0], -1, shape[1]).transpose(0, 2, 1)
        elif "heads" in about and layout not in DENSE:
            value = flat.reshape(about["heads"], -1, shape[1]).copy()
            turned_part = np.ascontiguousarray(value[:, : about["plain"]].transpose(0, 2, 1))
            plain_part = np.ascontiguousarray(value[:, about["plain"] :])
            value[:, : about["plain"]] = rounded(turned_part.reshape(-1, about["plain"])).reshape(turned_part.shape).transpose(0, 2, 1)
            value[:, about["plain"] :] = rounded(plain_part.reshape(-1, shape[1])).reshape(plain_part.shape)
        elif "transpose" in about:
            value = rounded(np.ascontiguousarray(flat.reshape(shape).T)).T
        else:
            value = rounded(flat.reshape(-1, shape[-1]))
        out[name] = torch.from_numpy(value.reshape(shape).astype(np.float64).copy())
    return out


# ---- Cases ----


def common(config, prefix: str, head_dim: int | None = None) -> list:
    """What llama.cpp's converter writes of nearly every model."""
    return [[f"{prefix}.{key}", kind, value] for key, kind, value in [
        ("block_count", "u32", config.num_hidden_layers), ("context_length", "u32", config.max_position_embeddings),
        ("embedding_length", "u32", config.hidden_size), ("attention.head_count", "u32", config.num_attention_heads)]]  # fmt: skip


def llama_like(config, prefix: str, *more, epsilon: str = "layer_norm_rms_epsilon") -> list:
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    value = config.norm_eps if epsilon == "norm_eps" else config.rms_norm_eps if epsilon == "layer_norm_rms_epsilon" else config.layer_norm_eps
    epsilon = "layer_norm_rms_epsilon" if epsilon == "norm_eps" else epsilon
    width = int(2 * config.intermediate_size / 3) if getattr(config, "block_auto_adjust_ff_dim", False) else config.intermediate_size
    return common(config, prefix) + [[f"{prefix}.{key}", kind, value] for key, kind, value in [
        ("feed_forward_length", "u32", width), ("attention.head_count_kv", "u32", config.num_key_value_heads),
        (f"attention.{epsilon}", "f32", value), ("rope.freq_base", "f32", rope["rope_theta"]), *more]]  # fmt: skip


def heads(config) -> list:
    return [("attention.key_length", "u32", config.head_dim), ("attention.value_length", "u32", config.head_dim)]


def phi3(config) -> list:
    rope = config.rope_parameters
    head_dim = config.hidden_size // config.num_attention_heads
    out = llama_like(config, "phi3", ("rope.dimension_count", "u32", int(head_dim * rope.get("partial_rotary_factor", 1))),
                     ("attention.sliding_window", "u32", config.sliding_window or 0),
                     ("rope.scaling.original_context_length", "u32", config.original_max_position_embeddings))  # fmt: skip
    if rope["rope_type"] == "longrope":
        factor, trained = config.max_position_embeddings / config.original_max_position_embeddings, config.original_max_position_embeddings
        out.append(["phi3.rope.scaling.attn_factor", "f32", math.sqrt(1 + math.log(factor) / math.log(trained)) if factor > 1 else 1.0])
    return out


def phi3_extra(config) -> dict:
    rope = config.rope_parameters
    if rope["rope_type"] != "longrope":
        return {}
    return {"rope_factors_long.weight": rope["long_factor"], "rope_factors_short.weight": rope["short_factor"]}


def gemma3(config) -> list:
    rope = config.rope_parameters["full_attention"]
    scaled = [("rope.scaling.type", "string", "linear"), ("rope.scaling.factor", "f32", rope["factor"])] if rope["rope_type"] == "linear" else []
    return llama_like(config, "gemma3", *heads(config), ("attention.sliding_window", "u32", config.sliding_window), *scaled)


def gpt2(config) -> list:
    return common(config, "gpt2") + [["gpt2.feed_forward_length", "u32", 4 * config.n_embd],
                                     ["gpt2.attention.layer_norm_epsilon", "f32", config.layer_norm_epsilon]]  # fmt: skip


def deepseek(split: bool):
    """Files made before kv_b was split tell a head's sizes where newer ones tell the latent vectors'."""

    def metadata(c) -> list:
        key, rope = c.qk_nope_head_dim + c.qk_rope_head_dim, c.rope_parameters
        sizes = [("attention.head_count_kv", 1), ("attention.key_length", c.kv_lora_rank + c.qk_rope_head_dim), ("attention.value_length", c.kv_lora_rank),
                 ("attention.key_length_mla", key), ("attention.value_length_mla", c.v_head_dim)]  # fmt: skip
        if not split:
            sizes = [("attention.head_count_kv", c.num_attention_heads), ("attention.key_length", key), ("attention.value_length", c.v_head_dim)]
        sizes += [("attention.q_lora_rank", c.q_lora_rank)] if c.q_lora_rank else []
        sizes += [("feed_forward_length", c.intermediate_size), ("attention.kv_lora_rank", c.kv_lora_rank), ("rope.dimension_count", c.qk_rope_head_dim),
                  ("leading_dense_block_count", c.first_k_dense_replace), ("expert_count", c.n_routed_experts), ("expert_used_count", c.num_experts_per_tok),
                  ("expert_feed_forward_length", c.moe_intermediate_size), ("expert_shared_count", c.n_shared_experts)]  # fmt: skip
        reals = [("attention.layer_norm_rms_epsilon", c.rms_norm_eps), ("rope.freq_base", rope["rope_theta"]), ("expert_weights_scale", c.routed_scaling_factor)]
        lines = [(name, "u32", value) for name, value in sizes] + [(name, "f32", value) for name, value in reals]
        if rope["rope_type"] == "yarn":
            lines += [("rope.scaling.type", "string", "yarn"), ("rope.scaling.factor", "f32", rope["factor"]),
                      ("rope.scaling.original_context_length", "u32", rope["original_max_position_embeddings"]),
                      ("rope.scaling.yarn_log_multiplier", "f32", 0.1 * rope["mscale_all_dim"])]  # fmt: skip
        return common(c, "deepseek2") + [[f"deepseek2.{name}", kind, value] for name, kind, value in lines]

    return metadata


ARCH = gguf.MODEL_ARCH
SHAPE = dict(num_attention_heads=4, num_key_value_heads=2, hidden_size=64, intermediate_size=96, vocab_size=131, num_hidden_layers=2,
             max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=None, tie_word_embeddings=False)  # fmt: skip


def factors(pairs: int, most: float) -> list[float]:
    return [round(1 + (most - 1) * i / pairs, 4) for i in range(pairs)]


def longrope(pairs: int, **more) -> dict:
    return dict(rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": factors(pairs, 1.5),
                                 "long_factor": factors(pairs, 6), **more})  # fmt: skip


LATENT = dict(num_key_value_heads=4, kv_lora_rank=96, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=48, n_routed_experts=6,
              num_experts_per_tok=2, moe_intermediate_size=32, n_shared_experts=2)  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 64}

CASES = {
    "qwen2": dict(make="Qwen2", arch=ARCH.QWEN2, tokens=70, layouts=["F32", "Q8_0"], metadata=lambda c: llama_like(c, "qwen2")),
    # GGUF files of these say nothing of the window.
    "qwen2_window": dict(make="Qwen2", tokens=150, layouts=["F32"], config=dict(
        use_sliding_window=True, sliding_window=40, max_window_layers=1, num_hidden_layers=3)),
    "mistral": dict(make="Mistral", arch=ARCH.LLAMA, tokens=70, layouts=["BF16", "Q4_0"], permute=True, config=dict(sliding_window=None, head_dim=24),
                    metadata=lambda c: llama_like(c, "llama", *heads(c), ("rope.dimension_count", "u32", c.head_dim))),
    "mistral_window": dict(make="Mistral", tokens=150, layouts=["F32"], config=dict(sliding_window=48, head_dim=16)),
    "qwen3": dict(make="Qwen3", arch=ARCH.QWEN3, tokens=70, layouts=["F32", "Q8_0"], config=dict(head_dim=32, tie_word_embeddings=True),
                  metadata=lambda c: llama_like(c, "qwen3", *heads(c))),
    # Heads of 96; short factors, as the context of the test is within the original one.
    "phi3": dict(make="Phi3", arch=ARCH.PHI3, tokens=150, layouts=["F32", "Q8_0"], metadata=phi3, extra=phi3_extra, config=dict(
        hidden_size=192, num_attention_heads=2, num_key_value_heads=1, sliding_window=64, original_max_position_embeddings=1024,
        max_position_embeddings=4096, **longrope(48))),
    "phi3_long": dict(make="Phi3", arch=ARCH.PHI3, tokens=100, layouts=["F32"], metadata=phi3, extra=phi3_extra, config=dict(
        hidden_size=64, num_attention_heads=2, num_key_value_heads=2, sliding_window=None, original_max_position_embeddings=64,
        max_position_embeddings=512, **longrope(12, partial_rotary_factor=0.75))),
    "gemma": dict(make="Gemma", arch=ARCH.GEMMA, tokens=70, layouts=["F32", "Q8_0"], less_one=True, config=dict(head_dim=32, tie_word_embeddings=True),
                  metadata=lambda c: llama_like(c, "gemma", *heads(c))),
    "gemma2": dict(make="Gemma2", arch=ARCH.GEMMA2, tokens=150, layouts=["F32", "Q8_0"], less_one=True, config=dict(
        head_dim=32, num_hidden_layers=4, sliding_window=32, query_pre_attn_scalar=32, attn_logit_softcapping=4.0, final_logit_softcapping=3.0,
        tie_word_embeddings=True), metadata=lambda c: llama_like(
            c, "gemma2", *heads(c), ("attention.sliding_window", "u32", c.sliding_window),
            ("attn_logit_softcapping", "f32", c.attn_logit_softcapping), ("final_logit_softcapping", "f32", c.final_logit_softcapping))),
    # GGUF files leave the scalar out.
    "gemma2_scalar": dict(make="Gemma2", tokens=70, layouts=["F32"], less_one=True, config=dict(
        head_dim=16, query_pre_attn_scalar=24, sliding_window=48, tie_word_embeddings=True)),
    "gemma3": dict(make="Gemma3", config_class="Gemma3TextConfig", arch=ARCH.GEMMA3, tokens=150, layouts=["F32", "Q8_0"], less_one=True, config=dict(
        head_dim=32, num_hidden_layers=7, sliding_window=40, query_pre_attn_scalar=32, tie_word_embeddings=True, rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}), metadata=gemma3),
    "smollm3": dict(make="SmolLM3", arch=ARCH.SMOLLM3, tokens=70, layouts=["F32", "Q8_0"], permute=True, config=dict(
        num_hidden_layers=5, tie_word_embeddings=True), metadata=lambda c: llama_like(c, "smollm3")),
    "olmo2": dict(make="Olmo2", arch=ARCH.OLMO2, tokens=70, layouts=["F32", "Q8_0"], metadata=lambda c: llama_like(c, "olmo2")),
    "granite": dict(make="Granite", arch=ARCH.GRANITE, tokens=70, layouts=["F32", "Q8_0"], permute=True, config=dict(
        embedding_multiplier=12.0, residual_multiplier=0.22, attention_multiplier=0.2, logits_scaling=8.0), metadata=lambda c: llama_like(
            c, "granite", ("attention.scale", "f32", c.attention_multiplier), ("embedding_scale", "f32", c.embedding_multiplier),
            ("residual_scale", "f32", c.residual_multiplier), ("logit_scale", "f32", c.logits_scaling))),
    "stablelm": dict(make="StableLm", arch=ARCH.STABLELM, tokens=70, layouts=["F32", "Q8_0"], config=dict(
        use_qkv_bias=True, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}),
        metadata=lambda c: llama_like(c, "stablelm", ("rope.dimension_count", "u32", 4), ("use_parallel_residual", "bool", False),
                                      epsilon="layer_norm_epsilon")),
    "gpt2": dict(make="GPT2LMHeadModel", config_class="GPT2Config", arch=ARCH.GPT2, tokens=70, layouts=["F32", "F16", "Q8_0"], transposed=True,
                 shape=dict(n_embd=64, n_layer=2, n_head=4, n_positions=512, vocab_size=131, bos_token_id=1, eos_token_id=2), metadata=gpt2),
    "mixtral": dict(make="Mixtral", arch=ARCH.LLAMA, tokens=150, layouts=["F32", "Q8_0"], permute=True, config=dict(
        num_local_experts=4, num_experts_per_tok=2, sliding_window=None), metadata=lambda c: llama_like(
            c, "llama", ("rope.dimension_count", "u32", 16), ("expert_count", "u32", 4), ("expert_used_count", "u32", 2)),
        **apart("block_sparse_moe", "w1", "w3", "w2")),
    "qwen3moe": dict(make="Qwen3Moe", arch=ARCH.QWEN3MOE, tokens=150, layouts=["F32", "Q4_0"], config=dict(
        head_dim=32, num_experts=16, num_experts_per_tok=3, moe_intermediate_size=64, norm_topk_prob=True), metadata=lambda c: llama_like(
            c, "qwen3moe", *heads(c), ("expert_count", "u32", 16), ("expert_used_count", "u32", 3), ("expert_feed_forward_length", "u32", 64)),
        **apart("mlp", "gate_proj", "up_proj", "down_proj")),
    "qwen2moe": dict(make="Qwen2Moe", arch=ARCH.QWEN2MOE, tokens=70, layouts=["F32", "Q8_0"], config=dict(
        num_experts=8, num_experts_per_tok=3, moe_intermediate_size=32, shared_expert_intermediate_size=64), metadata=lambda c: llama_like(
            c, "qwen2moe", ("expert_count", "u32", 8), ("expert_used_count", "u32", 3), ("expert_feed_forward_length", "u32", 32),
            ("expert_shared_feed_forward_length", "u32", 64)), **apart("mlp", "gate_proj", "up_proj", "down_proj")),
    # GGUF files cannot say which layers have experts. Here 1 and 5 do.
    "qwen3moe_some": dict(make="Qwen3Moe", tokens=50, layouts=["F32"], config=dict(
        head_dim=16, num_hidden_layers=6, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, decoder_sparse_step=2, mlp_only_layers=[3],
        norm_topk_prob=True), **apart("mlp", "gate_proj", "up_proj", "down_proj")),
    # The sizes of a head that turn, that do not, of a value, and of latent vectors all differ. As V2-Lite: no latent vectors of queries.
    "deepseek2": dict(make="DeepseekV2", arch=ARCH.DEEPSEEK2, tokens=100, layouts=["F32", "Q8_0"], split_kv_b=True, config=dict(
        LATENT, num_hidden_layers=3, q_lora_rank=None, first_k_dense_replace=1, rope_parameters=dict(YARN, mscale=0.707, mscale_all_dim=0.707)),
        metadata=deepseek(True), **apart("mlp", "gate_proj", "up_proj", "down_proj")),
    # A file of before kv_b was split; latent vectors of queries. The norms of latent vectors have an epsilon of their own, 1e-6.
    "deepseek2_joint": dict(make="DeepseekV2", arch=ARCH.DEEPSEEK2, tokens=70, layouts=["F32", "Q8_0"], config=dict(
        LATENT, q_lora_rank=32, first_k_dense_replace=1, routed_scaling_factor=1.5, rms_norm_eps=0.01), metadata=deepseek(False),
        **apart("mlp", "gate_proj", "up_proj", "down_proj")),
    # GGUF files take mscale for what mscale_all_dim is.
    "deepseek2_mscale": dict(make="DeepseekV2", tokens=70, layouts=["F32"], config=dict(
        LATENT, num_hidden_layers=1, q_lora_rank=None, first_k_dense_replace=1, rope_parameters=dict(YARN, mscale=1.2, mscale_all_dim=0.8)),
        **apart("mlp", "gate_proj", "up_proj", "down_proj")),
    "lfm2": dict(make="Lfm2", arch=ARCH.LFM2, tokens=150, layouts=["F32", "Q8_0"], config=dict(
        num_hidden_layers=4, intermediate_size=144, block_multiple_of=32, layer_types=["conv", "conv", "full_attention", "conv"],
        tie_word_embeddings=True), metadata=lambda c: [line for line in llama_like(
            c, "lfm2", ("shortconv.l_cache", "u32", c.conv_L_cache), epsilon="norm_eps") if "head_count_kv" not in line[0]] + [
                ["lfm2.attention.head_count_kv", "i32s", [0 if kind == "conv" else c.num_key_value_heads for kind in c.layer_types]]]),
    "gpt_oss": dict(make="GptOss", arch=ARCH.GPT_OSS, tokens=150, layouts=["F32", "Q8_0", "MXFP4"], stacked=True, config=dict(
        head_dim=32, num_local_experts=8, num_experts_per_tok=3, intermediate_size=64, sliding_window=40, num_hidden_layers=3, rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "beta_fast": 8.0, "beta_slow": 1.0, "truncate": False,
            "original_max_position_embeddings": 128}), metadata=lambda c: llama_like(
                c, "gpt-oss", *heads(c), ("expert_count", "u32", 8), ("expert_used_count", "u32", 3), ("expert_feed_forward_length", "u32", 64),
                ("attention.sliding_window", "u32", 40), ("rope.scaling.type", "string", "yarn"), ("rope.scaling.factor", "f32", 4.0),
                ("rope.scaling.original_context_length", "u32", 128), ("rope.scaling.yarn_beta_fast", "f32", 8.0))),
}  # fmt: skip


def legacy(config: dict, kind: str) -> dict:
    """As transformers 4 wrote it, and as most checkpoints have it: RoPE in several places, layers by their pattern."""
    old = {k: v for k, v in config.items() if k not in ("rope_parameters", "dtype")}
    rope = dict(config.get("rope_parameters", {}))
    if "full_attention" in rope:
        old["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = dict(rope["full_attention"])
    if rope:
        old["rope_theta"] = rope.pop("rope_theta")
        if rope.pop("partial_rotary_factor", 1) != 1:
            old["partial_rotary_factor"] = config["rope_parameters"]["partial_rotary_factor"]
        rope["type"] = rope.pop("rope_type")
        old["rope_scaling"] = None if rope["type"] == "default" else rope
    if kind in ("Gemma2", "Gemma3", "Qwen2", "Lfm2"):
        types = old.pop("layer_types")
        if kind == "Gemma3":
            old["sliding_window_pattern"] = 6
        if kind == "Lfm2":
            old["full_attn_idxs"] = [i for i, kind in enumerate(types) if kind == "full_attention"]
            old["block_ff_dim"] = old.pop("intermediate_size")
    if kind == "Qwen3Moe":
        old["num_experts"] = old.pop("num_local_experts")
    if kind == "DeepseekV2":
        for name in ("head_dim", "qk_head_dim", "mlp_bias"):
            old.pop(name)
        old |= {"scoring_func": "softmax", "moe_layer_freq": 1, "n_group": 1, "topk_group": 1, "ep_size": 1, "seq_aux": True}
    old["torch_dtype"] = "float32"
    return old


def make(name: str, case: dict, steps: int, library) -> None:
    case = {"config": {}, "metadata": lambda c: [], "extra": lambda c: {}, "split": lambda c, shapes: shapes, "join": lambda c, state: state, "name": name, "seed": 2000 + sum(map(ord, name)), "gguf": "arch" in case} | case
    class_name = case["make"] if case["make"].endswith("Model") else case["make"] + "ForCausalLM"
    build = getattr(transformers, class_name)
    config_class = getattr(transformers, case.get("config_class", case["make"] + "Config"))
    config = config_class(**(case.get("shape", SHAPE) | case["config"]), attn_implementation="eager")
    config._experts_implementation = "eager"
    config.architectures = [class_name]
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    written = {k: v for k, v in json.loads(config.to_json_string(use_diff=False)).items() if v is not None}
    (folder / "config.json").write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
    (folder / "legacy.json").write_text(json.dumps(legacy(written, case["make"]), indent=1, sort_keys=True) + "\n")
    tokens = np.random.default_rng(case["seed"]).integers(0, config.vocab_size, case["tokens"]).tolist()
    shapes = {name: tuple(value.shape) for name, value in build(config).state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    shapes = case["split"](config, shapes)
    tensors = [describe(case, config, name, shape) for name, shape in shapes.items()]
    about = {"seed": case["seed"], "tokens": tokens, "layouts": case["layouts"], "gguf": case["gguf"], "tensors": tensors}
    if case["gguf"]:
        about |= {"architecture": gguf.MODEL_ARCH_NAMES[case["arch"]], "metadata": case["metadata"](config), "extra": case["extra"](config)}
    for layout in case["layouts"]:
        state = weights(case, layout, tensors, library)
        state = case["join"](config, state)
        exact = run(build, config, state, tokens, torch.float64)
        rounded = run(build, config, state, tokens, torch.float64, lambda model: contract(model, steps, layout not in DENSE))
        single = run(build, config, state, tokens, torch.float32)
        about[layout] = {"contract": make_llama.deviation(rounded, exact), "float32": make_llama.deviation(single, exact),
                         "logits_rms": float(np.sqrt((exact**2).mean()))}  # fmt: skip
        exact.astype("<f4").tofile(folder / f"logits.{layout}.f32")
        print(f"{name:14} {layout:5} {about[layout]}", flush=True)
    (folder / "case.json").write_text(json.dumps(about, sort_keys=True) + "\n")


def main() -> None:
    header = (make_llama.ROOT / "src/backend/kernel_args.h").read_text()
    steps = int(re.search(r"#define PV_ACTIVATION_STEPS (\d+)", header)[1])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        library = make_llama.compile_layouts(folder)
        for name, case in CASES.items():
            if len(sys.argv) == 1 or name in sys.argv[1:]:
                make(name, case, steps, library)


if __name__ == "__main__":
    main()
