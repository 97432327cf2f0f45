#!/usr/bin/env bash
# A first look: a cluster on this machine, a real training on two workers, a registered model, and
# plain Python that loads it. Everything lives in a temporary folder and ends with the script.
set -euo pipefail
# shellcheck source=ops/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

cargo build --release --locked --package yard --package trainyard-train
target=${CARGO_TARGET_DIR:-$ROOT/target}
PATH=$target/release:$VENV/bin:$PATH

folder=$(mktemp -d "${TMPDIR:-/tmp}/trainyard-demo.XXXXXX")
cd "$folder"
export XDG_STATE_HOME=$folder/state XDG_CONFIG_HOME=$folder/config
cluster=

# Only what this script started, by its id: `yard dev` ends its own when it is told to stop.
finish() {
    if [ -n "$cluster" ]; then
        kill -TERM "$cluster" 2>/dev/null || true
        wait "$cluster" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap finish EXIT

bold='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
show() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; }
step() { show "$@"; "$@"; }

show 'yard dev --schedulers 3 --workers 3 --slots 1 &'
yard dev --schedulers 3 --workers 3 --slots 1 >dev.log 2>&1 &
cluster=$!
for _ in $(seq 300); do
    if yard node list -o json 2>/dev/null | "$YARD_PYTHON" -c '
import json, sys
nodes = json.load(sys.stdin)["items"]
sys.exit(sum(node["state"] == "up" for node in nodes) < 3)' 2>/dev/null; then
        break
    fi
    kill -0 "$cluster" 2>/dev/null || { cat dev.log; exit 1; }
    sleep 0.1
done

step yard cluster status
step yard node list
step yard run "$ROOT/jobs/examples/fashion-mnist.toml"
step yard model get fashion-mnist
step yard model pull fashion-mnist --to model
step yard model verify fashion-mnist
step python "$ROOT/ops/load_model.py" model
