"""The report's sections, each with a reading guide, figures and tables."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.report import tables
from deploy.report.comparison import choose_baseline, families
from deploy.report.content import curve_sections, run_sections, score_sections
from deploy.report.content.section import Section
from deploy.report.runs import LeftOut, Run

__all__ = ["Section", "make_sections"]


def make_sections(
    runs: Sequence[Run], *, baseline: str = "", samples: int, left_out: Sequence[LeftOut] = ()
) -> list[Section]:
    """Return the report's sections.

    Args:
        runs: as ``labelled`` returns them.
        baseline: the method that others are compared with; empty: the full agent.
        samples: bootstrap resamples behind each interval.
        left_out: what was given and could not be used.
    """
    of_families = families(runs)
    return [
        run_sections.compared(runs),
        *(
            section
            for number, family in enumerate(of_families)
            for section in score_sections.aggregates(
                family,
                baseline=choose_baseline(family, baseline),
                samples=samples,
                number=number if len(of_families) > 1 else None,
            )
        ),
        curve_sections.curves(runs, samples=samples),
        *curve_sections.training(runs, samples=samples),
        score_sections.environments(runs),
        *(
            section
            for number, family in enumerate(of_families)
            for section in score_sections.leverage(family, number if len(of_families) > 1 else None)
        ),
        run_sections.time_shares(runs),
        run_sections.fairness(runs),
        Section(
            title="Runs",
            reading=(
                "Every run in this report; the return is the mean of its final evaluation, or of "
                "its newest where that is said."
            ),
            tables=[tables.run_table(runs)],
        ),
        *run_sections.left_out(left_out),
    ]
