"""Makes tests/e2e/smollm2.json: what an independent engine answers with SmolLM2-135M-Instruct, from the same GGUF file.

usage: make_smollm2.py MODEL.gguf [--second-opinion COMMAND]

For each conversation: the prompt's text and ids, then 64 greedy ids (end tokens do not stop it), and at each step the two largest
logits' ids and their distance. The engine is transformers' LlamaForCausalLM in float64 (see make_llama.py) over the weights that
gguf-py dequantizes; the tokenizer is Hugging Face `tokenizers` over the file's vocabulary and merges, the template goes through
`jinja2`. Nothing here shares code with what is tested.

COMMAND MODEL COUNT ID... prints COUNT ids of another engine's greedy answer; they are kept as "second_opinion", for people.

Run with: numpy 2.4, torch 2.15, transformers 5.23, tokenizers 0.23, gguf 0.19, jinja2 3.1. Takes 8 GB and some minutes.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess

import gguf
import jinja2
import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM

import make_llama

OUT = pathlib.Path(__file__).parent.parent / "e2e" / "smollm2.json"
STEPS = 64
CONVERSATIONS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "user", "content": "Write a short story about a fox who learns to read."}],
    [{"role": "system", "content": "You answer in one sentence."}, {"role": "user", "content": "Why is the sky blue?"}],
    [{"role": "user", "content": "List 5 prime numbers above 100, then say what 17 × 23 is."}],
    [
        {"role": "user", "content": "My name is Zoë and I like číslo 7."},
        {"role": "assistant", "content": "Nice to meet you, Zoë!"},
        {"role": "user", "content": "Write a C function that adds two integers.\n\nThen explain it."},
    ],
]


def field(reader, name, default=None):
    return reader.fields[name].contents() if name in reader.fields else default


def tokenizer_of(reader: gguf.GGUFReader) -> Tokenizer:
    assert field(reader, "tokenizer.ggml.model") == "gpt2" and field(reader, "tokenizer.ggml.pre") == "smollm"
    tokens, types = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(BPE({token: i for i, token in enumerate(tokens)}, merges))
    # "smollm": digits one by one, then the pattern of GPT-2 (the model's own tokenizer.json)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, kind in zip(tokens, types) if kind == 3])
    return tokenizer


def model_of(reader: gguf.GGUFReader) -> tuple[LlamaForCausalLM, LlamaConfig]:
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def weight(name: str) -> np.ndarray:
        tensor = tensors[name]
        values = np.array(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        return values.reshape(tuple(int(x) for x in reversed(tensor.shape)))

    def halves(values: np.ndarray, heads: int) -> np.ndarray:
        """From GGUF's order of a head, where neighbours turn together, to that of Hugging Face."""
        return values.reshape(heads, values.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(values.shape)

    heads, kv_heads = field(reader, "llama.attention.head_count"), field(reader, "llama.attention.head_count_kv")
    width, layers = field(reader, "llama.embedding_length"), field(reader, "llama.block_count")
    assert "output.weight" not in tensors and "rope_freqs.weight" not in tensors
    embed = weight("token_embd.weight")
    config = LlamaConfig(
        vocab_size=embed.shape[0], hidden_size=width, intermediate_size=field(reader, "llama.feed_forward_length"),
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=width // heads,
        max_position_embeddings=field(reader, "llama.context_length"),
        rms_norm_eps=float(np.float32(field(reader, "llama.attention.layer_norm_rms_epsilon"))),
        rope_parameters={"rope_type": "default", "rope_theta": float(field(reader, "llama.rope.freq_base"))},
        tie_word_embeddings=True, attn_implementation="eager")  # fmt: skip
    state = {"model.embed_tokens.weight": embed, "model.norm.weight": weight("output_norm.weight"), "lm_head.weight": embed}
    names = {"self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}  # fmt: skip
    for layer in range(layers):
        ours, theirs = f"model.layers.{layer}.", f"blk.{layer}."
        state[ours + "self_attn.q_proj.weight"] = halves(weight(theirs + "attn_q.weight"), heads)
        state[ours + "self_attn.k_proj.weight"] = halves(weight(theirs + "attn_k.weight"), kv_heads)
        for name, other in names.items():
            state[f"{ours}{name}.weight"] = weight(f"{theirs}{other}.weight")
    model = LlamaForCausalLM(config)
    model.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}, strict=True)
    return model.double().eval(), config


def greedy(model: LlamaForCausalLM, prompt: list[int]) -> list[tuple[int, int, float]]:
    """(id, second id, distance of their logits) of every step."""
    steps, past, tokens = [], None, torch.tensor([prompt])
    with torch.no_grad():
        for _ in range(STEPS):
            result = model(tokens, past_key_values=past, use_cache=True)
            past = result.past_key_values
            values, ids = result.logits[0, -1].topk(2)
            steps.append((int(ids[0]), int(ids[1]), float(values[0] - values[1])))
            tokens = ids[:1].reshape(1, 1)
    return steps


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("model")
    arguments.add_argument("--second-opinion")
    given = arguments.parse_args()
    reader = gguf.GGUFReader(given.model)
    tokenizer = tokenizer_of(reader)
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(field(reader, "tokenizer.chat_template"))
    model, config = model_of(reader)
    make_llama.in_float64(make_llama.exact_frequencies(config), False)
    digest = hashlib.sha256(pathlib.Path(given.model).read_bytes()).hexdigest()
    out = {"sha256": digest, "conversations": []}
    for messages in CONVERSATIONS:
        text = template.render(messages=messages, add_generation_prompt=True)
        prompt = tokenizer.encode(text, add_special_tokens=False).ids
        steps = greedy(model, prompt)
        one = {"messages": messages, "text": text, "prompt": prompt, "ids": [s[0] for s in steps], "second": [s[1] for s in steps],
               "gap": [round(s[2], 6) for s in steps], "answer": tokenizer.decode([s[0] for s in steps])}  # fmt: skip
        if given.second_opinion:
            command = [given.second_opinion, given.model, str(STEPS), *map(str, prompt)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            one["second_opinion"] = [int(word) for word in said.split()]
            pairs = enumerate(zip(one["ids"], one["second_opinion"]))
            print("the second opinion goes another way at step", next((i for i, (a, b) in pairs if a != b), "(never)"))
        print(len(prompt), "ids;", "smallest gap", min(one["gap"]), repr(one["answer"]))
        out["conversations"].append(one)
    lines = json.dumps(out, ensure_ascii=False).replace('{"messages"', '\n{"messages"')
    OUT.write_text(lines + "\n")


if __name__ == "__main__":
    main()
