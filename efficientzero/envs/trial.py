"""Tries an environment before a run starts: one reset, some random steps.

``deploy.checks.env_trial`` runs this module as a process, so that an environment that hangs, exits,
prints or crashes does so there: ``python -m efficientzero.envs.trial CONFIG``, EnvConfig as JSON.
Each line on stdout is a JSON object: what is being done, at last the facts or the error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from efficientzero.config import EnvConfig, config_from_dict
from efficientzero.envs.batch import SequentialEnvBatch, SingleEnv, random_actions
from efficientzero.envs.contract import STEP_VALUES
from efficientzero.envs.errors import EnvCrashed, EnvError
from efficientzero.envs.factory import import_env, make_env, spec_of
from efficientzero.envs.gym import GymEnv
from efficientzero.process.runtime import die_with_parent
from efficientzero.schema import EnvFacts

NUM_STEPS = 50
"""Env_steps of a trial, more than one episode if they are short."""
_NUM_TRIES = 2
"""An environment that crashes once in a while is one that a run can live with."""
_MOST_S = 2.0
"""A slow environment is stepped no longer than this."""


def try_env(config: EnvConfig, now: Callable[[str], None] = lambda what: None) -> EnvFacts:
    """Build the environment, reset it and play with random actions.

    Args:
        config: the task.
        now: called with what is being done.

    Raises:
        ValueError: in one line, why this environment cannot be used and what to do.
    """
    crash = ""
    for seed in range(_NUM_TRIES):
        try:
            return _try(config, seed, now, crash)
        except _CrashedLater as error:
            crash = str(error)
    raise ValueError(crash)


class _CrashedLater(Exception):
    """The environment crashed after some steps, which may be bad luck."""


def _try(config: EnvConfig, seed: int, now: Callable[[str], None], crash: str) -> EnvFacts:
    now("its import")
    import_env(config)
    now("its constructor")
    env = make_env(config, seed=seed, training=True, max_episode_steps=0)
    batch = SequentialEnvBatch(spec_of(env, config), [env])
    doing = "close"
    try:
        return replace(_play(env, batch, config, np.random.default_rng(seed), now), crash=crash)
    except (ValueError, _CrashedLater) as error:
        doing = f"close (after {error})"
        raise
    finally:
        now(doing)
        batch.close()


def _play(
    env: SingleEnv,
    batch: SequentialEnvBatch,
    config: EnvConfig,
    randomness: np.random.Generator,
    now: Callable[[str], None],
) -> EnvFacts:
    spec, rewards = batch.spec, [0.0]
    try:
        now("reset")
        observed = batch.reset([0])
        if env.has_legal_actions and not spec.has_legal_actions:  # known since the reset
            batch = SequentialEnvBatch(spec_of(env, config), [env])
            spec, observed = batch.spec, batch.reset([0])
        now("step")
        until = time.monotonic() + _MOST_S
        while len(rewards) <= NUM_STEPS and time.monotonic() < until:
            steps = batch.step([0], random_actions(spec, randomness, 1, observed.legal_actions))
            rewards.append(abs(float(steps.rewards[0])))
            has_ended = steps.terminated[0] or steps.truncated[0]
            observed = batch.reset([0]) if has_ended else steps.observed
    except EnvError as error:
        text = f"{error.headline}{_advice(error.headline)}"
        may_be_luck = isinstance(error, EnvCrashed) and len(rewards) > 1
        raise (_CrashedLater if may_be_luck else ValueError)(text) from error
    if isinstance(env, GymEnv) and env.out_of_range:
        raise ValueError(f"env.id={spec.env_id}: {env.out_of_range}: correct its observation_space")
    return EnvFacts(
        spec=spec,
        time_limit=env.time_limit,
        largest_reward=max(rewards),
        mean_reward=sum(rewards) / len(rewards),
        largest_pixel=env.largest_pixel if isinstance(env, GymEnv) else 255,
    )


def _advice(headline: str) -> str:
    """Return what the words of a failure mean where they are not the environment's own."""
    if "values to unpack" in headline:  # by one of gymnasium's wrappers
        return "; reset returns observation, info; step returns 5 values: " + ", ".join(STEP_VALUES)
    return ""


def main() -> int:
    """Try the environment of the command line; return 0, or 1 if it cannot be used."""
    die_with_parent()
    # No Ctrl-C reaches this session, so a KeyboardInterrupt is the environment's own.
    signal.signal(signal.SIGINT, lambda signum, frame: None)
    # What the environment prints must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    config = config_from_dict({"env": json.loads(sys.argv[1])}).env

    def answer(key: str, value: object) -> None:
        answers.write(json.dumps({key: value}) + "\n")

    try:
        facts = try_env(config, lambda what: answer("now", what))
    except ValueError as error:
        answer("error", str(error))
        return 1
    answer("facts", facts.to_json())
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of the environment must not hold up the exit
