#!/usr/bin/env python3
"""Pairs `pensieve bench` with llama.cpp's `llama-bench`: same files, same threads, same run, taking turns (A B A B).

For every model and thread count each program runs once per round; a figure is the median over the rounds, and so is the ratio of the
rounds' pairs, which noise from outside hits alike. Beside decode stands its limit: the bytes of weights and cache that a token must
read over the best memory bandwidth measured between the rounds (a small model partly stays in the caches and may pass it).

usage: bench/compare.py --pensieve build/pensieve --llama-bench PATH [--threads 1,2] [--rounds 5] [--out FILE.jsonl] MODEL.gguf...
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys


def run_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    rows = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            name = row.get("test") or (f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}")
            rows[name] = row["avg_ts"]
    return rows


def memory_bandwidth(threads, seconds=0.4):
    """GB/s of comparing two buffers far larger than the caches, the best pass of each of as many processes as threads."""
    code = ("import ctypes,time\n"
            "libc=ctypes.CDLL(None)\n"
            "libc.memcmp.argtypes=[ctypes.c_void_p,ctypes.c_void_p,ctypes.c_size_t]\n"
            "n=192<<20\na,b=ctypes.create_string_buffer(n),ctypes.create_string_buffer(n)\nctypes.memset(a,1,n)\nctypes.memset(b,1,n)\n"
            f"end=time.time()+{seconds}\nbest=0\n"
            "while time.time()<end:\n    start=time.time()\n    libc.memcmp(a,b,n)\n    best=max(best,2*n/(time.time()-start)/1e9)\n"
            "print(best)\n")
    procs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(threads)]
    return sum(float(p.communicate()[0]) for p in procs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pensieve", required=True)
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=128)
    parser.add_argument("--out")
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    print(f"{cpu}, {os.cpu_count()} processors; medians of {options.rounds} rounds, tokens/s\n")
    print("| model | threads | test | pensieve | llama.cpp | ratio | limit | of limit |")
    print("|---|--:|---|--:|--:|--:|--:|--:|")
    for model in options.models:
        for threads in options.threads.split(","):
            ours, theirs, bandwidth = [], [], []
            common = ["-m", model, "-t", threads, "-p", str(options.p), "-n", str(options.n), "-r", "1", "-o", "jsonl"]
            for _ in range(options.rounds):
                bandwidth.append(memory_bandwidth(int(threads)))
                ours.append(run_json([options.pensieve, "bench"] + common))
                theirs.append(run_json([options.llama_bench] + common))
            for test in ours[0]:
                a, b = [r[test] for r in ours], [r[test] for r in theirs]
                ratio = statistics.median(x / y for x, y in zip(a, b))
                limit = max(bandwidth) * 1e9 / os.path.getsize(model) if test.startswith("tg") else None
                row = {"model": os.path.basename(model), "threads": int(threads), "test": test, "pensieve": statistics.median(a),
                       "llama.cpp": statistics.median(b), "ratio": ratio, "samples": [a, b], "gb_s": max(bandwidth), "cpu": cpu}
                print(f"| {row['model']} | {threads} | {test} | {row['pensieve']:.1f} | {row['llama.cpp']:.1f} | {ratio:.2f} | "
                      + (f"{limit:.0f} | {100 * row['pensieve'] / limit:.0f} % |" if limit else "– | – |"), flush=True)
                if options.out:
                    with open(options.out, "a") as out:
                        out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
