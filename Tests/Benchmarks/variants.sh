#!/usr/bin/env bash
# Trains the paper's three variants at equal parameters on WikiText-2, one after the other, and draws their validation curves.
#
#   Tests/Benchmarks/variants.sh WIKITEXT2 [DIRECTORY]
#
# WIKITEXT2 is the directory with wiki.{train,valid,test}.tokens. DIRECTORY (default: variants) receives corpus, runs and
# variants.svg; what is finished there is not computed again. MILM names the program (default: .build/release/milm). 900 steps of 1,024
# tokens, 5.68 million parameters each, one seed.
set -euo pipefail

root=$(dirname "$(dirname "$(dirname "$(realpath "$0")")")")
# shellcheck source-path=SCRIPTDIR source=../../cluster/common.sh
. "$root/cluster/common.sh"

only_help "$@"
[ $# -gt 0 ] || usage_error "expected the directory of WikiText-2, found nothing"
milm=${MILM:-$root/.build/release/milm}
text=$1
directory=${2:-variants}
mkdir -p "$directory"

if [ ! -e "$directory/corpus/corpus.json" ]; then
  "$milm" prepare --train "$text/wiki.train.tokens" --valid "$text/wiki.valid.tokens" \
    --test "$text/wiki.test.tokens" --output "$directory/corpus"
fi

# train VARIANT HIDDEN : hidden widths give each variant the same number of parameters.
train() {
  "$milm" train "$root/configs/wikitext-2.yaml" --corpus "$directory/corpus" --output "$directory/$1" --resume auto \
    --set "model.variant=$1" --set "model.hidden=$2" --set training.steps=900 --set training.precision=bfloat16 \
    --set coordinator.evaluateEvery=150 --set coordinator.checkpointEvery=150
}

train lstm 514
train multdec 415
train multencdec 384
python3 "$root/Tests/Benchmarks/curve.py" --title "WikiText-2, 5.68 million parameters each" \
  "LSTM=$directory/lstm/metrics.jsonl" "LSTM + MultDec=$directory/multdec/metrics.jsonl" \
  "LSTM + MultEncDec=$directory/multencdec/metrics.jsonl" >"$directory/variants.svg"
printf '%s\n' "$directory/variants.svg"
