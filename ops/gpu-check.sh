#!/usr/bin/env bash
# Tries the trainer's CUDA and NCCL paths on this machine's GPU, with a `yard-train` that is already
# built (YARD_TRAIN_BIN, or this repository's): the machine with the GPU need not be able to build.
# It may have a PyTorch 2.11.0 of its own; then that one's libraries are used.
set -euo pipefail
# shellcheck source=ops/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

target=${CARGO_TARGET_DIR:-$ROOT/target}
trainer=${YARD_TRAIN_BIN:-}
for profile in release debug; do
    [ -n "$trainer" ] || { [ -x "$target/$profile/yard-train" ] && trainer=$target/$profile/yard-train; } || true
done
if [ -z "$trainer" ]; then
    echo "gpu-check: no yard-train; build it with: make build" >&2
    exit 1
fi

if [ ! -d "${LIBTORCH:-}/lib" ]; then
    torch=$(python3 -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')
    libraries=$torch/lib
    for folder in "$torch"/../nvidia/*/lib; do
        [ -d "$folder" ] && libraries=$libraries:$folder
    done
    export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
"$trainer" --probe
exec "$trainer" gpu-check
