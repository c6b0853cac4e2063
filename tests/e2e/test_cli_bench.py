#!/usr/bin/env python3
"""bench: the rows' names, fields and figures, in every format."""
import csv
import io
import math
import statistics

import cli
from cli import check, contains, equal, exits, lacks, run, tiny

NAMES = ["pp16", "pp33", "tg4", "pp8+tg3", "pp16 @ d64", "pp33 @ d64", "tg4 @ d64", "pp8+tg3 @ d64"]
TESTS = ["-p", "16,33", "-n", "4", "-pg", "8,3", "-d", "0,64", "-r", "3", "-q"]


def bench(*arguments):
    return exits(run("bench", tiny(), *arguments), 0)


def check_row(row, samples):
    equal(len(row["samples_ts"]), samples, "samples_ts")
    equal(len(row["samples_s"]), samples, "samples_s")
    near = lambda a, b: math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
    check(near(row["avg_ts"], statistics.mean(row["samples_ts"])), "avg_ts")
    # samples are printed with nine digits, which is all that is known of the differences between them
    spread = statistics.stdev(row["samples_ts"]) if samples > 1 else 0
    digits = 1e-8 * max(row["samples_ts"])
    check(math.isclose(row["stddev_ts"], spread, rel_tol=1e-6, abs_tol=digits), f"stddev_ts {row['stddev_ts']}, {spread}")
    check(near(row["median_ts"], statistics.median(row["samples_ts"])), "median_ts")
    check(near(row["avg_s"], statistics.mean(row["samples_s"])), "avg_s")
    check(all(s > 0 for s in row["samples_s"] + row["samples_ts"]), "a figure that is not above 0")


def test_json():
    found = bench(*TESTS, "-o", "json").json
    equal(found["schema"], "pensieve.bench/1")
    equal([r["test"] for r in found["rows"]], NAMES)
    for row in found["rows"]:
        check_row(row, 3)
        equal((row["model_n_params"], row["device"], row["model_type"].split()[0]), (92480, "cpu", "llama"))
    equal([(r["n_prompt"], r["n_gen"], r["n_depth"]) for r in found["rows"]][4:], [(16, 0, 64), (33, 0, 64), (0, 4, 64), (8, 3, 64)])


def test_rates_count_the_tokens_that_ran():
    for row in bench("-p", "32", "-n", "8", "-pg", "16,4", "-r", "2", "-q", "--json").json["rows"]:
        for seconds, rate in zip(row["samples_s"], row["samples_ts"]):
            check(math.isclose(seconds * rate, row["n_prompt"] + row["n_gen"], rel_tol=1e-6), f"{row['test']}: {seconds * rate} tokens")


def test_a_depth_is_not_computed_again():
    # 70 tokens: two pages of 32 are found again, the 6 beyond them run with the prompt and are counted
    for row in bench("-p", "32", "-n", "0", "-d", "64,70", "-r", "3", "-q", "--json").json["rows"]:
        for seconds, rate in zip(row["samples_s"], row["samples_ts"]):
            check(math.isclose(seconds * rate, 32 + row["n_depth"] % 32, rel_tol=1e-6), f"{row['test']}: {seconds * rate} tokens")


def test_jsonl_is_an_object_a_line():
    lines = bench(*TESTS, "-o", "jsonl").lines
    equal([l["test"] for l in lines], NAMES)
    for line in lines:
        equal(line["schema"], "pensieve.bench/1")
        check_row(line, 3)


def test_csv():
    rows = list(csv.DictReader(io.StringIO(bench(*TESTS, "-o", "csv").out)))
    equal([r["test"] for r in rows], NAMES)
    check(all(float(r["avg_ts"]) > 0 for r in rows), "avg_ts")


def test_md_has_llama_benchs_columns():
    lines = bench(*TESTS).out.splitlines()
    equal([c.strip() for c in lines[0].strip("|").split("|")], ["model", "size", "params", "backend", "threads", "test", "t/s"])
    equal([l.split("|")[6].strip() for l in lines[2:]], NAMES)
    check(all(len(l) == len(lines[0]) for l in lines), "the columns do not align")
    check(all("±" in l for l in lines[2:]), "±")


def test_rows_tell_what_the_kv_cache_held():
    small = ["-p", "8", "-n", "0", "-r", "1", "-q"]
    for more, held in (([], "f16"), (["--kv", "8bit"], "8bit"), (["--kv", "4bit"], "4bit")):
        equal(bench(*small, *more, "-o", "jsonl").lines[0]["kv"], held)
        equal(next(csv.DictReader(io.StringIO(bench(*small, *more, "-o", "csv").out)))["kv"], held)
    lines = bench(*small, "--kv", "4bit").out.splitlines()
    equal([l.split("|")[6].strip() for l in lines], ["kv", "---:", "4bit"])
    check(all(len(l) == len(lines[0]) for l in lines), "the columns do not align")


def test_thread_counts_are_measured_each():
    rows = bench("-p", "8", "-n", "2", "-t", "1,2", "-r", "1", "-o", "jsonl", "-q").lines
    equal([(r["n_threads"], r["test"]) for r in rows], [(1, "pp8"), (1, "tg2"), (2, "pp8"), (2, "tg2")])
    check_row(rows[0], 1)


def test_pairs_alone_are_measured_alone():
    equal([r["test"] for r in bench("-pg", "8,2", "-pg", "16,2", "-r", "1", "--json").json["rows"]], ["pp8+tg2", "pp16+tg2"])


def test_stdout_carries_the_table_alone():
    result = bench("-p", "8", "-n", "0", "-r", "1")
    contains(result.err, "memory:")
    lacks(result.out, "memory:")


def test_misuse():
    exits(run("bench", tiny(), "-p", "0", "-n", "0"), 2, "nothing to measure")
    result = exits(run("bench", tiny(), "-p", "600", "-n", "0", "-o", "json"), 2, "601", "512")
    equal(result.json["error"]["status"], "INVALID_ARGUMENT")
    exits(run("bench", "nothing.gguf"), 3)


cli.main(globals())
