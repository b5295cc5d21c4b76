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
        text="What the value head is trained towards: n-step returns, lambda-returns (GAE).",
        studies=(_study("", "variants/cartpole-targets"),),
    ),
    Section(
        title="Policies of few simulations",
        text="What the policy head is trained towards after a search with few simulations. "
        "algorithm: the visits of pUCT.",
        studies=(_study("", "variants/catch-few-simulations"),),
    ),
)
