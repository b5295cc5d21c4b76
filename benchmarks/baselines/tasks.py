"""A preset as a baseline sees it: its environments, its budget, its evaluation, its seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import process_time
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from actor.games import Chooser, evaluation_seeds, greedily, play_episodes
from efficientzero.config import Config
from efficientzero.envs import EnvBatch, make_env_batch, probe_env_spec
from efficientzero.networks import scale_pixels
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import EnvSpec, PolicyShape, Roots
from efficientzero.search import UniformPlanner

Array: TypeAlias = npt.NDArray[Any]

_SMALL_IMAGE = 20  # pixels a side; MinAtar has 10, Atari 84 or 96
_LONGEST_EVALUATION = 1_000  # env_steps of an episode that nothing else ends


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluation."""

    env_steps: int
    return_mean: float
    cpu_seconds: float
    """Of training until then, without evaluations."""


@dataclass(slots=True)
class Curve:
    """The result of a training."""

    points: list[Point] = field(default_factory=list)
    evaluated_cpu_s: float = 0.0
    started_cpu_s: float = field(default_factory=process_time)

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of training so far, all threads."""
        return process_time() - self.started_cpu_s - self.evaluated_cpu_s


class Task:
    """A preset's environments, with one seed."""

    def __init__(self, config: Config, *, num_evaluations: int, num_episodes: int) -> None:
        """Read the environment's spec.

        Args:
            config: with the seed.
            num_evaluations: over the budget's env_steps, at equal distances.
            num_episodes: greedy ones in each.
        """
        limit = config.env.final_eval_max_episode_steps or _LONGEST_EVALUATION
        env = replace(config.env, final_eval_max_episode_steps=min(limit, _LONGEST_EVALUATION))
        self.config, self.spec = replace(config, env=env), probe_env_spec(env)
        self.env_steps = config.budget.env_steps
        self._interval = max(1, self.env_steps // num_evaluations)
        self._num_episodes = num_episodes
        self._stop = StopSignal()

    def make_envs(self, num_envs: int) -> EnvBatch:
        """Return environments for training."""
        seeds = [int(s) for s in np.random.SeedSequence(self.config.seed).generate_state(num_envs)]
        return make_env_batch(self.config, seeds=seeds, purpose="training", expected=self.spec)

    def evaluate_when_due(self, curve: Curve, env_steps: int, choose: Chooser) -> None:
        """Add a point to ``curve`` at every interval."""
        if env_steps // self._interval <= len(curve.points):
            return
        cpu_seconds, started = curve.cpu_seconds, process_time()
        seeds = evaluation_seeds(self.config, self._num_episodes)
        envs = make_env_batch(
            self.config, seeds=seeds, purpose="final_evaluation", expected=self.spec
        )
        try:
            results = play_episodes(envs, choose, self._stop)
        finally:
            envs.close()
        assert results is not None  # this stop signal is never set
        mean = float(np.mean([result.episode_return for result in results]))
        curve.points.append(Point(env_steps, mean, cpu_seconds))
        curve.evaluated_cpu_s += process_time() - started

    def rewards(self, raw: Array) -> Array:
        """Return the rewards to learn from: raw, or their signs."""
        return np.sign(raw) if self.config.env.clip_rewards else raw


class Body(nn.Module):
    """Observations to features: MinAtar's small network, Atari's, or two layers for vectors.

    MinAtar: Young and Tian, 2019, section 4. Atari: Mnih et al., 2015.
    """

    def __init__(self, spec: EnvSpec, hidden_size: int = 128) -> None:
        """Build it for the environment's observations."""
        super().__init__()
        shape = spec.observation_shape
        if not spec.is_image:
            layers: list[nn.Module] = [nn.Linear(shape[0], hidden_size), nn.ReLU()]
            layers += [nn.Linear(hidden_size, hidden_size), nn.ReLU()]
        elif max(shape[1:]) <= _SMALL_IMAGE:
            layers = [nn.Conv2d(shape[0], 16, 3), nn.ReLU(), nn.Flatten()]
        else:
            layers = [nn.Conv2d(shape[0], 32, 8, stride=4), nn.ReLU()]
            layers += [nn.Conv2d(32, 64, 4, stride=2), nn.ReLU()]
            layers += [nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten()]
        if spec.is_image:
            size = nn.Sequential(*layers)(torch.zeros(1, *shape)).shape[1]
            layers += [nn.Linear(size, hidden_size), nn.ReLU()]
        self.layers, self.size = nn.Sequential(*layers), hidden_size

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Map [B, *observation] to f32 [B, size]."""
        features: torch.Tensor = self.layers(scale_pixels(observations))
        return features


def greedy(scores: Callable[[torch.Tensor], torch.Tensor]) -> Chooser:
    """Return the chooser that plays the action of the highest score, [B, A]."""

    @torch.inference_mode()
    def choose(roots: Roots) -> Array:
        actions: Array = scores(torch.tensor(roots.observations)).argmax(1).numpy()
        return actions

    return choose


def steered(actions: Callable[[torch.Tensor], torch.Tensor]) -> Chooser:
    """Return the chooser that plays the actions [B, X] in -1..1 of observations."""

    @torch.inference_mode()
    def choose(roots: Roots) -> Array:
        chosen: Array = actions(torch.tensor(roots.observations)).numpy()
        return chosen

    return choose


def play_randomly(task: Task) -> Curve:
    """Return a curve of one point: uniformly random actions, which cost nothing to learn.

    Where the environment shows legal actions, they are drawn of these.
    """
    generator, curve = np.random.default_rng(task.config.seed), Curve()
    shape = PolicyShape.of(task.spec, sampled_actions=1)
    planner = UniformPlanner(shape.width, generator, action_size=shape.action_size)
    task.evaluate_when_due(curve, task.env_steps, greedily(planner))
    return curve
