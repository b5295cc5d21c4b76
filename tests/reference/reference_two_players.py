"""Value targets of games of two players a second time: each term with its own sign.

Nothing is shared with ``reanalyzer.targets``: a term counts as it is where the player of its step
is the one of the target's position, and negative where it is the opponent's. Slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from efficientzero.schema import Ending
from tests.support.cases.replay_cases import Episode


@dataclass(frozen=True, kw_only=True)
class Game:
    """An episode, and who moves at each of its observations, the last one included."""

    episode: Episode
    players: Sequence[int]
    value_of: Callable[[int], float]
    """Of the player to move at a step's observation."""
    discount: float

    def sign(self, t: int, u: int) -> float:
        return 1.0 if self.players[t] == self.players[u] else -1.0

    def value(self, step: int) -> float:
        """Return what a step is worth; nothing at and after the end of a game that ended."""
        end = len(self.episode)
        is_over = step == end and self.episode.ending == Ending.TERMINATED
        return 0.0 if is_over or step > end else self.value_of(step)


def td_target(game: Game, at: int, horizon: int) -> float:
    """Return sum_j discount^j sign r + discount^l sign V."""
    end = len(game.episode)
    if at > end:
        return 0.0
    last = min(at + horizon, end)
    total = 0.0
    for step in range(at, last):
        reward = float(game.episode.rewards[step])
        total += game.discount ** (step - at) * game.sign(at, step) * reward
    return total + game.discount ** (last - at) * game.sign(at, last) * game.value(last)


def lambda_target(game: Game, at: int, horizon: int, trace: float) -> float:
    """Return the average of the returns of all horizons."""
    total, weight = 0.0, 1.0
    for steps in range(1, horizon + 1):
        share = 1.0 if steps == horizon else 1.0 - trace
        total += weight * share * td_target(game, at, steps)
        weight *= trace
    return total


def v_trace_target(
    game: Game, at: int, horizon: int, *, trace: float, ratio_of: Callable[[int], float]
) -> float:
    """Return V-trace with both clips at 1: each error is its mover's, so it has its sign."""
    end = len(game.episode)
    total, weight = game.value(at), 1.0
    for step in range(at, min(at + horizon, end)):
        following = game.sign(step, step + 1) * game.discount * game.value(step + 1)
        error = float(game.episode.rewards[step]) + following - game.value(step)
        share = min(1.0, ratio_of(step))
        total += weight * share * game.sign(at, step) * error
        weight *= game.discount * trace * share
    return total
