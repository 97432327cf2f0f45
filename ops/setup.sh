#!/usr/bin/env bash
# Brings what building and testing need beyond Rust: Debian packages, cargo-nextest, and a Python
# environment with PyTorch, whose libtorch the trainer links. Whatever is there is left as it is, so
# a second run says nothing and ends at once.
set -euo pipefail
# shellcheck source=ops/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

say() { printf 'setup: %s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "root is needed to run: $*"
        return 1
    fi
}

# The packages that are missing, by what they bring: a tool from elsewhere serves as well.
missing_packages() {
    command -v git >/dev/null || echo git
    command -v g++ >/dev/null || echo g++
    command -v shellcheck >/dev/null || echo shellcheck
    python3 -c 'import venv, ensurepip' 2>/dev/null || printf '%s\n' python3 python3-venv
    # For tests of wrong clocks, and of networks that are cut.
    [ -e /usr/bin/faketime ] || echo faketime
    PATH=$PATH:/usr/sbin:/sbin command -v ip >/dev/null || echo iproute2
    [ -e /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ] || echo dataset-fashion-mnist
}

install_packages() {
    local packages
    mapfile -t packages < <(missing_packages)
    [ ${#packages[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || {
        say "this is not Debian; install what these packages hold: ${packages[*]}"
        return 1
    }
    say "installing ${packages[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

install_nextest() {
    command -v cargo-nextest >/dev/null && return 0
    say "installing cargo-nextest (some minutes, once)"
    cargo install --locked --quiet cargo-nextest
}

# Whether the environment holds every requirement, read from metadata: importing torch takes seconds.
requirements_met() {
    [ -x "$YARD_PYTHON" ] && "$YARD_PYTHON" - "$ROOT/ops/requirements.txt" <<'PYTHON'
import fnmatch, importlib.metadata, sys

for line in open(sys.argv[1]):
    name, _, version = line.strip().partition("==")
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        sys.exit(1)
    if version and not fnmatch.fnmatch(found.split("+")[0], version):
        sys.exit(1)
PYTHON
}

install_python() {
    requirements_met 2>/dev/null && return 0
    say "installing PyTorch into $VENV (4.7 GB, a minute or two, once)"
    mkdir -p "$YARD_CACHE"
    "$YARD_PYTHON" -c '' 2>/dev/null || python3 -m venv --clear "$VENV"
    "$YARD_PYTHON" -m pip install --quiet --disable-pip-version-check --no-input -r "$ROOT/ops/requirements.txt"
}

install_packages
install_nextest
install_python
