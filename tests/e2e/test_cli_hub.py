#!/usr/bin/env python3
"""pull, list, rm and org/name, against a small server on this machine that answers as the Hub does."""
import gzip
import hashlib
import http.server
import json
import os
import re
import signal
import threading

import cli
from cli import check, contains, environment, equal, exits, lacks, run, start, tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Big files (here all .gguf and .safetensors) are redirected to another port, as the Hub does."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *unused):
        pass

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.server.hub
        hub.requests.append((self.server.kind, self.command, self.path, self.headers.get("Authorization"), self.headers.get("Range")))
        if hub.refuse:
            self.answer(hub.refuse.pop(0), Retry_After="0")
        elif self.server.kind == "cdn":
            self.send_file(hub.files[self.path.rsplit("/", 1)[-1]])
        elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self.answer(401)
        elif self.path.startswith("/api/models/"):
            self.send_list()
        else:
            self.send_resolved()

    def send_list(self):
        hub = self.server.hub
        if self.path not in (f"/api/models/{hub.name}/revision/main", f"/api/models/{hub.name}/revision/{COMMIT}", f"/api/models/{hub.name}/revision/pr%2F1"):
            self.answer(404)
            return
        names = [{"rfilename": n, "size": 1} for n in hub.listed or hub.files]
        self.answer(200, json.dumps({"_id": "x", "sha": COMMIT, "siblings": names, "tags": ["a", None, 1.5e3, {"b": []}]}).encode())

    def send_resolved(self):
        hub = self.server.hub
        name = self.path.rsplit("/", 1)[-1]
        if self.path != f"/{hub.name}/resolve/{COMMIT}/{name}" or name not in hub.files:
            self.answer(404)
            return
        data = hub.files[name]
        if name.endswith((".gguf", ".safetensors")):
            etag = hub.etag or sha256(data)
            self.answer(302, b"moved", Location=f"{hub.cdn}/{name}", X_Repo_Commit=COMMIT, X_Linked_Etag=f'"{etag}"', X_Linked_Size=str(len(data)), ETag='"of-the-redirect"')
        else:
            packed = {"Content_Encoding": "gzip"} if hub.packed and data[:2] == b"\x1f\x8b" else {}
            self.answer(200, data, ETag=f'W/"{hashlib.sha1(data).hexdigest()}"', X_Repo_Commit=COMMIT, **packed)

    def send_file(self, data):
        hub = self.server.hub
        if hub.spoil:
            hub.spoil -= 1
            data = data[:50] + bytes([data[50] ^ 1]) + data[51:]
        start, wanted = 0, self.headers.get("Range")
        if wanted and not hub.ignore_range:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted).group(1))
            if start >= len(data):
                self.answer(416, Content_Range=f"bytes */{len(data)}")
                return
        part = data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if hub.breaks:
            hub.breaks -= 1
            self.wfile.write(part[:30000])
            self.wfile.flush()
            if hub.hold:
                hub.hold.wait(cli.HANG)
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(part)


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *unused):
        pass  # clients leave in the middle here


class Hub:
    def __init__(self, files, name="org/model", **more):
        self.files, self.name, self.requests = files, name, []
        self.listed = self.token = self.etag = self.hold = None
        self.refuse, self.spoil, self.breaks, self.ignore_range, self.packed = [], 0, 0, False, False
        self.__dict__.update(more)
        self.cache = cli.fresh("cache")
        self.servers = []
        for kind in ("hub", "cdn"):
            server = Server(("127.0.0.1", 0), Handler)
            server.hub, server.kind, server.daemon_threads = self, kind, True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            self.servers.append(server)
            setattr(self, kind, f"http://127.0.0.1:{server.server_address[1]}")

    def env(self, **more):
        return environment(HF_ENDPOINT=self.hub + "/", PENSIEVE_CACHE=self.cache, **more)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def folder(self, *parts):
        return os.path.join(self.cache, "hub", "models--" + self.name.replace("/", "--"), *parts)

    def ranges(self):
        return [r[4] for r in self.requests if r[0] == "cdn" and r[1] == "GET"]


def two_quants():
    return {"README.md": b"# a model\n", "m-Q8_0.gguf": open(tiny("Q8_0"), "rb").read(), "m-Q4_0.gguf": open(tiny("Q4_0"), "rb").read()}


def folder_files():
    return {n: open(os.path.join(tiny("dir"), n), "rb").read() for n in os.listdir(tiny("dir"))}


def without_curl():
    return "libcurl" in run("pull", "org/model", env=environment(HF_ENDPOINT="http://127.0.0.1:1", PENSIEVE_CACHE=cli.folder, HF_HUB_DOWNLOAD_TIMEOUT=1)).err


# ---- Fetching ----

def test_a_gguf_is_fetched_into_the_hubs_layout():
    with Hub(two_quants()) as hub:
        result = exits(run("pull", "org/model:Q8_0", env=hub.env()), 0)
        path = result.out.rstrip("\n")
        equal(path, hub.folder("snapshots", COMMIT, "m-Q8_0.gguf"))
        data = hub.files["m-Q8_0.gguf"]
        equal(open(path, "rb").read(), data)
        equal(os.readlink(path), f"../../blobs/{sha256(data)}")
        equal(os.listdir(hub.folder("blobs")), [sha256(data)])
        equal(open(hub.folder("refs", "main")).read(), COMMIT)
        check(os.path.exists(os.path.join(hub.cache, "hub", ".locks", "models--org--model", sha256(data) + ".lock")), "the lock")
        lacks(result.err, "\r", "progress where there is no terminal")


def test_without_a_quant_a_common_one_is_taken():
    with Hub(two_quants()) as hub:
        contains(exits(run("pull", "org/model", "--json", env=hub.env()), 0).json["path"], "m-Q4_0.gguf")


def test_a_folder_is_fetched_whole():
    files = dict(folder_files(), **{"README.md": b"x", "consolidated.safetensors": b"the same again", "onnx.bin": b"y"})
    with Hub(files) as hub:
        path = exits(run("pull", "org/model", env=hub.env()), 0).out.rstrip("\n")
        equal(sorted(os.listdir(path)), ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
        wanted = exits(run("run", tiny("dir"), "Hello", "-n", "8", "--json"), 0).lines[-1]["token_ids"]
        equal(exits(run("run", "org/model", "Hello", "-n", "8", "--json", env=hub.env()), 0).lines[-1]["token_ids"], wanted)


def test_run_fetches_once_and_then_needs_no_network():
    wanted = exits(run("run", tiny("Q8_0"), "Hello", "-n", "8"), 0).out
    with Hub(two_quants()) as hub:
        first = exits(run("run", "org/model:q8_0", "Hello", "-n", "8", env=hub.env()), 0, "fetching")
        equal(first.out, wanted)
        asked = len(hub.requests)
        equal(exits(run("run", "org/model:Q8_0", "Hello", "-n", "8", env=hub.env(HF_HUB_OFFLINE=1)), 0).out, wanted)
        exits(run("inspect", "org/model:Q8_0", env=hub.env()), 0)
        equal(len(hub.requests), asked, "requests")


def test_revisions():
    with Hub(two_quants()) as hub:
        exits(run("pull", f"org/model:Q8_0@{COMMIT}", env=hub.env()), 0)
        check(not os.path.exists(hub.folder("refs")), "a commit needs no reference")
        exits(run("pull", "org/model:Q8_0@pr/1", env=hub.env()), 0)
        equal(open(hub.folder("refs", "pr", "1")).read(), COMMIT)
        exits(run("pull", "org/model@nothing", env=hub.env()), 3, "nothing", "404")
        exits(run("inspect", "org/model:Q8_0@pr/1", env=hub.env(HF_HUB_OFFLINE=1)), 0)


def test_an_existing_path_wins():
    os.makedirs(os.path.join(cli.folder, "org"), exist_ok=True)
    link = os.path.join(cli.folder, "org", "model")
    os.symlink(tiny("Q8_0"), link)
    try:
        with Hub(two_quants()) as hub:
            exits(run("run", "org/model", "Hello", "-n", "2", env=hub.env(), cwd=cli.folder), 0)
            equal(hub.requests, [])
    finally:
        os.unlink(link)


# ---- What breaks ----

def test_a_broken_download_goes_on_where_it_stopped():
    with Hub(two_quants(), breaks=2) as hub:
        exits(run("pull", "org/model:Q8_0", env=hub.env()), 0)
        equal(hub.ranges(), [None, "bytes=30000-", "bytes=60000-"])
        equal(open(hub.folder("snapshots", COMMIT, "m-Q8_0.gguf"), "rb").read(), hub.files["m-Q8_0.gguf"])


def test_an_interrupted_download_goes_on_in_the_next_run():
    with Hub(two_quants(), breaks=1, hold=threading.Event()) as hub:
        process = start("pull", "org/model:Q8_0", env=hub.env())
        part = hub.folder("blobs", sha256(hub.files["m-Q8_0.gguf"]) + ".incomplete")
        while not (os.path.exists(part) and os.path.getsize(part) == 30000):
            check(process.poll() is None, "it ended")
        process.send_signal(signal.SIGINT)
        equal(process.wait(timeout=cli.HANG), 130)
        process.communicate()
        hub.hold.set()
        exits(run("inspect", "org/model:Q8_0", env=hub.env(HF_HUB_OFFLINE=1)), 3)
        exits(run("pull", "org/model:Q8_0", env=hub.env()), 0)
        equal(hub.ranges(), [None, "bytes=30000-"])
        equal(os.listdir(hub.folder("blobs")), [sha256(hub.files["m-Q8_0.gguf"])])


def leave_part(hub, content):
    part = hub.folder("blobs", sha256(hub.files["m-Q8_0.gguf"]) + ".incomplete")
    os.makedirs(os.path.dirname(part))
    with open(part, "wb") as out:
        out.write(content)


def test_what_an_earlier_run_left():
    data = two_quants()["m-Q8_0.gguf"]
    for left, ignore_range, ranges in [
        (data[:1000], False, ["bytes=1000-"]),
        (data[:1000], True, ["bytes=1000-"]),       # the server sends all of it: from the beginning then
        (data, False, []),                           # only the check was missing
        (data + b"more", False, [None]),
        (b"x" * 1000, False, ["bytes=1000-", None]), # another file's beginning: the check finds it
    ]:
        with Hub(two_quants(), ignore_range=ignore_range) as hub:
            leave_part(hub, left)
            path = exits(run("pull", "org/model:Q8_0", env=hub.env()), 0).out.rstrip("\n")
            equal(open(path, "rb").read(), data, f"{len(left)} bytes left")
            equal(hub.ranges(), ranges, f"{len(left)} bytes left")


def test_a_bad_file_is_thrown_away_and_fetched_again():
    with Hub(two_quants(), spoil=1) as hub:
        result = exits(run("pull", "org/model:Q8_0", env=hub.env()), 0, "SHA-256", "thrown away and fetched again")
        equal(open(result.out.rstrip("\n"), "rb").read(), hub.files["m-Q8_0.gguf"])
        equal(hub.ranges(), [None, None])


def test_a_file_that_stays_bad_is_refused():
    with Hub(two_quants(), spoil=99) as hub:
        result = exits(run("pull", "org/model:Q8_0", "--json", env=hub.env()), 4, sha256(hub.files["m-Q8_0.gguf"]))
        equal(result.json["error"]["status"], "BAD_FILE")
        equal(hub.ranges(), [None, None])
        equal(os.listdir(hub.folder("blobs")), [])
        equal(os.listdir(hub.folder("snapshots", COMMIT)), [])
        check(not os.path.exists(hub.folder("refs", "main")), "the reference")


def test_busy_servers_are_asked_again():
    with Hub(two_quants(), refuse=[503, 429, 500]) as hub:
        exits(run("pull", "org/model:Q8_0", env=hub.env()), 0)
        equal([r[:2] for r in hub.requests[:4]], [("hub", "GET")] * 4)


def test_what_the_server_does_not_have():
    with Hub(two_quants()) as hub:
        exits(run("pull", "org/other", env=hub.env()), 3, "org/other", "404")
        exits(run("pull", "org/model:Q2_K", env=hub.env()), 3, "Q2_K", "m-Q8_0.gguf")
        exits(run("run", "org/other", "Hello", env=hub.env()), 3)
    with Hub({"README.md": b"x"}) as hub:
        exits(run("pull", "org/model", env=hub.env()), 3, "neither")


def test_no_server():
    with Hub(two_quants()) as hub:
        env = hub.env(HF_HUB_DOWNLOAD_TIMEOUT=1)
    result = exits(run("pull", "org/model", "--json", env=env), 3, "org/model", "127.0.0.1")
    equal(result.json["error"]["status"], "NOT_FOUND")
    exits(run("pull", "org/model", env=dict(env, HF_ENDPOINT="ftp://127.0.0.1")), 3)


def test_offline():
    with Hub(two_quants()) as hub:
        for word in ("1", "true", "YES", "On"):
            exits(run("pull", "org/model:Q8_0", env=hub.env(HF_HUB_OFFLINE=word)), 3, "HF_HUB_OFFLINE")
        equal(hub.requests, [])


def test_no_room():
    if os.geteuid() != 0 or os.system("mkdir -p {0}/full && mount -t tmpfs -o size=64k none {0}/full 2>/dev/null".format(cli.folder)) != 0:
        raise cli.Skip("needs a small file system")
    try:
        with Hub(two_quants()) as hub:
            exits(run("pull", "org/model:Q8_0", env=dict(hub.env(), PENSIEVE_CACHE=f"{cli.folder}/full")), 1, "o space left")
    finally:
        os.system(f"umount {cli.folder}/full")


# ---- Servers that mean ill ----

# CVE-2024-37032 and CVE-2026-7020 (ollama): a name or a digest from the server became a path out of the cache.

def test_cve_2024_37032_names_that_lead_elsewhere_are_left_alone():
    data = open(tiny("Q8_0"), "rb").read()
    for name in ("../../evil.gguf", "/evil.gguf", "..", ".hidden.gguf", "a\\b.gguf", "a\nb.gguf"):
        with Hub({"m.gguf": data}, listed=[name]) as hub:
            exits(run("pull", "org/model", env=hub.env()), 3, "neither")
            equal([r[1:3] for r in hub.requests], [("GET", "/api/models/org/model/revision/main")])


def test_cve_2026_7020_etags_that_lead_elsewhere_are_refused():
    for etag in ("../../../evil", "a/b", ".x", "", "x" * 129):
        with Hub({"m.gguf": open(tiny("Q8_0"), "rb").read()}, etag=etag or " ") as hub:
            exits(run("pull", "org/model", env=hub.env()), 4, "ETag")
            equal(os.listdir(hub.folder("blobs")), [])


# CVE-2025-51471 (ollama): whoever the server named got the token.

def test_cve_2025_51471_the_token_goes_to_the_hub_alone():
    with Hub(two_quants(), token="secret-word") as hub:
        exits(run("pull", "org/model:Q8_0", env=hub.env()), 3, "HF_TOKEN", "401")
        hub.requests.clear()
        exits(run("pull", "org/model:Q8_0", env=hub.env(HF_TOKEN="secret-word")), 0)
        for kind, _, path, authorization, _ in hub.requests:
            equal(authorization, "Bearer secret-word" if kind == "hub" else None, path)
        check(any(r[0] == "cdn" for r in hub.requests), "the other server was asked")


def test_the_token_may_come_from_a_file():
    with Hub(two_quants(), token="from-a-file") as hub:
        path = os.path.join(cli.folder, "token")
        with open(path, "w") as out:
            out.write("from-a-file\n")
        exits(run("pull", "org/model:Q8_0", env=hub.env(HF_TOKEN_PATH=path)), 0)
        exits(run("pull", "org/model:Q4_0", env=hub.env(HF_HOME=cli.folder)), 0)
        exits(run("pull", "org/model:Q8_0@pr/1", env=hub.env(HF_TOKEN_PATH=path, HF_TOKEN="wrong")), 3, "401")


def test_a_token_is_one_line():
    with Hub(two_quants()) as hub:
        exits(run("pull", "org/model:Q8_0", env=hub.env(HF_TOKEN="good\r\nX-Evil: 1")), 0)
        equal({r[3] for r in hub.requests if r[0] == "hub"}, {"Bearer good"})


# CVE-2024-12886 (ollama): a small answer that unpacks to all memory.

def test_cve_2024_12886_what_is_packed_stays_packed():
    bomb = gzip.compress(bytes(64 << 20))
    with Hub({**folder_files(), "generation_config.json": bomb}, packed=True) as hub:
        exits(run("pull", "org/model", env=hub.env()), 0)
        sizes = [os.path.getsize(hub.folder("blobs", name)) for name in os.listdir(hub.folder("blobs"))]
        check(len(bomb) in sizes and max(sizes) < 16 << 20, sizes)


# ---- The cache ----

def test_list_and_rm():
    with Hub(two_quants()) as hub:
        exits(run("list", env=hub.env()), 0, "no models")
        exits(run("pull", "org/model:Q8_0", env=hub.env()), 0)
        exits(run("pull", "org/model:Q4_0", env=hub.env()), 0)
        os.makedirs(os.path.join(hub.cache, "models"))
        os.link(tiny("Q8_0"), os.path.join(hub.cache, "models", "own.gguf"))
        shown = exits(run("list", "--json", env=hub.env()), 0).json
        equal(shown["schema"], "pensieve.list/1")
        sizes = {n: len(d) for n, d in hub.files.items()}
        equal({m["name"]: m["bytes"] for m in shown["models"]},
              {"own.gguf": sizes["m-Q8_0.gguf"], "org/model": sizes["m-Q8_0.gguf"] + sizes["m-Q4_0.gguf"] + len(COMMIT)})
        contains(exits(run("list", env=hub.env()), 0).out, "org/model")

        exits(run("rm", "org/model:Q8_0", env=hub.env()), 0)
        equal(os.listdir(hub.folder("blobs")), [sha256(hub.files["m-Q4_0.gguf"])])
        exits(run("rm", "org/model:Q8_0", env=hub.env()), 3, "Q8_0")
        exits(run("rm", "org/model", env=hub.env()), 0)
        check(not os.path.exists(hub.folder()), "the folder is left")
        exits(run("rm", "own.gguf", env=hub.env()), 0)
        equal(exits(run("list", "--json", env=hub.env()), 0).json["models"], [])
        exits(run("rm", "org/model", env=hub.env()), 3, "org/model")
        for name in ("own.gguf", "../hub", "..", "."):
            exits(run("rm", name, env=hub.env()), 3)


def test_rm_follows_no_links():
    with Hub(two_quants()) as hub:
        exits(run("pull", "org/model:Q8_0", env=hub.env()), 0)
        outside = os.path.join(cli.folder, "outside.gguf")
        with open(outside, "wb") as out:
            out.write(b"stays")
        os.symlink(outside, hub.folder("snapshots", COMMIT, "link.gguf"))
        os.symlink(cli.folder, hub.folder("snapshots", COMMIT, "loop"))
        exits(run("rm", "org/model", env=hub.env()), 0)
        equal(open(outside, "rb").read(), b"stays")
        check(not os.path.exists(hub.folder()), "the folder is left")


def test_which_folder():
    with Hub(two_quants()) as hub:
        base = os.path.join(cli.folder, "which")
        for i, (env, wanted) in enumerate([
            ({"PENSIEVE_CACHE": "P", "HF_HUB_CACHE": "C"}, "P/hub"), ({"HF_HUB_CACHE": "C", "HF_HOME": "H"}, "C"), ({"HF_HOME": "H", "XDG_CACHE_HOME": "X"}, "H/hub"),
            ({"XDG_CACHE_HOME": "X"}, "X/pensieve/hub"),
        ]):
            env = {k: f"{base}/{i}/{v}" for k, v in env.items()}
            path = exits(run("pull", "org/model:Q8_0", env=environment(HF_ENDPOINT=hub.hub, **env)), 0).out
            equal(path.split("/models--")[0], f"{base}/{i}/{wanted}")


def test_what_other_programs_fetched_is_found():
    with Hub(two_quants()) as hub:
        home = os.path.join(cli.folder, "huggingface")
        exits(run("pull", "org/model:Q8_0", env=environment(HF_ENDPOINT=hub.hub, HF_HOME=home)), 0)
        exits(run("inspect", "org/model:Q8_0", env=environment(PENSIEVE_CACHE=hub.cache, HF_HOME=home, HF_HUB_OFFLINE=1)), 0)


def test_without_links():
    with Hub(two_quants()) as hub:
        path = exits(run("pull", "org/model:Q8_0", env=hub.env(HF_HUB_DISABLE_SYMLINKS=1)), 0).out.rstrip("\n")
        check(os.path.isfile(path) and not os.path.islink(path), "a file")
        equal(open(path, "rb").read(), hub.files["m-Q8_0.gguf"])


def test_names_that_are_none():
    for name in ("model", "a/b/c", "/a/b", "a/../b", "a//b", "a/b:", "a/b@", "a/b:Q4@../x", "-a/b", "a b/c", "a/b.gguf"):
        exits(run("pull", "--", name, env=environment(HF_HUB_OFFLINE=1)), 2, name)


if without_curl():
    print("1..1\nok 1 - the Hub # SKIP built without libcurl")
else:
    cli.main(globals())
