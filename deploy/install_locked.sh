#!/bin/sh
# usage: install_locked.sh LOCK [TORCH_INDEX]
# Installs a lock with the `pip` of PATH, every file checked by its hash. With TORCH_INDEX, the
# address of a package index: the locked version of torch from there, and of the lock all but torch
# and what only its CUDA build needs. The lock has no hashes of those builds: for torch, and for
# torch alone, the index is what you trust.
set -eu
lock=$1 index=${2:-}
if [ -z "$index" ]; then
    exec pip install --no-deps --require-hashes -r "$lock"
fi
version=$(sed -n 's/^torch==\([^ ;]*\).*/\1/p' "$lock")
[ -n "$version" ] || { echo "$lock does not name torch" >&2; exit 1; }
rest=$(mktemp)
trap 'rm -f "$rest"' EXIT
trap 'exit 130' INT TERM
of_cuda='^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)=='
awk -v left_out="$of_cuda" '/^[a-z]/ { wanted = $0 !~ left_out } wanted' "$lock" > "$rest"
# torch first: a wrong address is seen before anything large is fetched
pip install --no-deps --index-url "$index" "torch==$version"
pip install --no-deps --require-hashes -r "$rest"
