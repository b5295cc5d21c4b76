"""Raw returns on a common scale, so that environments can be averaged.

The 26 games of Atari 100k are human-normalised. Others run from their lowest to their highest
possible return where that is known, else from the lowest to the highest in the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deploy.report.run_files import ReportError
from deploy.report.runs import Run
from efficientzero.envs.atari.scores import atari100k_game, atari100k_scores
from efficientzero.schema import F64

_POSSIBLE_RETURNS = {"Catch-v0": (-1.0, 1.0), "CartPole-v1": (0.0, 500.0)}


@dataclass(frozen=True, slots=True)
class Scale:
    """What counts as 0 and as 1 in one environment."""

    zero: float
    one: float
    meaning: str

    def __call__(self, score: float) -> float:
        """Return the normalised score."""
        return (score - self.zero) / (self.one - self.zero)


def make_scales(runs: Sequence[Run]) -> dict[str, Scale]:
    """Return environment -> scale."""
    return {env_id: _scale(env_id, runs) for env_id in sorted({run.env_id for run in runs})}


def common_environments(runs: Sequence[Run]) -> list[str]:
    """Return the environments that every method was run on; averages take no others."""
    by_method = {
        method: {run.env_id for run in runs if run.method == method} for method in methods_of(runs)
    }
    return sorted(set.intersection(*by_method.values()))


def methods_of(runs: Sequence[Run]) -> list[str]:
    """Return the methods, in the order of their names."""
    return sorted({run.method for run in runs})


def score_matrices(runs: Sequence[Run], scales: dict[str, Scale]) -> dict[str, F64]:
    """Return method -> normalised final scores [seeds, environments].

    A matrix needs as many seeds of each environment: those beyond the fewest are left out, the
    highest seeds first.

    Raises:
        ReportError: no environment is common to all methods.
    """
    environments = common_environments(runs)
    if not environments:
        raise ReportError(
            f"methods {', '.join(methods_of(runs))}: got no environment that all were run on"
        )
    matrices = {}
    for method in methods_of(runs):
        columns = [
            [
                scales[env](run.last.mean)
                for run in runs
                if (run.method, run.env_id) == (method, env)
            ]
            for env in environments
        ]
        fewest = min(map(len, columns))
        matrices[method] = np.array([column[:fewest] for column in columns], np.float64).T
    return matrices


def _scale(env_id: str, runs: Sequence[Run]) -> Scale:
    game = atari100k_game(env_id)
    if game is not None:
        references = atari100k_scores()[game]
        return Scale(references["random"], references["human"], "0: random play, 1: a human")
    if env_id in _POSSIBLE_RETURNS:
        return Scale(*_POSSIBLE_RETURNS[env_id], "0: lowest possible return, 1: highest")
    finals = [run.last.mean for run in runs if run.env_id == env_id]
    low, high = min(finals), max(finals)
    one = high if high > low else low + 1.0
    return Scale(low, one, "0: lowest final return in this report, 1: highest")
