#!/usr/bin/env python3
"""Checks README.md, CONTRIBUTING.md and the documentation catalog without running any command.

    Tests/EndToEnd/check-documentation.py [--docc DOCC] [--output DIRECTORY]

DOCC is docc of the Swift toolchain by default. With --output the rendered pages are kept in DIRECTORY, for a web server.

Every relative link leads to a file, and to a heading of it where it names one; lines of prose have at most 120
characters; README.md has at most 250 lines; every page of the catalog is listed in Documentation.md. Then the catalog is
converted by DocC with warnings as errors, from a copy in which links between pages are DocC's own (`doc:Page#Heading`),
so that pages link to each other in the rendered documentation as they do in plain Markdown.
"""
import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CATALOG = REPOSITORY / "Sources/milm/milm.docc"
LINK = re.compile(r"(!?)\[((?:`[^`]*`|[^\]`])*)\]\(([^)\s]+)\)")
LONGEST_LINE, LONGEST_README = 120, 250


def outside_code(text):
    """The text with the content of code blocks blanked, so that lines keep their numbers."""
    return re.sub(r"^```.*?^```$", lambda block: re.sub(r"[^\n]", "", block[0]), text, flags=re.M | re.S)


def anchors(page):
    """The headings of a page as GitHub makes anchors of them, each with the heading's text."""
    headings = re.findall(r"^#+ (.+)$", outside_code(page.read_text()), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"): heading for heading in headings}


def problems(page):
    """What is wrong with a page, one line each."""
    text, name = outside_code(page.read_text()), page.relative_to(REPOSITORY)
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > LONGEST_LINE and not re.match(r"[|#!]|.*\]\(https?:", line):
            yield f"{name}:{number}: expected at most {LONGEST_LINE} characters, found {len(line)}"
        for _, _, target in LINK.findall(line):
            if re.match(r"\w+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists():
                yield f"{name}:{number}: expected a file at {target}, found none"
            elif anchor and anchor not in anchors(file):
                yield f"{name}:{number}: expected a heading for {target}, found {', '.join(anchors(file))}"


def docc_links(page):
    """A page's text with links between pages of the catalog in DocC's form, and those to other files as their text."""

    def replace(link):
        image, title, target = link.groups()
        path, _, anchor = target.partition("#")
        if re.match(r"\w+:", target):
            return link[0]
        if path and not (CATALOG / path).resolve().is_relative_to(CATALOG):
            return title
        if image:
            return link[0]
        linked = path or page.name
        heading = anchors(CATALOG / linked)[anchor] if anchor else ""
        return f"[{title}](doc:{pathlib.Path(linked).stem}{'#' + re.sub(r'[ ]', '-', heading) if anchor else ''})"

    parts = re.split(r"(^```.*?^```$)", page.read_text(), flags=re.M | re.S)
    return "".join(part if part.startswith("```") else LINK.sub(replace, part) for part in parts)


def convert(docc, output):
    """Converts the catalog and returns what DocC complained of; the result is kept if there is a directory for it."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        catalog = shutil.copytree(CATALOG, directory / "milm.docc")
        for page in catalog.glob("*.md"):
            page.write_text(docc_links(page))
        # The module that the landing page, ``milm``, documents; its symbols are of no interest here.
        graph = {
            "metadata": {"formatVersion": {"major": 0, "minor": 6, "patch": 0}, "generator": "check-documentation"},
            "module": {"name": "milm", "platform": {"operatingSystem": {"name": "linux"}}},
            "symbols": [], "relationships": [],
        }
        (directory / "graphs").mkdir()
        (directory / "graphs/milm.symbols.json").write_text(json.dumps(graph))
        done = subprocess.run(
            [docc, "convert", catalog, "--additional-symbol-graph-dir", directory / "graphs",
             "--fallback-display-name", "milm", "--fallback-bundle-identifier", "milm", "--warnings-as-errors",
             "--output-path", output or directory / "archive"], capture_output=True, text=True)
        return "" if done.returncode == 0 else done.stdout + done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docc", default=shutil.which("docc"))
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    readme, landing = REPOSITORY / "README.md", CATALOG / "Documentation.md"
    catalog = sorted(CATALOG.glob("*.md"))
    pages = [readme, REPOSITORY / ".github/CONTRIBUTING.md", *catalog]

    found = [problem for page in pages for problem in problems(page)]
    lines = len(readme.read_text().splitlines())
    if lines > LONGEST_README:
        found.append(f"README.md: expected at most {LONGEST_README} lines, found {lines}")
    listed = {target for _, _, target in LINK.findall(landing.read_text())}
    found += [f"Documentation.md: expected a link to {page.name}, found none"
              for page in catalog if page != landing and page.name not in listed]
    if found:
        sys.exit("\n".join(f"check-documentation: {problem}" for problem in found))
    print(f"{len(pages)} pages: all links resolve")
    if arguments.docc is None:
        print("DocC: skipped, expected docc in the Swift toolchain, found none")
        return
    if complaints := convert(arguments.docc, arguments.output):
        sys.exit(f"{complaints}\ncheck-documentation: expected a catalog that DocC converts without a warning")
    print("DocC: no warning")


if __name__ == "__main__":
    main()
