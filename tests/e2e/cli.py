"""What the tests of the command start from: running it, tiny models, TAP. Only Python's own library is used.

A test is a function whose name begins with test_; a script ends with cli.main(globals()). The command's path is the first argument.
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import traceback

PENSIEVE = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else ""
HANG = 120  # seconds: a guard, many times what anything here takes
folder = tempfile.mkdtemp(prefix="pensieve-cli-")

# Nothing of the caller's settings reaches the command.
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("PENSIEVE", "HF_", "XDG_", "NO_COLOR"))}
CLEAN["HOME"] = folder
# libedit keeps the names of functions that are added to it
with open(os.path.join(folder, "lsan"), "w") as suppressions:
    suppressions.write("leak:wcsdup\n")
CLEAN["LSAN_OPTIONS"] = f"suppressions={folder}/lsan:print_suppressions=0"


class Skip(Exception):
    pass


def objects(text):
    """One JSON object a line; str.splitlines would also break at U+0085 and its like."""
    check(text.endswith("\n"), "the last line has no end")
    return [json.loads(line) for line in text[:-1].split("\n")]


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return objects(self.out)


def environment(**extra):
    env = dict(CLEAN)
    env.update({k: str(v) for k, v in extra.items()})
    return env


def run(*arguments, input=b"", env=None, stdout=subprocess.PIPE, **more):
    """Runs the command to its end; out and err are text, undecodable bytes as surrogates."""
    done = subprocess.run([PENSIEVE, *map(str, arguments)], input=input, stdout=stdout, stderr=subprocess.PIPE,
                          env=env or environment(), timeout=HANG, **more)
    text = lambda b: (b or b"").decode("utf-8", "surrogateescape")
    return Result(done.returncode, text(done.stdout), text(done.stderr))


def start(*arguments, **more):
    more.setdefault("stdin", subprocess.DEVNULL)
    more.setdefault("env", environment())
    process = subprocess.Popen([PENSIEVE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, **more)
    started.append(process)
    return process


# ---- Assertions that say what they saw ----

def equal(found, wanted, what=""):
    if found != wanted:
        raise AssertionError(f"{what}: found {found!r}, wanted {wanted!r}")


def contains(text, part, what=""):
    if part not in text:
        raise AssertionError(f"{what}: {part!r} is not in {text!r}")


def lacks(text, part, what=""):
    if part in text:
        raise AssertionError(f"{what}: {part!r} is in {text!r}")


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def exits(result, code, *parts):
    """The exit code, and what standard error must say."""
    if result.code != code:
        raise AssertionError(f"exit code {result.code}, wanted {code}; stderr: {result.err!r}")
    for part in parts:
        contains(result.err, part, "stderr")
    return result


# ---- Models ----

made = {}
fresh_count = 0
started = []  # processes; those that a failed test left are ended with it


def tiny(layout="Q8_0", seed=0, shape="tiny"):
    """A synthetic model's path: .gguf, or a folder for "dir"."""
    key = (layout, seed, shape)
    if key not in made:
        path = os.path.join(folder, f"{shape}-{layout}-{seed}" + ("" if layout == "dir" else ".gguf"))
        exits(run("synth", "--shape", shape, "--layout", "F16" if layout == "dir" else layout, "--seed", seed, path), 0)
        made[key] = path
    return made[key]


def patched(source, name, *changes):
    """A copy with bytes replaced; each (old, new) must occur exactly once and keep its length."""
    data = open(source, "rb").read()
    for old, new in changes:
        check(data.count(old) == 1 and len(old) == len(new), f"{old!r} is there {data.count(old)} times")
        data = data.replace(old, new)
    path = os.path.join(folder, name)
    with open(path, "wb") as out:
        out.write(data)
    return path


def long_context(tokens, name):
    """A tiny model that says that it was trained for so many tokens (its own context is 512)."""
    key = b"llama.context_length" + struct.pack("<I", 4)
    return patched(tiny(), name, (key + struct.pack("<I", 512), key + struct.pack("<I", tokens)))


def fresh(name):
    """The path of something that is not there yet."""
    global fresh_count
    fresh_count += 1
    return os.path.join(folder, f"{name}-{fresh_count}")


# ---- TAP ----

def main(names):
    tests = [(name, f) for name, f in names.items() if name.startswith("test_") and callable(f)]
    only = sys.argv[-1] if len(sys.argv) > 2 and sys.argv[-1].startswith("test_") else None
    tests = [(n, f) for n, f in tests if only in (None, n)]
    failed = 0
    print(f"1..{len(tests)}")
    for number, (name, test) in enumerate(tests, 1):
        line = f"{number} - {name[5:]}"
        try:
            test()
            print("ok", line, flush=True)
        except Skip as reason:
            print("ok", line, "# SKIP", reason, flush=True)
        except Exception:
            failed += 1
            print("not ok", line, flush=True)
            for row in traceback.format_exc().splitlines()[-6:]:
                print("#", row.encode("utf-8", "backslashreplace").decode(), flush=True)
        while started:
            process = started.pop()
            if process.poll() is None:
                process.kill()
                process.wait()
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if failed else 0)
