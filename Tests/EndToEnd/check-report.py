#!/usr/bin/env python3
"""Looks at the report pages in a headless browser.

    Tests/EndToEnd/check-report.py [MILM] [--pictures DIR]

Writes runs with the curves of short, long, diverging and interrupted training and of several seeds, has milm draw their
reports and a comparison, and opens every page in Chromium, at the width of a desktop and of a phone, light and dark. Fails
where labels touch or lie on a curve, text is cut off, or the page is wider than the window. --pictures keeps what the
browser shows. Needs chromium.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
WIDTHS = {"desktop": 1280, "phone": 390}
SCHEMES = {"light": [], "dark": ["--blink-settings=preferredColorScheme=0"]}

# Runs in the page: collects what a reader would stumble over.
SCRIPT = r"""
function touching(a, b, gap) {
  return a.left < b.right + gap && b.left < a.right + gap && a.top < b.bottom + gap && b.top < a.bottom + gap;
}
function look() {
  const found = [];
  const title = (element) => element.closest('section')?.querySelector('h2')?.textContent ?? '';
  if (document.documentElement.scrollWidth > innerWidth)
    found.push(`the page is ${document.documentElement.scrollWidth} wide in a window of ${innerWidth}`);
  for (const frame of document.querySelectorAll('.frame')) {
    const card = frame.closest('section').getBoundingClientRect();
    for (const axis of ['.x', '.y']) {
      const labels = [...frame.querySelectorAll(axis + ' span')];
      labels.forEach((label, index) => {
        const box = label.getBoundingClientRect();
        if (box.left < card.left || box.right > card.right)
          found.push(`${title(frame)}: the label ${label.textContent} leaves its card`);
        for (const other of labels.slice(index + 1))
          if (touching(box, other.getBoundingClientRect(), axis === '.x' ? 3 : 0))
            found.push(`${title(frame)}: the labels ${label.textContent} and ${other.textContent} touch`);
      });
    }
    for (const note of frame.querySelectorAll('.note')) {
      const box = note.getBoundingClientRect();
      if (box.left < card.left || box.right > card.right)
        found.push(`${title(frame)}: the note ${note.textContent} leaves its card`);
      for (const line of frame.querySelectorAll('path.line')) {
        const matrix = line.getScreenCTM(), length = line.getTotalLength();
        for (let step = 0; step <= 2000; step++) {
          const point = line.getPointAtLength(length * step / 2000).matrixTransform(matrix);
          if (point.x > box.left && point.x < box.right && point.y > box.top + 1 && point.y < box.bottom - 1) {
            found.push(`${title(frame)}: the note ${note.textContent} lies on a curve`);
            break;
          }
        }
      }
    }
  }
  for (const cell of document.querySelectorAll('.tile b, .tile span, h1, h2, .legend li'))
    if (cell.scrollWidth > cell.clientWidth + 1 && getComputedStyle(cell).display !== 'inline')
      found.push(`${cell.textContent} is cut off`);
  return found;
}
"""


def write_run(directory: Path, name: str, *, steps: int, every: int, floor: float, seed: int = 1, variant: str = "multdec",
              rate: str = "0.001", evaluate: int = 0, gap: float = 0.2, decay: float = 12, speed: float = 40_000, diverges: bool = False, resumed: int = 0) -> None:
    """A run whose loss falls to about `floor` nats per token."""
    run, noise, evaluate = directory / name, random.Random(f"{name} {seed}"), evaluate or steps // 20
    (run / "checkpoints").mkdir(parents=True)
    (run / "vocabulary.txt").write_text("<unk>\n<eos>\n")
    (run / "config.yaml").write_text(
        f"model: {{ variant: {variant} }}\ntraining: {{ steps: {steps}, seed: {seed} }}\noptimizer: {{ learningRate: {rate} }}\n")
    session = {
        "beginning": "begun", "step": 0, "tokens": 0, "time": "2026-11-28T12:00:00Z", "lastStep": steps, "version": "0.2.0",
        "ranks": 4, "hosts": 2, "engine": "oneDNN, avx512_core_bf16, bfloat16, 16 threads", "processor": "a processor",
        "model": f"{variant}, form full", "parameters": 44_000_000, "vocabulary": 267_735}
    sessions = [session] + ([session | {"beginning": "resumed", "step": resumed, "tokens": resumed * 4096}] if resumed else [])
    (run / "sessions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in sessions))
    with (run / "metrics.jsonl").open("w") as file:
        for step in range(every, steps + 1, every):
            part = step / steps
            loss = floor + (11 - floor) * math.exp(-decay * part) + noise.gauss(0, 0.05)
            loss += 8 * (part - 0.8) if diverges and part > 0.8 else 0
            file.write(json.dumps({
                "step": step, "tokens": step * 4096, "epoch": step / 9000, "loss": loss, "perplexity": math.exp(loss),
                "learningRate": 1e-3 * (1 + math.cos(math.pi * part)) / 2, "gradientNorm": math.exp(noise.gauss(-1, 0.3)),
                "tokensPerSecond": speed * noise.uniform(0.9, 1.05), "computeSeconds": 0.07 * every,
                "exchangeSeconds": 0.05 * every, "exposedSeconds": 0.01 * every, "rawBytes": 176_000_000 * every,
                "wireBytes": 40_000_000 * every, "codec": "int8", "skippedSteps": 0}) + "\n")
            if step % evaluate == 0:
                valid = floor + gap + (11 - floor) * math.exp((1 - decay) * part) + noise.gauss(0, 0.004) + 0.15 * part * part
                file.write(json.dumps({
                    "step": step, "split": "valid", "perplexity": math.exp(valid), "nll": 1.0, "tokens": 217_646,
                    "seconds": 12.0}) + "\n")


def write_pages(directory: Path, milm: Path) -> list[Path]:
    """The pages to look at."""
    write_run(directory, "long", steps=400_000, every=200, floor=3.4, resumed=123_000)
    write_run(directory, "short", steps=12, every=1, floor=5.5, evaluate=4)
    write_run(directory, "middle", steps=3600, every=10, floor=4.6, evaluate=300)
    write_run(directory, "diverging", steps=9000, every=10, floor=4.2, diverges=True)
    # With dropout the perplexity of training lies above that of validation; and a run that ends early still falls.
    write_run(directory, "dropout", steps=9000, every=10, floor=4.6, gap=-0.3)
    write_run(directory, "falling", steps=2000, every=10, floor=4, gap=0.1, decay=2.5, evaluate=500)
    write_run(directory, "close", steps=9000, every=10, floor=4.4, gap=-0.16)
    write_run(directory, "first-step", steps=1, every=1, floor=5, evaluate=1)
    pages = []

    def report(page: str, *runs: str) -> None:
        pages.append(directory / page)
        subprocess.run([milm, "report", *(directory / run for run in runs), "--output", pages[-1]], check=True,
                       stdout=subprocess.DEVNULL)

    for name in ("long", "short", "middle", "diverging", "dropout", "falling", "close", "first-step"):
        report(f"{name}.html", name)
    for variant, floor in (("lstm", 3.62), ("multdec", 3.5), ("multencdec", 3.42)):
        for seed in (1, 2, 3):
            write_run(directory, f"{variant}-{seed}", steps=40_000, every=100, floor=floor + 0.01 * seed, seed=seed,
                      variant=variant, speed=60_000 if variant == "lstm" else 41_000)
    report("variants.html", *(f"{variant}-{seed}" for variant in ("lstm", "multdec", "multencdec") for seed in (1, 2, 3)))
    for index in range(14):
        write_run(directory, f"rate-{index}", steps=2000 + 100 * index, every=10, floor=4 + 0.05 * index, rate=f"{2.0 ** -index}",
                  evaluate=100)
    report("rates.html", *(f"rate-{index}" for index in range(14)))
    report("two-short.html", "short", "first-step")
    return pages


class Browser:
    """Chromium without a window."""

    def __init__(self, program: str, profile: Path):
        self.command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}",
                        "--virtual-time-budget=4000"]

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            sys.exit(f"check-report: expected chromium to open a page, found status {done.returncode}\n{done.stderr[-2000:]}")
        return done.stdout

    def problems(self, page: Path, width: int, scheme: str) -> list[str]:
        """What is wrong with a page: it is shown in a frame, as a window has a least width."""
        inner = page.with_name(f"{page.stem}-inner.html")
        inner.write_text(page.read_text().replace(
            "</body>", f"<script>{SCRIPT}; parent.postMessage({{found: look()}}, '*')</script></body>"))
        outer = page.with_name(f"{page.stem}-outer.html")
        outer.write_text(
            "<pre id=found></pre><script>onmessage = (event) => found.textContent = JSON.stringify(event.data.found)</script>"
            f"<iframe src={inner.name} style='width:{width}px;height:3000px;border:0'></iframe>")
        shown = self(*SCHEMES[scheme], "--window-size=1400,3200", "--dump-dom", outer.as_uri())
        found = re.search(r"<pre id=\"found\">(.*?)</pre>", shown, re.S)
        if not found or not found[1]:
            sys.exit(f"check-report: {page.name}: expected the browser's findings, found none in\n{shown[:2000]}")
        return json.loads(html.unescape(found[1]))

    def picture(self, page: Path, width: int, scheme: str, path: Path) -> None:
        outer = page.with_name(f"{page.stem}-picture.html")
        height = 2600 if width > 600 else 4600
        outer.write_text(f"<body style='margin:0'><iframe src={page.name} style='width:{width}px;height:{height}px;border:0'></iframe>")
        self(*SCHEMES[scheme], f"--window-size={max(width, 500)},{height}", f"--screenshot={path}", outer.as_uri())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("milm", nargs="?", default=REPOSITORY / ".build/release/milm", type=Path)
    parser.add_argument("--pictures", type=Path, help="a directory for PNG files of every page, width and scheme")
    arguments = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        sys.exit("check-report: expected chromium, found none")
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        browser = Browser(program, directory / "profile")
        failures = []
        pages = write_pages(directory, arguments.milm.resolve())
        for page in pages:
            for size, width in WIDTHS.items():
                for scheme in SCHEMES:
                    place = f"{page.name}, {size}, {scheme}"
                    # The layout does not depend on the colors.
                    if scheme == "light":
                        failures += [f"{place}: {problem}" for problem in browser.problems(page, width, scheme)]
                    if arguments.pictures:
                        browser.picture(page, width, scheme, arguments.pictures.resolve() / f"{page.stem}-{size}-{scheme}.png")
    if failures:
        sys.exit("\n".join(f"check-report: {failure}" for failure in failures))
    print(f"check-report: {len(pages)} pages, nothing touches")


if __name__ == "__main__":
    main()
