#!/usr/bin/env python3
"""Verbs, options, exit codes, and what each stream carries."""
import json
import os
import re
import shutil
import struct
import subprocess

import cli
from cli import check, contains, environment, equal, exits, run, tiny

VERBS = ["run", "bench", "inspect", "devices", "tokenize", "synth", "convert", "pull", "list", "rm"]


def test_no_verb_is_a_misuse():
    result = exits(run(), 2, "Usage: pensieve VERB")
    equal(result.out, "", "stdout")


def test_help_goes_to_stdout():
    result = exits(run("--help"), 0)
    equal(result.err, "", "stderr")
    for verb in VERBS:
        contains(result.out, f"\n  {verb} ", "help")


def test_every_verb_has_help_and_version():
    for verb in VERBS:
        result = exits(run(verb, "--help"), 0)
        contains(result.out, f"Usage: pensieve {verb}")
        contains(result.out, "--help, -h")
        equal(result.err, "", verb)
        equal(run("help", verb).out, result.out, verb)
        contains(exits(run(verb, "--version"), 0).out, "pensieve 0.")


def test_version():
    equal(exits(run("--version"), 0).out, run("run", "--version").out)


def test_later_verbs_say_so():
    for verb in ["doctor", "serve"]:
        exits(run(verb, "x"), 2, f"{verb} is not in this version")


def test_unknown_names_are_named():
    exits(run("walk"), 2, "'walk'")
    exits(run("--walk"), 2, "'--walk'")
    exits(run("run", "m.gguf", "--walk"), 2, "'--walk'")
    exits(run("run", "m.gguf", "--walk=3"), 2, "'--walk=3'")
    exits(run("devices", "--temp", "1"), 2, "'--temp'")


def test_bad_values_are_named():
    for arguments, parts in [
        (["--ctx", "many"], ["--ctx", "'many'"]),
        (["-c", "0"], ["--ctx", "'0'"]),
        (["-n", "-1"], ["--max-tokens", "'-1'"]),
        (["-n", "5000000000"], ["--max-tokens", "'5000000000'"]),
        (["-n", "12x"], ["--max-tokens", "'12x'"]),
        (["--temp", "hot"], ["--temp", "'hot'"]),
        (["--temp", "nan"], ["--temp", "'nan'"]),
        (["--temp", "0x1p3"], ["--temp", "'0x1p3'"]),
        (["--temp=-1"], ["--temp", "'-1'"]),
        (["--top-p", "1.5"], ["--top-p", "'1.5'"]),
        (["--seed", "18446744073709551616"], ["--seed", "'18446744073709551616'"]),
        (["--load", "read"], ["--load", "'read'", "map|copy"]),
        (["--stop", ""], ["--stop"]),
        (["--json=yes"], ["--json"]),
        (["--device", "gpu"], ["--device", "'gpu'"]),
        (["--device", "cpu:0"], ["'cpu:0'"]),
        (["--device", "cuda:"], ["'cuda:'"]),
        (["-ngl", "few"], ["--gpu-layers", "'few'"]),
        (["-t", "0"], ["--threads", "'0'"]),
    ]:
        result = exits(run("run", tiny(), "hi", *arguments), 2, *parts)
        equal(result.out, "", f"stdout of {arguments}")
    exits(run("bench", tiny(), "-p", "5,,6"), 2, "--n-prompt", "'5,,6'")
    exits(run("bench", tiny(), "-pg", "5"), 2, "--prompt-gen", "'5'")
    exits(run("bench", tiny(), "-o", "xml"), 2, "--output", "'xml'")
    exits(run("bench", tiny(), "-o", "js"), 2, "'js'")


def test_a_misuse_is_json_where_json_is_asked_for():
    for arguments, verb, part in [
        (["run", tiny(), "hi", "--json", "--ctx", "many"], "run", "'many'"), (["run", "--walk", "--json"], "run", "'--walk'"), (["run", "--json"], "run", "MODEL"),
        (["bench", tiny(), "-o", "jsonl", "-p", "x"], "bench", "'x'"), (["bench", tiny(), "-p", "x", "--output=json"], "bench", "'x'"),
        (["devices", "cpu", "--json"], "devices", "'cpu'"), (["run", tiny(), "hi", "--json", "--profile"], "run", "--profile"),
        (["serve", "--json"], "serve", "not in this version"),
    ]:
        found = exits(run(*arguments), 2, part).json
        equal((set(found), found["schema"]), ({"schema", "error"}, f"pensieve.{verb}/1"))
        contains(found["error"]["message"], part)
        equal(found["error"]["status"], "UNSUPPORTED" if "version" in found["error"]["message"] else "INVALID_ARGUMENT")
    equal(exits(run("run", tiny(), "--walk", "--", "--json"), 2).out, "")


def test_words_are_counted():
    exits(run("run"), 2, "MODEL")
    exits(run("run", tiny(), "--ctx"), 2, "--ctx", "needs a value")
    exits(run("run", tiny(), "two", "words"), 2, "'words'")
    exits(run("run", "-m", tiny(), "two", "words"), 2)
    exits(run("run", tiny(), "one", "-p", "two"), 2, "'one'", "'two'")
    exits(run("inspect", tiny(), "-m", tiny()), 2, "twice")
    exits(run("devices", "cpu"), 2, "'cpu'")


def test_what_starts_with_a_dash_after_two_is_a_word():
    equal(exits(run("tokenize", tiny(), "--json", "--", "--no-bos"), 0).json["count"], 8)


def test_a_missing_model_exits_3():
    for name in ["nothing.gguf", "/nothing/at/all", "./x/y", "a/b/c", "nothing"]:
        exits(run("run", name, "hi", env=environment(HF_HUB_OFFLINE=1)), 3)
        exits(run("inspect", name, env=environment(HF_HUB_OFFLINE=1)), 3)
    result = exits(run("run", "nothing.gguf", "hi", "--json"), 3, "nothing.gguf")
    equal(set(result.json), {"schema", "error"})
    equal(result.json["schema"], "pensieve.run/1")
    equal(set(result.json["error"]), {"status", "message", "op", "offset"})
    equal(result.json["error"]["status"], "NOT_FOUND")


def test_a_folder_without_a_model_exits_3():
    empty = os.path.join(cli.folder, "empty")
    os.makedirs(empty, exist_ok=True)
    exits(run("run", empty, "hi"), 3)


def leave_root():
    """Root reads every file."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)


def test_what_may_not_be_read_or_written_exits_3():
    path = cli.patched(tiny(), "closed.gguf")
    os.chmod(path, 0)
    os.chmod(cli.folder, 0o755)
    try:
        run("--version", preexec_fn=leave_root)
    except PermissionError:
        raise cli.Skip("the command lies where only root may look")
    exits(run("run", path, "hi", preexec_fn=leave_root), 3, "closed.gguf", "ermission")
    exits(run("inspect", path, "--json", preexec_fn=leave_root), 3)
    exits(run("synth", "--shape", "tiny", os.path.join(cli.folder, "made.gguf"), preexec_fn=leave_root), 3, "ermission")


def test_bad_files_exit_4():
    data = open(tiny(), "rb").read()
    for name, content in [
        ("text.gguf", b"this is no model\n" * 10), ("empty.gguf", b""), ("short.gguf", data[:100]), ("cut.gguf", data[:-64]),
        ("version.gguf", data[:4] + struct.pack("<I", 99) + data[8:]), ("many.gguf", data[:8] + b"\xff" * 8 + data[16:]),
    ]:
        path = os.path.join(cli.folder, name)
        with open(path, "wb") as out:
            out.write(content)
        for verb in (["run", path, "hi"], ["inspect", path], ["bench", path, "-p", "8", "-n", "0"], ["tokenize", path, "hi"]):
            result = exits(run(*verb), 4, name)
            equal(result.out, "", name)
    error = exits(run("inspect", path, "--json"), 4).json["error"]
    check(isinstance(error["offset"], int) or error["offset"] is None, "offset")


def test_an_architecture_that_is_not_known_exits_4():
    path = cli.patched(tiny(), "other.gguf", (b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama", b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0lllll"))
    exits(run("run", path, "hi"), 4, "lllll")
    shown = exits(run("inspect", path, "--json"), 0).json
    equal(shown["runnable"], False)
    contains(shown["refusal"], "lllll")


def test_a_missing_tensor_exits_4():
    path = cli.patched(tiny(), "torn.gguf", (b"blk.1.ffn_up.weight", b"blk.1.ffn_xp.weight"))
    exits(run("run", path, "hi"), 4, "blk.1.ffn_up.weight")
    contains(exits(run("inspect", path, "--json"), 0).json["refusal"], "blk.1.ffn_up.weight")


def test_a_missing_shard_exits_3():
    folder = os.path.join(cli.folder, "shards")
    shutil.copytree(tiny("dir"), folder)
    os.rename(os.path.join(folder, "model.safetensors"), os.path.join(folder, "gone.safetensors"))
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as out:
        out.write('{"weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}}')
    exits(run("run", folder, "hi"), 3, "model-00001-of-00001.safetensors")


def test_what_does_not_fit_exits_5_with_numbers():
    # 23040 bytes of cache a token: hundreds of GiB for the largest context that a file may name
    key = b"llama.context_length" + struct.pack("<I", 4)
    path = cli.patched(tiny("Q4_0", shape="135m"), "endless.gguf", (key + struct.pack("<I", 8192), key + struct.pack("<I", 1 << 24)))
    large = ["--ctx", 1 << 24]
    result = exits(run("run", path, "hi", *large), 5, "MiB", "would fit")
    equal(result.out, "", "stdout")
    budget = exits(run("inspect", path, *large, "--json"), 0).json["budget"]
    equal(budget["fits"], False)
    check(budget["total"] > budget["available"], "the budget")
    check(0 < budget["context_that_fits"] < 1 << 24, "what would fit")
    equal(exits(run("run", path, "hi", *large, "--json"), 5).json["error"]["status"], "DOES_NOT_FIT")


def test_a_prompt_longer_than_the_context_exits_5():
    result = exits(run("run", tiny(), "-", input=b"x" * 2000), 5, "the context holds 512")
    equal(result.out, "", "stdout")


def test_a_context_beyond_the_trained_one_is_a_misuse():
    exits(run("run", tiny(), "hi", "--ctx", "513"), 2, "513", "512")


def test_devices_that_are_not_there_exit_3():
    exits(run("run", tiny(), "hi", "--device", "metal:7"), 3, "metal:7", "cpu")


def test_kernels_are_chosen_by_the_environment():
    exits(run("devices", env=environment(PENSIEVE_CPU="abacus")), 3, "abacus")
    exits(run("run", tiny(), "hi", env=environment(PENSIEVE_CPU="abacus")), 3, "abacus")
    shown = exits(run("devices", "--json", env=environment(PENSIEVE_CPU="generic")), 0).json
    equal([d["kernels"] for d in shown["devices"] if d["id"] == "cpu"], ["generic"])
    exits(run("run", tiny(), "hi", "-n", "4", env=environment(PENSIEVE_CPU="generic")), 0)


def test_devices():
    shown = exits(run("devices", "--json", "-t", "1"), 0).json
    equal(shown["schema"], "pensieve.devices/1")
    cpu = [d for d in shown["devices"] if d["id"] == "cpu"][0]
    equal((cpu["available"], cpu["threads"], cpu["reason"]), (True, 1, ""))
    check(0 < cpu["memory_usable"] <= cpu["memory_total"], "memory")
    contains(exits(run("devices"), 0).out, "cpu")


def test_a_profile_tells_of_every_step():
    path = cli.fresh("trace.json")
    exits(run("run", tiny(), "hi", "-n", "4", "--ignore-eos", "--profile", path), 0)
    with open(path) as file:
        events = json.load(file)["traceEvents"]
    names = {e["args"]["name"]: e["tid"] for e in events if e["ph"] == "M"}
    steps = [e for e in events if e["ph"] == "X" and e["tid"] == names["engine"]]
    for name in ("submit", "wait", "commit"):
        equal(len([e for e in steps if e["name"] == name]), 4, name)
    check(all(e["dur"] >= 0 and e["args"]["rows"] > 0 for e in steps), "times and rows")
    exits(run("run", tiny(), "hi", "--profile", os.path.join(cli.fresh("none"), "trace.json")), 3, "trace.json")


def test_what_only_metal_does_is_not_left_out_silently():
    path = os.path.join(cli.fresh("capture"), "frames.gputrace")
    for more, told in (("--validate", "--validate looks at nothing on cpu"), (("--profile", path), "frames.gputrace is not made")):
        more = [more] if isinstance(more, str) else more
        exits(run("run", tiny(), "hi", "-n", "2", "--device", "cpu", "-q", *more), 0, told)
    check(not os.path.exists(path), "a capture")


def test_there_is_nothing_to_tune_on_a_processor():
    exits(run("tune", "--device", "cpu"), 3, "cpu")
    exits(run("tune", "--size", "100"), 2, "--size")


def test_the_command_sees_the_public_header_alone():
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "cli")
    own = os.listdir(source)
    check("cli.h" in own, "src/cli")
    for name in own:
        for included in re.findall(r'(?m)^\s*#\s*include\s*"([^"]+)"', open(os.path.join(source, name)).read()):
            check(included == "pensieve.h" or included in own, f"{name} includes {included}")


# ---- synth ----

def test_synth_repeats_itself():
    paths = [os.path.join(cli.folder, f"again-{i}.gguf") for i in range(3)]
    for path, seed in zip(paths, [5, 5, 6]):
        exits(run("synth", "--shape", "tiny", "--layout", "Q4_0", "--seed", seed, path), 0)
    first, second, other = [open(p, "rb").read() for p in paths]
    equal(first, second, "the same seed")
    check(first != other, "another seed")


def test_synth_writes_what_inspect_finds():
    made = exits(run("synth", "--arch", "llama", "--shape", "tiny", "--layout", "BF16", os.path.join(cli.folder, "made"), "--json"), 0).json
    equal((made["schema"], made["layout"], made["seed"]), ("pensieve.synth/1", "BF16", 0))
    found = exits(run("inspect", made["path"], "--json"), 0).json
    equal((found["format"], [l["layout"] for l in found["layouts"]]), ("safetensors", ["BF16"]))


def test_synth_tells_of_matrices_in_another_layout():
    path = os.path.join(cli.folder, "narrow.gguf")
    exits(run("synth", "--shape", "tiny", "--layout", "Q4_K", path), 0, "15 of 15 matrices are in Q8_0: Q4_K has blocks of 256")
    layouts = {layout["layout"]: layout["tensors"] for layout in exits(run("inspect", path, "--json"), 0).json["layouts"]}
    equal(layouts, {"F32": 5, "Q8_0": 15})
    check("matrices" not in exits(run("synth", "--shape", "tiny", "--layout", "Q4_0", path), 0).err, "nothing to tell")


def test_synth_names_what_it_does_not_know():
    exits(run("synth", "--shape", "huge", "x.gguf", cwd=cli.folder), 2, "huge", "tiny")
    exits(run("synth", "--shape", "tiny", "--arch", "abacus", "x.gguf", cwd=cli.folder), 2, "abacus")
    exits(run("synth", "--shape", "tiny", "--layout", "Q9", "x.gguf", cwd=cli.folder), 2, "Q9")
    exits(run("synth", "--shape", "tiny", "--layout", "Q8_0", "folder", cwd=cli.folder), 2, "Q8_0")
    exits(run("synth", "x.gguf", cwd=cli.folder), 2, "--shape")
    check(not os.path.exists(os.path.join(cli.folder, "x.gguf")), "a file was left")


def test_synth_where_nothing_can_be_written():
    exits(run("synth", "--shape", "tiny", "/nothing/here/x.gguf"), 3)
    exits(run("synth", "--shape", "tiny", "/nothing/here/x"), 3, "/nothing/here/x")
    if not os.path.isdir("/dev/shm") or os.geteuid() != 0:
        return
    small = os.path.join(cli.folder, "small")
    os.makedirs(small)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], capture_output=True).returncode != 0:
        return
    try:
        exits(run("synth", "--shape", "tiny", "--layout", "F32", os.path.join(small, "x.gguf")), 1, "o space left")
        equal(os.listdir(small), [], "what was left")
    finally:
        subprocess.run(["umount", small])


# ---- inspect, tokenize ----

def test_inspect_shows_the_whole():
    for path, form in [(tiny(), "gguf"), (tiny("dir"), "safetensors")]:
        found = exits(run("inspect", path, "--json", "--tensors"), 0).json
        equal(found["schema"], "pensieve.inspect/1")
        equal((found["format"], found["architecture"], found["runnable"]), (form, "llama", True))
        equal((found["layers"], found["width"], found["heads"], found["kv_heads"], found["head_dim"]), (2, 64, 4, 2, 16))
        equal((found["feed_forward"], found["vocabulary"], found["trained_context"]), (128, 288, 512))
        equal(len(found["tensors"]), found["tensor_count"])
        equal(sum(l["tensors"] for l in found["layouts"]), found["tensor_count"])
        equal(sum(t["bytes"] for t in found["tensors"]), found["weight_bytes"])
        equal(sum(l["bytes"] for l in found["layouts"]), found["weight_bytes"])
        # 288×64 and, twice, q and o 64², k and v 32×64, three of 128×64; norms of 64
        equal(found["parameters"], 288 * 64 + 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 128 * 64 + 2 * 64) + 64)
        budget = found["budget"]
        equal(budget["total"], budget["weights"] + budget["kv"] + budget["scratch"] + budget["other"])
        equal(budget["fits"], True)
    equal(run("inspect", tiny(), "--json").json["metadata"]["general.architecture"], "llama")


def test_inspect_as_text():
    out = exits(run("inspect", tiny(), "--tensors"), 0).out
    for part in ["gguf", "llama: 2 layers", "Q8_0", "general.name", "token_embd.weight", "[288, 64]"]:
        contains(out, part, "inspect")


def test_tokenize_and_back():
    text = "Grüße, 世界 \U0001f600\ttab\n\"quoted\""
    found = exits(run("tokenize", tiny(), text, "--json"), 0).json
    # the tiny vocabulary is the 256 bytes
    equal(found["token_ids"], list(text.encode()))
    equal(found["count"], len(text.encode()))
    back = exits(run("tokenize", tiny(), "--decode", "--json", str(found["token_ids"])), 0).json
    equal(back["text"], text)
    equal(exits(run("tokenize", tiny(), "--decode", "72 105"), 0).out, "Hi\n")
    equal(exits(run("tokenize", tiny(), "-", input=b"Hi\n"), 0).out, '72\t"H"\n105\t"i"\n')
    equal(exits(run("tokenize", tiny(), input=b"\xff\x00\n"), 0).out, '255\t"\ufffd"\n0\t"\\u0000"\n')


def test_tokenize_control_tokens():
    equal(exits(run("tokenize", tiny(), "<|endoftext|>", "--json", "--special"), 0).json["token_ids"], [256])
    equal(exits(run("tokenize", tiny(), "<|endoftext|>", "--json"), 0).json["count"], 13)


def test_tokenize_refuses_what_is_no_id():
    exits(run("tokenize", tiny(), "--decode", "12 x"), 2, "'x'")
    exits(run("tokenize", tiny(), "--decode", "99999"), 2, "99999")
    exits(run("tokenize", tiny(), "--decode", "99999999999"), 2, "99999999999")


cli.main(globals())
