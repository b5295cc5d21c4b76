"""What is trained: a cell is one task, one variant and one seed; a plan is a list of cells.

A task is a preset. A variant leaves one part of EfficientZero out. Nothing is run here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from deploy.launching import (
    check_config,
    parse,
    with_short_options,
)
from efficientzero.config import (
    Config,
    config_hash,
    load_preset,
    validate,
)

TaskName = Literal["catch", "minatar", "acrobot", "cartpole", "atari-small"]
VariantName = Literal[
    "no-consistency",
    "no-value-prefix",
    "no-off-policy-correction",
    "no-reanalyze",
    "no-priority",
    "gumbel",
    "no-search",
]
FULL = "full"
"""The preset as it is; every variant is compared with it."""

MINUTES: dict[TaskName, float] = {
    "catch": 4.0,
    "minatar": 9.0,
    "acrobot": 4.7,
    "cartpole": 8.0,
    "atari-small": 30.0,
}
"""Of one run on two idle CPU cores: catch and minatar by their CPU time, the others measured."""

CHANGES: dict[str, tuple[str, ...]] = {
    "no-consistency": ("learner.consistency-coefficient=0",),
    "no-value-prefix": ("agent.no-value-prefix",),
    "no-off-policy-correction": ("reanalyzer.no-off-policy-correction",),
    "no-reanalyze": ("reanalyzer.policy-reanalyze-ratio=0",),
    "no-priority": ("replay.priority-exponent=0",),
    "gumbel": ("search.algorithm=gumbel",),
    # No tree: one action is tried, and only Gumbel's completed values learn from so little.
    "no-search": ("search.algorithm=gumbel", "search.num-simulations=1"),
}
"""What makes each variant: options of launch.py, without their dashes."""

BASELINES_OF_VARIANTS: dict[str, VariantName] = {"no-search": "gumbel"}
"""What a variant is compared with, if not with the preset: Gumbel's search also has another policy
target, other noise and no temperature than pUCT, so that only the same search tells what it does.
Where the preset's search is Gumbel's, that variant is the preset and left out."""

TASKS: tuple[TaskName, ...] = get_args(TaskName)
TASKS_BY_DEFAULT = tuple(task for task in TASKS if task != "atari-small")
"""Atari takes longer than the others together, so that it is trained only where it is named."""
VARIANTS: tuple[VariantName, ...] = get_args(VariantName)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run."""

    task: TaskName
    variant: str  # FULL or a VariantName
    seed: int
    arguments: tuple[str, ...]  # of launch.py, where and how it runs left out
    config: Config  # what launch.py makes of them

    @property
    def name(self) -> str:
        """Begin of the run folder's name."""
        return f"{self.task}-{self.variant}-s{self.seed}"

    @property
    def key(self) -> tuple[str, int]:
        """What finished runs are recognised by: the config's hash, which has no seed, and it."""
        return config_hash(self.config), self.seed

    @property
    def minutes(self) -> float:
        """Expected on two idle cores."""
        return MINUTES[self.task]


def make_plan(
    *,
    tasks: Sequence[TaskName],
    seeds: Sequence[int],
    variants: Sequence[VariantName],
    variant_task: TaskName,
    overrides: Sequence[str] = (),
) -> list[Cell]:
    """Return the cells: every task as it is, then one task's variants; each with every seed.

    Args:
        tasks: what to train.
        seeds: one run each.
        variants: what to leave out.
        variant_task: where to leave it out; its full cells are part of the plan.
        overrides: options of launch.py for every cell, without their dashes.

    A variant brings along what it is compared with. One that changes nothing of its task's preset
    is left out.

    Raises:
        ValueError: a cell's values do not fit together.
    """
    combinations = [(task, FULL) for task in dict.fromkeys(tasks)]
    if variants and (variant_task, FULL) not in combinations:
        combinations.append((variant_task, FULL))
    wanted = list(dict.fromkeys(variants))
    needed = [BASELINES_OF_VARIANTS[v] for v in wanted if v in BASELINES_OF_VARIANTS]
    combinations += [(variant_task, variant) for variant in dict.fromkeys([*needed, *wanted])]
    cells: dict[tuple[str, tuple[str, int]], Cell] = {}
    for task, variant in combinations:
        for cell in _cells_of(task, variant, list(dict.fromkeys(seeds)), overrides):
            cells.setdefault((task, cell.key), cell)
    return list(cells.values())


def _cells_of(
    task: TaskName, variant: str, seeds: Sequence[int], overrides: Sequence[str]
) -> list[Cell]:
    """Return a cell per seed; the command line is parsed once, which takes a third of a second."""
    changes = () if variant == FULL else CHANGES[variant]
    named = tuple(f"--{change}" for change in (*overrides, *changes))
    preset = load_preset(task)
    config = with_short_options(parse((f"--preset={task}", *named), preset))
    validate(config)
    if config.env != preset.env:  # other images may get another network from the launcher
        config = check_config(config).config
    return [
        Cell(
            task=task,
            variant=variant,
            seed=seed,
            arguments=(f"--preset={task}", f"--seed={seed}", *named),
            config=replace(config, seed=seed),
        )
        for seed in seeds
    ]
