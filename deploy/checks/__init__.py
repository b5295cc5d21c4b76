"""What can be known to go wrong before a process starts."""

from deploy.checks.devices import (
    check_run_devices,
    device_notes,
    has_cuda_device,
    visible_gpus,
)
from deploy.checks.env_trial import check_rewards, env_facts, env_notes
from deploy.checks.fork import FORKS, Fork, fork_named, place_fork
from deploy.checks.fork_checks import check_fork, check_frozen
from deploy.checks.memory import (
    MAX_MEMORY_SHARE,
    available_memory_bytes,
    check_memory,
    replay_memory,
)
from deploy.checks.preflight import (
    MIN_FREE_BYTES,
    PreflightError,
    addresses,
    addresses_text,
    check_installation,
    check_is_folder,
    check_run_name,
    check_runs_dir,
    check_tracking,
    one_line,
    reason,
    size,
)
from deploy.checks.untrained import search_notes

__all__ = [
    "FORKS",
    "MAX_MEMORY_SHARE",
    "MIN_FREE_BYTES",
    "Fork",
    "PreflightError",
    "addresses",
    "addresses_text",
    "available_memory_bytes",
    "check_fork",
    "check_frozen",
    "check_installation",
    "check_is_folder",
    "check_memory",
    "check_rewards",
    "check_run_devices",
    "check_run_name",
    "check_runs_dir",
    "check_tracking",
    "device_notes",
    "env_facts",
    "env_notes",
    "fork_named",
    "has_cuda_device",
    "one_line",
    "place_fork",
    "reason",
    "replay_memory",
    "search_notes",
    "size",
    "visible_gpus",
]
