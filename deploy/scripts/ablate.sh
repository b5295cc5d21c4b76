#!/usr/bin/env bash
# usage: deploy/scripts/ablate.sh ENV SEED [SEED...] --preset PRESET [OPTION...]
#
# Leaves out one component at a time, EfficientZero's three unless --components names others.
# Options go to launch.py ablate as they are:
#   deploy/scripts/ablate.sh ALE/Pong-v5 0 1 2 --preset atari100k --components priority reanalyze
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit "$1"; }
case ${1:-} in -h | --help) usage 0 ;; esac
[[ $# -ge 2 && $1 != -* && $2 =~ ^[0-9]+$ ]] || usage 2 >&2
env=$1 seeds=()
shift
while [[ ${1:-} =~ ^[0-9]+$ ]]; do seeds+=("$1") && shift; done
exec "${PYTHON:-$root/.venv/bin/python}" "$root/launch.py" ablate --envs "$env" \
  --seeds "${seeds[@]}" --components consistency value_prefix off_policy "$@"
