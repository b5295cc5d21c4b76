"""Whether a config can be run: by itself, with its environment, and as what a run began with.

Called by ``prepare`` and by whoever plans runs. Starts nothing but the trial of the environment.
"""

from __future__ import annotations

from typing import NamedTuple

from deploy.checks import (
    Fork,
    PreflightError,
    check_fork,
    check_rewards,
    check_tracking,
    env_facts,
    one_line,
)
from deploy.launching.groups import run_group
from efficientzero.config import Config, hyperparameters, validate, with_downsample
from efficientzero.schema import EnvSpec


class Checked(NamedTuple):
    """A config that can be run."""

    config: Config
    """With what the environment decides: ``network.downsample``, where 0 would be costly."""
    spec: EnvSpec
    group: str


def check_config(config: Config, fork: Fork | None = None, *, suffix_before: str = "") -> Checked:
    """Return the config to run, the environment's shape and the group's name, or say what is wrong.

    Args:
        config: resolved.
        fork: what the run takes from another one.
        suffix_before: the group suffix of a run that goes on.

    Raises:
        PreflightError: one line.
    """
    check_tracking(config.tracking, suffix_before)
    try:
        validate(config, None)
        facts = env_facts(config.env, limit_s=config.cluster.env_check_seconds)
        spec = facts.spec
        validate(config, spec)
        check_rewards(config, facts)
        # The network of a parent that has no number is kept, with its weights or without.
        if fork is None or fork.parent.config.network.downsample:
            config = with_downsample(config, spec)
        if fork is not None:
            check_fork(fork, config, spec)
        return Checked(config, spec, run_group(config, fork.lineage if fork else None))
    except ValueError as error:
        raise PreflightError(one_line(error)) from error


def check_same_experiment(before: Config, now: Config, option: str) -> None:
    """Check that a run goes on as it began.

    Args:
        before: as the run folder has it.
        now: as asked for.
        option: what asked for the run, for the message.

    Raises:
        PreflightError: a value differs that could change what is learned.
    """
    fixed = {**hyperparameters(before), "seed": before.seed, "preset": before.preset}
    wanted = {**hyperparameters(now), "seed": now.seed, "preset": now.preset}
    for key in {**fixed, **wanted}:  # arguments of the environment may be on one side only
        got, value = wanted.get(key, "none"), fixed.get(key, "none")
        if got != value:
            raise PreflightError(
                f"--{key}: got {got}, but the run was started with {value}; going on "
                f"({option}) it may only change cluster and tracking options"
            )
