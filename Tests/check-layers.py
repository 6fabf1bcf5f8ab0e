#!/usr/bin/env python3
"""Checks that no directory of a module uses a declaration of a directory above it.

usage: Tests/check-layers.py [--help] [ROOT]

For each module below, directories are listed from the bottom up; "." stands for the files that are in none.
A file may use types of its own directory and of those listed before it, and members that these add to types of the
module. Every violation is printed as file:line; the exit status is then 1. ROOT is the root of the repository (default: the
directory above this script).
"""

import os
import re
import sys

# Directories from the bottom up. Directories listed in one tuple are on one level and must not use each other.
MODULES = {
    "Sources/Communication": ["MPI", "Ranks", "Codecs", "Exchange"],
    "Sources/Tensors": [".", "Products", "Engine"],
    "Sources/Corpus": ["Archives", "Text", "Tokens", "Vocabulary", ".", "Building", "Download"],
    "Sources/Reporting": ["Metrics", "Progress", "Plot", "TensorBoard", "Page", ".", "Comparison"],
    "Sources/Layers": [".", "Family"],
    "Sources/Studies": [".", ("Expressivity", "Multitask", "NeuralProcess")],
    "Sources/Training": ["Faults", "Configuration", "Data", "Vocabulary", "State", "Step", "Coordinator", "Run"],
}

MODIFIERS = (
    r"(?:(?:public|package|internal|open|final|static|class|mutating|nonmutating|override|indirect|nonisolated|convenience"
    r"|lazy|weak|private\(set\)|fileprivate\(set\)|public internal\(set\)|internal\(set\)|@\w+(?:\([^)]*\))?)\s+)*"
)
TYPE = re.compile(r"^" + MODIFIERS + r"(?:struct|class|enum|protocol|actor|typealias)\s+(\w+)")
EXTENSION = re.compile(r"^" + MODIFIERS + r"extension\s+\[?([A-Za-z_]\w*)")
MEMBER = re.compile(r"^\s+" + MODIFIERS + r"(?:func|var|let|case)\s+(\w+)")
DECLARED = re.compile(r"\b(?:func|var|let|case|struct|class|enum|protocol|typealias)\s+(\w+)")
PARAMETER = re.compile(r"[(,]\s*(?:\w+\s+)?(\w+)\s*:")


def without_comments(path):
    """The lines of a Swift file without comments."""
    lines = []
    in_block = False
    with open(path, encoding="utf-8") as file:
        for line in file:
            if in_block:
                in_block = "*/" not in line
                line = ""
            elif line.lstrip().startswith("/*"):
                in_block = "*/" not in line
                line = ""
            lines.append(re.sub(r'(?<![:"])//.*', "", line.rstrip("\n")))
    return lines


class Directory:
    """What the files of one directory declare and use."""

    def __init__(self):
        self.files = {}
        self.types = set()
        self.names = set()  # every declared name: what a use may mean instead
        self.members = {}  # name of a member added by an extension -> name of the extended type

    def read(self, path):
        lines = without_comments(path)
        self.files[path] = lines
        extended = None
        for line in lines:
            if (match := TYPE.match(line)) and not line.startswith(("private", "fileprivate")):
                self.types.add(match[1])
            if match := EXTENSION.match(line):
                extended = match[1]
            elif line and not line[0].isspace() and line[0] != "}":
                extended = None
            # Members at the first level of an extension; deeper ones are local.
            member = MEMBER.match(line)
            if extended and member and re.match(r"^  \S", line) and "private" not in line.split("(")[0]:
                self.members[member[1]] = extended
            self.names.update(DECLARED.findall(line))
            self.names.update(PARAMETER.findall(line))


def check(root, module, order):
    """The violations of one module, as lines to print."""
    base = os.path.join(root, module)
    levels = [(level,) if isinstance(level, str) else tuple(level) for level in order]
    level_of = {name: index for index, level in enumerate(levels) for name in level}
    found = sorted(os.listdir(base))
    violations = []
    directories = {}
    for name in found:
        path = os.path.join(base, name)
        if name.endswith(".swift") and "." in level_of:
            directories.setdefault(".", Directory()).read(path)
        elif name.endswith(".swift"):
            violations.append(f"{module}/{name}:1: expected a file in one of {', '.join(level_of)}, found it outside")
        elif name not in level_of and has_swift(path):
            violations.append(f"{module}/{name}:1: expected one of {', '.join(level_of)}, found directory {name}")
        elif name in level_of and os.path.isdir(path):
            directories[name] = Directory()
            for parent, _, files in sorted(os.walk(path)):
                for file in sorted(files):
                    if file.endswith(".swift"):
                        directories[name].read(os.path.join(parent, file))
    for name in level_of:
        if name not in directories:
            violations.append(f"{module}/{name}:1: expected a directory, found none")
    own_types = {type_name for directory in directories.values() for type_name in directory.types}

    for name, directory in directories.items():
        allowed = [other for other in directories if level_of[other] < level_of[name] or other == name]
        forbidden = [other for other in directories if other not in allowed]
        known_types = set().union(*(directories[other].types for other in allowed))
        known_names = set().union(*(directories[other].names for other in allowed))
        types = {}
        members = {}
        for other in forbidden:
            types.update({item: other for item in directories[other].types - known_types})
            for item, extended in directories[other].members.items():
                if extended in own_types and extended in known_types and item not in known_names:
                    members[item] = (other, extended)
        if not types and not members:
            continue
        for path, lines in directory.files.items():
            place = os.path.relpath(path, root)
            for number, line in enumerate(lines, 1):
                # Nested and local types of the same name are the directory's own.
                for word in dict.fromkeys(re.findall(r"\b[A-Z]\w*\b", line)):
                    if word in types and word not in directory.names:
                        violations.append(
                            f"{place}:{number}: {name} uses {word} of {types[word]}, a directory not below it")
                for word in dict.fromkeys(re.findall(r"\.(\w+)\b", line)):
                    if word in members:
                        other, extended = members[word]
                        violations.append(
                            f"{place}:{number}: {name} uses {extended}.{word} of {other}, a directory not below it")
    return violations


def has_swift(directory):
    """Whether Swift files are in a directory or below it."""
    return any(name.endswith(".swift") for _, _, names in os.walk(directory) for name in names)


def modules_with_directories(root):
    """Every module that has Swift files in a directory, and one such directory."""
    for module in sorted(os.listdir(os.path.join(root, "Sources"))):
        base = os.path.join(root, "Sources", module)
        for directory in sorted(os.listdir(base)):
            if has_swift(os.path.join(base, directory)):
                yield f"Sources/{module}", directory
                break


def main(arguments):
    if "--help" in arguments or "-h" in arguments:
        print(__doc__.strip())
        return 0
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print(f"error: arguments: expected at most a directory, found {' '.join(arguments)}", file=sys.stderr)
        return 64
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.abspath(arguments[0]) if arguments else os.path.dirname(here)
    violations = [line for module, order in MODULES.items() for line in check(root, module, order)]
    violations += [
        f"{module}:1: expected a module with directories to be listed in MODULES, "
        f"found {module} with directory {directory}"
        for module, directory in modules_with_directories(root) if module not in MODULES
    ]
    for line in violations:
        print(line, file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
