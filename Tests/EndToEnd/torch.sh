# shellcheck shell=bash
# PyTorch for the CPU, for scripts to source: has_torch, install_torch.

torch_version=2.13.0
torch_requirements=("torch==$torch_version+cpu" safetensors==0.8.0 numpy)
torch_index=https://download.pytorch.org/whl/cpu

# What reads the exports of milm_reader, as its users have it; MLflow's default is a database, for which its small variant
# needs two packages more.
reader_requirements=(transformers==5.24.0 wandb==0.31.0 mlflow-skinny==3.17.2 sqlalchemy alembic pandas)

# has_torch : Python has this PyTorch and safetensors.
has_torch() {
  python3 -c 'import sys, torch, safetensors; sys.exit(torch.__version__.split("+")[0] != sys.argv[1])' \
    "$torch_version" 2>/dev/null
}

# install_torch DIRECTORY : installs into the directory only, and adds it to PYTHONPATH.
install_torch() {
  local pip=(python3 -m pip install --quiet --disable-pip-version-check --no-input --target "$1")
  # pip's configured index may have the CPU wheels; PyTorch's own index has them.
  "${pip[@]}" "${torch_requirements[@]}" 2>"$1.log" ||
    "${pip[@]}" --extra-index-url "$torch_index" "${torch_requirements[@]}" 2>"$1.log" || return 1
  export PYTHONPATH=$1${PYTHONPATH:+:$PYTHONPATH}
  has_torch
}

# has_reader_packages : Python has what the tests of milm_reader need, beside PyTorch.
has_reader_packages() {
  python3 -c 'import transformers, wandb, mlflow, sqlalchemy, alembic, pandas, yaml' 2>/dev/null
}

# install_reader DIRECTORY : installs milm_reader from its directory, and what its tests need, into DIRECTORY only, and adds it to
# PYTHONPATH. PyTorch is there already.
install_reader() {
  local pip=(python3 -m pip install --quiet --disable-pip-version-check --no-input --no-compile --target "$1")
  "${pip[@]}" "${reader_requirements[@]}" 2>"$1.log" &&
    "${pip[@]}" --no-deps Sources/milm/python/milm_reader 2>>"$1.log" || return 1
  export PYTHONPATH=$1${PYTHONPATH:+:$PYTHONPATH}
  has_reader_packages
}

# require_torch : installs PyTorch for the benchmarks, into .build, unless Python has it.
require_torch() {
  local directory=$PWD/.build/peer-python
  export PYTHONPATH=$directory${PYTHONPATH:+:$PYTHONPATH}
  ! has_torch || return 0
  # shellcheck disable=SC2154  # Set by cluster/common.sh.
  printf '%s: installing PyTorch %s into %s\n' "$script" "$torch_version" "$directory" >&2
  mkdir -p "$directory"
  install_torch "$directory" || fail "expected PyTorch to be installable, found that it is not; see $directory.log"
}
