#!/usr/bin/env python3
"""Instructions to encode a step, counted by callgrind and held by a budget. usage: test_encoding.py PROGRAM

Counted is what the library itself executes inside of pv_metal_submit: what happens behind a message is the driver's.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

BUDGET = 400  # instructions a record, with everything that a step costs once


def self_cost(path, program):
    """Instructions of functions of the program's own object file."""
    names = {}
    total, mine, skip = 0, False, False
    with open(path) as lines:
        for line in lines:
            match = re.match(r"ob=\((\d+)\)(?: (.*))?$", line)
            if match:
                if match.group(2):
                    names[match.group(1)] = match.group(2).strip()
                mine = os.path.basename(names[match.group(1)]) == program
            elif line.startswith("calls="):
                skip = True
            elif re.match(r"cob=\((\d+)\) ", line):
                match = re.match(r"cob=\((\d+)\) (.*)$", line)
                names[match.group(1)] = match.group(2).strip()
            elif re.match(r"[+*-]?\d|\*", line):
                if skip:
                    skip = False
                elif mine:
                    total += int(line.split()[1])
    return total


def main():
    program = sys.argv[1]
    print("1..1")
    if shutil.which("valgrind") is None:
        print("ok 1 - instructions of a step # SKIP no valgrind (scripts/install-deps metal)")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "callgrind.out")
        command = ["valgrind", "--tool=callgrind", "--toggle-collect=pv_metal_submit", "--callgrind-out-file=" + out, program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500)
        found = re.search(r"# steps (\d+) records (\d+)", done.stdout)
        if done.returncode != 0 or found is None:
            print(done.stdout, done.stderr, sep="\n")
            print("not ok 1 - the program runs under valgrind")
            return 1
        steps, records = int(found.group(1)), int(found.group(2))
        cost = self_cost(out, os.path.basename(program))
    each = cost / steps / records
    print(f"# {cost // steps} instructions a step of {records} records, {each:.0f} each, at most {BUDGET}")
    good = 20 < each <= BUDGET
    print(("ok" if good else "not ok") + " 1 - instructions of a step")
    return 0 if good else 1


sys.exit(main())
