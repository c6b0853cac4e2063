#!/usr/bin/env python3
"""Derives table.txt from Apple's metal-cpp headers: classes and protocols, their selectors, and the type encoding of each.

usage: make_table.py WHEEL|FOLDER [OUTPUT]

The headers travel in PyPI's mlx-metal wheels (pip download --no-deps --platform macosx_26_0_arm64 --only-binary=:all: mlx-metal);
FOLDER is a metal_cpp folder out of one. metal-cpp is Apple's, Apache-2.0; what is derived here is names and types alone.

A line of the output is one of
  class NAME SUPER          SUPER is "-" where there is none; protocols and classes are not told apart, metal-cpp does not either
  + SELECTOR ENCODING       a method of the class itself, and
  - SELECTOR ENCODING       one of its instances; of the class named last
Encodings are Objective-C's without offsets: result, self, selector, arguments; BOOL is B, const is left out, and structs have no name
("?"), as those of Metal have none.
"""

import io
import os
import re
import sys
import zipfile

FRAMEWORKS = ("Foundation", "Metal")
SCALARS = {
    "void": "v", "bool": "B", "BOOL": "B", "char": "c", "unsigned char": "C", "short": "s", "unsigned short": "S", "int": "i",
    "unsigned int": "I", "unsigned": "I", "long": "q", "unsigned long": "Q", "long long": "q", "unsigned long long": "Q",
    "float": "f", "double": "d", "int8_t": "c", "uint8_t": "C", "int16_t": "s", "uint16_t": "S", "int32_t": "i", "uint32_t": "I",
    "int64_t": "q", "uint64_t": "Q", "size_t": "Q", "uintptr_t": "Q", "unichar": "S", "NS::UInteger": "Q", "NS::Integer": "q",
    "UInteger": "Q", "Integer": "q", "CFTimeInterval": "d", "TimeInterval": "d", "SEL": ":", "Class": "#", "kern_return_t": "i",
    "dispatch_queue_t": "@", "dispatch_data_t": "@", "IOSurfaceRef": "^{__IOSurface=}", "task_id_token_t": "I",
    "mach_port_t": "I", "CGSize": "{CGSize=dd}", "CGColorSpaceRef": "^{CGColorSpace=}",
}
# Declared where no header of metal-cpp says so.
BLOCKS = {"NS::ObserverBlock", "ObserverBlock"}


class Unknown(Exception):
    pass


def read_headers(source):
    """{name: text} of the wanted frameworks."""
    texts = {}
    if os.path.isdir(source):
        for framework in FRAMEWORKS:
            folder = os.path.join(source, framework)
            for name in sorted(os.listdir(folder)):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    texts[framework + "/" + name] = file.read()
        return texts
    with zipfile.ZipFile(source) as wheel:
        for path in sorted(wheel.namelist()):
            parts = path.split("/")
            if parts[-1].endswith(".hpp") and "metal_cpp" in parts and parts[-2] in FRAMEWORKS:
                texts["/".join(parts[-2:])] = wheel.read(path).decode("utf-8")
    if not texts:
        raise SystemExit(f"make_table.py: {source} has no metal_cpp headers")
    return texts


def plain(text):
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"//[^\n]*", " ", text)
    return re.sub(r"\[\[.*?\]\]", " ", text, flags=re.S)


def spaces_of(text):
    """For each position where a namespace begins: (position, name). Namespaces of these headers are never nested in a class."""
    return [(found.start(), found.group(1)) for found in re.finditer(r"\bnamespace\s+([\w:]+)\s*\{", text)]


def space_at(spaces, position):
    name = ""
    for start, space in spaces:
        if start > position:
            break
        name = space
    return name.split("::")[0]


def split_arguments(text):
    """At commas outside of brackets."""
    parts, depth, part = [], 0, ""
    for character in text:
        if character in "(<[{":
            depth += 1
        elif character in ")>]}":
            depth -= 1
        if character == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += character
    parts.append(part)
    return [part.strip() for part in parts if part.strip()]


class Headers:
    def __init__(self, texts):
        self.selectors, self.enums, self.aliases, self.structs, self.supers = {}, {}, {}, {}, {}
        self.methods, self.refused, self.forward = {}, [], set()
        texts = {name: plain(text) for name, text in texts.items()}
        for text in texts.values():
            self.collect_selectors(text)
        for text in texts.values():
            self.collect_types(text)
        for name, text in texts.items():
            self.collect_methods(name, text)

    def collect_selectors(self, text):
        for found in re.finditer(r"_PRIVATE_DEF_SEL\(\s*(\w+)\s*,\s*\"([^\"]+)\"\s*\)", text):
            self.selectors[found.group(1)] = found.group(2)

    def collect_types(self, text):
        spaces = spaces_of(text)
        for found in re.finditer(r"_(?:MTL|NS)_(?:ENUM|OPTIONS)\(\s*([\w:]+)\s*,\s*(\w+)\s*\)", text):
            self.enums[self.full(space_at(spaces, found.start()), found.group(2))] = found.group(1)
        for found in re.finditer(r"\busing\s+(\w+)\s*=\s*([^;]+);", text):
            self.aliases[self.full(space_at(spaces, found.start()), found.group(1))] = found.group(2).strip()
        for found in re.finditer(r"\bclass\s+(\w+)\s*;", text):
            self.forward.add(self.full(space_at(spaces, found.start()), found.group(1)))
        for found in re.finditer(r"\bstruct\s+(\w+)\s*\{(.*?)\}\s*_(?:MTL|NS)_PACKED\s*;", text, flags=re.S):
            self.structs[self.full(space_at(spaces, found.start()), found.group(1))] = found.group(2)
        for found in re.finditer(r"\bclass\s+(\w+)\s*:\s*public\s+(?:NS::)?\w+<([^>]*)>", text):
            space = space_at(spaces, found.start())
            bases = [part for part in split_arguments(found.group(2))]
            name = self.full(space, found.group(1))
            self.supers[name] = self.class_name(self.full_known(space, bases[1])) if len(bases) > 1 else "-"

    @staticmethod
    def full(space, name):
        return name if "::" in name else f"{space}::{name}" if space else name

    def full_known(self, space, name):
        return name if "::" in name else self.full(space, name)

    @staticmethod
    def class_name(full):
        space, _, name = full.rpartition("::")
        return {"NS": "NS", "MTL": "MTL", "MTL4": "MTL4"}[space] + name

    def encode_struct(self, space, body):
        fields = ""
        for line in body.split(";"):
            line = line.strip()
            if not line or "(" in line:
                continue
            if "union" in line or "{" in line or "}" in line:
                raise Unknown("union")
            found = re.match(r"(.*?)(\w+(?:\[\d+\])?(?:\s*,\s*\w+)*)$", line, flags=re.S)
            for name in found.group(2).split(","):
                count = re.search(r"\[(\d+)\]", name)
                code = self.encode(space, found.group(1).strip())
                fields += f"[{count.group(1)}{code}]" if count else code
        return "{?=" + fields + "}"

    def encode(self, space, kind, depth=0):
        """The encoding of a C++ type of these headers."""
        kind = re.sub(r"\b(const|class|struct|std::|volatile)\b|std::", " ", kind)
        kind = re.sub(r"\s+", " ", kind).strip()
        if "(^" in kind or kind in BLOCKS:
            return "@?"
        if "function<" in kind:
            raise Unknown("std::function")
        while kind.endswith("[]"):
            kind = kind[:-2].strip() + "*"
        kind = kind.replace(" *", "*")
        if kind.endswith("*"):
            return self.encode_pointer(space, kind[:-1].strip())
        if kind in SCALARS:
            return SCALARS[kind]
        for candidate in dict.fromkeys((self.full(space, kind), kind, "NS::" + kind, "MTL::" + kind)):
            if candidate in self.enums:
                return self.encode(space, self.enums[candidate])
            if candidate in self.aliases and depth < 8:
                return self.encode(candidate.split("::")[0], self.aliases[candidate], depth + 1)
            if candidate in self.structs:
                return self.encode_struct(candidate.split("::")[0], self.structs[candidate])
        raise Unknown(kind)

    def encode_pointer(self, space, kind):
        kind = kind.strip()
        if kind == "void":
            return "^v"
        if kind == "char":
            return "*"
        if kind.startswith("_"):  # a template's parameter: some object
            return "@"
        kind = re.sub(r"<.*>", "", kind)
        known = (self.full(space, kind), kind, "NS::" + kind, "MTL::" + kind)
        if any(name in self.supers or name in self.forward for name in known) or kind in ("NS::Object", "Object", "id"):
            return "@"
        return "^" + self.encode(space, kind)

    def collect_methods(self, name, text):
        spaces = spaces_of(text)
        head = re.compile(r"_(?:MTL|NS)_INLINE\s+([\w:<>*&\s\(\^\)]+?[\s*&])((?:\w+::)+)(~?\w+|operator\W+)\s*\(")
        for found in head.finditer(text):
            end = self.matching(text, found.end() - 1, "(", ")")
            begin = text.find("{", end)
            if begin < 0 or begin - end > 40:
                continue
            body = text[begin:self.matching(text, begin, "{", "}")]
            owner = found.group(2)[:-2]
            owner = owner if "::" in owner else self.full(space_at(spaces, found.start()), owner)
            self.method(name, owner, found.group(1).strip(), text[found.end():end - 1], body)

    @staticmethod
    def matching(text, position, opening, closing):
        depth = 0
        while position < len(text):
            if text[position] == opening:
                depth += 1
            elif text[position] == closing:
                depth -= 1
                if depth == 0:
                    return position + 1
            position += 1
        raise SystemExit("make_table.py: a bracket that nothing closes")

    def method(self, header, owner, result, parameters, body):
        sent = re.search(r"sendMessage(?:Safe)?<(.*?)>\s*\(\s*(.*)\)\s*;", body, flags=re.S)
        if not sent or owner not in self.supers:
            return
        arguments = split_arguments(sent.group(2))
        selector = re.search(r"_PRIVATE_SEL\(\s*(\w+)\s*\)", arguments[1])
        if not selector or selector.group(1) not in self.selectors:
            return
        selector = self.selectors[selector.group(1)]
        space = owner.rpartition("::")[0]
        kinds = {}
        for parameter in split_arguments(parameters):
            block = re.search(r"\(\^\s*(\w*)\s*\)", parameter)
            found = re.match(r"(.*?)(\w+)\s*(\[\])?\s*$", parameter, flags=re.S)
            if block:
                kinds[block.group(1)] = parameter
            elif found:
                kinds[found.group(2)] = found.group(1) + (found.group(3) or "")
        try:
            types = self.encode(space, result) + "@:"
            for argument in arguments[2:]:
                types += self.encode(space, kinds.get(argument, "") or self.kind_of(argument))
        except Unknown as problem:
            self.refused.append(f"{owner} {selector}: {problem}")
            return
        if selector.count(":") != len(arguments) - 2:
            self.refused.append(f"{owner} {selector}: {len(arguments) - 2} arguments")
            return
        sign = "+" if "_PRIVATE_CLS" in arguments[0] else "-"
        self.methods.setdefault(owner, {})[(sign, selector)] = types

    @staticmethod
    def kind_of(argument):
        raise Unknown(f"argument {argument}")


def main():
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    headers = Headers(read_headers(sys.argv[1]))
    out = io.StringIO()
    out.write("# Made by make_table.py from Apple's metal-cpp (Apache-2.0); names and types alone. Do not edit.\n")
    for owner in sorted(headers.supers, key=headers.class_name):
        out.write(f"class {headers.class_name(owner)} {headers.supers[owner]}\n")
        for (sign, selector), types in sorted(headers.methods.get(owner, {}).items()):
            out.write(f"{sign} {selector} {types}\n")
    for line in headers.refused:
        print(f"make_table.py: left out: {line}", file=sys.stderr)
    if len(sys.argv) == 3:
        with open(sys.argv[2], "w", encoding="utf-8") as file:
            file.write(out.getvalue())
    else:
        sys.stdout.write(out.getvalue())


if __name__ == "__main__":
    main()
