#!/usr/bin/env python3
"""Runs every block of commands in README.md and in the documentation catalog, on small data, so that none goes stale.

    Tests/EndToEnd/readme-commands.py [--list] [MILM]      # MILM is .build/release/milm by default

Each ```sh block runs unchanged, under `bash -eu`, in a directory of its own with the names that the pages use: corpus,
wikitext-2 and wikipedia (a small generated corpus), wiki.{train,valid,test}.tokens (a small text), run (a trained
run) and sweep (one of two runs), except for a name that the block writes itself with --output. `milm` there is a wrapper
that makes train and sweep take 4 steps, gives train, sweep, plan and benchmarks of a configuration a narrow model, and
prints what it runs. A block after

    <!-- commands: parsed, REASON -->

does not run. Of all commands, including those between backquotes in the text, it is checked that the repository's files
that they name exist, that milm has the subcommand, and that the help of milm or of the script lists every option. The
generated reference pages (*Reference.md) are not read. Prints a table; at the first failure prints its output and exits
with 1.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CATALOG = REPOSITORY / "Sources/milm/milm.docc"
SMALL_MODEL = ["model.embedding=16", "model.hidden=24", "model.decoderContext=2", "model.encoderContext=2"]
# Benchmarks of single products repeat until enough time has passed: with tiny products that takes far more calls.
BENCHMARK_MODEL = ["model.embedding=128", "model.hidden=512", "model.decoderContext=4", "model.encoderContext=4"]
# Scripts that take arguments of milm, or for the lab a command, after `--`.
LAUNCHERS = {"cluster/launch.sh", "cluster/supervise.sh", "cluster/lab.sh"}
BATCH_FILES = {"cluster/jobs/slurm/milm.sbatch"}


@dataclass(frozen=True)
class Block:
    """A block of commands on a page."""

    place: str
    text: str
    # Why it is only parsed; empty if it runs.
    reason: str


def pages() -> list[Path]:
    """The pages whose commands are tested."""
    return [
        REPOSITORY / "README.md",
        *(page for page in sorted(CATALOG.glob("*.md")) if not page.stem.endswith("Reference")),
    ]


def blocks_of(page: Path) -> list[Block]:
    """The ```sh blocks of a page, each with the reason in the comment before it."""
    found, reason, start, lines = [], "", None, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        mark = re.fullmatch(r"<!-- commands: parsed, (.+) -->", line)
        if start is None and mark:
            reason = mark[1]
        elif start is None and line == "```sh":
            start, lines = number + 1, []
        elif start is not None and line == "```":
            found.append(Block(f"{page.name}:{start}", "\n".join(lines) + "\n", reason))
            start, reason = None, ""
        elif start is not None:
            lines.append(line)
        elif line:
            reason = ""
    return found


def commands_of(text: str) -> Iterator[list[str]]:
    """The words of every command of a block."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            yield words


def inline_commands(text: str) -> Iterator[list[str]]:
    """The words of every command between backquotes in the text; of alternatives a|b the first."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    program = r"(?:mpirun [^`]*?|[A-Z_]+=\S+ )?(?:milm|(?:cluster|Tests)/[\w./-]+\.\w+)"
    for span in re.findall(rf"`({program} [^`]+)`", outside):
        yield from commands_of(re.sub(r"\\?\|\S+", "", span).replace("'", " "))


class Checker:
    """Finds what commands name that does not exist."""

    def __init__(self, milm: Path):
        self.milm = milm

    @functools.cache
    def help(self, *command: str) -> str:
        """What a program prints for --help."""
        return subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=REPOSITORY).stdout

    def problems(self, words: list[str]) -> Iterator[str]:
        """What is wrong with a command, one line each."""
        for word in words:
            if re.match(r"(cluster|configs|Tests|Sources)/[^{*]+$", word) and not (REPOSITORY / word).exists():
                yield f"expected a file {word}, found none"
        if words[0] == "mpirun" and "milm" in words:
            words = words[words.index("milm"):]
        program, arguments = words[0], words[1:]
        batch_file = BATCH_FILES & set(arguments)
        if batch_file:
            yield from self.problems_of_milm(arguments[arguments.index(batch_file.pop()) + 1:])
        elif program == "milm":
            yield from self.problems_of_milm(arguments)
        elif program.startswith(("cluster/", "Tests/")):
            if program in LAUNCHERS and "--" in arguments:
                separator = arguments.index("--")
                arguments, rest = arguments[:separator], arguments[separator + 1 :]
                yield from self.problems(rest if program == "cluster/lab.sh" else ["milm", *rest])
            if os.access(REPOSITORY / program, os.X_OK):
                yield from unknown_options(arguments, self.help(str(REPOSITORY / program)), program)

    def problems_of_milm(self, arguments: list[str]) -> Iterator[str]:
        command = [str(self.milm)]
        for word in arguments[:2]:
            if word.startswith("-") or not re.search(rf"^  {re.escape(word)}\s", self.help(*command), re.M):
                break
            command.append(word)
        if arguments and len(command) == 1 and not arguments[0].startswith(("-", "…")):
            yield f"expected a command of milm, found {arguments[0]}"
        # ArgumentParser's own; it is not in the help.
        known = self.help(*command) + "--generate-completion-script"
        yield from unknown_options(arguments, known, " ".join(["milm", *command[1:]]))


def unknown_options(words: list[str], text: str, program: str) -> Iterator[str]:
    """The options among the words that a help text does not list."""
    for word in words:
        option = re.match(r"--?[a-z][\w-]*", word)
        if option and not re.search(rf"(?<![\w-]){re.escape(option[0])}(?![\w-])", text):
            yield f"expected options of {program}, found {option[0]}"


class Bench:
    """Directories in which blocks find what the pages name."""

    def __init__(self, directory: Path, milm: Path):
        self.directory = directory
        self.path = self.directory / "bin"
        self.path.mkdir()
        wrapper = self.path / "milm"
        small, benchmark = (
            " ".join(f"--set {setting}" for setting in settings) for settings in (SMALL_MODEL, BENCHMARK_MODEL))
        wrapper.write_text(f"""#!/bin/sh
case "$1 ${{2-}}" in
  "train --single-node-test") ;;
  train*) set -- "$@" --steps 4 {small} ;;
  sweep*) set -- "$@" --set training.steps=4 {small} ;;
  "benchmark step" | "benchmark products" | "benchmark evaluate" | plan*)
    set -- "$@" --vocabulary-size 2000 {benchmark}
    ;;
esac
echo "readme-commands: milm $*" >&2
exec {shlex.quote(str(milm))} "$@"
""")
        wrapper.chmod(0o755)
        self.milm = str(wrapper)
        for split, count in (("train", 3000), ("valid", 300), ("test", 300)):
            words = (f" word{i * i % 97} of the text ,\n" for i in range(count))
            (self.directory / f"wiki.{split}.tokens").write_text("".join(words))
        self.call("prepare", "--generate", "30000", "--output", "corpus")
        self.call("train", str(REPOSITORY / "configs/quickstart.yaml"), "--corpus", "corpus", "--output", "run")
        self.call("sweep", str(REPOSITORY / "configs/quickstart.yaml"), "--set", "training.seed=1,2", "--corpus", "corpus",
                  "--output", "sweep")

    def call(self, *arguments: str) -> None:
        done = subprocess.run([self.milm, *arguments], cwd=self.directory, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"readme-commands: milm {shlex.join(arguments)}: expected status 0, found {done.returncode}\n{done.stderr}")

    def run(self, number: int, text: str) -> tuple[int, str]:
        """The exit status and the output of a block."""
        place = self.directory / f"block-{number}"
        place.mkdir()
        made = set(re.findall(r"--output (\S+)", text))
        for name in ("cluster", "configs", "Tests"):
            (place / name).symlink_to(REPOSITORY / name)
        for name in self.directory.glob("wiki.*.tokens"):
            (place / name.name).symlink_to(name)
        for name, source in (("corpus", "corpus"), ("wikitext-2", "corpus"), ("wikipedia", "corpus"), ("run", "run"),
                             ("sweep", "sweep")):
            if name not in made:
                subprocess.run(["cp", "-a", self.directory / source, place / name], check=True)
        environment = os.environ | {
            "PATH": f"{self.path}:{os.environ['PATH']}",
            # For blocks that call mpirun themselves, on machines with few cores and as root.
            "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1",
            "MILM": self.milm,
            "MILM_LAB": f"readme{os.getpid()}",
        }
        done = subprocess.run(
            ["bash", "-eu", "-c", text], cwd=place, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout


def lab_reason(text: str) -> str:
    """Why a block with a lab cannot run here; empty if it can."""
    if "cluster/lab.sh" not in text:
        return ""
    done = subprocess.run([REPOSITORY / "cluster/lab.sh", "check"], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def check(blocks: list[Block], milm: Path) -> None:
    """Fails unless all commands, in blocks and in the text, name what exists."""
    checker = Checker(milm)
    commands = [(block.place, words) for block in blocks for words in commands_of(block.text)]
    commands += [(page.name, words) for page in pages() for words in inline_commands(page.read_text())]
    problems = [f"{place}: {shlex.join(words)}: {problem}"
                for place, words in commands for problem in checker.problems(words)]
    if problems:
        sys.exit("\n".join(f"readme-commands: {problem}" for problem in problems))
    print(f"{len(commands)} commands on {len(pages())} pages name what exists")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("milm", nargs="?", default=REPOSITORY / ".build/release/milm", type=Path)
    parser.add_argument("--list", action="store_true", help="list what would run and what is parsed, and run nothing")
    arguments = parser.parse_args()
    milm = arguments.milm.resolve()
    blocks = [block for page in pages() for block in blocks_of(page)]
    check(blocks, milm)
    with tempfile.TemporaryDirectory() as directory:
        bench = None if arguments.list else Bench(Path(directory), milm)
        for number, block in enumerate(blocks):
            title = f"{block.place:28}  {block.text.splitlines()[0][:60]:60}"
            reason = block.reason or lab_reason(block.text)
            if reason or bench is None:
                print(f"{title}  {'parsed: ' + reason if reason else 'to run'}")
                continue
            started = time.monotonic()
            status, output = bench.run(number, block.text)
            if status != 0:
                sys.exit(f"{output}\nreadme-commands: {block.place}: expected exit status 0, found {status}")
            print(f"{title}  ran, {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
