#!/usr/bin/env bash
# Brings the peers that `make bench` measures beside: etcd and Slurm from Debian, HyperQueue from
# PyPI into a Python environment of its own. None of their services is left running.
set -euo pipefail
# shellcheck source=ops/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

packages=()
for pair in etcd:etcd-server etcdctl:etcd-client slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client munged:munge; do
    command -v "${pair%%:*}" >/dev/null || [ -x "/usr/sbin/${pair%%:*}" ] || packages+=("${pair##*:}")
done
if [ ${#packages[@]} -gt 0 ]; then
    printf 'setup: installing %s\n' "${packages[*]}" >&2
    root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    "${root[@]}" apt-get update -qq
    # The benchmark runs its own: RUNLEVEL keeps init scripts from starting theirs, systemd is told.
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    if [ -d /run/systemd/system ]; then
        "${root[@]}" systemctl disable --now --quiet etcd slurmctld slurmd munge
    fi
fi

peers=$YARD_CACHE/peers
if ! "$peers/bin/python" -c 'import importlib.metadata as m; m.version("hyperqueue")' 2>/dev/null; then
    printf 'setup: installing HyperQueue into %s\n' "$peers" >&2
    python3 -m venv --clear "$peers"
    "$peers/bin/python" -m pip install --quiet --disable-pip-version-check --no-input hyperqueue
fi
