"""Decides the comparison: labels of methods, families, the baseline, and differences.

Pure: takes runs, returns runs, names and sentences.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deploy.launching import distance_from_presets
from deploy.report.run_files import ReportError
from deploy.report.runs import Run
from deploy.report.scores import methods_of

FULL_AGENT = "full"
"""The arm with every part; the others lack some."""
_MOST_NAMED = 4
_COMMIT = "git_commit"
_SHORT_COMMIT = 12


def labelled(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with their methods named for a reader: by arm where a study gave one.

    Arms of the same name are named by the fields in which they differ, else by their groups.
    """
    by_experiment = _grouped(runs, lambda run: run.experiment)
    firsts = {experiment: of[0] for experiment, of in by_experiment.items()}
    labels = {
        experiment: max(run.arm for run in of) or firsts[experiment].method
        for experiment, of in by_experiment.items()
    }
    for label in set(labels.values()):
        alike = {key: run for key, run in firsts.items() if labels[key] == label}
        if len(alike) > 1:
            fields = [key for key in _differing(list(alike.values())) if key != "env.id"]
            for key, run in alike.items():
                words = [f"{name.rpartition('.')[2]}={_of(run, name)}" for name in fields]
                labels[key] = " ".join([label, *words])
            if len({labels[key] for key in alike}) < len(alike):
                labels |= {key: f"{label} ({run.method})" for key, run in alike.items()}
    named = [dataclasses.replace(run, method=labels[run.experiment]) for run in runs]
    return sorted(named, key=lambda run: (run.method, run.env_id, run.seed))


def families(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs in sets that share no environment and no method with each other."""
    found: list[list[Run]] = []
    for run in runs:
        joined = [run]
        for family in list(found):
            if any(run.env_id == other.env_id or run.method == other.method for other in family):
                joined = family + joined
                found.remove(family)
        found.append(joined)
    return [sorted(of, key=lambda run: (run.method, run.env_id, run.seed)) for of in found]


def choose_baseline(runs: Sequence[Run], wanted: str = "") -> str | None:
    """Return the method that the others of a family are compared with.

    Args:
        runs: of one family.
        wanted: a method, or the group of one.

    Returns:
        The wanted one if it is among them; else the arm ``full``, else the one method that is
        nearest to a preset; None where several are.
    """
    asked = [run.method for run in runs if wanted and wanted in (run.method, run.group)]
    if asked:
        return asked[0]
    full = [run for run in runs if run.arm == FULL_AGENT]
    distances: dict[str, int] = {}
    for run in full or runs:
        distance = distance_from_presets(run.config)
        distances[run.method] = min(distance, distances.get(run.method, distance))
    nearest = [method for method, each in distances.items() if each == min(distances.values())]
    return nearest[0] if len(nearest) == 1 else None


def check_baseline(runs: Sequence[Run], wanted: str) -> None:
    """Refuse a baseline without runs.

    Raises:
        ReportError: one line.
    """
    if wanted and not any(wanted in (run.method, run.group) for run in runs):
        raise ReportError(f"--baseline: got {wanted}, wanted one of {', '.join(methods_of(runs))}")


def cautions(runs: Sequence[Run]) -> list[str]:
    """Return sentences on what makes scores of the runs not comparable as they are."""
    lines = []
    for env_id, of_env in _grouped(runs, lambda run: run.env_id).items():
        for what, sections in (
            ("Different budgets", ("budget.",)),
            ("Different environments' protocols", ("env.", "evaluator.")),
        ):
            keys = [key for key in _differing(of_env) if key.startswith(sections)]
            for key in keys:
                values = [_of(run, key) for run in of_env]
                lines.append(f"{what} on {env_id}: {key} is {_who(of_env, values)}.")
    for name in sorted({name for run in runs for name in run.versions}, key=_commit_first):
        versions = [_version(run, name) for run in runs]
        if len(set(versions)) > 1:
            what = "commits" if name == _COMMIT else f"versions of {name}"
            lines.append(f"Different {what}: {_who(runs, versions)}.")
    dirty = [run.name for run in runs if run.versions.get(_COMMIT, "").endswith("-dirty")]
    if dirty:
        lines.append(f"Made with changes that were not committed: {_some(dirty)}.")
    lines += [
        f"Not finished: {run.name}, whose newest evaluation is at {run.last.env_steps:,} of "
        f"{run.config.get('budget.env_steps', 0):,} env_steps."
        for run in runs
        if not (run.last.is_final or run.is_finished)
    ]
    lines += [f"Collapsed: {run.name}, {each}." for run in runs for each in run.collapses]
    return lines + [f"{problem}." for problem in file_problems(runs)]


def file_problems(runs: Sequence[Run]) -> list[str]:
    """Return what is missing or damaged in the files of which runs, one line each."""
    return [f"{run.name}: {problem}" for run in runs for problem in run.problems]


def version_rows(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """Return a row for the commit and for each package, a column a method."""
    names = sorted({name for run in runs for name in run.versions}, key=_commit_first)
    of_methods = _grouped(runs, lambda run: run.method)
    return [
        (
            "commit" if name == _COMMIT else name,
            *(
                ", ".join(sorted({_version(run, name) for run in of_methods[method]}))
                for method in methods_of(runs)
            ),
        )
        for name in names
    ]


def difference_rows(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """Return a row for each field of the config that differs between methods."""
    of_methods = _grouped(runs, lambda run: run.method)
    return [
        (
            key,
            *(
                ", ".join(sorted({_of(run, key) for run in of_methods[method]}))
                for method in methods_of(runs)
            ),
        )
        for key in _differing(runs)
    ]


def _differing(runs: Sequence[Run]) -> list[str]:
    keys = dict.fromkeys(key for run in runs for key in run.config)
    return [key for key in keys if len({_of(run, key) for run in runs}) > 1]


def _of(run: Run, key: str) -> str:
    """Return a value of the run's config for a reader."""
    return _text(run.config.get(key))


def _text(value: Any) -> str:  # noqa: ANN401  any JSON value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value)) or "none"
    return "-" if value is None else str(value)


def _commit_first(name: str) -> tuple[bool, str]:
    return name != _COMMIT, name


def _who(runs: Sequence[Run], values: Sequence[str]) -> str:
    """Return ``4 in full; 8 in lr=1``: methods where all their runs agree, else runs.

    ``values``: one a run.
    """
    of_method = _grouped(runs, lambda run: run.method)
    texts = []
    for value in dict.fromkeys(values):
        have_it = [run for run, other in zip(runs, values, strict=True) if other == value]
        names: list[str] = []
        for method, of in _grouped(have_it, lambda run: run.method).items():
            names += [method] if len(of) == len(of_method[method]) else [run.name for run in of]
        texts.append(f"{value} in {_some(names)}")
    return "; ".join(texts)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _version(run: Run, name: str) -> str:
    version = run.versions.get(name, "not recorded")
    if name != _COMMIT:
        return version
    commit, _, rest = version.partition("-")
    return commit[:_SHORT_COMMIT] + (f"-{rest}" if rest else "")


def _grouped(runs: Sequence[Run], key: Callable[[Run], str]) -> Mapping[str, list[Run]]:
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        found[key(run)].append(run)
    return found
