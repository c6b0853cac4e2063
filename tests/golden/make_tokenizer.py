#!/usr/bin/env python3
"""Makes tests/golden/tokenizer/: small tokenizers with the pipelines of well-known models, and what Hugging Face `tokenizers` encodes with them.

    python3 make_tokenizer.py [folder]

Needs the packages tokenizers and gguf. Each folder gets tokenizer.json, tokenizer_config.json, a model.safetensors with one
weight (so that it is a model's folder), and cases.json: [{"text", "special", "ids"}, ...]. `special` tells if control tokens
spelled in the text are found. smollm.gguf and falcon.gguf hold tokenizers as GGUF metadata."""
import json
import os
import random
import struct
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD, SUFFIX = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O = (LEAD + UPPER + "*" + LOWER + "+" + SUFFIX + "|" + LEAD + UPPER + "+" + LOWER + "*" + SUFFIX +
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK3 = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
             "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
             "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]

CORPUS = """The quick brown fox jumps over the lazy dog. It's what they've always done, isn't it? I'm sure we'll see, he'd said.
We hold these truths to be self-evident: that all men are created equal; that they're endowed with certain rights.
In the beginning there was a cache, and the cache was cold. Then came the first request, and there was a miss.
Numbers: 0 1 12 123 1234 12345 3.14159 2,718 1e-9 0xDEADBEEF 2024-02-29 10:30:00 +49 30 1234567 ½ Ⅷ ٣٤٥ ²³
Die Straße führt über große Höhen; Äpfel, Öl und Übermut sind süß. Donaudampfschifffahrtsgesellschaft!
L'été, où êtes-vous? Ça va très bien, garçon. Œuvre complète à prix réduit. Qu'est-ce que c'est?
El niño comió jalapeños mañana; ¿qué pasó? ¡Ay! Não há ação sem coração. Zażółć gęślą jaźń. Příliš žluťoučký kůň.
Съешь же ещё этих мягких французских булок, да выпей чаю. Привет, мир! Как дела сегодня?
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Γειά σου Κόσμε. Ἐν ἀρχῇ ἦν ὁ λόγος.
敏捷的棕色狐狸跳过了懒狗。我们今天去北京大学学习中文，天气很好。人工智能正在改变世界。
いろはにほへと ちりぬるを。素早い茶色の狐がのろまな犬を飛び越える。カタカナとひらがなと漢字。
키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. 안녕하세요 세계, 오늘은 날씨가 좋네요.
نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر. مرحبا بالعالم، كيف حالك؟
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश करने वाले। नमस्ते दुनिया।
เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน สวัสดีชาวโลก
Tiếng Việt có nhiều dấu: ắ ằ ẳ ẵ ặ ế ề ể ễ ệ. Cửa sổ mở ra.
דג סקרן שט בים מאוכזב ולפתע מצא לו חברה. שלום עולם.
😀 😃 👍🏽 👩‍👩‍👧‍👦 🇩🇪 🏳️‍🌈 ❤️ 🚀🚀🚀 ✅ → ⇒ ∑ ∫ √ ≤ ≥ ≠ ∞ © ® ™ € £ ¥
int main(int argc, char **argv)
{
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(argv[i], "--help")) return usage(stdout);
\t\tprintf("%s: %d\\n", argv[i], (int)i);
    }
    return 0;
}
def tokenize(self, text: str) -> list[int]:
    \"\"\"Splits text into tokens.\"\"\"
    return [self.vocab.get(piece, self.unk_id) for piece in self.pattern.findall(text) if piece != '']

class HTTPServer(BaseServer):
    def __init__(self, host='localhost', port=8080, *, timeout=None, camelCaseName=True, snake_case_name=False):
        super().__init__()
SELECT name, COUNT(*) FROM users WHERE age >= 18 AND name LIKE '%son' GROUP BY name ORDER BY 2 DESC LIMIT 10;
<html><body class="main"><a href="https://example.org/path?query=1&other=two#frag">Link</a></body></html>
{"key": [1, 2, 3], "nested": {"a": null, "b": true, "c": "\\u00e9"}, "text": "It\\'s"}
"""

CASES = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r\n\r\n", "\t", "\t\t", " \n", "\n ", " \n ", "  \n  x", "x  \n\n  y", "x\n", "x \n", "a b", "a  b", "a   b",
    " a", "  a", "a ", "a  ", "\u00a0a", "\u3000a\u3000\u3000b", "\u2028x\u2029", "\x85y", "\u180ez", "\u200bz", "\x1c\x1d\x1e\x1f", "\x0b\x0c",
    "\x00", "a\x00b", "\x01\x02\x7f\x80\x9f", "\ufeffBOM", "\ufffd\ufffd",
    "I'm you're he's we've they'll she'd can't", "I'M YOU'RE HE'S WE'VE THEY'LL SHE'D CAN'T", "'s 'S 'ſ 'sS 'reRE 'lL 'Ll", "''s'", "'", "''", "'d've",
    "don\u2019t", "x'", " 's", "\n's", "1's", "_'s", "a'sb", "'ll'll", "O'Reilly's", "rock'n'roll",
    "0", "12", "123", "1234", "12345678901234567890", "1 2 3", "a1b2c3", "3.14", "1,000,000", "٣٤٥٦", "½⅓¼", "ⅧⅨ", "²³¹", "x²", "１２３４", "1\u0301", "v1.2.3-rc4",
    "e\u0301", "re\u0301sume\u0301", "\u0301", "\u0301\u0301", "a\u0300\u0316\u0301", "a\u0316\u0300", "\u1100\u1161\u11a8", "가\u11a8", "\u212b", "\u2126", "ﬁ", "\u0958",
    "\u0b47\u0b3e", "が", "か\u3099", "\u0344", "q\u0307\u0323", "\u1e9b\u0323", "Å\u0323", "\u03b1\u0345\u0301", "\U0001d15e", "\uf900",
    "<|endoftext|>", "a<|endoftext|>b", "<|im_start|>user\nhi<|im_end|>\n", "<|im_start|", "<|im_start|><|im_start|>", " <|endoftext|> ", "<<|endoftext|>>",
    "<think>x</think>", "a <think> b", "caf\u00e9cafe\u0301", "x<mask>y", "x <mask> y", "x  <mask>\n y", "<mask><mask>", " <mask> <mask> ", "word", "words", "a word.", "sword word", "word_word word",
    "<|a|>", "<|ab|>", "<|abc|>", "<|abcd|>", "<|ab<|abc|>", "    ", "        x",
    "HTTPServer XMLHttpRequest camelCase PascalCase snake_case SCREAMING_CASE kebab-case", "ÀÉÎõü ǅungla ǈ ʰx ªº", "McDonald's DON'T don'T",
    "!!!", "?!?!", "...", "--", "->", "=>", "!= == <= >=", "/* comment */", "// path/to/file", "a/b/c\n/", "://\n\n/x", "#include <stdio.h>\n",
    "你好，世界！", "你 好", "日本語123テスト", "中文English混合", "カタカナ・ひらがな", "안녕 하세요", "สวัสดี", "नमस्ते", "مرحبا", "שלום",
    "🚀", "🚀🚀", " 🚀", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "👍🏽", "❤️", "a🚀b", "\U0001f1e6", "\U000e0001\U000e007f", "\U0010ffff", "\U0001d400\U0001d7d8", "𐐀𐐨", "\u0378",
    "x" * 100, "ab" * 60, " " * 70, "\n" * 70, "a " * 40, "0" * 65, "!" * 65, "é" * 50, "中" * 50, "the" * 40, "\u0301" * 40,
]


def fuzz(rng, count):
    """Strings from alphabets chosen so that the borders between classes of characters come up often."""
    words = [w for w in CORPUS.split(" ") if w]
    alphabets = [
        list(" \t\n\r'aAsStTzé1٣!_/\u00a0\u3000"), list("'sStTrReEvVmMlLdD ſ"), list(" \n\r\t\u2028\x0b\x85x"), list("aA1!é中ぁ가\u0301\u0316ǅʰ "),
        [chr(c) for c in range(0x20, 0x7f)], [chr(c) for c in range(0x250)], list("\u0301\u0316\u0345\u11a8\u1161\u1100가かe\u3099\u0323"),
        list("<|abcd>imendoftexthk/ "),
    ]
    for _ in range(count):
        kind = rng.randrange(3)
        if kind == 0:
            yield "".join(rng.choice(rng.choice(alphabets)) for _ in range(rng.randrange(1, 24)))
        elif kind == 1:
            alphabet = rng.choice(alphabets)
            yield "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 24)))
        else:
            yield rng.choice([" ", "", "\n", "  "]).join(rng.choice(words) for _ in range(rng.randrange(1, 6)))


def byte_level(**settings):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, "use_regex": True, **settings})


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def with_regex(*patterns):
    return pre_tokenizers.Sequence([split(p) for p in patterns] + [byte_level(use_regex=False)])


CONTROL = dict(special=True, normalized=False)
PLAIN = [AddedToken("<|endoftext|>", **CONTROL), AddedToken("<|im_start|>", **CONTROL), AddedToken("<|im_end|>", **CONTROL)]
ODD = PLAIN + [
    AddedToken("<think>", special=False, normalized=False), AddedToken("</think>", special=False, normalized=False),
    AddedToken("<mask>", special=True, normalized=False, lstrip=True), AddedToken("word", special=False, normalized=False, single_word=True),
    AddedToken("cafe\u0301", special=False, normalized=True), AddedToken("    ", special=False, normalized=False),
    AddedToken("<|a|>", special=False, normalized=False, rstrip=True), AddedToken("<|ab|>", special=True, normalized=True),
    AddedToken("<|abc|>", special=False, normalized=False), AddedToken("<|ab", special=True, normalized=False), AddedToken("é", special=False, normalized=False),
]

# name: (vocabulary size, normalizer, pre-tokenizer, settings of the model, added tokens, do they belong to the vocabulary, bos)
PIPELINES = {
    "gpt2": (1000, None, byte_level(), {}, PLAIN[:1], True, None),
    "llama3": (1500, None, with_regex(LLAMA3), {"ignore_merges": True}, PLAIN, False, "<|im_start|>"),
    "qwen2": (1500, normalizers.NFC(), with_regex(QWEN2), {}, PLAIN, False, None),
    "smollm": (1200, None, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()]), {}, PLAIN, True, None),
    "gpt4o": (1000, None, with_regex(GPT4O), {"ignore_merges": True}, PLAIN, False, None),
    "deepseek3": (1000, normalizers.Sequence([]), with_regex(*DEEPSEEK3), {}, PLAIN, False, None),
    "odd": (700, normalizers.NFC(), pre_tokenizers.Sequence([
        pre_tokenizers.Split(" ", "merged_with_next"), split(r"[!?]+", "merged_with_previous"), split(r"\p{Han}", "contiguous"),
        pre_tokenizers.Digits(individual_digits=False), split("_", "removed"), split(r"[^-]+", "isolated", True), byte_level(add_prefix_space=True)]),
        {}, ODD, False, None),
    "falcon": (1000, None, pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), byte_level(), pre_tokenizers.Digits(individual_digits=False), split("[0-9][0-9][0-9]")]),
        {}, PLAIN, True, None),
    "clip": (900, normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]),
             pre_tokenizers.Sequence([split(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", "removed", True), byte_level()]),
             {"end_of_word_suffix": "</w>", "unk_token": "<|endoftext|>"}, PLAIN[:2], True, "<|im_start|>"),
}
# GGUF files with the same vocabularies: name, what tokenizer.ggml.pre says.
GGUF = {"smollm": "smollm", "falcon": "falcon"}


def train(name):
    size, normalizer, pre, settings, added, inside, bos = PIPELINES[name]
    tokenizer = Tokenizer(models.BPE(**settings))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    suffix = {"end_of_word_suffix": settings["end_of_word_suffix"]} if "end_of_word_suffix" in settings else {}
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  special_tokens=added if inside else [], **suffix)
    tokenizer.train_from_iterator([line + "\n" for line in CORPUS.split("\n")] * 2, trainer)
    if settings:  # training makes the model anew
        state = json.loads(tokenizer.to_str())
        state["model"].update(settings)
        tokenizer = Tokenizer.from_str(json.dumps(state))
    if not inside:
        for token in added:
            (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    if bos:
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))])])
    return tokenizer


def merges_as_lines(text):
    """The older form, which files of most models have: "a b" instead of ["a", "b"]."""
    state = json.loads(text)
    state["model"]["merges"] = [" ".join(pair) for pair in state["model"]["merges"]]
    return json.dumps(state, ensure_ascii=False, separators=(",", ":"))


def write_safetensors(path):
    header = b'{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + struct.pack("<f", 1.0))


def write_gguf(path, tokenizer, pre):
    import gguf
    state = json.loads(tokenizer.to_str())
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    control = {token["content"] for token in state["added_tokens"]}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if t in control else gguf.TokenType.NORMAL for t in tokens])
    writer.add_token_merges([" ".join(pair) for pair in state["model"]["merges"]])
    writer.add_bos_token_id(tokens.index("<|im_start|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer")
    for number, name in enumerate(PIPELINES):
        folder = os.path.join(root, name)
        os.makedirs(folder, exist_ok=True)
        tokenizer = train(name)
        text = tokenizer.to_str()
        with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
            file.write(merges_as_lines(text) if number % 2 == 0 else json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")))
        config = {"eos_token": {"content": "<|endoftext|>", "__type": "AddedToken"}, "bos_token": PIPELINES[name][6], "model_max_length": 10 ** 30}
        with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)
        write_safetensors(os.path.join(folder, "model.safetensors"))
        cases = []
        for text in CASES + [CORPUS] + list(fuzz(random.Random(number), 400)):
            for special in (True, False):
                tokenizer.encode_special_tokens = not special
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                if special or ids != cases[-1]["ids"]:
                    cases.append({"text": text, "special": special, "ids": ids})
        with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as file:
            file.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases) + "\n]\n")
        if name in GGUF:
            write_gguf(os.path.join(root, name + ".gguf"), tokenizer, GGUF[name])


if __name__ == "__main__":
    main()
