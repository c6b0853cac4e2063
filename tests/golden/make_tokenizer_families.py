#!/usr/bin/env python3
"""Makes the tokenizers of tests/golden/tokenizer/ that are no byte-level BPE: the pipelines of Llama 2, Gemma, Phi 3, T5, XLM-R and
BERT over small vocabularies, as tokenizer.json and as GGUF.

    python3 make_tokenizer_families.py [folder]

Made with tokenizers 0.23.3, sentencepiece 0.2.3, gguf and Python 3.11. Folders are as make_tokenizer.py writes them; a case has
"decoded" too where decoding gives another text than was encoded. The GGUF files' cases, NAME.cases.json, are what `sentencepiece`
makes of the models that they were converted from."""
import base64
import io
import json
import os
import random
import sys
import unicodedata

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as proto
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from make_tokenizer import CASES, CORPUS, fuzz, write_safetensors

MARK = "▁"
CONTROL = dict(special=True, normalized=False)
EXTRA = [
    "▁", "a▁b", "▁▁a ▁b", "Hello world", " Hello world", "  Hello  world  ", "<s>hi</s>", "<s> hi </s> <s>", "hi<s>there", "<unk>", "a<unk>b",
    "<0x41>", "<0x41>B<0x42>", "\U0001f9ff\u0f3a\ua9c1", "don't stop", "it 's . ok ?", "Ａ ﬁ ½ ㎏ ① ﷺ", "e\u0301 n\u0303 o\u0308\u0323",
    "a\u200bb\u200dc\u2060d\ufeff", "tab\there\nnew\r\nline\u2028sep", "İstanbul ıI ΣΑΣ ς ǅ ẞ", "中文abc中", "Äpfel\u00a0und\u3000Öl", "x" * 101, "y" * 100,
    "🏳️‍🌈 flags", "का क्षि", "ที่ นี้", "각각 가까", "<|user|> hi<|end|>\n<|assistant|>", "<|user|>\n\n hi", "\n\n\n\n", "<start_of_turn>user\n  x<end_of_turn>\n",
]


def texts(seed, count=250):
    return CASES + EXTRA + [CORPUS] + list(fuzz(random.Random(seed), count))


def lines(alphabet=None):
    """The corpus, of its most frequent characters only: trainers that limit the alphabet themselves break ties by chance."""
    kept = sorted(set(CORPUS), key=lambda c: (-CORPUS.count(c), c))[:alphabet]
    return ["".join(c for c in line if c in kept) + "\n" for line in CORPUS.split("\n")] * 2


def byte_tokens():
    return [f"<0x{byte:02X}>" for byte in range(256)]


def to_bpe_with_bytes(tokenizer, first, size, alphabet=120):
    """Trains, then puts the tokens `first` and those of the 256 bytes before what was learned, as SentencePiece numbers them."""
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False)
    tokenizer.train_from_iterator(lines(alphabet), trainer)
    state = json.loads(tokenizer.to_str())
    learned = sorted(state["model"]["vocab"], key=state["model"]["vocab"].get)
    names = first + byte_tokens() + learned
    state["model"]["vocab"] = {name: i for i, name in enumerate(names)}
    state["model"].update(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    return Tokenizer.from_str(json.dumps(state))


def llama_decoder(strip=True):
    steps = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if strip else []))


def starts_with(tokenizer, bos):
    return processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))])


FIRST = ["<unk>", "<s>", "</s>"]


def llama2():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    tokenizer = to_bpe_with_bytes(tokenizer, FIRST, 900)
    tokenizer.decoder = llama_decoder()
    tokenizer.add_special_tokens([AddedToken(t, **CONTROL) for t in FIRST])
    tokenizer.post_processor = starts_with(tokenizer, "<s>")
    return tokenizer


def phi3():
    """Llama 2's with tokens that take the spaces behind them, one that looks for a word, and one that is looked for in normalized text."""
    tokenizer = llama2()
    tokenizer.add_special_tokens([AddedToken(t, rstrip=True, **CONTROL) for t in ("<|user|>", "<|assistant|>", "<|end|>")])
    tokenizer.add_tokens([AddedToken("word", single_word=True, normalized=False), AddedToken("fox", normalized=True)])
    return tokenizer


def llama_metaspace():
    """What newer conversions of the same models have."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="first", split=False)
    tokenizer = to_bpe_with_bytes(tokenizer, FIRST, 900)
    tokenizer.decoder = llama_decoder()
    tokenizer.add_special_tokens([AddedToken(t, **CONTROL) for t in FIRST])
    tokenizer.post_processor = starts_with(tokenizer, "<s>")
    return tokenizer


def gemma():
    first = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>", "\n", "\n\n", "\n\n\n", MARK * 2, MARK * 3]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", MARK)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    trainer = trainers.BpeTrainer(vocab_size=900, show_progress=False)
    tokenizer.train_from_iterator([line.replace("\n", "") for line in lines(150)], trainer)
    state = json.loads(tokenizer.to_str())
    learned = [t for t in sorted(state["model"]["vocab"], key=state["model"]["vocab"].get) if t not in first]
    state["model"]["vocab"] = {name: i for i, name in enumerate(first + byte_tokens() + learned)}
    state["model"].update(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = llama_decoder(strip=False)
    for name in first:
        special = name.startswith("<")
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([AddedToken(name, special=special, normalized=False)])
    tokenizer.post_processor = starts_with(tokenizer, "<bos>")
    return tokenizer


def gemma4():
    """Gemma 3's without added tokens of spaces; its GGUF files have the merges."""
    first = ["<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", MARK)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer = to_bpe_with_bytes(tokenizer, first, 900, 150)
    tokenizer.decoder = llama_decoder(strip=False)
    tokenizer.add_special_tokens([AddedToken(name, **CONTROL) for name in first])
    tokenizer.post_processor = starts_with(tokenizer, "<bos>")
    return tokenizer


def normalization_rules():
    """Rules as SentencePiece compiles them: NFKC of what the texts hold, and some that delete and fold."""
    rules = {"\u200b": "", "\ufeff": " ", "\t": " ", "\n": " ", "\r": " ", "\u3000": " ", "\u00a0": " ", "…": "..."}
    seen = set("".join(texts(0)))
    for c in sorted(seen):
        if unicodedata.normalize("NFKC", c) != c:
            rules[c] = unicodedata.normalize("NFKC", c)
    for base in "aeiouAEOnc":
        for accent in "\u0300\u0301\u0302\u0303\u0308\u0323":
            made = unicodedata.normalize("NFKC", base + accent)
            if len(made) == 1:
                rules[base + accent] = made
    return "".join(" ".join(f"{ord(c):X}" for c in key) + "\t" + " ".join(f"{ord(c):X}" for c in value) + "\n"
                   for key, value in sorted(rules.items()))


def train_sentencepiece(kind, path, **settings):
    rules = os.path.join(path, "rules.tsv")
    with open(rules, "w", encoding="utf-8") as file:
        file.write(normalization_rules())
    made = io.BytesIO()
    options = dict(model_type=kind, vocab_size=900, character_coverage=0.99, num_threads=1, minloglevel=2, hard_vocab_limit=False, pad_id=-1)
    options.update(settings)
    if options.pop("rules", False):
        options["normalization_rule_tsv"] = rules
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(line.strip("\n") for line in lines()), model_writer=made, **options)
    os.remove(rules)
    model = proto.ModelProto()
    model.ParseFromString(made.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=made.getvalue()), model


def t5(path):
    _, model = train_sentencepiece("unigram", path, rules=True, unk_id=2, bos_id=-1, eos_id=1, pad_id=0)
    tokenizer = Tokenizer(models.Unigram([(p.piece, p.score) for p in model.pieces], 2, False))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap), normalizers.Strip(left=False, right=True),
        normalizers.Replace(Regex(" {2,}"), MARK)])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement=MARK, prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(t, **CONTROL) for t in ("<pad>", "</s>", "<unk>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def xlmr(path):
    """Unigram with byte fallback behind the pre-tokenizers of older conversions."""
    _, model = train_sentencepiece("unigram", path, rules=True, byte_fallback=True, vocab_size=1100)
    tokenizer = Tokenizer(models.Unigram([(p.piece, p.score) for p in model.pieces], 0, True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always")])
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(replacement=MARK, prepend_scheme="always")])
    tokenizer.add_special_tokens([AddedToken(t, **CONTROL) for t in FIRST] + [AddedToken("<mask>", lstrip=True, **CONTROL)])
    tokenizer.post_processor = starts_with(tokenizer, "<s>")
    return tokenizer


def bert(cased=False):
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=not cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    trainer = trainers.WordPieceTrainer(vocab_size=900, show_progress=False, special_tokens=specials)
    tokenizer.train_from_iterator(lines(160), trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def pieces():
    """WordPiece behind the pre-tokenizers and normalizers that no other fixture has."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.CharDelimiterSplit("|"), pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)])
    tokenizer.decoder = decoders.WordPiece(prefix="@@", cleanup=False)
    trainer = trainers.WordPieceTrainer(vocab_size=700, show_progress=False, special_tokens=["[UNK]"], continuing_subword_prefix="@@")
    tokenizer.train_from_iterator(lines(120), trainer)
    return tokenizer


FOLDERS = {"llama2": llama2, "phi3": phi3, "llama-metaspace": llama_metaspace, "gemma": gemma, "t5": t5, "xlmr": xlmr, "bert": bert, "pieces": pieces,
           "gemma4": gemma4}
NEEDS_PATH = ("t5", "xlmr")


def record(tokenizer, text, special):
    tokenizer.encode_special_tokens = not special
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    case = {"text": text, "special": special, "ids": ids}
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    if decoded != text:
        case["decoded"] = decoded
    return case


def write_cases(path, cases):
    with open(path, "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases) + "\n]\n")


def write_folder(root, name, number):
    folder = os.path.join(root, name)
    os.makedirs(folder, exist_ok=True)
    tokenizer = FOLDERS[name](folder) if name in NEEDS_PATH else FOLDERS[name]()
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump(json.loads(tokenizer.to_str()), file, ensure_ascii=False, separators=(",", ":"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump({"eos_token": "</s>"}, file)
    write_safetensors(os.path.join(folder, "model.safetensors"))
    cases = []
    for text in texts(100 + number):
        with_special = record(tokenizer, text, True)
        without = record(tokenizer, text, False)
        cases.append(with_special)
        if without["ids"] != with_special["ids"]:
            cases.append(without)
    write_cases(os.path.join(folder, "cases.json"), cases)
    return tokenizer


def open_writer(path, model, names, types, scores):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(names)
    if scores is not None:
        writer.add_token_scores(scores)
    writer.add_token_types(types)
    return writer


def close_writer(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_sentencepiece_gguf(root, name, kind, tokenizer_model, prefix, **settings):
    processor, model = train_sentencepiece(kind, root, add_dummy_prefix=prefix, **settings)
    path = os.path.join(root, name + ".gguf")
    writer = open_writer(path, tokenizer_model, [p.piece for p in model.pieces], [p.type for p in model.pieces], [p.score for p in model.pieces])
    writer.add_bos_token_id(model.trainer_spec.bos_id if model.trainer_spec.bos_id >= 0 else 1)
    writer.add_eos_token_id(model.trainer_spec.eos_id)
    writer.add_unk_token_id(model.trainer_spec.unk_id)
    writer.add_add_space_prefix(prefix)
    if kind == "unigram":
        writer.add_remove_extra_whitespaces(True)
        writer.add_precompiled_charsmap(model.normalizer_spec.precompiled_charsmap)
    close_writer(writer)
    cases = []
    for text in texts(200):
        if MARK in text or "\0" in text:  # a mark in the text is a space to SentencePiece, and a NUL ends its map's keys
            continue
        ids = processor.encode(text)
        case = {"text": text, "special": False, "ids": ids}
        decoded = b"".join(bytes([int(p[3:5], 16)]) if model.pieces[i].type == 6 else p.replace(MARK, " ").encode()
                           for i in ids for p in [model.pieces[i].piece])
        if prefix and decoded.startswith(b" "):
            decoded = decoded[1:]
        if decoded.decode() != text:
            case["decoded"] = decoded.decode()
        cases.append(case)
    write_cases(os.path.join(root, name + ".cases.json"), cases)


def write_bert_gguf(root, tokenizer):
    names = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    control = {token["content"] for token in json.loads(tokenizer.to_str())["added_tokens"]}
    marked = [t if t in control else t[2:] if t.startswith("##") else MARK + t for t in names]
    types = [gguf.TokenType.CONTROL if t in control else gguf.TokenType.NORMAL for t in names]
    writer = open_writer(os.path.join(root, "bert.gguf"), "bert", marked, types, None)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)
    close_writer(writer)


def write_gemma4_gguf(root, tokenizer):
    names = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    state = json.loads(tokenizer.to_str())
    control = {token["content"] for token in state["added_tokens"]}
    types = [gguf.TokenType.CONTROL if t in control else gguf.TokenType.BYTE if t in byte_tokens() else gguf.TokenType.NORMAL for t in names]
    writer = open_writer(os.path.join(root, "gemma4.gguf"), "gemma4", names, types, None)
    writer.add_token_merges([" ".join(pair) for pair in state["model"]["merges"]])
    writer.add_bos_token_id(names.index("<bos>"))
    writer.add_eos_token_id(names.index("<eos>"))
    writer.add_unk_token_id(names.index("<unk>"))
    close_writer(writer)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer")
    for number, name in enumerate(FOLDERS):
        tokenizer = write_folder(root, name, number)
        if name == "bert":
            write_bert_gguf(root, tokenizer)
        if name == "gemma4":
            write_gemma4_gguf(root, tokenizer)
    identity = dict(normalization_rule_name="identity", remove_extra_whitespaces=False)
    write_sentencepiece_gguf(root, "llama2", "bpe", "llama", True, byte_fallback=True, vocab_size=1000, **identity)
    write_sentencepiece_gguf(root, "gemma", "bpe", "llama", False, byte_fallback=True, vocab_size=1000, allow_whitespace_only_pieces=True,
                             user_defined_symbols=["\n\n", "\n", MARK * 4, "<tag>", "fox"], **identity)
    write_sentencepiece_gguf(root, "t5", "unigram", "t5", True, rules=True)


if __name__ == "__main__":
    main()
