"""The sections of the page of variants: which grids answer which question."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_GRIDS = Path("benchmarks/grids")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A grid of which each arm is a row."""

    name: str
    """Of its first words in the table; an arm's varied values follow."""
    grid: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One question, and the runs that answer it."""

    title: str
    text: str
    studies: tuple[Study, ...]
    """Of one environment or several; an environment's arms are compared with its first."""
    plays_weights: bool = False
    """Play the weights of each environment's first arm without their search, too."""


def _study(name: str, grid: str) -> Study:
    return Study(name=name, grid=_GRIDS / f"{grid}.toml")


SECTIONS = (
    Section(
        title="Search against no search",
        text="The preset catch-q with a model, once with a search over the model in acting and "
        "evaluation and once without; targets and losses are the same. Weights that "
        "were trained with a search can also play without it.",
        studies=(_study("Q head and model,", "variants/catch-q-search"),),
        plays_weights=True,
    ),
    Section(
        title="Q-learning against search",
        text="The presets of the whole agent, and those of Q-learning without search and model: Q "
        "of each action, epsilon-greedy. CartPole's has more env_steps. DQN: a plain "
        "implementation in one file.",
        studies=(
            _study("whole agent", "catch"),
            _study("Q-learning", "variants/catch-q"),
            _study("whole agent", "cartpole"),
            _study("Q-learning", "variants/cartpole-q"),
        ),
        plays_weights=True,
    ),
    Section(
        title="Consistency losses",
        text="What the model's latents are trained to resemble: SimSiam's targets, those of the "
        "encoder's average (SPR), the right one of all in a batch (NCE), nothing, or the frame.",
        studies=(
            _study("", "variants/catch-consistency"),
            _study("nce", "variants/catch-nce"),
            _study("no consistency,", "variants/catch-no-consistency"),
        ),
    ),
    Section(
        title="Value targets",
        text="What the value head is trained towards: n-step returns, lambda-returns (GAE), "
        "two horizons, of which the search plans with the long one or the short one, and root "
        "values of searches for data that is not new, once the model is trained (mixed).",
        studies=(
            _study("", "variants/cartpole-targets"),
            _study("two horizons,", "variants/cartpole-horizons"),
            _study("", "variants/acrobot-mixed"),
        ),
    ),
    Section(
        title="Policies of few simulations",
        text="What the policy head is trained towards after a search with few simulations. "
        "algorithm: the visits of pUCT.",
        studies=(_study("", "variants/catch-few-simulations"),),
    ),
    Section(
        title="Distributions of returns",
        text="Q-learning with the mean of returns (two_hot) and with their distribution (C51).",
        studies=(_study("Q-learning,", "variants/catch-c51"),),
    ),
)
