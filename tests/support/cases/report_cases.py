"""Runs as the report sees them, made up, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.report.run_files import Evaluation
from deploy.report.runs import Run


def make_run(
    method: str,
    env_id: str,
    seed: int,
    curve: Sequence[tuple[int, float]],
    *,
    fairness: dict[str, Any] | None = None,
    is_finished: bool = True,
    **more: Any,
) -> Run:
    """Return a run with an evaluation of two episodes at each (env_steps, mean return).

    ``more``: other fields of the run.
    """
    evaluations = [
        Evaluation(
            returns=(mean - 1.0, mean + 1.0),
            env_steps=env_steps,
            train_steps=env_steps // 2,
            minutes=env_steps / 10,
            is_final=is_finished and i == len(curve) - 1,
        )
        for i, (env_steps, mean) in enumerate(curve)
    ]
    return Run(
        name=f"{method}-{env_id}-{seed}".replace("/", "-"),
        group=f"{env_id}_{method}",
        method=method,
        env_id=env_id,
        seed=seed,
        evaluations=tuple(evaluations),
        time_shares={"learner": {"forward": 0.6, "wait_batch": 0.3, "other": 0.1}},
        fairness=fairness or {},
        **more,
    )
