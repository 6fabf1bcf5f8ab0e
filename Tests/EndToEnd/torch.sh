# shellcheck shell=bash
# PyTorch for the CPU, for scripts to source: has_torch, install_torch.

torch_version=2.13.0
torch_requirements=("torch==$torch_version+cpu" safetensors==0.8.0 numpy)
torch_index=https://download.pytorch.org/whl/cpu

# has_torch : Python finds this PyTorch and safetensors.
has_torch() {
  python3 -c 'import sys, torch, safetensors; sys.exit(torch.__version__.split("+")[0] != sys.argv[1])' \
    "$torch_version" 2>/dev/null
}

# install_torch FOLDER : into the folder, not into the system, and into this shell's PYTHONPATH.
install_torch() {
  local pip=(python3 -m pip install --quiet --disable-pip-version-check --no-input --target "$1")
  # The index that pip is set up with may have the CPU's wheels; PyTorch's own index has them for sure.
  "${pip[@]}" "${torch_requirements[@]}" 2>"$1.log" ||
    "${pip[@]}" --extra-index-url "$torch_index" "${torch_requirements[@]}" 2>"$1.log" || return 1
  export PYTHONPATH=$1${PYTHONPATH:+:$PYTHONPATH}
  has_torch
}
