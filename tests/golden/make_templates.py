#!/usr/bin/env python3
"""What Python's jinja2 makes of chat templates, as the expected results of Pensieve's own.

    make_templates.py                 tests/golden/templates/*.jinja and snippets.txt -> tests/golden/templates/expected.json,
                                      and what the fuzzer begins with: tests/fuzz/corpus/template
    make_templates.py FOLDER OUT      FOLDER/*.jinja -> OUT, for templates that are not in this repository

jinja2 is set up as Hugging Face's apply_chat_template sets it up. Each template is rendered in every conversation below.

The result: {"now": seconds, "sets": [variables, ...], "templates": [source, ...],
             "cases": [[template, set, "t", text] or [template, set, "e", message, is it raise_exception's], ...]}
"""
import datetime
import glob
import json
import os
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

JINJA_VERSION = "3.1.6"
NOW = 1700000000  # 14 November 2023, 22:13:20 UTC


compiled = {}


class Generation(jinja2.ext.Extension):
    """{% generation %} marks what the model wrote; the text itself goes through unchanged."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("unchanged"), [], [], body).set_lineno(line)

    def unchanged(self, caller):
        return caller()


class Raised(Exception):
    pass


def raise_exception(message):
    raise Raised(str(message))


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def strftime_now(form):
    return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None).strftime(form)


def make_environment():
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    return environment


def weather_tool():
    return {"type": "function", "function": {
        "name": "get_weather", "description": "Current weather in a city.\nNever guess.",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "e.g. \"Zürich\""},
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "days": {"type": ["integer", "null"], "minimum": 0, "maximum": 14}},
            "required": ["city"]},
        "return": {"type": "number", "description": "degrees"}}}


def add_tool():
    return {"type": "function", "function": {
        "name": "add", "description": "Adds.", "parameters": {
            "type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"},
                                             "list": {"type": "array", "items": {"type": "object", "properties": {}}}},
            "required": ["a", "b"]}}}


def call(name, arguments, identifier):
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def conversations():
    user = {"role": "user", "content": "Hello, how are you?"}
    system = {"role": "system", "content": "You are terse.\n"}
    answer = {"role": "assistant", "content": "  Fine, thanks.  "}
    more = {"role": "user", "content": "\n What is 2+2? <|im_end|> </s> [INST]"}
    ask = {"role": "user", "content": "Weather in Zürich, and 1+2?"}
    calls = {"role": "assistant", "content": "", "tool_calls": [
        call("get_weather", {"city": "Zürich", "days": 2, "exact": True, "x": None, "f": 1.5}, "callid001"),
        call("add", {"a": 1, "b": [2, {"c": "'q'"}]}, "callid002")]}
    one_call = {"role": "assistant", "content": None, "tool_calls": [call("add", {"a": 1, "b": 2.0}, "abcdefghi")]}
    text_call = {"role": "assistant", "tool_calls": [call("add", "{\"a\": 1, \"b\": 2}", "abcdefghi")]}
    results = [{"role": "tool", "tool_call_id": "callid001", "name": "get_weather", "content": "{\"degrees\": -3.5}"},
               {"role": "tool", "tool_call_id": "callid002", "name": "add", "content": "3"}]
    result = {"role": "tool", "tool_call_id": "abcdefghi", "name": "add", "content": "3"}
    thought = {"role": "assistant", "content": "<think>\nhm & hm\n</think>\n\n4", "reasoning_content": "two and two"}
    unicode = {"role": "user", "content": "日本語 🙂 ﬁ ß İ ς \u200b é \"q\" 'a' \\ \t end\u00a0"}
    parts = {"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image"},
                                         {"type": "text", "text": " what?"}]}
    both = [weather_tool(), add_tool()]
    talks = [
        ("user", [user], {"add_generation_prompt": True}),
        ("user, no prompt", [user], {"add_generation_prompt": False}),
        ("system", [system, user], {"add_generation_prompt": True}),
        ("turns", [system, user, answer, more], {"add_generation_prompt": True}),
        ("turns without system, complete", [user, answer, more, answer], {"add_generation_prompt": False}),
        ("tools offered", [system, ask], {"add_generation_prompt": True, "tools": both}),
        ("tool calls", [system, ask, calls] + results + [answer, more], {"add_generation_prompt": True, "tools": both}),
        ("one tool call", [ask, one_call, result], {"add_generation_prompt": True, "tools": [add_tool()]}),
        ("one tool call as text", [ask, text_call, result, answer],
         {"add_generation_prompt": False, "tools": [add_tool()]}),
        ("reasoning", [user, thought, more], {"add_generation_prompt": True, "enable_thinking": False}),
        ("reasoning, complete", [system, user, thought, more, thought],
         {"add_generation_prompt": False, "enable_thinking": True}),
        ("unicode", [{"role": "system", "content": "Ünïcode ✓"}, unicode, dict(answer, content="→ 好"), unicode],
         {"add_generation_prompt": True}),
        ("parts", [parts, answer, parts], {"add_generation_prompt": True}),
        ("wrong order", [answer, user, user, system], {"add_generation_prompt": True}),
        ("developer", [{"role": "developer", "content": "Be kind."}, user], {"add_generation_prompt": True, "documents": [
            {"title": "T", "text": "A document."}]}),
        ("nothing", [], {"add_generation_prompt": True}),
    ]
    sets = []
    for _, messages, extra in talks:
        variables = {"messages": messages, "tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>",
                     "pad_token": "<pad>", "unk_token": "<unk>"}
        variables.update(extra)
        sets.append(variables)
    return sets


def plain_values():
    """Variables of the snippets."""
    people = [{"name": "Ann", "age": 30, "city": {"n": "Rome"}}, {"name": "bob", "age": 25, "city": {"n": "Oslo"}},
              {"name": "Cy", "age": 30, "city": {"n": "rome"}}, {"name": "Di", "city": {}}]
    return {"none_value": None, "yes": True, "no": False, "zero": 0, "seven": 7, "minus": -7, "big": 9007199254740993,
            "half": 0.5, "tiny": 1e-7, "huge": 1e22, "third": 1 / 3, "e16": 1e16, "text": "Hello World", "empty": "",
            "blank": " \t x \n ", "quote": "it's \"so\"", "uni": "Straße ﬁ İ ΟΔΟΣ 日本 🙂", "lines": "a\nb\r\nc\n\nd",
            "num": "42", "numf": " 4.5e1 ", "list": [3, 1, 2], "words": ["b", "A", "c", "a"],
            "nested": [[1, [2, {"k": "v"}]], []], "mixed": [1, "1", 1.0, None, True], "d": {"b": 2, "a": 1, "C": 3},
            "dd": {"items": "shadow", "x": {"y": {"z": "deep"}}, "": "empty key"}, "people": people,
            "bigint": 123456789012345678901234567890, "messages": [{"role": "user", "content": "hi"}],
            "control": "\u0001\u007f\u0085\u2028"}


def run(environment, source, variables):
    try:
        if source not in compiled:
            compiled[source] = environment.from_string(source)
        text = compiled[source].render(**json.loads(json.dumps(variables)))
        text.encode("utf-8")
        return ["t", text]
    except Raised as raised:
        return ["e", str(raised), True]
    except Exception as error:  # whatever Python raises is an error here too
        return ["e", type(error).__name__ + ": " + str(error)[:200], False]


def read_snippets(path):
    """Snippets are separated by lines that hold only "----"."""
    with open(path, encoding="utf-8", newline="") as file:
        return file.read().split("\n----\n")


def write_corpus(folder, here, snippets, variables):
    os.makedirs(folder, exist_ok=True)
    seeds = {os.path.basename(path)[:-6]: open(path, "rb").read() for path in glob.glob(os.path.join(here, "*.jinja"))}
    values = json.dumps(variables, ensure_ascii=False).encode()
    for number in range(0, len(snippets), 25):
        seeds[f"snippet-{number:04}"] = snippets[number].encode() + (b"\0" + values if number % 100 == 0 else b"")
    for name, data in seeds.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)


def main():
    if jinja2.__version__ != JINJA_VERSION:
        sys.exit(f"make_templates.py: jinja2 {jinja2.__version__}, expected {JINJA_VERSION}")
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")
    folder, out = (sys.argv[1], sys.argv[2]) if len(sys.argv) == 3 else (here, os.path.join(here, "expected.json"))
    environment = make_environment()
    sets = conversations()
    templates, cases = [], []
    for path in sorted(glob.glob(os.path.join(folder, "*.jinja"))):
        with open(path, encoding="utf-8", newline="") as file:
            source = file.read()
        templates.append(source)
        for number, variables in enumerate(sets):
            cases.append([len(templates) - 1, number] + run(environment, source, variables))
    if folder == here:
        sets.append(plain_values())
        snippets = read_snippets(os.path.join(here, "snippets.txt"))
        write_corpus(os.path.join(here, "..", "..", "fuzz", "corpus", "template"), here, snippets, sets[-1])
        for source in snippets:
            templates.append(source)
            cases.append([len(templates) - 1, len(sets) - 1] + run(environment, source, sets[-1]))
    with open(out, "w", encoding="utf-8") as file:
        file.write('{"now": %d,\n"sets": [\n' % NOW)
        file.write(",\n".join(json.dumps(variables, ensure_ascii=False) for variables in sets))
        file.write('],\n"templates": [\n')
        file.write(",\n".join(json.dumps(source, ensure_ascii=False) for source in templates))
        file.write('],\n"cases": [\n')
        file.write(",\n".join(json.dumps(case, ensure_ascii=False) for case in cases))
        file.write("]}\n")
    texts = sum(case[2] == "t" for case in cases)
    print(f"{len(templates)} templates, {len(cases)} cases: {texts} texts, {len(cases) - texts} errors")


if __name__ == "__main__":
    main()
