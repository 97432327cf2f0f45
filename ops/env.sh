# shellcheck shell=bash
# Where the repository's scripts find their tools. To be sourced; it changes variables alone.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
YARD_CACHE=${YARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trainyard}
VENV=$YARD_CACHE/venv
YARD_PYTHON=$VENV/bin/python
export ROOT YARD_CACHE VENV YARD_PYTHON

# The build of yard-train compiles and links against this folder. An own LIBTORCH is respected.
if [ -z "${LIBTORCH:-}" ]; then
    for folder in "$VENV"/lib/python3*/site-packages/torch; do
        if [ -d "$folder" ]; then
            export LIBTORCH=$folder
        fi
    done
    unset folder
fi
