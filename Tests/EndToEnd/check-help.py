#!/usr/bin/env python3
"""Fails if a script does more than print its usage for --help or -h.

    Tests/EndToEnd/check-help.py

Calls every executable file of cluster, Tests/EndToEnd, Tests/Benchmarks and Tests/*.py in an empty folder, without
network where the system allows that. Each must exit with 0, print a usage that names it, and leave no file behind.
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
    """The executable files under test."""
    found = list((REPOSITORY / "Tests").glob("*.py"))
    for folder in ("cluster", "Tests/EndToEnd", "Tests/Benchmarks"):
        found += (REPOSITORY / folder).rglob("*")
    return sorted(path for path in found if path.is_file() and os.access(path, os.X_OK))


def without_network() -> list[str]:
    """The prefix of a command that must not reach the network; empty if the system does not allow it."""
    prefix = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--user", "--map-root-user"]
    try:
        return prefix if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0 else []
    except FileNotFoundError:
        return []


def problem(script: Path, option: str, prefix: list[str]) -> str | None:
    """What is wrong with the help of a script."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = os.environ | {"HOME": name, "TMPDIR": name, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                [*prefix, str(script), option],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return f"expected an end within {LIMIT_SECONDS} s, found none"
        left = sorted(path.name for path in folder.iterdir())
    if done.returncode != 0:
        return f"expected exit status 0, found {done.returncode}: {done.stderr.strip()[-200:]}"
    if script.name not in done.stdout:
        return f"expected a usage that names {script.name} on standard output, found {done.stdout[:100]!r}"
    if left:
        return f"expected no files, found {', '.join(left)}"
    return None


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    prefix, found = without_network(), scripts()
    problems = [
        f"check-help: {script.relative_to(REPOSITORY)} {option}: {text}"
        for script in found
        for option in ("--help", "-h")
        if (text := problem(script, option, prefix))
    ]
    if problems:
        sys.exit("\n".join(problems))
    print(f"check-help: {len(found)} scripts answer --help")


if __name__ == "__main__":
    main()
