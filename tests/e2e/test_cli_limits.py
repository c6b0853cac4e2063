#!/usr/bin/env python3
"""Surroundings that lack something: no home, no room, no time; and files that would steer the terminal."""
import os
import resource
import signal
import time

import cli
from cli import Skip, check, contains, environment, equal, exits, fresh, lacks, patched, run, tiny


def homeless(**extra):
    env = environment(**extra)
    del env["HOME"]
    return env


# ---- No home ----

def test_without_a_home_there_is_no_cache_and_no_folder_of_others_is_touched():
    exits(run("list", env=homeless()), 0, "PENSIEVE_CACHE", "HOME")
    for model in ["some-model.gguf", "models", "org/name", "org/name:Q4_0"]:
        result = exits(run("rm", model, env=homeless()), 3, "PENSIEVE_CACHE", "HOME")
        lacks(result.err, "/models", model)
    equal(exits(run("list", "--json", env=homeless()), 0).json["models"], [])
    exits(run("run", tiny(), "hi", "-n", "1", env=homeless()), 0)


# ---- No room ----

def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (20480, 20480))


def test_a_limit_on_files_is_an_error_that_names_the_file():
    folder = fresh("limited")
    os.mkdir(folder)
    for name in ["a.gguf", "b"]:
        exits(run("synth", "--shape", "tiny", os.path.join(folder, name), preexec_fn=limit_files), 1, name, "too large")
    equal(sorted(os.listdir(folder)), ["b"], "left over")
    lacks(os.listdir(os.path.join(folder, "b")), "model.safetensors")
    logits = os.path.join(folder, "logits")
    exits(run("run", tiny(), "hi", "-n", "40", "--logits", logits, preexec_fn=limit_files), 1, logits, "too large")


# ---- No time ----

def files_of(process):
    descriptors = f"/proc/{process.pid}/fd"
    for descriptor in os.listdir(descriptors):
        try:
            yield os.readlink(os.path.join(descriptors, descriptor))
        except FileNotFoundError:
            pass  # closed meanwhile


def test_an_interrupted_synth_leaves_nothing():
    folder = fresh("interrupted")
    os.mkdir(folder)
    try:
        os.close(os.open(folder, os.O_WRONLY | os.O_TMPFILE))
    except (OSError, AttributeError):
        raise Skip("no files without names here")
    for number, code in [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]:
        process = cli.start("synth", "--shape", "8b", os.path.join(folder, "large.gguf"))
        for _ in range(100 * cli.HANG):
            if any(name.startswith(folder) for name in files_of(process)):
                break
            time.sleep(0.01)
        else:
            check(False, "it never began to write")
        process.send_signal(number)
        equal(process.wait(timeout=cli.HANG), code, "exit code")
        equal(os.listdir(folder), [], "left over")


# ---- Files that would steer the terminal ----

def test_inspect_hands_no_control_characters_on():
    path = patched(tiny(), "steering.gguf", (b"synthetic tiny", b"\x1b]0;pwn\x07\xc2\x9b2Jx"[:14].ljust(14, b"x")),
                   (b"blk.1.ffn_up.weight", b"blk.1.\x1b[31m_up\xc2\x9bigh"))
    result = exits(run("inspect", path, "--tensors"), 0)
    for text in [result.out, result.err]:
        for control in ["\x1b", "\x07", "\u009b"]:
            lacks(text, control, "inspect")
    contains(result.out, "31m_up")
    result = exits(run("run", path, "hi"), 4)
    lacks(result.err, "\x1b", "run")
    shown = exits(run("inspect", path, "--tensors", "--json"), 0).json
    equal([t["name"] for t in shown["tensors"] if "31m" in t["name"]], ["blk.1.\x1b[31m_up\u009bigh"])


cli.main(globals())
