"""What a run has played, granted and trained so far, and what its pace allows at these counts.

Held by the governor, which calls everything here under its lock.
"""

from __future__ import annotations

from efficientzero.schema import Grant, Phase
from learner.pacing.actors import Actor, Actors
from learner.pacing.pace import Pace


class Counts:
    """The run's env_steps and train_steps, with the rules of ``Pace`` applied to them."""

    def __init__(self, pace: Pace, actors: Actors) -> None:
        """Start before the first env_step; ``actors`` know the env_steps that are held."""
        self.env_steps = 0
        """Completed ones."""
        self.train_steps = 0
        """Made."""
        self._pace, self._actors = pace, actors
        self._ahead = 0  # env_steps that collection may be ahead, in addition to the slack
        self._may_end = False  # collection may end before the paired train_steps are made

    def restore(self, *, env_steps: int, train_steps: int) -> None:
        """Continue from a checkpoint's counters.

        Raises:
            ValueError: counters beyond the budget, or the run has begun.
        """
        if self._actors.by_index or self.env_steps or self.train_steps:
            raise ValueError("restore: the run has begun, wanted a new governor")
        most = (self._pace.env_steps, self._pace.total_train_steps)
        if not (0 <= env_steps <= most[0] and 0 <= train_steps <= most[1]):
            raise ValueError(
                f"restore: got {(env_steps, train_steps)} env_steps and train_steps, "
                f"wanted at most {most}"
            )
        self.env_steps, self.train_steps = env_steps, train_steps
        # An upper bound of the grants not completed, by the first rule of Pace.
        warmup_left = self._pace.warmup_env_steps - env_steps
        self._actors.follow_another(max(self._pace.slack, warmup_left))

    def grant(self, actor: Actor, env_steps: int) -> Grant:
        """Let ``actor`` hold env_steps, maybe 0; return the answer to its request."""
        phase = self.phase()
        if env_steps:
            is_warmup = self.granted < self._pace.warmup_env_steps
            phase = Phase.WARMUP if is_warmup else max(phase, Phase.COLLECTING)
        granted = Grant(env_steps, self.has_ended, phase, env_steps=self.granted)
        actor.held += env_steps
        self._actors.held += env_steps
        return granted

    def complete(self, actor: Actor, env_steps: int) -> None:
        """Count env_steps that ``actor`` held."""
        actor.held -= env_steps
        self._actors.held -= env_steps
        self.env_steps += env_steps

    def add_train_step(self, train_steps: int) -> None:
        """Count train_step ``train_steps - 1``.

        Raises:
            ValueError: one was left out, reported twice, or is beyond the budget.
        """
        wanted = self.train_steps + 1
        most = self._pace.total_train_steps
        if train_steps != wanted or train_steps > most:
            raise ValueError(f"train_steps made: got {train_steps}, wanted {wanted} (of {most})")
        self.train_steps = train_steps

    def let_collection_run_ahead(self) -> None:
        """Let collection be ahead by the slack once more, and end early if it is at its end."""
        self._ahead += self._pace.slack
        self._may_end |= self.granted == self._pace.env_steps - 1

    @property
    def granted(self) -> int:
        """Env_steps completed or held."""
        return self.env_steps + self._actors.held

    @property
    def has_ended(self) -> bool:
        """Whether collection has."""
        return self.env_steps >= self._pace.env_steps

    @property
    def is_all_granted(self) -> bool:
        """Whether no env_step of the budget is left to grant."""
        return self.granted >= self._pace.env_steps

    def phase(self) -> Phase:
        """Return the run's phase."""
        return self._pace.phase(completed=self.env_steps, train_steps=self.train_steps)

    def may_train(self, train_step: int) -> bool:
        """Return whether ``train_step`` may be made now."""
        return self._pace.may_train(train_step, completed=self.env_steps)

    def room(self) -> int:
        """Return how many more env_steps may be granted."""
        return self._pace.room(
            granted=self.granted,
            train_steps=self.train_steps,
            ahead=self._ahead,
            may_end=self._may_end,
        )

    def share(self, wanted: int) -> int:
        """Return the full share of a request."""
        return self._pace.share(
            wanted,
            granted=self.granted,
            train_steps=self.train_steps,
            may_end=self._may_end,
        )

    def missing_env_steps(self) -> str:
        """Return which env_steps the learner waits for, in a few words; empty if for none."""
        env_steps, next_step, pace = self.env_steps, self.train_steps, self._pace
        if next_step >= pace.total_train_steps:
            left = pace.env_steps - env_steps
            return f"actors: {left} env_steps of the budget left" if left else ""
        if env_steps < pace.warmup_env_steps:
            return f"warm-up: {env_steps}/{pace.warmup_env_steps} env_steps"
        behind = pace.env_steps_to_train(next_step) - env_steps
        return f"actors: {behind} env_steps behind the pace"
