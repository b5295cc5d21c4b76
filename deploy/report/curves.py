"""Curves of the report: returns and the learner's metrics, mean over seeds with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deploy.report import estimates
from deploy.report.figures import Curve
from deploy.report.run_files import Series
from deploy.report.runs import Run
from deploy.report.scores import methods_of
from efficientzero.schema import F64

_CURVE_POINTS = 60
TRAINING = {
    "total_loss": "total loss",
    "policy_loss": "policy loss (nats)",
    "value_loss": "value loss (nats)",
    "value_prefix_loss": "value prefix loss",
    "consistency_loss": "consistency loss",
    "policy_entropy": "policy entropy (nats)",
    "target_policy_entropy": "entropy of the search's policy",
    "value_mean": "predicted value",
    "target_value_mean": "target value",
}
"""Metric of the learner -> title of its panel."""


def return_curves(runs: Sequence[Run], env_id: str, *, samples: int) -> dict[str, Curve]:
    """Return method -> mean evaluation return over env_steps, of those that were run there."""
    return {
        method: (x, *estimates.band(values, samples=samples))
        for method, seeds in _by_method(runs, env_id).items()
        for x, values in [common_curve(seeds)]
    }


def training_curves(
    runs: Sequence[Run], env_id: str, *, samples: int
) -> Mapping[str, Mapping[str, Curve]]:
    """Return metric -> method -> its mean over train_steps; only what was recorded."""
    found: dict[str, dict[str, Curve]] = {}
    for metric in TRAINING:
        for method, seeds in _by_method(runs, env_id).items():
            series = [run.training[metric] for run in seeds if metric in run.training]
            if series:
                x, values = on_common_axis(series)
                of_methods = found.setdefault(metric, {})
                of_methods[method] = (x, *estimates.band(values, samples=samples))
    return found


def _by_method(runs: Sequence[Run], env_id: str) -> dict[str, list[Run]]:
    found = {
        method: [run for run in runs if (run.env_id, run.method) == (env_id, method)]
        for method in methods_of(runs)
    }
    return {method: seeds for method, seeds in found.items() if seeds}


def common_curve(seeds: Sequence[Run]) -> tuple[F64, F64]:
    """Return env_steps [points] and mean returns [seeds, points] where all seeds have some.

    Seeds are evaluated at different env_steps: linear in between. Of several evaluations at the
    same env_steps (training goes on after collection) the last counts.
    """
    return on_common_axis(
        [
            (np.array(list(means), np.float64), np.array(list(means.values())))
            for run in seeds
            for means in [{e.env_steps: e.mean for e in run.evaluations}]
        ]
    )


def on_common_axis(series: Sequence[Series]) -> tuple[F64, F64]:
    """Return x [points] and y [series, points] where all series have values, linear in between."""
    first, last = max(x[0] for x, _ in series), min(x[-1] for x, _ in series)
    x = np.linspace(first, last, _CURVE_POINTS) if last > first else np.array([last])
    return x, np.array([np.interp(x, *each) for each in series])
