#!/usr/bin/env bash
# Runs a command beside an S3 server on loopback (moto, from PyPI, in an environment of its own),
# with the variables that point the store's S3 tests at it. The server ends with the command.
set -euo pipefail
# shellcheck source=ops/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

s3=$YARD_CACHE/s3
if ! "$s3/bin/python" -c 'import importlib.metadata as m; m.version("moto")' 2>/dev/null; then
    printf 'setup: installing moto into %s\n' "$s3" >&2
    python3 -m venv --clear "$s3"
    "$s3/bin/python" -m pip install --quiet --disable-pip-version-check --no-input 'moto[server,s3]'
fi

folder=$(mktemp -d)
"$s3/bin/moto_server" -H 127.0.0.1 -p 0 >"$folder/log" 2>&1 &
server=$!
finish() {
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT

endpoint=
for _ in $(seq 300); do
    endpoint=$(grep -om1 'http://127\.0\.0\.1:[0-9]*' "$folder/log" || true)
    [ -z "$endpoint" ] || break
    kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
    sleep 0.1
done
# Any key does; the bucket has to be there.
export AWS_ENDPOINT_URL=$endpoint AWS_REGION=us-east-1
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test YARD_TEST_STORE=s3://trainyard/tests
"$s3/bin/python" -c '
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1] + "/trainyard", method="PUT"))' "$endpoint"
"$@"
