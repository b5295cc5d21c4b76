"""The fairness stamp of a run: the data and updates it was given, as its learner counted them.

Made at the end of each run, with its ``summary.json``. Compared by ``deploy.results.fairness``.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from efficientzero.config import Config
from efficientzero.schema import I64

FAIRNESS_FILE = "fairness.npz"

_TAIL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The data and updates of a run. Ages are in train_steps, over all slices trained on."""

    replay_ratio: float | None
    """Train_steps per env_step after warm-up, until collection ended. None: none was made then."""
    configured_replay_ratio: float
    weight_age_mean: float
    """Age of the weights that chose the action."""
    weight_age_p95: float
    target_age_mean: float
    """Age of the weights that the value bootstraps from."""
    target_age_p95: float
    slices: int
    """Slices trained on."""
    env_steps: int
    """Completed by the run."""
    env_steps_lost: int | None
    """Completed but never stored, because an actor crashed. None if replay's counts are unknown or
    collection has not ended."""
    env_steps_evicted: int | None
    """Stored and evicted because replay was full."""
    env_steps_never_sampled: int | None
    """Stored and never sent to a reanalyzer, evicted or not."""
    env_steps_evicted_unsampled: int | None
    """Never sampled steps that were evicted. Reverb does not report them, so this is known only if
    it must be 0; ``env_steps_never_sampled`` is an upper bound."""
    batches_unused: int | None
    """Queued training batches that no train_step used, those waiting at the end included."""


def make_stamp(directory: Path, config: Config, *, env_steps: int) -> Stamp | None:
    """Return the stamp of the run in ``directory``, or None if nothing was trained.

    Args:
        directory: the run folder.
        config: the run's.
        env_steps: completed by the run.

    Raises:
        ValueError: the learner's counts exist but cannot be read.
    """
    path = directory / FAIRNESS_FILE
    try:
        with np.load(path) as file:
            counts: dict[str, I64] = {name: file[name] for name in file.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: not readable: {type(error).__name__}: {error}") from error
    weight_ages, target_ages = counts["weight_ages"], counts["target_ages"]
    if not weight_ages.any():
        return None
    trained, collected = map(int, counts["pace"])
    after_warmup = collected - config.budget.warmup_env_steps
    slices = int(weight_ages.sum())
    inserted, held, sampled, queued = map(int, counts["replay"])
    is_known = inserted >= 0
    # Until then actors hold the ends of episodes, which are not lost.
    has_collected = env_steps >= config.budget.env_steps
    evicted, never_sampled = inserted - held, inserted - sampled
    evicted_unsampled = 0 if min(evicted, never_sampled) <= 0 else None
    return Stamp(
        replay_ratio=trained / after_warmup if after_warmup > 0 else None,
        configured_replay_ratio=config.budget.train_steps_per_env_step,
        weight_age_mean=mean_age(weight_ages),
        weight_age_p95=age_quantile(weight_ages, _TAIL),
        target_age_mean=mean_age(target_ages),
        target_age_p95=age_quantile(target_ages, _TAIL),
        slices=slices,
        env_steps=env_steps,
        env_steps_lost=max(0, env_steps - inserted) if is_known and has_collected else None,
        env_steps_evicted=evicted if is_known else None,
        env_steps_never_sampled=never_sampled if is_known else None,
        env_steps_evicted_unsampled=evicted_unsampled if is_known else None,
        batches_unused=max(0, queued - slices // config.learner.batch_size) if is_known else None,
    )


def mean_age(counts: I64) -> float:
    """Return the mean age; ``counts[age]`` slices had that age."""
    return float(counts @ np.arange(len(counts)) / counts.sum())


def age_quantile(counts: I64, share: float) -> float:
    """Return the smallest age that at least ``share`` of the slices do not exceed."""
    return float(np.searchsorted(np.cumsum(counts), share * counts.sum()))
