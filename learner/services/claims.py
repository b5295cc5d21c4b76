"""Checks of workers' reports: they must belong to the worker's place, and be possible.

Called by the run service. The token alone allows a worker only its own work: a faulty or foreign
process can neither use up the budget nor end the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from efficientzero.config import Config, EnvConfig, is_turn_game
from efficientzero.envs.known_returns import largest_return
from efficientzero.rpc.run_client import BaselineScore
from efficientzero.schema import Phase
from learner.pacing import Governor
from learner.records import EpisodeResult

_PLACE_WAIT_S = 10.0
"""Wait for the first heartbeat of a worker at a new learner; they come every two seconds."""
_LOOK_S = 0.2


class Claims:
    """Checks workers' reports; raises ValueError with got and wanted."""

    def __init__(
        self, config: Config, governor: Governor, *, holds: Callable[[str, int, int], bool]
    ) -> None:
        """Keep the parts.

        Args:
            config: the run's.
            governor: has the counts of granted env_steps and train_steps made.
            holds: returns whether a member, a number unknown to others, has a role's index.
        """
        self._config, self._governor, self._holds = config, governor, holds

    def check_place(
        self, role: str, index: int, member: int, *, given_up: Callable[[], bool]
    ) -> None:
        """Check that the caller has the place; a new learner knows it within seconds.

        Raises:
            ValueError: the place is empty or another process's.
        """
        deadline = time.monotonic() + _PLACE_WAIT_S
        while not self._holds(role, index, member):
            if time.monotonic() >= deadline or given_up():
                raise ValueError(
                    f"{role}-{index}: got a process without this place, wanted the one that has it"
                )
            time.sleep(_LOOK_S)

    def check_training_episodes(
        self, episodes: Sequence[EpisodeResult], recorded_env_steps: int
    ) -> None:
        """Check that ended games fit into the env_steps that were granted.

        Args:
            episodes: the games.
            recorded_env_steps: of all games before them.

        Raises:
            ValueError: they do not, or a game is impossible.
        """
        _check_games(episodes, self._config.env)
        # A new learner does not know the grants of the previous one.
        most = self._governor.env_steps_granted + self._governor.pace.slack
        total = recorded_env_steps + sum(game.length for game in episodes)
        if total > most:
            raise ValueError(
                f"episodes: got {total} env_steps in all games, wanted at most {most}, which is "
                "what was granted"
            )

    def check_evaluation(
        self,
        episodes: Sequence[EpisodeResult],
        *,
        scores: Sequence[BaselineScore],
        weights_version: int,
        is_final: bool,
        published: int,
        phase: Phase,
    ) -> None:
        """Check that an evaluation is one that the evaluator makes now.

        Args:
            episodes: the games.
            scores: those against each baseline in each seat; none with one player.
            weights_version: train_step of the weights evaluated.
            is_final: of the finished run's last weights.
            published: train_step of the newest weights.
            phase: of the run.

        Raises:
            ValueError: it is not.
        """
        _check_games(episodes, self._config.env)
        evaluator, last = self._config.evaluator, self._governor.pace.total_train_steps
        wanted = evaluator.final_num_episodes if is_final else evaluator.num_episodes
        if len(episodes) != wanted:
            raise ValueError(f"episodes: got {len(episodes)}, wanted {wanted}")
        baselines = self._config.league.baselines if is_turn_game(self._config.env.id) else ()
        _check_scores(scores, baselines, wanted)
        if not 0 <= weights_version <= published:
            raise ValueError(f"weights_version: got {weights_version}, wanted 0 to {published}")
        if is_final and (phase is not Phase.FINISHED or weights_version != last):
            raise ValueError(
                f"a final evaluation: got one of train_step {weights_version} in phase "
                f"{phase.name}, wanted one of train_step {last} in phase {Phase.FINISHED.name}"
            )


def _check_games(episodes: Sequence[EpisodeResult], env: EnvConfig) -> None:
    for game in episodes:
        most = largest_return(env, max(1, game.length))
        # NaN fails, too.
        if not abs(game.episode_return) <= most or game.length < 1:
            raise ValueError(
                f"episode: got {game}, wanted a return of at most {most:g} and a length from 1"
            )


def _check_scores(scores: Sequence[BaselineScore], baselines: Sequence[str], games: int) -> None:
    seats = sorted((score.name, score.seat) for score in scores)
    if seats != sorted((name, seat) for name in baselines for seat in (0, 1)):
        raise ValueError(f"scores: got {seats}, wanted one of each of {baselines} in each seat")
    for name in baselines:
        counts = [count for score in scores if score.name == name for count in score[2:]]
        if min(counts) < 0 or sum(counts) != games:
            raise ValueError(f"scores: got {counts} against {name}, wanted {games} games")
