#!/usr/bin/env bash
# usage: deploy/scripts/evaluate.sh ENV SEED [SEED...] [OPTION...]
#
# Plays greedy episodes with the newest checkpoint of the newest run of ENV with each seed.
# Options go to launch.py evaluate as they are:
#   deploy/scripts/evaluate.sh CartPole-v1 0 1 2 --episodes 100 --runs-dir runs
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit "$1"; }
case ${1:-} in -h | --help) usage 0 ;; esac
[[ $# -ge 2 && $1 != -* && $2 =~ ^[0-9]+$ ]] || usage 2 >&2
env=$1 seeds=()
shift
while [[ ${1:-} =~ ^[0-9]+$ ]]; do seeds+=("$1") && shift; done
exec "${PYTHON:-$root/.venv/bin/python}" "$root/launch.py" evaluate --env "$env" --seeds "${seeds[@]}" "$@"
