"""Makes the inputs that the fuzz targets for GGUF, SafeTensors, JSON and tokenizers begin with: corpus/<target>/<what it shows>.

Inputs that a fuzzer found stand beside them under names that start with "found-"; this script leaves those alone.
"""

import json
import math
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"


def put(target: str, name: str, data: bytes) -> None:
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# ---- GGUF ----


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def meta(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, dims: list[int], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def gguf(metas: list[bytes], tensors: list[bytes], data: int, version: int = 3, alignment: int = 32) -> bytes:
    out = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(metas)) + b"".join(metas + tensors)
    return out + bytes(-len(out) % alignment) + bytes(i % 251 for i in range(data))


def make_gguf() -> None:
    numbers = [(0, "<B", 200), (1, "<b", -7), (2, "<H", 60000), (3, "<h", -2), (4, "<I", 5), (5, "<i", -5), (6, "<f", 1e-5),
               (7, "<B", 1), (10, "<Q", 2**63), (11, "<q", -1), (12, "<d", 0.1)]  # fmt: skip
    every = [meta(f"n.{kind}", kind, struct.pack(form, value)) for kind, form, value in numbers]
    every += [meta("s", 8, text("hé")), meta("l", 9, struct.pack("<IQ", 8, 2) + text("a") + text("")),
              meta("i", 9, struct.pack("<IQ3i", 5, 3, 1, 2, 3)), meta("e", 9, struct.pack("<IQ", 8, 0)),
              meta("b", 9, struct.pack("<IQ2B", 7, 2, 0, 1))]  # fmt: skip
    put("gguf", "nothing", gguf([], [], 0))
    put("gguf", "every-value", gguf(every, [], 0))
    dense = [tensor("a", [8, 2], 0, 0), tensor("b", [4], 1, 64)]
    put("gguf", "dense", gguf([meta("general.architecture", 8, text("llama"))], dense, 72))
    blocks = [(2, 32, 18), (3, 32, 20), (8, 32, 34), (12, 256, 144), (14, 256, 210), (30, 1, 2), (7, 32, 24)]
    tensors, offset = [], 0
    for kind, block, size in blocks:
        tensors.append(tensor(f"t{kind}", [block, 3], kind, offset))
        offset += (3 * size + 31) // 32 * 32
    put("gguf", "blocks", gguf([], tensors, offset))
    eight = meta("general.alignment", 4, struct.pack("<I", 8))
    put("gguf", "other-alignment", gguf([eight], [tensor("a", [2], 0, 8)], 16, 3, 8))
    put("gguf", "scalar-and-none", gguf([], [tensor("s", [], 0, 0), tensor("z", [32, 0], 2, 32)], 32))
    put("gguf", "overlap", gguf([], [tensor("a", [16], 0, 0), tensor("b", [8], 0, 32)], 64))
    put("gguf", "beyond-the-file", gguf([], [tensor("a", [16], 0, 0)], 63))
    put("gguf", "product-overflows", gguf([], [tensor("a", [2**32, 2**32], 0, 0)], 0))
    put("gguf", "offset-overflows", gguf([], [tensor("a", [8], 0, 2**64 - 32)], 64))
    put("gguf", "array-count-overflows", gguf([meta("a", 9, struct.pack("<IQ", 12, 2**61 + 1))], [], 0))
    put("gguf", "array-of-arrays", gguf([meta("a", 9, struct.pack("<IQ", 9, 1))], [], 0))
    put("gguf", "string-overflows", gguf([meta("a", 8, struct.pack("<Q", 2**64 - 1))], [], 0))
    put("gguf", "same-key", gguf([meta("a", 0, b"\1"), meta("a", 0, b"\1")], [], 0))
    put("gguf", "same-name", gguf([], [tensor("a", [1], 0, 0), tensor("a", [1], 0, 32)], 64))
    put("gguf", "alignment-zero", gguf([meta("general.alignment", 4, bytes(4))], [tensor("a", [1], 0, 0)], 4))
    put("gguf", "many-counted", struct.pack("<4sIQQ", b"GGUF", 3, 262144, 65536))
    put("gguf", "version-2", gguf([], [], 0, 2))
    put("gguf", "without-start", every[0] + every[11] + b"".join(dense) + bytes(200))


# ---- SafeTensors ----


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors(header: dict | str, data: int) -> bytes:
    spelled = (header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))).encode()
    return struct.pack("<Q", len(spelled)) + spelled + bytes(i % 251 for i in range(data))


def make_safetensors() -> None:
    put("safetensors", "nothing", safetensors({}, 0))
    put("safetensors", "metadata", safetensors({"__metadata__": {"format": "pt", "a": "\u00e9"}}, 0))
    both = {"a": entry("F32", [2, 3], 0, 24), "b": entry("BF16", [4], 24, 32)}
    rows = {"__metadata__": {"pensieve.layout.a": "Q4_0"}, "a": entry("U8", [2, 36], 0, 72)}
    put("safetensors", "rows-of-blocks", safetensors(rows, 72))
    rows = {"__metadata__": {"pensieve.layout.a": "Q4_0", "pensieve.order.a": "o"}, "a": entry("U8", [2, 18], 0, 36), "o": entry("I32", [32], 36, 164)}
    spelled = json.dumps(rows, separators=(",", ":")).encode()
    put("safetensors", "rows-in-order", struct.pack("<Q", len(spelled)) + spelled + bytes(36) + struct.pack("<32i", *(i ^ 1 for i in range(32))))
    put("safetensors", "dense", safetensors(both, 32))
    put("safetensors", "padded", safetensors(json.dumps(both) + "      ", 32))
    put("safetensors", "without-length", json.dumps(both).encode() + bytes(32))
    kinds = [("BOOL", 8), ("F4", 4), ("F6_E2M3", 6), ("F6_E3M2", 6), ("U8", 8), ("I8", 8), ("F8_E5M2", 8), ("F8_E4M3", 8),
             ("F8_E8M0", 8), ("I16", 16), ("U16", 16), ("F16", 16), ("I32", 32), ("U32", 32), ("C64", 64), ("F64", 64),
             ("I64", 64), ("U64", 64), ("F8_E4M3FNUZ", 8), ("F8_E5M2FNUZ", 8)]  # fmt: skip
    every, offset = {}, 0
    for kind, bits in kinds:
        every[kind] = entry(kind, [2, 4], offset, offset + bits)
        offset += bits
    put("safetensors", "every-type", safetensors(every, offset))
    put("safetensors", "reversed", safetensors({"b": entry("F32", [1], 5, 9), "a": entry("U8", [5], 0, 5)}, 9))
    put("safetensors", "scalar-and-none", safetensors({"s": entry("F32", [], 0, 4), "z": entry("F32", [0, 3], 4, 4)}, 4))
    put("safetensors", "rank-6", safetensors({"a": entry("U8", [1, 2, 1, 2, 1, 3], 0, 12)}, 12))
    put("safetensors", "hole", safetensors({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, 3))
    put("safetensors", "overlap", safetensors({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, 3))
    first, second = (json.dumps(entry("U8", [1], at, at + 1)) for at in (0, 1))
    put("safetensors", "same-name", safetensors('{"a":%s,"\\u0061":%s}' % (first, second), 2))
    put("safetensors", "product-overflows", safetensors({"a": entry("F32", [2**33, 2**33], 0, 0)}, 0))
    put("safetensors", "bits-overflow", safetensors({"a": entry("F64", [2**62], 0, 0)}, 0))
    put("safetensors", "unknown-member", safetensors({"a": entry("U8", [1], 0, 1) | {"x": [{"y": None}]}}, 1))
    put("safetensors", "length-overflows", struct.pack("<Q", 2**64 - 4) + b"{}")


# ---- JSON ----


def make_json() -> None:
    cases = {
        "empty": "", "object": '{"a":1,"b":[true,false,null],"c":{"d":"e"}}', "array": "[1, 2.5e-3, -0, 1E+9]",
        "escapes": r'"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud800x\udc00"', "utf-8": '"é€😀"',
        "word": "true", "number": "-1.25e+2",
        "deep": "[" * 64 + "]" * 64, "too-deep": "[" * 65, "space": " \t\r\n{ } \n",
        "trailing-comma": "[1,]", "trailing": "{}x",
        "long-number": "1" * 1200, "integers": "[9223372036854775807,-9223372036854775808,9223372036854775808]",
        "open": '{"a":[{"b":"', "config": '{"rope_theta": 1000000.0, "eos_token_id": [1, 2], "tie": false}',
    }  # fmt: skip
    for name, value in cases.items():
        put("json", name, value.encode())
    put("json", "surrogate-bytes", b'"\xed\xa0\x80"')
    put("json", "nul", b'"\\u0000" \0')


# ---- Tokenizers: tokenizer.json, a byte FF, text ----

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BYTES = {"pre_tokenizer": BYTE_LEVEL, "decoder": BYTE_LEVEL}


def tokenizer(name: str, text: str, model: dict, **parts) -> None:
    put("tokenizer", name, json.dumps(parts | {"model": model}, ensure_ascii=False).encode() + b"\xff" + text.encode())


def sequence(kind: str, *items: dict) -> dict:
    return {"type": "Sequence", kind: list(items)}


def make_tokenizer() -> None:
    mark = "\u2581"
    fallback = {f"<0x{byte:02X}>": 10 + byte for byte in range(256)}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": mark}
    back = {"type": "Replace", "pattern": {"String": mark}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    tokenizer("large-id", "a", {"type": "BPE", "vocab": {"a": 4194304}, "merges": []}, **BYTES)
    tokenizer("same-id", "a", {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}, **BYTES)
    spelled = {"\u0120": 0, "a": 1, "\u00c3": 2, "\u00a9": 3, "\u00c3\u00a9": 4, "1": 5, "11": 6, "1</w>": 7, "a</w>": 8, "aa</w>": 9, "\u00a9</w>": 10}
    digits = {"type": "Digits", "individual_digits": False}
    threes = {"type": "Split", "pattern": {"Regex": "[0-9][0-9]"}, "behavior": "Isolated", "invert": False}
    tokenizer("spelled", "a\u00e9 1111 aa", {"type": "BPE", "vocab": spelled, "merges": ["\u00c3 \u00a9", "1 1"]},
        pre_tokenizer=sequence("pretokenizers", BYTE_LEVEL, digits, threes), decoder=BYTE_LEVEL)  # fmt: skip
    tokenizer("suffix", "aa \u00e9 11 a", {"type": "BPE", "vocab": spelled, "merges": ["a a</w>"], "end_of_word_suffix": "</w>"}, **BYTES)
    tokenizer("characters", "a b <s>é\U0001f680ab", {
        "type": "BPE", "vocab": {"<unk>": 0, mark: 1, "a": 2, "b": 3, mark + "a": 4, "ab": 5, "<s>": 6} | fallback,
        "merges": [[mark, "a"], "a b"], "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True},
        normalizer=sequence("normalizers", {"type": "Prepend", "prepend": mark}, replace),
        decoder=sequence("decoders", back, {"type": "ByteFallback"}, {"type": "Fuse"}, strip),
        added_tokens=[{"id": 6, "content": "<s>", "special": True, "normalized": True}])  # fmt: skip
    tokenizer("nothing-known", "\u00e9" * 300, {"type": "Unigram", "vocab": [["a", 0]]})
    unigram = [["<unk>", 0], [mark, -2.5], ["a", -3], ["b", -3.25], ["ab", -4], [mark + "a", -3.5], ["\u00e9", -6]]
    tokenizer("unigram-metaspace", " ab  ba \u00e9\u4e2d", {"type": "Unigram", "unk_id": 0, "vocab": unigram, "byte_fallback": True},
        normalizer=sequence("normalizers", {"type": "Nmt"}, {"type": "NFKC"},
                            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
                            {"type": "Precompiled", "precompiled_charsmap": "CAAAAAAAAAAAAAAAYQA="}),
        pre_tokenizer=sequence("pretokenizers", {"type": "WhitespaceSplit"},
                               {"type": "Metaspace", "replacement": mark, "prepend_scheme": "first", "split": True}),
        decoder={"type": "Metaspace", "replacement": mark, "prepend_scheme": "first", "split": True})  # fmt: skip
    tokenizer("wordpiece", "Abba, \u00c9b\u4e2dx 12", {
        "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9,
        "vocab": {"[UNK]": 0, "a": 1, "##b": 2, "##ba": 3, ",": 4, "e": 5, "1": 6, "##2": 7}},
        normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        pre_tokenizer={"type": "BertPreTokenizer"}, decoder={"type": "WordPiece", "prefix": "##", "cleanup": True})  # fmt: skip
    tokenizer("every-part", "Ab|c\u0301 1.5 d", {"type": "WordPiece", "unk_token": "?", "vocab": {"?": 0, "a": 1, "b": 2}},
        normalizer=sequence("normalizers", {"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, {"type": "NFKD"},
                            {"type": "Strip", "strip_left": True, "strip_right": True}),
        pre_tokenizer=sequence("pretokenizers", {"type": "CharDelimiterSplit", "delimiter": "|"}, {"type": "Whitespace"},
                               {"type": "Punctuation", "behavior": "MergedWithPrevious"}, {"type": "Digits", "individual_digits": True},
                               {"type": "Split", "pattern": {"Regex": "[a-c]"}, "behavior": "Contiguous", "invert": True}))  # fmt: skip


def make_quantization() -> None:
    """config.json, 0xFF, the header of model.safetensors and its data."""

    def model(name: str, config: dict, tensors: dict, fill: int = 0x11, last: bytes = b"") -> None:
        header, at = {}, 0
        sizes = {"U32": 4, "I32": 4, "I64": 8, "F16": 2, "BF16": 2, "F32": 4, "U8": 1, "F8_E4M3": 1}
        for tensor, (dtype, *shape) in tensors.items():
            end = at + sizes[dtype] * math.prod(shape)
            header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
            at = end
        path = CORPUS / "quantization" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(json.dumps(config).encode() + b"\xff" + json.dumps(header).encode() + bytes([fill]) * (at - len(last)) + last)

    affine = {"x.weight": ("U32", 2, 8), "x.scales": ("F16", 2, 1), "x.biases": ("F16", 2, 1)}
    model("affine", {"quantization": {"group_size": 64, "bits": 4}}, affine)
    model("override", {"quantization": {"group_size": 32, "bits": 8, "x": {"group_size": 64, "bits": 4}, "y": False}}, affine)
    model("off", {"quantization": {"group_size": 64, "bits": 4, "x": False}}, affine)
    for mode, scales in (("mxfp4", 2), ("mxfp8", 1), ("nvfp4", 4)):
        model(mode, {"quantization": {"mode": mode}}, {"x.weight": ("U32", 2, 8), "x.scales": ("U8", 2, scales)})
    blocks = {"x_blocks": ("U8", 2, 3, 2, 16), "x_scales": ("U8", 2, 3, 2), "x_bias": ("BF16", 2, 3)}
    model("mxfp4-blocks", {"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["y"]}}, blocks)
    packed = {"x.weight_packed": ("I32", 8, 8), "x.weight_scale": ("F16", 8, 1), "x.weight_shape": ("I64", 2), "x.weight_zero_point": ("I32", 1, 1)}
    model("packed", {"quantization_config": {"format": "pack-quantized", "quant_method": "compressed-tensors"}}, packed)
    integers = {"x.qweight": ("I32", 8, 8), "x.qzeros": ("I32", 2, 1), "x.scales": ("F16", 2, 8)}
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 32}
    model("gptq", {"quantization_config": gptq}, integers)
    model("gptq-order", {"quantization_config": gptq}, integers | {"x.g_idx": ("I32", 64)}, 0)
    order = struct.pack("<64i", *((i + 1) % 2 for i in range(64)))
    model("gptq-desc-act", {"quantization_config": gptq}, integers | {"x.g_idx": ("I32", 64)}, last=order)
    awq = {"x.qweight": ("I32", 64, 1), "x.qzeros": ("I32", 2, 1), "x.scales": ("F16", 2, 8)}
    model("awq", {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}}, awq)
    fp8 = {"x.weight": ("F8_E4M3", 4, 32), "x.weight_scale_inv": ("F32", 2, 1)}
    model("fp8", {"quantization_config": {"quant_method": "fp8", "weight_block_size": [2, 32]}}, fp8)
    nvfp4 = {"x.weight": ("U8", 2, 32), "x.weight_scale": ("F8_E4M3", 2, 4), "x.weight_scale_2": ("F32", 1), "x.input_scale": ("F32", 1)}
    model("nvfp4-factor", {"quantization_config": {"quant_algo": "NVFP4", "quant_method": "modelopt"}}, nvfp4)
    packed = {"x.weight_packed": ("U8", 2, 32), "x.weight_scale": ("F8_E4M3", 2, 4), "x.weight_global_scale": ("F32", 1)}
    model("nvfp4-divided", {"quantization_config": {"format": "nvfp4-pack-quantized", "quant_method": "compressed-tensors"}}, packed)


if __name__ == "__main__":
    make_quantization()
    make_tokenizer()
    make_gguf()
    make_safetensors()
    make_json()
