"""The arithmetic of the run's pace: how far collection and training may run ahead of each other.

Used by the governor, which holds the counters; whole numbers in, whole numbers out, no state.
"""

from __future__ import annotations

from dataclasses import dataclass

from efficientzero.config import Config
from efficientzero.rpc.records import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Two rules that keep collection and training together and never stop both.

    With N, T, W and slack the fields in this order, C completed env_steps, H held ones (granted to
    an actor, not completed), G = C + H, and D train_steps made:

    1. G <= min(N, W + floor(D * N / T) + slack): collection keeps its budget and its pace
       (without paired train_steps, T = 0, the budget alone).
    2. Train_step s is made only if s < total_train_steps, and s * N < (C - W) * T or C = N.

    Both are in whole numbers, so no rounding can bend them.

    Learner and actors cannot wait for each other for ever if slack >= 1 and whoever asks first for
    env_steps gets ``share(wanted)`` once rule 1 has room for it. Let C < N and nobody hold a grant
    (holders play on and report), so G = C. If G < W, rule 1 leaves at least W - G + slack: the
    first in line is served. Else, if the learner may not train, D * N >= (C - W) * T, therefore
    C <= W + floor(D * N / T) since C is whole, so rule 1 leaves at least min(N - C, slack), which
    is no less than the share: the first in line is served. If the learner may train it does, and
    rule 2 ends that after finitely many steps while C stays: back to the case before. Once C = N
    nothing holds the learner. A dead actor takes the H it holds out of the slack until its
    successor or the roster gives it back; while H < slack there is still room for smaller shares.
    """

    env_steps: int
    """N: env_steps to collect, warm-up included."""
    train_steps: int
    """T: train_steps paired with collection."""
    warmup_env_steps: int
    """W: env_steps before training starts, at most N."""
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
        return cls(
            env_steps=budget.env_steps,
            train_steps=budget.train_steps,
            warmup_env_steps=min(budget.warmup_env_steps, budget.env_steps),
            slack=slack,
            total_train_steps=budget.total_train_steps,
        )

    def may_train(self, train_step: int, *, completed: int) -> bool:
        """Tell whether rule 2 allows ``train_step``, counted from 0."""
        if train_step >= self.total_train_steps:
            return False
        paid = train_step * self.env_steps < (completed - self.warmup_env_steps) * self.train_steps
        return paid or completed >= self.env_steps

    def env_steps_to_train(self, train_step: int) -> int:
        """Return the least C with which rule 2 allows ``train_step``."""
        if not self.train_steps:
            return self.env_steps
        paid_by = train_step * self.env_steps // self.train_steps + 1
        return min(self.env_steps, self.warmup_env_steps + paid_by)

    def room(self, *, granted: int, train_steps: int, ahead: int = 0) -> int:
        """Return how many more env_steps rule 1 leaves, with ``ahead`` added to the slack; >= 0.

        It can be overdrawn: counters restored from a checkpoint may come from another pace.
        """
        limit = self.env_steps
        if self.train_steps:
            earned = train_steps * self.env_steps // self.train_steps
            limit = min(limit, self.warmup_env_steps + earned + self.slack + ahead)
        return max(0, limit - granted)

    def share(self, wanted: int, *, granted: int) -> int:
        """Return how many env_steps answer a request in full; never across the end of warm-up."""
        if granted < self.warmup_env_steps:
            return min(wanted, self.warmup_env_steps - granted)
        return min(wanted, self.slack, self.env_steps - granted)

    def phase(self, *, completed: int, train_steps: int) -> Phase:
        """Return where the run is."""
        if completed < self.warmup_env_steps:
            return Phase.WARMUP
        if completed < self.env_steps:
            return Phase.COLLECTING
        return Phase.LAST_STEPS if train_steps < self.total_train_steps else Phase.FINISHED
