"""The pool of past weights of one run: its members, whom to play, and how games ended.

Pure state, safe to call from any thread. ``learner.weights.members`` keeps the weights.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from efficientzero.config import LeagueConfig
from learner.weights.league.drawing import drawing_probabilities
from learner.weights.league.games import GameTable
from learner.weights.league.ladder import EvaluationGames, Player
from learner.weights.league.pool import member_to_evict


@dataclass(frozen=True, slots=True)
class Member:
    """Past weights that are kept as an opponent."""

    number: int
    """From 1; the same train_step has the same number in every launch of a run."""
    train_step: int
    sha256: str
    """Of the file."""

    @property
    def name(self) -> str:
        """Name in tables and of the file."""
        return f"member_{self.train_step}"


class Drawn(NamedTuple):
    """Whom the next games are against; neither: there is no opponent yet."""

    member: Member | None = None
    baseline: str = ""


class LadderPlace(NamedTuple):
    """A baseline, a member, or the weights evaluated last."""

    name: str
    member: int  # its number; 0: none
    train_step: int  # -1: a baseline
    rating: float
    half_width: float
    games: int  # of evaluations
    win_estimate: float


class League:
    """Members and games."""

    def __init__(self, config: LeagueConfig, generator: np.random.Generator) -> None:
        """Start without members; ``generator`` draws opponents."""
        self.config, self._generator = config, generator
        self._lock = threading.Lock()
        # Under the lock:
        self._members: list[Member] = []  # by train_step
        self._table = GameTable()
        self._evaluations = EvaluationGames(config.baselines)
        self._num_changes = 0

    @property
    def num_changes(self) -> int:
        """Grows with every change of members and games."""
        return self._num_changes

    def members(self) -> tuple[Member, ...]:
        """Return the members, oldest first."""
        with self._lock:
            return tuple(self._members)

    def is_due(self, train_step: int) -> bool:
        """Return whether the weights of ``train_step`` become a member: they are none yet."""
        is_known = any(member.train_step == train_step for member in self.members())
        return train_step % self.config.snapshot_interval == 0 and not is_known

    def number_of(self, train_step: int) -> int:
        """Return the number of the member with the weights of ``train_step``."""
        number: int = train_step // self.config.snapshot_interval + 1
        return number

    def add(self, member: Member) -> Member | None:
        """Add the newest member; return the one that goes when the pool is full."""
        with self._lock:
            self._members.append(member)
            self._num_changes += 1
            if len(self._members) <= self.config.capacity:
                return None
            return self._members.pop(member_to_evict([m.train_step for m in self._members]))

    def draw(self) -> Drawn:
        """Return whom the pool's next games are against."""
        with self._lock:
            league, generator = self.config, self._generator
            if league.baseline_share and generator.random() < league.baseline_share:
                return Drawn(baseline=str(generator.choice(league.baselines)))
            if not self._members:
                return Drawn()
            shares = drawing_probabilities(
                [self._table.estimate(member.name) for member in self._members],
                league.sampling,
                power=league.power,
                uniform_share=league.uniform_share,
            )
            return Drawn(self._members[generator.choice(len(shares), p=shares)])

    def add_training_game(self, opponent: str, score: float) -> None:
        """Add a game with exploration; one against a member that has gone counts no more.

        Args:
            opponent: name of a member or baseline.
            score: of the newest weights, 1, 0.5 or 0.

        Raises:
            ValueError: another score.
        """
        with self._lock:
            known = {member.name for member in self._members} | {*self.config.baselines}
            if opponent in known:
                self._table.add(opponent, score)
                self._num_changes += 1

    def add_evaluation_game(self, train_step: int, opponent: Player, score: float) -> None:
        """Add a game without exploration; see ``EvaluationGames.add``."""
        with self._lock:
            self._evaluations.add(train_step, opponent, score)
            self._num_changes += 1

    def ladder(self) -> list[LadderPlace]:
        """Return baselines, members, and the weights evaluated last, if they are no member."""
        with self._lock:
            newest = self._evaluations.newest
            places = [self._place(name, name, 0, -1) for name in self.config.baselines]
            places += [
                self._place(m.name, m.train_step, m.number, m.train_step) for m in self._members
            ]
            if newest is not None and all(m.train_step != newest for m in self._members):
                places.append(self._place(f"weights_{newest}", newest, 0, newest))
            return places

    def _place(self, name: str, player: Player, member: int, train_step: int) -> LadderPlace:
        rating = self._evaluations.rating(player)
        return LadderPlace(name, member, train_step, *rating, self._table.estimate(name))

    def row(self) -> dict[str, float]:
        """Return the metrics; those of ratings once there are games of evaluations."""
        with self._lock:
            estimate, counts = self._table.estimate, self._table.state()
            row = {"league/members": float(len(self._members))}
            if self._members:
                estimates = [estimate(member.name) for member in self._members]
                row["league/win_pool_mean"] = float(np.mean(estimates))
            for name in self.config.baselines:
                if name in counts:
                    row[f"league/win_{name.replace('-', '_')}"] = estimate(name)
            newest = self._evaluations.newest
            if newest is None:
                return row
            now = self._evaluations.rating(newest)
            row["league/rating_newest"] = now.points
            first = self._members[0].train_step if self._members else newest
            if self._evaluations.rating(first).games:
                row["league/rating_gain"] = now.points - self._evaluations.rating(first).points
            return row

    def state(self) -> dict[str, Any]:
        """Return members and games as JSON values, for a checkpoint and ``league.json``."""
        with self._lock:
            return {
                "members": [asdict(member) for member in self._members],
                "games": self._table.state(),
                "evaluations": self._evaluations.state(),
            }

    def restore(self, state: Mapping[str, Any], members: tuple[Member, ...]) -> None:
        """Take games of a checkpoint, and those of its members that are kept."""
        known = {member.name for member in members} | {*self.config.baselines}
        with self._lock:
            self._members = list(members)
            self._table.restore(state["games"], known=known)
            self._evaluations.restore(state["evaluations"])
            self._num_changes += 1
