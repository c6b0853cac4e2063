#!/usr/bin/env python3
"""quickstart.sh with stand-ins for what would change the machine: package tools, CMake, the download."""
import os
import re
import shutil
import subprocess

import cli
from cli import check, contains, equal, exits

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")

# Each writes its name and arguments to the log. CMake makes the command, which shows its arguments.
TOOLS = {
    "uname": "echo Linux",
    "id": "echo $STAND_IN_ID",
    "sudo": "exit $STAND_IN_SUDO",
    "apt-get": "echo apt-get says much; exit $STAND_IN_APT",
    "dpkg-query": '[ "$STAND_IN_MISSING" = no ] && echo "install ok installed"',
    "cmake": """[ "$STAND_IN_BUILD" = 0 ] || { echo the compiler is unhappy; exit 1; }
mkdir -p build
case $1 in
-S) echo "CMAKE_HOME_DIRECTORY:INTERNAL=$(pwd -P)" >build/CMakeCache.txt; touch build/build.ninja ;;
--build) printf '#!/bin/sh\\nprintf "%%s\\\\n" "$@"\\n' >build/pensieve; chmod +x build/pensieve ;;
esac""",
}


class Sources:
    """A copy of the script in a folder of its own; run() runs it."""

    def __init__(self):
        self.folder = cli.fresh("sources")
        self.log = self.folder + ".log"
        self.tools = self.folder + ".bin"
        os.makedirs(os.path.join(self.folder, "scripts"))
        os.makedirs(self.tools)
        shutil.copy(os.path.join(ROOT, "quickstart.sh"), self.folder)
        self.write(os.path.join(self.folder, "scripts", "fetch-model"), 'echo "fetch-model $PENSIEVE" >>"$LOG"; echo /a/model')
        for name, body in TOOLS.items():
            self.write(os.path.join(self.tools, name), f'echo "{name} $*" >>"$LOG"\n{body}')

    def write(self, path, body):
        with open(path, "w") as out:
            out.write("#!/bin/sh\n" + body + "\n")
        os.chmod(path, 0o755)

    def run(self, *arguments, missing="yes", user=0, sudo=1, apt=0, build=0):
        open(self.log, "w").close()
        env = cli.environment(LOG=self.log, PATH=self.tools + os.pathsep + os.environ["PATH"], STAND_IN_ID=user, STAND_IN_SUDO=sudo, STAND_IN_APT=apt,
                              STAND_IN_BUILD=build, STAND_IN_MISSING=missing)
        done = subprocess.run(["bash", os.path.join(self.folder, "quickstart.sh"), *arguments], capture_output=True, text=True, env=env,
                              stdin=subprocess.DEVNULL, timeout=cli.HANG)
        return cli.Result(done.returncode, done.stdout, done.stderr)

    def calls(self, name):
        return [line for line in open(self.log).read().splitlines() if line.split(" ")[0] == name]


def packages():
    text = open(os.path.join(ROOT, "quickstart.sh")).read()
    names = re.search(r"apt_packages=\(([^)]*)\)", text).group(1).split()
    check(len(names) > 10, names)
    return " ".join(names)


def test_who_may_not_install_gets_the_command_and_3():
    sources = Sources()
    result = exits(sources.run(user=1000), 3, f"sudo apt-get update && sudo apt-get install -y --no-install-recommends {packages()}\n")
    equal((result.out, sources.calls("apt-get"), sources.calls("cmake")), ("", [], []))


def test_root_installs_what_is_missing():
    sources = Sources()
    result = exits(sources.run(), 0, f"installing {packages()}")
    quiet = "apt-get -qq -o Dpkg::Use-Pty=0"
    equal(sources.calls("apt-get"), [f"{quiet} update", f"{quiet} install -y --no-install-recommends {packages()}"])
    equal(sources.calls("fetch-model"), ["fetch-model build/pensieve"])
    cli.lacks(result.err, "apt-get says much")


def test_packages_that_cannot_be_installed_exit_3():
    sources = Sources()
    exits(sources.run(apt=100), 3, "apt-get says much", "could not be installed")
    equal(sources.calls("cmake"), [])


def test_a_build_that_fails_exits_1():
    exits(Sources().run(missing="no", build=1), 1, "the compiler is unhappy", "the build failed")


def test_a_folder_that_cannot_be_written_exits_3():
    sources = Sources()
    open(os.path.join(sources.folder, "build"), "w").close()
    exits(sources.run(missing="no"), 3, os.path.join(sources.folder, "build"), "cannot be written")


def test_the_second_time_nothing_is_installed_or_configured():
    sources = Sources()
    exits(sources.run(missing="no"), 0)
    equal((len(sources.calls("cmake")), sources.calls("apt-get")), (2, []))
    exits(sources.run("Well?", user=1000), 0, "asking: Well?")
    equal((len(sources.calls("cmake")), sources.calls("dpkg-query")), (1, []))


def test_the_question_is_one_word_of_the_command():
    sources = Sources()
    for words in (["What is ice?"], ["What", "is", "ice?"]):
        equal(exits(sources.run(*words), 0).out.splitlines()[-2:], ["--", "What is ice?"])
    equal(exits(sources.run("--no option"), 0).out.splitlines()[-2:], ["--", "--no option"])
    contains(exits(sources.run(), 0).out, "sky")


def test_help():
    sources = Sources()
    equal(exits(sources.run("--help"), 0).out.splitlines()[0], './quickstart.sh ["a question"]')
    equal(open(sources.log).read(), "")


def test_sources_that_were_moved_are_configured_anew():
    sources = Sources()
    exits(sources.run(), 0)
    os.rename(sources.folder, sources.folder + "-moved")
    sources.folder += "-moved"
    exits(sources.run(), 0)
    contains(sources.calls("cmake")[0], "-G Ninja -DCMAKE_BUILD_TYPE=Release -DPENSIEVE_TESTS=OFF")


def test_half_a_configuration_is_done_anew():
    sources = Sources()
    exits(sources.run(), 0)
    os.remove(os.path.join(sources.folder, "build", "build.ninja"))  # CMake writes it at its end
    exits(sources.run(), 0)
    contains(sources.calls("cmake")[0], "-DPENSIEVE_TESTS=OFF")


if shutil.which("bash"):
    cli.main(globals())
else:
    print("1..1\nok 1 - quickstart # SKIP bash is missing")
