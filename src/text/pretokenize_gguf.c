/* What GGUF files mean by tokenizer.ggml.pre: the patterns and settings of the tokenizer.json that each name stands for. */
#include "text/pretokenize.h"

#include <string.h>

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LLAMA3                                                                                                                 \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN2 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN35                                                                                                                 \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*"                          \
                 "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED_REST " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT4O                                                                                                                  \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" CONTRACTIONS "?|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" CONTRACTIONS      \
    "?|\\p{N}{1,3}|" CASED_REST
#define TEKKEN "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*|\\p{N}|" CASED_REST
/* Letters of alphabets that have case, as of Unicode 11. */
#define DEEPSEEK_LETTERS                                                                                                                                                                                             \
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-"                                             \
    "ὅὈ-"                                                                                                                                                                                                        \
    "Ὅ"                                                                                                                                                                                                            \
    "ὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-" \
    "ꝯꝱ-"                                                                                                                                                                                                        \
    "ꞇ"                                                                                                                                                                                                            \
    "Ꞌ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
#define DEEPSEEK_CJK "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
#define DEEPSEEK3_CJK "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
#define DEEPSEEK3_WORDS                                                                                                        \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"                          \
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"

static const pv_gguf_pre known[] = {
    {.name = "smollm", .patterns = {"\\p{N}", GPT2}},
    {.name = "starcoder", .patterns = {"\\p{N}", GPT2}},
    {.name = "refact", .patterns = {"\\p{N}", GPT2}},
    {.name = "command-r", .patterns = {"\\p{N}", GPT2}, .nfc = true},
    {.name = "gpt-2", .patterns = {GPT2}},
    {.name = "granite-docling", .patterns = {GPT2}},
    {.name = "phi-2", .patterns = {GPT2}},
    {.name = "olmo", .patterns = {GPT2}, .nfc = true},
    {.name = "mpt", .patterns = {GPT2}, .nfc = true},
    {.name = "llama3", .patterns = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "llama-v3", .patterns = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "llama-bpe", .patterns = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "falcon3", .patterns = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "lfm2", .patterns = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "dbrx", .patterns = {LLAMA3}},
    {.name = "smaug-bpe", .patterns = {LLAMA3}},
    {.name = "glm4", .patterns = {LLAMA3}, .ignore_merges = true},
    {.name = "qwen2", .patterns = {QWEN2}, .nfc = true},
    {.name = "deepseek-r1-qwen", .patterns = {QWEN2}},
    {.name = "stablelm2", .patterns = {QWEN2}, .nfc = true},
    {.name = "qwen35", .patterns = {QWEN35}, .nfc = true},
    {.name = "gpt-4o", .patterns = {GPT4O}, .ignore_merges = true},
    {.name = "llama4", .patterns = {GPT4O}, .ignore_merges = true},
    {.name = "tekken", .patterns = {TEKKEN}, .ignore_merges = true, .add_bos = true},
    {.name = "deepseek-llm",
     .patterns = {"[\r\n]", "\\s?[" DEEPSEEK_LETTERS "]+", "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
                  "\\s+$", DEEPSEEK_CJK, "\\p{N}"}},
    {.name = "deepseek-coder", .patterns = {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", DEEPSEEK_CJK, "\\p{N}"}},
    {.name = "deepseek-v3", .patterns = {"\\p{N}{1,3}", DEEPSEEK3_CJK, DEEPSEEK3_WORDS}},
    {.name = "joyai-llm", .patterns = {"\\p{N}{1,3}", DEEPSEEK3_CJK, DEEPSEEK3_WORDS}},
    {.name = "falcon", .patterns = {"[\\p{P}$+<=>\\^`|~]+", GPT2}, .spelled = {"\\p{N}+", "[0-9][0-9][0-9]"}},
};

const pv_gguf_pre *pv_gguf_pre_find(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == length && memcmp(known[i].name, name, length) == 0) return &known[i];
    return NULL;
}

static pv_status add_all(const char *const *patterns, pv_pretokenizer *pretokenizer, pv_error *error)
{
    for (size_t i = 0; patterns[i]; i++) {
        pv_status status = pv_pretokenizer_regex(pretokenizer, patterns[i], strlen(patterns[i]), PV_ISOLATED, false, error);
        if (status != PV_OK) return status;
    }
    return PV_OK;
}

pv_status pv_gguf_pre_add(const pv_gguf_pre *pre, pv_pretokenizer *pretokenizer, pv_error *error)
{
    pv_status status = add_all(pre->patterns, pretokenizer, error);
    if (status != PV_OK || !pre->spelled[0]) return status;
    status = pv_pretokenizer_spell(pretokenizer, error);
    return status == PV_OK ? add_all(pre->spelled, pretokenizer, error) : status;
}
