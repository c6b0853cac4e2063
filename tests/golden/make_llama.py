"""Makes tests/golden/llama: tiny random llama models run by Hugging Face transformers, the logits of every position.

A case is a folder: config.json as transformers writes it (and legacy.json, the spelling before version 5, where they differ in
more than a name), case.json, and logits.<LAYOUT>.f32, float32 [tokens][vocabulary], for each layout of weights. The weights are
not kept: they come from a seed (src/format/seeded.h, seeded.py), rounded through the layout as src/format/layout.h does.

The reference is transformers' own LlamaForCausalLM, eager attention, in float64; what it computes in float32 whatever it is asked
(norm, rotary angles, softmax) is replaced by the same formula in float64. It is the exact model: it knows nothing of how the
engine rounds. How far that rounding may take the engine away is measured here too, with the roundings that the contract of
src/runtime/op.h states put into the same float64 model:
  contract  K and V rounded to f16; rotary frequencies and angles to f32; with quantized weights the inputs of every linear in
            groups of 32, scale = max|x| / PV_ACTIVATION_STEPS, to nearest
  float32   transformers' unchanged float32 run, for the accumulation of rounding errors of f32 arithmetic
case.json holds the root mean square and the maximum of the logits' deviation for both. The test adds the two: an engine that
rounds where the contract says, and computes in f32, deviates by that and not by more. Another rope pairing, scale, mask or
frequency moves the logits by about their own size, "logits_rms".

In case.json: seed; tokens; matrices and vectors, the layout given to each tensor's kind by its name's suffix in the layout
"MIXED"; rope_freqs, what GGUF files of scaled models carry (divisors of the plain frequencies).

Dense layouts round every tensor, quantized layouts the matrices only: a GGUF file keeps vectors in F32.

Run with: numpy 2.4, torch 2.15, transformers 5.23 and 5.24, gguf 0.19. Needs a C compiler: of what gguf-py reads but does not write, Q4_K and
Q6_K are written out below, the others encoded by layout.c and decoded by gguf-py; all are checked against layout.c bit for bit.
Arguments: names of cases; none: all.
"""

import ctypes
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import seeded
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
OUT = HERE / "llama"

# ---- Layouts ----


def nearest(x: np.ndarray, low: int, high: int) -> np.ndarray:
    """C's roundf, clamped, and an integer after that: there is no negative zero."""
    rounded = np.trunc(x) + np.copysign(np.abs(x - np.trunc(x)) >= np.float32(0.5), x)
    return (np.clip(rounded, low, high) + np.float32(0)).astype(np.float32)


def inverse(x: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.where(x == 0, np.float32(0), np.float32(1) / x).astype(np.float32)


def through_half(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


def q4_k(rows: np.ndarray) -> np.ndarray:
    """Blocks of 256 in 8 sub-blocks: weight = (d scale) q - dmin minimum; ranges cover zero; see encode_q4_k."""
    x = rows.reshape(-1, 8, 32)
    low = np.minimum(x.min(-1), 0)
    step, base = ((x.max(-1) - low) / np.float32(15)).astype(np.float32), -low
    d = through_half(step.max(-1, keepdims=True) / np.float32(63))
    dmin = through_half(base.max(-1, keepdims=True) / np.float32(63))
    scale = nearest(step * inverse(d), 0, 63)
    minimum = nearest(base * inverse(dmin), 0, 63)
    size, shift = (d * scale)[..., None], (dmin * minimum)[..., None]
    q = nearest((x + shift) * inverse(size), 0, 15)
    return (size * q - shift).reshape(rows.shape)


def q6_k(rows: np.ndarray) -> np.ndarray:
    """Blocks of 256 in 16 sub-blocks: weight = (d scale) q; the extreme of a sub-block becomes -32; see encode_q6_k."""
    x = rows.reshape(-1, 16, 16)
    extreme = np.take_along_axis(x, np.abs(x).argmax(-1)[..., None], -1)[..., 0]
    step = (extreme / np.float32(-32)).astype(np.float32)
    d = through_half(np.abs(step).max(-1, keepdims=True) / np.float32(127))
    scale = nearest(step * inverse(d), -127, 127)
    size = (d * scale)[..., None]
    q = nearest(x * inverse(size), -32, 31)
    return (size * q).reshape(rows.shape)


ONLY_READ = ("Q2_K", "Q3_K", "Q5_K", "IQ4_NL", "IQ4_XS")  # by gguf-py, beside Q4_K and Q6_K


def through(layout: str, rows: np.ndarray, library: ctypes.CDLL | None = None) -> np.ndarray:
    """Float32 rows encoded and decoded again."""
    if layout == "F32":
        return rows
    if layout == "Q4_K":
        return q4_k(rows)
    if layout == "Q6_K":
        return q6_k(rows)
    kind = gguf.GGMLQuantizationType[layout]
    if layout in ONLY_READ:
        return np.asarray(gguf.dequantize(encoded_by_c(library, layout, rows), kind), np.float32).reshape(rows.shape)
    return np.asarray(gguf.dequantize(gguf.quantize(rows, kind), kind), np.float32).reshape(rows.shape)


def encoded_by_c(library: ctypes.CDLL, layout: str, rows: np.ndarray) -> np.ndarray:
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[layout]]
    index = re.findall(r"X\((\w+), \d+", (ROOT / "src/format/layout.h").read_text()).index(layout)
    out = np.empty((rows.shape[0], rows.shape[1] // block * size), np.uint8)
    library.pv_layout_encode.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p]
    for source, target in zip(np.ascontiguousarray(rows), out):
        library.pv_layout_encode(index, source.ctypes.data, rows.shape[1], target.ctypes.data)
    return out


def through_c(library: ctypes.CDLL, layout: str, rows: np.ndarray) -> np.ndarray:
    """The same by layout.c."""
    index = re.findall(r"X\((\w+), \d+", (ROOT / "src/format/layout.h").read_text()).index(layout)
    out, encoded = np.empty_like(rows), ctypes.create_string_buffer(rows.shape[1] * 4 + 512)
    library.pv_layout_encode.argtypes = library.pv_layout_decode.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p]  # fmt: skip
    for source, target in zip(np.ascontiguousarray(rows), out):
        library.pv_layout_encode(index, source.ctypes.data, rows.shape[1], encoded)
        library.pv_layout_decode(index, encoded, rows.shape[1], target.ctypes.data)
    return out


def compile_layouts(folder: str) -> ctypes.CDLL:
    path = f"{folder}/layout.so"
    subprocess.run(["cc", "-O1", "-ffp-contract=off", "-shared", "-fPIC", f"-I{ROOT}/include", f"-I{ROOT}/src", "-o", path,
                    *sorted((ROOT / "src/format").glob("layout*.c")), "-lm"], check=True)  # fmt: skip
    return ctypes.CDLL(path)


def layout_of(layout: str, case: dict, name: str, vector: bool) -> str:
    if layout == "MIXED":
        layout = next(kind for suffix, kind in case["mixed"].items() if name.endswith(suffix))
    return "F32" if vector and layout not in ("F16", "BF16") else layout


def weights(case: dict, layout: str, shapes: dict[str, tuple], library: ctypes.CDLL) -> dict[str, torch.Tensor]:
    out = {}
    for name, shape in shapes.items():
        rows = seeded.tensor(case["seed"], name, shape).reshape(-1, shape[-1])
        kind = layout_of(layout, case, name, len(shape) == 1)
        rounded = through(kind, rows, library)
        assert np.array_equal(rounded.view(np.uint32), through_c(library, kind, rows).view(np.uint32)), (name, kind)
        out[name] = torch.from_numpy(rounded.reshape(shape).astype(np.float64))
    return out


# ---- The reference ----

ORIGINAL = {
    "norm": modeling_llama.LlamaRMSNorm.forward,
    "rotary": modeling_llama.LlamaRotaryEmbedding.forward,
    "apply": modeling_llama.apply_rotary_pos_emb,
    "softmax": nn.functional.softmax,
    "linear": nn.Linear.forward,
}


def exact_frequencies(config: LlamaConfig) -> np.ndarray:
    """Rotary frequencies in float64: plain, linear, and those of Llama 3.1."""
    rope = config.rope_parameters
    dim = config.head_dim
    plain = rope["rope_theta"] ** -(np.arange(0, dim, 2) / dim)
    if rope["rope_type"] == "linear":
        return plain / rope["factor"]
    if rope["rope_type"] == "llama3":
        trained = rope["original_max_position_embeddings"]
        low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
        wavelength = 2 * math.pi / plain
        smooth = np.clip((trained / wavelength - low) / (high - low), 0, 1)
        return plain * (smooth + (1 - smooth) / factor)
    return plain


def in_float64(frequencies: np.ndarray, contract: bool) -> None:
    """Replaces what transformers computes in float32 whatever it is asked; with `contract` angles are rounded as op.h states."""
    inv = torch.from_numpy(frequencies)

    def norm(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def rotary(self, x, position_ids):
        assert torch.allclose(self.inv_freq.double(), inv, rtol=2e-6, atol=0)  # transformers' own, in float32
        if contract:
            angles = (position_ids[..., None].float() * inv.float()).double()
        else:
            angles = position_ids[..., None].double() * inv
        both = torch.cat((angles, angles), -1)
        return both.cos(), both.sin()

    def softmax(x, dim=None, _stacklevel=3, dtype=None):
        return ORIGINAL["softmax"](x, dim=dim)

    modeling_llama.LlamaRMSNorm.forward = norm
    modeling_llama.LlamaRotaryEmbedding.forward = rotary
    nn.functional.softmax = softmax


def with_roundings(steps: int, quantized: set[str], model: LlamaForCausalLM) -> None:
    """K and V through f16, and inputs of quantized linears through integers in groups of 32."""
    names = {id(module): name for name, module in model.named_modules()}

    def apply(q, k, cos, sin, *rest, **more):
        q, k = ORIGINAL["apply"](q, k, cos, sin, *rest, **more)
        return q, k.half().double()

    def linear(self, x):
        name = names[id(self)]
        if name in quantized:
            groups = x.reshape(*x.shape[:-1], -1, 32)
            scale = groups.abs().amax(-1, keepdim=True) / steps
            x = (torch.where(scale == 0, 0, groups / scale).round() * scale).reshape(x.shape)
        y = ORIGINAL["linear"](self, x)
        return y.half().double() if name.endswith("v_proj") else y

    modeling_llama.apply_rotary_pos_emb = apply
    nn.Linear.forward = linear


def restore() -> None:
    modeling_llama.LlamaRMSNorm.forward = ORIGINAL["norm"]
    modeling_llama.LlamaRotaryEmbedding.forward = ORIGINAL["rotary"]
    modeling_llama.apply_rotary_pos_emb = ORIGINAL["apply"]
    nn.functional.softmax = ORIGINAL["softmax"]
    nn.Linear.forward = ORIGINAL["linear"]


def run(config: LlamaConfig, state: dict, tokens: list[int], dtype: torch.dtype, patch=None) -> np.ndarray:
    model = LlamaForCausalLM(config)
    model.load_state_dict({name: value.float() for name, value in state.items()}, strict=not config.tie_word_embeddings)
    model.tie_weights()
    model = model.to(dtype).eval()
    try:
        if patch:
            patch(model)
        with torch.no_grad():
            return model(torch.tensor([tokens])).logits[0].double().numpy()
    finally:
        restore()


def deviation(found: np.ndarray, wanted: np.ndarray) -> dict:
    difference = np.abs(found - wanted)
    return {"rms": float(np.sqrt((difference**2).mean())), "max": float(difference.max())}


# ---- Cases ----

PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}
DENSE, BLOCKS_32, BLOCKS_256 = ["F32", "F16", "BF16"], ["Q4_0", "Q4_1", "Q8_0"], ["Q4_K", "Q6_K", "MIXED"]
# What llama.cpp calls Q4_K_M mixes so; the norms have no say.
MIXED = {"embed_tokens.weight": "Q6_K", "v_proj.weight": "Q6_K", "down_proj.weight": "Q6_K", "k_proj.weight": "Q8_0",
         "lm_head.weight": "Q6_K", "o_proj.weight": "F16", "weight": "Q4_K", "bias": "F32"}  # fmt: skip


def case(name, layouts, heads, kv_heads, head_dim, width, feed_forward, vocabulary, tokens, layers=2, tied=False, bias=False,
         rope=PLAIN, epsilon=1e-5):  # fmt: skip
    return {"name": name, "layouts": layouts, "tokens": tokens, "config": dict(
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_dim, hidden_size=width,
        intermediate_size=feed_forward, vocab_size=vocabulary, num_hidden_layers=layers, tie_word_embeddings=tied,
        attention_bias=bias, mlp_bias=bias, rope_parameters=dict(rope), rms_norm_eps=epsilon)}  # fmt: skip


CASES = [
    # Grouped queries, an odd vocabulary and an odd feed-forward; 70 tokens fill two pages of 32 and begin a third.
    case("gqa", DENSE, 4, 2, 16, 64, 93, 259, 70),
    # As many key heads as queries; a head that is no multiple of 16; an epsilon that can be seen in the logits.
    case("mha", ["F32"], 3, 3, 12, 36, 131, 259, 70, tied=True, epsilon=0.05),
    # One key head; 300 tokens cross a span of 256 keys in attention.
    case("mqa", ["F32"], 4, 1, 16, 64, 96, 67, 300, tied=True),
    # head_dim is not width / heads, above it and below it.
    case("wide_heads", ["F32", "F16"], 2, 1, 48, 64, 96, 131, 70, tied=True, layers=3),
    case("narrow_heads", ["F32"], 4, 2, 8, 64, 80, 131, 70),
    # Llama-3 frequencies, with bands that are kept, blended and stretched, at positions beyond the trained 32.
    case("llama3", ["F32", "BF16"], 4, 2, 32, 128, 96, 131, 100, rope=LLAMA3),
    case("linear", ["F32"], 4, 2, 16, 64, 96, 131, 70, rope=LINEAR, tied=True),
    case("bias", ["F32", "Q8_0"], 4, 2, 16, 64, 96, 131, 70, bias=True),
    case("blocks_32", BLOCKS_32, 4, 2, 16, 64, 96, 259, 70),
    case("blocks_256", BLOCKS_256, 8, 2, 32, 256, 512, 131, 70, tied=True),
    case("blocks_256_llama3", ["Q4_K"], 4, 1, 64, 256, 256, 131, 100, rope=LLAMA3),
    case("blocks_32_others", ["Q5_0", "Q5_1", "IQ4_NL", "MXFP4"], 2, 1, 32, 64, 96, 67, 40),
    case("blocks_256_others", ["Q2_K", "Q3_K", "Q5_K", "IQ4_XS"], 4, 2, 64, 256, 256, 67, 40, tied=True),
]


def legacy(config: dict) -> dict:
    """As transformers 4 wrote it."""
    old = {k: v for k, v in config.items() if k not in ("rope_parameters", "dtype")}
    rope = dict(config["rope_parameters"])
    old["rope_theta"] = rope.pop("rope_theta")
    old["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    old["torch_dtype"] = "float32"
    return old


def make(index: int, case: dict, steps: int, library: ctypes.CDLL) -> None:
    seed = case["seed"] = 1000 + index
    case["mixed"] = MIXED
    config = LlamaConfig(**case["config"], max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=None,
                         attn_implementation="eager")  # fmt: skip
    config.architectures = ["LlamaForCausalLM"]
    folder = OUT / case["name"]
    folder.mkdir(parents=True, exist_ok=True)
    written = json.loads(config.to_json_string(use_diff=False))
    written = {k: v for k, v in written.items() if v is not None}
    (folder / "config.json").write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
    if config.rope_parameters["rope_type"] != "default":
        (folder / "legacy.json").write_text(json.dumps(legacy(written), indent=1, sort_keys=True) + "\n")
    tokens = np.random.default_rng(seed).integers(0, config.vocab_size, case["tokens"]).tolist()
    shapes = {name: tuple(value.shape) for name, value in LlamaForCausalLM(config).state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    frequencies = exact_frequencies(config)
    about = {"seed": seed, "tokens": tokens, "layouts": case["layouts"]}
    if "MIXED" in case["layouts"]:
        about["mixed"] = MIXED
    plain = config.rope_parameters["rope_theta"] ** -(np.arange(0, config.head_dim, 2) / config.head_dim)
    if config.rope_parameters["rope_type"] == "llama3":
        about["rope_freqs"] = [float(f) for f in (plain / frequencies).astype(np.float32)]
    for layout in case["layouts"]:
        state = weights(case, layout, shapes, library)
        exact = run(config, state, tokens, torch.float64, lambda model: in_float64(frequencies, False))
        blocks = {name for name, shape in shapes.items()
                  if len(shape) == 2 and layout_of(layout, case, name, False) not in DENSE}  # fmt: skip
        if config.tie_word_embeddings and "model.embed_tokens.weight" in blocks:
            blocks.add("lm_head.weight")
        quantized = {name.removesuffix(".weight") for name in blocks}

        def patch(model):
            in_float64(frequencies, True)
            with_roundings(steps, quantized, model)

        contract = deviation(run(config, state, tokens, torch.float64, patch), exact)
        float32 = deviation(run(config, state, tokens, torch.float32), exact)
        about[layout] = {"contract": contract, "float32": float32, "logits_rms": float(np.sqrt((exact**2).mean()))}
        exact.astype("<f4").tofile(folder / f"logits.{layout}.f32")
        print(f"{case['name']:18} {layout:5} logits {about[layout]['logits_rms']:.3f} contract {contract} float32 {float32}")
    (folder / "case.json").write_text(json.dumps(about, sort_keys=True) + "\n")


def main() -> None:
    header = (ROOT / "src/backend/kernel_args.h").read_text()
    steps = int(re.search(r"#define PV_ACTIVATION_STEPS (\d+)", header)[1])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        library = compile_layouts(folder)
        for index, one in enumerate(CASES):
            if len(sys.argv) == 1 or one["name"] in sys.argv[1:]:
                make(index, one, steps, library)


if __name__ == "__main__":
    main()
