#!/usr/bin/env python3
"""The command on the software Metal device. usage: test_command.py COMMAND"""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
METAL = {k: os.environ[k] for k in ("PENSIEVE_METAL", "SOFTMETAL_CACHE")}  # before cli forgets them
METAL["SOFTMETAL_WORLD"] = "keep_open"

import cli
from cli import check, contains, environment, equal, exits, run, tiny


def metal(**more):
    return environment(**{**METAL, **more})


def test_devices_shows_it():
    found = exits(run("devices", "--json", env=metal()), 0).json["devices"]
    device = [d for d in found if d["id"] == "metal:0"][0]
    equal((device["available"], device["kernels"]), (True, "metal"))
    contains(device["name"], "softmetal")


def test_what_was_compiled_is_kept_in_the_cache_folder():
    xdg, own = cli.fresh("xdg"), cli.fresh("own")
    arguments = ("run", tiny(), "hi", "-n", "4", "--device", "metal", "--json", "--ignore-eos")
    first = exits(run(*arguments, env=metal(XDG_CACHE_HOME=xdg)), 0)
    kept = os.listdir(os.path.join(xdg, "pensieve", "programs"))
    equal([os.path.splitext(name)[1] for name in kept], [".archive"])
    number = os.stat(os.path.join(xdg, "pensieve", "programs", kept[0])).st_ino
    second = exits(run(*arguments, env=metal(XDG_CACHE_HOME=xdg)), 0)
    equal(os.stat(os.path.join(xdg, "pensieve", "programs", kept[0])).st_ino, number, "it was found whole")
    equal(first.lines[-1]["token_ids"], second.lines[-1]["token_ids"])
    equal(first.lines[-1]["device"], "metal:0")
    exits(run(*arguments, env=metal(PENSIEVE_CACHE=own, XDG_CACHE_HOME=cli.fresh("other"))), 0)
    equal(os.listdir(os.path.join(own, "programs")), kept)


def test_a_cache_that_cannot_be_written_is_no_failure():
    path = cli.fresh("file")
    with open(path, "w"):
        pass
    result = exits(run("run", tiny(), "hi", "-n", "2", "--device", "metal", env=metal(PENSIEVE_CACHE=path)), 0)
    contains(result.err, "is not kept")


def test_a_profile_has_the_devices_times():
    path = cli.fresh("trace.json")
    exits(run("run", tiny(), "hi", "-n", "3", "--ignore-eos", "--device", "metal", "--profile", path, env=metal()), 0)
    with open(path) as file:
        events = json.load(file)["traceEvents"]
    tracks = {e["args"]["name"]: e["tid"] for e in events if e["ph"] == "M"}
    check({"engine", "metal:0", "metal:0 ops"} <= set(tracks), f"tracks {tracks}")
    ops = [e for e in events if e["ph"] == "X" and e["tid"] == tracks["metal:0 ops"]]
    check(any(e["name"].startswith("layer 1") and e["args"]["bytes"] > 0 for e in ops), "ops of layers")
    check(len([e for e in events if e["ph"] == "X" and e["tid"] == tracks["metal:0"]]) >= 3, "command buffers")


def test_a_capture_that_cannot_be_made_is_told():
    path = cli.fresh("steps") + ".gputrace"
    contains(exits(run("run", tiny(), "hi", "-n", "2", "--device", "metal", "--profile", path, env=metal()), 0).err, "is not made")
    check(not os.path.exists(path), "no file")


def test_validation_finds_nothing_in_a_sound_model():
    result = exits(run("run", tiny(), "hi", "-n", "2", "--device", "metal", "--validate", env=metal()), 0)
    check("not finite" not in result.err, result.err)


def test_tune_keeps_its_choice():
    cache = cli.fresh("tuned")
    found = exits(run("tune", "--device", "metal", "--size", "256", "--json", env=metal(PENSIEVE_CACHE=cache)), 0).json
    equal(found["schema"], "pensieve.tune/1")
    check({m["variant"] for m in found["measured"]} == {"few rows", "matrix units"}, "variants")
    kept = [n for n in os.listdir(os.path.join(cache, "programs")) if n.endswith(".tune")]
    equal(len(kept), 1)
    with open(os.path.join(cache, "programs", kept[0])) as file:
        check(1 <= json.load(file)["few_rows"] <= 64, "few_rows")


def test_a_device_that_fails_is_replaced_and_told():
    env = metal(SOFTMETAL_FAULTS="removal:2:count=all")
    result = exits(run("run", tiny(), "hi", "-n", "4", "--ignore-eos", "--device", "metal", "--json", env=env), 0)
    last = result.lines[-1]
    equal((last["finish_reason"], last["tokens"]), ("length", 4))
    check(any("the CPU takes over" in json.dumps(e) for e in last["events"]), f"events {last['events']}")
    equal(last["device"], "cpu", "who answered in the end")


def test_what_another_device_did_is_not_measured():
    env = metal(SOFTMETAL_FAULTS="removal:2:count=all")
    result = exits(run("bench", "-m", tiny(), "-p", "0", "-n", "8", "-r", "1", "--device", "metal", env=env), 1)
    contains(result.err, "metal:0 failed while it was measured, and cpu took over")
    check("tg8" not in result.out, result.out)


def test_a_context_that_is_said_to_fit_fits():
    env = metal(SOFTMETAL_WORLD="keep_open,working_set=900k")
    refused = exits(run("run", tiny(), "hi", "-n", "1", "--device", "metal", env=env), 5).err
    fits = int(refused.split("a context of ")[1].split()[0])
    check(fits < 512, refused)
    budget = exits(run("inspect", tiny(), "--device", "metal", "--ctx", str(fits), "--json", env=env), 0).json["budget"]
    check(budget["fits"] and budget["total"] <= budget["available"], f"{budget}")


cli.main(globals())
