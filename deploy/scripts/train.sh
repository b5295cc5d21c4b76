#!/usr/bin/env bash
# usage: deploy/scripts/train.sh ENV SEED [SEED...] [OPTION...]
#
# Trains once for each seed, one run after the other. Options go to launch.py as they are:
#   deploy/scripts/train.sh CartPole-v1 0 1 2 --preset cartpole --actors 2
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit "$1"; }
case ${1:-} in -h | --help) usage 0 ;; esac
[[ $# -ge 2 && $1 != -* && $2 =~ ^[0-9]+$ ]] || usage 2 >&2
env=$1 seeds=()
shift
while [[ ${1:-} =~ ^[0-9]+$ ]]; do seeds+=("$1") && shift; done
for seed in "${seeds[@]}"; do
  "${PYTHON:-$root/.venv/bin/python}" "$root/launch.py" --local --env "$env" --seed "$seed" "$@"
done
