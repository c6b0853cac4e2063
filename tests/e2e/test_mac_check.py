#!/usr/bin/env python3
"""scripts/mac-check where there is no Mac: what it runs, what it leaves out and says so, what it reports. Tools that a Mac has,
and the tests themselves, are stand-ins."""
import os
import subprocess
import sys

import cli
from cli import contains, equal, exits, lacks

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "mac-check")

CTEST = """printf '%s\\n' "$*" "device $PENSIEVE_TEST_DEVICE" >>"$LOG"
echo '1: 1..2'; echo '1: ok 1 - adds'; echo '1: ok 2 - waits # SKIP no clock'
echo '1/2 Test #1: unit.test_sums ..... Passed'
"""
FAILING = CTEST + """echo '2: not ok 1 - divides'; echo '2: # by nought'
echo '2/2 Test #2: unit.test_parts ...***Failed'; exit 8
"""
MAC = {
    "uname": 'case $1 in -s) echo Darwin ;; *) echo Darwin 24.1 arm64 ;; esac',
    "sw_vers": "echo ProductName: macOS; echo ProductVersion: 15.1",
    "sysctl": 'case $2 in machdep*) echo Apple M9 ;; *) echo 8 ;; esac',
    "system_profiler": "echo '  Chipset Model: Apple M9'; echo '  Serial Number: SECRET'; echo '  Total Number of Cores: 10'",
    "pmset": "echo Now drawing from AC",
    "xcode-select": "echo /Developer",
    "brew": "echo $*",
    "pkg-config": '[ "$2" = cmocka ] && exit 1; exit 0',
}


class Place:
    """A build folder with the command in it, and stand-ins before everything else."""

    def __init__(self, **tools):
        self.folder = cli.fresh("mac")
        self.report = os.path.join(self.folder, "report.md")
        self.log = os.path.join(self.folder, "log")
        self.tools = os.path.join(self.folder, "bin")
        os.makedirs(self.tools)
        os.symlink(cli.PENSIEVE, os.path.join(self.folder, "pensieve"))
        for name, body in tools.items():
            path = os.path.join(self.tools, name.replace("_bench", "-bench"))
            with open(path, "w") as file:
                file.write("#!/bin/sh\n" + body + "\n")
            os.chmod(path, 0o755)

    def run(self, *arguments):
        env = cli.environment(PATH=self.tools + os.pathsep + os.environ["PATH"], LOG=self.log)
        done = subprocess.run([sys.executable, SCRIPT, "--build", self.folder, "--report", self.report, *arguments], env=env,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=cli.HANG)
        return cli.Result(done.returncode, done.stdout, done.stderr)

    def text(self):
        with open(self.report) as file:
            return file.read()


def test_a_system_without_a_mac_runs_what_it_can():
    if sys.platform == "darwin":
        raise cli.Skip("this is a Mac")
    place = Place(ctest=CTEST)
    exits(place.run("--only", "system,devices,core,metal,bench", "--quick"), 0)
    report = place.text()
    contains(report, "This is no Mac", "report")
    contains(report, "| core | passed | 1 passed, 0 failed, 1 skipped |", "report")
    contains(report, "| metal | skipped | no Metal: ", "report")
    contains(report, '"schema": "pensieve.devices/1"', "report")
    contains(report, "| pensieve cpu | ", "report")
    equal(open(place.log).read().count("-L"), 1, "runs of the tests")


def test_a_failing_test_is_reported_with_its_words():
    place = Place(ctest=FAILING)
    exits(place.run("--only", "core,devices"), 1)
    report = place.text()
    contains(report, "| core | failed | 1 passed, 1 failed, 1 skipped |", "report")
    contains(report, "unit.test_parts", "report")
    contains(report, "by nought", "report")
    contains(report, "| devices | done |", "report")


def test_no_test_at_all_is_a_failure():
    place = Place(ctest="echo nothing")
    exits(place.run("--only", "core"), 1)
    contains(place.text(), "| core | failed | no test ran |", "report")


def test_a_peer_takes_turns():
    row = '{"n_prompt": %d, "n_gen": %d, "avg_ts": 2.0}'
    place = Place(llama_bench=f"echo run >>$LOG; echo '{row % (32, 0)}'; echo '{row % (0, 8)}'")
    exits(place.run("--only", "bench", "--quick"), 0)
    report = place.text()
    contains(report, "| llama.cpp | 2.0 | ", "report")
    contains(report, "beside llama.cpp", "report")
    equal(open(place.log).read(), "run\n", "rounds")


def test_a_peer_that_breaks_is_no_failure_of_ours():
    place = Place(llama_bench="echo no such model; exit 3")
    exits(place.run("--only", "bench", "--quick"), 0)
    contains(place.text(), "no such model", "report")


def test_a_mac_is_described_and_what_is_missing_named():
    place = Place(**MAC)
    exits(place.run("--only", "system,tools,build"), 3)
    report = place.text()
    contains(report, "machdep.cpu.brand_string: Apple M9", "report")
    contains(report, "Total Number of Cores: 10", "report")
    lacks(report, "SECRET", "report")
    contains(report, "missing: cmocka; to install: brew install cmocka", "report")
    lacks(report, "| build |", "report")


def test_a_mac_without_homebrew_or_tools_is_told_both_ways():
    tools = {name: body for name, body in MAC.items() if name != "brew"}
    place = Place(**tools)
    exits(place.run("--only", "tools"), 3)
    contains(place.text(), "brew install cmocka (Homebrew) or sudo port install cmocka (MacPorts)", "report")
    place = Place(**{**tools, "xcode-select": "exit 2"})
    exits(place.run("--only", "tools"), 3)
    contains(place.text(), "xcode-select --install", "report")


def test_tests_that_do_not_compile_do_not_end_the_check():
    place = Place(cmake="""echo "$*" >>"$LOG"
case $* in *--target*) echo 'a.c:1: warning: new'; exit 0 ;; --build*) echo 'b.c:2: error: unknown'; exit 1 ;; esac""")
    exits(place.run("--only", "build,devices"), 1)
    report = place.text()
    contains(report, "| build | failed | not all tests compile; ", "report")
    contains(report, "1 warnings", "report")
    contains(report, "b.c:2: error: unknown", "report")
    contains(report, "| devices | done |", "report")
    contains(open(place.log).read(), "-DPENSIEVE_WERROR=OFF", "cmake's arguments")


def test_a_model_that_does_not_fit_is_no_failure():
    place = Place(llama_bench="echo too large; exit 5")
    exits(place.run("--only", "bench", "--quick"), 0)
    contains(place.text(), "llama.cpp: too large", "report")


def test_what_needs_metal_is_left_out_by_name():
    place = Place()
    exits(place.run("--only", "layer,extras"), 0)
    for step in ("layer", "extras"):
        contains(place.text(), f"| {step} | skipped | no Metal: ", "report")


def test_the_report_names_neither_machine_nor_user():
    place = Place()
    place.run("--only", "system,devices")
    if len(os.uname().nodename) > 2:
        lacks(place.text(), os.uname().nodename, "report")
    lacks(place.text(), cli.folder, "report")


def test_an_unknown_step_is_bad_usage():
    exits(Place().run("--only", "dance"), 2, "dance")


cli.main(globals())
