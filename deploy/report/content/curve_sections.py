"""The sections of curves: returns, and the learner's metrics."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.report import figures
from deploy.report.content.section import Section, seeds_text
from deploy.report.curves import TRAINING, return_curves, training_curves
from deploy.report.runs import Run
from deploy.report.scores import methods_of

_MOST_TRAININGS = 6


def curves(runs: Sequence[Run], *, samples: int) -> Section:
    """Return the learning curves, a figure an environment."""
    methods = methods_of(runs)
    environments = sorted({run.env_id for run in runs})
    of_environments = [return_curves(runs, env_id, samples=samples) for env_id in environments]
    counts = {
        sum((run.env_id, run.method) == key for run in runs)
        for key in {(run.env_id, run.method) for run in runs}
    }
    return Section(
        title="Learning curves",
        reading=(
            f"Mean evaluation return of {seeds_text(counts)} over env_steps, where all of them "
            "have evaluations; the band is the 95 % bootstrap interval of the mean over seeds "
            "(none for one seed)."
        ),
        methods=methods,
        figures=[
            (f"curve_{number}", figures.curves(env_id, "env_steps", curves, methods))
            for number, (env_id, curves) in enumerate(
                zip(environments, of_environments, strict=True)
            )
        ],
    )


def training(runs: Sequence[Run], *, samples: int) -> list[Section]:
    """Return the learner's losses, entropies and values, a section an environment."""
    methods = methods_of(runs)
    environments = sorted({run.env_id for run in runs if run.training})
    return [
        Section(
            title="Training" + f": {env_id}" * (len(environments) > 1),
            reading=(
                "The learner's own metrics over train_steps, mean over seeds with its 95 % "
                "bootstrap interval (none for one seed); docs/reference/metrics.md says what each "
                "means."
                + f" Of {len(environments)} environments the first {_MOST_TRAININGS} are shown."
                * (len(environments) > _MOST_TRAININGS)
            ),
            methods=methods,
            figures=[
                (
                    f"training_{number}_{metric}",
                    figures.curves(TRAINING[metric], "train_steps", curves, methods),
                )
                for metric, curves in training_curves(runs, env_id, samples=samples).items()
            ],
        )
        for number, env_id in enumerate(environments[:_MOST_TRAININGS])
    ]
