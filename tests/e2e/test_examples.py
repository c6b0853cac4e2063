#!/usr/bin/env python3
"""Each example runs on a tiny model and says what it should. Arguments: the command, the examples' folder."""
import os
import subprocess
import sys

import cli
from cli import check, contains, equal, exits, run, tiny


def example(name, *arguments, input=""):
    path = os.path.join(sys.argv[2], f"example_{name}")
    done = subprocess.run([path, *arguments], input=input.encode(), capture_output=True, timeout=cli.HANG, env=cli.environment())
    return cli.Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode())


def answer_of(prompt, tokens):
    """What the command answers, greedy."""
    return exits(run("run", tiny(), prompt, "-n", tokens, "--json"), 0).lines[-1]["text"]


def test_answer():
    result = exits(example("answer", tiny(), "Hello"), 0, "256 tokens")
    equal(result.out, answer_of("Hello", 256) + "\n")


def test_chat():
    result = exits(example("chat", tiny(), input="Hello\nAnd?\n"), 0, "(0 of 23 prompt tokens were known)")
    check(result.out.startswith(answer_of("Hello", 128) + "\n"), "the first answer")
    # the second prompt begins with the first and its answer, whose full pages are found again
    contains(result.err, "(128 of ")


def test_batch():
    result = exits(example("batch", tiny()), 0)
    questions = [l for l in result.out.splitlines() if l and not l.startswith(" ")]
    equal(len(questions), 8, "questions")
    tokens, steps = (int(w) for w in result.err.split() if w.isdigit())
    check(steps < tokens / 4, f"{tokens} tokens in {steps} steps: they did not run together")


def test_event_loop():
    result = exits(example("event_loop", tiny(), input="Hello\nAnd?\nWell\n"), 0)
    for question in ("Hello", "And?", "Well"):
        contains(result.out, f"{question}\n  {answer_of(question, 32)}\n")


def test_event_loop_takes_a_line_in_pieces():
    path = os.path.join(sys.argv[2], "example_event_loop")
    process = subprocess.Popen([path, tiny()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.environment(), bufsize=0)
    cli.started.append(process)
    process.stdin.write(b"Hello\nAn")
    equal(process.stdout.readline(), b"Hello\n")  # the rest was read with it
    out, _ = process.communicate(b"d?\nWell", timeout=cli.HANG)
    equal([l for l in out.decode().splitlines() if l in ("And?", "Well", "An", "d?")], ["And?", "Well"])


def test_event_loop_refuses_what_is_too_long():
    result = exits(example("event_loop", tiny(), input="x" * 600 + "\nHello\n"), 0, "too long")
    equal(result.out, f"Hello\n  {answer_of('Hello', 32)}\n")


def test_misuse_and_missing_files():
    for name, arguments in [("answer", ["x"]), ("chat", []), ("batch", []), ("event_loop", [])]:
        exits(example(name, *arguments), 2, "usage:", "MODEL")
        wanted = ["nothing.gguf", "x"] if name == "answer" else ["nothing.gguf"]
        exits(example(name, *wanted), 1, "nothing.gguf")


cli.main(globals())
