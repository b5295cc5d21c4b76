"""The fairness stamp: whether two runs were given the same, so that their returns compare.

Read by whoever compares runs; ``efficientzero.runs.results.fairness_stamp`` makes it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from efficientzero.runs.results.fairness_stamp import Stamp
from efficientzero.runs.results.run_summary import SUMMARY_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far stamps may be apart before their runs are flagged."""

    ratio: float = 0.05
    """Of the replay ratio, as a share of the configured one."""
    age: float = 0.25
    """Of mean and 95th percentile of the ages, as a share of the median run's."""
    age_train_steps: float = 10.0
    """Differences of ages up to this are never flagged."""
    lost: float = 0.01
    """Of env_steps lost, or evicted unsampled, as a share of all."""


TOLERANCE = Tolerance()


def read_stamp(run_dir: Path) -> Stamp | None:
    """Return the stamp in a run's ``summary.json``, or None if it has none.

    Raises:
        ValueError: there is a summary that cannot be read, or a stamp of another version.
    """
    path = run_dir / SUMMARY_FILE
    try:
        values = json.loads(path.read_text()).get("fairness")
        return None if values is None else Stamp(**values)
    except FileNotFoundError:
        return None
    except (OSError, AttributeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: no fairness stamp can be read ({reason})") from error


def stamp_line(stamp: Stamp | None, problem: str = "") -> str:
    """Return the stamp for a person, or why there is none: ``problem`` if that is known."""
    if stamp is None:
        return f"not known: {problem or 'nothing was trained, or the learner was killed'}"
    configured = f"configured {stamp.configured_replay_ratio:.4g}"
    ratio = (
        f"no env_steps were played ({configured} train_steps per env_step)"
        if stamp.replay_ratio is None
        else f"{stamp.replay_ratio:.4g} train_steps per env_step ({configured})"
    )
    lost, evicted = _count(stamp.env_steps_lost), _count(stamp.env_steps_evicted)
    never = _count(stamp.env_steps_never_sampled)
    return (
        f"{ratio}; age in train_steps, mean and 95 %: weights {stamp.weight_age_mean:.0f} "
        f"{stamp.weight_age_p95:.0f}, targets {stamp.target_age_mean:.0f} "
        f"{stamp.target_age_p95:.0f}; env_steps lost {lost}, evicted {evicted}, never sampled "
        f"{never}"
    )


def unfair(stamps: Mapping[str, Stamp | None], tolerance: Tolerance = TOLERANCE) -> list[str]:
    """Say which runs should not be compared with the others as they are, one line per reason.

    Args:
        stamps: by the name of the run.
        tolerance: what is still alike.
    """
    known = {name: stamp for name, stamp in stamps.items() if stamp is not None}
    lines = [f"{name}: has no fairness stamp" for name, stamp in stamps.items() if stamp is None]
    for name, stamp in known.items():
        lines += [f"{name}: {reason}" for reason in _own_reasons(stamp, tolerance)]
    for what, value_of in _COMPARED.items():
        values = {name: value_of(stamp) for name, stamp in known.items()}
        median = statistics.median(values.values()) if values else 0.0
        most = max(tolerance.age * median, tolerance.age_train_steps)
        lines += [
            f"{name}: {what} {value:.0f} train_steps, {median:.0f} in the median run (tolerance "
            f"{most:.0f})"
            for name, value in values.items()
            if abs(value - median) > most
        ]
    return lines


_COMPARED: dict[str, Callable[[Stamp], float]] = {
    "mean weight age": lambda stamp: stamp.weight_age_mean,
    "95 % weight age": lambda stamp: stamp.weight_age_p95,
    "mean target age": lambda stamp: stamp.target_age_mean,
    "95 % target age": lambda stamp: stamp.target_age_p95,
}


def _own_reasons(stamp: Stamp, tolerance: Tolerance) -> list[str]:
    """Return what is wrong with a stamp whatever it is compared with."""
    reasons = []
    got, wanted = stamp.replay_ratio, stamp.configured_replay_ratio
    if got is not None and abs(got - wanted) > tolerance.ratio * wanted:
        reasons.append(
            f"{got:.4g} train_steps per env_step, configured {wanted:.4g} "
            f"(tolerance {tolerance.ratio:.0%})"
        )
    for what, count in (
        ("lost", stamp.env_steps_lost),
        ("perhaps evicted unsampled", _most_evicted_unsampled(stamp)),
    ):
        if count is not None and stamp.env_steps and count > tolerance.lost * stamp.env_steps:
            reasons.append(
                f"{count} of {stamp.env_steps} env_steps {what} (tolerance {tolerance.lost:.0%})"
            )
    return reasons


def _most_evicted_unsampled(stamp: Stamp) -> int | None:
    """Return the upper bound of what was dropped without ever having been sampled."""
    if stamp.env_steps_evicted is None or stamp.env_steps_never_sampled is None:
        return None
    return min(stamp.env_steps_evicted, stamp.env_steps_never_sampled)


def _count(count: int | None) -> str:
    return "not counted" if count is None else str(count)
