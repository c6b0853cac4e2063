#!/usr/bin/env python3
"""A chat on a terminal, through a pseudo-terminal: lines, commands, Ctrl-C, Ctrl-D."""
import fcntl
import os
import pty
import re
import select
import subprocess
import termios

import cli
from cli import check, contains, environment, equal, lacks, tiny

PROMPT = ">>> "


class Chat:
    """The command on a terminal of its own. What it writes is collected; expect() waits for a text and takes all up to it."""

    def __init__(self, *arguments, **env):
        self.master, slave = pty.openpty()
        env.setdefault("TERM", "xterm")
        self.process = subprocess.Popen([cli.PENSIEVE, "run", *map(str, arguments)], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                        env=environment(**env), preexec_fn=take_terminal)
        cli.started.append(self.process)
        self.name = os.ttyname(slave)
        os.close(slave)
        self.seen = ""

    def read(self):
        ready, _, _ = select.select([self.master], [], [], cli.HANG)
        check(ready, f"nothing comes; seen: {self.seen!r}")
        try:
            part = os.read(self.master, 65536)
        except OSError:
            part = b""
        self.seen += part.decode("utf-8", "replace")
        return bool(part)

    def expect(self, text):
        while text not in self.seen:
            if not self.read():
                raise AssertionError(f"it ended before {text!r}; seen: {self.seen!r}")
        before, self.seen = self.seen.split(text, 1)
        return before

    def send(self, text):
        os.write(self.master, text.encode())

    def answer_to(self, line):
        """What stands between a line sent at a prompt and the next prompt."""
        self.send(line + "\r")
        return self.expect(PROMPT)

    def ends(self, code):
        while self.read():
            pass
        equal(self.process.wait(timeout=cli.HANG), code, f"exit code; seen: {self.seen!r}")
        os.close(self.master)


def take_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def long_answers():
    return Chat(cli.long_context(1_000_000, "chat.gguf"), "--ctx", "200000", "--ignore-eos", "--verbose")


def test_turns_and_leaving_with_ctrl_d():
    chat = Chat(tiny(), "-n", "16", "--verbose", "-s", "1", "--temp", "2")
    start = chat.expect(PROMPT)
    contains(start, "memory:")
    contains(start, "/help")
    first = chat.answer_to("Hello")
    contains(first, "23 prompt tokens (0 from the cache)")
    contains(first, "--max-tokens")
    second = chat.answer_to("And now a longer line than the one before it")
    # the first turn fills a page, which is found again
    contains(second, "(32 from the cache)")
    chat.send("\x04")
    chat.ends(0)


def test_commands():
    chat = Chat(tiny(), "-n", "4", "-v")
    chat.expect(PROMPT)
    contains(chat.answer_to("/help"), "/clear")
    contains(chat.answer_to("/dance"), "'/dance'")
    tokens = lambda text: int(re.search(r"(\d+) prompt tokens", text).group(1))
    first = tokens(chat.answer_to("Hello"))
    check(tokens(chat.answer_to("Hello")) > first, "a second turn holds the first one")
    contains(chat.answer_to("/clear"), "new conversation")
    equal(tokens(chat.answer_to("Hello")), first, "after /clear")
    chat.send("/exit\r")
    chat.ends(0)


def test_bye_leaves():
    chat = Chat(tiny(), "-n", "4")
    chat.expect(PROMPT)
    chat.send("/bye\r")
    chat.ends(0)


def test_an_empty_line_is_no_turn():
    chat = Chat(tiny(), "-n", "4", "-v")
    chat.expect(PROMPT)
    lacks(chat.answer_to("   "), "prompt tokens")
    chat.send("\x04")
    chat.ends(0)


def test_a_message_of_several_lines():
    chat = Chat(tiny(), "-n", "2", "-v")
    chat.expect(PROMPT)
    chat.send('"""one\r')
    chat.expect("... ")
    chat.send("two\r")
    chat.expect("... ")
    chat.send('three"""\r')
    contains(chat.expect(PROMPT), f"{len('user: one' + chr(10) + 'two' + chr(10) + 'three') + 1 + len('assistant: ')} prompt tokens")
    chat.send("\x04")
    chat.ends(0)


def test_ctrl_c_ends_the_answer_and_not_the_program():
    chat = long_answers()
    chat.expect(PROMPT)
    for _ in range(3):
        chat.send("Hello\r")
        chat.expect("Hello\r\n")
        while len(chat.seen) < 20:  # the answer has begun
            chat.read()
        chat.send("\x03")
        contains(chat.expect(PROMPT), "stopped")
        check(chat.process.poll() is None, "it left")
    contains(chat.answer_to("/help"), "/clear")
    chat.send("/exit\r")
    chat.ends(0)


def test_ctrl_c_twice_at_an_empty_prompt_leaves():
    chat = Chat(tiny(), "-n", "2")
    chat.expect(PROMPT)
    chat.send("\x03")
    contains(chat.expect(PROMPT), "Ctrl-C again or Ctrl-D leaves")
    chat.answer_to("Hello")  # a turn between them: the next one is the first again
    chat.send("\x03")
    contains(chat.expect(PROMPT), "Ctrl-C again or Ctrl-D leaves")
    chat.send("\x03")
    chat.ends(0)


def has_line_editing():
    return b"libedit" in open(cli.PENSIEVE, "rb").read()


def test_ctrl_c_discards_a_line():
    if not has_line_editing():
        raise cli.Skip("built without libedit")
    chat = Chat(tiny(), "-n", "2", "-v")
    chat.expect(PROMPT)
    chat.send("never sent\x03")
    lacks(chat.expect(PROMPT), "Ctrl-C again")
    lacks(chat.answer_to(""), "prompt tokens")
    chat.send("\x04")
    chat.ends(0)


def test_what_is_typed_arrives_without_a_locale():
    chat = Chat(tiny(), "-n", "2", "-v", LC_ALL="C")
    chat.expect(PROMPT)
    text = "Grüße, 東京"
    contains(chat.answer_to(text), f"{len(f'user: {text}'.encode()) + 1 + len('assistant: ')} prompt tokens")
    chat.send("\x04")
    chat.ends(0)


def test_earlier_lines_are_found_again():
    if not has_line_editing():
        raise cli.Skip("built without libedit")
    chat = Chat(tiny(), "-n", "2", "-v")
    chat.expect(PROMPT)
    chat.answer_to("Hello")
    chat.answer_to("/clear")
    chat.send("\x1b[A\x1b[A\r")  # up, up; each draws the line anew, with its prompt
    contains(chat.expect(" prompt tokens"), f"pensieve: {len('user: Hello') + 1 + len('assistant: ')}")
    chat.expect(PROMPT)
    chat.send("\x04")
    chat.ends(0)


def test_a_turn_that_does_not_fit_leaves_the_chat_as_it_was():
    chat = Chat(tiny(), "-n", "2", "-v", "-c", "64")
    chat.expect(PROMPT)
    contains(chat.answer_to("x" * 100), "context")
    contains(chat.answer_to("Hello"), f"{len('user: Hello') + 1 + len('assistant: ')} prompt tokens")
    chat.send("\x04")
    chat.ends(0)


def test_the_system_message_stays():
    chat = Chat(tiny(), "-n", "2", "-v", "--system", "Be brief")
    chat.expect(PROMPT)
    wanted = f"{len('system: Be brief') + 1 + len('user: Hello') + 1 + len('assistant: ')} prompt tokens"
    contains(chat.answer_to("Hello"), wanted)
    chat.answer_to("/clear")
    contains(chat.answer_to("Hello"), wanted)
    chat.send("\x04")
    chat.ends(0)


def test_colors():
    for env, colored in [({}, True), ({"NO_COLOR": "1"}, False)]:
        chat = Chat(tiny(), "-n", "2", **env)
        equal("\x1b[1m" in chat.expect(PROMPT), colored, str(env))
        chat.send("\x04")
        chat.ends(0)


def test_the_terminal_gets_its_mode_back():
    for way in ["\x04", "kill"]:
        chat = Chat(tiny(), "-n", "2")
        slave = os.open(chat.name, os.O_RDWR | os.O_NOCTTY)
        chat.expect(PROMPT)
        if way == "kill":
            chat.process.terminate()
        else:
            chat.send(way)
        equal(chat.process.wait(timeout=cli.HANG), -15 if way == "kill" else 0)
        flags = termios.tcgetattr(slave)[3]
        for name in ("ICANON", "ECHO", "ISIG"):
            check(flags & getattr(termios, name), f"{name} is off after {way!r}")
        os.close(slave)
        os.close(chat.master)


def test_what_a_chat_does_not_take():
    for option in (["--json"], ["--raw"], ["--logits", "x"]):
        chat = Chat(tiny(), *option)
        chat.ends(2)


cli.main(globals())
