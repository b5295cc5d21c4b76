"""Real frames of five Atari games, in the form that an actor sends to replay.

Played with random actions through the real emulator and preprocessing, once per process of the
benchmark. The rest of a step is drawn: visit shares of 50 simulations, values that all differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from efficientzero.config import Config, EnvConfig
from efficientzero.envs import make_env_batch
from efficientzero.schema import F32, Ending, EnvSpec, Frames, ReplayStep, Shown
from replay.steps import EpisodeWriter

GAMES = ("Pong", "Breakout", "MsPacman", "Seaquest", "BattleZone")
_NUM_SIMULATIONS = 50
_CONCENTRATION = 0.3  # of the visit shares: some actions get most visits


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedGame:
    """Consecutive steps of one game; ``ends`` lists the ends of episodes inside."""

    spec: EnvSpec
    frames: Frames  # [T + 1, C, H, W] the first and those after each step
    ends: frozenset[int]  # steps after which an episode ended; its next first frame follows
    policies: F32  # [T, A]
    values: F32  # [T]

    def __len__(self) -> int:
        return len(self.values)

    def steps(self) -> list[ReplayStep]:
        """Return all steps as an actor's recorder makes them."""
        return [
            ReplayStep(
                frame=self.frames[t],
                action=t % self.spec.num_actions,
                reward=0.0,
                search_policy=self.policies[t],
                root_value=float(self.values[t]),
                priority=1.0,
                weights_version=t,
                env_step=t,
            )
            for t in range(len(self))
        ]

    def write(self, writer: EpisodeWriter, steps: Sequence[ReplayStep]) -> None:
        """Hand the game's ``steps()`` to ``writer``; the end is a truncation."""
        last = len(self) - 1
        for t, step in enumerate(steps):
            writer.append(step)
            if t in self.ends or t == last:
                ending = Ending.TERMINATED if t in self.ends else Ending.TRUNCATED
                writer.end(Shown(self.frames[t + 1]), ending)


def play_games(num_steps: int, *, seed: int = 0) -> list[PlayedGame]:
    """Play ``num_steps`` env_steps of each game with random actions (0.6 ms of CPU each)."""
    return [play_game(game, num_steps, seed=seed) for game in GAMES]


def play_game(game: str, num_steps: int, *, seed: int = 0) -> PlayedGame:
    """Play ``num_steps`` env_steps of one game with random actions."""
    config = Config(env=EnvConfig(id=f"ALE/{game}-v5"))
    envs = make_env_batch(config, seeds=[seed], purpose="training")
    generator = np.random.default_rng(seed)
    num_actions = envs.spec.num_actions
    frames = np.empty((num_steps + 1, *envs.spec.frame_shape), np.uint8)
    frames[0], ends = envs.reset([0]).frames[0], set()
    for t in range(num_steps):
        steps = envs.step([0], generator.integers(num_actions, size=1))
        frames[t + 1] = steps.observed.frames[0]
        if steps.terminated[0] or steps.truncated[0]:
            ends.add(t)
            frames[t + 1] = envs.reset([0]).frames[0]
    envs.close()
    shares = generator.dirichlet(np.full(num_actions, _CONCENTRATION), num_steps)
    visits = [generator.multinomial(_NUM_SIMULATIONS, share) for share in shares]
    return PlayedGame(
        spec=envs.spec,
        frames=frames,
        ends=frozenset(ends),
        policies=(np.array(visits) / _NUM_SIMULATIONS).astype(np.float32),
        values=generator.normal(size=num_steps).astype(np.float32),
    )
