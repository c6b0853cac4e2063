#!/usr/bin/env python3
"""run: answers, JSON, logits, seeds, prompts, streams, interruption."""
import os
import signal
import struct
import subprocess

import cli
from cli import check, contains, environment, equal, exits, lacks, run, start, tiny

FINAL = {"schema", "token_ids", "text", "finish_reason", "prompt_tokens", "tokens", "ttft_s", "tok_s", "device", "events"}


def answer(*arguments, **more):
    """The last line of run --json."""
    return exits(run("run", *arguments, "--json", **more), 0).lines[-1]


# ---- JSON ----

def test_json_streams_tokens_and_ends_with_the_whole():
    lines = exits(run("run", tiny(), "Hello", "-n", "12", "--temp", "3", "--json"), 0).lines
    final = lines.pop()
    equal(set(final), FINAL)
    for line in lines:
        equal(line["schema"], "pensieve.run/1")
        check(line["token"] is None or isinstance(line["token"], int), "token")
    ids = [l["token"] for l in lines if l["token"] is not None]
    equal(final["token_ids"], ids)
    equal(final["tokens"], len(ids))
    equal("".join(l["text"] for l in lines), final["text"])
    check(all(l["logprob"] <= 0 for l in lines if l["token"] is not None), "logprobs")
    # "user: Hello", the end token, "assistant: "
    equal(final["prompt_tokens"], len("user: Hello") + 1 + len("assistant: "))
    equal((final["finish_reason"], final["tokens"], final["device"], final["events"]), ("length", 12, "cpu", []))
    check(final["ttft_s"] > 0 and final["tok_s"] > 0, "timings")


def test_text_is_the_same_without_json():
    wanted = answer(tiny(), "Hello", "-n", "16", "--temp", "3")["text"]
    result = exits(run("run", tiny(), "Hello", "-n", "16", "--temp", "3"), 0)
    equal(result.out.rstrip("\n"), wanted.rstrip("\n"))


def test_an_answer_may_be_one_token():
    final = answer(tiny(), "Hello", "-n", "1")
    equal((final["tokens"], final["tok_s"]), (1, 0))


def test_stop_strings_end_the_answer_and_are_left_out():
    text = answer(tiny(), "Hello", "-n", "40", "--temp", "4", "--seed", "3")["text"]
    stop = next(c for i, c in enumerate(text) if i > 3 and c.isascii() and c not in text[:i])
    final = answer(tiny(), "Hello", "-n", "40", "--temp", "4", "--seed", "3", "--stop", stop, "--stop", "never there")
    equal((final["finish_reason"], final["text"]), ("stop", text[:text.index(stop)]))


def test_end_tokens_stop_unless_ignored():
    # a bias cannot be given, so the end token is made by heat: some seed draws it
    for seed in range(200):
        final = answer(tiny(), "Hello", "-n", "100", "--temp", "50", "--seed", seed)
        if final["finish_reason"] == "stop":
            break
    equal(final["token_ids"][-1], 256)
    longer = answer(tiny(), "Hello", "-n", "100", "--temp", "50", "--seed", seed, "--ignore-eos")
    equal((longer["finish_reason"], longer["tokens"]), ("length", 100))
    equal(longer["token_ids"][:final["tokens"]], final["token_ids"])


# ---- Logits ----

def rows(path, vocabulary=288):
    data = open(path, "rb").read()
    equal(len(data) % (4 * vocabulary), 0, "bytes")
    values = struct.unpack(f"<{len(data) // 4}f", data)
    return [values[i:i + vocabulary] for i in range(0, len(values), vocabulary)]


def test_logits_of_every_position_run():
    path = os.path.join(cli.folder, "logits.f32")
    final = answer(tiny("F32"), "Hello there", "-n", "6", "--logits", path)
    found = rows(path)
    equal(len(found), final["prompt_tokens"] + final["tokens"] - 1, "rows")
    # greedy: each token is the largest logit of the row before it
    last = final["prompt_tokens"] - 1
    for i, token in enumerate(final["token_ids"]):
        row = found[last + i]
        equal(row.index(max(row)), token, f"token {i}")
    check(all(any(row) for row in found), "a row is empty")


def test_logits_do_not_depend_on_how_the_prompt_is_cut():
    paths = [os.path.join(cli.folder, f"cut-{n}.f32") for n in (512, 32)]
    for path, n in zip(paths, (512, 32)):
        answer(tiny("F32"), "x" * 150, "-n", "2", "--logits", path, "-ub", n)
    equal(open(paths[0], "rb").read(), open(paths[1], "rb").read())


def test_logits_that_cannot_be_written():
    exits(run("run", tiny(), "hi", "-n", "1", "--logits", "/nothing/here"), 3, "/nothing/here")
    exits(run("run", tiny(), "hi", "-n", "1", "--logits", "/dev/full"), 1, "/dev/full")


# ---- Seeds and settings ----

def test_a_seed_gives_the_same_text_with_any_number_of_threads():
    wanted = answer(tiny(), "Hello", "-n", "60", "--temp", "4", "--seed", "7")["token_ids"]
    for threads in (1, 2, 3):
        equal(answer(tiny(), "Hello", "-n", "60", "--temp", "4", "--seed", "7", "-t", threads)["token_ids"], wanted, f"-t {threads}")
    check(answer(tiny(), "Hello", "-n", "60", "--temp", "4", "--seed", "8")["token_ids"] != wanted, "another seed")


def test_sampling_settings_reach_the_engine():
    heat = ["-n", "60", "--temp", "4", "--seed", "7"]
    greedy = answer(tiny(), "Hello", "-n", "60")["token_ids"]
    plain = answer(tiny(), "Hello", *heat)["token_ids"]
    check(plain != greedy, "temperature")
    equal(answer(tiny(), "Hello", *heat, "--top-k", "1")["token_ids"], greedy, "top-k 1")
    equal(answer(tiny(), "Hello", *heat, "--min-p", "1")["token_ids"], greedy, "min-p 1")
    equal(answer(tiny(), "Hello", *heat, "--top-p", "1e-6")["token_ids"], greedy, "top-p 1e-6")
    check(answer(tiny(), "Hello", "-n", "60", "--repeat-penalty", "9")["token_ids"] != greedy, "repeat-penalty")


def test_mapped_and_copied_are_the_same():
    for model in (tiny(), tiny("dir")):
        equal(answer(model, "Hello", "-n", "20", "--load", "copy")["token_ids"], answer(model, "Hello", "-n", "20", "--load", "map")["token_ids"])


def test_short_spellings():
    wanted = answer(tiny(), "Hello", "--max-tokens", "9", "--ctx", "128", "--threads", "1")["token_ids"]
    equal(answer("-m", tiny(), "-p", "Hello", "-n", "9", "-c", "128", "-t", "1", "-ngl", "99")["token_ids"], wanted)
    equal(answer("-m", tiny(), "Hello", "-n", "9", "--ctx=128", "-ngl", "0", "-dev", "cpu")["token_ids"], wanted)


# ---- Prompts ----

def test_prompts_from_standard_input():
    wanted = answer(tiny(), "Hello", "-n", "8")
    for arguments, text in [(["-"], b"Hello"), ([], b"Hello\n"), (["-p", "-"], b"Hello\r\n")]:
        found = answer(tiny(), *arguments, "-n", "8", input=text)
        equal((found["token_ids"], found["prompt_tokens"]), (wanted["token_ids"], wanted["prompt_tokens"]), str(arguments))
    equal(answer(tiny(), "-", "-n", "8", input=b"Hello\n\n")["prompt_tokens"], wanted["prompt_tokens"] + 1, "one newline alone is dropped")


def test_raw_prompts():
    equal(answer(tiny(), "Hello", "-n", "1", "--raw")["prompt_tokens"], 5)
    equal(answer(tiny(), "a<|endoftext|>b", "-n", "1", "--raw")["prompt_tokens"], 3)
    equal(answer(tiny(), "-", "-n", "1", "--raw", input=b"a\0\xffb")["prompt_tokens"], 4)


def test_what_users_spell_is_no_control_token():
    found = answer(tiny(), "<|endoftext|>", "-n", "1")["prompt_tokens"]
    equal(found, len("user: <|endoftext|>") + 1 + len("assistant: "))


def test_a_system_message():
    plain = answer(tiny(), "Hello", "-n", "1")["prompt_tokens"]
    equal(answer(tiny(), "Hello", "-n", "1", "--system", "Be brief")["prompt_tokens"], plain + len("system: Be brief") + 1)
    exits(run("run", tiny(), "Hello", "--raw", "--system", "x"), 2, "--system")


def test_a_model_without_a_template_goes_on_from_the_prompt():
    path = cli.patched(tiny(), "plain.gguf", (b"tokenizer.chat_template", b"tokenizer.chat_nothing!"))
    result = exits(run("run", path, "Hello", "-n", "4", "--json"), 0, "no chat template")
    equal(result.lines[-1]["prompt_tokens"], 5)
    exits(run("run", path, "Hello", "--system", "x"), 4, "no chat template")


def test_prompts_that_are_none():
    exits(run("run", tiny(), ""), 2, "empty")
    exits(run("run", tiny(), "-", input=b""), 2, "empty")
    exits(run("run", tiny(), "-", input=b"a\0b"), 2, "NUL")


# ---- Streams ----

def test_stdout_carries_the_answer_alone():
    result = exits(run("run", tiny(), "Hello", "-n", "8", "--verbose"), 0)
    equal(result.out, answer(tiny(), "Hello", "-n", "8")["text"] + "\n")
    equal(sum(line.startswith("pensieve: memory:") for line in result.err.splitlines()), 1, "budget lines")
    for mark in ("\x1b", "\r"):
        lacks(result.err, mark, "stderr that is no terminal")
        lacks(result.out, mark, "stdout")
    equal(exits(run("run", tiny(), "Hello", "-n", "8", "--quiet"), 0).err, "")


def test_the_budget_adds_up():
    line = exits(run("run", tiny(), "Hello", "-n", "1"), 0).err
    for part in ["weights", "KV", "scratch", "other", "context 512"]:
        contains(line, part)


def test_stdout_that_is_closed():
    for arguments in [["run", tiny(), "Hello", "-n", "8"], ["run", tiny(), "Hello", "-n", "8", "--json"], ["devices"], ["--help"],
                      ["inspect", tiny()], ["bench", tiny(), "-p", "8", "-n", "0"]]:
        done = subprocess.run(["/bin/sh", "-c", 'exec "$0" "$@" >&-', cli.PENSIEVE, *arguments], stderr=subprocess.PIPE, env=environment(),
                              stdin=subprocess.DEVNULL, timeout=cli.HANG)
        equal(done.returncode, 1, str(arguments))
        contains(done.stderr.decode(), "standard output")


def test_stdout_that_is_full():
    for arguments in [["run", tiny(), "Hello", "-n", "8"], ["run", tiny(), "Hello", "-n", "8", "--json"], ["devices", "--json"], ["--version"]]:
        with open("/dev/full", "w") as full:
            result = run(*arguments, stdout=full)
        exits(result, 1, "standard output", "o space left")


def test_a_reader_that_leaves():
    path = cli.long_context(1_000_000, "reader.gguf")
    process = start("run", path, "Hello", "--ctx", "200000", "--ignore-eos")
    process.stdout.read(1)
    process.stdout.close()
    err = process.stderr.read().decode()
    equal(process.wait(timeout=cli.HANG), 1, err)
    contains(err, "standard output")


def test_closed_stdin_and_stderr():
    done = subprocess.run(["/bin/sh", "-c", 'exec "$0" "$@" <&- 2>&-', cli.PENSIEVE, "run", tiny(), "Hello", "-n", "8"], stdout=subprocess.PIPE,
                          env=environment(), timeout=cli.HANG)
    equal((done.returncode, done.stdout.decode()), (0, answer(tiny(), "Hello", "-n", "8")["text"] + "\n"))


# ---- Interruption ----

def interrupted(*arguments):
    path = cli.long_context(1_000_000, "interrupted.gguf")
    process = start("run", path, "Hello", "--ctx", "200000", "--ignore-eos", *arguments)
    first = process.stdout.read(1)  # the answer has begun
    check(first, "no answer")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=cli.HANG)
    equal(process.returncode, 130, err.decode())
    return (first + out).decode("utf-8", "replace")


def test_an_interrupt_ends_the_answer_with_130():
    out = interrupted()
    check(out.endswith("\n") and len(out) > 1, "what was made")


def test_an_interrupted_json_ends_whole():
    lines = cli.objects(interrupted("--json"))
    final = lines.pop()
    equal(final["finish_reason"], "cancelled")
    equal(final["token_ids"], [l["token"] for l in lines if l["token"] is not None])


def test_an_interrupt_while_waiting_for_the_prompt():
    process = start("run", tiny(), stdin=subprocess.PIPE)
    # once the verb runs it takes the signal itself; before that the system ends the process by it
    process.send_signal(signal.SIGINT)
    check(process.wait(timeout=cli.HANG) in (130, -signal.SIGINT), "exit")
    process.communicate()


cli.main(globals())
