"""`milm prepare` in plain Python: counts words, then writes ids.

    python3 Tests/Benchmarks/peers/prepare.py TEXT OUTPUT [--vocabulary-size N]

Prints one JSON object: bytes, tokens, vocabulary, seconds, megabytesPerSecond, peakMegabytes. OUTPUT gets vocabulary.txt and
train.ids, the bytes of milm's vocabulary.txt and of train.tokens after its header.
"""

import argparse
import array
import collections
import json
import os
import resource
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("output")
    parser.add_argument("--vocabulary-size", type=int)
    arguments = parser.parse_args()
    os.makedirs(arguments.output, exist_ok=True)
    start = time.perf_counter()

    counts = collections.Counter()
    with open(arguments.text, "rb") as text:
        for line in text:
            counts.update(line.split())
            counts[b"<eos>"] += 1
    counts[b"<unk>"] += 0
    special = {b"<unk>", b"<eos>"}
    words = sorted(counts, key=lambda word: (-counts[word], word))
    if arguments.vocabulary_size:
        kept = set([word for word in words if word not in special][: arguments.vocabulary_size - 2]) | special
        words = [word for word in words if word in kept]
    with open(os.path.join(arguments.output, "vocabulary.txt"), "wb") as file:
        file.writelines(word + b"\n" for word in words)

    ids = {word: index for index, word in enumerate(words)}
    unknown, end = ids[b"<unk>"], ids[b"<eos>"]
    kind = "H" if len(words) <= 65536 else "I"
    tokens = 0
    with open(arguments.text, "rb") as text, open(os.path.join(arguments.output, "train.ids"), "wb") as file:
        for line in text:
            row = [ids.get(word, unknown) for word in line.split()]
            row.append(end)
            tokens += len(row)
            array.array(kind, row).tofile(file)
        file.flush()
        os.fsync(file.fileno())

    seconds = time.perf_counter() - start
    size = os.path.getsize(arguments.text)
    print(json.dumps({"bytes": size, "tokens": tokens, "vocabulary": len(words), "seconds": round(seconds, 3),
                      "megabytesPerSecond": round(size / 1e6 / seconds, 2),
                      "peakMegabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)}))


if __name__ == "__main__":
    main()
