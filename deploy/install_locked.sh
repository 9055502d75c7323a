#!/bin/sh
# usage: install_locked.sh LOCK [TORCH_INDEX]
# Installs a lock, every file checked by its hash. With TORCH_INDEX: all of it but torch and what only torch's CUDA build needs,
# then the same version of torch from that index, whose builds the lock does not know: the index is what you trust for them.
set -eu
lock=$1 index=${2:-}
if [ -z "$index" ]; then
    exec pip install --no-deps --require-hashes -r "$lock"
fi
version=$(sed -n 's/^torch==\([^ ;]*\).*/\1/p' "$lock")
[ -n "$version" ] || { echo "$lock does not name torch" >&2; exit 1; }
awk '/^[a-z]/ { wanted = $0 !~ /^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==/ } wanted' "$lock" > without-torch.lock
pip install --no-deps --require-hashes -r without-torch.lock
pip install --no-deps --index-url "$index" "torch==$version"
