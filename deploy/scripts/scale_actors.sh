#!/usr/bin/env bash
# usage: deploy/scripts/scale_actors.sh ENV SEED [SEED...] --preset PRESET [OPTION...]
#
# Runs with 1, 2, 4 and 8 actors, or those that --actors names, then writes table and picture.
# Options go to launch.py ablate as they are:
#   deploy/scripts/scale_actors.sh CartPole-v1 0 1 2 --preset cartpole --actors 1 2 4 8 16
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit "$1"; }
case ${1:-} in -h | --help) usage 0 ;; esac
[[ $# -ge 2 && $1 != -* && $2 =~ ^[0-9]+$ ]] || usage 2 >&2
env=$1 seeds=()
shift
while [[ ${1:-} =~ ^[0-9]+$ ]]; do seeds+=("$1") && shift; done
exec "${PYTHON:-$root/.venv/bin/python}" "$root/launch.py" ablate --envs "$env" \
  --seeds "${seeds[@]}" --actors 1 2 4 8 "$@"
