#!/usr/bin/env python3
"""Fails if a script does more than print its usage for --help or -h.

    Tests/EndToEnd/check-help.py

Calls every script of cluster and Tests, executable files and Python programs alike, in an empty directory, without
network where the system allows that. Each must exit with 0, print a usage that names it, leave no file behind, and
need no Python package.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 30


def scripts() -> list[Path]:
    """The executable files, and the Python files that run as programs."""
    found = [path for top in ("cluster", "Tests") for path in (REPOSITORY / top).rglob("*") if path.is_file()]
    return sorted(path for path in found if os.access(path, os.X_OK) or is_program(path))


def is_program(path: Path) -> bool:
    """Whether a file is a Python program; others are modules."""
    return path.suffix == ".py" and '__name__ == "__main__"' in path.read_text()


def without_network() -> list[str]:
    """The prefix of a command that must not reach the network; empty if the system does not allow it."""
    prefix = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--user", "--map-root-user"]
    try:
        return prefix if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0 else []
    except FileNotFoundError:
        return []


def problem(script: Path, option: str, prefix: list[str]) -> str | None:
    """What is wrong with the help of a script."""
    command = [str(script)] if os.access(script, os.X_OK) else [sys.executable, str(script)]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        environment = os.environ | {"HOME": name, "TMPDIR": name, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                [*prefix, *command, option],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return f"expected an end within {LIMIT_SECONDS} s, found none"
        left = sorted(path.name for path in directory.iterdir())
    if done.returncode != 0:
        return f"expected exit status 0, found {done.returncode}: {done.stderr.strip()[-200:]}"
    # compare_exchange.py prints the usage of compare-exchange.sh, which calls it.
    if script.stem.replace("_", "-") not in done.stdout.replace("_", "-"):
        return f"expected a usage that names {script.name} on standard output, found {done.stdout[:100]!r}"
    if left:
        return f"expected no files, found {', '.join(left)}"
    return None


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    prefix, count, problems = without_network(), 0, []
    for script in scripts():
        name = script.relative_to(REPOSITORY)
        texts = {option: problem(script, option, prefix) for option in ("--help", "-h")}
        problems += [f"check-help: {name} {option}: {text}" for option, text in texts.items() if text]
        count += 1
    if problems:
        sys.exit("\n".join(problems))
    print(f"check-help: {count} scripts answer --help")


if __name__ == "__main__":
    main()
