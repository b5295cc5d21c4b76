"""The arithmetic of the run's pace: how far collection and training may run ahead of each other.

Used by the governor, which holds the counters. Pure functions of integers; no state.
"""

from __future__ import annotations

from dataclasses import dataclass

from efficientzero.config import Config
from efficientzero.schema import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Two rules that bound how far collection and training may diverge, without a deadlock.

    N env_steps are collected, W of them before training starts; T train_steps are paired with
    those beyond the first F. C env_steps are completed, H held (granted to an actor, not
    completed), G = C + H; D train_steps are made.

    1. G <= min(L, max(W, F + floor(D * (N - F) / T) + slack)), where L is N once D >= T, before
       that N - 1: collection keeps its budget and its pace, and its last env_step waits for the
       paired train_steps (without any, T = 0, the budget alone).
    2. Train_step s is made only if C = N and s < total_train_steps, or s < T and C >= W and one of
       s * (N - F) < (C - F) * T and C >= N - 1 holds.

    All numbers are whole, so there is no rounding. C = N needs D >= T by rule 1, and D > T needs
    C = N by rule 2: exactly the last train_steps follow the end of collection.

    Learner and actors cannot wait for each other forever if slack >= 1 and the first request for
    env_steps gets ``share(wanted)`` once rule 1 has room for it. Let C < N and no actor hold a
    grant (holders play on and report), so G = C. If C < W, rule 1 leaves at least W - C, for W < N
    (if W = N, L is N): the first in line is served. Else, if the learner may not train, either
    D >= T, and rule 1 leaves N - C; or D < T, C < N - 1 and D * (N - F) >= (C - F) * T, therefore
    C <= F + floor(D * (N - F) / T) since C is whole, and rule 1 leaves at least
    min(N - 1 - C, slack). Both are no less than the share: the first in line is served. If the
    learner may train it does, and rule 2 ends that after finitely many steps while C stays: this is
    the previous case. Once C = N nothing stops the learner. A dead actor reduces the slack by the H
    it holds until its successor or the roster frees it; while H < slack there is still room for
    smaller shares. The learner also needs data: ``Governor.collect_more_if_stuck``.
    """

    env_steps: int
    """N: env_steps to collect, warm-up included."""
    train_steps: int
    """T: train_steps paired with collection."""
    warmup_env_steps: int
    """W: env_steps before training starts, at most N."""
    first_env_steps: int
    """F: env_steps that earn no train_step: W, or 0 as in the reference."""
    slack: int
    """Env_steps collection may be ahead."""
    total_train_steps: int
    """T and the last train_steps."""

    @classmethod
    def from_config(cls, config: Config) -> Pace:
        """Return the pace of a run.

        Raises:
            ValueError: a negative budget, no env_step at all, or no slack.
        """
        budget, slack = config.budget, config.max_env_steps_ahead
        if (
            budget.env_steps < 1
            or min(budget.warmup_env_steps, budget.train_steps, budget.last_train_steps) < 0
        ):
            raise ValueError(f"budget: got {budget}, wanted env_steps >= 1 and nothing negative")
        if slack < 1:
            raise ValueError(f"max_env_steps_ahead: got {slack}, wanted at least 1")
        warmup = min(budget.warmup_env_steps, budget.env_steps)
        return cls(
            env_steps=budget.env_steps,
            train_steps=budget.train_steps,
            warmup_env_steps=warmup,
            first_env_steps=0 if config.compat.warmup_earns_train_steps else warmup,
            slack=slack,
            total_train_steps=budget.total_train_steps,
        )

    def may_train(self, train_step: int, *, completed: int) -> bool:
        """Return whether rule 2 allows ``train_step``, counted from 0."""
        if completed >= self.env_steps:
            return train_step < self.total_train_steps
        if train_step >= self.train_steps or completed < self.warmup_env_steps:
            return False
        earning = self.env_steps - self.first_env_steps
        is_paid = train_step * earning < (completed - self.first_env_steps) * self.train_steps
        return is_paid or completed >= self.env_steps - 1

    def env_steps_to_train(self, train_step: int) -> int:
        """Return the least C with which rule 2 allows ``train_step``."""
        if train_step >= self.train_steps:
            return self.env_steps
        earning = self.env_steps - self.first_env_steps
        paid_by = self.first_env_steps + train_step * earning // self.train_steps + 1
        return max(self.warmup_env_steps, min(self.env_steps - 1, paid_by))

    def room(self, *, granted: int, train_steps: int, ahead: int = 0, may_end: bool = False) -> int:
        """Return how many more env_steps rule 1 allows; >= 0.

        More may have been granted already: restored counters may come from another pace.

        Args:
            granted: G.
            train_steps: D.
            ahead: added to the slack.
            may_end: the last env_step need not wait for the paired train_steps.
        """
        limit = self._most(train_steps, may_end=may_end)
        if self.train_steps:
            earning = self.env_steps - self.first_env_steps
            earned = self.first_env_steps + train_steps * earning // self.train_steps
            limit = min(limit, max(self.warmup_env_steps, earned + self.slack + ahead))
        return max(0, limit - granted)

    def share(self, wanted: int, *, granted: int, train_steps: int, may_end: bool = False) -> int:
        """Return the full share of a request; it never crosses the end of warm-up."""
        if granted < self.warmup_env_steps:
            return min(wanted, self.warmup_env_steps - granted)
        # Only the last env_step is left: it is the whole share, and waits for room.
        left = max(0, self._most(train_steps, may_end=may_end) - granted)
        left = left or self.env_steps - granted
        return min(wanted, self.slack, left)

    def phase(self, *, completed: int, train_steps: int) -> Phase:
        """Return the phase of the run."""
        if completed < self.warmup_env_steps:
            return Phase.WARMUP
        if completed < self.env_steps:
            return Phase.COLLECTING
        return Phase.LAST_STEPS if train_steps < self.total_train_steps else Phase.FINISHED

    def _most(self, train_steps: int, *, may_end: bool) -> int:
        """Return L: the most env_steps that may be granted, regardless of the pace."""
        is_early = train_steps < self.train_steps and self.warmup_env_steps < self.env_steps
        return self.env_steps - 1 if is_early and not may_end else self.env_steps
