"""Who plays an actor's games: the newest weights all of them, or some against opponents.

Held by the actor's loop. ``pool_play`` is the other kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actor.game_results import GameResult
from actor.turn import PendingStep, Thought
from efficientzero.schema import I64, EnvSteps, Observed, Roots
from efficientzero.search import Planner


class SelfPlay:
    """The newest weights make all moves."""

    players: I64 | None = None
    """[E] which player's results count in each environment; None: player 0's."""

    def think(
        self, planner: Planner, envs: Sequence[int], roots: Roots, *, is_random: bool
    ) -> Thought:
        """Return what the players to move find.

        Args:
            planner: of the newest weights, or a random one.
            envs: G environments.
            roots: of these.
            is_random: training has not begun: all moves are random, whoever makes them.
        """
        del envs, is_random
        return Thought(result=planner.run(roots, exploration_noise=True))

    def begin(self, envs: Sequence[int], observed: Observed) -> None:
        """Begin games with what these G environments show first."""

    def moved(self, pending: PendingStep, steps: EnvSteps, ended: Mapping[int, GameResult]) -> None:
        """Take the results of moves, and the games that they ended, by environment."""

    def report(self) -> None:
        """Report ended games to the learner, if there are any."""

    def take_row(self, train_step: int) -> dict[str, float]:
        """Return the metrics since the last call.

        Args:
            train_step: of the newest weights.
        """
        del train_step
        return {}
