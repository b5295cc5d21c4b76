"""Notices from the learner's metric rows that a part of the network has collapsed.

A state machine over rows, without a clock or a thread: used by the learner's observer. The rows'
names are explained in docs/reference/metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from efficientzero.config import Config, lr_warmup_train_steps
from efficientzero.process.runtime import PlainError

_FIRST_ROWS = 20
_FIRST_TRAIN_STEPS = 1_000
"""Before both, an untrained network looks like a collapsed one: flat values, few directions."""
_ROWS_IN_A_ROW = 10
_FEWEST_SLICES = 16
"""The rank of fewer latents is small whatever the network does."""

Row = Mapping[str, float]


class TrainingCollapsed(PlainError):
    """A part of the network has collapsed, and the run is to end then."""

    is_permanent = True


class Collapse(NamedTuple):
    """A part of the network that has collapsed."""

    kind: str  # policy, value, latent or units
    train_steps: int
    numbers: Mapping[str, float]
    """The metrics that show it, in the row that raised the alarm."""
    message: str
    """One line: what was measured, what is healthy and what to try."""


class _Symptom(NamedTuple):
    """What a collapse of one kind looks like in a row."""

    kind: str
    what: str
    limits: Mapping[str, tuple[Literal["below", "above"], float]]
    """Metric -> the side of a limit on which it is bad. All of them at once are the symptom."""
    healthy: str
    advice: str
    can_show: Callable[[Config], bool]
    """Whether an agent of this config trains that part at all."""

    def is_in(self, row: Row) -> bool:
        """Return whether a row has it; a row that lacks one of the metrics has not."""
        return all(
            row.get(name, math.inf) < limit if side == "below" else row.get(name, -math.inf) > limit
            for name, (side, limit) in self.limits.items()
        )

    def found_in(self, row: Row, train_steps: int) -> Collapse:
        """Return the alarm."""
        numbers = {name: row[name] for name in self.limits}
        measured = " and ".join(
            f"{name} {numbers[name]:.3g}, {side} {limit:g}"
            for name, (side, limit) in self.limits.items()
        )
        message = (
            f"train_step {train_steps:,}: {self.what}: {measured}, in {_ROWS_IN_A_ROW} rows in a "
            f"row; healthy: {self.healthy}; try {self.advice}"
        )
        return Collapse(self.kind, train_steps, numbers, message)


_SYMPTOMS = (
    _Symptom(
        "policy",
        "the policy has collapsed: it is sure of actions that the search does not choose",
        {
            "learner/policy_entropy_share": ("below", 0.02),
            "learner/policy_error_k0": ("above", 0.5),
        },
        "an entropy that falls while the error falls",
        "a lower learner.learning_rate",
        lambda config: config.learner.policy_coefficient > 0,
    ),
    _Symptom(
        "value",
        "the values have collapsed: they are the same where their targets differ",
        {
            "learner/value_std_ratio": ("below", 0.05),
            "learner/target_value_std": ("above", 1e-3),
        },
        "a ratio that rises to 0.5 to 1.1",
        "a lower learner.learning_rate or a larger learner.value_coefficient, unless returns are "
        "chance",
        lambda config: config.learner.value_coefficient > 0,
    ),
    _Symptom(
        "latent",
        "the latents have collapsed: those of all observations point the same way",
        {"learner/latent_rank": ("below", 1.5)},
        "a rank of 10 or more",
        "a lower learner.learning_rate or learner.consistency_coefficient, unless all "
        "observations are alike",
        lambda config: config.learner.batch_size >= _FEWEST_SLICES,
    ),
    _Symptom(
        "units",
        "the latents' channels have died: hardly any is ever active",
        {"learner/dormant_share": ("above", 0.9)},
        "a share below 0.5",
        "a lower learner.learning_rate or network.norm layer",
        lambda config: True,
    ),
)


class CollapseAlarm:
    """Raises an alarm once for each kind of collapse that lasts."""

    def __init__(self, config: Config) -> None:
        """Watch what an agent of ``config`` trains: no policy, no alarm of the policy."""
        self._symptoms = [symptom for symptom in _SYMPTOMS if symptom.can_show(config)]
        warmup = lr_warmup_train_steps(config.learner, config.budget)
        self._first_train_step = max(_FIRST_TRAIN_STEPS, warmup)
        self.ends_run = config.learner.stop_on_collapse
        """Whether an alarm is to end the run."""
        self._num_rows = 0
        self._rows_with = dict.fromkeys((symptom.kind for symptom in self._symptoms), 0)

    def add(self, row: Row) -> list[Collapse]:
        """Add one row of metrics, and return what has collapsed now and was not reported before.

        A symptom counts from the 21st row on, after the warm-up of the learning rate and after
        1,000 train_steps; ten rows in a row with it are a collapse. A process that starts again
        counts from the beginning.

        Args:
            row: with ``learner/train_steps``; metrics that it lacks do not count as a symptom.
        """
        self._num_rows += 1
        train_steps = int(row["learner/train_steps"])
        if self._num_rows <= _FIRST_ROWS or train_steps <= self._first_train_step:
            return []
        found = []
        for symptom in self._symptoms:
            count = self._rows_with[symptom.kind] + 1 if symptom.is_in(row) else 0
            # Never again 10: of a collapse that passes and comes back the first alarm is enough.
            if self._rows_with[symptom.kind] >= _ROWS_IN_A_ROW:
                continue
            self._rows_with[symptom.kind] = count
            if count == _ROWS_IN_A_ROW:
                found.append(symptom.found_in(row, train_steps))
        return found
