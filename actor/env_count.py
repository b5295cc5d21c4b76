"""How many environments an actor plays: as configured, or found by timing at start.

Called by ``actor.__main__``. More environments make a search cheaper per root until the device is
busy; beyond that they only make data older. The choice is bounded by ``Config.most_envs``, which
also determines the pace's slack; so the pace does not depend on the choice or the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from actor.turn import halves_take_turns
from efficientzero.config import Config
from efficientzero.envs import make_env_batch, random_actions
from efficientzero.inference import step_clock, step_seconds
from efficientzero.networks import EfficientZeroNet
from efficientzero.schema import EnvSpec

_DEFAULT_NUM_ENVS = 4
_GOOD_ENOUGH_SHARE = 0.9  # of the best rate: choose the fewest environments that reach it
_TIMED_ENV_STEPS = 32

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TurnTimes:
    """Duration of one search and step of E environments, in seconds."""

    search_s: float  # of all roots that search together
    envs_s: float  # of the environments they belong to
    groups: int  # 2: one half searches while the other's environments step

    def rate(self, num_envs: int) -> float:
        """Return env_steps per second."""
        if self.groups == 1:
            return num_envs / (self.search_s + self.envs_s)
        return num_envs / (self.groups * max(self.search_s, self.envs_s))


def env_count(
    config: Config, spec: EnvSpec, network: EfficientZeroNet, device: torch.device
) -> int:
    """Return the configured number of environments, or the one found by timing.

    A deterministic run uses a fixed number, because timing varies.
    """
    if config.actor.num_envs:
        return config.actor.num_envs
    if config.cluster.deterministic:
        return min(_DEFAULT_NUM_ENVS, config.most_envs)
    env_s = _env_step_seconds(config, spec, step_clock(device))
    groups = 2 if halves_take_turns(config, on_gpu=device.type != "cpu") else 1
    together = {count: -(-count // groups) for count in candidates(config.most_envs)}
    step_s = step_seconds(config.search, network, device, dict.fromkeys(together.values()))
    simulations = max(1, config.search.num_simulations)  # without a search: one inference
    return choose(
        (count, TurnTimes(simulations * step_s[size], size * env_s, groups))
        for count, size in together.items()
    )


def candidates(most: int) -> list[int]:
    """Return 1, 2, 4 ... and ``most``."""
    return [*(2**k for k in range((most - 1).bit_length())), most]


def choose(timed: Iterable[tuple[int, TurnTimes]]) -> int:
    """Return the fewest environments whose rate is within a tenth of the best."""
    rates = {count: times.rate(count) for count, times in timed}
    limit = _GOOD_ENOUGH_SHARE * max(rates.values())
    chosen = min(count for count, rate in rates.items() if rate >= limit)
    found = ", ".join(f"{count}: {rate:.0f}" for count, rate in rates.items())
    log.info("play %d environments (env_steps/s: %s)", chosen, found)
    return chosen


def _env_step_seconds(config: Config, spec: EnvSpec, clock: Callable[[], float]) -> float:
    """Return the median seconds of an env_step with random actions, by ``clock``."""
    # A separate environment, used for timing only.
    envs = make_env_batch(config, seeds=[0], purpose="training", expected=spec)
    randomness = np.random.default_rng(0)
    observed = envs.reset([0])
    seconds = []
    for _ in range(_TIMED_ENV_STEPS):
        action = random_actions(spec, randomness, 1, observed.legal_actions)
        started = clock()
        steps = envs.step([0], action)
        seconds.append(clock() - started)
        has_ended = steps.terminated[0] or steps.truncated[0]
        observed = envs.reset([0]) if has_ended else steps.observed
    envs.close()
    return median(seconds)
