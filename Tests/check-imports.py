#!/usr/bin/env python3
"""Checks the imports of every target against Package.swift, and the import graph in Architecture.md.

usage: Tests/check-imports.py [--graph] [--help] [ROOT]

A Swift file imports only the modules and products that Package.swift lists as dependencies of its target, and the graph in
Architecture.md is the one that follows from these lists. Every violation is printed as file:line; the exit status is then 1.
With --graph the graph in Architecture.md is drawn again. ROOT is the root of the repository (default: the directory above
this script).
"""

import os
import re
import sys

PAGE = "Sources/milm/milm.docc/Architecture.md"
BEGIN, END = "<!-- graph: Tests/check-imports.py --graph draws it -->\n```\n", "```\n"
TARGET = re.compile(r"\.(target|executableTarget|testTarget|systemLibrary)\(")
IMPORT = re.compile(r"^\s*(?:@\w+(?:\(\w+\))?\s+)*(?:(?:public|package|internal|private|fileprivate)\s+)?import\s+"
                    r"(?:(?:struct|class|enum|protocol|func|var|let|typealias)\s+)?(\w+)")


class Target:
    """A target of the package: its directory, and the names that it depends on."""

    def __init__(self, kind, text):
        self.name = re.search(r'\bname:\s*"(\w+)"', text)[1]
        path = re.search(r'\bpath:\s*"([^"]+)"', text)
        self.directory = path[1] if path else ("Tests/" if kind == "testTarget" else "Sources/") + self.name
        self.is_source = self.directory.startswith("Sources/")
        listed = argument(text, "dependencies")
        self.products = set(re.findall(r'\.product\(name:\s*"(\w+)"', listed))
        self.modules = set(re.findall(r'"(\w+)"', re.sub(r"\.product\([^)]*\)", "", listed)))


def balanced(text, start):
    """The text from `start` to where the brackets that are opened there are closed, or an argument ends."""
    depth = 0
    for place in range(start, len(text)):
        if text[place] in "([{":
            depth += 1
        elif text[place] in ")]}":
            depth -= 1
        if depth < 0 or (depth == 0 and text[place] == ","):
            return text[start:place]
    return text[start:]


def argument(text, label):
    """The value of a labelled argument of a call's arguments; empty if there is none."""
    found = re.search(rf"\b{label}:", text)
    return balanced(text, found.end()) if found else ""


def arguments_of_call(text, start):
    """The text between the parentheses of a call; `start` is after the first one."""
    depth = 1
    for place in range(start, len(text)):
        depth += (text[place] in "([{") - (text[place] in ")]}")
        if depth == 0:
            return text[start:place]
    return text[start:]


def targets(root):
    """The targets of Package.swift by name."""
    with open(os.path.join(root, "Package.swift"), encoding="utf-8") as file:
        text = re.sub(r"//.*", "", file.read())
    found = [Target(call[1], arguments_of_call(text, call.end())) for call in TARGET.finditer(text)]
    return {target.name: target for target in found}


def undeclared_imports(root, known):
    """The imports that Package.swift does not list, as lines to print."""
    own_names = set(known) | {product for target in known.values() for product in target.products}
    for target in known.values():
        allowed = target.modules | target.products | {target.name}
        for parent, _, files in sorted(os.walk(os.path.join(root, target.directory))):
            for name in sorted(files):
                if not name.endswith(".swift"):
                    continue
                path = os.path.join(parent, name)
                with open(path, encoding="utf-8") as file:
                    for number, line in enumerate(file, 1):
                        found = IMPORT.match(line)
                        if found and found[1] in own_names - allowed:
                            yield (f"{os.path.relpath(path, root)}:{number}: expected an import that Package.swift lists for "
                                   f"{target.name}, found {found[1]}")


def levels(modules):
    """The level of every module: one more than that of the highest that it imports; None where modules import each other."""
    level = {}
    while len(level) < len(modules):
        ready = [name for name in modules if name not in level and all(other in level for other in modules[name])]
        if not ready:
            return None
        for name in ready:
            level[name] = 1 + max((level[other] for other in modules[name]), default=-1)
    return level


def graph(known):
    """The import graph, one module per line, the top one first; without the imports that another one implies."""
    modules = {name: target.modules & set(known) for name, target in known.items() if target.is_source}
    level = levels(modules)
    if level is None:
        return None

    def reached(name):
        return modules[name].union(*(reached(other) for other in modules[name]))

    lines = []
    for name in sorted(modules, key=lambda name: (-level[name], name.lower())):
        implied = set().union(*(reached(other) for other in modules[name]))
        direct = sorted(modules[name] - implied, key=lambda other: (-level[other], other.lower()))
        if direct:
            lines.append(f"{level[name]}  {name:<13}  imports {', '.join(direct)}\n")
    lowest = sorted(name for name in modules if level[name] == 0)
    return "".join(lines) + f"0  {', '.join(lowest)}\n"


def main(arguments):
    if "--help" in arguments or "-h" in arguments:
        print(__doc__.strip())
        return 0
    draws = "--graph" in arguments
    rest = [argument for argument in arguments if argument != "--graph"]
    if len(rest) > 1 or any(argument.startswith("-") for argument in rest):
        print(f"error: arguments: expected --graph or a directory, found {' '.join(rest)}", file=sys.stderr)
        return 64
    root = os.path.abspath(rest[0]) if rest else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    known = targets(root)
    violations = list(undeclared_imports(root, known))
    drawn = graph(known)
    page = os.path.join(root, PAGE)
    with open(page, encoding="utf-8") as file:
        text = file.read()
    start = text.find(BEGIN)
    number = text[:max(start, 0)].count("\n") + 1
    if drawn is None:
        violations.append("Package.swift:1: expected an order of the modules, found some that import each other")
    elif start < 0:
        violations.append(f"{PAGE}:1: expected {BEGIN.splitlines()[0]}, found none")
    else:
        start += len(BEGIN)
        end = text.index(END, start)
        if draws:
            with open(page, "w", encoding="utf-8") as file:
                file.write(text[:start] + drawn + text[end:])
        elif text[start:end] != drawn:
            violations.append(f"{PAGE}:{number}: expected the graph of Package.swift, found another; draw it with --graph")
    for line in violations:
        print(line, file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
