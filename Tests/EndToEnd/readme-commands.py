#!/usr/bin/env python3
"""Runs every block of commands in README.md, in small, so that none can rot.

    Tests/EndToEnd/readme-commands.py [--list] [MILM]      # MILM is .build/release/milm

Each ```sh block runs as it stands, under `bash -eu`, in a folder of its own in which the names that the README uses are
there: corpus, wikitext-2 and wikipedia (a small generated corpus), wiki.{train,valid,test}.tokens (a small text) and run
(a trained run); a name that the block makes itself with --output is not. `milm` there is a wrapper that adds --steps 4 to
train, and a narrow model to train, plan and benchmarks of a configuration, and says so; nothing is replaced. A block after

    <!-- commands: parsed, REASON -->

is not run, and of all commands, also of those in the text between backquotes, it is checked that the files of the
repository that they name are there, that milm has the subcommand, and that its help, or the script, knows every option.
Prints a table; the first failure's output is shown and the exit status is 1.
"""
import argparse
import dataclasses
import functools
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SMALL_MODEL = ["model.embedding=16", "model.hidden=24", "model.decoderContext=2", "model.encoderContext=2"]
# A benchmark of single products computes as much whatever the model: tiny ones would only be many.
BENCHMARK_MODEL = ["model.embedding=128", "model.hidden=512", "model.decoderContext=4", "model.encoderContext=4"]
# Scripts that take milm's arguments after `--`, or as they are.
LAUNCHERS = {"cluster/launch.sh", "cluster/supervise.sh", "cluster/lab.sh"}
BATCH_FILES = {"cluster/jobs/slurm/milm.sbatch"}


@dataclasses.dataclass
class Block:
    line: int
    text: str
    reason: str  # why it is only parsed; empty where it is run


def blocks_of(text):
    """The ```sh blocks, each with what the comment before it says."""
    found, reason, start, lines = [], "", None, []
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.fullmatch(r"<!-- commands: parsed, (.+) -->", line)
        if start is None and mark:
            reason = mark[1]
        elif start is None and line == "```sh":
            start, lines = number + 1, []
        elif start is not None and line == "```":
            found.append(Block(start, "\n".join(lines) + "\n", reason))
            start, reason = None, ""
        elif start is not None:
            lines.append(line)
        elif line:
            reason = ""
    return found


def commands_of(text):
    """The words of every command of a block."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            yield words


def inline_commands(text):
    """The words of every command in the text, between backquotes; of alternatives a|b the first."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    for span in re.findall(r"`((?:mpirun [^`]*?|[A-Z_]+=\S+ )?(?:milm|(?:cluster|Tests)/[\w./-]+\.\w+) [^`]+)`", outside):
        yield from commands_of(re.sub(r"\\\|\S+", "", span).replace("'", " "))


class Checker:
    """Finds what a command names that is not there."""

    def __init__(self, milm):
        self.milm = milm

    @functools.cache
    def help(self, *subcommand):
        return subprocess.run([self.milm, *subcommand, "--help"], capture_output=True, text=True).stdout

    def problems(self, words):
        """What is wrong with a command, a line each."""
        for word in words:
            if re.match(r"(cluster|configs|Tests|Sources)/[^{*]+$", word) and not (REPOSITORY / word).exists():
                yield f"no file {word}"
        if words[0] == "mpirun" and "milm" in words:
            words = words[words.index("milm"):]
        program, arguments = words[0], words[1:]
        batch_file = BATCH_FILES & set(arguments)
        if batch_file:
            yield from self.problems_of_milm(arguments[arguments.index(batch_file.pop()) + 1:])
        elif program == "milm":
            yield from self.problems_of_milm(arguments)
        elif program.startswith(("cluster/", "Tests/")):
            own = arguments
            if program in LAUNCHERS and "--" in arguments:
                own, rest = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
                yield from self.problems(rest if program == "cluster/lab.sh" else ["milm", *rest])
            text = (REPOSITORY / program).read_text() if (REPOSITORY / program).exists() else ""
            yield from unknown_options(own, text, program)

    def problems_of_milm(self, arguments):
        subcommand = []
        for word in arguments[:2]:
            if word.startswith("-") or not re.search(rf"^  {re.escape(word)}\s", self.help(*subcommand), re.M):
                break
            subcommand.append(word)
        if arguments and not subcommand and not arguments[0].startswith(("-", "…")):
            yield f"milm has no command {arguments[0]}"
        # ArgumentParser's own; it is not in the help.
        known = self.help(*subcommand) + "--generate-completion-script"
        yield from unknown_options(arguments, known, " ".join(["milm", *subcommand]))


def unknown_options(words, text, program):
    for word in words:
        option = re.match(r"--?[a-z][\w-]*", word)
        if option and not re.search(rf"(?<![\w-]){re.escape(option[0])}(?![\w-])", text):
            yield f"{program} knows no {option[0]}"


class Bench:
    """Folders in which blocks find what the README speaks of."""

    def __init__(self, folder, milm):
        self.folder = pathlib.Path(folder)
        self.path = self.folder / "bin"
        self.path.mkdir()
        wrapper = self.path / "milm"
        small, benchmark = (
            " ".join(f"--set {setting}" for setting in settings) for settings in (SMALL_MODEL, BENCHMARK_MODEL))
        wrapper.write_text(f"""#!/bin/sh
case "$1 ${{2-}}" in
  "train --single-node-test") ;;
  train*) set -- "$@" --steps 4 {small} ;;
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
            (self.folder / f"wiki.{split}.tokens").write_text("".join(words))
        self.call("prepare", "--generate", "30000", "--output", "corpus")
        self.call("train", str(REPOSITORY / "configs/quickstart.yaml"), "--corpus", "corpus", "--output", "run")

    def call(self, *arguments):
        done = subprocess.run([self.milm, *arguments], cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"readme-commands: milm {' '.join(arguments)} ended with {done.returncode}\n{done.stderr}")

    def run(self, number, text):
        """The exit status and all that a block printed."""
        place = self.folder / f"block-{number}"
        place.mkdir()
        made = set(re.findall(r"--output (\S+)", text))
        for name in ("cluster", "configs", "Tests"):
            (place / name).symlink_to(REPOSITORY / name)
        for name in self.folder.glob("wiki.*.tokens"):
            (place / name.name).symlink_to(name)
        for name, source in (("corpus", "corpus"), ("wikitext-2", "corpus"), ("wikipedia", "corpus"), ("run", "run")):
            if name not in made:
                subprocess.run(["cp", "-a", self.folder / source, place / name], check=True)
        environment = os.environ | {
            "PATH": f"{self.path}:{os.environ['PATH']}",
            # The blocks are a user's, on a machine with as many cores as they have ranks.
            "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1",
            "MILM": self.milm,
            "MILM_LAB": f"readme{os.getpid()}",
        }
        done = subprocess.run(
            ["bash", "-eu", "-c", text], cwd=place, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout


def lab_reason(text):
    """Why a block with a lab cannot run here; empty where it can."""
    if "cluster/lab.sh" not in text:
        return ""
    done = subprocess.run([REPOSITORY / "cluster/lab.sh", "check"], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("milm", nargs="?", default=REPOSITORY / ".build/release/milm", type=pathlib.Path)
    parser.add_argument("--list", action="store_true", help="say what would be run and parsed, and run nothing")
    arguments = parser.parse_args()
    milm = arguments.milm.resolve()
    readme = (REPOSITORY / "README.md").read_text()
    blocks, checker = blocks_of(readme), Checker(milm)

    commands = [(f"line {block.line}", words) for block in blocks for words in commands_of(block.text)]
    commands += [("text", words) for words in inline_commands(readme)]
    problems = [f"{place}: {shlex.join(words)}: {problem}"
                for place, words in commands for problem in checker.problems(words)]
    if problems:
        sys.exit("\n".join(f"readme-commands: {problem}" for problem in problems))
    print(f"{len(commands)} commands name what is there")

    with tempfile.TemporaryDirectory() as folder:
        bench = None if arguments.list else Bench(folder, milm)
        for number, block in enumerate(blocks):
            title = f"line {block.line:4}  {block.text.splitlines()[0][:60]:60}"
            reason = block.reason or lab_reason(block.text)
            if reason or bench is None:
                print(f"{title}  {'parsed: ' + reason if reason else 'to run'}")
                continue
            began = time.monotonic()
            status, output = bench.run(number, block.text)
            if status != 0:
                sys.exit(f"{output}\n{title}  exit status {status}")
            print(f"{title}  ran, {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
